//! API keys as files and Secrets hold them, and one digest of all keys that a node accepts.

use std::collections::BTreeSet;

use meridian_model::ClusterId;
use meridian_proto::topology::KeysDigest;

use crate::GroupKey;

/// Keys in one file: the one in use, the next one, and room for a few clients' own.
const KEYS: usize = 64;
/// Shortest key: below this it can be guessed.
const KEY_BYTES: usize = 8;
/// Context of the digest, as `blake3` wants it: no other hash of ours has it.
const CONTEXT: &str = "meridian 2026-12-01 digest of the keys that a pod accepts";

/// A key file that cannot be used. The text of a key is never told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ApiKeysError {
    /// Nobody could get in.
    #[error("no key in the API key file")]
    Empty,
    /// More than the bound.
    #[error("more than {KEYS} keys in the API key file")]
    TooMany,
    /// Too easy to guess, or not what a header can carry.
    #[error("line {0} of the API key file is no key: at least {KEY_BYTES} visible ASCII characters")]
    Unusable(usize),
}

/// The hashes of the keys in a file: one key a line, empty lines are skipped.
///
/// # Errors
/// When it holds none, too many, or one that is none.
pub fn read_api_keys(file: &str) -> Result<Vec<blake3::Hash>, ApiKeysError> {
    let mut keys = Vec::new();
    for (at, line) in file.lines().map(str::trim).enumerate().filter(|(_, line)| !line.is_empty()) {
        if line.len() < KEY_BYTES || !line.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(ApiKeysError::Unusable(at + 1));
        }
        keys.push(blake3::hash(line.as_bytes()));
    }
    match keys.len() {
        0 => Err(ApiKeysError::Empty),
        count if count > KEYS => Err(ApiKeysError::TooMany),
        _ => Ok(keys),
    }
}

/// The digest of these keys, in whatever order they stand, except that the first group key is the one to dial with.
///
/// It is keyed by the cluster, so that equal keys of two clusters do not show. It travels on the peer port only, where whoever
/// reads it holds the keys themselves.
#[must_use]
pub fn keys_digest(cluster: ClusterId, api_keys: &[blake3::Hash], group_keys: &[GroupKey]) -> KeysDigest {
    let mut hasher = blake3::Hasher::new_derive_key(CONTEXT);
    hasher.update(&cluster.0.to_le_bytes());
    let (dial, accepted) = group_keys.split_at(group_keys.len().min(1));
    let dial: Vec<blake3::Hash> = dial.iter().map(GroupKey::hash).collect();
    let accepted: Vec<blake3::Hash> = accepted.iter().map(GroupKey::hash).filter(|key| !dial.contains(key)).collect();
    for keys in [api_keys, &dial, &accepted] {
        let keys: BTreeSet<&[u8; 32]> = keys.iter().map(blake3::Hash::as_bytes).collect();
        hasher.update(&(keys.len() as u64).to_le_bytes());
        for key in keys {
            hasher.update(key);
        }
    }
    KeysDigest(*hasher.finalize().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLUSTER: ClusterId = ClusterId(7);

    fn api(keys: &[&str]) -> Vec<blake3::Hash> {
        read_api_keys(&keys.join("\n")).unwrap()
    }

    fn group(keys: &[&str]) -> Vec<GroupKey> {
        let key = |name: &&str| GroupKey::new(name.repeat(32).as_bytes()).unwrap_or_else(|_| panic!("long enough"));
        keys.iter().map(key).collect()
    }

    #[test]
    fn the_digest_depends_on_every_key_and_on_no_order_but_that_of_the_first_group_key() {
        let of = |api_keys: &[&str], group_keys: &[&str]| keys_digest(CLUSTER, &api(api_keys), &group(group_keys));
        let digest = of(&["key-number-1", "key-number-2"], &["a", "b", "c"]);
        assert_eq!(digest, of(&["key-number-2", "key-number-1", "key-number-1"], &["a", "c", "b", "a"]));
        let others = [
            of(&["key-number-1"], &["a", "b", "c"]),
            of(&["key-number-1", "key-number-3"], &["a", "b", "c"]),
            of(&["key-number-1", "key-number-2"], &["b", "a", "c"]),
            of(&["key-number-1", "key-number-2"], &["a", "b"]),
            of(&["key-number-1", "key-number-2"], &[]),
        ];
        let all: BTreeSet<KeysDigest> = others.into_iter().chain([digest]).collect();
        assert_eq!(all.len(), 6);
        let elsewhere = keys_digest(ClusterId(8), &api(&["key-number-1", "key-number-2"]), &group(&["a", "b", "c"]));
        assert_ne!(elsewhere, digest);
    }

    #[test]
    fn a_digest_is_not_shown() {
        let digest = keys_digest(CLUSTER, &api(&["key-number-1"]), &[]);
        assert_eq!(format!("{digest:?}"), "KeysDigest(..)");
    }

    #[test]
    fn a_key_file_is_checked_without_telling_keys() {
        assert_eq!(read_api_keys("\n\n"), Err(ApiKeysError::Empty));
        assert_eq!(read_api_keys("good-key-1\nshort"), Err(ApiKeysError::Unusable(2)));
        assert_eq!(read_api_keys("with space inside"), Err(ApiKeysError::Unusable(1)));
        assert_eq!(read_api_keys("good-key-1\n\ngood-key-2\n").map(|keys| keys.len()), Ok(2));
        assert_eq!(read_api_keys(&"good-key-1\n".repeat(65)), Err(ApiKeysError::TooMany));
    }
}

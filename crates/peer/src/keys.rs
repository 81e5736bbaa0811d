//! API keys in files and Secrets, and one digest of all keys that a node accepts.

use std::collections::BTreeSet;

use meridian_model::ClusterId;
use meridian_proto::topology::KeysDigest;

use crate::GroupKey;

/// Largest number of keys in a file: the current one, the next one, and keys of a few clients.
const KEYS: usize = 64;
/// Shortest key, in bytes: a shorter one can be guessed.
const KEY_BYTES: usize = 8;
/// Context string of the digest for `blake3`, unique to this use.
const CONTEXT: &str = "meridian 2026-12-01 digest of the keys that a pod accepts";

/// Reason for which a key file cannot be used. It never contains the text of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ApiKeysError {
    /// No client would have access.
    #[error("no key in the API key file")]
    Empty,
    /// The file has more than 64 keys.
    #[error("more than {KEYS} keys in the API key file")]
    TooMany,
    /// The key of this line is too short, or is not allowed in a header.
    #[error("line {0} of the API key file must be at least {KEY_BYTES} visible ASCII characters")]
    Unusable(usize),
}

/// The hashes of the keys in a file: one key a line, empty lines are skipped.
///
/// # Errors
/// [`ApiKeysError`]: there is no key, there are too many, or one is invalid.
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

/// The digest of these keys. Their order has no effect, except that the first group key is the one for outgoing
/// connections.
///
/// The cluster id is part of the digest, so that equal keys of two clusters are not visible. It is sent on the peer
/// port only, whose users hold the keys themselves.
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

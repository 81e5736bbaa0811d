//! The key that all regions of a group hold, and the proof of holding it.
//!
//! Proof = HMAC-SHA-256(key, role ‖ exporter), where the exporter is the TLS connection's own keying material (RFC 8446,
//! section 7.5): a proof is worth nothing on another connection, and each role proves something else.

use std::path::Path;

use ring::{hkdf, hmac};
use rustls::ConnectionCommon;

/// The least a key may have: 256 bits of a random source.
const LEAST_BYTES: usize = 32;
const LABEL: &[u8] = b"EXPORTER-meridian-group-v1";

/// Salt of what is derived from a group key: a constant of the protocol.
const SALT: &[u8] = b"meridian";

/// The key of a replication group.
#[derive(Clone)]
pub struct GroupKey {
    proof: hmac::Key,
    bytes: Box<[u8]>,
}

impl PartialEq for GroupKey {
    fn eq(&self, other: &Self) -> bool {
        // Not in constant time: both are our own, read from files.
        self.bytes == other.bytes
    }
}

/// The keys of a replication group while they are rotated.
#[derive(Clone)]
pub struct GroupKeys {
    /// Connections are opened with this one.
    pub dial: GroupKey,
    /// Connections are accepted with each of these, `dial` first.
    pub accepted: Vec<GroupKey>,
}

/// Why a group key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum GroupKeyError {
    /// The file cannot be read.
    #[error("group key {file}")]
    Read {
        /// Which.
        file: String,
        /// What the system says.
        source: std::io::Error,
    },
    /// Too short to be safe.
    #[error("group key {file} has {found} bytes; {LEAST_BYTES} random bytes are the least")]
    Short {
        /// Which.
        file: String,
        /// How many it has.
        found: usize,
    },
}

/// Who proves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The one who opened the connection.
    Dialler,
    /// The one who accepted it.
    Acceptor,
}

impl GroupKey {
    /// Reads a key file; white space around the key does not count.
    ///
    /// # Errors
    /// When it cannot be read or is too short.
    pub fn from_file(path: &Path) -> Result<Self, GroupKeyError> {
        let file = path.display().to_string();
        let text = std::fs::read(path).map_err(|source| GroupKeyError::Read { file: file.clone(), source })?;
        Self::new(&text).map_err(|found| GroupKeyError::Short { file, found })
    }

    /// From the text of a key; white space around it does not count.
    ///
    /// # Errors
    /// How many bytes it has, when they are too few.
    pub fn new(text: &[u8]) -> Result<Self, usize> {
        let key = text.trim_ascii();
        if key.len() < LEAST_BYTES {
            return Err(key.len());
        }
        Ok(Self { proof: hmac::Key::new(hmac::HMAC_SHA256, key), bytes: key.into() })
    }

    /// The API key that all regions of `group` accept: HKDF-SHA-256 (RFC 5869) of the group key, `info` being the purpose and
    /// the group, in hexadecimal.
    #[must_use]
    pub fn api_key(&self, group: &str) -> String {
        let info: [&[u8]; 3] = [b"api-key", &[0], group.as_bytes()];
        let derived = hkdf::Salt::new(hkdf::HKDF_SHA256, SALT).extract(&self.bytes);
        let mut key = [0; 32];
        derived
            .expand(&info, hkdf::HKDF_SHA256)
            .and_then(|okm| okm.fill(&mut key))
            .expect("32 bytes are one block of HKDF-SHA-256");
        key.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// By which it is told from others.
    pub(crate) fn hash(&self) -> blake3::Hash {
        blake3::hash(&self.bytes)
    }

    /// What `side` says to prove that it holds the key.
    #[must_use]
    pub fn proof<D>(&self, connection: &ConnectionCommon<D>, side: Side) -> Option<[u8; 32]> {
        let tag = hmac::sign(&self.proof, &message(connection, side)?);
        tag.as_ref().try_into().ok()
    }

    /// Whether `proof` is what `side` says when it holds the key. In constant time.
    #[must_use]
    pub fn holds<D>(&self, connection: &ConnectionCommon<D>, side: Side, proof: &[u8; 32]) -> bool {
        message(connection, side).is_some_and(|message| hmac::verify(&self.proof, &message, proof).is_ok())
    }
}

impl GroupKeys {
    /// The key that `side` proves to hold, if it is one of those accepted.
    #[must_use]
    pub fn matching<D>(&self, connection: &ConnectionCommon<D>, side: Side, proof: &[u8; 32]) -> Option<&GroupKey> {
        self.accepted.iter().find(|key| key.holds(connection, side, proof))
    }
}

fn message<D>(connection: &ConnectionCommon<D>, side: Side) -> Option<[u8; 33]> {
    let material = connection.export_keying_material([0u8; 32], LABEL, None).ok()?;
    let mut message = [0; 33];
    message[0] = match side {
        Side::Dialler => 1,
        Side::Acceptor => 2,
    };
    message[1..].copy_from_slice(&material);
    Some(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &[u8] = b"a-group-key-of-at-least-32-bytes-";

    #[test]
    fn the_derived_api_key_depends_on_key_and_group_and_on_nothing_else() {
        let key = GroupKey::new(KEY).unwrap_or_else(|_| panic!("long enough"));
        let padded = GroupKey::new(&[b"\n ", KEY, b"\n"].concat()).unwrap_or_else(|_| panic!("long enough"));
        assert_eq!(key.api_key("search"), padded.api_key("search"));
        assert_ne!(key.api_key("search"), key.api_key("shop"));
        // A constant of the protocol: regions of different versions derive the same key.
        assert_eq!(key.api_key("search"), "d19f34fbd068f56454d7d90063eb95513c67f652c14b4ba7993640638015a926");
        assert!(GroupKey::new(b"short").is_err());
    }
}

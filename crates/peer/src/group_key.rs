//! The key shared by all regions of a group, and the proof of possession.
//!
//! Proof = HMAC-SHA-256(key, role ‖ exporter). The exporter is the keying material of the TLS connection (RFC 8446,
//! section 7.5), so a proof is valid on one connection only. The role keeps a proof from being reflected.

use std::path::Path;

use ring::{hkdf, hmac};
use rustls::ConnectionCommon;

/// Shortest key: 256 bits of a random source.
const LEAST_BYTES: usize = 32;
const LABEL: &[u8] = b"EXPORTER-meridian-group-v1";

/// Salt for derivation from a group key: a constant of the protocol.
const SALT: &[u8] = b"meridian";

/// The key of a replication group.
#[derive(Clone)]
pub struct GroupKey {
    proof: hmac::Key,
    bytes: Box<[u8]>,
}

impl PartialEq for GroupKey {
    fn eq(&self, other: &Self) -> bool {
        // The comparison need not be constant-time: both keys are our own, read from files.
        self.bytes == other.bytes
    }
}

/// The keys of a replication group during a rotation.
#[derive(Clone)]
pub struct GroupKeys {
    /// The key for outgoing connections.
    pub dial: GroupKey,
    /// The keys accepted on incoming connections, `dial` first.
    pub accepted: Vec<GroupKey>,
}

/// Reason for which a group key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum GroupKeyError {
    /// The file cannot be read.
    #[error("group key {file}")]
    Read {
        /// The file.
        file: String,
        /// The error of the system.
        source: std::io::Error,
    },
    /// The key is too short to be safe.
    #[error("group key {file} must have at least {LEAST_BYTES} random bytes (got {found})")]
    Short {
        /// The file.
        file: String,
        /// Its length in bytes.
        found: usize,
    },
}

/// The side that proves possession.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The side that opened the connection.
    Dialler,
    /// The side that accepted it.
    Acceptor,
}

impl GroupKey {
    /// Reads a key file; white space around the key is ignored.
    ///
    /// # Errors
    /// The file cannot be read, or the key is too short.
    pub fn from_file(path: &Path) -> Result<Self, GroupKeyError> {
        let file = path.display().to_string();
        let text = std::fs::read(path).map_err(|source| GroupKeyError::Read { file: file.clone(), source })?;
        Self::new(&text).map_err(|found| GroupKeyError::Short { file, found })
    }

    /// Parses a key; white space around it is ignored.
    ///
    /// # Errors
    /// The length in bytes, if it is less than 32.
    pub fn new(text: &[u8]) -> Result<Self, usize> {
        let key = text.trim_ascii();
        if key.len() < LEAST_BYTES {
            return Err(key.len());
        }
        Ok(Self { proof: hmac::Key::new(hmac::HMAC_SHA256, key), bytes: key.into() })
    }

    /// The API key that all regions of `group` accept: HKDF-SHA-256 (RFC 5869) of the group key, with purpose and group
    /// as `info`, in hexadecimal.
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

    /// The hash that stands for the key in digests.
    pub(crate) fn hash(&self) -> blake3::Hash {
        blake3::hash(&self.bytes)
    }

    /// The proof that `side` sends.
    #[must_use]
    pub fn proof<D>(&self, connection: &ConnectionCommon<D>, side: Side) -> Option<[u8; 32]> {
        let tag = hmac::sign(&self.proof, &message(connection, side)?);
        tag.as_ref().try_into().ok()
    }

    /// Returns true if `proof` is valid for `side` on this connection. The comparison is constant-time.
    #[must_use]
    pub fn holds<D>(&self, connection: &ConnectionCommon<D>, side: Side, proof: &[u8; 32]) -> bool {
        message(connection, side).is_some_and(|message| hmac::verify(&self.proof, &message, proof).is_ok())
    }
}

impl GroupKeys {
    /// The accepted key for which `proof` is valid, if any.
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

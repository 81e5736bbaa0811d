//! The key that all regions of a group hold, and the proof of holding it.
//!
//! Proof = HMAC-SHA-256(key, role ‖ exporter), where the exporter is the TLS connection's own keying material (RFC 8446,
//! section 7.5): a proof is worth nothing on another connection, and each role proves something else.

use std::path::Path;

use ring::hmac;
use rustls::ConnectionCommon;

/// The least a key may have: 256 bits of a random source.
const LEAST_BYTES: usize = 32;
const LABEL: &[u8] = b"EXPORTER-meridian-group-v1";

/// The key of a replication group.
#[derive(Clone)]
pub struct GroupKey(hmac::Key);

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
        let key = text.trim_ascii();
        if key.len() < LEAST_BYTES {
            return Err(GroupKeyError::Short { file, found: key.len() });
        }
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, key)))
    }

    /// What `side` says to prove that it holds the key.
    #[must_use]
    pub fn proof<D>(&self, connection: &ConnectionCommon<D>, side: Side) -> Option<[u8; 32]> {
        let tag = hmac::sign(&self.0, &message(connection, side)?);
        tag.as_ref().try_into().ok()
    }

    /// Whether `proof` is what `side` says when it holds the key. In constant time.
    #[must_use]
    pub fn holds<D>(&self, connection: &ConnectionCommon<D>, side: Side, proof: &[u8; 32]) -> bool {
        message(connection, side).is_some_and(|message| hmac::verify(&self.0, &message, proof).is_ok())
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

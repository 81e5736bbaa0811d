//! The outside name of a point.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What users call a point: an unsigned number or a UUID. Numbers sort before UUIDs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum PointId {
    /// An unsigned 64-bit number.
    Num(u64),
    /// A UUID, as 128 bits in network order.
    Uuid(u128),
}

/// Text that is no point id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("value {0} is not a valid point ID, valid values are either an unsigned integer or a UUID")]
pub struct PointIdError(pub String);

impl PointId {
    /// The canonical bytes that are hashed: a tag byte, then the number little-endian or the 16 UUID bytes.
    pub(crate) fn with_canonical_bytes<T>(self, f: impl FnOnce(&[u8]) -> T) -> T {
        let mut bytes = [0u8; 17];
        match self {
            Self::Num(number) => {
                bytes[1..9].copy_from_slice(&number.to_le_bytes());
                f(&bytes[..9])
            }
            Self::Uuid(uuid) => {
                bytes[0] = 1;
                bytes[1..].copy_from_slice(&uuid.to_be_bytes());
                f(&bytes)
            }
        }
    }
}

impl std::str::FromStr for PointId {
    type Err = PointIdError;

    /// Reads a UUID in any of its usual spellings, or a decimal number.
    fn from_str(text: &str) -> Result<Self, PointIdError> {
        if let Ok(number) = text.parse() {
            return Ok(Self::Num(number));
        }
        uuid::Uuid::parse_str(text).map(|id| Self::Uuid(id.as_u128())).map_err(|_| PointIdError(text.into()))
    }
}

impl fmt::Display for PointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Num(number) => number.fmt(f),
            Self::Uuid(uuid) => uuid::Uuid::from_u128(*uuid).fmt(f),
        }
    }
}

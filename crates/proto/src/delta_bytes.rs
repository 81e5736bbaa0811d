//! Deltas on their way between regions, as opaque bytes: pods that relay reads of the delta log forward them unchanged, and
//! only the replica that applies a delta decodes it.
//!
//! ```text
//!   0        1                       3
//!   ┌────────┬───────────────────────┬─────────────────┐
//!   │ format │ behavior version, u16 │ postcard: Delta │
//!   └────────┴───────────────────────┴─────────────────┘
//!             little-endian
//! ```
//!
//! The encoding is strict: bytes that this build does not know in full are refused. A delta that needs a later behavior version
//! is refused by that version, so that only its origin shard waits for the upgrade.

use meridian_model::{BehaviorVersion, Delta, VersionUnknown};
use prost::bytes::Bytes;

/// Version of the format, the first byte.
const FORMAT: u8 = 1;
/// Bytes in front of the delta.
const HEAD_BYTES: usize = 3;

/// An encoded delta. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeltaBytes(Bytes);

/// Why a delta cannot be decoded. It stops the link of its origin shard.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeltaError {
    /// It needs a behavior version or a format that this build does not know.
    #[error("delta {0}")]
    VersionUnknown(#[from] VersionUnknown),
    /// A format of no release.
    #[error("delta of format {found}; this build reads format {FORMAT}")]
    Format {
        /// The format.
        found: u8,
    },
    /// Not a delta.
    #[error("malformed delta: {0}")]
    Malformed(String),
}

impl DeltaBytes {
    /// Encodes a delta.
    #[must_use]
    pub fn encode(delta: &Delta) -> Self {
        let [low, high] = delta.needs().0.to_le_bytes();
        let bytes = postcard::to_extend(delta, vec![FORMAT, low, high]).expect("every delta can be encoded");
        Self(bytes.into())
    }

    /// Decodes the delta.
    ///
    /// # Errors
    /// When it needs a later behavior version, is of another format, or is not exactly one delta.
    pub fn decode(&self) -> Result<Delta, DeltaError> {
        let Some(([format, version @ ..], body)) = self.0.split_first_chunk::<HEAD_BYTES>() else {
            return Err(DeltaError::Malformed(format!("{} bytes", self.0.len())));
        };
        match *format {
            FORMAT => VersionUnknown::check(BehaviorVersion(u16::from_le_bytes(*version)))?,
            found if found > FORMAT => return Err(VersionUnknown::format(found, FORMAT).into()),
            found => return Err(DeltaError::Format { found }),
        }
        match postcard::take_from_bytes(body) {
            Ok((delta, [])) => Ok(delta),
            Ok((_, rest)) => Err(DeltaError::Malformed(format!("{} bytes too many", rest.len()))),
            Err(fault) => Err(DeltaError::Malformed(fault.to_string())),
        }
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub(crate) fn bytes(&self) -> Bytes {
        self.0.clone()
    }
}

/// Bytes from a message; [`DeltaBytes::decode`] checks them.
impl From<Vec<u8>> for DeltaBytes {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes.into())
    }
}

impl From<Bytes> for DeltaBytes {
    fn from(bytes: Bytes) -> Self {
        Self(bytes)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fixtures;

    #[test]
    fn a_delta_is_decoded_to_what_was_encoded() {
        for delta in fixtures::deltas() {
            assert_eq!(DeltaBytes::encode(&delta).decode(), Ok(delta));
        }
    }

    #[test]
    fn a_delta_of_a_later_behavior_version_is_refused_by_both_versions() {
        let mut bytes = DeltaBytes::encode(&fixtures::deltas()[0]).as_bytes().to_vec();
        assert_eq!(bytes[..HEAD_BYTES], [1, 1, 0]);
        bytes[1..HEAD_BYTES].copy_from_slice(&BehaviorVersion::newest().next().0.to_le_bytes());
        // What follows is of no matter: it may be of a form that this build does not know.
        bytes.truncate(HEAD_BYTES);
        let refused = DeltaBytes::from(bytes).decode().unwrap_err();
        let text =
            "delta written by a newer release: behavior version 2, this build knows up to 1; run the newer release";
        assert_eq!(refused.to_string(), text);
    }

    #[test]
    fn a_delta_of_another_format_or_with_bytes_too_many_or_too_few_is_refused() {
        let bytes = DeltaBytes::encode(&fixtures::deltas()[0]).as_bytes().to_vec();
        for end in 0..bytes.len() {
            assert!(DeltaBytes::from(bytes[..end].to_vec()).decode().is_err(), "{end} bytes");
        }
        let longer = [&bytes[..], &[0]].concat();
        assert_eq!(DeltaBytes::from(longer).decode(), Err(DeltaError::Malformed("1 bytes too many".into())));
        let newer = [&[2], &bytes[1..]].concat();
        assert_eq!(DeltaBytes::from(newer).decode(), Err(VersionUnknown::format(2_u8, FORMAT).into()));
        let never = [&[0], &bytes[1..]].concat();
        assert_eq!(DeltaBytes::from(never).decode(), Err(DeltaError::Format { found: 0 }));
    }

    proptest! {
        #[test]
        fn any_bytes_are_decoded_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = DeltaBytes::from(bytes.clone()).decode();
            let _ = DeltaBytes::from([&[1, 1, 0], &bytes[..]].concat()).decode();
        }
    }
}

//! What a replica writes into its write-ahead log.
//!
//! ```text
//!   byte 0      format version, 1
//!   byte 1      kind: 1 entry, 2 hard state, 3 base
//!   bytes 2..   the body; for entry and hard state as crate `raft` encodes it,
//!               for base: index u64, term u64, little-endian
//! ```

use meridian_raft::{Entry, HardState};

/// First byte of every record.
pub const FORMAT_VERSION: u8 = 1;

/// One record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogRecord {
    /// An entry; entries of the same or a larger index that stand before it are void.
    Entry(Entry),
    /// Term, vote and commit; the last one holds.
    HardState(HardState),
    /// Entries up to `index` are in a snapshot and void here.
    Base {
        /// Newest entry left out.
        index: u64,
        /// Its term.
        term: u64,
    },
}

/// Bytes that are no record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Shorter than its head.
    #[error("log record of {0} bytes")]
    Short(usize),
    /// Of a version that this build does not know.
    #[error("log record of format version {0}; this build reads version {FORMAT_VERSION}")]
    Version(u8),
    /// Of a kind that this build does not know.
    #[error("log record of kind {0}")]
    Kind(u8),
    /// Its body cannot be read.
    #[error("malformed log record: {0}")]
    Malformed(String),
}

impl LogRecord {
    /// The bytes of the record.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let (kind, body) = match self {
            Self::Entry(entry) => (1, entry.encode()),
            Self::HardState(state) => (2, state.encode()),
            Self::Base { index, term } => (3, [index.to_le_bytes(), term.to_le_bytes()].concat()),
        };
        [&[FORMAT_VERSION, kind][..], &body].concat()
    }

    /// # Errors
    /// When the bytes are not one record of a known version.
    pub fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        let [version, kind, body @ ..] = bytes else { return Err(RecordError::Short(bytes.len())) };
        if *version != FORMAT_VERSION {
            return Err(RecordError::Version(*version));
        }
        let malformed = |fault: &dyn std::fmt::Display| RecordError::Malformed(fault.to_string());
        match kind {
            1 => Entry::decode(body).map(Self::Entry).map_err(|fault| malformed(&fault)),
            2 => HardState::decode(body).map(Self::HardState).map_err(|fault| malformed(&fault)),
            3 => {
                let (index, term) = body.split_at_checked(8).ok_or(RecordError::Short(bytes.len()))?;
                let number = |bytes: &[u8]| bytes.try_into().map(u64::from_le_bytes);
                match (number(index), number(term)) {
                    (Ok(index), Ok(term)) => Ok(Self::Base { index, term }),
                    _ => Err(RecordError::Short(bytes.len())),
                }
            }
            other => Err(RecordError::Kind(*other)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_one_stays_as_it_is() {
        let base = LogRecord::Base { index: 258, term: 3 };
        let golden = [1, 3, 2, 1, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(base.encode(), golden);
        assert_eq!(LogRecord::decode(&golden), Ok(base));
        assert_eq!(LogRecord::decode(&golden[..17]), Err(RecordError::Short(17)));
        assert_eq!(LogRecord::decode(&[2, 3]), Err(RecordError::Version(2)));
        assert_eq!(LogRecord::decode(&[1, 9]), Err(RecordError::Kind(9)));
    }
}

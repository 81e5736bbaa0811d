//! Records of the write-ahead log.
//!
//! ```text
//!   byte 0      format version, 1
//!   byte 1      kind: 1 entry, 2 hard state, 3 base
//!   bytes 2..   the body; for entry and hard state as crate `raft` encodes it,
//!               for base: index u64, term u64, little-endian
//! ```

use meridian_model::VersionUnknown;
use meridian_raft::{DecodeError, Entry, HardState};

/// First byte of every record.
pub const FORMAT_VERSION: u8 = 1;

/// One record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogRecord {
    /// An entry. It voids earlier records of the same or larger index.
    Entry(Entry),
    /// Term, vote and commit index; the last record counts.
    HardState(HardState),
    /// Entries up to `index` are in a snapshot and void in the log.
    Base {
        /// Index of the newest omitted entry.
        index: u64,
        /// Its term.
        term: u64,
    },
}

/// Error of decoding a record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// The record is shorter than its header.
    #[error("log record of {0} bytes")]
    Short(usize),
    /// A newer release wrote the record.
    #[error(transparent)]
    VersionUnknown(#[from] VersionUnknown),
    /// A release before 0.2.0 wrote the record; its formats are not readable.
    #[error("log record of format version {0}; this build reads version {FORMAT_VERSION}")]
    Version(u8),
    /// The record kind is unknown to this build.
    #[error("log record of kind {0}")]
    Kind(u8),
    /// The body is malformed.
    #[error("malformed log record: {0}")]
    Malformed(String),
}

impl LogRecord {
    /// Encodes the record.
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
    /// [`RecordError::VersionUnknown`] if a newer release wrote the bytes; any other variant if they are not exactly
    /// one record.
    pub fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        let (kind, body) = split(bytes)?;
        match kind {
            1 => Entry::decode(body).map(Self::Entry).map_err(of_raft),
            2 => HardState::decode(body).map(Self::HardState).map_err(of_raft),
            3 => {
                let (index, term) = body.split_at_checked(8).ok_or(RecordError::Short(bytes.len()))?;
                let number = |bytes: &[u8]| bytes.try_into().map(u64::from_le_bytes);
                match (number(index), number(term)) {
                    (Ok(index), Ok(term)) => Ok(Self::Base { index, term }),
                    _ => Err(RecordError::Short(bytes.len())),
                }
            }
            other => Err(RecordError::Kind(other)),
        }
    }

    /// Checks only the format versions of a record. Every log is checked before anything is written to it.
    ///
    /// # Errors
    /// [`RecordError::VersionUnknown`] if a newer release wrote the bytes, [`RecordError::Version`] if a release before
    /// 0.2.0 did.
    pub fn check_versions(bytes: &[u8]) -> Result<(), RecordError> {
        let checked = match split(bytes) {
            Ok((1, body)) => Entry::check_version(body).map_err(of_raft),
            Ok((2, body)) => HardState::decode(body).map(drop).map_err(of_raft),
            Ok(_) => Ok(()),
            Err(fault) => Err(fault),
        };
        match checked {
            Err(fault @ (RecordError::VersionUnknown(_) | RecordError::Version(_))) => Err(fault),
            // Decoding detects damage.
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

/// Splits a record into kind and body.
fn split(bytes: &[u8]) -> Result<(u8, &[u8]), RecordError> {
    match bytes {
        [FORMAT_VERSION, kind, body @ ..] => Ok((*kind, body)),
        [newer, ..] if *newer > FORMAT_VERSION => Err(VersionUnknown::format(*newer, FORMAT_VERSION).into()),
        [older, _, ..] => Err(RecordError::Version(*older)),
        _ => Err(RecordError::Short(bytes.len())),
    }
}

fn of_raft(fault: DecodeError) -> RecordError {
    match fault {
        DecodeError::UnknownVersion { found, known } if found > known => VersionUnknown::format(found, known).into(),
        DecodeError::UnknownVersion { found, .. } => RecordError::Version(found),
        other => RecordError::Malformed(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_encoding_of_format_version_1_is_fixed() {
        let base = LogRecord::Base { index: 258, term: 3 };
        let golden = [1, 3, 2, 1, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(base.encode(), golden);
        assert_eq!(LogRecord::decode(&golden), Ok(base));
        assert_eq!(LogRecord::decode(&golden[..17]), Err(RecordError::Short(17)));
        assert_eq!(LogRecord::decode(&[0, 3]), Err(RecordError::Version(0)));
        assert_eq!(LogRecord::decode(&[1, 9]), Err(RecordError::Kind(9)));
    }

    #[test]
    fn a_record_of_a_newer_release_is_refused_with_its_version() {
        let state = HardState { term: 1, vote: 2, commit: 3 };
        let kind = meridian_raft::EntryKind::Payload;
        let entry = Entry { index: 1, term: 1, kind, payload: b"payload".to_vec().into() };
        let records = [LogRecord::Base { index: 258, term: 3 }, LogRecord::HardState(state), LogRecord::Entry(entry)];
        for record in records {
            let bytes = record.encode();
            assert_eq!(LogRecord::check_versions(&bytes), Ok(()));
            // The record's own version, and that of the body as the consensus library wrote it.
            let versions = if matches!(record, LogRecord::Base { .. }) { 0..1 } else { 0..3 };
            for at in versions.step_by(2) {
                let mut newer = bytes.clone();
                newer[at] += 1;
                let unknown = Err(VersionUnknown::format(2_u8, 1_u8).into());
                assert_eq!(LogRecord::decode(&newer).map(drop), unknown, "{record:?}, byte {at}");
                assert_eq!(LogRecord::check_versions(&newer), unknown, "{record:?}, byte {at}");
            }
        }
        assert_eq!(LogRecord::check_versions(&[1, 9]), Ok(()), "decoding detects damage");
    }
}

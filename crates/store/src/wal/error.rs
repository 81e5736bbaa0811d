//! Errors of the write-ahead log.

use std::io;

use super::{Fault, Lsn};
use crate::envelope::EnvelopeError;

/// Why a log could not be opened. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// I/O error.
    #[error("{file}")]
    Disk {
        /// Path of the file or folder.
        file: String,
        /// Cause.
        source: io::Error,
    },
    /// A synced record is damaged or missing; not a torn tail.
    #[error("{segment}, offset {offset}: synced record {lsn} is damaged")]
    Damaged {
        /// Path of the segment file.
        segment: String,
        /// Offset of the frame in it.
        offset: u64,
        /// The expected record.
        lsn: Lsn,
        /// Cause.
        #[source]
        fault: Fault,
    },
    /// Both copies of a segment header are damaged.
    #[error("{segment}: header")]
    Header {
        /// Path of the segment file.
        segment: String,
        /// Error of the first copy.
        source: EnvelopeError,
    },
    /// The segment files are inconsistent: missing, duplicate, truncated or swapped.
    #[error("{dir}: segment {seq} {what}")]
    Missing {
        /// Path of the folder.
        dir: String,
        /// Number of the segment, counted since the log began.
        seq: u64,
        /// Description of the inconsistency.
        what: String,
    },
    /// The format version is newer than supported.
    #[error(
        "{file}: written by a newer release: format version {found}, this build reads up to {supported}; run the newer release"
    )]
    FutureVersion {
        /// Path of the file.
        file: String,
        /// Version in the file.
        found: u32,
        /// Newest supported version.
        supported: u32,
    },
    /// The log belongs to another owner.
    #[error("{file}: owner must be {expected:02x?} (got {found:02x?})")]
    Foreign {
        /// Path of the file.
        file: String,
        /// Owner in the file.
        found: [u8; 16],
        /// Owner in the options.
        expected: [u8; 16],
    },
    /// The segment size in the options is too small.
    #[error("segment_bytes must be >= {min} (got {found})")]
    SegmentBytes {
        /// Size in the options.
        found: u64,
        /// [`super::MIN_SEGMENT_BYTES`].
        min: u64,
    },
}

/// Why a record was not appended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// The record exceeds the size limit.
    #[error("record length must be <= {max} bytes (got {bytes})")]
    TooLarge {
        /// Length of the record.
        bytes: u64,
        /// The limit.
        max: u64,
    },
    /// An earlier commit failed; the log must be reopened.
    #[error("the log is poisoned by a failed commit and must be reopened")]
    Poisoned,
}

/// Why a commit failed.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// No space for the next segment. Appended records are kept; retry when there is space.
    #[error("disk full: a segment needs {needed} bytes")]
    Full {
        /// Size of the segment, in bytes.
        needed: u64,
    },
    /// I/O error; the log is poisoned.
    #[error("{file}")]
    Disk {
        /// Path of the file.
        file: String,
        /// Cause.
        source: io::Error,
    },
    /// An earlier commit failed; the log must be reopened.
    #[error("the log is poisoned by a failed commit and must be reopened")]
    Poisoned,
}

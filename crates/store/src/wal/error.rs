//! Why a log could not be opened, appended to, or committed.

use std::io;

use super::{Fault, Lsn};
use crate::seal::SealError;

/// Why a log could not be opened. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The disk refused.
    #[error("{file}")]
    Disk {
        /// File or folder.
        file: String,
        /// What the disk said.
        source: io::Error,
    },
    /// A record that was synced has changed, or is gone. Not a torn tail.
    #[error("{segment}, offset {offset}: record {lsn}, synced once, is damaged")]
    Damaged {
        /// The segment file.
        segment: String,
        /// Where in it the frame starts.
        offset: u64,
        /// The record that should be there.
        lsn: Lsn,
        /// What is there.
        #[source]
        fault: Fault,
    },
    /// Both copies of a segment's header are damaged.
    #[error("{segment}: header")]
    Header {
        /// The segment file.
        segment: String,
        /// What is wrong with the first copy.
        source: SealError,
    },
    /// The files do not fit together: one is missing, doubled, cut, or swapped.
    #[error("{dir}: segment {seq} {what}")]
    Missing {
        /// The folder.
        dir: String,
        /// Which segment, counted since the log began.
        seq: u64,
        /// What is wrong.
        what: String,
    },
    /// Written by a newer release.
    #[error(
        "{file}: written by a newer release: format version {found}, this build reads up to {supported}; run the newer release"
    )]
    FutureVersion {
        /// The file.
        file: String,
        /// As written.
        found: u32,
        /// The newest known here.
        supported: u32,
    },
    /// The log of another replica.
    #[error("{file}: belongs to {found:02x?}, not to {expected:02x?}")]
    Foreign {
        /// The file.
        file: String,
        /// The owner written in it.
        found: [u8; 16],
        /// The owner asked for.
        expected: [u8; 16],
    },
    /// The options ask for segments that cannot hold a record.
    #[error("segments of {found} bytes: at least {min} are needed")]
    SegmentBytes {
        /// As asked for.
        found: u64,
        /// [`super::MIN_SEGMENT_BYTES`].
        min: u64,
    },
}

/// Why a record was not taken in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// Larger than a record may be.
    #[error("record of {bytes} bytes: at most {max} are possible")]
    TooLarge {
        /// Its length.
        bytes: u64,
        /// The limit.
        max: u64,
    },
    /// A commit failed before; open the log again.
    #[error("the log failed before and must be opened again")]
    Poisoned,
}

/// Why a commit did not end well.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// There is no space for the next segment. What was appended is kept; commit again when there is space.
    #[error("no space for a segment of {needed} bytes")]
    Full {
        /// Length of the segment.
        needed: u64,
    },
    /// The disk refused; the log is poisoned.
    #[error("{file}")]
    Disk {
        /// The file.
        file: String,
        /// What the disk said.
        source: io::Error,
    },
    /// A commit failed before; open the log again.
    #[error("the log failed before and must be opened again")]
    Poisoned,
}

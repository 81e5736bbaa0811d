//! An index as bytes; `FORMAT.md` beside this file draws them.

mod blocks;
mod reader;
#[cfg(test)]
mod tests;
mod writer;

pub(crate) use reader::read;
pub(crate) use writer::write;

/// First bytes of every snapshot.
const MAGIC: [u8; 8] = *b"MRDN-ANN";

/// The format this code writes.
const VERSION: u32 = 2;

/// The oldest format it reads.
const OLDEST: u32 = 1;

/// Content of a block, at most.
const BLOCK_BYTES: usize = 1 << 20;

/// Why bytes are not an index.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The input failed.
    #[error("read index snapshot")]
    Io(#[source] std::io::Error),
    /// The input ended inside the snapshot.
    #[error("index snapshot ends inside block {block}")]
    Truncated {
        /// From 0.
        block: u64,
    },
    /// Not one of ours.
    #[error("not an index snapshot: it begins with {found:02x?}")]
    Foreign {
        /// The first eight bytes.
        found: [u8; 8],
    },
    /// Written by another version.
    #[error("index snapshot of format {found}, this program reads {OLDEST} to {VERSION}")]
    Version {
        /// The snapshot's.
        found: u32,
    },
    /// A block claims more than blocks hold.
    #[error("index snapshot, block {block}: {bytes} bytes, at most {BLOCK_BYTES} are possible")]
    Oversized {
        /// From 0.
        block: u64,
        /// What it claims.
        bytes: u32,
    },
    /// A block was changed.
    #[error("index snapshot, block {block}: checksum {found:08x}, expected {expected:08x}")]
    Checksum {
        /// From 0.
        block: u64,
        /// That of the content.
        found: u32,
        /// That written before it.
        expected: u32,
    },
    /// Checksums hold, but no index of ours has this content.
    #[error("index snapshot, block {block}: {what}")]
    Invalid {
        /// The block being read, from 0.
        block: u64,
        /// What is wrong.
        what: &'static str,
    },
}

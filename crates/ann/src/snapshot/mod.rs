//! Snapshots: an index as bytes, in the format of `FORMAT.md`.

mod blocks;
mod reader;
#[cfg(test)]
mod tests;
mod writer;

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, Write};

use crate::index::Index;
use crate::storage::vector_store::VectorStorage;

use reader::VectorSource;

/// First bytes of every snapshot.
const MAGIC: [u8; 8] = *b"MRDN-ANN";

/// Version of the format that is written.
const VERSION: u32 = 7;

/// Oldest version that is read.
const OLDEST: u32 = 1;

/// Content of a block, at most.
const BLOCK_BYTES: usize = 1 << 20;

/// Alignment of vectors: a page on most machines.
const PAGE_BYTES: usize = 4_096;

impl Index {
    /// Writes the index, including pending operations, in the format of `snapshot/FORMAT.md`.
    ///
    /// Two indexes that received the same operations and merged all they could write the same bytes.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write_to(&self, out: &mut impl Write) -> io::Result<()> {
        writer::write(self, out)
    }

    /// Reads a snapshot of [`Self::write_to`], and no byte after it. Memory grows with the bytes read, not with counts
    /// in the snapshot.
    ///
    /// # Errors
    /// The input fails, is truncated or damaged, is no snapshot, or has another version.
    pub fn read_from(input: &mut impl Read) -> Result<Self, ReadError> {
        Self::read_from_in(input, VectorStorage::Memory)
    }

    /// As [`Self::read_from`], with the given storage for vectors.
    ///
    /// # Errors
    /// As [`Self::read_from`].
    pub fn read_from_in(input: &mut impl Read, storage: VectorStorage) -> Result<Self, ReadError> {
        reader::read(input, VectorSource::Storage(storage))
    }

    /// As [`Self::read_from`], of a file that holds nothing else. Vectors are mapped from it copy-on-write, so that
    /// only vectors in use take memory, and writes stay in memory. The file must not be changed or truncated while the
    /// index exists (it may be deleted); a disk error ends the process. Vectors of format versions 1 and 2 are read
    /// instead.
    ///
    /// # Errors
    /// As [`Self::read_from`], and if the file cannot be mapped.
    pub fn open(file: File) -> Result<Self, ReadError> {
        let mut input = BufReader::new(file.try_clone().map_err(ReadError::Io)?);
        input.rewind().map_err(ReadError::Io)?;
        let index = reader::read(&mut input, VectorSource::AsTheyLie(file))?;
        match input.fill_buf() {
            Ok([]) => Ok(index),
            Ok(_) => Err(ReadError::Longer),
            Err(error) => Err(ReadError::Io(error)),
        }
    }
}

/// Reason why bytes are not a valid snapshot.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The input failed.
    #[error("read index snapshot")]
    Io(#[source] std::io::Error),
    /// The input ended inside the snapshot.
    #[error("index snapshot ends inside block {block}")]
    Truncated {
        /// Number of the block, from 0.
        block: u64,
    },
    /// The file has content after the snapshot.
    #[error("the file goes on after the index snapshot")]
    Longer,
    /// The first bytes are not those of a snapshot.
    #[error("not an index snapshot: it begins with {found:02x?}")]
    Foreign {
        /// The first eight bytes.
        found: [u8; 8],
    },
    /// The snapshot has another version.
    #[error("index snapshot of format {found}, this program reads {OLDEST} to {VERSION}")]
    Version {
        /// Version of the snapshot.
        found: u32,
    },
    /// The length of a block exceeds the maximum.
    #[error("index snapshot, block {block}: length must be at most {BLOCK_BYTES} bytes (got {bytes})")]
    Oversized {
        /// Number of the block, from 0.
        block: u64,
        /// Its length.
        bytes: u32,
    },
    /// The checksum of a block is wrong.
    #[error("index snapshot, block {block}: checksum {found:08x}, expected {expected:08x}")]
    Checksum {
        /// Number of the block, from 0.
        block: u64,
        /// Checksum of the content.
        found: u32,
        /// Checksum in the snapshot.
        expected: u32,
    },
    /// The checksums are right, but the content is not that of an index.
    #[error("index snapshot, block {block}: {what}")]
    Invalid {
        /// Number of the block being read, from 0.
        block: u64,
        /// Description of the fault.
        what: &'static str,
    },
}

impl ReadError {
    /// The version of the snapshot and the newest one that this program reads, if a newer program wrote it.
    #[must_use]
    pub fn newer_version(&self) -> Option<(u32, u32)> {
        match self {
            Self::Version { found } if *found > VERSION => Some((*found, VERSION)),
            _ => None,
        }
    }
}

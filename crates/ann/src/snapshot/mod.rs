//! An index as bytes; `FORMAT.md` beside this file draws them.

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

/// The format this code writes.
const VERSION: u32 = 7;

/// The oldest format it reads.
const OLDEST: u32 = 1;

/// Content of a block, at most.
const BLOCK_BYTES: usize = 1 << 20;

/// What vectors are aligned to: a page of most machines.
const PAGE_BYTES: usize = 4_096;

impl Index {
    /// Writes all of it, queued operations included, in the format of `snapshot/FORMAT.md`.
    ///
    /// Two indexes that received the same operations and merged all they could write the same bytes.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write_to(&self, out: &mut impl Write) -> io::Result<()> {
        writer::write(self, out)
    }

    /// Reads what [`Self::write_to`] wrote, and no byte beyond it. Memory grows with the bytes read, never with what a
    /// count claims.
    ///
    /// # Errors
    /// When the input fails, is cut off, changed, foreign or of another version.
    pub fn read_from(input: &mut impl Read) -> Result<Self, ReadError> {
        Self::read_from_in(input, VectorStorage::Memory)
    }

    /// As [`Self::read_from`], with its vectors where it is told.
    ///
    /// # Errors
    /// As there.
    pub fn read_from_in(input: &mut impl Read, storage: VectorStorage) -> Result<Self, ReadError> {
        reader::read(input, VectorSource::Storage(storage))
    }

    /// As [`Self::read_from`], of a file that holds nothing else, with its vectors where they lie in it: they are mapped, so what is
    /// not asked for is not in memory. What is written later stays in memory. Nobody may change or cut the file while the index is
    /// there (it may be deleted), and an error of the disk ends the process. Of formats 1 and 2, vectors are read.
    ///
    /// # Errors
    /// As there, and when the file cannot be mapped.
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
    /// A file that holds something behind the snapshot.
    #[error("the file goes on after the index snapshot")]
    Longer,
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

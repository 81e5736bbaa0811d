//! Vectors as they were written: in memory, or in a file.

use std::borrow::Cow;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use crate::kernels::prefetch;
use crate::memory::Rows;

/// Where an index keeps the vectors it has merged. A file must be empty, open for reading and writing, and nobody else's. Its content
/// is worth nothing without the index: it is written as points come, never synced, and may be deleted while it is open.
#[derive(Debug, Default)]
pub enum VectorStorage {
    /// In memory.
    #[default]
    Memory,
    /// In this file, which is mapped: as fast as memory while its pages are resident, and the system may take them. A row that is
    /// not costs a fault, which makes hundreds of kilobytes around it resident. An error of the disk ends the process.
    Mapped(File),
    /// In this file, which is read and written: nothing of it is resident. A search reads the rows it compares again, one call each:
    /// those that codes leave in doubt, some more than it returns; 1 to 2 µs each while they are in the system's page cache. Where it
    /// cannot be read or written, calls panic: there is no going on without it, as there is none without memory.
    File(File),
}

/// Rows of vectors.
pub(crate) enum Originals {
    /// In memory, or mapped.
    Memory(Rows<f32>),
    File {
        file: File,
        dim: usize,
        len: u32,
    },
}

impl Originals {
    pub fn new(dim: usize, storage: VectorStorage) -> Self {
        match storage {
            VectorStorage::Memory => Self::Memory(Rows::new(dim)),
            VectorStorage::Mapped(file) => Self::Memory(Rows::mapped(dim, file)),
            VectorStorage::File(file) => Self::File { file, dim, len: 0 },
        }
    }

    /// The `len` rows that lie in a file from byte `start` on ([`Rows::opened`]).
    ///
    /// # Errors
    /// When the file cannot be mapped or read.
    pub fn opened(dim: usize, file: &File, start: u64, len: u32) -> io::Result<Self> {
        Rows::opened(dim, file, start, len as usize).map(Self::Memory)
    }

    /// Numbers of a row.
    pub fn dim(&self) -> usize {
        match self {
            Self::Memory(rows) => rows.width(),
            Self::File { dim, .. } => *dim,
        }
    }

    /// Bytes of all rows, and how many of them are in memory that the system cannot take.
    pub fn bytes(&self) -> (usize, usize) {
        match self {
            Self::Memory(rows) => (rows.bytes(), rows.resident_bytes()),
            Self::File { dim, len, .. } => (*len as usize * dim * size_of::<f32>(), 0),
        }
    }

    /// Adds a row; `row.len() == dim`.
    pub fn push(&mut self, row: &[f32]) {
        match self {
            Self::Memory(rows) => rows.push(row),
            Self::File { len, .. } => {
                *len += 1;
                let last = *len - 1;
                self.set(last, row);
            }
        }
    }

    /// Writes a row anew.
    pub fn set(&mut self, at: u32, row: &[f32]) {
        match self {
            Self::Memory(rows) => rows.row_mut(at).copy_from_slice(row),
            Self::File { file, .. } => {
                let bytes: &[u8] = bytemuck::cast_slice(row);
                lives(file.write_all_at(bytes, u64::from(at) * bytes.len() as u64));
            }
        }
    }

    #[inline]
    pub fn row(&self, at: u32) -> Cow<'_, [f32]> {
        match self {
            Self::Memory(rows) => Cow::Borrowed(rows.row(at)),
            Self::File { file, dim, .. } => Cow::Owned(read(file, *dim, at)),
        }
    }

    #[inline]
    pub fn prefetch(&self, at: u32) {
        if let Self::Memory(rows) = self {
            prefetch(rows.row(at));
        }
    }
}

#[cold]
fn read(file: &File, dim: usize, at: u32) -> Vec<f32> {
    let mut row = vec![0.0; dim];
    let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut row);
    let start = u64::from(at) * bytes.len() as u64;
    lives(file.read_exact_at(bytes, start));
    row
}

fn lives(done: io::Result<()>) {
    done.expect("the file of the vectors can be read and written");
}

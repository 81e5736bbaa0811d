//! Storage of vectors, in memory or in a file.

use std::borrow::Cow;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use half::bf16;

use crate::kernels::prefetch;
use crate::memory::{Patches, Rows};
use crate::metric::{Component, Space};
use crate::neighbor::Neighbor;
use crate::storage::datatype::{Datatype, Number};

/// Rows between a prefetch and the comparison.
const PREFETCH_DISTANCE: usize = 4;

/// Storage of merged vectors. A file must be empty, open for reading and writing, and used by nothing else. Its content
/// has no meaning without the index: it is never synced, and the file may be deleted while it is open.
#[derive(Debug, Default)]
pub enum VectorStorage {
    /// In memory.
    #[default]
    Memory,
    /// In a mapped file: as fast as memory while its pages are resident; the system may evict them. Access to an
    /// evicted row is a page fault, which makes hundreds of kilobytes around it resident. A disk error ends the
    /// process.
    Mapped(File),
    /// In a file that is read and written; nothing of it is resident. Each row to rerank is one read call, of 1 to 2 µs
    /// if it is in the system's page cache; codes leave few more rows than a search returns. Calls panic if the file
    /// cannot be read or written: an index cannot work without it, as without memory.
    File(File),
}

/// Rows of vectors. Components must be representable in the type of the store ([`Datatype::kept`]).
pub(crate) enum VectorStore {
    Float32(VectorTable<f32>),
    Bfloat16(VectorTable<bf16>),
}

/// Stored vectors with their distance.
#[derive(Clone, Copy)]
pub(crate) struct Vectors<'a> {
    pub rows: &'a VectorStore,
    pub space: Space,
}

impl<'a> Vectors<'a> {
    pub fn row(&self, node: u32) -> Cow<'a, [f32]> {
        self.rows.row(node)
    }

    #[inline]
    pub fn to(&self, query: &[f32], node: u32) -> f32 {
        self.rows.distance(&self.space, query, node)
    }

    /// Calls `visit` with the distance and number of each node.
    pub fn for_each(&self, query: &[f32], nodes: &[u32], visit: impl FnMut(f32, u32)) {
        self.rows.for_each(&self.space, query, nodes, visit);
    }

    /// Replaces distances by code with distances by vector; the order stays.
    pub fn rerank(&self, query: &[f32], neighbors: &mut Vec<Neighbor>) {
        let nodes: Vec<u32> = neighbors.iter().map(|neighbor| neighbor.id()).collect();
        neighbors.clear();
        self.for_each(query, &nodes, |distance, node| neighbors.push(Neighbor::new(distance, node)));
    }
}

/// Rows of one component type.
pub(crate) enum VectorTable<T> {
    /// In memory or mapped.
    Memory(Rows<T>),
    File {
        file: Arc<File>,
        dim: usize,
        len: u32,
        patches: Patches<T>,
    },
}

/// Calls the same for either table.
macro_rules! of_either {
    ($originals:expr, $table:ident => $what:expr) => {
        match $originals {
            VectorStore::Float32($table) => $what,
            VectorStore::Bfloat16($table) => $what,
        }
    };
}

impl VectorStore {
    pub fn new(dim: usize, datatype: Datatype, storage: VectorStorage) -> Self {
        match datatype {
            Datatype::Float32 => Self::Float32(VectorTable::new(dim, storage)),
            Datatype::Bfloat16 => Self::Bfloat16(VectorTable::new(dim, storage)),
        }
    }

    /// Components of a row.
    pub fn dim(&self) -> usize {
        of_either!(self, table => table.dim())
    }

    /// Bytes of a row.
    pub fn row_bytes(&self) -> usize {
        let number = match self {
            Self::Float32(_) => size_of::<f32>(),
            Self::Bfloat16(_) => size_of::<bf16>(),
        };
        self.dim() * number
    }

    /// Bytes of all rows, and those of them that the system cannot evict.
    pub fn bytes(&self) -> (usize, usize) {
        of_either!(self, table => table.bytes())
    }

    /// Writes an existing row or the next one; `row.len() == dim`.
    pub fn put(&mut self, at: u32, row: &[f32]) {
        of_either!(self, table => table.put(at, row));
    }

    /// A row as it was written.
    #[inline]
    pub fn row(&self, at: u32) -> Cow<'_, [f32]> {
        match self {
            Self::Float32(table) => table.row(at),
            Self::Bfloat16(table) => table.row(at).iter().map(|x| x.wide()).collect(),
        }
    }

    /// Distance of a row from the query.
    #[inline]
    pub fn distance(&self, space: &Space, query: &[f32], at: u32) -> f32 {
        of_either!(self, table => Component::distance(space, query, &table.row(at)))
    }

    /// Calls `visit` with the distance and number of each row.
    pub fn for_each(&self, space: &Space, query: &[f32], rows: &[u32], visit: impl FnMut(f32, u32)) {
        of_either!(self, table => table.for_each(space, query, rows, visit));
    }

    #[inline]
    pub fn prefetch(&self, at: u32) {
        of_either!(self, table => table.prefetch(at));
    }

    /// As [`Rows::view`].
    pub fn view(&mut self) -> Self {
        match self {
            Self::Float32(table) => Self::Float32(table.view()),
            Self::Bfloat16(table) => Self::Bfloat16(table.view()),
        }
    }

    /// As [`Rows::patched_rows`].
    pub fn patched_rows(&self) -> usize {
        of_either!(self, table => table.patched_rows())
    }
}

impl<T: Component> VectorTable<T> {
    pub fn new(dim: usize, storage: VectorStorage) -> Self {
        match storage {
            VectorStorage::Memory => Self::Memory(Rows::new(dim)),
            VectorStorage::Mapped(file) => Self::Memory(Rows::mapped(dim, file)),
            VectorStorage::File(file) => Self::File { file: Arc::new(file), dim, len: 0, patches: Patches::default() },
        }
    }

    /// The `len` rows of a file from byte `start` on ([`Rows::opened`]).
    ///
    /// # Errors
    /// The file cannot be mapped or read.
    pub fn opened(dim: usize, file: &File, start: u64, len: u32) -> io::Result<Self> {
        Rows::opened(dim, file, start, len as usize).map(Self::Memory)
    }

    fn dim(&self) -> usize {
        match self {
            Self::Memory(rows) => rows.width(),
            Self::File { dim, .. } => *dim,
        }
    }

    fn bytes(&self) -> (usize, usize) {
        match self {
            Self::Memory(rows) => (rows.bytes(), rows.resident_bytes()),
            Self::File { dim, len, .. } => (*len as usize * dim * size_of::<T>(), 0),
        }
    }

    fn put(&mut self, at: u32, row: &[f32]) {
        let fill = |into: &mut [T]| into.iter_mut().zip(row).for_each(|(into, x)| *into = T::of(*x));
        match self {
            Self::Memory(rows) => fill(rows.row_or_next(at)),
            Self::File { file, dim, len, patches } => {
                *len = (*len).max(at + 1);
                let nothing = || vec![T::zeroed(); *dim];
                match patches.write(at, || nothing().into()) {
                    Some(row) => fill(row),
                    None => {
                        let mut row = nothing();
                        fill(&mut row);
                        write(file, at, &row);
                    }
                }
            }
        }
    }

    #[inline]
    pub fn row(&self, at: u32) -> Cow<'_, [T]> {
        match self {
            Self::Memory(rows) => Cow::Borrowed(rows.row(at)),
            Self::File { file, dim, patches, .. } => {
                patches.get(at).map_or_else(|| Cow::Owned(read(file, *dim, at)), Cow::Borrowed)
            }
        }
    }

    fn for_each(&self, space: &Space, query: &[f32], wanted: &[u32], mut visit: impl FnMut(f32, u32)) {
        let distance = |row: &[T]| Component::distance(space, query, row);
        match self {
            Self::Memory(rows) => {
                wanted.iter().take(PREFETCH_DISTANCE).for_each(|at| prefetch(rows.row(*at)));
                for (nth, at) in wanted.iter().enumerate() {
                    // The processor prefetches adjacent rows by itself.
                    if let Some([before, ahead]) = wanted.get(nth + PREFETCH_DISTANCE - 1..=nth + PREFETCH_DISTANCE)
                        && before + 1 != *ahead
                    {
                        prefetch(rows.row(*ahead));
                    }
                    visit(distance(rows.row(*at)), *at);
                }
            }
            Self::File { .. } => wanted.iter().for_each(|at| visit(distance(&self.row(*at)), *at)),
        }
    }

    fn view(&mut self) -> Self {
        match self {
            Self::Memory(rows) => Self::Memory(rows.view()),
            Self::File { file, dim, len, patches } => {
                patches.take().iter().for_each(|(at, row)| write(file, *at, row));
                Self::File { file: Arc::clone(file), dim: *dim, len: *len, patches: patches.view(*len as usize) }
            }
        }
    }

    fn patched_rows(&self) -> usize {
        match self {
            Self::Memory(rows) => rows.patched_rows(),
            Self::File { patches, .. } => patches.len(),
        }
    }

    #[inline]
    fn prefetch(&self, at: u32) {
        if let Self::Memory(rows) = self {
            prefetch(rows.row(at));
        }
    }
}

#[cold]
fn read<T: Component>(file: &File, dim: usize, at: u32) -> Vec<T> {
    let mut row = vec![T::zeroed(); dim];
    let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut row);
    let start = u64::from(at) * bytes.len() as u64;
    expect_io(file.read_exact_at(bytes, start));
    row
}

fn write<T: Component>(file: &File, at: u32, row: &[T]) {
    let bytes: &[u8] = bytemuck::cast_slice(row);
    expect_io(file.write_all_at(bytes, u64::from(at) * bytes.len() as u64));
}

fn expect_io(done: io::Result<()>) {
    done.expect("the file of the vectors can be read and written");
}

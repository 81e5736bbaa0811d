//! Tables of rows that never move, and that can be read while they are written.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::slice;
use std::sync::Arc;

use bytemuck::Pod;
use memmap2::{MmapMut, MmapOptions, MmapRaw};

use super::Patches;

/// Bytes per chunk, about. Chunks are mapped, so memory is used only once rows are written.
const CHUNK_BYTES: usize = 16 << 20;

/// Bytes of a table from which on huge pages are requested: a search reads rows all over the table, and a TLB miss
/// costs as much as the read. A small table would waste them.
const HUGE_PAGE_THRESHOLD: usize = 4 << 20;

/// A growing table of rows of `width` values. Growing adds a chunk and copies nothing, so no write has to move the
/// table.
pub(crate) struct Rows<T> {
    width: usize,
    /// A chunk holds `1 << shift` rows.
    shift: u32,
    chunks: Arc<[Chunk]>,
    len: usize,
    patches: Patches<T>,
    /// File that the chunks are mapped from, if not memory.
    file: Option<Arc<File>>,
    /// Leading chunks that are mapped copy-on-write from an existing file.
    opened: usize,
}

/// A chunk of rows, with the mapping that holds its memory.
#[derive(Clone)]
struct Chunk {
    start: *mut u8,
    map: Arc<MmapRaw>,
}

#[expect(unsafe_code, reason = "a raw pointer")]
// SAFETY: the memory belongs to the mapping beside the pointer, which any thread may hold. `Rows` decides which rows
// may be read and written, in the same way for all threads.
unsafe impl Send for Chunk {}

#[expect(unsafe_code, reason = "a raw pointer")]
// SAFETY: as above.
unsafe impl Sync for Chunk {}

impl From<MmapMut> for Chunk {
    fn from(map: MmapMut) -> Self {
        let map = Arc::new(MmapRaw::from(map));
        Self { start: map.as_mut_ptr(), map }
    }
}

impl<T: Pod> Rows<T> {
    /// An empty table; `width` is at least 1.
    pub fn new(width: usize) -> Self {
        let rows = (CHUNK_BYTES / (width * size_of::<T>())).max(1);
        Self {
            width,
            shift: rows.ilog2(),
            chunks: Arc::new([]),
            len: 0,
            patches: Patches::default(),
            file: None,
            opened: 0,
        }
    }

    /// An empty table whose chunks are mapped from a file, which must be empty and not be changed by others.
    pub fn mapped(width: usize, file: File) -> Self {
        Self { file: Some(Arc::new(file)), ..Self::new(width) }
    }

    /// The `len` rows of a file from byte `start` on. Nobody may change or truncate the file while the table exists.
    /// Rows are mapped copy-on-write; writes stay in memory. The last rows, which fill no chunk, are read.
    ///
    /// # Errors
    /// The file cannot be mapped or read.
    pub fn opened(width: usize, file: &File, start: u64, len: usize) -> io::Result<Self> {
        assert!(start.is_multiple_of(align_of::<T>() as u64), "rows are aligned");
        let mut rows = Self::new(width);
        rows.opened = len >> rows.shift;
        let bytes = rows.row_bytes() << rows.shift;
        let mut chunks = Vec::new();
        for nth in 0..rows.opened {
            #[expect(unsafe_code, reason = "a mapped file is memory that others could change")]
            // SAFETY: nobody changes the file, as the caller promises.
            let chunk = unsafe { MmapOptions::new().offset(start + (nth * bytes) as u64).len(bytes).map_copy(file)? };
            let _ = chunk.advise(memmap2::Advice::Random);
            chunks.push(Chunk::from(chunk));
        }
        rows.chunks = chunks.into();
        rows.len = rows.opened << rows.shift;
        for at in rows.len..len {
            let row: &mut [u8] = bytemuck::cast_slice_mut(rows.row_or_next(at as u32));
            let start = start + (at * row.len()) as u64;
            file.read_exact_at(row, start)?;
        }
        Ok(rows)
    }

    /// Maps memory for another chunk.
    fn chunk(&self) -> io::Result<MmapMut> {
        let bytes = self.row_bytes() << self.shift;
        let mut options = MmapOptions::new();
        let Some(file) = &self.file else { return options.len(bytes).map_anon() };
        let start = (self.chunks.len() * bytes) as u64;
        file.set_len(start + bytes as u64)?;
        #[expect(unsafe_code, reason = "a mapped file is memory that others could change")]
        // SAFETY: only this table uses the file ([`Self::mapped`]), and it never gets shorter.
        let chunk = unsafe { options.offset(start).len(bytes).map_mut(file)? };
        // Access is random. A kernel that ignores the advice reads ahead in vain.
        let _ = chunk.advise(memmap2::Advice::Random);
        Ok(chunk)
    }

    /// Values per row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.len
    }

    fn row_bytes(&self) -> usize {
        self.width * size_of::<T>()
    }

    /// Bytes of all rows.
    pub fn bytes(&self) -> usize {
        self.len * self.row_bytes()
    }

    /// Bytes of rows that the system cannot evict; writes to rows of [`Self::opened`] are not counted.
    pub fn resident_bytes(&self) -> usize {
        let taken = if self.file.is_some() { self.len } else { self.opened << self.shift };
        (self.len - taken) * self.row_bytes()
    }

    /// Appends a row; `row.len() == width`.
    pub fn push(&mut self, row: &[T]) {
        self.add();
        self.row_mut((self.len - 1) as u32).copy_from_slice(row);
    }

    /// An existing row or the next one, for writing.
    pub fn row_or_next(&mut self, at: u32) -> &mut [T] {
        if at as usize == self.len {
            self.add();
        }
        self.row_mut(at)
    }

    fn add(&mut self) {
        while self.chunks.len() << self.shift <= self.len {
            // As with every allocation, the process cannot continue without memory.
            let chunk = self.chunk().expect("memory for more rows").into();
            self.chunks = self.chunks.iter().cloned().chain([chunk]).collect();
            if self.bytes() >= HUGE_PAGE_THRESHOLD {
                self.ask_for_huge_pages(self.chunks.len() - 1);
            }
        }
        self.len += 1;
        if self.bytes() / HUGE_PAGE_THRESHOLD != (self.bytes() - self.row_bytes()) / HUGE_PAGE_THRESHOLD {
            ((self.len - 1) >> self.shift..self.chunks.len()).for_each(|chunk| self.ask_for_huge_pages(chunk));
        }
    }

    fn ask_for_huge_pages(&self, chunk: usize) {
        #[cfg(target_os = "linux")]
        if self.file.is_none() {
            // A refusal costs only speed.
            let _ = self.chunks[chunk].map.advise(memmap2::Advice::HugePage);
        }
        #[cfg(not(target_os = "linux"))]
        let _ = chunk;
    }

    /// The current rows, unaffected by later writes.
    pub fn view(&mut self) -> Self {
        self.fold();
        Self {
            width: self.width,
            shift: self.shift,
            chunks: Arc::clone(&self.chunks),
            len: self.len,
            patches: self.patches.view(self.len),
            file: self.file.clone(),
            opened: self.opened,
        }
    }

    /// Rows with a patch that a live view may need.
    pub fn patched_rows(&self) -> usize {
        self.patches.len()
    }

    /// Merges patches back into rows that no view reads.
    fn fold(&mut self) {
        for (at, row) in self.patches.take() {
            let base = self.base(at);
            #[expect(unsafe_code, reason = "views read other rows meanwhile")]
            // SAFETY: the row is valid ([`Self::base`]), no view reads it ([`Patches::take`]), and nothing of this
            // table is borrowed.
            unsafe { slice::from_raw_parts_mut(base, self.width) }.copy_from_slice(&row);
        }
    }

    #[inline]
    pub fn row(&self, at: u32) -> &[T] {
        if let Some(row) = self.patches.get(at) {
            return row;
        }
        #[expect(unsafe_code, reason = "others may write other rows meanwhile")]
        // SAFETY: the row is valid ([`Self::base`]). Only the writer's [`Self::row_mut`] and [`Self::fold`] write it,
        // which the borrow of the row excludes. While a view reads it, nobody writes it ([`Patches::write`],
        // [`Patches::take`]).
        unsafe {
            slice::from_raw_parts(self.base(at), self.width)
        }
    }

    /// `count` adjacent rows, if they are contiguous in memory.
    #[inline]
    pub fn run(&self, at: u32, count: usize) -> Option<&[T]> {
        let end = at as usize + count;
        let is_one = count > 0 && end <= self.len && at >> self.shift == (end - 1) as u32 >> self.shift;
        if !is_one || self.patches.len() > 0 {
            return None;
        }
        #[expect(unsafe_code, reason = "others may write other rows meanwhile")]
        // SAFETY: all rows are valid and in one chunk; otherwise as in [`Self::row`].
        Some(unsafe { slice::from_raw_parts(self.base(at), count * self.width) })
    }

    #[inline]
    pub fn row_mut(&mut self, at: u32) -> &mut [T] {
        let (base, width) = (self.base(at), self.width);
        #[expect(unsafe_code, reason = "views may read it meanwhile")]
        // SAFETY: as [`Self::row`].
        let held = || Arc::from(unsafe { slice::from_raw_parts(base, width) });
        match self.patches.write(at, held) {
            Some(row) => row,
            #[expect(unsafe_code, reason = "views may read other rows meanwhile")]
            // SAFETY: the row is valid ([`Self::base`]), no view reads it ([`Patches::write`]), and nothing of this
            // table is borrowed.
            None => unsafe { slice::from_raw_parts_mut(base, width) },
        }
    }

    /// Address of a row: `width` values that were written or are zero, in a mapping that lives as long as the table. It
    /// is aligned, because pages, the start of rows in a file ([`Self::opened`]) and whole rows are.
    #[inline]
    fn base(&self, at: u32) -> *mut T {
        let at = at as usize;
        assert!(at < self.len, "row {at} of {}", self.len);
        #[expect(unsafe_code, reason = "every distance that a search computes reads a row")]
        // SAFETY: chunks are added before `len` exceeds their capacity ([`Self::add`], [`Self::opened`]).
        let chunk = unsafe { self.chunks.get_unchecked(at >> self.shift) };
        chunk.start.cast::<T>().wrapping_add((at & ((1 << self.shift) - 1)) * self.width)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_keep_their_content_over_many_chunks() {
        let file = || tempfile::tempfile().expect("a file");
        for (width, is_mapped) in
            [(1, false), (7, false), (100, true), (10_000, false), (10_000, true), (65_536, false)]
        {
            let mut rows = if is_mapped { Rows::mapped(width, file()) } else { Rows::<f32>::new(width) };
            // Two chunks of the wide ones.
            let count = if width < 10_000 { 200_000 / width } else { 5 * CHUNK_BYTES / width / 16 };
            for i in 0..count {
                rows.push(&vec![i as f32; width]);
            }
            assert!(rows.len() == count && rows.bytes() == count * width * 4);
            rows.row_mut(3).fill(-1.0);
            for i in 0..count {
                let expected = if i == 3 { -1.0 } else { i as f32 };
                assert!(rows.row(i as u32).iter().all(|x| *x == expected), "row {i} of width {width}");
                let run = rows.run(i as u32, 2);
                let next = i + 1 < count && (i + 1) % (1 << rows.shift) != 0;
                assert_eq!(run.is_some(), next, "rows {i} and the next of width {width}");
                if let Some(run) = run {
                    let rows = [rows.row(i as u32), rows.row(i as u32 + 1)];
                    assert!(std::ptr::eq(&run[..width], rows[0]) && std::ptr::eq(&run[width..], rows[1]));
                }
            }
        }
    }

    /// One thread adds and writes rows while others read views. Small, for Miri, which finds undefined behavior that no
    /// test can.
    #[test]
    fn views_are_read_while_rows_are_written() {
        let read = |view: &Rows<u32>| (0..view.len() as u32).map(|at| view.row(at).to_vec()).collect::<Vec<_>>();
        let mut rows = Rows::new(3);
        let mut model: Vec<Vec<u32>> = Vec::new();
        std::thread::scope(|scope| {
            for round in 0..12 {
                rows.push(&[round; 3]);
                model.push(vec![round; 3]);
                for at in [0, round / 2, round] {
                    rows.row_mut(at)[1] += 10 + round;
                    model[at as usize][1] += 10 + round;
                }
                let (view, model) = (rows.view(), model.clone());
                scope.spawn(move || assert_eq!([read(&view), read(&view)], [model.clone(), model]));
                while rows.patched_rows() > 2 {
                    std::thread::yield_now();
                    drop(rows.view());
                }
            }
        });
        drop(rows.view());
        assert_eq!((read(&rows), rows.patched_rows()), (model, 0));
        let view = rows.view();
        rows.row_mut(5).fill(0);
        assert_eq!((rows.run(0, 2), view.run(0, 12).map(<[_]>::len)), (None, Some(36)), "a row lies elsewhere");
    }
}

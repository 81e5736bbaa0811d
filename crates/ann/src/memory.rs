//! Rows of equal width that never move when more come.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytemuck::{Pod, Zeroable};
use memmap2::{MmapMut, MmapOptions};

/// What the processor fetches at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Pod, Zeroable)]
#[repr(C, align(64))]
pub(crate) struct Line(pub [u8; 64]);

impl Line {
    pub const BYTES: usize = size_of::<Self>();
    pub const ZERO: Self = Self([0; Self::BYTES]);
}

/// Lines as the bytes they are.
pub(crate) fn bytes_of(lines: &[Line]) -> &[u8] {
    bytemuck::cast_slice(lines)
}

/// As [`bytes_of`], to be changed.
pub(crate) fn bytes_of_mut(lines: &mut [Line]) -> &mut [u8] {
    bytemuck::cast_slice_mut(lines)
}

/// Bytes of one chunk, about. They are mapped, so none is used before a row is put there or [`Rows::populate`] is called.
const CHUNK_BYTES: usize = 16 << 20;

/// Bytes of a table from which on the kernel is asked for huge pages: a walk touches rows all over it, and finding a page
/// takes as long as reading it. A small table would waste them.
const HUGE_FROM: usize = 4 << 20;

/// Rows beyond the last that memory is provided for, and bytes of them at most, but for one.
const ROWS_AHEAD: usize = 512;
const BYTES_AHEAD: usize = 8 << 20;

/// A growing table of rows of `width` values. Growing adds a chunk and copies nothing, so no write pays for a large move.
pub(crate) struct Rows<T> {
    width: usize,
    /// A chunk holds `1 << shift` rows.
    shift: u32,
    chunks: Vec<MmapMut>,
    len: usize,
    /// Rows, used or not, whose memory the system has provided.
    populated: AtomicUsize,
    /// What the chunks are mapped from, if not memory.
    file: Option<File>,
    /// Chunks, of the first, that are mapped from a file as it was.
    opened: usize,
    values: std::marker::PhantomData<T>,
}

impl<T: Pod> Rows<T> {
    /// An empty table; `width` is at least 1.
    pub fn new(width: usize) -> Self {
        let rows = (CHUNK_BYTES / (width * size_of::<T>())).max(1);
        Self {
            width,
            shift: rows.ilog2(),
            chunks: Vec::new(),
            len: 0,
            populated: AtomicUsize::new(0),
            file: None,
            opened: 0,
            values: std::marker::PhantomData,
        }
    }

    /// An empty table whose chunks are mapped from a file, which must be empty and changed by nobody else.
    pub fn mapped(width: usize, file: File) -> Self {
        Self { file: Some(file), ..Self::new(width) }
    }

    /// The `len` rows that lie in a file from byte `start` on, which nobody may change or cut while the table is there. They are
    /// mapped; what is written to them stays in memory and never gets to the file. The last of them, which fill no chunk, are read.
    ///
    /// # Errors
    /// When the file cannot be mapped or read.
    pub fn opened(width: usize, file: &File, start: u64, len: usize) -> io::Result<Self> {
        let mut rows = Self::new(width);
        rows.opened = len >> rows.shift;
        let bytes = rows.row_bytes() << rows.shift;
        for nth in 0..rows.opened {
            #[expect(unsafe_code, reason = "a mapped file is memory that others could change")]
            // SAFETY: nobody changes the file, as the caller promises.
            let chunk = unsafe { MmapOptions::new().offset(start + (nth * bytes) as u64).len(bytes).map_copy(file)? };
            let _ = chunk.advise(memmap2::Advice::Random);
            rows.chunks.push(chunk);
        }
        rows.len = rows.opened << rows.shift;
        for at in rows.len..len {
            let row: &mut [u8] = bytemuck::cast_slice_mut(rows.row_or_next(at as u32));
            let start = start + (at * row.len()) as u64;
            file.read_exact_at(row, start)?;
        }
        Ok(rows)
    }

    /// Room for more rows.
    fn chunk(&self) -> io::Result<MmapMut> {
        let bytes = self.row_bytes() << self.shift;
        let mut options = MmapOptions::new();
        let Some(file) = &self.file else { return options.len(bytes).no_reserve_swap().map_anon() };
        let start = (self.chunks.len() * bytes) as u64;
        file.set_len(start + bytes as u64)?;
        #[expect(unsafe_code, reason = "a mapped file is memory that others could change")]
        // SAFETY: the file is this table's alone ([`Self::mapped`]), and it never gets shorter.
        let chunk = unsafe { options.offset(start).len(bytes).map_mut(file)? };
        // One row here, one there. A kernel that does not care reads more than it need.
        let _ = chunk.advise(memmap2::Advice::Random);
        Ok(chunk)
    }

    /// Values in a row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Rows.
    pub fn len(&self) -> usize {
        self.len
    }

    fn row_bytes(&self) -> usize {
        self.width * size_of::<T>()
    }

    /// Bytes of the rows there are.
    pub fn bytes(&self) -> usize {
        self.len * self.row_bytes()
    }

    /// Bytes of them that the system cannot take; what was written to rows of [`Self::opened`] is not counted.
    pub fn resident_bytes(&self) -> usize {
        let taken = if self.file.is_some() { self.len } else { self.opened << self.shift };
        (self.len - taken) * self.row_bytes()
    }

    /// Adds a row; `row.len() == width`.
    pub fn push(&mut self, row: &[T]) {
        self.add();
        self.row_mut((self.len - 1) as u32).copy_from_slice(row);
    }

    /// A row to be written, which is one of those there are or the next.
    pub fn row_or_next(&mut self, at: u32) -> &mut [T] {
        if at as usize == self.len {
            self.add();
        }
        self.row_mut(at)
    }

    fn add(&mut self) {
        self.len += 1;
        while self.chunks.len() << self.shift < self.len + self.ahead() {
            // As with every allocation, there is no going on without memory.
            let chunk = self.chunk().expect("memory for more rows");
            self.chunks.push(chunk);
            if self.bytes() >= HUGE_FROM {
                self.ask_for_huge_pages(self.chunks.len() - 1);
            }
        }
        if self.bytes() / HUGE_FROM != (self.bytes() - self.row_bytes()) / HUGE_FROM {
            ((self.len - 1) >> self.shift..self.chunks.len()).for_each(|chunk| self.ask_for_huge_pages(chunk));
        }
    }

    /// Rows beyond the last that there is room for already. Files grow when rows do.
    fn ahead(&self) -> usize {
        if self.file.is_some() { 0 } else { (BYTES_AHEAD / self.row_bytes()).clamp(1, ROWS_AHEAD) }
    }

    fn ask_for_huge_pages(&self, chunk: usize) {
        #[cfg(target_os = "linux")]
        if self.file.is_none() {
            // A kernel that does not want to changes nothing but speed.
            let _ = self.chunks[chunk].advise(memmap2::Advice::HugePage);
        }
        #[cfg(not(target_os = "linux"))]
        let _ = chunk;
    }

    /// Has the system provide the memory of the next rows, which takes it milliseconds where pages are huge and nobody had them
    /// before. Rows that come do not wait for it then.
    pub fn populate(&self) {
        let (from, to) = (self.populated.load(Ordering::Relaxed).max(self.len), self.len + self.ahead());
        if self.file.is_some() || self.bytes() < HUGE_FROM || from > self.len + self.ahead() / 2 {
            return;
        }
        let to = to.min(self.chunks.len() << self.shift);
        #[cfg(target_os = "linux")]
        for (nth, chunk) in self.chunks.iter().enumerate().skip(from >> self.shift) {
            let rows = 1 << self.shift;
            let [from, to] = [from, to].map(|row| row.saturating_sub(nth * rows).min(rows) * self.row_bytes());
            if from < to {
                // A kernel that cannot do so provides it later.
                let _ = chunk.advise_range(memmap2::Advice::PopulateWrite, from, to - from);
            }
        }
        self.populated.store(to, Ordering::Relaxed);
    }

    #[inline]
    pub fn row(&self, at: u32) -> &[T] {
        let (chunk, start) = self.place(at);
        bytemuck::cast_slice(&self.chunks[chunk][start..start + self.row_bytes()])
    }

    #[inline]
    pub fn row_mut(&mut self, at: u32) -> &mut [T] {
        let (chunk, start) = self.place(at);
        let end = start + self.row_bytes();
        bytemuck::cast_slice_mut(&mut self.chunks[chunk][start..end])
    }

    #[inline]
    fn place(&self, at: u32) -> (usize, usize) {
        debug_assert!((at as usize) < self.len, "row {at} of {}", self.len);
        let at = at as usize;
        (at >> self.shift, (at & ((1 << self.shift) - 1)) * self.row_bytes())
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
            // Of the wide ones two chunks.
            let count = if width < 10_000 { 200_000 / width } else { 5 * CHUNK_BYTES / width / 16 };
            for i in 0..count {
                rows.push(&vec![i as f32; width]);
                if i % 50 == 0 {
                    rows.populate();
                }
            }
            assert!(rows.len() == count && rows.bytes() == count * width * 4);
            rows.row_mut(3).fill(-1.0);
            for i in 0..count {
                let expected = if i == 3 { -1.0 } else { i as f32 };
                assert!(rows.row(i as u32).iter().all(|x| *x == expected), "row {i} of width {width}");
            }
        }
    }
}

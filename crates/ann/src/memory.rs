//! Rows of equal width that never move when more come.

/// Bytes of one chunk: large enough that the allocator maps it lazily, small enough for an index of a few points.
const CHUNK_BYTES: usize = 256 << 10;

/// A growing table of rows of `width` values. Growing adds a chunk and copies nothing, so no write pays for a large move.
pub(crate) struct Rows<T> {
    width: usize,
    /// A chunk holds `1 << shift` rows.
    shift: u32,
    chunks: Vec<Vec<T>>,
    len: usize,
}

impl<T: Copy> Rows<T> {
    /// An empty table; `width` is at least 1.
    pub fn new(width: usize) -> Self {
        let rows = (CHUNK_BYTES / (width * size_of::<T>())).max(1);
        Self { width, shift: rows.ilog2(), chunks: Vec::new(), len: 0 }
    }

    /// Values in a row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Bytes set aside for rows.
    pub fn bytes(&self) -> usize {
        self.chunks.iter().map(|chunk| chunk.capacity() * size_of::<T>()).sum()
    }

    /// Adds a row; `row.len() == width`.
    pub fn push(&mut self, row: &[T]) {
        debug_assert_eq!(row.len(), self.width);
        if self.len == self.chunks.len() << self.shift {
            self.chunks.push(Vec::with_capacity(self.width << self.shift));
        }
        let last = self.chunks.last_mut().expect("a chunk with room was just ensured");
        last.extend_from_slice(row);
        self.len += 1;
    }

    #[inline]
    pub fn row(&self, at: u32) -> &[T] {
        let (chunk, start) = self.place(at);
        &self.chunks[chunk][start..start + self.width]
    }

    #[inline]
    pub fn row_mut(&mut self, at: u32) -> &mut [T] {
        let (chunk, start) = self.place(at);
        &mut self.chunks[chunk][start..start + self.width]
    }

    #[inline]
    fn place(&self, at: u32) -> (usize, usize) {
        let at = at as usize;
        (at >> self.shift, (at & ((1 << self.shift) - 1)) * self.width)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_keep_their_content_over_many_chunks() {
        for width in [1, 7, 100, 65_536] {
            let mut rows = Rows::<f32>::new(width);
            let count = if width == 65_536 { 10 } else { 200_000 / width };
            for i in 0..count {
                rows.push(&vec![i as f32; width]);
            }
            rows.row_mut(3).fill(-1.0);
            for i in 0..count {
                let expected = if i == 3 { -1.0 } else { i as f32 };
                assert!(rows.row(i as u32).iter().all(|x| *x == expected), "row {i} of width {width}");
            }
        }
    }
}

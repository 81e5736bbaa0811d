//! File formats of public benchmarks for vectors and ground-truth neighbors.
//!
//! ```text
//!   .fvecs .ivecs   per row: dim i32 │ dim x f32 or i32            (INRIA, "Datasets for approximate nearest neighbor search")
//!   .fbin  .ibin    rows u32 │ dim u32 │ rows x dim x f32 or i32   (big-ann-benchmarks)
//!   .npy            see `npy`; floats only
//! ```
//! All little-endian.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use super::npy::{NpyError, read_npy};

/// Row length limit.
const MAX_NUMBERS_PER_ROW: usize = 1 << 20;
/// Size limit of the numbers: 16 GiB.
const MAX_BYTES: usize = 1 << 34;

/// Rows of equal length.
#[derive(Debug, Clone, PartialEq)]
pub struct Rows<T> {
    /// Row length, at least 1.
    pub dim: usize,
    /// Row-major.
    pub numbers: Vec<T>,
}

impl<T> Rows<T> {
    /// Number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.numbers.len() / self.dim
    }

    /// Whether there are no rows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.numbers.is_empty()
    }

    /// Row `at`, `dim` numbers.
    ///
    /// # Panics
    /// When `at >= len()`.
    #[must_use]
    pub fn row(&self, at: usize) -> &[T] {
        &self.numbers[at * self.dim..][..self.dim]
    }
}

/// Why a file cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum RowsError {
    /// I/O error.
    #[error("read")]
    Io(#[from] io::Error),
    /// Invalid NumPy file.
    #[error(transparent)]
    Npy(#[from] NpyError),
    /// Unknown file name extension.
    #[error("file name must end in one of {0}")]
    Name(&'static str),
    /// Row length out of range.
    #[error("length of row {row} must be between 1 and {MAX_NUMBERS_PER_ROW} (got {dim})")]
    Length {
        /// Row number, from 0.
        row: usize,
        /// Length in the file.
        dim: i64,
    },
    /// Rows differ in length.
    #[error("length of row {row} must be {first} as of row 0 (got {dim})")]
    UnequalRows {
        /// Row number, from 0.
        row: usize,
        /// Its length.
        dim: usize,
        /// Length of row 0.
        first: usize,
    },
    /// The file ends inside a row or before the announced number of rows.
    #[error("file ends inside row {row}")]
    Truncated {
        /// Row number, from 0.
        row: usize,
    },
    /// The file exceeds the size limit.
    #[error("numbers must take at most {MAX_BYTES} bytes")]
    TooLarge,
}

/// Reads the first `max_rows` vectors of an `.npy`, `.fvecs` or `.fbin` file.
///
/// # Errors
/// When the file cannot be read or is invalid.
pub fn read_vectors(path: &Path, max_rows: usize) -> Result<Rows<f32>, RowsError> {
    match extension(path) {
        "npy" => {
            let (dim, numbers) = read_npy(path, max_rows)?;
            Ok(Rows { dim, numbers })
        }
        "fvecs" => read_vecs(&mut open(path)?, max_rows, f32::from_le_bytes),
        "fbin" => read_bin(&mut open(path)?, max_rows, f32::from_le_bytes),
        _ => Err(RowsError::Name(".npy, .fvecs, .fbin")),
    }
}

/// Reads the first `max_rows` rows of true neighbors of an `.ivecs` or `.ibin` file, nearest first.
///
/// # Errors
/// When the file cannot be read or is invalid.
pub fn read_neighbors(path: &Path, max_rows: usize) -> Result<Rows<u32>, RowsError> {
    match extension(path) {
        "ivecs" => read_vecs(&mut open(path)?, max_rows, u32::from_le_bytes),
        "ibin" => read_bin(&mut open(path)?, max_rows, u32::from_le_bytes),
        _ => Err(RowsError::Name(".ivecs, .ibin")),
    }
}

fn extension(path: &Path) -> &str {
    path.extension().and_then(|extension| extension.to_str()).unwrap_or_default()
}

fn open(path: &Path) -> io::Result<BufReader<File>> {
    Ok(BufReader::with_capacity(1 << 20, File::open(path)?))
}

/// Reads up to `max_rows` length-prefixed rows (`.fvecs`, `.ivecs`).
///
/// # Errors
/// On I/O errors, truncated input and invalid row lengths.
pub fn read_vecs<T>(input: &mut impl Read, max_rows: usize, number: fn([u8; 4]) -> T) -> Result<Rows<T>, RowsError> {
    let mut rows = Rows { dim: 1, numbers: Vec::new() };
    for row in 0..max_rows {
        let mut length = [0; 4];
        match input.read(&mut length[..1])? {
            0 => break,
            _ => fill(input, &mut length[1..], row)?,
        }
        let dim = length_of(i32::from_le_bytes(length).into(), row)?;
        if row == 0 {
            rows.dim = dim;
        } else if dim != rows.dim {
            return Err(RowsError::UnequalRows { row, dim, first: rows.dim });
        }
        read_row(input, &mut rows, row, number)?;
    }
    Ok(rows)
}

/// Reads up to `max_rows` rows behind a header with count and length (`.fbin`, `.ibin`).
///
/// # Errors
/// On I/O errors, truncated input and invalid row lengths.
pub fn read_bin<T>(input: &mut impl Read, max_rows: usize, number: fn([u8; 4]) -> T) -> Result<Rows<T>, RowsError> {
    let mut head = [0; 8];
    fill(input, &mut head, 0)?;
    let [count, dim] = [0, 4].map(|at| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]));
    let mut rows = Rows { dim: length_of(dim.into(), 0)?, numbers: Vec::new() };
    for row in 0..max_rows.min(count as usize) {
        read_row(input, &mut rows, row, number)?;
    }
    Ok(rows)
}

fn length_of(claimed: i64, row: usize) -> Result<usize, RowsError> {
    let possible = usize::try_from(claimed).ok().filter(|dim| (1..=MAX_NUMBERS_PER_ROW).contains(dim));
    possible.ok_or(RowsError::Length { row, dim: claimed })
}

/// Allocates per row read, never by the announced count.
fn read_row<T>(
    input: &mut impl Read,
    rows: &mut Rows<T>,
    row: usize,
    number: fn([u8; 4]) -> T,
) -> Result<(), RowsError> {
    if (rows.numbers.len() + rows.dim) * 4 > MAX_BYTES {
        return Err(RowsError::TooLarge);
    }
    let mut bytes = vec![0; rows.dim * 4];
    fill(input, &mut bytes, row)?;
    rows.numbers.extend(bytes.chunks_exact(4).map(|bytes| number([bytes[0], bytes[1], bytes[2], bytes[3]])));
    Ok(())
}

fn fill(input: &mut impl Read, bytes: &mut [u8], row: usize) -> Result<(), RowsError> {
    input.read_exact(bytes).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => RowsError::Truncated { row },
        _ => RowsError::Io(error),
    })
}

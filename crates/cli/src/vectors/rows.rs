//! The file formats in which benchmarks share vectors and true neighbours.
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

/// Longest row that is read.
const MOST_NUMBERS_A_ROW: usize = 1 << 20;
/// Most bytes that are read: 16 GiB.
const MOST_BYTES: usize = 1 << 34;

/// Rows of equal length.
#[derive(Debug, Clone, PartialEq)]
pub struct Rows<T> {
    /// Numbers a row, 1 at least.
    pub dim: usize,
    /// Row-major.
    pub numbers: Vec<T>,
}

impl<T> Rows<T> {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.numbers.len() / self.dim
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.numbers.is_empty()
    }

    /// Row `at`.
    ///
    /// # Panics
    /// When there is no such row.
    #[must_use]
    pub fn row(&self, at: usize) -> &[T] {
        &self.numbers[at * self.dim..][..self.dim]
    }
}

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RowsError {
    /// It cannot be read.
    #[error("read")]
    Io(#[from] io::Error),
    /// It is no usable NumPy file.
    #[error(transparent)]
    Npy(#[from] NpyError),
    /// Its name ends otherwise.
    #[error("expected a name that ends in one of {0}")]
    Name(&'static str),
    /// A row has an impossible length.
    #[error("row {row} claims {dim} numbers, from 1 to {MOST_NUMBERS_A_ROW} are possible")]
    Length {
        /// From 0.
        row: usize,
        /// What it claims.
        dim: i64,
    },
    /// Rows are unlike.
    #[error("row {row} has {dim} numbers, the first has {first}")]
    Uneven {
        /// From 0.
        row: usize,
        /// Its length.
        dim: usize,
        /// That of row 0.
        first: usize,
    },
    /// It ends inside a row, or before the rows that it claims.
    #[error("ends inside row {row}")]
    Truncated {
        /// From 0.
        row: usize,
    },
    /// It is larger than what is read.
    #[error("more than {MOST_BYTES} bytes of numbers")]
    TooLarge,
}

/// The first `most` vectors of an `.npy`, `.fvecs` or `.fbin` file.
///
/// # Errors
/// When it cannot be read or is none of these.
pub fn read_vectors(path: &Path, most: usize) -> Result<Rows<f32>, RowsError> {
    match extension(path) {
        "npy" => {
            let (dim, numbers) = read_npy(path, most)?;
            Ok(Rows { dim, numbers })
        }
        "fvecs" => read_vecs(&mut open(path)?, most, f32::from_le_bytes),
        "fbin" => read_bin(&mut open(path)?, most, f32::from_le_bytes),
        _ => Err(RowsError::Name(".npy, .fvecs, .fbin")),
    }
}

/// The first `most` rows of true neighbours of an `.ivecs` or `.ibin` file.
///
/// # Errors
/// When it cannot be read or is none of these.
pub fn read_neighbours(path: &Path, most: usize) -> Result<Rows<u32>, RowsError> {
    match extension(path) {
        "ivecs" => read_vecs(&mut open(path)?, most, u32::from_le_bytes),
        "ibin" => read_bin(&mut open(path)?, most, u32::from_le_bytes),
        _ => Err(RowsError::Name(".ivecs, .ibin")),
    }
}

fn extension(path: &Path) -> &str {
    path.extension().and_then(|extension| extension.to_str()).unwrap_or_default()
}

fn open(path: &Path) -> io::Result<BufReader<File>> {
    Ok(BufReader::with_capacity(1 << 20, File::open(path)?))
}

/// Up to `most` rows that each tell their length, `.fvecs` and `.ivecs`.
///
/// # Errors
/// When the input fails, is cut off, or has rows that cannot be.
pub fn read_vecs<T>(input: &mut impl Read, most: usize, number: fn([u8; 4]) -> T) -> Result<Rows<T>, RowsError> {
    let mut rows = Rows { dim: 1, numbers: Vec::new() };
    for row in 0..most {
        let mut length = [0; 4];
        match input.read(&mut length[..1])? {
            0 => break,
            _ => fill(input, &mut length[1..], row)?,
        }
        let dim = length_of(i32::from_le_bytes(length).into(), row)?;
        if row == 0 {
            rows.dim = dim;
        } else if dim != rows.dim {
            return Err(RowsError::Uneven { row, dim, first: rows.dim });
        }
        read_row(input, &mut rows, row, number)?;
    }
    Ok(rows)
}

/// Up to `most` rows behind their number and length, `.fbin` and `.ibin`.
///
/// # Errors
/// When the input fails, is cut off, or has rows that cannot be.
pub fn read_bin<T>(input: &mut impl Read, most: usize, number: fn([u8; 4]) -> T) -> Result<Rows<T>, RowsError> {
    let mut head = [0; 8];
    fill(input, &mut head, 0)?;
    let [count, dim] = [0, 4].map(|at| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]));
    let mut rows = Rows { dim: length_of(dim.into(), 0)?, numbers: Vec::new() };
    for row in 0..most.min(count as usize) {
        read_row(input, &mut rows, row, number)?;
    }
    Ok(rows)
}

fn length_of(claimed: i64, row: usize) -> Result<usize, RowsError> {
    let possible = usize::try_from(claimed).ok().filter(|dim| (1..=MOST_NUMBERS_A_ROW).contains(dim));
    possible.ok_or(RowsError::Length { row, dim: claimed })
}

/// Memory grows with what is read, never with what is claimed.
fn read_row<T>(
    input: &mut impl Read,
    rows: &mut Rows<T>,
    row: usize,
    number: fn([u8; 4]) -> T,
) -> Result<(), RowsError> {
    if (rows.numbers.len() + rows.dim) * 4 > MOST_BYTES {
        return Err(RowsError::TooLarge);
    }
    let mut bytes = vec![0; rows.dim * 4];
    fill(input, &mut bytes, row)?;
    rows.numbers.extend(bytes.chunks_exact(4).map(|bytes| number([bytes[0], bytes[1], bytes[2], bytes[3]])));
    Ok(())
}

fn fill(input: &mut impl Read, bytes: &mut [u8], row: usize) -> Result<(), RowsError> {
    input.read_exact(bytes).map_err(|fault| match fault.kind() {
        io::ErrorKind::UnexpectedEof => RowsError::Truncated { row },
        _ => RowsError::Io(fault),
    })
}

//! The file format of NumPy, limited to the form of embeddings: two dimensions, `f32`, little-endian, row-major.
//!
//! ```text
//!   "\x93NUMPY" │ 1 │ 0 │ header length: u16 │ {'descr': '<f4', 'fortran_order': False, 'shape': (n, dim), } … \n │ n x dim f32
//!               └ 2 or 3: header length: u32
//! ```
//! Source: NumPy, "NEP 1: A Simple File Format for NumPy Arrays".

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::Path;

const MAGIC: &[u8; 6] = b"\x93NUMPY";
/// Header size limit; NumPy writes 118 bytes.
const HEADER_BYTES: usize = 64 << 10;
/// Limit of numbers: 16 GiB.
const MAX_NUMBERS: usize = 1 << 32;

/// Why a file cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum NpyError {
    /// I/O error.
    #[error("read")]
    Io(#[from] io::Error),
    /// Not a NumPy file.
    #[error("not a NumPy file")]
    Magic,
    /// Unsupported array type.
    #[error("expected 32-bit floats in rows ('<f4', two dimensions, not fortran_order), found {0}")]
    Kind(String),
}

/// Reads the first `max_rows` rows; returns their dimension and their numbers, row-major.
///
/// # Errors
/// When the file cannot be read or is not such an array.
pub fn read_npy(path: &Path, max_rows: usize) -> Result<(usize, Vec<f32>), NpyError> {
    parse_npy(BufReader::new(File::open(path)?), max_rows)
}

/// As [`read_npy`], from any input. Allocates by bytes read, never by the announced shape.
///
/// # Errors
/// On I/O errors, truncated input and other content.
pub fn parse_npy(mut file: impl Read, max_rows: usize) -> Result<(usize, Vec<f32>), NpyError> {
    let mut magic = [0; 8];
    file.read_exact(&mut magic).map_err(|_| NpyError::Magic)?;
    if !magic.starts_with(MAGIC) {
        return Err(NpyError::Magic);
    }
    let mut length = [0; 4];
    file.read_exact(&mut length[..if magic[6] == 1 { 2 } else { 4 }])?;
    let length = u32::from_le_bytes(length) as usize;
    if length > HEADER_BYTES {
        return Err(NpyError::Magic);
    }
    let mut header = vec![0; length];
    file.read_exact(&mut header)?;
    let header = String::from_utf8_lossy(&header).trim().to_owned();
    let (rows, dim) = shape(&header).ok_or_else(|| NpyError::Kind(header.clone()))?;
    let count =
        rows.min(max_rows).checked_mul(dim).filter(|count| *count <= MAX_NUMBERS).ok_or(NpyError::Kind(header))?;
    let mut bytes = Vec::new();
    file.take(count as u64 * 4).read_to_end(&mut bytes)?;
    if bytes.len() < count * 4 {
        return Err(NpyError::Io(io::ErrorKind::UnexpectedEof.into()));
    }
    let number = |bytes: &[u8]| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    Ok((dim, bytes.chunks_exact(4).map(number).collect()))
}

/// Rows and columns of a supported header.
fn shape(header: &str) -> Option<(usize, usize)> {
    let flat: String = header.chars().filter(|c| !c.is_whitespace()).collect();
    let right = flat.contains("'descr':'<f4'") && flat.contains("'fortran_order':False");
    let (_, rest) = flat.split_once("'shape':(").filter(|_| right)?;
    let (rows, columns) = rest.split_once(')')?.0.split_once(',')?;
    let (rows, columns) = (rows.parse().ok()?, columns.trim_end_matches(',').parse().ok()?);
    (columns > 0).then_some((rows, columns))
}

/// Writes `numbers` as rows of `dim`; row-major.
///
/// # Errors
/// When the file cannot be written.
pub fn write_npy(path: &Path, dim: usize, numbers: &[f32]) -> io::Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    let shape = format!("({}, {dim})", numbers.len() / dim.max(1));
    let text = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}");
    // The data must start at a multiple of 64 bytes.
    let length = (10 + text.len() + 1).next_multiple_of(64) - 10;
    file.write_all(MAGIC)?;
    file.write_all(&[1, 0])?;
    file.write_all(&u16::try_from(length).expect("the header is one or two blocks").to_le_bytes())?;
    file.write_all(format!("{text:<width$}\n", width = length - 1).as_bytes())?;
    for number in numbers {
        file.write_all(&number.to_le_bytes())?;
    }
    file.into_inner()?.sync_all()
}

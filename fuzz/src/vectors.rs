//! Any bytes as a file of vectors: rows of equal length or an error, and no more memory than the bytes are worth.

use meridian_cli::vectors::{parse_npy, read_bin, read_vecs};

/// Runs the target; returns whether the bytes are a file of vectors in one of the formats.
#[must_use]
pub fn run(bytes: &[u8]) -> bool {
    let mut accepted = false;
    if let Ok((dim, numbers)) = parse_npy(bytes, usize::MAX) {
        assert!(dim > 0 && numbers.len().is_multiple_of(dim) && numbers.len() * 4 <= bytes.len());
        accepted = true;
    }
    let read = [
        read_vecs(&mut &*bytes, usize::MAX, u32::from_le_bytes),
        read_bin(&mut &*bytes, usize::MAX, u32::from_le_bytes),
    ];
    for rows in read.into_iter().flatten() {
        assert!(rows.numbers.len().is_multiple_of(rows.dim) && rows.numbers.len() * 4 <= bytes.len());
        accepted = true;
    }
    accepted
}

/// Two rows of three numbers as .fvecs and as .fbin, and one row as .npy.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    let numbers = |numbers: &[f32]| numbers.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<u8>>();
    let (first, second) = (numbers(&[1.0, 0.5, -2.0]), numbers(&[0.0, 3.0, 4.0]));
    let (two, three) = (2u32.to_le_bytes(), 3u32.to_le_bytes());
    let vecs = [&three[..], &first, &three, &second].concat();
    let bin = [&two[..], &three, &first, &second].concat();
    let header = "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 3), }";
    let padded = format!("{header:<117}\n");
    let npy = [&b"\x93NUMPY\x01\x00\x76\x00"[..], padded.as_bytes(), &first].concat();
    vec![vecs, bin, npy]
}

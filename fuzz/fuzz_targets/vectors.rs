//! Any bytes as a file of vectors: rows of equal length or an error, and no more memory than the bytes are worth.
#![no_main]

use libfuzzer_sys::fuzz_target;
use meridian_cli::vectors::{parse_npy, read_bin, read_vecs};

fuzz_target!(|bytes: &[u8]| {
    if let Ok((dim, numbers)) = parse_npy(bytes, usize::MAX) {
        assert!(dim > 0 && numbers.len().is_multiple_of(dim) && numbers.len() * 4 <= bytes.len());
    }
    for rows in [
        read_vecs(&mut &*bytes, usize::MAX, u32::from_le_bytes),
        read_bin(&mut &*bytes, usize::MAX, u32::from_le_bytes),
    ] {
        if let Ok(rows) = rows {
            assert!(rows.numbers.len().is_multiple_of(rows.dim) && rows.numbers.len() * 4 <= bytes.len());
        }
    }
});

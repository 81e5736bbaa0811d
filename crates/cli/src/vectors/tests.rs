use super::word_vectors::parse;
use super::*;

#[test]
fn a_numpy_file_is_read_back_to_the_bit_and_only_as_far_as_asked() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.npy");
    let numbers = [1.5, -0.0, f32::MIN_POSITIVE, 3.0, 0.1, 1e30];
    write_npy(&path, 3, &numbers).unwrap();
    assert_eq!(read_npy(&path, 9).unwrap(), (3, numbers.to_vec()));
    assert_eq!(read_npy(&path, 1).unwrap(), (3, numbers[..3].to_vec()));
    assert_eq!(std::fs::metadata(&path).unwrap().len() % 64, 24, "the header fills whole blocks");
}

#[test]
fn files_other_than_float_matrices_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.npy");
    let refused = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        read_npy(&path, 9).unwrap_err().to_string()
    };
    assert_eq!(refused(b"PK\x03\x04 something else"), "not a NumPy file");
    assert_eq!(refused(b""), "not a NumPy file");
    let with = |header: &str| [b"\x93NUMPY\x01\0".as_slice(), &[header.len() as u8, 0], header.as_bytes()].concat();
    let doubles = refused(&with("{'descr': '<f8', 'fortran_order': False, 'shape': (1, 2), }"));
    assert!(doubles.contains("'<f8'"), "{doubles}");
    assert!(refused(&with("{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }")).contains("(2,)"));
    assert!(refused(&with("{'descr': '<f4', 'fortran_order': True, 'shape': (1, 2), }")).contains("True"));
    let huge = "{'descr': '<f4', 'fortran_order': False, 'shape': (18446744073709551615, 8), }";
    std::fs::write(&path, with(huge)).unwrap();
    assert!(read_npy(&path, usize::MAX).is_err());
    assert_eq!(refused(&with("{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2), }")), "read", "it is cut off");
}

#[test]
fn words_are_the_first_hundred_numbers_of_each_value() {
    let row = |first: f32| {
        let numbers: Vec<String> = (0..102).map(|at| (first + at as f32).to_string()).collect();
        format!("[{}]", numbers.join(","))
    };
    let text =
        format!(r#"{{"size":2,"words":["a","b"],"vectors":{{"a":{},"b":{}}},"unkVector":[0]}}"#, row(0.5), row(7.0));
    let words = parse(text.as_bytes()).unwrap();
    assert_eq!(words.names, ["a", "b"]);
    assert_eq!((words.len(), words.row(0)[0], words.row(0)[99], words.row(1)[0]), (2, 0.5, 99.5, 7.0));
    assert!(parse(&br#"{"vectors":{"a":[1,2]}}"#[..]).unwrap_err().to_string().contains("length 2"));
    assert!(parse(&br#"{"words":[]}"#[..]).unwrap_err().to_string().contains("vectors"));
}

fn bytes(numbers: &[u32]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
}

fn vecs(numbers: &[u32], max_rows: usize) -> Result<Rows<u32>, String> {
    read_vecs(&mut bytes(numbers).as_slice(), max_rows, u32::from_le_bytes).map_err(|error| error.to_string())
}

fn bin(numbers: &[u32], max_rows: usize) -> Result<Rows<u32>, String> {
    read_bin(&mut bytes(numbers).as_slice(), max_rows, u32::from_le_bytes).map_err(|error| error.to_string())
}

#[test]
fn rows_of_the_benchmarks_formats_are_read() {
    let rows = Rows { dim: 2, numbers: vec![7, 8, 9, 10] };
    assert_eq!(vecs(&[2, 7, 8, 2, 9, 10], 9), Ok(rows.clone()));
    assert_eq!(bin(&[2, 2, 7, 8, 9, 10], 9), Ok(rows.clone()));
    assert_eq!((rows.len(), rows.row(1)), (2, [9, 10].as_slice()));
    for read in [vecs(&[2, 7, 8, 2, 9, 10], 1), bin(&[2, 2, 7, 8, 9, 10], 1)] {
        assert_eq!(read, Ok(Rows { dim: 2, numbers: vec![7, 8] }), "only the first rows");
    }
    assert!(vecs(&[], 9).unwrap().is_empty());
}

#[test]
fn invalid_rows_are_refused_with_their_number() {
    assert_eq!(vecs(&[2, 7, 8, 3, 9], 9).unwrap_err(), "length of row 1 must be 2 as of row 0 (got 3)");
    assert_eq!(vecs(&[2, 7, 8, 2, 9], 9).unwrap_err(), "file ends inside row 1");
    assert_eq!(bin(&[2, 2, 7, 8, 9], 9).unwrap_err(), "file ends inside row 1");
    assert_eq!(
        bin(&[u32::MAX, 1 << 20, 7], 9).unwrap_err(),
        "file ends inside row 0",
        "the announced size is not trusted"
    );
    assert!(vecs(&[0, 7], 9).unwrap_err().ends_with("(got 0)"));
    assert!(vecs(&[u32::MAX, 7], 9).unwrap_err().ends_with("(got -1)"));
    let named = |name: &str| read_vectors(std::path::Path::new(name), 1).unwrap_err().to_string();
    assert_eq!(named("x.csv"), "file name must end in one of .npy, .fvecs, .fbin");
    assert_eq!(named("/nowhere/x.fvecs"), "read");
}

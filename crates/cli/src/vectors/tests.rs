use super::words::parse;
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
fn what_is_no_array_of_rows_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.npy");
    let refused = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        read_npy(&path, 9).unwrap_err().to_string()
    };
    assert_eq!(refused(b"PK\x03\x04 something else"), "no NumPy file");
    assert_eq!(refused(b""), "no NumPy file");
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

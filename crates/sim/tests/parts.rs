//! The unit tests of single files of the simulation, which stand in those files.
//!
//! Cargo selects integration tests by name, and libraries by package only. With the features of the package alone it would
//! compile the dependencies again.

#![allow(dead_code, reason = "only the tests of these files are used here")]

#[path = "../src/clock.rs"]
mod clock;
#[path = "../src/fault.rs"]
mod fault;
#[path = "../src/trace.rs"]
mod trace;

/// Files with unit tests.
const FILES: [&str; 2] = ["fault.rs", "trace.rs"];

#[test]
fn every_file_with_unit_tests_is_listed() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut with_tests = Vec::new();
    for entry in std::fs::read_dir(folder).expect("the sources") {
        let path = entry.expect("an entry").path();
        if std::fs::read_to_string(&path).expect("a source file").contains("#[cfg(test)]") {
            with_tests.push(path.file_name().expect("a file").to_string_lossy().into_owned());
        }
    }
    with_tests.sort();
    assert_eq!(with_tests, FILES);
}

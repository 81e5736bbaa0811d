//! What is generated stands as it should.

use std::fs;

#[test]
fn generated_files_are_current() {
    for (path, text) in meridian_xtask::generated().unwrap() {
        let stands = fs::read_to_string(meridian_xtask::root().join(&path)).unwrap_or_default();
        assert!(stands == text, "{} is not current: run `cargo run -p meridian-xtask -- generate`", path.display());
    }
}

#[test]
fn generated_files_say_what_the_types_say() {
    for (path, text) in meridian_xtask::generated().unwrap().into_iter().take(2) {
        let read: serde_json::Value = serde_saphyr::from_str(&text).unwrap();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let definition =
            meridian_crd::definitions().into_iter().find(|d| d.metadata.name.as_ref() == Some(&name)).unwrap();
        assert_eq!(read, serde_json::to_value(definition).unwrap(), "{name} does not survive YAML");
    }
}

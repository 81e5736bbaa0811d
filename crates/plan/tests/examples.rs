//! The operator accepts every example.

use std::fs;
use std::path::Path;

use meridian_plan::{OfflineError, Settings, render_offline};

#[test]
fn every_example_renders() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    let settings = Settings { allowed_hosts: vec!["search.example.com".parse().unwrap()], ..Settings::default() };
    let mut rendered = 0;
    for example in fs::read_dir(folder).unwrap().map(Result::unwrap).filter(|entry| entry.path().is_dir()) {
        for file in fs::read_dir(example.path()).unwrap() {
            let path = file.unwrap().path();
            let text = fs::read_to_string(&path).unwrap();
            match render_offline(&text, &settings) {
                Ok(out) => rendered += usize::from(out.contains("kind: StatefulSet")),
                Err(OfflineError::Nothing) => {} // Argo CD's own resources
                Err(error) => {
                    let source = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
                    panic!("{}: {error}: {source}", path.display())
                }
            }
        }
    }
    assert!(rendered >= 8, "only {rendered} files hold a cluster");
}

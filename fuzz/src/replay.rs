//! The replay of the corpus.

use std::path::Path;

use crate::{TARGETS, Target};

/// Files of one target's corpus; writes the seeds first when `MERIDIAN_WRITE_GOLDEN` is set.
fn corpus(target: &Target) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target.name);
    if std::env::var_os("MERIDIAN_WRITE_GOLDEN").is_some() {
        std::fs::create_dir_all(&folder).unwrap();
        for (number, seed) in (target.seeds)().into_iter().enumerate() {
            std::fs::write(folder.join(format!("seed-{number}")), seed).unwrap();
        }
    }
    let files = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut read: Vec<_> = files
        .map(|file| {
            let path = file.unwrap().path();
            (path.display().to_string(), std::fs::read(&path).unwrap())
        })
        .collect();
    read.sort();
    read
}

#[test]
fn every_seed_is_accepted() {
    for target in TARGETS {
        for (number, seed) in (target.seeds)().iter().enumerate() {
            assert!((target.run)(seed), "seed {number} of {} is refused", target.name);
        }
    }
}

/// A corpus whose files are all refused at their first bytes tests nothing.
#[test]
fn the_corpus_is_replayed_and_a_file_of_each_target_is_accepted() {
    for target in TARGETS {
        let mut accepted = 0;
        for (file, bytes) in corpus(&target) {
            // Shown only if the target panics.
            println!("{file}");
            accepted += usize::from((target.run)(&bytes));
        }
        assert!(
            accepted > 0,
            "no file of corpus/{} is accepted; after a change of its format: \
             MERIDIAN_WRITE_GOLDEN=1 cargo test --locked -p meridian-fuzz",
            target.name
        );
    }
}

#[test]
fn every_program_has_a_target() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz_targets");
    let mut programs: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|file| file.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned())
        .collect();
    programs.sort();
    assert_eq!(programs, TARGETS.map(|target| target.name));
}

#[test]
fn short_inputs_break_no_target() {
    for target in TARGETS {
        for length in 0..8 {
            (target.run)(&vec![1; length]);
        }
    }
}

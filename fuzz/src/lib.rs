//! Fuzz targets: each runs one parser on any bytes and asserts what must hold for them.
//!
//! Owns: the targets, the inputs from which fuzzing starts, and the replay of the corpus. Does not know: how inputs are
//! found, which is the work of libFuzzer.
//!
//! ```text
//!   fuzz_targets/wal.rs (libFuzzer) ──► wal::run(bytes) ◄── test: every file of corpus/wal
//!                                       wal::seeds()    ──► corpus/wal/seed-*, by MERIDIAN_WRITE_GOLDEN=1
//! ```
//!
//! A new target is a module with `run` and `seeds`, a row of [`TARGETS`], and a program in `fuzz_targets`. An input that
//! broke a target is committed to its corpus.

pub mod ann_snapshot;
pub mod config;
pub mod entry;
pub mod frame;
pub mod freshness;
pub mod http_bodies;
pub mod manifest;
pub mod raft_message;
pub mod record;
#[cfg(test)]
mod replay;
pub mod vectors;
pub mod wal;

/// One fuzz target.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Name of its program and of its folder in `corpus`.
    pub name: &'static str,
    /// Runs the parser; returns whether it accepted the bytes. Panics if the parser breaks a rule.
    pub run: fn(&[u8]) -> bool,
    /// Inputs that the parser of this build accepts.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// Every target, by name.
pub const TARGETS: [Target; 11] = [
    Target { name: "ann_snapshot", run: ann_snapshot::run, seeds: ann_snapshot::seeds },
    Target { name: "config", run: config::run, seeds: config::seeds },
    Target { name: "entry", run: entry::run, seeds: entry::seeds },
    Target { name: "frame", run: frame::run, seeds: frame::seeds },
    Target { name: "freshness", run: freshness::run, seeds: freshness::seeds },
    Target { name: "http_bodies", run: http_bodies::run, seeds: http_bodies::seeds },
    Target { name: "manifest", run: manifest::run, seeds: manifest::seeds },
    Target { name: "raft_message", run: raft_message::run, seeds: raft_message::seeds },
    Target { name: "record", run: record::run, seeds: record::seeds },
    Target { name: "vectors", run: vectors::run, seeds: vectors::seeds },
    Target { name: "wal", run: wal::run, seeds: wal::seeds },
];

/// Splits off the first `N` bytes; zeros stand for those that are missing.
fn take<const N: usize>(bytes: &mut &[u8]) -> [u8; N] {
    let (head, rest) = bytes.split_at(bytes.len().min(N));
    *bytes = rest;
    let mut taken = [0; N];
    taken[..head.len()].copy_from_slice(head);
    taken
}

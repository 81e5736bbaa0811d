//! No message breaks a replica's consensus: it is taken, or refused; nor do bytes in place of what a log holds.
#![no_main]

use libfuzzer_sys::fuzz_target;
use meridian_raft::{Config, Entry, HardState, Raft, Restored};

fuzz_target!(|messages: Vec<Vec<u8>>| {
    let mut raft = Raft::new(Config::new(1, 1), Restored::bootstrap([1, 2, 3])).expect("a sound beginning");
    for message in &messages {
        let _ = Entry::decode(message);
        let _ = HardState::decode(message);
        let _ = raft.step(message);
        raft.tick(7);
        while let Some(output) = raft.output() {
            let applied = output.committed.last().map(|entry| entry.index);
            raft.persisted(output.number);
            if let Some(applied) = applied {
                raft.applied(applied);
            }
        }
    }
});

//! No message breaks the consensus of a replica: it is accepted or refused; the same bytes in place of a log entry or a
//! hard state are refused or decoded.
//!
//! Input: messages, each behind its length as `u16` in little-endian order.

use meridian_raft::{Config, Entry, HardState, Raft, Restored};

use crate::take;

/// Messages of an input that are delivered; more would only cost time.
const MESSAGES: usize = 64;

/// Runs the target; returns whether a message is accepted.
#[must_use]
pub fn run(mut bytes: &[u8]) -> bool {
    let mut raft = Raft::new(Config::new(1, 1), Restored::bootstrap([1, 2, 3])).expect("a sound beginning");
    let mut accepted = false;
    for _ in 0..MESSAGES {
        if bytes.is_empty() {
            break;
        }
        let length = usize::from(u16::from_le_bytes(take(&mut bytes)));
        let (message, rest) = bytes.split_at(bytes.len().min(length));
        bytes = rest;
        let _ = Entry::decode(message);
        let _ = HardState::decode(message);
        accepted |= raft.step(message).is_ok();
        raft.tick(7);
        while let Some(output) = raft.output() {
            let applied = output.committed.last().map(|entry| entry.index);
            raft.persisted(output.number);
            if let Some(applied) = applied {
                raft.applied(applied);
            }
        }
    }
    accepted
}

/// The requests for votes that a candidate of the group sends to replica 1.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    let mut raft = Raft::new(Config::new(2, 1), Restored::bootstrap([1, 2, 3])).expect("a sound beginning");
    raft.campaign();
    let mut seed = Vec::new();
    while let Some(output) = raft.output() {
        raft.persisted(output.number);
        let sent = output.messages.into_iter().chain(output.messages_after_persist);
        for envelope in sent.filter(|envelope| envelope.to == 1) {
            let length = u16::try_from(envelope.message.len()).expect("a request for a vote is short");
            seed.extend_from_slice(&length.to_le_bytes());
            seed.extend_from_slice(&envelope.message);
        }
    }
    vec![seed]
}

use crate::net::Net;
use meridian_raft::{DecodeError, Entry, HardState, Restored, StepError};
use proptest::prelude::*;

/// A real conversation, to be damaged: every message of an election, appends, a read, a snapshot and a transfer.
fn conversation() -> (Net, Vec<Vec<u8>>) {
    let mut net = Net::of(&[1, 2, 3], 1);
    let mut heard = Vec::new();
    let mut settle = |net: &mut Net| {
        for _ in 0..30 {
            for id in net.nodes.keys().copied().collect::<Vec<_>>() {
                net.drain(id);
                while net.sync_one(id) {}
            }
            for (_, to, message) in std::mem::take(&mut net.in_flight) {
                heard.push(message.clone());
                if to != 3 {
                    net.step(to, &message);
                }
            }
        }
    };
    net.raft(1).campaign();
    settle(&mut net);
    net.propose(1, b"one");
    net.propose(1, b"two");
    settle(&mut net);
    net.raft(2).read_index(1).unwrap();
    net.take_snapshot(1);
    net.compact(1);
    settle(&mut net);
    net.raft(1).transfer_leader(2).unwrap();
    settle(&mut net);
    (net, heard)
}

proptest! {
    #[test]
    fn random_bytes_are_refused_and_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut net = Net::of(&[1, 2, 3], 1);
        prop_assert!(net.raft(1).step(&bytes).is_err());
        let _ = Entry::decode(&bytes);
        let _ = HardState::decode(&bytes);
    }

    /// Well-formed lies: any number of any message replaced by any other.
    #[test]
    fn damaged_messages_never_panic(
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), small()), 1..40),
        receiver in 1u64..=4,
    ) {
        let (mut net, heard) = conversation();
        net.start(4, Restored::joining());
        for (which, place, value) in damage {
            let mut message = which.get(&heard).clone();
            // To this receiver, or it would not be looked at.
            message[3..11].copy_from_slice(&receiver.to_le_bytes());
            let places = message.len().saturating_sub(8).max(12) - 11;
            let at = 11 + place.index(places);
            if at + 8 <= message.len() {
                message[at..at + 8].copy_from_slice(&value.to_le_bytes());
            }
            let _ = net.raft(receiver).step(&message);
            while let Some(output) = net.raft(receiver).output() {
                net.raft(receiver).persisted(output.number);
            }
            net.raft(receiver).tick(value);
        }
    }
}

/// Numbers near those in use, and far from them.
fn small() -> impl Strategy<Value = u64> {
    prop_oneof![0u64..12, Just(u64::MAX), Just(1 << 62), any::<u64>()]
}

#[test]
fn a_message_of_another_version_is_refused_by_name() {
    let (mut net, heard) = conversation();
    let mut message = heard[0].clone();
    message[0] = 2;
    let error = net.raft(1).step(&message).unwrap_err();
    assert_eq!(error, StepError::Decode(DecodeError::UnknownVersion { found: 2, known: 1 }));
}

#[test]
fn a_message_for_another_replica_is_refused() {
    let (mut net, heard) = conversation();
    let message = heard.iter().find(|message| message[3] == 2).unwrap().clone();
    assert!(matches!(net.raft(1).step(&message), Err(StepError::Misdirected { .. })));
}

#[test]
fn a_commit_index_beyond_the_log_is_refused() {
    let mut net = Net::of(&[1, 2, 3], 2);
    net.elect(1);
    net.propose(1, b"x");
    net.settle();
    // The disk of 3 is wiped, and someone starts it again under its old id.
    net.crash(3);
    net.start(3, Restored::bootstrap([1, 2, 3]));
    net.raft(1).tick(0);
    net.drain(1);
    let (_, _, heartbeat) = net.in_flight.iter().find(|(_, to, _)| *to == 3).unwrap().clone();
    assert_eq!(net.raft(3).step(&heartbeat), Err(StepError::LogLost { wanted: 3, last: 1 }));
}

use crate::net::Net;
use meridian_raft::{Raft, RestoreError, Restored};

#[test]
fn a_leader_sends_before_its_own_disk_and_a_follower_answers_after() {
    let mut net = Net::of(&[1, 2, 3], 1);
    net.elect(1);
    let at = net.propose(1, b"x").index;
    assert_eq!(net.in_flight.len(), 2, "the appends left at once");
    assert_eq!(net.nodes[&1].unsynced.len(), 1, "the leader's own write is still under way");
    for (_, to, message) in std::mem::take(&mut net.in_flight) {
        net.step(to, &message);
    }
    assert_eq!(net.in_flight.len(), 0, "nobody answers before the disk");
    let waiting = &net.nodes[&2].unsynced[0];
    assert!(waiting.must_sync && waiting.messages.is_empty() && waiting.messages_after_persist.len() == 1);
    // Two followers are a majority without the leader's disk.
    net.sync_one(2);
    net.sync_one(3);
    for (_, to, message) in std::mem::take(&mut net.in_flight) {
        net.step(to, &message);
    }
    assert_eq!(net.raft(1).status().commit, at);
    assert_eq!(net.payloads(1).len(), 0, "the leader applies only what its own disk has");
    while net.sync_one(1) {}
    assert_eq!(net.payloads(1).len(), 1);
}

#[test]
fn a_vote_leaves_after_it_is_on_disk() {
    let mut net = Net::of(&[1, 2, 3], 2);
    net.raft(1).campaign();
    net.drain(1);
    assert!(net.in_flight.is_empty(), "even the question waits for the disk");
    while net.sync_one(1) {}
    for (_, to, message) in std::mem::take(&mut net.in_flight) {
        net.step(to, &message);
    }
    assert!(net.in_flight.is_empty());
    let waiting = &net.nodes[&2].unsynced[0];
    assert_eq!(waiting.messages_after_persist.len(), 1);
}

#[test]
fn a_replica_with_unpersisted_output_does_not_campaign() {
    let mut net = Net::of(&[1, 2, 3], 3);
    net.elect(1);
    net.propose(1, b"x");
    for (_, to, message) in std::mem::take(&mut net.in_flight) {
        net.step(to, &message);
    }
    for random in 0..100 {
        net.raft(2).tick(random);
    }
    net.raft(2).campaign();
    net.drain(2);
    assert_eq!(net.nodes[&2].unsynced.len(), 1, "only the append");
    while net.sync_one(2) {}
    net.raft(2).campaign();
    net.drain(2);
    assert_eq!(net.nodes[&2].unsynced.len(), 1, "now it asks for votes");
}

#[test]
fn a_restart_keeps_everything_acknowledged() {
    let mut net = Net::of(&[1, 2, 3], 4);
    net.elect(1);
    for n in 0..20u8 {
        net.propose(1, &[n]);
        net.settle();
    }
    for id in 1..=3 {
        net.crash(id);
    }
    for id in 1..=3 {
        net.restart(id);
    }
    net.tick_all(40);
    for id in 1..=3 {
        assert_eq!(net.payloads(id).len(), 20, "replica {id}");
    }
}

#[test]
fn a_log_with_a_hole_or_without_its_commits_is_refused() {
    let mut net = Net::of(&[1], 5);
    net.elect(1);
    for n in 0..4u8 {
        net.propose(1, &[n]);
    }
    net.settle();
    let found = net.nodes[&1].disk.restored();
    let check = |change: fn(&mut Restored)| {
        let mut restored = found.clone();
        change(&mut restored);
        Raft::new(meridian_raft::Config::new(1, 9), restored).err()
    };
    assert_eq!(check(|_| {}), None);
    assert_eq!(check(|r| drop(r.entries.remove(1))), Some(RestoreError::Gap { wanted: 3, found: 4 }));
    assert_eq!(check(|r| drop(r.entries.pop())), Some(RestoreError::LogLost { commit: 6, last: 5 }));
    assert_eq!(check(|r| r.applied = 0), Some(RestoreError::AppliedOutside { applied: 0, first: 1, last: 6 }));
    assert_eq!(check(|r| r.members = Default::default()), Some(RestoreError::Members));
    assert_eq!(check(|r| r.entries[2].term = 1), Some(RestoreError::TermFell { index: 4 }));
    // A stale commit is normal: it need not be synced.
    assert_eq!(check(|r| r.hard_state.commit = 1), None);
}

use crate::net::Net;
use meridian_raft::{Change, ChangeError, EntryKind, MembershipError, PeerState, Restored, Role};

fn change(net: &mut Net, change: Change) {
    let leader = net.leader().unwrap();
    net.raft(leader).change_members(change, b"why".to_vec()).unwrap();
    net.settle();
    net.tick_all(2);
    assert!(net.committed.values().any(|e| e.kind == EntryKind::Membership(change) && &e.payload[..] == b"why"));
}

/// Sends each replica the snapshot that it waits for.
fn catch_up(net: &mut Net, id: u64) {
    for _ in 0..10 {
        net.tick_all(1);
        let leader = net.leader().unwrap();
        if net.raft(leader).snapshot_wanted() {
            net.take_snapshot(leader);
        }
        net.accept(id);
        net.settle();
    }
}

#[test]
fn three_grow_to_five_and_shrink_to_three_learners_first() {
    let mut net = Net::of(&[1, 2, 3], 1);
    net.elect(1);
    net.propose(1, b"before");
    for id in [4, 5] {
        net.start(id, Restored::joining());
        change(&mut net, Change::AddLearner(id));
        assert_eq!(net.raft(1).change_members(Change::AddLearner(id), vec![]), Err(ChangeError::CannotAdd(id)));
        catch_up(&mut net, id);
        assert!(net.raft(id).is_learner());
        change(&mut net, Change::Promote(id));
        assert!(!net.raft(id).is_learner());
    }
    assert_eq!(net.raft(4).members().voters.len(), 5);
    // Five replicas tolerate two failures.
    net.isolate(2);
    net.isolate(3);
    net.propose(1, b"five");
    net.settle();
    assert_eq!(net.payloads(5).last().unwrap(), b"five");
    net.cut.clear();
    net.tick_all(5);
    assert_eq!(net.raft(1).change_members(Change::Remove(1), vec![]), Err(ChangeError::Leads(1)));
    net.raft(1).transfer_leader(4).unwrap();
    net.settle();
    assert_eq!(net.role(4), Role::Leader);
    change(&mut net, Change::Remove(1));
    change(&mut net, Change::Remove(2));
    // Removed replicas request votes, without effect on the group.
    net.tick_all(60);
    assert_eq!(net.role(4), Role::Leader);
    net.isolate(3);
    net.propose(4, b"three");
    net.settle();
    assert_eq!(net.payloads(5).last().unwrap(), b"three");
    assert!(!net.payloads(1).contains(&b"three".to_vec()));
}

#[test]
fn a_learner_that_installed_a_snapshot_follows_an_idle_leader() {
    let mut net = Net::of(&[1, 2, 3], 5);
    net.elect(1);
    net.propose(1, b"before");
    net.settle();
    net.compact(1);
    net.start(4, Restored::joining());
    net.raft(1).change_members(Change::AddLearner(4), b"why".to_vec()).unwrap();
    net.settle();
    let learner = |net: &mut Net| {
        let status = net.raft(1).status();
        let peer = status.peers.into_iter().find(|peer| peer.id == 4).unwrap();
        (peer.follows(status.last_index), peer.state)
    };
    net.tick_all(2);
    assert_eq!(learner(&mut net), (false, PeerState::Probe), "it has nothing yet");
    net.take_snapshot(1);
    net.tick_all(2);
    assert_eq!(learner(&mut net), (false, PeerState::Snapshot));
    net.accept(4);
    // Without writes, raft-rs does not change its state, for any time.
    net.tick_all(100);
    assert_eq!(learner(&mut net), (true, PeerState::Probe));
    change(&mut net, Change::Promote(4));
    net.isolate(2);
    net.propose(1, b"three of four");
    net.settle();
    assert_eq!(net.payloads(4).last().unwrap(), b"three of four");
}

#[test]
fn one_change_at_a_time() {
    let mut net = Net::of(&[1, 2, 3], 2);
    net.elect(1);
    net.raft(1).change_members(Change::AddLearner(4), vec![]).unwrap();
    assert_eq!(net.raft(1).change_members(Change::Remove(3), vec![]), Err(ChangeError::Busy));
    net.settle();
    assert_eq!(net.raft(1).change_members(Change::Promote(3), vec![]), Err(ChangeError::NotLearner(3)));
    assert_eq!(net.raft(1).change_members(Change::Remove(9), vec![]), Err(ChangeError::NotMember(9)));
}

#[test]
fn a_leader_removed_by_its_predecessor_steps_down() {
    let mut net = Net::of(&[1, 2, 3], 3);
    net.elect(1);
    net.raft(1).change_members(Change::Remove(2), vec![]).unwrap();
    net.drain(1);
    // The entry reaches 2 and 3, its commit index does not: 1 stops, and 2 becomes the leader.
    for (_, to, message) in std::mem::take(&mut net.in_flight) {
        net.step(to, &message);
    }
    net.crash(1);
    for id in [2, 3] {
        while net.sync_one(id) {}
    }
    net.in_flight.clear();
    for _ in 0..12 {
        // After the minimum election timeout, before the random one.
        net.raft(2).tick(9);
        net.raft(3).tick(9);
    }
    net.raft(2).campaign();
    net.settle();
    assert!(net.leaders.values().any(|id| *id == 2), "it led, and committed its own removal");
    assert_ne!(net.role(2), Role::Leader);
    assert!(!net.raft(2).members().contains(2));
    net.restart(1);
    net.tick_all(60);
    assert!(matches!(net.leader(), Some(1 | 3)));
}

#[test]
fn a_membership_entry_is_applied_once_and_in_turn() {
    let mut net = Net::of(&[1], 4);
    net.elect(1);
    net.raft(1).change_members(Change::AddLearner(4), vec![]).unwrap();
    net.settle();
    let entry = net.nodes[&1].applied.last().unwrap().clone();
    let again = net.raft(1).apply_membership(&entry);
    assert_eq!(again, Err(MembershipError::OutOfOrder { wanted: None, found: entry.index }));
}

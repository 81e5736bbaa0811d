use crate::net::Net;
use meridian_raft::{Installation, Members, PeerState, Restored, Snapshot, StepOutcome};

/// Three replicas, of which 3 slept while 1 compacted its log.
fn lagging(seed: u64) -> Net {
    let mut net = Net::with_config(&[1, 2, 3], seed, |config| config.snapshot_retry_ticks = 6);
    net.elect(1);
    net.isolate(3);
    for n in 0..10u8 {
        net.propose(1, &[n]);
    }
    net.settle();
    net.compact(1);
    net.cut.clear();
    net.tick_all(3);
    net
}

#[test]
fn a_lagging_follower_installs_what_is_offered_and_the_log_goes_on() {
    let mut net = lagging(1);
    assert!(net.raft(1).snapshot_wanted(), "none was taken yet, and the follower waits for one");
    net.take_snapshot(1);
    assert!(!net.raft(1).snapshot_wanted());
    net.tick_all(2);
    let offered = net.nodes[&3].offered.clone().expect("intercepted, not installed");
    assert_eq!(offered.manifest, net.raft(1).status().applied.to_le_bytes().to_vec());
    let before = net.raft(3).status();
    net.tick_all(2);
    assert_eq!(net.raft(3).status().last_index, before.last_index, "nothing is acknowledged while files are fetched");
    net.propose(1, b"meanwhile");
    net.settle();

    assert_eq!(net.accept(3), Some(Installation::Accepted));
    net.settle();
    net.propose(1, b"after");
    net.settle();
    net.tick_all(2);
    assert_eq!(net.payloads(3), [b"meanwhile".to_vec(), b"after".to_vec()]);
    assert_eq!(net.raft(3).status().first_index, offered.index + 1);
    net.crash(3);
    net.restart(3);
    net.tick_all(2);
    assert_eq!(net.payloads(3), [b"meanwhile".to_vec(), b"after".to_vec()], "the boundary survived the restart");
}

#[test]
fn a_lost_snapshot_offer_is_repeated() {
    let mut net = lagging(2);
    net.take_snapshot(1);
    net.tick_all(1);
    assert_eq!(net.raft(1).status().peers[1].state, PeerState::Snapshot);
    let mut offers = 0;
    for _ in 0..30 {
        net.nodes.get_mut(&3).unwrap().offered = None;
        net.tick_all(1);
        offers += usize::from(net.nodes[&3].offered.is_some());
    }
    assert!((3..=6).contains(&offers), "{offers} offers in 30 ticks");
}

#[test]
fn a_snapshot_fetched_under_an_earlier_leader_is_installed_under_the_next() {
    let mut net = lagging(3);
    net.take_snapshot(1);
    net.tick_all(2);
    net.raft(1).transfer_leader(2).unwrap();
    net.settle();
    net.tick_all(2);
    let index = net.nodes[&3].offered.as_ref().unwrap().index;
    // The new leader still had the whole log, so the follower may have caught up by itself.
    let how = net.accept(3).unwrap();
    net.settle();
    assert!(matches!(how, Installation::Accepted | Installation::Superseded));
    assert!(net.raft(3).status().commit >= index);
}

#[test]
fn a_snapshot_within_the_log_is_not_fetched() {
    let mut net = lagging(4);
    net.take_snapshot(1);
    net.tick_all(2);
    let offered = net.nodes[&3].offered.clone().unwrap();
    net.accept(3);
    net.settle();
    assert_eq!(net.raft(3).accept_snapshot(&offered), Installation::Superseded);
    let stranger = Snapshot { index: 10_000, members: Members::of([1, 2]), ..offered };
    assert_eq!(net.raft(3).accept_snapshot(&stranger), Installation::NotMember);
}

#[test]
fn no_election_between_an_installed_snapshot_and_its_fsync() {
    let mut net = lagging(5);
    net.take_snapshot(1);
    net.tick_all(2);
    assert_eq!(net.accept(3), Some(Installation::Accepted));
    for random in 0..100 {
        net.raft(3).tick(random);
        net.raft(3).campaign();
        net.drain(3);
    }
    assert_eq!(net.nodes[&3].unsynced.len(), 1, "the snapshot alone");
    net.settle();
    net.raft(3).campaign();
    net.settle();
}

#[test]
fn a_replica_without_members_never_votes() {
    let mut net = Net::of(&[1, 2, 3], 6);
    net.start(4, Restored::joining());
    net.raft(1).campaign();
    net.drain(1);
    while net.sync_one(1) {}
    let (_, _, vote) = net.in_flight[0].clone();
    // The same question, addressed to 4.
    let mut vote = vote;
    vote[3..11].copy_from_slice(&4u64.to_le_bytes());
    assert!(matches!(net.step(4, &vote), StepOutcome::Ignored(_)));
    for random in 0..100 {
        net.raft(4).tick(random);
    }
    net.raft(4).campaign();
    assert_eq!(net.raft(4).output(), None);
}

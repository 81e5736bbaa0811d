use crate::net::Net;
use meridian_raft::NotReady;

#[test]
fn a_follower_reads_by_the_index_the_leader_confirms() {
    let mut net = Net::of(&[1, 2, 3], 1);
    net.elect(1);
    let at = net.propose(1, b"x").index;
    net.settle();
    net.raft(2).read_index(7).unwrap();
    net.raft(3).read_index(7).unwrap();
    net.raft(1).read_index(7).unwrap();
    net.settle();
    for id in 1..=3 {
        assert_eq!(net.nodes[&id].reads, [(7, at)], "equal numbers of different replicas do not mix: {id}");
    }
}

#[test]
fn without_a_leader_a_read_is_refused() {
    let mut net = Net::of(&[1, 2, 3], 2);
    assert_eq!(net.raft(2).read_index(1), Err(NotReady::NoLeader));
}

#[test]
fn a_leader_that_has_committed_nothing_in_its_term_refuses_reads() {
    let mut net = Net::of(&[1, 2, 3], 3);
    net.elect(1);
    net.raft(1).transfer_leader(2).unwrap();
    // Until 2 leads; its first entry is not acknowledged yet.
    while net.role(2) != meridian_raft::Role::Leader {
        net.drain(1);
        for id in 1..=3 {
            while net.sync_one(id) {}
        }
        let next = net.in_flight.iter().position(|(_, to, _)| *to != 9).unwrap();
        net.deliver(next);
    }
    assert_eq!(net.raft(2).read_index(1), Err(NotReady::NoCommitInTerm));
    net.settle();
    assert_eq!(net.raft(2).read_index(1), Ok(()));
}

#[test]
fn a_leader_cut_off_confirms_no_read() {
    let mut net = Net::of(&[1, 2, 3], 4);
    net.elect(1);
    net.isolate(1);
    net.raft(1).read_index(1).unwrap();
    net.settle();
    net.tick_all(30);
    assert_eq!(net.nodes[&1].reads, []);
}

#[test]
fn a_read_index_of_an_earlier_incarnation_is_dropped() {
    let mut net = Net::of(&[1, 2, 3], 5);
    net.elect(1);
    net.raft(2).read_index(1).unwrap();
    net.drain(2);
    let requests = net.in_flight.clone();
    // The request is on its way when the replica restarts, and counts from 1 again.
    net.in_flight.clear();
    net.crash(2);
    net.restart(2);
    net.tick_all(2);
    net.in_flight.extend(requests);
    net.settle();
    assert_eq!(net.nodes[&2].reads, []);
}

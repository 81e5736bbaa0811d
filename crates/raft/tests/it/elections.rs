use crate::net::Net;
use meridian_raft::{NotReady, ProposeError, Role, TransferError};

#[test]
fn a_group_elects_one_leader_by_itself_and_replicates() {
    for seed in 0..20 {
        let mut net = Net::of(&[1, 2, 3], seed);
        net.tick_all(40);
        let leader = net.leader().expect("forty ticks are two election timeouts");
        for n in 0..10u8 {
            net.propose(leader, &[n]);
        }
        net.settle();
        net.tick_all(2);
        let expected: Vec<Vec<u8>> = (0..10u8).map(|n| vec![n]).collect();
        for id in 1..=3 {
            assert_eq!(net.payloads(id), expected, "replica {id}, seed {seed}");
            assert_eq!(net.nodes[&id].raft.status().leader, Some(leader));
        }
    }
}

#[test]
fn the_same_randomness_gives_the_same_run() {
    let run = || {
        let mut net = Net::of(&[1, 2, 3, 4, 5], 7);
        net.tick_all(60);
        (net.leaders.clone(), net.committed.clone())
    };
    assert_eq!(run(), run());
}

#[test]
fn a_group_of_one_commits_once_its_own_disk_has_it() {
    let mut net = Net::of(&[1], 1);
    net.elect(1);
    net.propose(1, b"alone");
    assert_eq!(net.payloads(1).len(), 0, "not on disk yet");
    net.settle();
    assert_eq!(net.payloads(1), [b"alone".to_vec()]);
}

#[test]
fn a_minority_commits_nothing_and_its_leader_steps_down() {
    let mut net = Net::of(&[1, 2, 3], 2);
    net.elect(1);
    net.isolate(1);
    net.propose(1, b"lost");
    net.tick_all(1);
    assert_eq!(net.role(1), Role::Leader, "it cannot know yet");
    net.tick_all(45);
    assert_ne!(net.role(1), Role::Leader, "check-quorum");
    let leader = net.leader().expect("the majority goes on");
    assert_ne!(leader, 1);
    net.propose(leader, b"kept");
    net.settle();
    net.cut.clear();
    net.tick_all(5);
    for id in 1..=3 {
        assert_eq!(net.payloads(id), [b"kept".to_vec()], "replica {id}");
    }
}

#[test]
fn a_partitioned_follower_returns_without_disturbing_the_leader() {
    let mut net = Net::of(&[1, 2, 3], 3);
    net.elect(1);
    let term = net.raft(1).status().term;
    net.isolate(3);
    net.tick_all(200);
    assert_eq!(net.raft(3).status().term, term, "pre-vote does not raise the term");
    net.cut.clear();
    net.tick_all(30);
    assert_eq!((net.leader(), net.raft(3).status().term), (Some(1), term));
    assert_eq!(net.raft(3).status().leader, Some(1));
}

#[test]
fn leadership_is_handed_to_a_voter() {
    let mut net = Net::of(&[1, 2, 3], 4);
    net.elect(1);
    assert_eq!(net.raft(2).transfer_leader(3), Err(TransferError::NotLeader { leader: Some(1) }));
    assert_eq!(net.raft(1).transfer_leader(9), Err(TransferError::NotVoter(9)));
    net.raft(1).transfer_leader(3).unwrap();
    assert_eq!(net.raft(1).propose(vec![1]), Err(ProposeError::Transferring));
    net.settle();
    assert_eq!((net.role(3), net.role(1)), (Role::Leader, Role::Follower));
}

#[test]
fn proposals_are_refused_with_the_reason() {
    let mut net = Net::with_config(&[1, 2, 3], 5, |config| {
        (config.max_uncommitted_bytes, config.max_message_bytes) = (100, 50);
    });
    assert_eq!(net.raft(1).propose(vec![1]), Err(ProposeError::NotLeader { leader: None }));
    assert_eq!(net.raft(1).read_index(1), Err(NotReady::NoLeader));
    net.elect(1);
    assert_eq!(net.raft(2).propose(vec![1]), Err(ProposeError::NotLeader { leader: Some(1) }));
    assert_eq!(net.raft(1).propose(vec![]), Err(ProposeError::Size(0)));
    net.isolate(1);
    assert!(net.raft(1).propose(vec![1; 80]).is_ok());
    assert_eq!(net.raft(1).propose(vec![1; 80]), Err(ProposeError::Overloaded));
}

#[test]
fn a_group_of_one_elects_itself_at_once() {
    let mut net = Net::of(&[1], 1);
    net.tick_all(1);
    assert_eq!(net.role(1), Role::Leader);
    net.propose(1, b"x");
    net.settle();
    net.crash(1);
    net.restart(1);
    net.tick_all(1);
    assert_eq!((net.role(1), net.payloads(1)), (Role::Leader, vec![b"x".to_vec()]));
}

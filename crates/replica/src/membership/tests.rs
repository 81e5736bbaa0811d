use std::time::Duration;

use super::{LogIndex, MembersAt, ReplicaId, TopologyAnswer, TopologyCall};
use crate::testing::{alone, identity};
use crate::{Command, Event, Now, Replica};

fn topology_call(replica: &mut Replica, call: TopologyCall) -> TopologyAnswer {
    let now = Now { mono: Duration::from_secs(9), wall: Duration::from_secs(9) };
    let commands = replica.step(now, Event::Topology { ticket: 7, call });
    let answer = commands.into_iter().find_map(|command| match command {
        Command::TopologyReply { ticket: 7, answer } => Some(answer),
        _ => None,
    });
    answer.expect("a call that needs no commit is answered at once")
}

fn join(replica: u64, applied: u64, members: &[u64]) -> TopologyCall {
    let members = members.iter().copied().map(ReplicaId).collect();
    TopologyCall::Join { identity: identity(replica, 0), group: MembersAt { applied: LogIndex(applied), members } }
}

#[test]
fn a_member_that_hears_no_leader_does_not_give_itself_up() {
    let mut replica = alone(identity(2, 3));
    assert_eq!(replica.status().leader, None);
    for (call, why) in [
        (join(9, 1_000, &[1, 2, 3]), "it is a member"),
        (join(9, 0, &[1, 3, 4]), "not agreed on yet"),
        (join(1, 1_000, &[3, 4]), "replica 2 of shard 1"),
    ] {
        let TopologyAnswer::Refused(refusal) = topology_call(&mut replica, call.clone()) else {
            panic!("{call:?} was obeyed")
        };
        assert!(refusal.contains(why), "{refusal}");
    }
    assert_eq!(replica.status().fault, None);
}

#[test]
fn a_replica_that_the_group_has_taken_out_gives_itself_up_and_takes_nothing_in_any_more() {
    let mut replica = alone(identity(2, 3));
    let last = replica.raft.status().last_index;
    assert_eq!(topology_call(&mut replica, join(9, last, &[1, 3, 4])), TopologyAnswer::Started);
    assert_eq!(replica.status().fault.as_deref(), Some("given up to become replica 9"));
    assert!(!replica.is_ready());
    assert_eq!(
        topology_call(&mut replica, join(9, last, &[1, 3, 4])),
        TopologyAnswer::Started,
        "the answer may have been lost"
    );
}

#[test]
fn one_that_joined_and_was_never_added_can_join_under_another_id() {
    let mut replica = alone(identity(5, 0));
    assert_eq!(topology_call(&mut replica, join(5, 40, &[1, 2, 3])), TopologyAnswer::Done { version: LogIndex(1) });
    assert_eq!(topology_call(&mut replica, join(6, 40, &[1, 2, 3])), TopologyAnswer::Started);
}

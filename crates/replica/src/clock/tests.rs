use meridian_model::{Epoch, Position, Seq, ShardNumber, Statement, Term};

use super::{Call, CallAnswer, Duration, NodeId, Now, PeerMessage, ReplicaId};
use crate::testing::{alone, identity};
use crate::{Command, Event, Replica};

const WALL: Duration = Duration::from_secs(1_700_000_000);
const HOUR: Duration = Duration::from_secs(3_600);

/// Replica 1 of three; the others answer its requests for their clocks.
struct Member {
    replica: Replica,
    boot: Duration,
}

impl Member {
    fn new() -> Self {
        Self { replica: alone(identity(1, 3)), boot: Duration::ZERO }
    }

    /// Advances time while the clocks of this machine and of the other two show these offsets.
    fn pass(&mut self, own: Duration, others: Duration) {
        for random in 0..20 {
            self.boot += Duration::from_millis(20);
            let commands = self.replica.step(self.now(own), Event::Tick { random });
            for command in commands {
                if let Command::Send(from, PeerMessage::Call(call, Call::Clock)) = command {
                    let answer = PeerMessage::Answer(call, CallAnswer::Clock(others + self.boot));
                    self.replica.step(self.now(own), Event::Peer(from, answer));
                }
            }
        }
    }

    fn now(&self, wall: Duration) -> Now {
        Now { mono: self.boot, wall: wall + self.boot }
    }

    /// Receives a statement made now by a clock like the others'; returns its age here.
    fn hear(&mut self, own: Duration, others: Duration) -> Duration {
        let shard = self.replica.state.origin().clone();
        let wall = Now { mono: self.boot, wall: others + self.boot }.wall_millis();
        let statement = Statement { through: Position { epoch: Epoch(1), seq: Seq(0) }, term: Term(1), wall };
        let from = NodeId { shard: ShardNumber::FIRST, replica: ReplicaId(2) };
        let message = PeerMessage::Complete(vec![(shard.clone(), statement, Duration::ZERO)]);
        self.replica.step(self.now(own), Event::Peer(from, message));
        self.replica.staleness_of(&shard)
    }
}

#[test]
fn a_replica_that_agrees_with_its_group_tells_an_age() {
    let mut member = Member::new();
    assert_eq!(member.hear(WALL, WALL), Duration::MAX, "no clock of another is known");
    member.pass(WALL, WALL);
    assert!(member.hear(WALL, WALL) <= Duration::from_millis(11));
    assert_eq!(member.replica.clock_fault(), None);
}

#[test]
fn a_replica_with_a_wrong_clock_sends_no_readings_and_reports_it() {
    let mut member = Member::new();
    member.pass(WALL, WALL);
    for wrong in [WALL + HOUR, WALL - HOUR, WALL + Duration::from_millis(300)] {
        let mut member = Member::new();
        member.pass(wrong, wrong);
        member.pass(wrong, WALL);
        assert_eq!(member.hear(wrong, WALL), Duration::MAX);
        let fault = member.replica.clock_fault().unwrap();
        assert!(fault.contains("the median of the group (clockBound 10ms)"), "{fault}");
    }
}

#[test]
fn a_step_of_one_clock_is_reported_and_not_used() {
    let mut member = Member::new();
    member.pass(WALL, WALL);
    member.pass(WALL + HOUR, WALL);
    assert!(member.hear(WALL + HOUR, WALL) <= Duration::from_millis(11), "the old time is right");
    assert!(member.replica.clock_fault().unwrap().contains("clock stepped (maxDrift 500ms)"));
    member.pass(WALL, WALL);
    assert_eq!(member.replica.clock_fault(), None);
}

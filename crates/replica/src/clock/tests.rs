use meridian_model::ShardNumber;

use super::*;
use crate::Command;
use crate::effect::Effect;
use crate::testing::Bench;

const WALL: Duration = Duration::from_secs(1_700_000_000);
const HOUR: Duration = Duration::from_secs(3_600);

/// The clock of replica 1 of three; the others answer its questions for theirs.
struct Fixture {
    bench: Bench,
    clock: Clock,
    boot: Duration,
}

impl Fixture {
    fn new() -> Self {
        let now = Now { mono: Duration::ZERO, wall: WALL };
        let mut bench = Bench::of(3);
        bench.now = Time::new(now);
        let clock = Clock::new(now, ReplicaId(1), &bench.settings);
        Self { bench, clock, boot: Duration::ZERO }
    }

    fn handle(&mut self, event: Event) -> Vec<Effect> {
        self.bench.lend(|cx| self.clock.handle(cx, event))
    }

    /// Time passes while the clocks of this machine and of the other two show these.
    fn pass(&mut self, own: Duration, others: Duration) {
        for _ in 0..20 {
            self.boot += Duration::from_millis(20);
            let now = Now { mono: self.boot, wall: own + self.boot };
            self.bench.now = self.clock.read(now, self.bench.now, &self.bench.settings);
            for (from, call) in asked(&self.handle(Event::Tick)) {
                self.handle(Event::Heard { from, call, wall: others + self.boot });
            }
        }
    }

    fn fault(&self) -> Option<String> {
        self.clock.fault(&self.bench.settings)
    }
}

/// The replicas that are asked for their clocks, and under which numbers.
fn asked(effects: &[Effect]) -> Vec<(NodeId, u64)> {
    let question = |effect: &Effect| match effect {
        Effect::Command(Command::Send(node, PeerMessage::Call(call, Call::Clock))) => (*node, *call),
        other => panic!("{other:?}"),
    };
    effects.iter().map(question).collect()
}

#[test]
fn a_clock_that_agrees_with_the_group_is_trusted() {
    let mut fixture = Fixture::new();
    assert!(!fixture.clock.is_trusted(), "no clock of another is known");
    fixture.pass(WALL, WALL);
    assert!(fixture.clock.is_trusted());
    assert_eq!(fixture.fault(), None);
}

#[test]
fn a_wrong_clock_is_not_trusted_and_its_fault_is_told() {
    for wrong in [WALL + HOUR, WALL - HOUR, WALL + Duration::from_millis(300)] {
        let mut fixture = Fixture::new();
        fixture.pass(wrong, wrong);
        fixture.pass(wrong, WALL);
        assert!(!fixture.clock.is_trusted());
        let fault = fixture.fault().unwrap();
        assert!(fault.contains("the median of the group (clockBound 10ms)"), "{fault}");
    }
}

#[test]
fn a_leader_whose_clock_is_wrong_hands_over_to_a_voter_with_a_better_one() {
    let mut fixture = Fixture::new();
    fixture.bench.be_elected();
    fixture.pass(WALL, WALL);
    assert_eq!((fixture.bench.counters.clock_hand_overs, fixture.bench.raft.status().transferring_to), (0, None));
    fixture.pass(WALL + Duration::from_millis(300), WALL);
    assert_eq!(fixture.bench.counters.clock_hand_overs, 1);
    assert!(fixture.bench.raft.status().transferring_to.is_some());
}

#[test]
fn a_step_of_one_clock_is_reported_and_not_used() {
    let mut fixture = Fixture::new();
    fixture.pass(WALL, WALL);
    fixture.pass(WALL + HOUR, WALL);
    assert!(fixture.clock.is_trusted());
    assert_eq!(fixture.bench.now.wall, WALL + fixture.boot, "the old time is right");
    assert!(fixture.fault().unwrap().contains("clock stepped (maxDrift 500ms)"));
    fixture.pass(WALL, WALL);
    assert_eq!(fixture.fault(), None);
}

#[test]
fn the_voters_are_asked_for_their_clocks_every_quarter_of_a_second_once_the_own_one_is_trusted() {
    let mut fixture = Fixture::new();
    fixture.pass(WALL, WALL);
    fixture.bench.pass(ASK_EVERY);
    assert_eq!(asked(&fixture.handle(Event::Tick)).len(), 2);
    fixture.bench.pass(ASK_EVERY - Duration::from_millis(1));
    assert!(fixture.handle(Event::Tick).is_empty());
    fixture.bench.pass(Duration::from_millis(1));
    assert_eq!(asked(&fixture.handle(Event::Tick)).len(), 2);
}

#[test]
fn a_replica_tells_its_own_clock_and_hears_only_those_of_its_group() {
    let mut fixture = Fixture::new();
    let from = NodeId { shard: ShardNumber::all(2).last().unwrap(), replica: ReplicaId(2) };
    let effects = fixture.handle(Event::Asked { from, call: 4 });
    let [Effect::Command(Command::Send(to, PeerMessage::Answer(4, CallAnswer::Clock(wall))))] = effects.as_slice()
    else {
        panic!("{effects:?}")
    };
    assert_eq!((*to, *wall), (from, WALL));
    let questions = asked(&{
        fixture.bench.pass(ASK_SOON);
        fixture.handle(Event::Tick)
    });
    for (node, call) in questions {
        let from = NodeId { replica: node.replica, ..from };
        fixture.handle(Event::Heard { from, call, wall: WALL + ASK_SOON });
    }
    assert!(!fixture.clock.is_trusted());
}

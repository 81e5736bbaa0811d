//! What a leader does with what a broker brings, and does not bring: one replica that is a group of its own, and a shell that
//! obeys at once.

use std::time::Duration;

use meridian_model::{
    CollectionUid, Delta, Epoch, Hlc, Link, LogIndex, Op, OriginShard, Payload, PointId, Position, Seq, ShardNumber,
    Statement, Term, Topic, Transport, Vectors, WallMillis, WriteId, WriteRef,
};
use meridian_proto::delta_bytes::DeltaBytes;
use meridian_proto::frame::{RegionAnswer, RegionCall, RegionMessage, TailAnswer, TailCall};
use meridian_proto::topology::{TopologyAnswer, TopologyCall};
use meridian_replica::{Command, Event, Peer, Poison, Record, Settings, record_bytes};
use meridian_shard::SourcePosition;

use crate::shell::{self, region};

fn origin() -> OriginShard {
    OriginShard { region: region("us-east"), shard: ShardNumber::FIRST }
}

fn topic() -> Topic {
    Topic { bootstrap_servers: "broker:9092".into(), name: "us-east.vector-deltas".into() }
}

fn link(paused: bool) -> Link {
    Link { source: region("us-east"), transport: Transport::Kafka(topic()), paused }
}

fn at(offset: i64) -> SourcePosition {
    SourcePosition::Kafka { partition: 0, offset }
}

/// A change of another region: it deletes a point of a collection that nobody knows, so only its place counts.
fn delta(seq: u64) -> Delta {
    let op = Op::Delete { collection: CollectionUid(9), point: PointId::Num(seq) };
    let write = WriteRef { id: WriteId(u128::from(seq)), index: 0 };
    Delta { origin: origin(), epoch: Epoch(1), seq: Seq(seq), committed_at: Hlc(seq), op, write, trace: None }
}

fn record(seq: u64) -> Record {
    Record::Delta(delta(seq))
}

struct Shell(shell::Shell);

impl std::ops::Deref for Shell {
    type Target = shell::Shell;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl std::ops::DerefMut for Shell {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

impl Shell {
    /// A leader that follows us-east through a broker.
    fn new() -> Self {
        let start = Duration::from_secs(1_000);
        let mut shell = Self(shell::Shell::new("eu-west", "us-east", Settings::default(), start));
        assert_eq!(
            shell.set_links(vec![link(false)], 0),
            TopologyAnswer::Done { version: LogIndex(shell.links_version()) }
        );
        shell.ticks(5);
        shell
    }

    fn set_links(&mut self, links: Vec<Link>, expected: u64) -> TopologyAnswer {
        let call = TopologyCall::SetLinks { links, expected: LogIndex(expected) };
        self.step(Event::Topology { ticket: 1, call });
        let answer = |command: &Command| match command {
            Command::TopologyReply { answer, .. } => Some(answer.clone()),
            _ => None,
        };
        self.seen.iter().rev().find_map(answer).unwrap()
    }

    fn links_version(&self) -> u64 {
        self.replica.status().links_version.0
    }

    /// The newest order to read the broker: its number, and behind which place.
    fn follow(&mut self) -> (u64, SourcePosition) {
        self.ticks(5);
        let follow = |command: &Command| match command {
            Command::Follow { call, after, .. } => Some((*call, *after)),
            _ => None,
        };
        self.seen.iter().rev().find_map(follow).unwrap()
    }

    /// The newest question to the origin: its number, and behind which position.
    fn opened(&mut self) -> (u64, Position) {
        self.ticks(5);
        let open = |command: &Command| match command {
            Command::SendRegion(_, RegionMessage::Call(call, RegionCall::Tail(_, TailCall::Open { after, .. }))) => {
                Some((*call, *after))
            }
            _ => None,
        };
        self.seen.iter().rev().find_map(open).unwrap()
    }

    fn records(&mut self, call: u64, records: Vec<(Record, SourcePosition)>) {
        self.step(Event::Records { call, records, origin_shards: 1 });
        self.ticks(1);
    }

    /// The origin itself answers.
    fn answer(&mut self, call: u64, deltas: Vec<Delta>, newest: u64) {
        let at = Position { epoch: Epoch(1), seq: Seq(newest) };
        let deltas = deltas.iter().map(DeltaBytes::encode).collect();
        let answer = TailAnswer::Records { deltas, at, complete: None, origin_shards: 1 };
        let message = RegionMessage::Answer(call, RegionAnswer::Tail(answer));
        self.step(Event::Region(Peer::Region(region("us-east")), message));
        self.ticks(1);
    }

    fn applied(&self) -> u64 {
        self.replica.state().vv().position(&origin()).seq.0
    }

    fn is_on_detour(&self) -> bool {
        self.replica.link_statuses()[0].origin_fallback
    }

    fn poison(&self) -> Option<Poison> {
        self.replica.link_statuses().into_iter().find_map(|link| link.poison)
    }

    fn credit(&self) -> u64 {
        let given = |command: &Command| match command {
            Command::FollowCredit { bytes, .. } => *bytes,
            _ => 0,
        };
        self.seen.iter().map(given).sum()
    }
}

#[test]
fn records_of_a_broker_are_applied_and_their_place_with_them() {
    let mut shell = Shell::new();
    let (call, after) = shell.follow();
    assert_eq!(after, SourcePosition::Direct);
    shell.records(call, (1..=300).zip(5..).map(|(seq, offset)| (record(seq), at(offset))).collect());
    assert_eq!(shell.applied(), 300);
    assert_eq!(shell.replica.state().source_position(&origin()), Some(at(304)));
    assert_eq!(shell.credit(), (1..=300).map(|seq| record_bytes(&record(seq))).sum::<u64>());
}

#[test]
fn a_duplicate_returns_its_credit() {
    let mut shell = Shell::new();
    let (call, _) = shell.follow();
    shell.records(call, vec![(record(1), at(0))]);
    let before = shell.credit();
    shell.records(call, vec![(record(1), at(1))]);
    assert_eq!((shell.applied(), shell.credit() - before), (1, record_bytes(&record(1))));
    assert_eq!(shell.replica.counters().links.duplicates_dropped, 1);
}

#[test]
fn a_gap_is_read_again_then_fetched_from_the_origin_before_the_broker_continues() {
    let mut shell = Shell::new();
    let (call, _) = shell.follow();
    shell.records(call, vec![(record(1), at(0)), (record(4), at(1))]);
    let (again, after) = shell.follow();
    assert_ne!(again, call);
    assert_eq!(after, at(0), "read again behind what is applied");
    shell.records(again, vec![(record(4), at(1))]);
    let (direct, behind) = shell.opened();
    assert_eq!(behind, Position { epoch: Epoch(1), seq: Seq(1) });
    assert!(shell.is_on_detour());
    shell.answer(direct, vec![delta(2), delta(3)], 3);
    assert_eq!(shell.applied(), 3);
    let (back, after) = shell.follow();
    assert!(back > direct);
    assert_eq!(after, at(0), "the record that showed the gap is read once more");
    shell.records(back, vec![(record(4), at(1))]);
    assert_eq!((shell.applied(), shell.is_on_detour()), (4, false));
}

#[test]
fn without_the_origin_the_link_retries() {
    let mut shell = Shell::new();
    for _ in 0..2 {
        let (call, _) = shell.follow();
        shell.records(call, vec![(record(3), at(0))]);
    }
    let (first, _) = shell.opened();
    shell.ticks(200);
    let (later, _) = shell.opened();
    assert!(later > first, "it tries again");
    assert_eq!((shell.applied(), shell.is_on_detour()), (0, true));
}

#[test]
fn a_record_without_content_is_reported_and_skipped() {
    let mut shell = Shell::new();
    let (call, _) = shell.follow();
    shell.records(call, vec![(record(1), at(0))]);
    let poison = Poison { at: at(1), seq: None, fault: "junk".into() };
    shell.step(Event::Poison { call, poison: poison.clone() });
    shell.records(call, vec![(record(2), at(2))]);
    assert_eq!((shell.applied(), shell.poison()), (2, Some(poison)));
    assert!(shell.seen.iter().any(|command| matches!(command, Command::Poisoned { .. })));
}

#[test]
fn an_invalid_delta_is_poison_and_is_fetched_from_the_origin() {
    let mut shell = Shell::new();
    let (collection, point) = (CollectionUid(9), PointId::Num(1));
    let op = Op::Upsert { collection, point, vectors: Vectors::new(), payload: Payload("no object".into()) };
    let bad = Record::Delta(Delta { op, ..delta(1) });
    for _ in 0..2 {
        let (call, _) = shell.follow();
        shell.records(call, vec![(bad.clone(), at(0)), (record(2), at(1))]);
    }
    let poison = shell.poison().unwrap();
    assert_eq!((poison.at, poison.seq), (at(0), Some(Seq(1))));
    let (direct, _) = shell.opened();
    shell.answer(direct, vec![delta(1)], 1);
    let (call, after) = shell.follow();
    assert_eq!(after, at(0));
    shell.records(call, vec![(record(2), at(1))]);
    assert_eq!(shell.applied(), 2);
}

#[test]
fn a_record_that_the_origin_did_not_publish_is_skipped() {
    let mut shell = Shell::new();
    for _ in 0..2 {
        let (call, _) = shell.follow();
        shell.records(call, vec![(record(1), at(0)), (record(500), at(1))]);
    }
    let (direct, _) = shell.opened();
    shell.answer(direct, Vec::new(), 1);
    let poison = shell.poison().unwrap();
    assert_eq!((poison.at, poison.seq), (at(1), Some(Seq(500))));
    assert!(poison.fault.contains("the origin has no more than 1"), "{}", poison.fault);
    let (call, after) = shell.follow();
    assert_eq!(after, at(1), "behind the record that lied");
    shell.records(call, vec![(record(2), at(2))]);
    assert_eq!(shell.applied(), 2);
}

fn statement(seq: u64, wall: Duration) -> Record {
    let through = Position { epoch: Epoch(1), seq: Seq(seq) };
    let wall = WallMillis(u64::try_from(wall.as_millis()).unwrap());
    Record::Mark { at: through, complete: Some(Statement { through, term: Term(1), wall }) }
}

#[test]
fn a_statement_counts_once_its_position_is_applied_and_costs_no_log_entry() {
    let mut shell = Shell::new();
    let (call, _) = shell.follow();
    let wall = shell.now.wall;
    shell.step(Event::Records {
        call,
        records: vec![(record(1), at(0)), (statement(1, wall), at(1))],
        origin_shards: 1,
    });
    assert_eq!(shell.replica.staleness_of(&origin()), Duration::from_millis(10));
    let applied = shell.replica.state().applied();
    for offset in 2..50 {
        shell.records(call, vec![(statement(1, shell.now.wall), at(offset))]);
    }
    assert_eq!(shell.replica.state().applied(), applied, "silence is not logged");
    assert!(shell.replica.staleness_of(&origin()) < Duration::from_millis(40));
    shell.ticks(3_000);
    assert_eq!(shell.replica.state().source_position(&origin()), Some(at(49)), "how far it was read is noted at times");
}

#[test]
fn a_statement_of_a_far_time_makes_its_origin_unknown() {
    let mut shell = Shell::new();
    let (call, _) = shell.follow();
    shell.records(call, vec![(record(1), at(0)), (statement(1, shell.now.wall), at(1))]);
    assert_ne!(shell.replica.staleness_of(&origin()), Duration::MAX);
    let far = shell.now.wall + Duration::from_secs(3_600);
    shell.records(call, vec![(statement(1, far), at(2)), (record(2), at(3))]);
    assert_eq!((shell.applied(), shell.replica.staleness_of(&origin())), (2, Duration::MAX));
    shell.records(call, vec![(statement(2, shell.now.wall), at(4))]);
    assert_ne!(shell.replica.staleness_of(&origin()), Duration::MAX);
}

#[test]
fn links_change_in_the_log_and_are_followed_at_once() {
    let mut shell = Shell::new();
    let (call, _) = shell.follow();
    shell.records(call, vec![(record(1), at(0))]);
    let version = shell.links_version();
    assert_eq!(shell.set_links(vec![link(true)], 0), TopologyAnswer::Conflict { version: LogIndex(version) });
    assert_eq!(shell.set_links(vec![link(false)], 0), TopologyAnswer::Done { version: LogIndex(version) }, "as it is");
    let own = Link { source: region("eu-west"), ..link(false) };
    let refused = TopologyAnswer::Refused("links[0]: a region does not follow itself".into());
    assert_eq!(shell.set_links(vec![own], version), refused);
    let TopologyAnswer::Done { version } = shell.set_links(vec![link(true)], version) else { panic!("not paused") };
    assert!(shell.seen.iter().any(|command| matches!(command, Command::Unfollow { call: ended } if *ended == call)));
    shell.records(call, vec![(record(2), at(1))]);
    assert_eq!((shell.applied(), shell.replica.link_statuses()), (1, Vec::new()), "a paused link takes nothing in");
    assert!(matches!(shell.set_links(vec![link(false)], version.0), TopologyAnswer::Done { .. }));
    let (again, after) = shell.follow();
    assert!(again > call);
    assert_eq!(after, at(0), "from where the shard stands");
    shell.records(again, vec![(record(2), at(1))]);
    assert_eq!(shell.applied(), 2);
}

#[test]
fn the_operator_hears_of_poison_for_a_while() {
    let mut shell = Shell::new();
    let (call, _) = shell.follow();
    shell.step(Event::Poison { call, poison: Poison { at: at(7), seq: None, fault: "junk".into() } });
    let reported = |shell: &Shell| {
        shell.replica.status().poisons.into_iter().map(|poison| (poison.origin, poison.fault)).collect::<Vec<_>>()
    };
    let text = "topic us-east.vector-deltas, partition 0, offset 7, sequence unknown: junk";
    assert_eq!(reported(&shell), [(origin(), text.to_owned())]);
    shell.ticks(31_000);
    assert_eq!(reported(&shell), []);
    assert!(shell.poison().is_some(), "the newest one is still shown where people look for it");
}

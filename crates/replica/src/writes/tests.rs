use std::time::Duration;

use meridian_model::client::PointOp;
use meridian_model::{
    CollectionName, Distance, HnswParams, LogIndex, MAX_CONDITIONAL_PART, Payload, PointId, PrimaryTerm, RegionName,
    RequestIndexes, TableVersion, VectorDef, Vectors,
};
use meridian_shard::Entry;

use super::*;
use crate::effect::Effect;
use crate::restore::shard_identity;
use crate::testing::Bench;

const SPACE: Admission = Admission { growth: true, elsewhere: false };
const FULL: Admission = Admission { growth: false, elsewhere: false };

/// Writes of a leader with the collection `words`.
struct Fixture {
    bench: Bench,
    writes: Writes,
    admission: Admission,
}

impl Fixture {
    fn new() -> Self {
        let mut bench = Bench::new();
        bench.lead();
        bench.facts.admits_small = true;
        let mut fixture = Self { bench, writes: Writes::default(), admission: SPACE };
        fixture.handle(Event::TermBegun);
        assert!(fixture.call(1, create("words")).is_empty());
        assert!(matches!(answers(&fixture.commit())[..], [(1, ShardAnswer::Created(..))]));
        fixture
    }

    fn handle(&mut self, event: Event) -> Vec<Effect> {
        self.bench.lend(|cx| self.writes.handle(cx, event))
    }

    fn call(&mut self, from: u64, call: ShardCall) -> Vec<Effect> {
        self.handle(Event::Call { from: Requester::Own(from), call, admission: self.admission })
    }

    /// Commits and applies the proposed entries; returns the part's effects.
    fn commit(&mut self) -> Vec<Effect> {
        let mut outcomes = Vec::new();
        while let Some(output) = self.bench.raft.output() {
            self.bench.raft.persisted(output.number);
            for raw in output.committed {
                let entry = crate::log_entry::decode(&raw).unwrap();
                outcomes.push(self.bench.state.apply(LogIndex(raw.index), &entry).outcome);
                self.bench.raft.applied(raw.index);
            }
        }
        outcomes.into_iter().flat_map(|outcome| self.handle(Event::Applied(outcome))).collect()
    }

    /// Number of entries proposed and not committed.
    fn proposed(&self) -> u64 {
        self.bench.raft.status().last_index - self.bench.state.applied().0
    }
}

fn create(name: &str) -> ShardCall {
    let vector = VectorDef { dim: 2, distance: Distance::Dot, hnsw: HnswParams::default() };
    let vectors = BTreeMap::from([(String::new(), vector)]);
    let def = CollectionDef { name: CollectionName::new(name).unwrap(), vectors };
    ShardCall::Create { id: WriteId(name.len() as u128), sent_at: LogIndex(1), def }
}

fn write(id: u128, op: PointOp) -> ShardCall {
    ShardCall::Write {
        id: WriteId(id),
        table: TableVersion(1),
        sent_at: LogIndex(1),
        collection: CollectionName::new("words").unwrap(),
        ops: vec![op],
        indexes: RequestIndexes::default(),
        trace: None,
    }
}

fn upsert() -> PointOp {
    let (vectors, payload) = (Vectors::unnamed(vec![1.0, 2.0]), Payload("{}".into()));
    PointOp::Upsert { point: PointId::Num(1), vectors, payload }
}

fn delete() -> PointOp {
    PointOp::Delete { point: PointId::Num(1) }
}

/// Answers with their call numbers.
fn answers(effects: &[Effect]) -> Vec<(u64, &ShardAnswer)> {
    let answer = |effect| match effect {
        &Effect::Answer(Requester::Own(call), ref answer) => (call, answer),
        other => panic!("{other:?}"),
    };
    effects.iter().map(answer).collect()
}

#[test]
fn a_write_is_answered_once_it_is_applied() {
    let mut fixture = Fixture::new();
    assert!(fixture.call(7, write(9, upsert())).is_empty());
    assert_eq!(fixture.proposed(), 1);
    let effects = fixture.commit();
    let [(7, ShardAnswer::Written(seq, covers))] = answers(&effects)[..] else { panic!("{effects:?}") };
    let origin = fixture.bench.state.origin();
    assert_eq!(covers.position(origin).seq, *seq);
    assert_eq!(fixture.bench.state.position(origin).seq, *seq);
    assert_eq!(fixture.bench.counters.ops_committed, 2);
}

#[test]
fn a_repeat_waits_for_the_first_entry_and_is_answered_again_later() {
    let mut fixture = Fixture::new();
    for from in [7, 7, 8] {
        assert!(fixture.call(from, write(9, upsert())).is_empty());
    }
    assert_eq!(fixture.proposed(), 1);
    let effects = fixture.commit();
    assert!(matches!(answers(&effects)[..], [(7, ShardAnswer::Written(..)), (8, ShardAnswer::Written(..))]));
    let effects = fixture.call(9, write(9, upsert()));
    assert!(matches!(answers(&effects)[..], [(9, ShardAnswer::Written(..))]));
    assert_eq!((fixture.proposed(), fixture.bench.counters.writes_repeated), (0, 1));
}

#[test]
fn a_group_without_space_admits_deletes_as_long_as_there_is_a_reserve() {
    let mut fixture = Fixture::new();
    fixture.admission = FULL;
    assert!(matches!(answers(&fixture.call(7, write(9, upsert())))[..], [(7, ShardAnswer::Full)]));
    fixture.admission.elsewhere = true;
    assert!(matches!(answers(&fixture.call(7, write(9, upsert())))[..], [(7, ShardAnswer::NotLeader(None))]));
    assert_eq!(fixture.proposed(), 0);
    assert!(fixture.call(7, write(9, delete())).is_empty());
    assert_eq!(fixture.proposed(), 1);
    fixture.admission = FULL;
    fixture.bench.facts.admits_small = false;
    assert!(matches!(answers(&fixture.call(7, write(10, delete())))[..], [(7, ShardAnswer::Full)]));
}

#[test]
fn a_leader_outside_the_primary_region_proposes_nothing() {
    let mut fixture = Fixture::new();
    let mut identity = fixture.bench.identity.clone();
    identity.genesis.primary = RegionName::new("eu-west").unwrap();
    let applied = fixture.bench.state.applied();
    fixture.bench.state = State::new(shard_identity(&identity)).unwrap();
    (1..=applied.0).for_each(|index| drop(fixture.bench.state.apply(LogIndex(index), &Entry::Noop)));
    let effects = fixture.call(7, create("others"));
    let [(7, ShardAnswer::Busy(why))] = answers(&effects)[..] else { panic!("{effects:?}") };
    assert!(why.contains("eu-west is the primary region"), "{why}");
    assert_eq!(fixture.proposed(), 0);
}

#[test]
fn a_draining_leader_proposes_nothing() {
    let mut fixture = Fixture::new();
    fixture.bench.facts.draining = true;
    assert!(matches!(answers(&fixture.call(7, write(9, upsert())))[..], [(7, ShardAnswer::NotLeader(None))]));
    assert_eq!(fixture.proposed(), 0);
}

#[test]
fn a_former_leader_reports_its_pending_writes_as_unknown() {
    let mut fixture = Fixture::new();
    fixture.call(7, write(9, upsert()));
    fixture.call(8, write(10, upsert()));
    let effects = fixture.handle(Event::LeadershipLost);
    assert!(matches!(answers(&effects)[..], [(7, ShardAnswer::SteppedDown), (8, ShardAnswer::SteppedDown)]));
    assert!(fixture.handle(Event::LeadershipLost).is_empty());
    assert!(fixture.commit().is_empty(), "no requester waits");
}

#[test]
fn writes_beyond_the_waiting_limit_are_refused() {
    let mut fixture = Fixture::new();
    let waiting = (0..4096).map(|part| ((WriteId(1 << 64), part), vec![(INTERNAL, Kind::Written)]));
    fixture.writes.waiting.extend(waiting);
    assert!(matches!(answers(&fixture.call(7, write(9, upsert())))[..], [(7, ShardAnswer::Overloaded(_))]));
    assert_eq!(fixture.proposed(), 0);
}

#[test]
fn a_write_whose_entry_had_no_effect_is_refused() {
    let (id, part) = (WriteId(9), 1);
    for (outcome, busy) in [
        (Outcome::TermEnded { id, part, held: PrimaryTerm(3) }, true),
        (Outcome::TableChanged { id, part, held: TableVersion(2) }, false),
    ] {
        let mut fixture = Fixture::new();
        fixture.call(7, write(9, upsert()));
        let effects = fixture.handle(Event::Applied(outcome));
        match answers(&effects)[..] {
            [(7, ShardAnswer::Busy(why))] if busy => assert!(why.contains("term 3 is in place"), "{why}"),
            [(7, ShardAnswer::NotOwner(TableVersion(2)))] if !busy => {}
            _ => panic!("{effects:?}"),
        }
    }
}

#[test]
fn calls_with_another_table_or_invalid_parts_are_refused() {
    let mut fixture = Fixture::new();
    let ShardCall::Write { id, collection, sent_at, ops, indexes, .. } = write(9, upsert()) else { unreachable!() };
    let table = TableVersion(2);
    let other = ShardCall::Write { id, table, sent_at, collection, ops, indexes, trace: None };
    assert!(matches!(answers(&fixture.call(7, other))[..], [(7, ShardAnswer::NotOwner(TableVersion(1)))]));
    let conditional = |part| ShardCall::ConditionalWrite {
        id: WriteId(9),
        part,
        table: TableVersion(1),
        collection: CollectionUid(1),
        read_at: LogIndex(1),
        changes: Vec::new(),
        trace: None,
    };
    for (part, why) in [(MAX_CONDITIONAL_PART + 1, "part must be at most"), (0, "changes must be from 1 to")] {
        let effects = fixture.call(7, conditional(part));
        let [(7, ShardAnswer::Wrong(fault))] = answers(&effects)[..] else { panic!("{effects:?}") };
        assert!(fault.starts_with(why), "{fault}");
    }
}

#[test]
fn a_repeated_drop_does_not_drop_a_collection_created_meanwhile() {
    let mut fixture = Fixture::new();
    let dropping = || ShardCall::Drop {
        id: WriteId(40),
        sent_at: LogIndex(1),
        name: CollectionName::new("words").unwrap(),
        upto: None,
    };
    assert!(fixture.call(7, dropping()).is_empty());
    assert!(matches!(answers(&fixture.commit())[..], [(7, ShardAnswer::Dropped { existed: true, .. })]));
    let ShardCall::Create { sent_at, def, .. } = create("words") else { unreachable!() };
    fixture.call(8, ShardCall::Create { id: WriteId(41), sent_at, def });
    fixture.commit();
    assert!(matches!(answers(&fixture.call(7, dropping()))[..], [(7, ShardAnswer::Dropped { existed: true, .. })]));
    assert_eq!((fixture.proposed(), fixture.bench.state.collections().count()), (0, 1));
}

#[test]
fn a_decision_of_shard_1_is_proposed_once() {
    let mut fixture = Fixture::new();
    let ShardCall::Create { def, .. } = create("others") else { unreachable!() };
    let uid = CollectionUid(u64::MAX >> 1);
    let learn = |def| Event::Learn { uid, def, admission: SPACE };
    assert!(fixture.handle(learn(def.clone())).is_empty());
    assert!(fixture.handle(learn(def.clone())).is_empty());
    assert_eq!(fixture.proposed(), 1);
    fixture.commit();
    assert!(fixture.bench.state.collection_by_uid(uid).is_some());
    fixture.handle(Event::Forget { uid, admission: FULL });
    fixture.commit();
    assert!(fixture.bench.state.is_dropped(uid), "a drop frees something");
    fixture.handle(learn(def));
    assert_eq!(fixture.proposed(), 0, "it stays dropped");
}

#[test]
fn a_new_leader_stamps_after_the_applied_writes() {
    let mut fixture = Fixture::new();
    fixture.bench.pass(Duration::from_secs(5));
    fixture.call(7, write(9, upsert()));
    let newest = fixture.writes.hlc;
    fixture.commit();
    fixture.writes = Writes::default();
    fixture.handle(Event::TermBegun);
    assert_eq!(fixture.writes.hlc, newest);
}

use std::collections::BTreeMap;
use std::time::Duration;

use meridian_model::{
    BehaviorVersion, CollectionDef, CollectionName, CollectionUid, Distance, Epoch, Hlc, HnswParams, LogIndex, Op,
    Position, PrimaryTerm, RegionName, ReplicaId, RequestIndexes, Seq, Statement, Term, VectorDef, WallMillis, WriteId,
};
use meridian_proto::frame::{
    Call, CallAnswer, CallNumbers, NodeId, PeerMessage, RegionAnswer, RegionMessage, SeedPage,
};
use meridian_shard::{Entry, Identity, State, Write};

use super::*;
use crate::Effect;

const MS: Duration = Duration::from_millis(1);
const PLENTY: u64 = 1 << 20;

/// Context of a server.
struct Fixture {
    server: Server,
    now: Duration,
    state: State,
    log: GroupLog,
    candidates: Vec<NodeId>,
    statement: Option<Statement>,
    is_trusted: bool,
    is_leading: bool,
    numbers: CallNumbers,
}

#[derive(Default)]
struct GroupLog(BTreeMap<LogIndex, Entry>);

impl Log for GroupLog {
    fn first_index(&self) -> LogIndex {
        self.0.keys().next().copied().unwrap_or(LogIndex(u64::MAX))
    }

    fn entry(&self, index: LogIndex) -> Option<Entry> {
        self.0.get(&index).cloned()
    }
}

impl Fixture {
    /// Replica 1 of shard 1 of us-east, with this number of changes in its log.
    fn with(changes: u64) -> Self {
        let region = RegionName::new("us-east").unwrap();
        let identity = Identity {
            region: region.clone(),
            shard: ShardNumber::FIRST,
            shards: 2,
            primary: (PrimaryTerm(1), region),
            behavior: BehaviorVersion::FIRST,
        };
        let mut fixture = Self {
            server: Server::default(),
            now: 1_000 * MS,
            state: State::new(identity).unwrap(),
            log: GroupLog::default(),
            candidates: vec![node(1)],
            statement: None,
            is_trusted: true,
            is_leading: true,
            numbers: CallNumbers::behind(100),
        };
        (0..changes).for_each(|_| fixture.change());
        fixture
    }

    /// Creates one more collection.
    fn change(&mut self) {
        let index = LogIndex(self.state.applied().0 + 1);
        let vector = VectorDef { dim: 2, distance: Distance::Dot, hnsw: HnswParams::default() };
        let name = CollectionName::new(&format!("words-{index}")).unwrap();
        let def = CollectionDef { name, vectors: BTreeMap::from([(String::new(), vector)]) };
        let (table, (term, _), hlc) = (self.state.table().version, self.state.primary(), Hlc(1_000 * index.0));
        let ops = vec![Op::CreateCollection { uid: CollectionUid(hlc.0), def }];
        let (id, sent_at, indexes) = (WriteId(index.0.into()), self.state.applied(), RequestIndexes::default());
        let write = Write { id, part: 0, table, term, sent_at, ops, indexes, hlc, trace: None };
        self.state.apply(index, &Entry::Write(write.clone()));
        self.log.0.insert(index, Entry::Write(write));
    }

    fn handle(&mut self, event: Event<'_>) -> Vec<Effect> {
        let mut effects = Vec::new();
        let candidates = self.candidates.clone();
        let mut cx = Ctx {
            now: self.now,
            me: node(1),
            shards: 2,
            state: &self.state,
            log: &self.log,
            is_trusted: self.is_trusted,
            is_leading: self.is_leading,
            statement: self.statement,
            seed_page_bytes: 1 << 20,
            candidates: &|_| candidates.clone(),
            numbers: &mut self.numbers,
            effects: &mut effects,
        };
        self.server.handle(&mut cx, event);
        effects
    }

    /// Delivers a call of another region, always under one number.
    fn call(&mut self, body: TailCall) -> Vec<Effect> {
        self.handle(Event::RegionCall { from: &Peer::Connection(7), call: 5, shard: ShardNumber::FIRST, body })
    }

    fn open(&mut self, after: u64, credit: u64) -> Vec<Effect> {
        self.call(TailCall::Open { after: at(after), credit })
    }

    fn pass(&mut self, time: Duration) -> Vec<Effect> {
        self.now += time;
        self.handle(Event::Tick)
    }
}

fn node(replica: u64) -> NodeId {
    NodeId { shard: ShardNumber::FIRST, replica: ReplicaId(replica) }
}

fn at(seq: u64) -> Position {
    Position { epoch: Epoch(1), seq: Seq(seq) }
}

/// The answers to the other region.
fn answers(effects: &[Effect]) -> Vec<&TailAnswer> {
    fn answer(effect: &Effect) -> &TailAnswer {
        match effect {
            Effect::SendRegion(Peer::Connection(7), RegionMessage::Answer(5, RegionAnswer::Tail(answer))) => answer,
            other => panic!("{other:?}"),
        }
    }
    effects.iter().map(answer).collect()
}

/// For each message: its sequences, its position, and whether it carries a statement.
fn records(effects: &[Effect]) -> Vec<(Vec<u64>, u64, bool)> {
    let records = |answer: &TailAnswer| match answer {
        TailAnswer::Records { deltas, at, complete, .. } => {
            let seqs = deltas.iter().map(|bytes| bytes.decode().unwrap().seq.0).collect();
            (seqs, at.seq.0, complete.is_some())
        }
        other => panic!("{other:?}"),
    };
    answers(effects).into_iter().map(records).collect()
}

/// Replica and number of the relayed call.
fn relayed(effects: &[Effect]) -> (NodeId, u64) {
    match effects {
        [Effect::Send(node, PeerMessage::Call(number, Call::Tail(_)))] => (*node, *number),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_reader_receives_the_log_after_its_position_and_then_applied_changes() {
    let mut fixture = Fixture::with(3);
    assert_eq!(records(&fixture.open(1, PLENTY)), [(vec![2, 3], 3, false)]);
    assert!(fixture.handle(Event::StateMoved).is_empty());
    fixture.change();
    assert_eq!(records(&fixture.handle(Event::StateMoved)), [(vec![4], 4, false)]);
}

#[test]
fn credit_limits_the_bytes_sent() {
    let mut fixture = Fixture::with(3);
    assert_eq!(records(&fixture.open(0, 1)), [(vec![1], 1, false)], "at least one");
    assert!(fixture.call(TailCall::Credit(0)).is_empty());
    assert_eq!(records(&fixture.call(TailCall::Credit(1))), [(vec![2], 2, false)]);
    assert_eq!(records(&fixture.call(TailCall::Credit(PLENTY))), [(vec![3], 3, false)]);
    assert!(fixture.call(TailCall::Close).is_empty());
    assert!(fixture.server.serves_nobody());
}

#[test]
fn the_log_position_is_repeated_while_nothing_changes() {
    let mut fixture = Fixture::with(1);
    fixture.open(0, PLENTY);
    assert!(fixture.pass(249 * MS).is_empty());
    assert_eq!(records(&fixture.pass(MS)), [(vec![], 1, false)]);
}

#[test]
fn a_statement_is_sent_once_after_the_deltas_that_it_covers() {
    let mut fixture = Fixture::with(2);
    fixture.open(0, 1);
    fixture.statement = Some(Statement { through: at(2), term: Term(1), wall: WallMillis(9) });
    assert!(fixture.handle(Event::StateMoved).is_empty(), "there is no credit for the delta before it");
    assert_eq!(records(&fixture.call(TailCall::Credit(1))), [(vec![2], 2, true)]);
    assert_eq!(records(&fixture.pass(250 * MS)), [(vec![], 2, false)]);
}

#[test]
fn a_replica_serves_only_positions_that_it_holds() {
    let check = |set: fn(&mut Fixture), after, expected| {
        let mut fixture = Fixture::with(3);
        set(&mut fixture);
        assert_eq!(answers(&fixture.open(after, PLENTY)), [&expected]);
        assert!(fixture.server.is_idle());
    };
    check(|_| {}, 4, TailAnswer::Unavailable);
    check(|fixture| fixture.is_trusted = false, 1, TailAnswer::Unavailable);
    let compact = |fixture: &mut Fixture| {
        fixture.log.0.pop_first();
    };
    check(compact, 0, TailAnswer::Gone);
    let mut fixture = Fixture::with(3);
    compact(&mut fixture);
    assert_eq!(records(&fixture.open(1, PLENTY)), [(vec![2, 3], 3, false)]);
}

#[test]
fn a_reader_behind_the_log_receives_gone() {
    let mut fixture = Fixture::with(3);
    fixture.open(0, 1);
    fixture.log.0.retain(|index, _| *index == LogIndex(3));
    assert_eq!(answers(&fixture.call(TailCall::Credit(PLENTY))), [&TailAnswer::Gone]);
    assert!(fixture.server.serves_nobody());
}

#[test]
fn streams_end_when_the_state_is_in_doubt_or_the_reader_disconnects() {
    let mut fixture = Fixture::with(1);
    fixture.open(0, PLENTY);
    assert_eq!(answers(&fixture.handle(Event::Close)), [&TailAnswer::Unavailable]);
    assert!(fixture.server.is_idle());
    fixture.open(0, PLENTY);
    assert!(fixture.handle(Event::Lost(&Peer::Connection(7))).is_empty());
    assert!(fixture.server.is_idle());
    fixture.open(0, PLENTY);
    fixture.pass(9_999 * MS);
    assert!(!fixture.server.is_idle());
    fixture.pass(MS);
    assert!(fixture.server.is_idle());
}

#[test]
fn a_relay_tries_replicas_in_order_until_one_serves() {
    let mut fixture = Fixture::with(0);
    fixture.candidates = vec![node(2), node(3)];
    let (to, number) = relayed(&fixture.open(0, PLENTY));
    assert_eq!(to, node(2));
    let answered = |from, call, answer| Event::Relayed { from, call, answer };
    assert!(fixture.handle(answered(node(3), number, TailAnswer::Gone)).is_empty(), "the call was not sent to it");
    let (to, number) = relayed(&fixture.handle(answered(node(2), number, TailAnswer::Gone)));
    assert_eq!(to, node(3));
    let served = TailAnswer::Records { deltas: Vec::new(), at: at(0), complete: None, origin_shards: 2 };
    assert_eq!(answers(&fixture.handle(answered(node(3), number, served.clone()))), [&served]);
    assert_eq!(relayed(&fixture.call(TailCall::Credit(4))), (node(3), number));
    assert_eq!(relayed(&fixture.call(TailCall::Close)), (node(3), number));
    assert!(fixture.server.is_idle());
}

#[test]
fn a_log_is_gone_only_if_no_replica_holds_it() {
    for (second, expected) in [(TailAnswer::Gone, TailAnswer::Gone), (TailAnswer::Unavailable, TailAnswer::Unavailable)]
    {
        let mut fixture = Fixture::with(3);
        fixture.log.0.pop_first();
        // This replica is tried in its turn; it has released the log.
        fixture.candidates = vec![node(1), node(2)];
        let (to, call) = relayed(&fixture.open(0, PLENTY));
        assert_eq!(to, node(2));
        let effects = fixture.handle(Event::Relayed { from: to, call, answer: second });
        assert_eq!(answers(&effects), [&expected]);
    }
    let mut fixture = Fixture::with(3);
    fixture.candidates = Vec::new();
    assert_eq!(answers(&fixture.open(0, PLENTY)), [&TailAnswer::Unavailable]);
}

#[test]
fn a_relay_to_a_lost_or_silent_replica_ends() {
    let mut fixture = Fixture::with(0);
    fixture.candidates = vec![node(2)];
    fixture.open(0, PLENTY);
    assert_eq!(answers(&fixture.handle(Event::Lost(&Peer::Node(node(2))))), [&TailAnswer::Unavailable]);
    fixture.open(0, PLENTY);
    fixture.call(TailCall::Credit(1));
    assert_eq!(answers(&fixture.pass(10_000 * MS)), [&TailAnswer::Unavailable], "it never answered");
    fixture.open(0, PLENTY);
    let effects = fixture.handle(Event::Lost(&Peer::Connection(7)));
    assert!(matches!(effects[..], [Effect::Send(_, PeerMessage::Call(_, Call::Tail(TailCall::Close)))]), "{effects:?}");
    assert!(fixture.server.is_idle());
}

#[test]
fn the_leader_serves_the_first_seed_page_and_no_lagging_replica_a_later_one() {
    let mut fixture = Fixture::with(2);
    let page = |fixture: &mut Fixture, at| {
        let effects =
            fixture.handle(Event::NodeCall { from: node(2), call: 9, body: TailCall::Seed { at, after: None } });
        match effects.into_iter().next() {
            Some(Effect::Send(to, PeerMessage::Answer(9, CallAnswer::Tail(answer)))) if to == node(2) => answer,
            other => panic!("{other:?}"),
        }
    };
    let TailAnswer::Seed(SeedPage { at: stands, collections, .. }) = page(&mut fixture, None) else {
        panic!("refused")
    };
    assert_eq!((stands, collections.len()), (at(2), 2));
    fixture.is_leading = false;
    assert_eq!(page(&mut fixture, None), TailAnswer::Unavailable);
    assert!(matches!(page(&mut fixture, Some(at(1))), TailAnswer::Seed(SeedPage { at: first, .. }) if first == at(1)));
    assert_eq!(page(&mut fixture, Some(at(3))), TailAnswer::Unavailable);
}

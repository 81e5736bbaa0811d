use std::time::Duration;

use meridian_model::{
    BehaviorVersion, CollectionUid, Delta, Epoch, Hlc, Link as SourceLink, LogIndex, Op, PointId, Position,
    PrimaryTerm, Seq, Statement, Term, Transport, WallMillis, WriteId, WriteRef,
};
use meridian_proto::delta_bytes::DeltaBytes;
use meridian_proto::frame::{CallNumbers, RegionCall, RegionMessage, SeedPage, TailCall};
use meridian_shard::{Entry, Identity, Links, SeedStep, State};

use super::*;
use crate::Effect;

const MS: Duration = Duration::from_millis(1);

/// Context of a follower; records its proposed entries.
struct Fixture {
    follower: Follower,
    now: Duration,
    state: State,
    log: GroupLog,
    admits_growth: bool,
    numbers: CallNumbers,
    counters: Counters,
}

struct GroupLog {
    proposed: Vec<Entry>,
    is_leading: bool,
}

impl Propose for GroupLog {
    fn propose(&mut self, entry: &Entry) -> bool {
        self.proposed.extend(self.is_leading.then(|| entry.clone()));
        self.is_leading
    }
}

impl Fixture {
    /// Creates the leader of a shard of eu-west that follows us-east over this transport.
    fn new(transport: Transport) -> Self {
        let identity = Identity {
            region: region("eu-west"),
            shard: ShardNumber::FIRST,
            shards: 1,
            primary: (PrimaryTerm(1), region("us-east")),
            behavior: BehaviorVersion::FIRST,
        };
        let mut state = State::new(identity).unwrap();
        let links = vec![SourceLink { source: region("us-east"), transport, paused: false }];
        state.apply(LogIndex(1), &Entry::Links(Links { expects: LogIndex(0), links }));
        Self {
            follower: Follower::default(),
            now: 1_000 * MS,
            state,
            log: GroupLog { proposed: Vec::new(), is_leading: true },
            admits_growth: true,
            numbers: CallNumbers::behind(0),
            counters: Counters::default(),
        }
    }

    fn handle(&mut self, event: Event<'_>) -> Vec<Effect> {
        let mut effects = Vec::new();
        let mut cx = Ctx {
            now: self.now,
            shard: ShardNumber::FIRST,
            state: &self.state,
            log: &mut self.log,
            admits_growth: self.admits_growth,
            numbers: &mut self.numbers,
            counters: &mut self.counters,
            effects: &mut effects,
            #[cfg(feature = "fault-injection")]
            accept_gap: false,
        };
        self.follower.handle(&mut cx, event);
        effects
    }

    fn pass(&mut self, time: Duration) -> Vec<Effect> {
        self.now += time;
        self.handle(Event::Tick)
    }

    /// Delivers an answer of the origin with these deltas; its log ends at `newest`.
    fn answer(&mut self, call: u64, seqs: &[u64], newest: u64) -> Vec<Effect> {
        let deltas = seqs.iter().map(|seq| DeltaBytes::encode(&delta(*seq))).collect();
        let answer = TailAnswer::Records { deltas, at: at(newest), complete: None, origin_shards: 1 };
        self.handle(Event::Answer { call, answer })
    }

    /// Applies the proposed entries; returns the follower's effects.
    fn apply(&mut self) -> Vec<Effect> {
        let mut effects = Vec::new();
        for entry in std::mem::take(&mut self.log.proposed) {
            let index = LogIndex(self.state.applied().0 + 1);
            let outcome = self.state.apply(index, &entry).outcome;
            effects.extend(match &entry {
                Entry::RemoteBatch(batch) => self.handle(Event::BatchApplied(&batch.origin, &outcome)),
                Entry::Seed { origin, .. } => self.handle(Event::SeedApplied(origin, &outcome)),
                other => panic!("{other:?}"),
            });
        }
        effects
    }
}

fn region(name: &str) -> RegionName {
    RegionName::new(name).unwrap()
}

fn origin() -> OriginShard {
    OriginShard { region: region("us-east"), shard: ShardNumber::FIRST }
}

fn at(seq: u64) -> Position {
    Position { epoch: Epoch(1), seq: Seq(seq) }
}

fn offset(offset: i64) -> SourcePosition {
    SourcePosition::Kafka { partition: 0, offset }
}

fn kafka() -> Transport {
    Transport::Kafka(Topic { bootstrap_servers: "broker:9092".into(), name: "us-east.vector-deltas".into() })
}

/// Deletes a point of an unknown collection, so only the position counts.
fn delta(seq: u64) -> Delta {
    let op = Op::Delete { collection: CollectionUid(9), point: PointId::Num(seq) };
    let write = WriteRef { id: WriteId(u128::from(seq)), index: 0 };
    Delta { origin: origin(), epoch: Epoch(1), seq: Seq(seq), committed_at: Hlc(seq), op, write, trace: None }
}

/// Calls to the origin among the effects.
fn calls(effects: &[Effect]) -> Vec<(u64, &TailCall)> {
    let call = |effect| match effect {
        &Effect::SendRegion(_, RegionMessage::Call(call, RegionCall::Tail(_, ref body))) => Some((call, body)),
        _ => None,
    };
    effects.iter().filter_map(call).collect()
}

/// Number of the call that opens the origin's log.
fn opened(effects: &[Effect]) -> u64 {
    let [(call, TailCall::Open { .. })] = calls(effects)[..] else { panic!("{effects:?}") };
    call
}

/// An open direct link and its call number.
fn direct() -> (Fixture, u64) {
    let mut fixture = Fixture::new(Transport::Direct);
    assert!(fixture.handle(Event::Start).is_empty());
    let call = opened(&fixture.handle(Event::Tick));
    (fixture, call)
}

#[test]
fn records_are_proposed_as_one_batch_and_credit_follows_when_it_is_applied() {
    let (mut fixture, call) = direct();
    let effects = fixture.answer(call, &[1, 2, 3], 3);
    assert_eq!(effects, [Effect::RecheckReads]);
    let [Entry::RemoteBatch(batch)] = fixture.log.proposed.as_slice() else { panic!("one batch") };
    assert_eq!((batch.from, batch.to), (Seq(1), Seq(3)));
    let bytes = (1..=3).map(|seq| crate::record_bytes(&Record::Delta(delta(seq)))).sum();
    let effects = fixture.apply();
    assert_eq!(calls(&effects), [(call, &TailCall::Credit(bytes))]);
    assert_eq!(fixture.counters.ops_merged, 3);
}

#[test]
fn duplicates_give_their_credit_back_at_once() {
    let (mut fixture, call) = direct();
    fixture.answer(call, &[1, 2], 2);
    let effects = fixture.answer(call, &[2], 2);
    assert!(matches!(calls(&effects)[..], [(_, TailCall::Credit(64))]), "{effects:?}");
    assert_eq!((fixture.counters.duplicates_dropped, fixture.log.proposed.len()), (1, 1));
}

#[test]
fn a_gap_is_reread_and_the_deltas_before_it_are_proposed() {
    let (mut fixture, call) = direct();
    let effects = fixture.answer(call, &[1, 3], 3);
    assert_eq!(calls(&effects), [(call, &TailCall::Close)]);
    assert_eq!((fixture.counters.gaps_healed, fixture.log.proposed.len()), (1, 1));
    fixture.apply();
    let effects = fixture.pass(50 * MS);
    assert!(matches!(calls(&effects)[..], [(_, TailCall::Open { after, .. })] if *after == at(1)), "{effects:?}");
}

#[test]
fn a_silent_stream_is_reopened_and_a_live_one_gets_keep_alives() {
    let (mut fixture, call) = direct();
    for _ in 0..2 {
        assert!(fixture.pass(999 * MS).is_empty());
        fixture.answer(call, &[], 0);
    }
    assert_eq!(calls(&fixture.pass(2 * MS)), [(call, &TailCall::Credit(0))]);
    assert_eq!(calls(&fixture.pass(1_000 * MS)), [(call, &TailCall::Close)]);
}

#[test]
fn only_streams_of_a_disconnected_region_are_reopened() {
    let (mut fixture, call) = direct();
    assert!(fixture.handle(Event::Lost(&Peer::Region(region("ap-south")))).is_empty());
    let effects = fixture.handle(Event::Lost(&Peer::Region(region("us-east"))));
    assert_eq!(calls(&effects), [(call, &TailCall::Close)]);
}

#[test]
fn nothing_is_proposed_while_space_is_short() {
    let (mut fixture, call) = direct();
    fixture.admits_growth = false;
    fixture.answer(call, &[1], 1);
    assert!(fixture.log.proposed.is_empty());
    fixture.admits_growth = true;
    fixture.pass(20 * MS);
    assert_eq!(fixture.log.proposed.len(), 1);
}

#[test]
fn a_former_leader_closes_its_streams() {
    let (mut fixture, call) = direct();
    fixture.log.is_leading = false;
    let effects = fixture.answer(call, &[1], 1);
    assert_eq!(calls(&effects), [(call, &TailCall::Close)], "the log accepted nothing");
    let (mut fixture, call) = direct();
    let effects = fixture.handle(Event::Stop);
    assert_eq!(calls(&effects), [(call, &TailCall::Close)]);
    assert!(fixture.follower.is_idle());
    assert!(fixture.answer(call, &[1], 1).is_empty());
}

#[test]
fn statements_are_forwarded_once_their_position_is_received() {
    let (mut fixture, call) = direct();
    let said = Statement { through: at(0), term: Term(1), wall: WallMillis(7) };
    let answer =
        |newest| TailAnswer::Records { deltas: Vec::new(), at: at(newest), complete: Some(said), origin_shards: 1 };
    let effects = fixture.handle(Event::Answer { call, answer: answer(0) });
    assert_eq!(effects, [Effect::Statement { origin: origin(), statement: said }, Effect::RecheckReads]);
    let effects = fixture.handle(Event::Answer { call, answer: answer(5) });
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::Statement { .. })), "{effects:?}");
}

#[test]
fn all_shards_of_the_origin_are_followed_once_one_reports_their_number() {
    let (mut fixture, call) = direct();
    let answer = TailAnswer::Records { deltas: Vec::new(), at: at(0), complete: None, origin_shards: 3 };
    fixture.handle(Event::Answer { call, answer });
    assert_eq!(calls(&fixture.handle(Event::Tick)).len(), 2);
    assert_eq!(fixture.follower.statuses(fixture.now).len(), 3);
}

#[test]
fn a_delta_that_cannot_be_decoded_stops_its_link_for_a_second() {
    let (mut fixture, call) = direct();
    let deltas = vec![DeltaBytes::encode(&delta(1)), DeltaBytes::from(vec![0xff])];
    let answer = TailAnswer::Records { deltas, at: at(2), complete: None, origin_shards: 1 };
    let effects = fixture.handle(Event::Answer { call, answer });
    assert!(effects.iter().any(|effect| matches!(effect, Effect::Poisoned { .. })), "{effects:?}");
    assert_eq!(calls(&effects), [(call, &TailCall::Close)]);
    assert_eq!(fixture.log.proposed.len(), 1, "the delta before it is proposed");
    assert_eq!(fixture.follower.poisons(fixture.now).len(), 1);
    assert!(fixture.pass(999 * MS).is_empty());
    opened(&fixture.pass(MS));
    assert!(fixture.follower.poisons(fixture.now + Duration::from_secs(600)).is_empty());
}

/// An open link through a broker and its call number.
fn through_broker() -> (Fixture, u64) {
    let mut fixture = Fixture::new(kafka());
    fixture.handle(Event::Start);
    let call = followed(&fixture.handle(Event::Tick), SourcePosition::Direct);
    (fixture, call)
}

/// Number of the call that reads the broker after this position.
fn followed(effects: &[Effect], behind: SourcePosition) -> u64 {
    let [Effect::Follow { call, after, .. }] = effects else { panic!("{effects:?}") };
    assert_eq!(*after, behind);
    *call
}

fn records(call: u64, records: &[(u64, i64)]) -> Event<'static> {
    let records = records.iter().map(|(seq, at)| (Record::Delta(delta(*seq)), offset(*at))).collect();
    Event::Records { call, records, origin_shards: 1 }
}

#[test]
fn records_missing_twice_are_read_from_the_origin_before_the_broker_resumes() {
    let (mut fixture, call) = through_broker();
    let effects = fixture.handle(records(call, &[(1, 10), (4, 11)]));
    assert!(effects.contains(&Effect::Unfollow { call }), "{effects:?}");
    fixture.apply();
    let call = followed(&fixture.pass(50 * MS), offset(10));
    fixture.handle(records(call, &[(4, 11)]));
    assert_eq!(fixture.counters.origin_fallbacks, 1);
    let call = opened(&fixture.pass(50 * MS));
    assert!(fixture.follower.statuses(fixture.now)[0].origin_fallback);
    fixture.answer(call, &[2, 3], 3);
    let effects = fixture.apply();
    assert_eq!(calls(&effects).last(), Some(&(call, &TailCall::Close)), "{effects:?}");
    followed(&fixture.pass(50 * MS), offset(10));
    assert!(!fixture.follower.statuses(fixture.now)[0].origin_fallback);
}

#[test]
fn a_record_of_the_broker_that_the_origin_does_not_have_is_poison() {
    let (mut fixture, call) = through_broker();
    fixture.handle(records(call, &[(9, 10)]));
    let call = followed(&fixture.pass(50 * MS), SourcePosition::Direct);
    fixture.handle(records(call, &[(9, 10)]));
    let call = opened(&fixture.pass(50 * MS));
    let effects = fixture.answer(call, &[], 0);
    let poisoned = |effect: &Effect| matches!(effect, Effect::Poisoned { poison, .. } if poison.at == offset(10));
    assert!(effects.iter().any(poisoned), "{effects:?}");
    // The origin's epoch begins; nothing is missing afterwards.
    fixture.apply();
    followed(&fixture.pass(50 * MS), offset(10));
}

fn page(next: Option<u64>) -> TailAnswer {
    TailAnswer::Seed(SeedPage {
        at: at(40),
        read_at: at(40),
        largest_uid: CollectionUid(9),
        collections: Vec::new(),
        points: Vec::new(),
        next: next.map(|point| (CollectionUid(9), PointId::Num(point))),
        origin_shards: 1,
    })
}

#[test]
fn an_origin_whose_log_is_gone_is_seeded_page_by_page() {
    let (mut fixture, call) = direct();
    let effects = fixture.handle(Event::Answer { call, answer: TailAnswer::Gone });
    let [(_, TailCall::Close), (call, TailCall::Seed { at: None, after: None })] = calls(&effects)[..] else {
        panic!("{effects:?}")
    };
    assert_eq!(fixture.counters.reseeds, 1);
    fixture.handle(Event::Answer { call, answer: page(Some(5)) });
    assert!(fixture.handle(Event::Answer { call, answer: page(Some(5)) }).is_empty(), "the page is a duplicate");
    assert_eq!(fixture.log.proposed.len(), 2);
    let effects = fixture.apply();
    let [(call, TailCall::Seed { at: Some(_), after: Some((_, PointId::Num(5))) })] = calls(&effects)[..] else {
        panic!("{effects:?}")
    };
    fixture.handle(Event::Answer { call, answer: page(None) });
    fixture.apply();
    assert!(matches!(fixture.log.proposed.as_slice(), [Entry::Seed { step: SeedStep::Commit { .. }, .. }]));
    fixture.apply();
    let effects = fixture.pass(50 * MS);
    assert!(matches!(calls(&effects)[..], [(_, TailCall::Open { after, .. })] if *after == at(40)), "{effects:?}");
}

#[test]
fn a_lost_page_is_requested_again() {
    let (mut fixture, call) = direct();
    fixture.handle(Event::Answer { call, answer: TailAnswer::Gone });
    assert!(fixture.pass(999 * MS).is_empty());
    let effects = fixture.pass(MS);
    assert!(matches!(calls(&effects)[..], [(_, TailCall::Seed { at: None, .. })]), "{effects:?}");
}

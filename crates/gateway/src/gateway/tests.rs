use meridian_model::client::{Demand, Freshness, OnStale, Outcome, PointOp};
use meridian_model::{
    BehaviorVersion, BucketTable, CollectionDef, CollectionName, CollectionUid, Consistency, Distance, Filter,
    HnswParams, LogIndex, Payload, PlayedRelease, PointId, PrimaryTerm, RegionName, ReplicaId, RequiredFreshness, Seq,
    TableVersion, Term, VectorDef, VersionVector, WriteId,
};
use meridian_proto::frame::{
    Call, CallNumbers, Lead, NodeId, PartBody, PeerMessage, ReadPart, RegionCall, ShardAnswer, ShardCall,
};
use meridian_proto::topology::Member;

use super::*;
use crate::{Directory, GroupVersions, Time};

const NEXT: BehaviorVersion = BehaviorVersion(2);
const MS: Duration = Duration::from_millis(1);

/// The gateway of replica 1 of shard 1, with its context.
struct Pod {
    gateway: Gateway,
    directory: Directory,
    numbers: CallNumbers,
    outcomes: BTreeMap<Outcome, u64>,
    table: BucketTable,
    region: RegionName,
    primary: RegionName,
    finalized: BehaviorVersion,
    published: BehaviorVersion,
    now: Duration,
}

fn region(name: &str) -> RegionName {
    RegionName::new(name).unwrap()
}

fn node(shard: u16, replica: u64) -> NodeId {
    let shard = ShardNumber::all(shard).last().unwrap();
    NodeId { shard, replica: ReplicaId(replica) }
}

impl Pod {
    /// In a primary region with so many shards.
    fn new(shards: u16) -> Self {
        let settings = Settings {
            default_freshness: None,
            on_stale: vec![OnStale::Wait, OnStale::Redirect, OnStale::Serve],
            max_wait: 50 * MS,
            clock_bound: 10 * MS,
            match_page: 2,
            #[cfg(feature = "fault-injection")]
            injected_bug: None,
        };
        Self {
            gateway: Gateway::new(settings),
            directory: Directory::default(),
            numbers: CallNumbers::behind(0),
            outcomes: BTreeMap::new(),
            table: BucketTable::even(shards).unwrap(),
            region: region("us-east"),
            primary: region("us-east"),
            finalized: BehaviorVersion::FIRST,
            published: BehaviorVersion::FIRST,
            now: Duration::from_secs(100),
        }
    }

    /// A follower of shard 1, led by replica 2, which has reported so.
    fn beside_a_leader() -> Self {
        let mut pod = Self::new(1);
        pod.lead(1, 5);
        pod
    }

    /// In a region that is not primary.
    fn secondary() -> Self {
        let mut pod = Self::beside_a_leader();
        pod.primary = region("eu-west");
        pod.handle(Event::Heard(pod.primary.clone()));
        pod
    }

    /// Replica 2 of a shard is connected, leads, and has applied up to this entry.
    fn lead(&mut self, shard: u16, applied: u64) {
        let leader = node(shard, 2);
        let members = [1, 2].map(|id| Member { replica: ReplicaId(id), address: format!("pod-{id}:8082") }).to_vec();
        self.directory.met(leader, "pod-2:8082".into());
        self.directory.led_by(
            leader,
            &Lead { term: Term(9), members, applied: LogIndex(applied), behavior: BehaviorVersion::FIRST },
        );
    }

    /// The effects of an event. The local replica is a follower: it answers only reads.
    fn handle(&mut self, event: Event) -> Vec<Effect> {
        let (mut effects, others) = (Vec::new(), [region("eu-west")]);
        let mut cx = Ctx {
            now: Time { mono: self.now, age: self.now },
            me: node(1, 1),
            region: &self.region,
            shards: self.table.shards(),
            replicas: 3,
            primary: (PrimaryTerm(1), &self.primary),
            is_primary: self.primary == self.region,
            versions: GroupVersions {
                finalized: self.finalized,
                published: self.published,
                region: &self.region,
                others: &others,
                reported: &BTreeMap::new(),
            },
            table: &self.table,
            directory: &mut self.directory,
            numbers: &mut self.numbers,
            outcomes: &mut self.outcomes,
            effects: &mut effects,
        };
        self.gateway.handle(&mut cx, event);
        let mut all = Vec::new();
        for effect in effects {
            match effect {
                Effect::Continue(step) => all.extend(self.handle(Event::Step(step))),
                Effect::Call(call, body) if !body.is_read() => {
                    all.extend(self.answer((node(1, 1), call), ShardAnswer::NotLeader(None)));
                }
                effect => all.push(effect),
            }
        }
        all
    }

    /// Ticks for this duration.
    fn wait(&mut self, time: Duration) -> Vec<Effect> {
        let until = self.now + time;
        let mut all = Vec::new();
        while self.now < until {
            self.now += 20 * MS;
            all.extend(self.handle(Event::Tick));
        }
        all
    }

    fn send(&mut self, caller: Caller, request: Request) -> Vec<Effect> {
        self.handle(Event::Request { caller, request })
    }

    fn ask(&mut self, body: Body, timeout: Duration) -> Vec<Effect> {
        self.send(Caller::Ticket(1), request(body, timeout))
    }

    /// Replica 2 of the shard of a call answers it.
    fn answer(&mut self, (to, call): (NodeId, u64), answer: ShardAnswer) -> Vec<Effect> {
        let from = (to != node(1, 1)).then_some(to);
        self.handle(Event::ShardAnswer { from, call, answer })
    }
}

fn request(body: Body, timeout: Duration) -> Request {
    Request { id: WriteId(7), body, demand: Demand::default(), traceparent: None, timeout, wait: None }
}

fn words() -> CollectionName {
    CollectionName::new("words").unwrap()
}

fn def() -> CollectionDef {
    let vector = VectorDef { dim: 2, distance: Distance::Dot, hnsw: HnswParams::default() };
    CollectionDef { name: words(), vectors: BTreeMap::from([(String::new(), vector)]) }
}

fn write(points: &[u64]) -> Body {
    let ops = points.iter().map(|id| PointOp::Delete { point: PointId::Num(*id) }).collect();
    Body::Write { collection: words(), ops }
}

fn part(body: PartBody) -> ReadPart {
    let (age, took) = (Duration::ZERO, Duration::ZERO);
    ReadPart { body: Some(body), kept: true, waited: false, age, took, covers: VersionVector::default() }
}

fn listed() -> ShardAnswer {
    ShardAnswer::Part(part(PartBody::Collections(Vec::new())))
}

/// The calls to shards among the effects, with receiver and number.
fn calls(effects: &[Effect]) -> Vec<((NodeId, u64), &ShardCall)> {
    fn call(effect: &Effect) -> Option<((NodeId, u64), &ShardCall)> {
        match effect {
            Effect::Call(call, body) => Some(((node(1, 1), *call), body)),
            Effect::Send(to, PeerMessage::Call(call, Call::Shard(_, body))) => Some(((*to, *call), body)),
            _ => None,
        }
    }
    effects.iter().filter_map(call).collect()
}

/// The only call among them.
fn call(effects: &[Effect]) -> (NodeId, u64) {
    let calls = calls(effects);
    assert_eq!(calls.len(), 1, "{effects:?}");
    calls[0].0
}

fn reply(effects: &[Effect]) -> Option<&Reply> {
    effects.iter().find_map(|effect| match effect {
        Effect::Reply { ticket: 1, reply } => Some(reply),
        _ => None,
    })
}

/// Numbers of calls to the primary region.
fn relayed(effects: &[Effect]) -> Vec<u64> {
    let call = |effect: &Effect| match effect {
        Effect::SendRegion(Peer::Region(_), RegionMessage::Call(call, RegionCall::Ask(..))) => Some(*call),
        _ => None,
    };
    effects.iter().filter_map(call).collect()
}

#[test]
fn a_read_is_sent_to_the_own_replica_with_the_remaining_time() {
    let mut pod = Pod::beside_a_leader();
    let effects = pod.ask(Body::ListCollections, 1_000 * MS);
    let [Effect::Call(_, ShardCall::List(demand))] = effects.as_slice() else { panic!("{effects:?}") };
    assert_eq!(demand.left, 1_000 * MS);
    assert!(demand.index, "it is linearizable");
}

#[test]
fn a_request_of_a_later_version_is_refused_before_anything_is_sent() {
    let _next = PlayedRelease::knowing(NEXT);
    let payload = Payload(r#"{"meridian.next":1}"#.into());
    let op = PointOp::Upsert { point: PointId::Num(1), vectors: [(String::new(), vec![1.0])].into(), payload };
    let body = || Body::Write { collection: words(), ops: vec![op.clone()] };
    let refusal = |pod: &mut Pod| {
        let effects = pod.ask(body(), 1_000 * MS);
        let sent = effects.iter().any(|effect| !matches!(effect, Effect::Reply { .. }));
        let refused = reply(&effects).map(|reply| reply.body.clone().unwrap_err());
        assert!(sent != refused.is_some(), "{effects:?}");
        refused.map(|refusal| (refusal.invites_repeat(), refusal.to_string()))
    };
    for mut pod in [Pod::beside_a_leader(), Pod::secondary()] {
        let (is_primary, mut steps) = (pod.primary == pod.region, Vec::new());
        for (finalized, published) in [(1, 1), (2, 1), (2, 2)] {
            (pod.finalized, pod.published) = (BehaviorVersion(finalized), BehaviorVersion(published));
            let why = refusal(&mut pod);
            assert!(why.as_ref().is_none_or(|(invites_repeat, _)| *invites_repeat), "nothing was done");
            steps.push(why.map(|(_, text)| text));
        }
        assert!(steps[0].as_ref().is_some_and(|text| text.contains("region us-east has finalized 1")), "{steps:?}");
        let waits = steps[1].as_ref().is_some_and(|text| text.contains("waiting for eu-west"));
        assert_eq!(waits, is_primary, "only the primary region makes deltas: {steps:?}");
        assert_eq!(steps[2], None);
    }
}

#[test]
fn a_replica_that_does_not_answer_a_read_is_joined_by_another_and_the_first_answer_counts() {
    for first_answers in [true, false] {
        let mut pod = Pod::beside_a_leader();
        let first = call(&pod.ask(Body::ListCollections, 1_000 * MS));
        assert!(pod.wait(380 * MS).is_empty());
        let second = call(&pod.wait(20 * MS));
        assert_eq!((first.0, second.0), (node(1, 1), node(1, 2)));
        let effects = pod.answer(if first_answers { first } else { second }, listed());
        assert_eq!(reply(&effects).unwrap().body, Ok(ReplyBody::Collections(Vec::new())));
        let cancel = if first_answers {
            Effect::Send(second.0, PeerMessage::Cancel(second.1))
        } else {
            Effect::CancelCall(first.1)
        };
        assert!(effects.contains(&cancel), "{effects:?}");
        assert!(pod.gateway.is_idle());
    }
}

/// Each replica that works on a read doubles the wait, and none starts it twice.
#[test]
fn a_slow_read_is_not_begun_again_and_again() {
    let mut pod = Pod::beside_a_leader();
    let first = pod.ask(Body::ListCollections, 60_000 * MS);
    let later = pod.wait(10_000 * MS);
    let all: std::collections::BTreeSet<_> =
        [calls(&first), calls(&later)].concat().iter().map(|call| call.0).collect();
    assert_eq!(all.len(), 2, "one number for each replica");
    assert!(calls(&later).len() <= 20, "{} repeats in 10 s", calls(&later).len());
}

#[test]
fn a_read_that_replicas_work_on_times_out_and_one_that_none_has_is_unavailable() {
    let mut pod = Pod::beside_a_leader();
    pod.ask(Body::ListCollections, 1_000 * MS);
    let effects = pod.wait(1_000 * MS);
    assert!(matches!(reply(&effects).unwrap().body, Err(Refusal::Timeout(_))));
    let first = call(&pod.ask(Body::ListCollections, 100 * MS));
    pod.answer(first, ShardAnswer::Busy("catching up".into()));
    pod.now += 100 * MS;
    let effects = pod.handle(Event::Tick);
    let Err(Refusal::Unavailable { reason, shards }) = &reply(&effects).unwrap().body else { panic!("{effects:?}") };
    assert_eq!((reason.as_str(), shards.as_slice()), ("catching up", &[ShardNumber::FIRST][..]));
}

#[test]
fn a_busy_replica_is_called_again_after_a_pause() {
    let mut pod = Pod::beside_a_leader();
    let first = call(&pod.ask(Body::ListCollections, 1_000 * MS));
    assert!(pod.answer(first, ShardAnswer::Busy("catching up".into())).is_empty());
    pod.now += 14 * MS;
    assert!(pod.handle(Event::Tick).is_empty());
    pod.now += MS;
    assert_eq!(calls(&pod.handle(Event::Tick)).len(), 1);
}

#[test]
fn a_caller_that_leaves_ends_its_read_and_not_its_write() {
    let mut pod = Pod::beside_a_leader();
    let read = call(&pod.ask(Body::ListCollections, 1_000 * MS));
    assert_eq!(pod.handle(Event::CallerGone(Caller::Ticket(1))), [Effect::CancelCall(read.1)]);
    assert!(pod.gateway.is_idle() && pod.gateway.callers.is_empty());
    assert!(pod.answer(read, listed()).is_empty(), "an answer that comes too late is dropped");
    let sent = call(&pod.ask(write(&[1]), 1_000 * MS));
    assert!(pod.handle(Event::CallerGone(Caller::Ticket(1))).is_empty());
    let effects = pod.answer(sent, ShardAnswer::Written(Seq(3), VersionVector::default()));
    assert_eq!(reply(&effects).unwrap().body, Ok(ReplyBody::Written(3)));
}

#[test]
fn a_connection_that_is_lost_ends_the_reads_that_came_on_it() {
    let mut pod = Pod::beside_a_leader();
    let connection = Peer::Connection(4);
    let caller = Caller::Region(connection.clone(), 9);
    let read = call(&pod.send(caller, request(Body::ListCollections, 1_000 * MS)));
    assert_eq!(pod.handle(Event::Lost(connection)), [Effect::CancelCall(read.1)]);
    assert!(pod.gateway.is_idle());
}

#[test]
fn more_requests_than_a_gateway_takes_are_turned_away() {
    let mut pod = Pod::beside_a_leader();
    for ticket in 0..REQUESTS_WAITING as u64 {
        pod.send(Caller::Ticket(ticket + 2), request(Body::ListCollections, 1_000 * MS));
    }
    let effects = pod.ask(Body::ListCollections, 1_000 * MS);
    assert!(matches!(reply(&effects).unwrap().body, Err(Refusal::Overloaded(_))));
}

#[test]
fn a_write_is_split_by_shard_and_acknowledged_when_all_have_committed() {
    let mut pod = Pod::new(2);
    pod.lead(1, 5);
    pod.lead(2, 6);
    let effects = pod.ask(write(&[1, 2, 3, 4, 5, 6, 7, 8]), 1_000 * MS);
    let sent = calls(&effects);
    assert_eq!(sent.iter().map(|((to, _), _)| *to).collect::<Vec<_>>(), [node(1, 2), node(2, 2)]);
    let mut points = 0;
    for ((to, _), body) in &sent {
        let ShardCall::Write { ops, sent_at, indexes, .. } = body else { panic!("{body:?}") };
        assert!(indexes.fits(ops.len()), "{indexes:?}");
        assert!(ops.iter().all(|op| pod.table.shard_of(op.point()) == to.shard));
        assert_eq!(sent_at.0, if to.shard == ShardNumber::FIRST { 5 } else { 6 });
        points += ops.len();
    }
    assert_eq!(points, 8);
    let (first, second) = (sent[0].0, sent[1].0);
    assert!(pod.answer(first, ShardAnswer::Written(Seq(9), VersionVector::default())).is_empty());
    let effects = pod.answer(second, ShardAnswer::Written(Seq(4), VersionVector::default()));
    assert_eq!(reply(&effects).unwrap().body, Ok(ReplyBody::Written(9)));
}

#[test]
fn a_write_waits_until_a_leader_was_heard() {
    let mut pod = Pod::new(1);
    pod.directory.met(node(1, 2), "pod-2:8082".into());
    assert!(pod.ask(write(&[1]), 500 * MS).is_empty());
    pod.lead(1, 5);
    assert_eq!(call(&pod.wait(20 * MS)).0, node(1, 2));
}

#[test]
fn a_hint_to_the_leader_is_followed_at_once() {
    let mut pod = Pod::beside_a_leader();
    pod.directory.met(node(1, 3), "pod-3:8082".into());
    let sent = call(&pod.ask(write(&[1]), 1_000 * MS));
    let effects = pod.answer(sent, ShardAnswer::NotLeader(Some(ReplicaId(3))));
    assert_eq!(call(&effects).0, node(1, 3));
}

#[test]
fn an_unknown_collection_is_resolved_and_defined_before_the_write_continues() {
    let mut pod = Pod::new(2);
    pod.lead(1, 5);
    pod.lead(2, 5);
    let point = (1..).find(|id| pod.table.shard_of(PointId::Num(*id)) != ShardNumber::FIRST).unwrap();
    let sent = call(&pod.ask(write(&[point]), 1_000 * MS));
    let effects = pod.answer(sent, ShardAnswer::NoCollection);
    let resolve = call(&effects);
    assert!(matches!(calls(&effects)[0], ((to, _), ShardCall::Resolve(_)) if to == node(1, 2)));
    let effects = pod.answer(resolve, ShardAnswer::Resolved(Some((CollectionUid(4), def()))));
    let learn = call(&effects);
    assert!(matches!(calls(&effects)[0], ((to, _), ShardCall::Learn { .. }) if to == node(2, 2)));
    let effects = pod.answer(learn, ShardAnswer::Written(Seq(1), VersionVector::default()));
    assert!(matches!(calls(&effects)[0], ((to, _), ShardCall::Write { .. }) if to == node(2, 2)));
    let again = call(&effects);
    let effects = pod.answer(again, ShardAnswer::NoCollection);
    let effects = pod.answer(call(&effects), ShardAnswer::Resolved(None));
    assert!(matches!(reply(&effects).unwrap().body, Err(Refusal::NotFound(_))));
}

#[test]
fn a_collection_is_created_on_the_first_shard_and_then_on_the_others() {
    let mut pod = Pod::new(3);
    (1..=3).for_each(|shard| pod.lead(shard, 5));
    let create = call(&pod.ask(Body::CreateCollection(def()), 1_000 * MS));
    assert_eq!(create.0, node(1, 2));
    let effects = pod.answer(create, ShardAnswer::Created(CollectionUid(4), VersionVector::default()));
    let learn: Vec<_> = calls(&effects).iter().map(|call| call.0).collect();
    assert_eq!(learn.iter().map(|call| call.0).collect::<Vec<_>>(), [node(2, 2), node(3, 2)]);
    assert!(pod.answer(learn[1], ShardAnswer::Written(Seq(1), VersionVector::default())).is_empty());
    let effects = pod.answer(learn[0], ShardAnswer::Written(Seq(1), VersionVector::default()));
    assert_eq!(reply(&effects).unwrap().body, Ok(ReplyBody::Done(true)));
}

#[test]
fn a_collection_is_dropped_everywhere_up_to_the_uid_that_the_first_shard_names() {
    let mut pod = Pod::new(2);
    (1..=2).for_each(|shard| pod.lead(shard, 5));
    let first = call(&pod.ask(Body::DropCollection(words()), 1_000 * MS));
    let dropped = |existed| ShardAnswer::Dropped { existed, upto: CollectionUid(4), covers: VersionVector::default() };
    let effects = pod.answer(first, dropped(true));
    let ((to, second), ShardCall::Drop { upto, .. }) = calls(&effects)[0] else { panic!("{effects:?}") };
    assert_eq!((to, *upto), (node(2, 2), Some(CollectionUid(4))));
    let effects = pod.answer((to, second), dropped(false));
    assert_eq!(reply(&effects).unwrap().body, Ok(ReplyBody::Done(true)), "as the first shard said");
}

#[test]
fn a_delete_by_filter_reads_a_page_and_deletes_points_unchanged_since() {
    let mut pod = Pod::beside_a_leader();
    let body = Body::DeleteByFilter { collection: words(), filter: Filter::default() };
    let describe = call(&pod.ask(body, 1_000 * MS));
    let collection = PartBody::Collection { uid: CollectionUid(4), def: def(), points: 1, indexed: 0 };
    let effects = pod.answer(describe, ShardAnswer::Part(part(collection)));
    assert!(matches!(calls(&effects)[0].1, ShardCall::Match(query, _) if query.limit == 2));
    let nothing = PartBody::Matched { points: Vec::new(), next: None, read_at: LogIndex(6) };
    let effects = pod.answer(call(&effects), ShardAnswer::Part(part(nothing)));
    assert_eq!(reply(&effects).unwrap().body, Ok(ReplyBody::Written(0)));
}

#[test]
fn a_delete_by_filter_that_arrives_twice_is_evaluated_once() {
    let mut pod = Pod::beside_a_leader();
    let request = request(Body::DeleteByFilter { collection: words(), filter: Filter::default() }, 1_000 * MS);
    let caller = Caller::Region(Peer::Connection(4), 9);
    assert_eq!(calls(&pod.send(caller.clone(), request.clone())).len(), 1);
    assert!(pod.send(caller, request).is_empty());
}

/// When the demand is not met: wait, then the primary region, then the stale answer with its mark.
#[test]
fn a_stale_read_falls_back_in_the_order_of_the_request() {
    let mut pod = Pod::secondary();
    let mut wish = request(Body::ListCollections, 1_000 * MS);
    wish.demand.freshness = Some(RequiredFreshness(5 * MS));
    wish.demand.on_stale = Some(vec![OnStale::Redirect, OnStale::Serve]);
    let sent = call(&pod.send(Caller::Ticket(1), wish));
    let stale = ReadPart { kept: false, age: 70 * MS, ..part(PartBody::Collections(Vec::new())) };
    let effects = pod.answer(sent, ShardAnswer::Part(stale));
    let asked = relayed(&effects);
    assert_eq!(asked.len(), 1, "{effects:?}");
    pod.now += 3 * MS;
    let effects = pod.handle(from_primary(asked[0], Err(Refusal::Overloaded("too many".into()))));
    let Freshness { stale, staleness, .. } = reply(&effects).unwrap().freshness;
    assert!(stale);
    assert_eq!(staleness, 73 * MS, "it has grown older while the other region was asked");
    assert_eq!(pod.outcomes, BTreeMap::from([(Outcome::Stale, 1)]));
}

/// The primary region replies.
fn from_primary(call: u64, body: Result<ReplyBody, Refusal>) -> Event {
    let (served_region, token) = (region("eu-west"), VersionVector::default());
    let freshness = Freshness { staleness: 10 * MS, served_region, token, stale: false, outcome: Outcome::Fresh };
    Event::RegionReply { call, reply: Reply { body, freshness } }
}

#[test]
fn a_region_relays_no_request_that_another_region_sent() {
    let mut pod = Pod::secondary();
    let from = Peer::Connection(4);
    let effects = pod.send(Caller::Region(from.clone(), 9), request(write(&[1]), 1_000 * MS));
    let [Effect::SendRegion(to, RegionMessage::Answer(9, RegionAnswer::Reply(reply)))] = effects.as_slice() else {
        panic!("{effects:?}")
    };
    assert_eq!(*to, from);
    assert!(matches!(&reply.body, Err(Refusal::Misdirected { primary, .. }) if *primary == pod.primary));
}

#[test]
fn a_write_with_wait_queries_the_local_leader_after_the_primary_region_acknowledged() {
    for is_visible in [true, false] {
        let mut pod = Pod::secondary();
        let wish = Request { wait: Some(400 * MS), ..request(write(&[1]), 1_000 * MS) };
        let sent = relayed(&pod.send(Caller::Ticket(1), wish));
        let effects = pod.handle(from_primary(sent[0], Ok(ReplyBody::Written(8))));
        assert!(matches!(calls(&effects)[0].1, ShardCall::Await(_)));
        let asked = call(&effects);
        let effects = if is_visible {
            pod.answer(asked, ShardAnswer::Reached(true))
        } else {
            assert!(pod.answer(asked, ShardAnswer::Reached(false)).is_empty());
            pod.wait(400 * MS)
        };
        let expected = if is_visible { ReplyBody::Written(8) } else { ReplyBody::Acknowledged(8) };
        assert_eq!(reply(&effects).unwrap().body, Ok(expected));
    }
}

#[test]
fn a_write_that_was_never_sent_to_a_silent_primary_region_certainly_did_not_happen() {
    for was_sent in [false, true] {
        let mut pod = Pod::secondary();
        if !was_sent {
            pod.handle(Event::Lost(Peer::Region(pod.primary.clone())));
        }
        assert_eq!(relayed(&pod.ask(write(&[1]), 60_000 * MS)).len(), usize::from(was_sent));
        let effects = pod.wait(2_300 * MS);
        let refusal = reply(&effects).unwrap().body.clone().unwrap_err();
        assert_eq!(matches!(refusal, Refusal::OutcomeUnknown(_)), was_sent, "{refusal:?}");
        assert_eq!(matches!(refusal, Refusal::Unavailable { .. }), !was_sent, "{refusal:?}");
    }
}

#[derive(Debug, Clone, Copy)]
enum Attempt {
    /// The refusal arrives.
    Refused,
    SteppedDown,
    /// The answer is of a kind that only a later release knows.
    Unknown,
    /// The request is sent twice, and one answer arrives.
    RefusedOnce,
    Silent,
    /// The connection is lost while the request is processed.
    Lost,
    /// There was no connection to send it on.
    NotSent,
}

/// The refusal at the deadline of a change with these attempts.
fn outcome_of(body: Body, attempts: &[Attempt]) -> Refusal {
    let mut pod = Pod::beside_a_leader();
    let other = node(1, 2);
    let lose = |pod: &mut Pod| {
        pod.directory.lost(other);
        pod.handle(Event::Lost(Peer::Node(other)));
    };
    if let Some(Attempt::NotSent) = attempts.first() {
        lose(&mut pod);
    }
    let mut effects = pod.ask(body, 3_000 * MS);
    for attempt in attempts {
        while calls(&effects).is_empty() && !matches!(attempt, Attempt::NotSent) {
            effects = pod.wait(20 * MS);
        }
        match attempt {
            Attempt::Refused => drop(pod.answer(call(&effects), ShardAnswer::NotLeader(None))),
            Attempt::SteppedDown => drop(pod.answer(call(&effects), ShardAnswer::SteppedDown)),
            Attempt::Unknown => drop(pod.answer(call(&effects), ShardAnswer::Unknown)),
            Attempt::RefusedOnce => {
                let sent = call(&effects);
                let again = pod.wait(500 * MS);
                assert_eq!(calls(&again)[0].0, sent, "a repeat has the same number");
                pod.answer(sent, ShardAnswer::Busy("catching up".into()));
            }
            Attempt::Lost => {
                lose(&mut pod);
                pod.lead(1, 5);
            }
            Attempt::Silent | Attempt::NotSent => {}
        }
        effects.clear();
    }
    if !matches!(attempts.last(), Some(Attempt::Silent)) {
        lose(&mut pod);
    }
    let effects = pod.wait(4_000 * MS);
    reply(&effects).expect("its time is over").body.clone().expect_err("nobody took it")
}

#[test]
fn a_change_that_the_leader_does_not_support_is_refused_at_once() {
    let mut pod = Pod::beside_a_leader();
    let sent = call(&pod.ask(write(&[1]), 3_000 * MS));
    let effects = pod.answer(sent, ShardAnswer::Unsupported("not here".into()));
    let refusal = reply(&effects).expect("refused at once").body.clone().unwrap_err();
    assert!(matches!(&refusal, Refusal::Unavailable { reason, .. } if reason == "not here"), "{refusal:?}");
}

#[test]
fn a_call_that_failed_in_the_primary_region_is_refused_or_its_outcome_is_unknown() {
    for (body, unsupported, expected) in [
        (write(&[1]), Some("not here".to_owned()), "unavailable: the primary region: not here"),
        (write(&[1]), None, "unknown: "),
        (Body::ListCollections, None, "unavailable: "),
    ] {
        let mut pod = Pod::secondary();
        let mut wish = request(body, 1_000 * MS);
        wish.demand.consistency = Some(Consistency::Strong);
        let call = relayed(&pod.send(Caller::Ticket(1), wish))[0];
        let effects = pod.handle(Event::RegionCallFailed { call, unsupported });
        let refusal = match &reply(&effects).expect("an answer at once").body {
            Err(Refusal::Unavailable { reason, .. }) => format!("unavailable: {reason}"),
            Err(Refusal::OutcomeUnknown(reason)) => format!("unknown: {reason}"),
            other => panic!("{other:?}"),
        };
        assert!(refusal.starts_with(expected), "{refusal}");
        assert!(pod.gateway.is_idle());
    }
}

/// PROTOCOLS 14: 503 guarantees that a write did not happen.
#[test]
fn only_a_change_that_every_attempt_refused_is_unavailable() {
    use Attempt::{Lost, NotSent, Refused, RefusedOnce, Silent, SteppedDown, Unknown};
    for body in [write(&[1]), Body::CreateCollection(def()), Body::DropCollection(words())] {
        for attempts in [&[Refused][..], &[Refused, Refused], &[NotSent]] {
            let refusal = outcome_of(body.clone(), attempts);
            assert!(matches!(refusal, Refusal::Unavailable { .. }), "{attempts:?}: {refusal:?}");
        }
        for attempts in [
            &[Silent][..],
            &[SteppedDown],
            &[Unknown],
            &[RefusedOnce],
            &[Lost],
            &[Lost, Refused],
            &[SteppedDown, Refused],
            &[Unknown, Refused],
        ] {
            let refusal = outcome_of(body.clone(), attempts);
            assert!(matches!(refusal, Refusal::OutcomeUnknown(_)), "{attempts:?}: {refusal:?}");
        }
    }
}

/// A full or overloaded shard, or one that does not own the points, refuses a write that another attempt may have
/// performed.
#[test]
fn no_retryable_refusal_of_a_change_that_may_have_happened() {
    for answer in [ShardAnswer::Full, ShardAnswer::NotOwner(TableVersion(9)), ShardAnswer::Overloaded("no".into())] {
        for first in [None, Some(ShardAnswer::SteppedDown)] {
            let mut pod = Pod::beside_a_leader();
            let mut sent = call(&pod.ask(write(&[1]), 3_000 * MS));
            if let Some(first) = &first {
                assert!(pod.answer(sent, first.clone()).is_empty());
                sent = call(&pod.wait(20 * MS));
            }
            let mut effects = pod.answer(sent, answer.clone());
            if reply(&effects).is_none() {
                pod.directory.lost(node(1, 2));
                effects = pod.wait(3_000 * MS);
            }
            let refusal = reply(&effects).unwrap().body.clone().unwrap_err();
            assert_eq!(matches!(refusal, Refusal::OutcomeUnknown(_)), first.is_some(), "{answer:?}: {refusal:?}");
            assert_eq!(refusal.invites_repeat(), first.is_none());
        }
    }
}

/// A leader that has dropped results after that entry cannot exclude that the first copy's was one of them.
#[test]
fn each_copy_of_a_write_carries_the_index_applied_before_the_first() {
    let sent_at = |effects: &[Effect]| match calls(effects)[0].1 {
        ShardCall::Write { sent_at, .. } => sent_at.0,
        other => panic!("{other:?}"),
    };
    let mut pod = Pod::beside_a_leader();
    let first = pod.ask(write(&[1]), 9_000 * MS);
    pod.lead(1, 200_000);
    pod.answer(call(&first), ShardAnswer::SteppedDown);
    let again = pod.wait(20 * MS);
    assert_eq!((sent_at(&first), sent_at(&again)), (5, 5));
    let other = pod.send(Caller::Ticket(2), request(write(&[1]), 9_000 * MS));
    assert_eq!(sent_at(&other), 200_000);
    let effects = pod.answer(call(&again), ShardAnswer::Forgotten);
    assert!(matches!(reply(&effects).unwrap().body, Err(Refusal::OutcomeUnknown(_))));
}

use meridian_model::client::{Demand, PointOp};
use meridian_model::{CollectionName, PointId, ReplicaId};
use meridian_proto::frame::{Build, Call, CallAnswer, Hello, PartBody, ReadPart};

use super::*;
use crate::testing::{alone, identity};
use crate::{Event, Now, ReadResult};

const MS: Duration = Duration::from_millis(1);

/// A replica that leads a group of one, beside another replica that others say belongs to it.
struct Pod {
    replica: Replica,
    mono: Duration,
    lsn: u64,
}

impl Pod {
    fn new() -> Self {
        let mut pod = Self::of(identity(1, 1));
        while !pod.replica.is_ready() {
            pod.wait(20 * MS);
        }
        pod.meet();
        pod
    }

    fn of(identity: meridian_proto::topology::Identity) -> Self {
        let lsn = Replica::bootstrap_records(!identity.founders.is_empty()).len() as u64;
        Self { replica: alone(identity), mono: Duration::ZERO, lsn }
    }

    /// The other replica is connected.
    fn meet(&mut self) {
        let genesis = self.replica.identity().genesis.clone();
        let (node, address) = (Some(self.other()), "pod-2:8082".into());
        self.step(Event::Met(Hello {
            cluster: genesis.cluster,
            region: genesis.region,
            node,
            address,
            build: Build::current(),
        }));
    }

    /// The other replica says that it leads, and what it has applied.
    fn lead(&mut self, applied: u64) {
        let (term, members) = (meridian_model::Term(9), self.replica.identity().founders.clone());
        let lead = meridian_proto::frame::Lead { term, members, applied: LogIndex(applied) };
        self.step(Event::Peer(self.other(), PeerMessage::Lead(lead)));
    }

    fn other(&self) -> NodeId {
        NodeId { replica: ReplicaId(2), ..self.replica.me() }
    }

    /// What is to be done beyond the log, which takes everything at once.
    fn step(&mut self, event: Event) -> Vec<Command> {
        let now = Now { mono: self.mono, wall: 1_000 * MS + self.mono };
        let (mut left, mut next) = (Vec::new(), vec![event]);
        while let Some(event) = next.pop() {
            for command in self.replica.step(now, event) {
                match command {
                    Command::Persist { number, records } => {
                        next.push(Event::Persisted { number, first: self.lsn });
                        self.lsn += records.len() as u64;
                    }
                    command => left.push(command),
                }
            }
        }
        left
    }

    /// Ticks until so much time is over.
    fn wait(&mut self, time: Duration) -> Vec<Command> {
        let until = self.mono + time;
        let mut all = Vec::new();
        while self.mono < until {
            self.mono += 20 * MS;
            all.extend(self.step(Event::Tick { random: 7 }));
        }
        all
    }

    fn ask(&mut self, ticket: u64, body: Body, timeout: Duration) -> Vec<Command> {
        let (id, demand) = (meridian_model::WriteId(ticket.into()), Demand::default());
        let request = Request { id, body, demand, traceparent: None, timeout, wait: None };
        self.step(Event::Client { ticket, request })
    }

    fn list(&mut self, ticket: u64, timeout: Duration) -> Vec<Command> {
        self.ask(ticket, Body::ListCollections, timeout)
    }
}

fn read_of(commands: &[Command]) -> Option<(u64, Duration)> {
    commands.iter().find_map(|command| match command {
        Command::Read { job, deadline, .. } => Some((*job, *deadline)),
        _ => None,
    })
}

fn reply_of(commands: &[Command]) -> Option<&Reply> {
    commands.iter().find_map(|command| match command {
        Command::Reply { reply, .. } => Some(reply),
        _ => None,
    })
}

fn cancels(commands: &[Command]) -> Vec<u64> {
    let job = |command: &Command| if let Command::CancelRead { job } = command { Some(*job) } else { None };
    commands.iter().filter_map(job).collect()
}

/// The calls that went to the other replica, and how much time each said was left.
fn calls_sent(commands: &[Command]) -> Vec<(u64, Duration)> {
    let call = |command: &Command| match command {
        Command::Send(_, PeerMessage::Call(call, Call::Shard(_, ShardCall::List(demand)))) => {
            Some((*call, demand.left))
        }
        _ => None,
    };
    commands.iter().filter_map(call).collect()
}

fn nothing() -> ReadResult {
    let body = Some(PartBody::Collections(Vec::new()));
    ReadResult { body, covers: VersionVector::default() }
}

#[test]
fn a_read_carries_the_deadline_of_its_request_and_is_answered_at_it() {
    let mut pod = Pod::new();
    let begun = pod.mono;
    let (_, deadline) = read_of(&pod.list(1, 1_000 * MS)).expect("handed to the threads");
    assert_eq!(deadline, begun + 1_000 * MS);
    let commands = pod.wait(500 * MS);
    assert_eq!(calls_sent(&commands).len(), 1, "another replica is tried once the patience is over");
    assert_eq!(calls_sent(&commands)[0].1, 600 * MS, "with the time that is left");
    let commands = pod.wait(500 * MS);
    assert!(matches!(reply_of(&commands).unwrap().body, Err(Refusal::Timeout(_))), "both were slow, not away");
    let (_, later) = read_of(&pod.list(2, 5 * MS)).unwrap();
    assert_eq!(later, pod.mono + 5 * MS, "what was left behind is in nobody's way");
}

#[test]
fn the_answer_of_the_first_attempt_counts_after_a_second_one_was_sent() {
    let mut pod = Pod::new();
    let (job, _) = read_of(&pod.list(1, 60_000 * MS)).unwrap();
    let sent = calls_sent(&pod.wait(400 * MS));
    let commands = pod.step(Event::ReadDone { job, result: nothing() });
    assert_eq!(reply_of(&commands).unwrap().body, Ok(ReplyBody::Collections(Vec::new())));
    let other = pod.other();
    let cancel = Command::Send(other, PeerMessage::Cancel(sent[0].0));
    assert!(commands.iter().any(|c| format!("{c:?}") == format!("{cancel:?}")), "the second is ended: {commands:?}");
}

#[test]
fn the_answer_of_the_second_attempt_ends_the_first() {
    let mut pod = Pod::new();
    let (job, _) = read_of(&pod.list(1, 60_000 * MS)).unwrap();
    let (call, _) = calls_sent(&pod.wait(400 * MS))[0];
    let part = ReadPart {
        body: nothing().body,
        kept: true,
        waited: false,
        age: Duration::ZERO,
        took: Duration::ZERO,
        covers: VersionVector::default(),
    };
    let answer = CallAnswer::Shard(ShardAnswer::Part(part));
    let commands = pod.step(Event::Peer(pod.other(), PeerMessage::Answer(call, answer)));
    assert!(reply_of(&commands).unwrap().body.is_ok());
    assert_eq!(cancels(&commands), [job]);
}

/// Each replica that works on a read doubles the patience, and none begins it twice.
#[test]
fn a_slow_read_is_not_begun_again_and_again() {
    let mut pod = Pod::new();
    let first = pod.list(1, 60_000 * MS);
    let later = pod.wait(10_000 * MS);
    let jobs = first.iter().chain(&later).filter(|command| matches!(command, Command::Read { .. })).count();
    assert_eq!(jobs, 1, "begun once here");
    let numbers: std::collections::BTreeSet<u64> = calls_sent(&later).into_iter().map(|(call, _)| call).collect();
    assert_eq!(numbers.len(), 1, "and under one number there");
    assert!(calls_sent(&later).len() <= 10, "{} repeats in 10 s", calls_sent(&later).len());
}

#[test]
fn a_client_that_leaves_ends_its_read_everywhere() {
    let mut pod = Pod::new();
    let (job, _) = read_of(&pod.list(1, 60_000 * MS)).unwrap();
    let (call, _) = calls_sent(&pod.wait(400 * MS))[0];
    let commands = pod.step(Event::Gone { ticket: 1 });
    assert_eq!(cancels(&commands), [job]);
    assert!(commands.iter().any(|c| matches!(c, Command::Send(_, PeerMessage::Cancel(sent)) if *sent == call)));
    assert!(reply_of(&commands).is_none());
    assert!(
        pod.step(Event::ReadDone { job, result: nothing() }).is_empty(),
        "an answer that comes too late is dropped"
    );
    assert!(pod.replica.gateway.asks.is_empty() && pod.replica.gateway.askers.is_empty());
}

fn create(name: &str) -> Request {
    let hnsw = meridian_model::HnswParams::default();
    let vector = meridian_model::VectorDef { dim: 2, distance: meridian_model::Distance::Dot, hnsw };
    let def = meridian_model::CollectionDef {
        name: meridian_model::CollectionName::new(name).unwrap(),
        vectors: BTreeMap::from([(String::new(), vector)]),
    };
    let id = meridian_model::WriteId(name.len() as u128);
    let (body, demand) = (Body::CreateCollection(def), Demand::default());
    Request { id, body, demand, traceparent: None, timeout: 1_000 * MS, wait: None }
}

#[test]
fn a_write_goes_on_when_its_client_leaves() {
    let mut pod = Pod::new();
    let now = Now { mono: pod.mono, wall: 9_000 * MS };
    let commands = pod.replica.step(now, Event::Client { ticket: 1, request: create("words") });
    assert!(pod.replica.step(now, Event::Gone { ticket: 1 }).is_empty());
    let Some(Command::Persist { number, .. }) = commands.into_iter().next() else { panic!("it is in the log") };
    let commands = pod.step(Event::Persisted { number, first: pod.lsn });
    assert_eq!(reply_of(&commands).unwrap().body, Ok(ReplyBody::Done(true)));
}

#[test]
fn a_read_that_the_threads_refuse_is_refused_at_once() {
    let mut pod = Pod::new();
    let (job, _) = read_of(&pod.list(1, 60_000 * MS)).unwrap();
    let commands = pod.step(Event::ReadRefused { job, why: "9 searches wait".into() });
    assert_eq!(reply_of(&commands).unwrap().body, Err(Refusal::Overloaded("9 searches wait".into())));
}

#[test]
fn a_replica_ends_a_read_that_another_gateway_cancels() {
    let mut pod = Pod::new();
    let demand = meridian_proto::frame::ReadDemand { left: 1_000 * MS, ..Default::default() };
    let call = |number| Event::Peer(pod.other(), PeerMessage::Call(number, ShardCall::List(demand.clone()).into()));
    let (first, repeat) = (call(5), call(5));
    let (job, _) = read_of(&pod.step(first)).unwrap();
    assert!(read_of(&pod.step(repeat)).is_none(), "a repeat under the same number is not begun again");
    let other = pod.other();
    assert_eq!(cancels(&pod.step(Event::Peer(other, PeerMessage::Cancel(5)))), [job]);
    assert!(pod.replica.reads_under_way() == 0);
}

#[test]
fn a_region_has_no_more_collections_than_it_may() {
    let mut pod = Pod::new();
    pod.replica.settings.collections = 2;
    for (ticket, name) in (1..).zip(["a", "bb"]) {
        let commands = pod.step(Event::Client { ticket, request: create(name) });
        assert_eq!(reply_of(&commands).unwrap().body, Ok(ReplyBody::Done(true)));
    }
    let commands = pod.step(Event::Client { ticket: 3, request: create("ccc") });
    let Err(Refusal::BadInput(text)) = &reply_of(&commands).unwrap().body else { panic!("one too many") };
    assert!(text.starts_with("collections must be at most 2"), "{text}");
    assert_eq!(pod.replica.state().collections().count(), 2);
}

/// A gateway whose shard is led by the other replica, as that one says.
fn beside_a_leader() -> Pod {
    let mut pod = Pod::of(identity(1, 3));
    pod.meet();
    pod.lead(5);
    pod
}

fn write() -> Body {
    let ops = vec![PointOp::Delete { point: PointId::Num(1) }];
    Body::Write { collection: CollectionName::new("words").unwrap(), ops }
}

/// Numbers of the changes that went to the other replica.
fn changes_sent(commands: &[Command]) -> Vec<u64> {
    let call = |command: &Command| match command {
        Command::Send(_, PeerMessage::Call(call, Call::Shard(_, body))) if body.is_change() => Some(*call),
        _ => None,
    };
    commands.iter().filter_map(call).collect()
}

#[derive(Debug, Clone, Copy)]
enum Attempt {
    /// The answer comes.
    Refused,
    SteppedDown,
    /// The answer is of a kind that only a later release knows.
    Unknown,
    /// It is repeated, and one answer comes.
    RefusedOnce,
    Silent,
    /// The connection is lost while it is worked on.
    Lost,
    /// There was no connection to send it on.
    NotSent,
}

/// What a client hears at its deadline of a change whose attempts fare like this.
fn outcome_of(body: Body, attempts: &[Attempt]) -> Refusal {
    let mut pod = beside_a_leader();
    let other = pod.other();
    if let Some(Attempt::NotSent) = attempts.first() {
        pod.step(Event::Lost(Peer::Node(other)));
    }
    let mut sent = changes_sent(&pod.ask(1, body, 3_000 * MS));
    for attempt in attempts {
        while sent.is_empty() && !matches!(attempt, Attempt::NotSent) {
            sent = changes_sent(&pod.wait(20 * MS));
        }
        let answer = |answer| Event::Peer(other, PeerMessage::Answer(sent[0], CallAnswer::Shard(answer)));
        match attempt {
            Attempt::Refused => drop(pod.step(answer(ShardAnswer::NotLeader(None)))),
            Attempt::SteppedDown => drop(pod.step(answer(ShardAnswer::SteppedDown))),
            Attempt::Unknown => drop(pod.step(answer(ShardAnswer::Unknown))),
            Attempt::RefusedOnce => {
                let again = changes_sent(&pod.wait(500 * MS));
                assert_eq!(again[..1], sent[..1], "a repeat has the same number");
                pod.step(answer(ShardAnswer::Busy("catching up".into())));
            }
            Attempt::Lost => {
                pod.step(Event::Lost(Peer::Node(other)));
                pod.meet();
            }
            Attempt::Silent | Attempt::NotSent => {}
        }
        sent.clear();
    }
    if !matches!(attempts.last(), Some(Attempt::Silent)) {
        pod.step(Event::Lost(Peer::Node(other)));
    }
    let commands = pod.wait(4_000 * MS);
    reply_of(&commands).expect("its time is over").body.clone().expect_err("nobody took it")
}

#[test]
fn a_change_that_the_leader_does_not_support_is_refused_at_once() {
    for answer in
        [CallAnswer::Unsupported("not here".into()), CallAnswer::Shard(ShardAnswer::Unsupported("not here".into()))]
    {
        let mut pod = beside_a_leader();
        let sent = changes_sent(&pod.ask(1, write(), 3_000 * MS));
        let commands = pod.step(Event::Peer(pod.other(), PeerMessage::Answer(sent[0], answer)));
        let refusal = reply_of(&commands).expect("refused at once").body.clone().unwrap_err();
        assert!(matches!(&refusal, Refusal::Unavailable { reason, .. } if reason == "not here"), "{refusal:?}");
    }
}

/// PROTOCOLS 14: 503 says that a write certainly did not take place.
#[test]
fn only_a_change_that_every_attempt_refused_is_unavailable() {
    use Attempt::{Lost, NotSent, Refused, RefusedOnce, Silent, SteppedDown, Unknown};
    let create = create("words").body;
    let drop = Body::DropCollection(CollectionName::new("words").unwrap());
    for body in [write(), create, drop] {
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

/// A shard that is full, overloaded or not the owner refuses what another attempt may have done.
#[test]
fn no_refusal_invites_to_repeat_what_may_have_happened() {
    for answer in [ShardAnswer::Full, ShardAnswer::NotOwner(meridian_model::TableVersion(9))] {
        for first in [None, Some(ShardAnswer::SteppedDown)] {
            let mut pod = beside_a_leader();
            let other = pod.other();
            let step = |pod: &mut Pod, call, answer| {
                pod.step(Event::Peer(other, PeerMessage::Answer(call, CallAnswer::Shard(answer))))
            };
            let mut sent = changes_sent(&pod.ask(1, write(), 3_000 * MS));
            if let Some(first) = &first {
                assert!(reply_of(&step(&mut pod, sent[0], first.clone())).is_none());
                sent = changes_sent(&pod.wait(40 * MS));
            }
            let commands = step(&mut pod, sent[0], answer.clone());
            let refusal = reply_of(&commands).unwrap().body.clone().unwrap_err();
            assert_eq!(matches!(refusal, Refusal::OutcomeUnknown(_)), first.is_some(), "{answer:?}: {refusal:?}");
            assert_eq!(refusal.invites_repeat(), first.is_none());
        }
    }
}

#[test]
fn a_delete_by_filter_that_wrote_nothing_is_refused_and_one_that_wrote_is_unknown() {
    for writes in [false, true] {
        let mut pod = Pod::new();
        pod.step(Event::Lost(Peer::Node(pod.other())));
        assert!(reply_of(&pod.ask(1, create("words").body, 1_000 * MS)).unwrap().body.is_ok());
        let upsert = PointOp::Upsert {
            point: PointId::Num(1),
            vectors: meridian_model::Vectors::unnamed(vec![1.0, 2.0]),
            payload: meridian_model::Payload("{}".into()),
        };
        let collection = CollectionName::new("words").unwrap();
        pod.ask(2, Body::Write { collection: collection.clone(), ops: vec![upsert] }, 1_000 * MS);
        let body = Body::DeleteByFilter { collection, filter: meridian_model::Filter::default() };
        let mut commands = pod.ask(3, body, 1_000 * MS);
        // The disk answers no more, or nothing more is proposed.
        let mut persisted = false;
        while let Some(read) = commands.iter().position(|command| matches!(command, Command::Read { .. })) {
            let Command::Read { job, what, .. } = commands.swap_remove(read) else { unreachable!() };
            let result = crate::execute(&pod.replica.views().newest(), &what, &|| false).unwrap();
            if !writes && matches!(what, crate::ReadWhat::Match(_)) {
                pod.step(Event::Drain);
            }
            let now = Now { mono: pod.mono, wall: 1_000 * MS + pod.mono };
            commands = pod.replica.step(now, Event::ReadDone { job, result });
            persisted |= commands.iter().any(|command| matches!(command, Command::Persist { .. }));
        }
        assert_eq!(persisted, writes);
        let mut replied = None;
        while replied.is_none() {
            pod.mono += 20 * MS;
            let now = Now { mono: pod.mono, wall: 1_000 * MS + pod.mono };
            replied = reply_of(&pod.replica.step(now, Event::Tick { random: 7 })).cloned();
        }
        let refusal = replied.unwrap().body.unwrap_err();
        assert_eq!(matches!(refusal, Refusal::OutcomeUnknown(_)), writes, "{refusal:?}");
        assert_eq!(matches!(refusal, Refusal::Unavailable { .. }), !writes, "{refusal:?}");
    }
}

/// A leader that has forgotten results behind that entry does not know whether the first copy was one of them.
#[test]
fn each_copy_of_a_write_tells_what_was_applied_before_the_first() {
    let sent_at = |commands: &[Command]| -> Vec<(u64, u64)> {
        let call = |command: &Command| match command {
            Command::Send(_, PeerMessage::Call(call, Call::Shard(_, ShardCall::Write { sent_at, .. }))) => {
                Some((*call, sent_at.0))
            }
            _ => None,
        };
        commands.iter().filter_map(call).collect()
    };
    let mut pod = beside_a_leader();
    let other = pod.other();
    let first = sent_at(&pod.ask(1, write(), 9_000 * MS))[0];
    pod.lead(200_000);
    let answer = |call, answer| Event::Peer(other, PeerMessage::Answer(call, CallAnswer::Shard(answer)));
    pod.step(answer(first.0, ShardAnswer::SteppedDown));
    let again = sent_at(&pod.wait(40 * MS))[0];
    assert_eq!((first.1, again.1), (5, 5));
    assert_eq!(sent_at(&pod.ask(2, write(), 9_000 * MS))[0].1, 200_000);
    let commands = pod.step(answer(again.0, ShardAnswer::Forgotten));
    assert!(matches!(reply_of(&commands).unwrap().body, Err(Refusal::OutcomeUnknown(_))));
}

#[test]
fn a_write_waits_until_a_leader_was_heard() {
    let mut pod = Pod::of(identity(1, 3));
    pod.meet();
    assert!(changes_sent(&pod.ask(1, write(), 500 * MS)).is_empty());
    pod.lead(5);
    assert_eq!(changes_sent(&pod.wait(40 * MS)).len(), 1);
}

use std::collections::BTreeMap;

use meridian_model::client::{Body, Demand, PointOp, Refusal, Reply, ReplyBody, Request};
use meridian_model::{CollectionName, PointId, ReplicaId, VersionVector};
use meridian_proto::frame::{
    Build, Call, CallAnswer, Hello, Lead, PartBody, PeerMessage, ReadPart, ShardAnswer, ShardCall,
};

use super::*;
use crate::testing::{alone, identity};
use crate::{Event, Now, Peer, ReadResult};

const MS: Duration = Duration::from_millis(1);

/// The leader of a group of one, with another replica that is announced as a member.
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

    /// Connects the other replica.
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

    /// Delivers the other replica's announcement that it leads, with its applied positions.
    fn lead(&mut self, applied: u64) {
        let (term, members) = (meridian_model::Term(9), self.replica.identity().founders.clone());
        let lead = Lead {
            term,
            members,
            applied: meridian_model::LogIndex(applied),
            behavior: meridian_model::BehaviorVersion::FIRST,
        };
        self.step(Event::Peer(self.other(), PeerMessage::Lead(lead)));
    }

    fn other(&self) -> NodeId {
        NodeId { replica: ReplicaId(2), ..self.replica.identity.node() }
    }

    /// Commands other than those of the log, which is durable at once.
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

    /// Ticks until this time has passed.
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

/// Calls sent to the other replica, with the remaining time of each.
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
    assert_eq!(calls_sent(&commands).len(), 1, "another replica is tried after the first attempt's timeout");
    assert_eq!(calls_sent(&commands)[0].1, 600 * MS, "with the remaining time");
    let commands = pod.wait(500 * MS);
    assert!(matches!(reply_of(&commands).unwrap().body, Err(Refusal::Timeout(_))), "both attempts timed out");
    let (_, later) = read_of(&pod.list(2, 5 * MS)).unwrap();
    assert_eq!(later, pod.mono + 5 * MS, "abandoned reads do not delay later ones");
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
    assert!(
        commands.iter().any(|c| format!("{c:?}") == format!("{cancel:?}")),
        "the second is cancelled: {commands:?}"
    );
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

#[test]
fn a_disconnected_client_cancels_its_read_everywhere() {
    let mut pod = Pod::new();
    let (job, _) = read_of(&pod.list(1, 60_000 * MS)).unwrap();
    let (call, _) = calls_sent(&pod.wait(400 * MS))[0];
    let commands = pod.step(Event::Gone { ticket: 1 });
    assert_eq!(cancels(&commands), [job]);
    assert!(commands.iter().any(|c| matches!(c, Command::Send(_, PeerMessage::Cancel(sent)) if *sent == call)));
    assert!(reply_of(&commands).is_none());
    assert!(pod.step(Event::ReadDone { job, result: nothing() }).is_empty(), "a late answer is dropped");
    assert!(pod.replica.gateway.is_idle());
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
fn a_write_continues_after_its_client_disconnects() {
    let mut pod = Pod::new();
    let now = Now { mono: pod.mono, wall: 9_000 * MS };
    let commands = pod.replica.step(now, Event::Client { ticket: 1, request: create("words") });
    assert!(pod.replica.step(now, Event::Gone { ticket: 1 }).is_empty());
    let Some(Command::Persist { number, .. }) = commands.into_iter().next() else { panic!("it is in the log") };
    let commands = pod.step(Event::Persisted { number, first: pod.lsn });
    assert_eq!(reply_of(&commands).unwrap().body, Ok(ReplyBody::Done(true)));
}

#[test]
fn a_read_that_the_threads_reject_is_refused_at_once() {
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
    assert!(pod.replica.reads.under_way() == 0);
}

#[test]
fn the_number_of_collections_of_a_region_is_limited() {
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
        // The disk no longer answers, or no more entries are proposed.
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

/// Numbers of the writes sent to the other replica.
fn writes_sent(commands: &[Command]) -> Vec<u64> {
    let call = |command: &Command| match command {
        Command::Send(_, PeerMessage::Call(call, Call::Shard(_, ShardCall::Write { .. }))) => Some(*call),
        _ => None,
    };
    commands.iter().filter_map(call).collect()
}

#[test]
fn a_write_that_the_leader_does_not_support_is_refused_at_once() {
    for answer in
        [CallAnswer::Unsupported("not here".into()), CallAnswer::Shard(ShardAnswer::Unsupported("not here".into()))]
    {
        let mut pod = Pod::of(identity(1, 3));
        pod.meet();
        pod.lead(5);
        let ops = vec![PointOp::Delete { point: PointId::Num(1) }];
        let body = Body::Write { collection: CollectionName::new("words").unwrap(), ops };
        let sent = writes_sent(&pod.ask(1, body, 3_000 * MS));
        let commands = pod.step(Event::Peer(pod.other(), PeerMessage::Answer(sent[0], answer)));
        let refusal = reply_of(&commands).expect("refused at once").body.clone().unwrap_err();
        assert!(matches!(&refusal, Refusal::Unavailable { reason, .. } if reason == "not here"), "{refusal:?}");
    }
}

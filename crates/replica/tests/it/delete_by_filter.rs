//! Deletes by filter at one machine: what others write between its read and its writes, what a restart publishes, and what a
//! region that forwards one does when the answer is lost. A group of one replica, and a shell that obeys at once, but for
//! reads, which wait until a test lets them go on.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use meridian_model::client::{Body, Demand, PointOp, Refusal, Reply, ReplyBody, Request};
use meridian_model::{
    Answer, CollectionDef, CollectionName, Condition, Delta, Distance, Filter, HnswParams, Op, Payload, PointId,
    Position, Query, Scalar, ShardNumber, VectorDef, Vectors, WriteId,
};
use meridian_proto::frame::{RegionAnswer, RegionCall, RegionMessage, TailAnswer, TailCall};
use meridian_replica::{Command, Event, Peer, ReadWhat, Settings, execute};

use crate::shell::{self, region};

const US: &str = "us-east";

fn words() -> CollectionName {
    CollectionName::new("words").unwrap()
}

fn definition() -> Body {
    let vector = VectorDef { dim: 2, distance: Distance::Dot, hnsw: HnswParams::default() };
    Body::CreateCollection(CollectionDef { name: words(), vectors: BTreeMap::from([(String::new(), vector)]) })
}

fn upserts(points: impl IntoIterator<Item = u64>, mark: &str) -> Body {
    let op = |point| PointOp::Upsert {
        point: PointId::Num(point),
        vectors: Vectors::unnamed(vec![1.0, 2.0]),
        payload: Payload(format!(r#"{{"mark":"{mark}"}}"#).into()),
    };
    Body::Write { collection: words(), ops: points.into_iter().map(op).collect() }
}

fn delete_all(mark: &str) -> Body {
    let condition = Condition::Any { key: "mark".parse().unwrap(), any: vec![Scalar::Text(mark.into())] };
    Body::DeleteByFilter { collection: words(), filter: Filter { must: vec![condition], ..Filter::default() } }
}

struct Shell {
    shell: shell::Shell,
    /// Reads that wait.
    reads: VecDeque<(u64, ReadWhat)>,
    replies: BTreeMap<u64, Reply>,
    /// What was sent to other regions.
    sent: Vec<RegionMessage>,
    /// The primary region's heartbeats arrive.
    hears: bool,
}

impl std::ops::Deref for Shell {
    type Target = shell::Shell;

    fn deref(&self) -> &Self::Target {
        &self.shell
    }
}

impl Shell {
    /// A leader in the region `own`, while `primary` takes the writes.
    fn new(own: &str, primary: &str, settings: Settings) -> Self {
        let shell = shell::Shell::new(own, primary, settings, Duration::from_secs(1_000));
        let (reads, replies, sent) = Default::default();
        Self { shell, reads, replies, sent, hears: own != primary }
    }

    /// Kills the process and starts it again.
    fn restart(&mut self) {
        self.shell.restart();
        self.reads.clear();
        self.ticks(100);
    }

    fn step(&mut self, event: Event) {
        self.shell.step(event);
        self.sort();
    }

    fn sort(&mut self) {
        for command in self.shell.seen.drain(..) {
            match command {
                Command::Read { job, what, .. } => self.reads.push_back((job, what)),
                Command::Reply { ticket, reply } => drop(self.replies.insert(ticket, reply)),
                Command::SendRegion(_, message) => self.sent.push(message),
                _ => {}
            }
        }
    }

    fn ticks(&mut self, count: u64) {
        for random in 0..count {
            if self.hears {
                self.step(Event::Heard(Peer::Region(region(US))));
            }
            self.shell.tick(random);
            self.sort();
        }
    }

    /// A client asks.
    fn begin(&mut self, body: Body) -> u64 {
        let (ticket, event) = self.shell.request(body);
        self.step(event);
        ticket
    }

    /// Lets the reads that wait go on, and those that follow when `all`; says how many.
    fn read(&mut self, all: bool) -> usize {
        let mut done = 0;
        while let Some((job, what)) = self.reads.pop_front() {
            let result = execute(&self.replica.views().newest(), &what, &|| false).unwrap();
            self.step(Event::ReadDone { job, result });
            done += 1;
            if !all {
                break;
            }
        }
        done
    }

    fn answer(&mut self, ticket: u64) -> Result<ReplyBody, Refusal> {
        for _ in 0..10_000 {
            if let Some(reply) = self.replies.remove(&ticket) {
                return reply.body;
            }
            if self.read(true) == 0 {
                self.ticks(1);
            }
        }
        panic!("no answer");
    }

    fn ask(&mut self, body: Body) -> Result<ReplyBody, Refusal> {
        let ticket = self.begin(body);
        self.answer(ticket)
    }

    fn count(&mut self) -> u64 {
        match self.ask(Body::Read { collection: words(), query: Query::Count { filter: None } }) {
            Ok(ReplyBody::Answer(Answer::Count(count))) => count,
            other => panic!("{other:?}"),
        }
    }

    /// All that another region reads of the delta log from its beginning on.
    fn tail(&mut self) -> Vec<Delta> {
        self.sent.clear();
        let call = u64::try_from(self.now.wall.as_millis()).unwrap();
        let open = TailCall::Open { after: Position::default(), credit: 1 << 40 };
        let message = RegionMessage::Call(call, RegionCall::Tail(ShardNumber::FIRST, open));
        self.step(Event::Region(Peer::Connection(5), message));
        self.ticks(5);
        let mut deltas = Vec::new();
        for message in &self.sent {
            match message {
                RegionMessage::Answer(at, RegionAnswer::Tail(TailAnswer::Records { deltas: more, .. }))
                    if *at == call =>
                {
                    deltas.extend(more.iter().map(|delta| delta.decode().unwrap()));
                }
                RegionMessage::Answer(_, RegionAnswer::Tail(other)) => panic!("{other:?}"),
                _ => {}
            }
        }
        self.step(Event::Lost(Peer::Connection(5)));
        deltas
    }
}

#[test]
fn points_written_between_its_read_and_its_deletes_stay() {
    let settings = Settings { match_page: 10, ..Settings::default() };
    let mut shell = Shell::new(US, US, settings);
    shell.ask(definition()).unwrap();
    shell.ask(upserts(0..35, "drop")).unwrap();
    let delete = shell.begin(delete_all("drop"));
    let mut kept = Vec::new();
    // The collection's uid, then a page, then what was read is overwritten before it is deleted, and so on.
    let mut page = 0;
    assert_eq!(shell.read(false), 1);
    while let Some((job, what)) = shell.reads.pop_front() {
        let result = execute(&shell.replica.views().newest(), &what, &|| false).unwrap();
        let overwritten = [page * 10 + 1, page * 10 + 4];
        if matches!(what, ReadWhat::Match { .. }) && page < 3 {
            let write = shell.begin(upserts(overwritten, "keep"));
            assert!(shell.replies.remove(&write).unwrap().body.is_ok());
            kept.extend(overwritten);
        }
        shell.step(Event::ReadDone { job, result });
        page += 1;
    }
    assert!(matches!(shell.answer(delete), Ok(ReplyBody::Written(_))));
    assert_eq!((page, shell.count()), (4, kept.len() as u64));
    let nothing = shell.tail().iter().filter(|delta| delta.op == Op::Nothing).count();
    assert_eq!(nothing, kept.len(), "what did nothing is published as nothing");
}

/// Ten pages match, others write meanwhile, the process is killed in the middle and a client asks once more. The
/// log that other regions read is the same before and after each restart, with a snapshot and without.
#[test]
fn a_restart_in_the_middle_publishes_the_same_log() {
    for snapshot_every in [7, 20_000] {
        let settings = Settings { snapshot_every, match_page: 100, ..Settings::default() };
        let mut shell = Shell::new(US, US, settings);
        shell.ask(definition()).unwrap();
        for first in (0..1_000).step_by(100) {
            shell.ask(upserts(first..first + 100, "drop")).unwrap();
        }
        let delete = shell.begin(delete_all("drop"));
        for page in 0..6 {
            shell.read(false);
            let write = shell.begin(upserts([page * 100 + 99, 990], "keep"));
            assert!(shell.replies.remove(&write).unwrap().body.is_ok());
        }
        assert!(!shell.replies.contains_key(&delete));
        let before = shell.tail();
        assert!(before.iter().map(|delta| delta.seq.0).eq(1..=before.len() as u64));
        assert!(before.iter().any(|delta| matches!(delta.op, Op::Delete { .. })));
        shell.restart();
        assert_eq!(shell.replica.counters().snapshots_taken, 0);
        assert_eq!(shell.tail(), before, "snapshots every {snapshot_every}");
        shell.ask(delete_all("drop")).unwrap();
        assert_eq!(shell.count(), 7);
        let before = shell.tail();
        shell.ticks(10);
        shell.restart();
        assert_eq!((shell.tail() == before, shell.count()), (true, 7));
    }
}

/// A client that asks again under the same id, at a gateway that does not know the first attempt: it is evaluated anew, and
/// what the first attempt was answered says nothing about it.
#[test]
fn a_second_evaluation_is_not_answered_by_the_first() {
    let mut shell = Shell::new(US, US, Settings::default());
    shell.ask(definition()).unwrap();
    for points in [0..5, 5..9] {
        shell.ask(upserts(points, "drop")).unwrap();
        shell.shell.tickets = 77;
        shell.ask(delete_all("drop")).unwrap();
        assert_eq!(shell.count(), 0);
    }
}

#[test]
fn a_collection_that_is_not_there_is_not_found() {
    let mut shell = Shell::new(US, US, Settings::default());
    assert!(matches!(shell.ask(delete_all("drop")), Err(Refusal::NotFound(_))));
}

/// Dropped and created again under its name after the operation began: the new one keeps its points.
#[test]
fn a_collection_created_again_meanwhile_keeps_its_points() {
    let mut shell = Shell::new(US, US, Settings::default());
    shell.ask(definition()).unwrap();
    shell.ask(upserts(0..5, "drop")).unwrap();
    let again = |shell: &mut Shell| {
        for body in [Body::DropCollection(words()), definition(), upserts(0..5, "drop")] {
            let ticket = shell.begin(body);
            assert!(shell.replies.remove(&ticket).unwrap().body.is_ok());
        }
    };
    // Between the uid and the read.
    let delete = shell.begin(delete_all("drop"));
    assert_eq!(shell.read(false), 1);
    again(&mut shell);
    assert!(shell.answer(delete).is_ok());
    assert_eq!(shell.count(), 5);
    // Between the read and the write.
    let delete = shell.begin(delete_all("drop"));
    assert_eq!(shell.read(false), 1);
    let (job, what) = shell.reads.pop_front().unwrap();
    let result = execute(&shell.replica.views().newest(), &what, &|| false).unwrap();
    again(&mut shell);
    shell.step(Event::ReadDone { job, result });
    assert!(shell.answer(delete).is_ok());
    assert_eq!(shell.count(), 5);
}

#[test]
fn a_forwarded_delete_by_filter_is_sent_once() {
    let mut shell = Shell::new("eu-west", US, Settings::default());
    let asked = |shell: &Shell| {
        let asks = |message: &&RegionMessage| matches!(message, RegionMessage::Call(_, RegionCall::Ask(..)));
        shell.sent.iter().filter(asks).count()
    };
    // A write is known by its id: it is sent again while nobody answers.
    let write = shell.begin(upserts([1], "keep"));
    shell.ticks(150);
    assert!(asked(&shell) > 1);
    shell.ticks(2_000);
    assert!(shell.replies.remove(&write).is_some());
    // A delete by filter is not: when nobody answers, when the connection is lost, and when the region falls silent.
    for trouble in ["no answer", "lost", "silent"] {
        shell.sent.clear();
        let delete = shell.begin(delete_all("drop"));
        shell.ticks(1_000);
        assert_eq!((asked(&shell), shell.replies.contains_key(&delete)), (1, false), "{trouble}");
        match trouble {
            "no answer" => shell.ticks(600),
            "lost" => shell.step(Event::Lost(Peer::Region(region(US)))),
            _ => {
                shell.hears = false;
                shell.ticks(120);
            }
        }
        let reply = shell.replies.remove(&delete).unwrap();
        assert!(matches!(reply.body, Err(Refusal::OutcomeUnknown(_))), "{trouble}: {:?}", reply.body);
        shell.ticks(200);
        assert_eq!(asked(&shell), 1, "{trouble}");
    }
    // What was never sent did not happen.
    shell.sent.clear();
    let delete = shell.begin(delete_all("drop"));
    shell.ticks(120);
    let reply = shell.replies.remove(&delete).unwrap();
    assert!(matches!(reply.body, Err(Refusal::Unavailable { .. })), "{:?}", reply.body);
    assert_eq!(asked(&shell), 0);
}

#[test]
fn a_message_that_arrives_twice_deletes_by_filter_once() {
    let mut shell = Shell::new(US, US, Settings::default());
    shell.ask(definition()).unwrap();
    shell.ask(upserts(0..3, "drop")).unwrap();
    let timeout = Duration::from_secs(30);
    let (id, body) = (WriteId(1 << 90), delete_all("drop"));
    let request = Request { id, body, demand: Demand::default(), traceparent: None, timeout, wait: None };
    let message = || {
        let ask = RegionCall::from(request.clone());
        Event::Region(Peer::Connection(5), RegionMessage::Call(7, ask))
    };
    shell.step(message());
    while shell.read(true) > 0 {}
    assert_eq!(shell.count(), 0);
    shell.ask(upserts(0..3, "drop")).unwrap();
    shell.step(message());
    while shell.read(true) > 0 {}
    assert_eq!(shell.count(), 3, "what was written since it was acknowledged is gone");
}

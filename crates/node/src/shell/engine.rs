//! The thread that drives the machine.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::future::BoxFuture;
use meridian_model::client::{Freshness, Outcome, Refusal, Reply, Request};
use meridian_model::{CollectionName, Hlc};
use meridian_proto::frame::{RegionAnswer, RegionMessage};
use meridian_proto::topology::{TopologyAnswer, TopologyCall};
use meridian_replica::{Backlog, Command, Event, HandOverCause, Poison, Replica};
use meridian_store::RealDisk;
use meridian_volume::{LogVolume, SnapshotVolume};
use rand::RngExt;
use tokio::sync::oneshot;

use super::log_thread::{self, LogJob, Measured};
use super::pulse::Pulse;
use super::report::{Observed, clocks, observe};
use super::search_threads::{Door, SearchThreads};
use super::{snapshot_thread, thread};
use crate::kafka;
use crate::metrics::{Metrics, OriginLabels, SearchLabels};
use crate::peer::Hub;

/// Events that wait for the machine; beyond it clients are told to slow down and peers' messages are lost.
const INBOX: usize = 1 << 16;
/// How often metrics and reports are brought up to date.
const OBSERVE_EVERY: Duration = Duration::from_millis(100);

/// What reaches the engine thread.
pub(super) enum Message {
    Event(Event),
    /// A client's request, under its ticket.
    Ask(u64, Request, oneshot::Sender<Reply>),
    /// The client of this ticket is gone.
    Gone(u64),
    Topology(TopologyCall, oneshot::Sender<TopologyAnswer>),
    Stop,
}

/// The way to the engine thread.
#[derive(Clone)]
pub(super) struct Inbox(SyncSender<Message>);

impl Inbox {
    /// An event that must not be lost; blocks while the inbox is full.
    pub(super) fn must(&self, event: Event) {
        // The engine is gone only when the process ends.
        let _ = self.0.send(Message::Event(event));
    }

    /// A message that may be lost: false when the inbox is full.
    fn may(&self, message: Message) -> bool {
        self.0.try_send(message).is_ok()
    }
}

/// The way to a running replica.
#[derive(Clone)]
pub struct Handle {
    inbox: Inbox,
    observed: Arc<parking_lot::RwLock<Observed>>,
    pulse: Arc<Pulse>,
    kafka: Arc<kafka::Status>,
    door: Door,
    tickets: Arc<AtomicU64>,
}

/// A client that waits. Dropped before its answer came, it tells the machine that nobody waits any more.
struct Waiting {
    ticket: u64,
    inbox: Inbox,
    answered: bool,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        // When it is lost, the work ends at the request's deadline.
        if !self.answered && !self.inbox.may(Message::Gone(self.ticket)) {
            tracing::debug!("the inbox is full; a client that left is not reported");
        }
    }
}

impl Handle {
    /// How long ago the engine thread last came round.
    pub(super) fn silent_for(&self) -> Duration {
        self.pulse.age()
    }

    /// Something came from the network: it may be lost when the machine is behind.
    pub fn event(&self, event: Event) {
        if !self.inbox.may(Message::Event(event)) {
            tracing::debug!("the inbox is full; an event from the network is dropped");
        }
    }

    /// Something that must not be lost.
    pub fn must(&self, event: Event) {
        self.inbox.must(event);
    }

    /// Whether a read that comes now would be taken; cheap, to be asked before anything is done for it.
    ///
    /// # Errors
    /// Why not.
    pub fn admit_read(&self) -> Result<(), Refusal> {
        self.door.check().map_err(Refusal::Overloaded)
    }

    /// Asks the operator's question.
    pub fn topology(&self, call: TopologyCall) -> BoxFuture<'static, TopologyAnswer> {
        let (sender, answer) = oneshot::channel();
        let sent = self.inbox.may(Message::Topology(call, sender));
        async move {
            let gone = || TopologyAnswer::Refused("the replica is busy or stopping".into());
            if sent { answer.await.unwrap_or_else(|_| gone()) } else { gone() }
        }
        .boxed()
    }

    /// What was last seen of the replica.
    pub(super) fn observed(&self) -> Observed {
        self.observed.read().clone()
    }

    /// What the threads that speak with brokers say.
    pub(super) fn kafka(&self) -> &kafka::Status {
        &self.kafka
    }

    /// Ends the engine thread.
    pub fn stop(&self) {
        let _ = self.inbox.0.send(Message::Stop);
    }

    /// Answers one request of a client.
    pub fn ask(&self, request: Request) -> BoxFuture<'static, Reply> {
        let (sender, answer) = oneshot::channel();
        let (timeout, changes) = (request.timeout, request.body.changes());
        let region = self.observed.read().region();
        let ticket = self.tickets.fetch_add(1, Ordering::Relaxed);
        let sent = self.inbox.may(Message::Ask(ticket, request, sender));
        let waiting = Waiting { ticket, inbox: self.inbox.clone(), answered: !sent };
        async move {
            // Whole, not its fields alone: it must live as long as this future.
            let mut waiting = waiting;
            let refuse = |refusal| Reply { body: Err(refusal), freshness: unknown(region.clone()) };
            if !sent {
                return refuse(Refusal::Overloaded("too many events wait at this pod".into()));
            }
            // The machine answers in time; this holds if it does not.
            let answer = tokio::time::timeout(timeout + Duration::from_secs(1), answer).await;
            waiting.answered = answer.is_ok();
            match answer {
                Ok(Ok(reply)) => reply,
                Ok(Err(_)) if changes => refuse(Refusal::OutcomeUnknown("the pod is stopping".into())),
                Ok(Err(_)) => refuse(Refusal::Unavailable { shards: Vec::new(), reason: "the pod is stopping".into() }),
                Err(_) if changes => refuse(Refusal::OutcomeUnknown(format!("no answer within {timeout:?}"))),
                Err(_) => refuse(Refusal::Timeout(timeout)),
            }
        }
        .boxed()
    }
}

pub(super) fn unknown(served_region: meridian_model::RegionName) -> Freshness {
    Freshness {
        staleness: Duration::MAX,
        served_region,
        token: meridian_model::VersionVector::default(),
        stale: false,
        outcome: Outcome::Failed,
    }
}

/// What the engine thread works with.
pub struct Engine {
    /// The folder, for its free space.
    pub disk: RealDisk,
    /// Bytes of memory that the process may use, if its configuration says.
    pub memory_limit: Option<u64>,
    /// The log.
    pub log: LogVolume<RealDisk>,
    /// The snapshots.
    pub snapshots: SnapshotVolume<RealDisk>,
    /// The machine.
    pub replica: Replica,
    /// Whom it can speak to.
    pub hub: Hub,
    /// Where it is counted.
    pub metrics: Arc<Metrics>,
    /// Length of a tick.
    pub tick: Duration,
    /// Threads that read.
    pub search_threads: usize,
    /// Which brokers are written and read.
    pub kafka: kafka::Plan,
    /// Told once the leadership is handed over after [`Event::Drain`].
    pub drained: oneshot::Sender<()>,
    /// Told after [`Event::Finish`] that the process may end.
    pub finished: oneshot::Sender<Finished>,
}

/// The work that a process leaves to the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Finished {
    /// Entries of the log that it applies again.
    pub entries_behind: u64,
    /// A last snapshot was begun and did not end in time.
    pub is_abandoned: bool,
}

impl Engine {
    /// Starts all threads.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(self) -> std::io::Result<Handle> {
        let (sender, messages) = sync_channel(INBOX);
        let inbox = Inbox(sender);
        let observed = Arc::new(parking_lot::RwLock::new(observe(&self.replica)));
        let pulse = Arc::new(Pulse::new());
        let status = Arc::<kafka::Status>::default();
        let genesis = self.replica.identity().genesis.clone();
        let labels = SearchLabels {
            region: genesis.region.to_string(),
            shard: u32::from(genesis.shard.number()),
            collection: String::new(),
        };
        let views = self.replica.views();
        let searches = SearchThreads::start(self.search_threads, &views, &inbox, &self.metrics, &labels)?;
        let handle = Handle {
            inbox: inbox.clone(),
            observed: Arc::clone(&observed),
            pulse: Arc::clone(&pulse),
            kafka: Arc::clone(&status),
            door: searches.door(),
            tickets: Arc::default(),
        };
        let kafka = kafka::Room::start(&self.kafka, &handle, status)?;
        let (log_jobs, log_queue) = channel();
        let (snapshot_jobs, snapshot_queue) = channel();
        let measured = Measured { disk: self.disk, memory_limit: self.memory_limit };
        let (log, metrics, log_inbox) = (self.log, Arc::clone(&self.metrics), inbox.clone());
        thread("log", move || {
            if let Err(fault) = log_thread::run(&measured, log, &log_queue, &log_inbox, &metrics) {
                // What is on the disk is unknown now: only a restart from the disk can tell.
                tracing::error!(fault = %anyhow::Error::new(fault), "the log cannot be written; the process ends");
                std::process::exit(70);
            }
        })?;
        let (snapshots, snapshot_inbox) = (self.snapshots, inbox);
        thread("snapshots", move || snapshot_thread::run(snapshots, &snapshot_queue, &snapshot_inbox))?;
        let mut turn = Turn {
            replica: self.replica,
            hub: self.hub,
            metrics: self.metrics,
            log: log_jobs,
            snapshots: snapshot_jobs,
            searches,
            kafka,
            observed,
            replies: HashMap::new(),
            answers: HashMap::new(),
            ticket: 0,
            drained: Some(self.drained),
            finished: Some(self.finished),
            refused: VecDeque::new(),
            pulse,
        };
        let tick = self.tick;
        thread("engine", move || turn.run(&messages, tick))?;
        Ok(handle)
    }
}

/// Times as long as a piece of graph work took, the engine leaves the processor to others.
const SHARE_OF_OTHERS: u32 = 3;

/// What a slow search takes, about: graph work looks again then whether one is still under way.
const SEARCH: Duration = Duration::from_millis(5);

/// The engine thread's own.
struct Turn {
    replica: Replica,
    hub: Hub,
    metrics: Arc<Metrics>,
    log: Sender<LogJob>,
    snapshots: Sender<Command>,
    searches: SearchThreads,
    kafka: kafka::Room,
    observed: Arc<parking_lot::RwLock<Observed>>,
    replies: HashMap<u64, oneshot::Sender<Reply>>,
    answers: HashMap<u64, oneshot::Sender<TopologyAnswer>>,
    ticket: u64,
    drained: Option<oneshot::Sender<()>>,
    finished: Option<oneshot::Sender<Finished>>,
    /// Reads that the threads did not take, to be told to the machine next.
    refused: VecDeque<Event>,
    pulse: Arc<Pulse>,
}

impl Turn {
    fn run(&mut self, messages: &Receiver<Message>, tick: Duration) {
        let mut random = rand::rng();
        let mut next_tick = Instant::now();
        let mut next_look = Instant::now();
        let mut next_work = Some(Instant::now());
        loop {
            let now = Instant::now();
            if now >= next_tick {
                self.pulse.beat();
                next_tick = (next_tick + tick).max(now);
                self.step(Event::Tick { random: random.random() });
                if now >= next_look {
                    next_look = now + OBSERVE_EVERY;
                    let seen = observe(&self.replica);
                    seen.count(&self.metrics, self.kafka.status());
                    let state = self.replica.state();
                    self.metrics.keep_collections(|name| {
                        CollectionName::new(name).is_ok_and(|name| state.collection(&name).is_some())
                    });
                    let before = std::mem::replace(&mut *self.observed.write(), seen);
                    self.observed.read().tell_of_leadership(&before);
                    self.observed.read().tell_of_clock(&before);
                    self.observed.read().tell_of_memory(&before);
                }
            }
            // Graph work is done only when nothing waits.
            let wake = next_work.map_or(next_tick, |work| work.min(next_tick));
            match messages.recv_timeout(wake.saturating_duration_since(Instant::now())) {
                Ok(Message::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                Ok(message) => {
                    self.take(message);
                    next_work.get_or_insert_with(Instant::now);
                }
                Err(RecvTimeoutError::Timeout) if next_work.is_some_and(|work| Instant::now() >= work) => {
                    next_work = self.idle();
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    /// Does a piece of graph work; returns when to do the next one, if there is more.
    ///
    /// The replicas of a shard fill their blocks at the same moment. Where they share a machine, all would take its
    /// processors at once and requests would wait behind them.
    fn idle(&mut self) -> Option<Instant> {
        let begun = Instant::now();
        let backlog = self.replica.idle();
        let now = Instant::now();
        match backlog {
            Backlog::None => None,
            Backlog::Waiting => Some(now + SEARCH),
            Backlog::Short => Some(now + (now - begun) * SHARE_OF_OTHERS),
            Backlog::Long => Some(now),
        }
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Event(event) => self.step(event),
            Message::Ask(ticket, request, sender) => {
                self.replies.insert(ticket, sender);
                self.step(Event::Client { ticket, request });
            }
            Message::Gone(ticket) => {
                self.replies.remove(&ticket);
                self.step(Event::Gone { ticket });
            }
            Message::Topology(call, sender) => {
                self.ticket += 1;
                self.answers.insert(self.ticket, sender);
                self.step(Event::Topology { ticket: self.ticket, call });
            }
            Message::Stop => {}
        }
    }

    fn step(&mut self, event: Event) {
        let mut next = Some(event);
        while let Some(event) = next {
            for command in self.replica.step(clocks(), event) {
                self.obey(command);
            }
            next = self.refused.pop_front();
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            // The log thread ends only with the process.
            Command::Persist { number, records } => drop(self.log.send(LogJob::Persist { number, records })),
            Command::Release { before, shrink } => drop(self.log.send(LogJob::Release { before, shrink })),
            Command::HandedOver { to, cause } => {
                let why = match cause {
                    HandOverCause::DiskFull => "the disk is full",
                    HandOverCause::MemoryShort => "a snapshot does not fit into memory",
                    HandOverCause::FsyncHangs => "an fsync hangs",
                };
                tracing::warn!(%to, why, "the leadership is handed over");
            }
            Command::Send(to, message) => self.hub.send(to, message),
            Command::SendRegion(kafka::PUBLISHER, message) => {
                if let RegionMessage::Answer(call, RegionAnswer::Tail(answer)) = message {
                    self.kafka.tail(call, answer);
                }
            }
            Command::SendRegion(to, message) => self.hub.send_region(&to, message),
            Command::Dial(_, address) => self.hub.dial(&address),
            Command::Merged { origin, committed_at } => {
                self.metrics.merged(&origin, &committed_at, Hlc::at(clocks().wall_millis()))
            }
            Command::Traced(traced) => traced.iter().for_each(tell_of),
            Command::Reply { ticket, reply } => {
                if let Some(sender) = self.replies.remove(&ticket) {
                    // A client that left needs no answer.
                    let _ = sender.send(reply);
                }
            }
            Command::TopologyReply { ticket, answer } => {
                if let Some(sender) = self.answers.remove(&ticket) {
                    let _ = sender.send(answer);
                }
            }
            Command::Read { job, what, deadline } => {
                if let Err(why) = self.searches.read(job, what, Instant::now() + deadline.saturating_sub(clocks().mono))
                {
                    self.metrics.reads_refused.inc();
                    self.refused.push_back(Event::ReadRefused { job, why });
                }
            }
            Command::CancelRead { job } => self.searches.cancel(job),
            command @ (Command::TakeSnapshot { .. }
            | Command::ReadChunk { .. }
            | Command::Install { .. }
            | Command::InstallChunk { .. }) => drop(self.snapshots.send(command)),
            Command::Leads(leads) => self.kafka.leads(leads),
            Command::Follow { call, origin, topic, after, credit } => {
                self.kafka.follow(call, origin, topic, after, credit);
            }
            Command::FollowCredit { call, bytes } => self.kafka.credit(call, bytes),
            Command::Unfollow { call } => self.kafka.unfollow(call),
            Command::Poisoned { origin, poison } => {
                self.metrics.link_poison_records.get_or_create(&OriginLabels::from(&origin)).inc();
                let Poison { at, seq, fault } = poison;
                tracing::error!(%origin, ?at, ?seq, fault, "a record of a followed log cannot be taken");
            }
            Command::OutOfService(reason) => tracing::error!(%reason, "this replica is out of service"),
            Command::Drained => {
                if let Some(drained) = self.drained.take() {
                    let _ = drained.send(());
                }
            }
            Command::Finished { entries_behind, is_abandoned } => {
                if let Some(finished) = self.finished.take() {
                    let _ = finished.send(Finished { entries_behind, is_abandoned });
                }
            }
        }
    }
}

/// The end of a request's way, under its own trace: written in one region, applied in this one.
fn tell_of(traced: &meridian_replica::Traced) {
    let meridian_replica::Traced { trace, origin, seq, committed_at } = traced;
    let delay_ms = clocks().wall_millis().0.saturating_sub(committed_at.wall().0);
    let (trace_id, parent_id) = (format!("{:032x}", trace.trace), format!("{:016x}", trace.span));
    let (region, shard, seq) = (origin.region.as_str(), origin.shard.number(), seq.0);
    if trace.is_sampled() {
        tracing::info!(trace_id, parent_id, region, shard, seq, delay_ms, "remote apply");
    } else {
        tracing::debug!(trace_id, parent_id, region, shard, seq, delay_ms, "remote apply");
    }
}

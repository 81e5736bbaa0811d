//! The engine thread, which drives the replica machine.

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

use super::heartbeat::Heartbeat;
use super::log_thread::{self, LogJob, MeasuredResources};
use super::report::{Observed, clocks, observe};
use super::search_threads::{ReadAdmission, SearchThreads};
use super::{snapshot_thread, thread};
use crate::kafka;
use crate::metrics::{Metrics, OriginLabels, SearchLabels};
use crate::peer::Hub;

/// Capacity of the inbox. When it is full, client requests are refused and peer messages are dropped.
const INBOX_CAPACITY: usize = 1 << 16;
/// Interval between two updates of metrics and reports.
const OBSERVE_EVERY: Duration = Duration::from_millis(100);

/// Messages to the engine thread.
pub(super) enum Message {
    Event(Event),
    /// A client request with its ticket.
    Request(u64, Request, oneshot::Sender<Reply>),
    /// The client of this ticket disconnected.
    ClientGone(u64),
    Topology(TopologyCall, oneshot::Sender<TopologyAnswer>),
    Stop,
}

/// Sender to the engine thread.
#[derive(Clone)]
pub(super) struct Inbox(SyncSender<Message>);

impl Inbox {
    /// Sends an event that must not be lost; blocks while the inbox is full.
    pub(super) fn send_blocking(&self, event: Event) {
        // The engine thread ends only with the process.
        let _ = self.0.send(Message::Event(event));
    }

    /// Sends a message that may be dropped; returns false when the inbox is full.
    fn try_send(&self, message: Message) -> bool {
        self.0.try_send(message).is_ok()
    }
}

/// Handle to a running replica.
#[derive(Clone)]
pub struct Handle {
    inbox: Inbox,
    observed: Arc<parking_lot::RwLock<Observed>>,
    heartbeat: Arc<Heartbeat>,
    kafka: Arc<kafka::Status>,
    read_admission: ReadAdmission,
    tickets: Arc<AtomicU64>,
}

/// A client request in flight. Dropped before the reply, it reports the disconnected client to the machine.
struct PendingReply {
    ticket: u64,
    inbox: Inbox,
    answered: bool,
}

impl Drop for PendingReply {
    fn drop(&mut self) {
        // If this message is dropped, the work ends at the request's deadline.
        if !self.answered && !self.inbox.try_send(Message::ClientGone(self.ticket)) {
            tracing::debug!("the inbox is full; a client that left is not reported");
        }
    }
}

impl Handle {
    /// Time since the engine thread last completed a loop iteration.
    pub(super) fn since_heartbeat(&self) -> Duration {
        self.heartbeat.elapsed()
    }

    /// Sends an event from the network; it is dropped when the machine is behind.
    pub fn try_send(&self, event: Event) {
        if !self.inbox.try_send(Message::Event(event)) {
            tracing::debug!("the inbox is full; an event from the network is dropped");
        }
    }

    /// Sends an event that must not be lost; blocks while the inbox is full.
    pub fn send_blocking(&self, event: Event) {
        self.inbox.send_blocking(event);
    }

    /// Whether a read would be admitted now; cheap, called before any work for the read.
    ///
    /// # Errors
    /// [`Refusal::Overloaded`] with the reason.
    pub fn admit_read(&self) -> Result<(), Refusal> {
        self.read_admission.check().map_err(Refusal::Overloaded)
    }

    /// Executes a topology call of the operator.
    pub fn topology(&self, call: TopologyCall) -> BoxFuture<'static, TopologyAnswer> {
        let (sender, reply) = oneshot::channel();
        let sent = self.inbox.try_send(Message::Topology(call, sender));
        async move {
            let stopping = || TopologyAnswer::Refused("the replica is busy or stopping".into());
            if sent { reply.await.unwrap_or_else(|_| stopping()) } else { stopping() }
        }
        .boxed()
    }

    /// The last observation of the replica.
    pub(super) fn observed(&self) -> Observed {
        self.observed.read().clone()
    }

    /// Status of the Kafka threads.
    pub(super) fn kafka(&self) -> &kafka::Status {
        &self.kafka
    }

    /// Stops the engine thread.
    pub fn stop(&self) {
        let _ = self.inbox.0.send(Message::Stop);
    }

    /// Executes one client request.
    pub fn execute(&self, request: Request) -> BoxFuture<'static, Reply> {
        let (sender, reply) = oneshot::channel();
        let (timeout, changes) = (request.timeout, request.body.changes());
        let region = self.observed.read().region();
        let ticket = self.tickets.fetch_add(1, Ordering::Relaxed);
        let sent = self.inbox.try_send(Message::Request(ticket, request, sender));
        let waiting = PendingReply { ticket, inbox: self.inbox.clone(), answered: !sent };
        async move {
            // Move the whole value into the future: it must live as long as the future.
            let mut waiting = waiting;
            let refuse = |refusal| Reply { body: Err(refusal), freshness: unknown_freshness(region.clone()) };
            if !sent {
                return refuse(Refusal::Overloaded("the event queue of this pod is full".into()));
            }
            // The machine answers before the timeout; this is the safety net.
            let reply = tokio::time::timeout(timeout + Duration::from_secs(1), reply).await;
            waiting.answered = reply.is_ok();
            match reply {
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

pub(super) fn unknown_freshness(served_region: meridian_model::RegionName) -> Freshness {
    Freshness {
        staleness: Duration::MAX,
        served_region,
        token: meridian_model::VersionVector::default(),
        stale: false,
        outcome: Outcome::Failed,
    }
}

/// Resources of the engine thread.
pub struct Engine {
    /// The replica's folder, to measure free space.
    pub disk: RealDisk,
    /// Configured memory limit of the process, in bytes.
    pub memory_limit: Option<u64>,
    /// The write-ahead log.
    pub log: LogVolume<RealDisk>,
    /// The snapshots.
    pub snapshots: SnapshotVolume<RealDisk>,
    /// The replica machine.
    pub replica: Replica,
    /// The peer network.
    pub hub: Hub,
    /// Metrics.
    pub metrics: Arc<Metrics>,
    /// Tick interval.
    pub tick: Duration,
    /// Number of search threads.
    pub search_threads: usize,
    /// Kafka configuration.
    pub kafka: kafka::KafkaConfig,
    /// Resolved when leadership is transferred after [`Event::Drain`].
    pub drained: oneshot::Sender<()>,
    /// Resolved after [`Event::Finish`] when the process may exit.
    pub finished: oneshot::Sender<Finished>,
}

/// Work left for the next process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Finished {
    /// Log entries that the next start replays.
    pub entries_behind: u64,
    /// Whether a final snapshot timed out.
    pub is_abandoned: bool,
}

impl Engine {
    /// Starts all threads.
    ///
    /// # Errors
    /// When a thread cannot be spawned.
    pub fn start(self) -> std::io::Result<Handle> {
        let (sender, messages) = sync_channel(INBOX_CAPACITY);
        let inbox = Inbox(sender);
        let observed = Arc::new(parking_lot::RwLock::new(observe(&self.replica)));
        let heartbeat = Arc::new(Heartbeat::new());
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
            heartbeat: Arc::clone(&heartbeat),
            kafka: Arc::clone(&status),
            read_admission: searches.read_admission(),
            tickets: Arc::default(),
        };
        let kafka = kafka::KafkaThreads::start(&self.kafka, &handle, status)?;
        let (log_jobs, log_queue) = channel();
        let (snapshot_jobs, snapshot_queue) = channel();
        let measured = MeasuredResources { disk: self.disk, memory_limit: self.memory_limit };
        let (log, metrics, log_inbox) = (self.log, Arc::clone(&self.metrics), inbox.clone());
        thread("log", move || {
            if let Err(error) = log_thread::run(&measured, log, &log_queue, &log_inbox, &metrics) {
                // The content of the disk is unknown now; only recovery from the disk is safe.
                tracing::error!(error = %anyhow::Error::new(error), "log write failed; the process exits");
                std::process::exit(70);
            }
        })?;
        let (snapshots, snapshot_inbox) = (self.snapshots, inbox);
        thread("snapshots", move || snapshot_thread::run(snapshots, &snapshot_queue, &snapshot_inbox))?;
        let mut turn = EngineLoop {
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
            rejected_reads: VecDeque::new(),
            heartbeat,
        };
        let tick = self.tick;
        thread("engine", move || turn.run(&messages, tick))?;
        Ok(handle)
    }
}

/// After each piece of graph work the engine sleeps this many times its duration, for other processes of the machine.
const YIELD_RATIO: u32 = 3;

/// Delay before graph work that a running search blocks is retried: about one slow search.
const BACKGROUND_RETRY_DELAY: Duration = Duration::from_millis(5);

/// State of the engine thread.
struct EngineLoop {
    replica: Replica,
    hub: Hub,
    metrics: Arc<Metrics>,
    log: Sender<LogJob>,
    snapshots: Sender<Command>,
    searches: SearchThreads,
    kafka: kafka::KafkaThreads,
    observed: Arc<parking_lot::RwLock<Observed>>,
    replies: HashMap<u64, oneshot::Sender<Reply>>,
    answers: HashMap<u64, oneshot::Sender<TopologyAnswer>>,
    ticket: u64,
    drained: Option<oneshot::Sender<()>>,
    finished: Option<oneshot::Sender<Finished>>,
    /// Reads that the search threads refused, delivered to the machine next.
    rejected_reads: VecDeque<Event>,
    heartbeat: Arc<Heartbeat>,
}

impl EngineLoop {
    fn run(&mut self, messages: &Receiver<Message>, tick: Duration) {
        let mut random = rand::rng();
        let mut next_tick = Instant::now();
        let mut next_observation = Instant::now();
        let mut next_work = Some(Instant::now());
        loop {
            let now = Instant::now();
            if now >= next_tick {
                self.heartbeat.beat();
                next_tick = (next_tick + tick).max(now);
                self.step(Event::Tick { random: random.random() });
                if now >= next_observation {
                    next_observation = now + OBSERVE_EVERY;
                    let observed = observe(&self.replica);
                    observed.update_metrics(&self.metrics, self.kafka.status());
                    let state = self.replica.state();
                    self.metrics.keep_collections(|name| {
                        CollectionName::new(name).is_ok_and(|name| state.collection(&name).is_some())
                    });
                    let before = std::mem::replace(&mut *self.observed.write(), observed);
                    self.observed.read().log_leadership_change(&before);
                    self.observed.read().log_clock_change(&before);
                    self.observed.read().log_memory_change(&before);
                }
            }
            // Background graph work runs only while the inbox is empty.
            let wake = next_work.map_or(next_tick, |work| work.min(next_tick));
            match messages.recv_timeout(wake.saturating_duration_since(Instant::now())) {
                Ok(Message::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                Ok(message) => {
                    self.handle(message);
                    next_work.get_or_insert_with(Instant::now);
                }
                Err(RecvTimeoutError::Timeout) if next_work.is_some_and(|work| Instant::now() >= work) => {
                    next_work = self.work_in_background();
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    /// Does one piece of graph work; returns when to do the next, if any is left.
    ///
    /// The replicas of a shard fill their buffers at the same time. Replicas on one machine would occupy all its
    /// processors at once, hence the pauses.
    fn work_in_background(&mut self) -> Option<Instant> {
        let begun = Instant::now();
        let backlog = self.replica.idle();
        let now = Instant::now();
        match backlog {
            Backlog::None => None,
            Backlog::Waiting => Some(now + BACKGROUND_RETRY_DELAY),
            Backlog::Short => Some(now + (now - begun) * YIELD_RATIO),
            Backlog::Long => Some(now),
        }
    }

    fn handle(&mut self, message: Message) {
        match message {
            Message::Event(event) => self.step(event),
            Message::Request(ticket, request, sender) => {
                self.replies.insert(ticket, sender);
                self.step(Event::Client { ticket, request });
            }
            Message::ClientGone(ticket) => {
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
                self.perform(command);
            }
            next = self.rejected_reads.pop_front();
        }
    }

    fn perform(&mut self, command: Command) {
        match command {
            // The log thread ends only with the process.
            Command::Persist { number, records } => drop(self.log.send(LogJob::Persist { number, records })),
            Command::Release { before, shrink } => drop(self.log.send(LogJob::Release { before, shrink })),
            Command::HandedOver { to, cause } => {
                let why = match cause {
                    HandOverCause::DiskFull => "disk full",
                    HandOverCause::MemoryShort => "memory short for a snapshot",
                    HandOverCause::FsyncHangs => "fsync hangs",
                };
                tracing::warn!(%to, why, "transferring leadership");
            }
            Command::Send(to, message) => self.hub.send(to, message),
            Command::SendRegion(kafka::PUBLISHER, message) => {
                if let RegionMessage::Answer(call, RegionAnswer::Tail(answer)) = message {
                    self.kafka.tail_answer(call, answer);
                }
            }
            Command::SendRegion(to, message) => self.hub.send_region(&to, message),
            Command::Dial(_, address) => self.hub.dial(&address),
            Command::Merged { origin, committed_at } => {
                self.metrics.merged(&origin, &committed_at, Hlc::at(clocks().wall_millis()))
            }
            Command::Traced(traced) => traced.iter().for_each(log_remote_apply),
            Command::Reply { ticket, reply } => {
                if let Some(sender) = self.replies.remove(&ticket) {
                    // The client may have disconnected.
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
                    self.rejected_reads.push_back(Event::ReadRefused { job, why });
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
                tracing::error!(%origin, ?at, ?seq, fault, "a record of a followed log is invalid");
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

/// Logs the remote apply of a traced write, under its trace id.
fn log_remote_apply(traced: &meridian_replica::Traced) {
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

//! The world of a run: pods, scheduled events, and the execution of the machines' commands.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::time::Duration;

use meridian_model::{RegionName, ReplicaId, ShardNumber};
use meridian_plan::ValidLink;
use meridian_proto::frame::PeerMessage;
use meridian_proto::topology::{Genesis, Identity};
use meridian_replica::{Command, DiskReserve, Event, Peer, ReadWhat, Replica, Settings, execute};
use meridian_shard::Entry;
use meridian_store::{CommitError, SimDisk};
use meridian_volume::lifecycle::Event as PodEvent;
use meridian_volume::{
    Assignment, Damage, Decision, Lifecycle, Retired, VolumeError, initialize_volume, inspect_volume, open_volume,
};

use crate::broker::{Broker, BrokerEvent};
use crate::clients::Clients;
use crate::clock::{Clock, MILLI, Micros, SECOND};
use crate::committed_log::{CommittedLog, Group};
use crate::divergence::Divergences;
use crate::faults::{FaultEnd, Faults};
use crate::full_disks::{self, FullDisks};
use crate::history::History;
use crate::network::Network;
use crate::operator::Cluster;
use crate::pod::{Pod, Process};
use crate::queue::Queue;
use crate::report::{Counts, Report};
use crate::rng::Rng;
use crate::trace::Trace;
use crate::upgrade::{NEW, OLD, Upgrade, run_as};
use crate::{InjectedBug, Plan};

/// `clock_bound` of the machines.
pub const CLOCK_BOUND: Duration = Duration::from_millis(10);
/// Entries between two state checksums: a few checksums per second.
pub const CHECKSUM_EVERY: NonZeroU64 = NonZeroU64::new(48).expect("is not zero");
/// Log segment size: holds the largest batch, and fills within seconds.
pub const SEGMENT_BYTES: u64 = 64 << 10;
/// Tick interval.
const TICK: Micros = 20 * MILLI;
/// Minimum duration of load and faults.
const MIN_LOAD_TIME: Micros = 18 * SECOND;
/// Minimum number of client operations per run.
pub const OPERATIONS: u64 = 2_000;
/// Minimum number of faults per run.
pub const FAULTS: u64 = 20;
/// Time within which the regions must converge after the last fault.
const CONVERGENCE_TIMEOUT: Micros = 40 * SECOND;
/// Interval between two checks of invariants.
const CHECK_INTERVAL: Micros = 100 * MILLI;
/// Reads refused as overload, per mille.
const REFUSED_PER_MILLE: u64 = 10;

/// Scheduled events.
pub enum SimEvent {
    /// A tick of a pod's machine.
    Tick { pod: usize, incarnation: u64 },
    /// An event for a machine.
    Deliver { pod: usize, incarnation: u64, event: Event },
    /// A frame arrives from a pod of the same region.
    Frame { from: usize, from_incarnation: u64, to: usize, to_incarnation: u64, bytes: Vec<u8> },
    /// A frame arrives on a connection between regions.
    RegionFrame { connection: u64, to_dialer: bool, bytes: Vec<u8> },
    /// The disk of a pod commits its queue.
    Sync { pod: usize, incarnation: u64 },
    /// A search thread executes a read.
    Read { pod: usize, incarnation: u64, job: u64, what: ReadWhat },
    /// The snapshot thread performs a command.
    Snapshot { pod: usize, incarnation: u64, command: Command },
    /// The process of a pod starts.
    Start { pod: usize },
    /// The operators reconcile, and invariants are checked.
    Check,
    /// An event of the broker.
    Broker(BrokerEvent),
    /// The next fault begins.
    Fault,
    /// A fault ends.
    EndFault(FaultEnd),
    /// A client wakes.
    Client { client: usize, turn: u64 },
}

/// State of a run.
pub struct World {
    pub seed: u64,
    pub plan: Plan,
    pub now: Micros,
    pub queue: Queue<SimEvent>,
    pub rng: Rng,
    pub pods: Vec<Pod>,
    pub regions: Vec<RegionName>,
    pub shards: Vec<u16>,
    pub primary: usize,
    /// The cluster resource of each region.
    pub clusters: Vec<Cluster>,
    /// Current links of the secondary region.
    pub links: Vec<ValidLink>,
    pub network: Network,
    pub broker: Broker,
    pub clients: Clients,
    pub history: History,
    pub committed: CommittedLog,
    pub faults: Faults,
    pub divergences: Divergences,
    pub full_disks: FullDisks,
    /// The change of all pods to the next release, in runs that have one.
    pub upgrade: Option<Upgrade>,
    pub counts: Counts,
    pub violations: Vec<String>,
    pub leaders: BTreeMap<(Group, u64), u64>,
    pub faults_stopped: bool,
    /// Smallest and largest wall clock error so far, in microseconds.
    pub clock_errors: (i64, i64),
    trace: u64,
    /// Hash of events and commands, if the plan requests it.
    hashed: Option<Trace>,
    incarnations: u64,
}

impl World {
    pub fn new(seed: u64, plan: Plan) -> Self {
        let mut rng = Rng::new(seed);
        let regions = ["us-east", "eu-west"].map(|name| RegionName::new(name).expect("a good name")).to_vec();
        let primary = usize::try_from(seed % 2).unwrap_or_default();
        // One seed in three replicates through a broker.
        let kafka = seed % 3 == 1;
        let mut world = Self {
            seed,
            plan,
            now: 0,
            queue: Queue::new(),
            network: Network::new(&mut rng),
            broker: Broker::new(kafka),
            rng,
            pods: Vec::new(),
            regions,
            shards: vec![1, 2],
            primary,
            clusters: Vec::new(),
            links: Vec::new(),
            clients: Clients::new(),
            history: History::default(),
            committed: CommittedLog::default(),
            faults: Faults::new(seed, plan.injected_bug),
            divergences: Divergences::default(),
            full_disks: FullDisks::default(),
            upgrade: Upgrade::new(seed, plan),
            counts: Counts::default(),
            violations: Vec::new(),
            leaders: BTreeMap::new(),
            faults_stopped: false,
            clock_errors: (0, 0),
            trace: 0xcbf2_9ce4_8422_2325,
            hashed: plan.hash.then(Trace::new),
            incarnations: 0,
        };
        world.create();
        world.links = vec![world.link(false)];
        world
    }

    /// Creates the clusters of all regions; pods start with blank volumes.
    fn create(&mut self) {
        // Clocks stay within the bound in three of four seeds.
        let spread = if self.faults.wild_clocks { 80_000 } else { 4_500 };
        for region in 0..self.regions.len() {
            self.clusters.push(Cluster::new(&self.regions, region, self.shards[region], self.primary));
            for (shard, replicas) in self.clusters[region].sets.clone() {
                for ordinal in 0..replicas {
                    let pod = self.add_pod(region, shard, ordinal, spread);
                    self.start_at(pod, 0);
                }
            }
        }
        self.queue.push(50 * MILLI, SimEvent::Check);
        self.queue.push(SECOND, SimEvent::Fault);
        self.start_clients();
    }

    pub fn genesis(&self, region: usize, shard: ShardNumber) -> Genesis {
        self.clusters[region].spec.genesis(shard)
    }

    pub fn add_pod(&mut self, region: usize, shard: ShardNumber, ordinal: u16, spread_us: i64) -> usize {
        let spread = u64::try_from(spread_us).unwrap_or_default();
        let offset = i64::try_from(self.rng.between(0, 2 * spread)).unwrap_or_default() - spread_us;
        let drift = i64::try_from(self.rng.between(0, 10)).unwrap_or_default() - 5;
        let lifecycle = Lifecycle::new(self.assignment(region, shard));
        let address = self.clusters[region].spec.peer_address(shard, ordinal);
        self.pods.push(Pod {
            region,
            shard,
            ordinal,
            address,
            disk: SimDisk::new(),
            clock: Clock::new(offset, drift),
            identity: None,
            incarnation: 0,
            image: self.upgrade.as_ref().map_or(OLD, Upgrade::image_of_new_pods),
            process: None,
            wanted: true,
            lifecycle,
            retired: None,
            tampered: false,
            starting: false,
            paused_until: 0,
            sync_us: 150,
            recent: std::collections::VecDeque::new(),
        });
        self.pods.len() - 1
    }

    fn assignment(&self, region: usize, shard: ShardNumber) -> Assignment {
        let Genesis { cluster, region: name, shard, shards, .. } = self.genesis(region, shard);
        let group = self.clusters[region].spec.group.as_ref().map(|group| group.name.clone());
        Assignment { cluster, region: name, shard, shards, group }
    }

    /// Moves the folder of a retired replica aside and schedules a new process.
    pub fn retire(&mut self, pod: usize, replica: ReplicaId) {
        self.log(|| format!("pod {pod} retires replica {replica}"));
        self.pods[pod].lifecycle.handle(PodEvent::MovedAside);
        self.stop(pod, false, None);
        let held = &mut self.pods[pod];
        held.disk.wipe();
        (held.identity, held.retired) = (None, Some(replica));
        let after = self.rng.between(50, 500) * MILLI;
        self.start_at(pod, self.now + after);
    }

    /// Resets the lifecycle to that of a blank volume.
    pub fn forget_volume(&mut self, pod: usize) {
        self.pods[pod].lifecycle = Lifecycle::new(self.assignment(self.pods[pod].region, self.pods[pod].shard));
    }

    /// Initializes a pod's volume for a replica and starts it.
    pub fn initialize(&mut self, pod: usize, identity: Identity) {
        let held = &mut self.pods[pod];
        held.disk.wipe();
        held.disk.limit(u64::MAX);
        held.identity = Some(identity.clone());
        held.tampered = false;
        held.recent.clear();
        if let Err(error) = initialize_volume(&held.disk, &identity, SEGMENT_BYTES) {
            self.violation(format!("initialization of {pod}: {error}"));
        }
        self.start_at(pod, self.now);
    }

    pub fn start_at(&mut self, pod: usize, at: Micros) {
        if !self.pods[pod].starting {
            self.pods[pod].starting = true;
            self.queue.push(at, SimEvent::Start { pod });
        }
    }

    pub fn settings(&self, region: usize) -> Settings {
        Settings {
            other_regions: vec![self.regions[1 - region].clone()],
            clock_bound: CLOCK_BOUND,
            snapshot_every: 150,
            snapshot_log_bytes: 24_000..=40_000,
            log_kept: 60,
            log_kept_bytes: 12_000,
            tick: Duration::from_micros(TICK),
            disk_reserve: DiskReserve { log_bytes: 4 * SEGMENT_BYTES, last_bytes: 2 * SEGMENT_BYTES },
            checksum_every: CHECKSUM_EVERY,
            checksum_idle: Duration::from_secs(3),
            // A few points per page, so that a seed takes several pages while clients continue.
            seed_page_bytes: 1_000,
            reconcile_every: Duration::from_secs(1),
            // A delete by filter takes several pages.
            match_page: 3,
            injected_bug: self.plan.injected_bug,
            ..Settings::default()
        }
    }

    pub fn violation(&mut self, what: String) {
        self.log(|| format!("VIOLATION {what}"));
        let at = self.now / MILLI;
        self.violations.push(format!("at {at} ms: {what}"));
    }

    pub fn log(&self, what: impl FnOnce() -> String) {
        if self.plan.verbose {
            println!("{:>10.3} {}", self.now as f64 / 1000.0, what());
        }
    }

    pub fn trace(&mut self, what: u64) {
        self.trace = (self.trace ^ what ^ self.now.rotate_left(20)).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(5);
    }

    /// Runs until the end or the first violation.
    pub fn run(mut self) -> Report {
        // Oracles read all that any release writes.
        let _newest = self.upgrade.as_ref().map(|_| run_as(NEW));
        let mut stopped_since = None;
        while let Some((at, what)) = self.queue.pop() {
            self.now = at;
            self.counts.events += 1;
            self.handle(what);
            if !self.committed.violations.is_empty() {
                let violations = std::mem::take(&mut self.committed.violations);
                violations.into_iter().for_each(|violation| self.violation(violation));
            }
            if !self.violations.is_empty() {
                break;
            }
            match stopped_since {
                None if self.is_loaded() => {
                    stopped_since = Some(self.now);
                    self.stop_faults();
                }
                Some(since) if self.now >= since + CONVERGENCE_TIMEOUT => {
                    let why = self.first_difference().unwrap_or_default();
                    self.log(|| self.describe());
                    self.violation(format!(
                        "not converged {} s after the last fault: {why}",
                        CONVERGENCE_TIMEOUT / SECOND
                    ));
                }
                Some(_) if self.has_converged() => break,
                _ => {}
            }
        }
        self.finish()
    }

    fn is_loaded(&self) -> bool {
        if self.plan.full_disks > 0 {
            return self.now >= full_disks::END;
        }
        self.upgrade.as_ref().is_none_or(Upgrade::is_done)
            && self.now >= MIN_LOAD_TIME
            && self.clients.begun >= OPERATIONS
            && self.counts.faults >= FAULTS
    }

    fn finish(mut self) -> Report {
        if self.violations.is_empty() {
            self.check_final_state();
        }
        for pod in 0..self.pods.len() {
            self.count(pod);
        }
        (self.counts.conditional_deletes, self.counts.conditional_idle) = self.committed.conditional;
        self.counts.operations = self.clients.begun;
        self.counts.simulated_ms = self.now / MILLI;
        let hash = self.hashed.map(|trace| trace.finish());
        Report { seed: self.seed, counts: self.counts, trace: self.trace, hash, violations: self.violations }
    }

    fn handle(&mut self, what: SimEvent) {
        // Events for a paused pod are delayed, in order.
        let receiver = match &what {
            SimEvent::Tick { pod, .. }
            | SimEvent::Deliver { pod, .. }
            | SimEvent::Sync { pod, .. }
            | SimEvent::Read { pod, .. }
            | SimEvent::Snapshot { pod, .. } => Some(*pod),
            SimEvent::Frame { to, .. } => Some(*to),
            SimEvent::RegionFrame { connection, to_dialer, .. } => self.network.pod_at(*connection, *to_dialer),
            SimEvent::Broker(what) => what.pod(),
            _ => None,
        };
        if let Some(until) = receiver.map(|pod| self.pods[pod].paused_until).filter(|until| *until > self.now) {
            return self.queue.push(until, what);
        }
        match what {
            SimEvent::Tick { pod, incarnation }
                if self.pods[pod].incarnation == incarnation && self.pods[pod].is_up() =>
            {
                self.queue.push(self.now + TICK, SimEvent::Tick { pod, incarnation });
                let random = self.rng.next();
                self.step(pod, Event::Tick { random });
                if self.rng.per_mille(100) {
                    self.measure(pod);
                }
                if self.rng.per_mille(200)
                    && let Some(process) = &mut self.pods[pod].process
                {
                    let _release = run_as(process.knows);
                    for _ in 0..4 {
                        process.replica.idle();
                    }
                }
            }
            SimEvent::Deliver { pod, incarnation, event } if self.pods[pod].incarnation == incarnation => {
                self.step(pod, event)
            }
            SimEvent::Frame { from, from_incarnation, to, to_incarnation, bytes } => {
                self.frame(from, from_incarnation, to, to_incarnation, &bytes)
            }
            SimEvent::RegionFrame { connection, to_dialer, bytes } => self.region_frame(connection, to_dialer, &bytes),
            SimEvent::Sync { pod, incarnation } if self.pods[pod].incarnation == incarnation => self.sync(pod),
            SimEvent::Read { pod, incarnation, job, what } if self.pods[pod].incarnation == incarnation => {
                let Some(process) = &self.pods[pod].process else { return };
                let release = run_as(process.knows);
                let Some(result) = execute(&process.replica.views().newest(), &what, &|| false) else { return };
                drop(release);
                self.step(pod, Event::ReadDone { job, result });
            }
            SimEvent::Snapshot { pod, incarnation, command } if self.pods[pod].incarnation == incarnation => {
                self.snapshot(pod, command)
            }
            SimEvent::Start { pod } => self.start(pod),
            SimEvent::Check => {
                self.queue.push(self.now + CHECK_INTERVAL, SimEvent::Check);
                self.reconcile_and_check();
                self.continue_upgrade();
                self.observe_disks();
            }
            SimEvent::Broker(what) => self.handle_broker_event(what),
            SimEvent::Fault => self.next_fault(),
            SimEvent::EndFault(healing) => self.end_fault(healing),
            SimEvent::Client { client, turn } => self.client_wakes(client, turn),
            _ => {}
        }
    }

    /// Steps a machine and performs its commands.
    pub fn step(&mut self, pod: usize, event: Event) {
        let now = self.pods[pod].clock.now(self.now);
        // Clock steps do not widen the tolerance: they must never make a stale answer look fresh.
        if !self.faults.clock_steps {
            let error = self.pods[pod].clock.error_us(self.now);
            self.clock_errors = (self.clock_errors.0.min(error), self.clock_errors.1.max(error));
        }
        let Some(process) = &mut self.pods[pod].process else { return };
        if let Some(trace) = &mut self.hashed {
            trace.event(self.now, pod, &event);
        }
        let commands = {
            let _release = run_as(process.knows);
            process.replica.step(now, event)
        };
        self.trace(((pod as u64) << 8) | commands.len() as u64);
        if let Some(trace) = &mut self.hashed {
            commands.iter().for_each(|command| trace.command(pod, command));
        }
        for command in commands {
            self.perform(pod, command);
        }
        self.record_applied_entries(pod);
        self.record_detection(pod);
    }

    fn record_applied_entries(&mut self, pod: usize) {
        let group = self.pods[pod].group();
        let Some(process) = &mut self.pods[pod].process else { return };
        let entries = process.newly_applied();
        if entries.is_empty() {
            return;
        }
        // Each delta is merged once: the version vector must move by the number of merged deltas, except for seeds and
        // snapshots.
        let (before, now) = (process.merged, process.merge_counts());
        process.merged = now;
        let is_mismatched = (now.0 - before.0) != now.1.saturating_sub(before.1) && now.2 == before.2;
        let seeds = |entry: &meridian_raft::Entry| matches!(Entry::decode(&entry.payload), Ok(Entry::Seed { .. }));
        if is_mismatched && !entries.iter().any(seeds) {
            self.violation(format!("pod {pod} did not merge each delta once: {before:?} became {now:?}"));
        }
        for entry in entries {
            self.committed.record_applied(group, &entry);
        }
    }

    fn perform(&mut self, pod: usize, command: Command) {
        let incarnation = self.pods[pod].incarnation;
        match command {
            Command::Persist { number, records } => self.persist(pod, number, records),
            Command::Release { before, shrink } => self.release(pod, before, shrink),
            Command::HandedOver { to, .. } => self.handed_over(pod, to),
            Command::Send(to, message) => {
                if let PeerMessage::Lead(lead) = &message {
                    self.leads(pod, lead.term.0);
                }
                self.send(pod, to, message);
            }
            Command::SendRegion(to, message) => {
                if !self.publisher_receives(pod, &to, &message) {
                    self.send_region(pod, &to, message);
                }
            }
            Command::Dial(..) => {}
            Command::Merged { .. } => {}
            Command::Traced(traced) => self.counts.traces_followed += traced.len() as u64,
            Command::TopologyReply { ticket, answer } => self.operator_receives(pod, ticket, &answer),
            Command::Reply { ticket, reply } => self.client_receives(ticket, reply),
            // Cancellation is ignored: the machine must tolerate results of cancelled reads.
            Command::CancelRead { .. } => {}
            Command::Read { job, .. } if self.rng.per_mille(REFUSED_PER_MILLE) => {
                let event = Event::ReadRefused { job, why: "too many reads wait".into() };
                self.queue.push(self.now, SimEvent::Deliver { pod, incarnation, event });
            }
            Command::Read { job, what, .. } => {
                let at = self.now + self.rng.between(20, 400);
                self.queue.push(at, SimEvent::Read { pod, incarnation, job, what });
            }
            command @ (Command::TakeSnapshot { .. }
            | Command::ReadChunk { .. }
            | Command::Install { .. }
            | Command::InstallChunk { .. }) => {
                let at = self.now + self.rng.between(MILLI, 8 * MILLI);
                self.queue.push(at, SimEvent::Snapshot { pod, incarnation, command });
            }
            Command::Leads(leads) => self.broker_leads(pod, leads),
            Command::Follow { call, origin, after, credit, .. } => self.broker_follow(pod, call, origin, after, credit),
            Command::FollowCredit { call, bytes } => self.broker_credit(pod, call, bytes),
            Command::Unfollow { call } => self.broker_unfollow(pod, call),
            Command::Poisoned { origin, poison } => self.log(|| format!("pod {pod}: {origin}: {poison:?}")),
            Command::OutOfService(reason) => self.out_of_service(pod, &reason),
            Command::Drained => {
                let within = Duration::from_millis(self.rng.between(0, 100));
                self.queue.push(self.now + 1, SimEvent::Deliver { pod, incarnation, event: Event::Finish { within } });
                // About half of the processes are killed before they finish, many during the final snapshot.
                let killed_at = self.now + self.rng.between(1, 30 * MILLI);
                let start_at = self.now + self.rng.between(100, 500) * MILLI;
                self.queue.push(killed_at, SimEvent::EndFault(FaultEnd::Stop { pod, incarnation, start_at }));
            }
            Command::Finished { .. } => self.counts.stops_finished += 1,
        }
    }

    fn release(&mut self, pod: usize, before: u64, shrink: bool) {
        let Some(process) = &mut self.pods[pod].process else { return };
        match process.log.release(before, shrink) {
            Ok(()) | Err(CommitError::Full { .. }) => {}
            Err(error) => {
                self.log(|| format!("pod {pod} stops: {error}"));
                let after = self.rng.between(50, 1500) * MILLI;
                // Deferred: the machine is inside a step.
                let incarnation = self.pods[pod].incarnation;
                self.queue.push(
                    self.now + 1,
                    SimEvent::EndFault(FaultEnd::Stop { pod, incarnation, start_at: self.now + after }),
                );
            }
        }
    }

    fn handed_over(&mut self, pod: usize, to: meridian_model::ReplicaId) {
        self.log(|| format!("pod {pod} transfers leadership to replica {to}: its disk is full"));
        self.counts.disk_hand_overs += 1;
        self.record_hand_over(pod);
    }

    pub fn measure(&mut self, pod: usize) {
        let held = &self.pods[pod];
        let Some(process) = &held.process else { return };
        if let Ok(free) = meridian_store::Disk::free_bytes(&held.disk) {
            let free = free.saturating_add(process.log.reusable_bytes());
            self.step(pod, Event::FreeBytes(free));
        }
    }

    fn out_of_service(&mut self, pod: usize, reason: &str) {
        self.log(|| format!("pod {pod} out of service: {reason}"));
        // Removal and retirement are legitimate. Any other reason means that data was lost.
        let is_over = reason.contains("removed from its group") || reason.contains("given up to become");
        let is_unknown = reason.contains("VersionUnknown");
        if is_unknown || (!is_over && !self.pods[pod].tampered) {
            self.violation(format!("pod {pod} went out of service: {reason}"));
        }
    }

    /// Election safety: at most one leader per term.
    pub fn leads(&mut self, pod: usize, term: u64) {
        let Some(node) = self.pods[pod].node() else { return };
        let group = self.pods[pod].group();
        let held = *self.leaders.entry((group, term)).or_insert(node.replica.0);
        if held != node.replica.0 {
            self.violation(format!("{group:?}: replicas {held} and {} are both leader in term {term}", node.replica));
        }
    }

    fn persist(&mut self, pod: usize, number: u64, records: Vec<Vec<u8>>) {
        let group = self.pods[pod].group();
        let held = &mut self.pods[pod];
        let (incarnation, sync_us) = (held.incarnation, held.sync_us);
        let Some(process) = &mut held.process else { return };
        for entry in process.record_written(&records) {
            self.committed.record_proposed(group, &entry, self.now);
        }
        for record in &records {
            held.recent.push_back(record.clone());
        }
        while held.recent.len() > 200 {
            held.recent.pop_front();
        }
        process.queue.push((number, records));
        if !process.syncing {
            process.syncing = true;
            let at = self.now + self.rng.between(sync_us, 3 * sync_us);
            self.queue.push(at, SimEvent::Sync { pod, incarnation });
        }
    }

    fn sync(&mut self, pod: usize) {
        let held = &mut self.pods[pod];
        let (incarnation, sync_us) = (held.incarnation, held.sync_us);
        let Some(process) = &mut held.process else { return };
        let batches = std::mem::take(&mut process.queue);
        match process.log.persist(&batches) {
            Ok(events) => {
                process.syncing = false;
                process.full = false;
                for event in events {
                    self.step(pod, event);
                }
                self.measure(pod);
                let same = self.pods[pod].incarnation == incarnation;
                if let Some(process) = &mut self.pods[pod].process
                    && same
                    && !process.queue.is_empty()
                    && !process.syncing
                {
                    process.syncing = true;
                    self.queue
                        .push(self.now + self.rng.between(sync_us, 3 * sync_us), SimEvent::Sync { pod, incarnation });
                }
            }
            Err(CommitError::Full { .. }) => {
                let was_full = std::mem::replace(&mut process.full, true);
                self.queue.push(self.now + 30 * MILLI, SimEvent::Sync { pod, incarnation });
                if !was_full {
                    self.counts.disks_filled += 1;
                    self.measure(pod);
                }
            }
            Err(error) => {
                let text = format!("pod {pod} stops: {error}");
                self.log(|| text);
                let after = self.rng.between(50, 1500) * MILLI;
                self.stop(pod, false, Some(after));
            }
        }
    }

    fn snapshot(&mut self, pod: usize, command: Command) {
        let incarnation = self.pods[pod].incarnation;
        let held = &mut self.pods[pod];
        let Some(process) = &mut held.process else { return };
        let event = {
            let _release = run_as(process.knows);
            process.snapshots.perform(command)
        };
        if held.disk.is_down() {
            let after = self.rng.between(50, 1500) * MILLI;
            return self.stop(pod, true, Some(after));
        }
        if let Ok(Some(event)) = event {
            self.queue.push(self.now + 50, SimEvent::Deliver { pod, incarnation, event });
        }
    }

    /// Adds the counters of a pod's process to those of the run.
    fn count(&mut self, pod: usize) {
        let Some(process) = &self.pods[pod].process else { return };
        let counters = process.replica.counters();
        let counts = &mut self.counts;
        counts.elections += counters.elections_won;
        counts.snapshots_taken += counters.snapshots_taken;
        counts.snapshot_installs += counters.snapshots_installed;
        counts.membership_changes += counters.membership_changes;
        counts.writes_repeated += counters.writes_repeated;
        counts.duplicates_dropped += counters.links.duplicates_dropped;
        counts.gaps_healed += counters.links.gaps_healed;
        counts.reseeds += counters.links.reseeds;
        counts.detours += counters.links.origin_fallbacks;
        counts.poisons_met += counters.links.poisons_met;
        counts.divergences_noticed += counters.checksums_differed;
        counts.vindications += counters.vindications;
        counts.heals += counters.heals;
        counts.collections_mended += counters.collections_mended;
        counts.clock_hand_overs += counters.clock_hand_overs;
        if counters.checksums_differed > 0 && !self.divergences.touched(self.pods[pod].group()) {
            self.violations.push(format!("pod {pod}: states of one group differ"));
        }
    }

    /// Ends the process of a pod, with or without a power loss.
    pub fn stop(&mut self, pod: usize, power: bool, start_after: Option<Micros>) {
        if self.pods[pod].is_up() {
            self.count(pod);
            self.counts.crashes += 1;
            self.log(|| format!("pod {pod} stops, power {power}"));
        }
        let down = self.pods[pod].disk.is_down();
        self.disconnect(pod);
        let held = &mut self.pods[pod];
        held.incarnation += 1;
        held.process = None;
        held.paused_until = 0;
        if power || down {
            let rng = &mut self.rng;
            held.disk.crash(&mut |n| rng.below(n));
        } else {
            held.disk.kill();
        }
        if let Some(after) = start_after {
            self.start_at(pod, self.now + after);
        }
    }

    fn start(&mut self, pod: usize) {
        self.pods[pod].starting = false;
        let held = &self.pods[pod];
        if held.is_up() || !held.wanted {
            return;
        }
        let disk = held.disk.clone();
        let settings = self.settings(held.region);
        let knows = held.image;
        let _release = run_as(knows);
        let retry_at = self.now + 150 * MILLI;
        let folder = match inspect_volume(&disk) {
            Ok(folder) => folder,
            Err(_) if disk.is_down() => {
                self.stop(pod, true, None);
                return self.start_at(pod, retry_at);
            }
            Err(_) => return self.start_at(pod, retry_at),
        };
        // Of this process; stored in the pod once it has decided something.
        let mut lifecycle = Lifecycle::new(self.assignment(self.pods[pod].region, self.pods[pod].shard));
        let name = |newest| Retired { newest: Some(newest), name: format!("retired-{newest}") };
        let retired = self.pods[pod].retired.map(name);
        let Decision::Run(identity) = lifecycle.handle(PodEvent::Inspected { folder, retired }) else {
            return self.wait_for_operator(pod, lifecycle);
        };
        let (log, snapshots, found) = match open_volume(&disk, &identity, SEGMENT_BYTES) {
            Ok(opened) => opened,
            Err(_) if disk.is_down() => {
                self.stop(pod, true, None);
                return self.start_at(pod, retry_at);
            }
            Err(error) if error.is_newer() => {
                lifecycle.handle(PodEvent::Newer(error.describe()));
                return self.wait_for_operator(pod, lifecycle);
            }
            Err(error) if error.is_damage() => {
                if self.plan.injected_bug == Some(InjectedBug::AcceptLogDamage) && self.truncate_as_torn(pod, &error) {
                    return self.start_at(pod, retry_at);
                }
                let reason = format!("{error}: {:?}", std::error::Error::source(&error).map(ToString::to_string));
                lifecycle.handle(PodEvent::Unusable(Damage { replica: Some(identity.replica), reason }));
                return self.wait_for_operator(pod, lifecycle);
            }
            Err(_) => return self.start_at(pod, retry_at),
        };
        if found.torn_bytes > 0 {
            self.counts.torn_tails += 1;
        }
        self.incarnations += 1;
        let now = self.pods[pod].clock.now(self.now);
        let records: Vec<Vec<u8>> = found.records.iter().map(|(_, record)| record.clone()).collect();
        let id = identity.replica;
        let replica = match Replica::restore(settings, identity, now, self.incarnations, found) {
            Ok(replica) => replica,
            Err(error) => {
                let reason = format!("{error}: {:?}", std::error::Error::source(&error).map(ToString::to_string));
                lifecycle.handle(PodEvent::Unusable(Damage { replica: Some(id), reason }));
                return self.wait_for_operator(pod, lifecycle);
            }
        };
        lifecycle.handle(PodEvent::Started(id));
        self.pods[pod].lifecycle = lifecycle;
        let applied = replica.state().applied().0;
        let mut process = Process {
            knows,
            replica,
            log,
            snapshots,
            queue: Vec::new(),
            syncing: false,
            full: false,
            entries: BTreeMap::new(),
            applied,
            merged: (0, 0, 0),
            region_connection: None,
        };
        process.merged = process.merge_counts();
        process.record_written(&records);
        self.pods[pod].incarnation += 1;
        self.pods[pod].process = Some(process);
        self.pods[pod].tampered = false;
        let incarnation = self.pods[pod].incarnation;
        let node = self.pods[pod].node();
        self.log(|| format!("pod {pod} starts as {node:?}, applied {applied}"));
        self.queue.push(self.now + self.rng.between(1, TICK), SimEvent::Tick { pod, incarnation });
        self.connect_all();
    }

    /// The volume of a pod is blank or damaged: the pod waits for the operator.
    fn wait_for_operator(&mut self, pod: usize, lifecycle: Lifecycle) {
        let state = format!("{:?}", lifecycle.state());
        self.pods[pod].lifecycle = lifecycle;
        self.log(|| format!("pod {pod} runs no replica: {state}"));
        if self.pods[pod].identity.is_none() {
            return;
        }
        if !self.pods[pod].tampered {
            self.violation(format!("pod {pod} cannot start with an undamaged disk: {state}"));
        }
        self.counts.damaged_logs += 1;
    }

    /// Injected bug: treats a damaged log as torn, with zeros from the damage on.
    fn truncate_as_torn(&mut self, pod: usize, error: &VolumeError) -> bool {
        use meridian_store::{Disk, DiskFile, OpenError};
        let VolumeError::Log(OpenError::Damaged { segment, offset, .. }) = error else { return false };
        let disk = &self.pods[pod].disk;
        let Ok(file) = disk.open(segment) else { return false };
        let Ok(bytes) = file.bytes() else { return false };
        let zeros = vec![0; usize::try_from(bytes - offset).unwrap_or_default()];
        let written = file.write_at(*offset, &zeros).and_then(|()| file.sync_data());
        written.is_ok() && disk.remove("log/mark").and_then(|()| disk.sync_dir("log")).is_ok()
    }

    /// The peer name of a region.
    pub fn region_peer(&self, region: usize) -> Peer {
        Peer::Region(self.regions[region].clone())
    }

    pub fn pods_of(&self, group: Group) -> Vec<usize> {
        (0..self.pods.len()).filter(|pod| self.pods[*pod].group() == group).collect()
    }

    pub fn groups(&self) -> Vec<Group> {
        let of = |region: usize| ShardNumber::all(self.shards[region]).map(move |shard| (region, shard));
        (0..self.regions.len()).flat_map(of).collect()
    }
}

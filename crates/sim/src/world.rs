//! The world of a run: pods, what is to happen, and what each command of a machine means here.

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

use crate::broker::{AtBroker, Broker};
use crate::clients::Clients;
use crate::clock::{Clock, MILLI, Micros, SECOND};
use crate::divergence::Divergences;
use crate::faults::{Faults, Healing};
use crate::full_disks::{self, FullDisks};
use crate::history::History;
use crate::ledger::{Group, Ledger};
use crate::network::Network;
use crate::operator::Cluster;
use crate::pod::{Pod, Process};
use crate::queue::Queue;
use crate::report::{Counts, Report};
use crate::rng::Rng;
use crate::{InjectedBug, Plan};

/// How far clocks may differ, as the machines are told.
pub const CLOCK_BOUND: Duration = Duration::from_millis(10);
/// Entries between two comparisons of states: a few in each second.
pub const CHECKSUM_EVERY: NonZeroU64 = NonZeroU64::new(48).expect("is not zero");
/// Length of a log segment: holds the largest batch, and is filled every few seconds.
pub const SEGMENT_BYTES: u64 = 64 << 10;
/// How often a machine is told that time passed.
const TICK: Micros = 20 * MILLI;
/// Faults end and clients stop when this is reached, and enough was done.
const LOAD: Micros = 18 * SECOND;
/// Operations of clients in a run, at least.
pub const OPERATIONS: u64 = 2_000;
/// Faults in a run, at least.
pub const FAULTS: u64 = 20;
/// What the regions may take to become equal once faults have stopped.
const CALM: Micros = 40 * SECOND;
/// Events between two looks at the invariants of all groups.
const LOOK: Micros = 100 * MILLI;
/// Of a thousand reads, those that a pod refuses because too many wait.
const REFUSED_PER_MILLE: u64 = 10;

/// Something that is to happen.
pub enum What {
    /// Time passes for a pod.
    Tick { pod: usize, life: u64 },
    /// An event reaches a machine.
    Hand { pod: usize, life: u64, event: Event },
    /// A frame reaches a pod of the same region.
    Frame { from: usize, from_life: u64, to: usize, to_life: u64, bytes: Vec<u8> },
    /// A frame reaches the other end of a connection between regions.
    RegionFrame { connection: u64, to_dialer: bool, bytes: Vec<u8> },
    /// The disk of a pod has time.
    Sync { pod: usize, life: u64 },
    /// A thread of a pod reads.
    Read { pod: usize, life: u64, job: u64, what: ReadWhat },
    /// A thread of a pod works on snapshots.
    Snapshot { pod: usize, life: u64, command: Command },
    /// A pod starts.
    Start { pod: usize },
    /// The operator takes a turn in each region, and the invariants are checked.
    Look,
    /// Something happens at the broker.
    Broker(AtBroker),
    /// The next fault.
    Fault,
    /// A fault ends.
    Heal(Healing),
    /// A client wakes.
    Client { client: usize, turn: u64 },
}

/// All of a run.
pub struct World {
    pub seed: u64,
    pub plan: Plan,
    pub now: Micros,
    pub queue: Queue<What>,
    pub rng: Rng,
    pub pods: Vec<Pod>,
    pub regions: Vec<RegionName>,
    pub shards: Vec<u16>,
    pub primary: usize,
    /// The regions as the API server holds them.
    pub clusters: Vec<Cluster>,
    /// The links of the following region, as they are just now.
    pub links: Vec<ValidLink>,
    pub network: Network,
    pub broker: Broker,
    pub clients: Clients,
    pub history: History,
    pub ledger: Ledger,
    pub faults: Faults,
    pub divergences: Divergences,
    pub full_disks: FullDisks,
    pub counts: Counts,
    pub violations: Vec<String>,
    pub leaders: BTreeMap<(Group, u64), u64>,
    pub calm: bool,
    /// The smallest and the largest error of any wall clock so far, in microseconds.
    pub clock_errors: (i64, i64),
    trace: u64,
    incarnations: u64,
}

impl World {
    pub fn new(seed: u64, plan: Plan) -> Self {
        let mut rng = Rng::new(seed);
        let regions = ["us-east", "eu-west"].map(|name| RegionName::new(name).expect("a good name")).to_vec();
        let primary = usize::try_from(seed % 2).unwrap_or_default();
        // One seed in three has a broker between the regions.
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
            ledger: Ledger::default(),
            faults: Faults::new(seed, plan.injected_bug),
            divergences: Divergences::default(),
            full_disks: FullDisks::default(),
            counts: Counts::default(),
            violations: Vec::new(),
            leaders: BTreeMap::new(),
            calm: false,
            clock_errors: (0, 0),
            trace: 0xcbf2_9ce4_8422_2325,
            incarnations: 0,
        };
        world.create();
        world.links = vec![world.link(false)];
        world
    }

    /// Creates the clusters of all regions, whose pods start with blank volumes.
    fn create(&mut self) {
        // Three seeds in four keep to the clock bound.
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
        self.queue.push(50 * MILLI, What::Look);
        self.queue.push(SECOND, What::Fault);
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
            life: 0,
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

    /// The folder of a replica that is given up is moved aside, and a new process starts.
    pub fn retire(&mut self, pod: usize, replica: ReplicaId) {
        self.log(|| format!("pod {pod} gives replica {replica} up"));
        self.pods[pod].lifecycle.handle(PodEvent::MovedAside);
        self.stop(pod, false, None);
        let held = &mut self.pods[pod];
        held.disk.wipe();
        (held.identity, held.retired) = (None, Some(replica));
        let after = self.rng.between(50, 500) * MILLI;
        self.start_at(pod, self.now + after);
    }

    /// The next decisions of a pod are those for a blank volume.
    pub fn forget_volume(&mut self, pod: usize) {
        self.pods[pod].lifecycle = Lifecycle::new(self.assignment(self.pods[pod].region, self.pods[pod].shard));
    }

    /// Makes a pod's disk a replica's, and starts it.
    pub fn initialize(&mut self, pod: usize, identity: Identity) {
        let held = &mut self.pods[pod];
        held.disk.wipe();
        held.disk.limit(u64::MAX);
        held.identity = Some(identity.clone());
        held.tampered = false;
        held.recent.clear();
        if let Err(fault) = initialize_volume(&held.disk, &identity, SEGMENT_BYTES) {
            self.violation(format!("initialization of {pod}: {fault}"));
        }
        self.start_at(pod, self.now);
    }

    pub fn start_at(&mut self, pod: usize, at: Micros) {
        if !self.pods[pod].starting {
            self.pods[pod].starting = true;
            self.queue.push(at, What::Start { pod });
        }
    }

    pub fn settings(&self) -> Settings {
        Settings {
            clock_bound: CLOCK_BOUND,
            snapshot_every: 150,
            snapshot_log_bytes: 24_000..=40_000,
            log_kept: 60,
            log_kept_bytes: 12_000,
            tick: Duration::from_micros(TICK),
            disk_reserve: DiskReserve { log_bytes: 4 * SEGMENT_BYTES, last_bytes: 2 * SEGMENT_BYTES },
            checksum_every: CHECKSUM_EVERY,
            checksum_idle: Duration::from_secs(3),
            // A few points: loading a shard anew takes several pages, and clients go on meanwhile.
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

    /// Runs to the end.
    pub fn run(mut self) -> Report {
        let mut calm_since = None;
        while let Some((at, what)) = self.queue.pop() {
            self.now = at;
            self.counts.events += 1;
            self.happen(what);
            if !self.ledger.faults.is_empty() {
                let faults = std::mem::take(&mut self.ledger.faults);
                faults.into_iter().for_each(|fault| self.violation(fault));
            }
            if !self.violations.is_empty() {
                break;
            }
            match calm_since {
                None if self.is_loaded() => {
                    calm_since = Some(self.now);
                    self.calm_down();
                }
                Some(since) if self.now >= since + CALM => {
                    let why = self.unequal().unwrap_or_default();
                    self.log(|| self.describe());
                    self.violation(format!("not quiet {} s after the last fault: {why}", CALM / SECOND));
                }
                Some(_) if self.is_quiet() => break,
                _ => {}
            }
        }
        self.finish()
    }

    fn is_loaded(&self) -> bool {
        if self.plan.full_disks > 0 {
            return self.now >= full_disks::END;
        }
        self.now >= LOAD && self.clients.begun >= OPERATIONS && self.counts.faults >= FAULTS
    }

    fn finish(mut self) -> Report {
        if self.violations.is_empty() {
            self.check_finally();
        }
        for pod in 0..self.pods.len() {
            self.count(pod);
        }
        (self.counts.conditional_deletes, self.counts.conditional_idle) = self.ledger.conditional;
        self.counts.operations = self.clients.begun;
        self.counts.simulated_ms = self.now / MILLI;
        Report { seed: self.seed, counts: self.counts, trace: self.trace, faults: self.violations }
    }

    fn happen(&mut self, what: What) {
        // What reaches a pod that is paused waits, in its order.
        let busy = match &what {
            What::Tick { pod, .. }
            | What::Hand { pod, .. }
            | What::Sync { pod, .. }
            | What::Read { pod, .. }
            | What::Snapshot { pod, .. } => Some(*pod),
            What::Frame { to, .. } => Some(*to),
            What::RegionFrame { connection, to_dialer, .. } => self.network.end(*connection, *to_dialer),
            What::Broker(what) => what.pod(),
            _ => None,
        };
        if let Some(until) = busy.map(|pod| self.pods[pod].paused_until).filter(|until| *until > self.now) {
            return self.queue.push(until, what);
        }
        match what {
            What::Tick { pod, life } if self.pods[pod].life == life && self.pods[pod].is_up() => {
                self.queue.push(self.now + TICK, What::Tick { pod, life });
                let random = self.rng.next();
                self.step(pod, Event::Tick { random });
                if self.rng.per_mille(100) {
                    self.measure(pod);
                }
                if self.rng.per_mille(200)
                    && let Some(process) = &mut self.pods[pod].process
                {
                    for _ in 0..4 {
                        process.replica.idle();
                    }
                }
            }
            What::Hand { pod, life, event } if self.pods[pod].life == life => self.step(pod, event),
            What::Frame { from, from_life, to, to_life, bytes } => self.frame(from, from_life, to, to_life, &bytes),
            What::RegionFrame { connection, to_dialer, bytes } => self.region_frame(connection, to_dialer, &bytes),
            What::Sync { pod, life } if self.pods[pod].life == life => self.sync(pod),
            What::Read { pod, life, job, what } if self.pods[pod].life == life => {
                let Some(process) = &self.pods[pod].process else { return };
                let Some(result) = execute(&process.replica.views().newest(), &what, &|| false) else { return };
                self.step(pod, Event::ReadDone { job, result });
            }
            What::Snapshot { pod, life, command } if self.pods[pod].life == life => self.snapshot(pod, command),
            What::Start { pod } => self.start(pod),
            What::Look => {
                self.queue.push(self.now + LOOK, What::Look);
                self.look();
                self.look_at_disks();
            }
            What::Broker(what) => self.at_broker(what),
            What::Fault => self.next_fault(),
            What::Heal(healing) => self.heal(healing),
            What::Client { client, turn } => self.client_wakes(client, turn),
            _ => {}
        }
    }

    /// Gives a machine an event and does what it wants done.
    pub fn step(&mut self, pod: usize, event: Event) {
        let now = self.pods[pod].clock.now(self.now);
        // A step of a clock must not make an answer look fresh: it excuses nothing.
        if !self.faults.clock_steps {
            let error = self.pods[pod].clock.error_us(self.now);
            self.clock_errors = (self.clock_errors.0.min(error), self.clock_errors.1.max(error));
        }
        let Some(process) = &mut self.pods[pod].process else { return };
        let commands = process.replica.step(now, event);
        self.trace(((pod as u64) << 8) | commands.len() as u64);
        for command in commands {
            self.obey(pod, command);
        }
        self.account(pod);
        self.note_divergence(pod);
    }

    fn account(&mut self, pod: usize) {
        let group = self.pods[pod].group();
        let Some(process) = &mut self.pods[pod].process else { return };
        let entries = process.newly_applied();
        if entries.is_empty() {
            return;
        }
        // Each delta once: what is merged moves the version vector by as much, but for a seed or a snapshot.
        let (before, now) = (process.merged, process.merged_now());
        process.merged = now;
        let doubled = (now.0 - before.0) != now.1.saturating_sub(before.1) && now.2 == before.2;
        let seeds = |entry: &meridian_raft::Entry| matches!(Entry::decode(&entry.payload), Ok(Entry::Seed { .. }));
        if doubled && !entries.iter().any(seeds) {
            self.violation(format!("pod {pod} merged deltas otherwise than once: {before:?} became {now:?}"));
        }
        for entry in entries {
            self.ledger.applied(group, &entry);
        }
    }

    fn obey(&mut self, pod: usize, command: Command) {
        let life = self.pods[pod].life;
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
                if !self.broker_hears(pod, &to, &message) {
                    self.send_region(pod, &to, message);
                }
            }
            Command::Dial(..) => {}
            Command::Merged { .. } => {}
            Command::Traced(traced) => self.counts.traces_followed += traced.len() as u64,
            Command::TopologyReply { ticket, answer } => self.answered(pod, ticket, &answer),
            Command::Reply { ticket, reply } => self.client_hears(ticket, reply),
            // What is cancelled is read anyway: the machine must take no harm from a word that comes too late.
            Command::CancelRead { .. } => {}
            Command::Read { job, .. } if self.rng.per_mille(REFUSED_PER_MILLE) => {
                let event = Event::ReadRefused { job, why: "too many reads wait".into() };
                self.queue.push(self.now, What::Hand { pod, life, event });
            }
            Command::Read { job, what, .. } => {
                let at = self.now + self.rng.between(20, 400);
                self.queue.push(at, What::Read { pod, life, job, what });
            }
            command @ (Command::TakeSnapshot { .. }
            | Command::ReadChunk { .. }
            | Command::Install { .. }
            | Command::InstallChunk { .. }) => {
                let at = self.now + self.rng.between(MILLI, 8 * MILLI);
                self.queue.push(at, What::Snapshot { pod, life, command });
            }
            Command::Leads(leads) => self.broker_leads(pod, leads),
            Command::Follow { call, origin, after, credit, .. } => self.broker_follow(pod, call, origin, after, credit),
            Command::FollowCredit { call, bytes } => self.broker_credit(pod, call, bytes),
            Command::Unfollow { call } => self.broker_unfollow(pod, call),
            Command::Poisoned { origin, poison } => self.log(|| format!("pod {pod}: {origin}: {poison:?}")),
            Command::OutOfService(reason) => self.out_of_service(pod, &reason),
            Command::Drained => {
                let within = Duration::from_millis(self.rng.between(0, 100));
                self.queue.push(self.now + 1, What::Hand { pod, life, event: Event::Finish { within } });
                // About half of them are killed before they have finished, many while they write their last snapshot.
                let killed_at = self.now + self.rng.between(1, 30 * MILLI);
                let start_at = self.now + self.rng.between(100, 500) * MILLI;
                self.queue.push(killed_at, What::Heal(Healing::Stop { pod, life, start_at }));
            }
            Command::Finished { .. } => self.counts.stops_finished += 1,
        }
    }

    fn release(&mut self, pod: usize, before: u64, shrink: bool) {
        let Some(process) = &mut self.pods[pod].process else { return };
        match process.log.release(before, shrink) {
            Ok(()) | Err(CommitError::Full { .. }) => {}
            Err(fault) => {
                self.log(|| format!("pod {pod} stops: {fault}"));
                let after = self.rng.between(50, 1500) * MILLI;
                // Not from within the step that commanded it.
                let life = self.pods[pod].life;
                self.queue.push(self.now + 1, What::Heal(Healing::Stop { pod, life, start_at: self.now + after }));
            }
        }
    }

    fn handed_over(&mut self, pod: usize, to: meridian_model::ReplicaId) {
        self.log(|| format!("pod {pod} hands over to replica {to}: its disk is full"));
        self.counts.disk_hand_overs += 1;
        self.handed_over_for_space(pod);
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
        // The operator removed it, or it was given up. Anything else means that something was lost that must not be.
        let is_over = reason.contains("removed from its group") || reason.contains("given up to become");
        if !is_over && !self.pods[pod].tampered {
            self.violation(format!("pod {pod} went out of service: {reason}"));
        }
    }

    /// At most one replica leads in a term.
    pub fn leads(&mut self, pod: usize, term: u64) {
        let Some(node) = self.pods[pod].node() else { return };
        let group = self.pods[pod].group();
        let held = *self.leaders.entry((group, term)).or_insert(node.replica.0);
        if held != node.replica.0 {
            self.violation(format!("{group:?}: replicas {held} and {} both lead term {term}", node.replica));
        }
    }

    fn persist(&mut self, pod: usize, number: u64, records: Vec<Vec<u8>>) {
        let group = self.pods[pod].group();
        let held = &mut self.pods[pod];
        let (life, sync_us) = (held.life, held.sync_us);
        let Some(process) = &mut held.process else { return };
        for entry in process.note(&records) {
            self.ledger.proposed(group, &entry, self.now);
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
            self.queue.push(at, What::Sync { pod, life });
        }
    }

    fn sync(&mut self, pod: usize) {
        let held = &mut self.pods[pod];
        let (life, sync_us) = (held.life, held.sync_us);
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
                let same = self.pods[pod].life == life;
                if let Some(process) = &mut self.pods[pod].process
                    && same
                    && !process.queue.is_empty()
                    && !process.syncing
                {
                    process.syncing = true;
                    self.queue.push(self.now + self.rng.between(sync_us, 3 * sync_us), What::Sync { pod, life });
                }
            }
            Err(CommitError::Full { .. }) => {
                let told = std::mem::replace(&mut process.full, true);
                self.queue.push(self.now + 30 * MILLI, What::Sync { pod, life });
                if !told {
                    self.counts.disks_filled += 1;
                    self.measure(pod);
                }
            }
            Err(fault) => {
                let text = format!("pod {pod} stops: {fault}");
                self.log(|| text);
                let after = self.rng.between(50, 1500) * MILLI;
                self.stop(pod, false, Some(after));
            }
        }
    }

    fn snapshot(&mut self, pod: usize, command: Command) {
        let life = self.pods[pod].life;
        let held = &mut self.pods[pod];
        let Some(process) = &mut held.process else { return };
        let event = process.snapshots.perform(command);
        if held.disk.is_down() {
            let after = self.rng.between(50, 1500) * MILLI;
            return self.stop(pod, true, Some(after));
        }
        if let Ok(Some(event)) = event {
            self.queue.push(self.now + 50, What::Hand { pod, life, event });
        }
    }

    /// Adds up what the process of a pod counted.
    fn count(&mut self, pod: usize) {
        let Some(process) = &self.pods[pod].process else { return };
        let counters = process.replica.counters();
        let counts = &mut self.counts;
        counts.elections += counters.elections_won;
        counts.snapshots_taken += counters.snapshots_taken;
        counts.snapshot_installs += counters.snapshots_installed;
        counts.membership_changes += counters.membership_changes;
        counts.writes_repeated += counters.writes_repeated;
        counts.duplicates_dropped += counters.duplicates_dropped;
        counts.gaps_healed += counters.gaps_healed;
        counts.reseeds += counters.reseeds;
        counts.detours += counters.detours;
        counts.poisons_met += counters.poisons_met;
        counts.divergences_noticed += counters.checksums_differed;
        counts.vindications += counters.vindications;
        counts.heals += counters.heals;
        counts.collections_mended += counters.collections_mended;
        counts.clock_hand_overs += counters.clock_hand_overs;
        if counters.checksums_differed > 0 && !self.divergences.touched(self.pods[pod].group()) {
            self.violations.push(format!("pod {pod}: states of one group differ"));
        }
    }

    /// Ends the process of a pod; by a loss of power, or by itself.
    pub fn stop(&mut self, pod: usize, power: bool, start_after: Option<Micros>) {
        if self.pods[pod].is_up() {
            self.count(pod);
            self.counts.crashes += 1;
            self.log(|| format!("pod {pod} stops, power {power}"));
        }
        let down = self.pods[pod].disk.is_down();
        self.disconnect(pod);
        let held = &mut self.pods[pod];
        held.life += 1;
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
        let settings = self.settings();
        let again = self.now + 150 * MILLI;
        let folder = match inspect_volume(&disk) {
            Ok(folder) => folder,
            Err(_) if disk.is_down() => {
                self.stop(pod, true, None);
                return self.start_at(pod, again);
            }
            Err(_) => return self.start_at(pod, again),
        };
        // Of this process: the pod keeps it once it has decided something.
        let mut lifecycle = Lifecycle::new(self.assignment(self.pods[pod].region, self.pods[pod].shard));
        let name = |newest| Retired { newest: Some(newest), name: format!("retired-{newest}") };
        let retired = self.pods[pod].retired.map(name);
        let Decision::Run(identity) = lifecycle.handle(PodEvent::Inspected { folder, retired }) else {
            return self.lost(pod, lifecycle);
        };
        let (log, snapshots, found) = match open_volume(&disk, &identity, SEGMENT_BYTES) {
            Ok(opened) => opened,
            Err(_) if disk.is_down() => {
                self.stop(pod, true, None);
                return self.start_at(pod, again);
            }
            Err(fault) if fault.is_newer() => {
                lifecycle.handle(PodEvent::Newer(fault.describe()));
                return self.lost(pod, lifecycle);
            }
            Err(fault) if fault.is_damage() => {
                if self.plan.injected_bug == Some(InjectedBug::AcceptLogDamage) && self.take_for_torn(pod, &fault) {
                    return self.start_at(pod, again);
                }
                let reason = format!("{fault}: {:?}", std::error::Error::source(&fault).map(ToString::to_string));
                lifecycle.handle(PodEvent::Unusable(Damage { replica: Some(identity.replica), reason }));
                return self.lost(pod, lifecycle);
            }
            Err(_) => return self.start_at(pod, again),
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
            Err(fault) => {
                let reason = format!("{fault}: {:?}", std::error::Error::source(&fault).map(ToString::to_string));
                lifecycle.handle(PodEvent::Unusable(Damage { replica: Some(id), reason }));
                return self.lost(pod, lifecycle);
            }
        };
        lifecycle.handle(PodEvent::Started(id));
        self.pods[pod].lifecycle = lifecycle;
        let applied = replica.state().applied().0;
        let mut process = Process {
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
        process.merged = process.merged_now();
        process.note(&records);
        self.pods[pod].life += 1;
        self.pods[pod].process = Some(process);
        self.pods[pod].tampered = false;
        let life = self.pods[pod].life;
        let node = self.pods[pod].node();
        self.log(|| format!("pod {pod} starts as {node:?}, applied {applied}"));
        self.queue.push(self.now + self.rng.between(1, TICK), What::Tick { pod, life });
        self.connect_all();
    }

    /// The volume of a pod is blank or damaged: the pod waits for the operator.
    fn lost(&mut self, pod: usize, lifecycle: Lifecycle) {
        let state = format!("{:?}", lifecycle.state());
        self.pods[pod].lifecycle = lifecycle;
        self.log(|| format!("pod {pod} runs no replica: {state}"));
        if self.pods[pod].identity.is_none() {
            return;
        }
        if !self.pods[pod].tampered {
            self.violation(format!("pod {pod} cannot start, though its disk was not touched: {state}"));
        }
        self.counts.damaged_logs += 1;
    }

    /// Takes a damaged log for a torn one: zeros from the damage on, and nothing behind it.
    fn take_for_torn(&mut self, pod: usize, fault: &VolumeError) -> bool {
        use meridian_store::{Disk, DiskFile, OpenError};
        let VolumeError::Log(OpenError::Damaged { segment, offset, .. }) = fault else { return false };
        let disk = &self.pods[pod].disk;
        let Ok(file) = disk.open(segment) else { return false };
        let Ok(bytes) = file.bytes() else { return false };
        let zeros = vec![0; usize::try_from(bytes - offset).unwrap_or_default()];
        let written = file.write_at(*offset, &zeros).and_then(|()| file.sync_data());
        written.is_ok() && disk.remove("log/mark").and_then(|()| disk.sync_dir("log")).is_ok()
    }

    /// The party at the other end as a machine of `region` calls it.
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

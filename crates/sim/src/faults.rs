//! Starts and ends faults.

use meridian_model::{ReplicaId, ShardNumber};
use meridian_proto::topology::TopologyCall;
use meridian_replica::Event;
use meridian_store::{Disk, DiskFile};

use crate::InjectedBug;
use crate::clock::{MILLI, Micros, SECOND};
use crate::fault::Fault;
use crate::network::{FrameFaults, NO_FRAME_FAULTS};
use crate::world::{SEGMENT_BYTES, SimEvent, World};

/// Deferred actions, mostly ends of faults.
#[derive(Debug, Clone)]
pub enum FaultEnd {
    /// Unblocks directions between pods.
    Unblock(Vec<(usize, usize)>),
    /// Unblocks directions between regions.
    Uncut(Vec<(usize, usize)>),
    /// The disk is fast again.
    NormalDisk(usize),
    /// The disk has space again.
    Space(usize),
    /// All disks of a full-disk run have space again.
    FullDisks,
    /// No frame faults.
    NormalNetwork,
    /// The link is running.
    Links,
    /// A drained pod stops.
    Stop { pod: usize, incarnation: u64, start_at: Micros },
    /// A replica retires (not the end of a fault).
    Retire { pod: usize, incarnation: u64, replica: ReplicaId },
    /// The clock has no error.
    RightClock(usize),
    /// A divergence waits for its moment (not the end of a fault).
    Diverge { pod: usize, attempts: u32 },
    /// The broker is up.
    Broker,
}

/// Fault parameters of a seed.
pub struct Faults {
    /// Clock errors may exceed the clock bound.
    pub wild_clocks: bool,
    /// Clocks of one or more pods step by 1 s to 1 day, and boot clocks may stand still.
    pub clock_steps: bool,
    /// End of the latest known fault.
    pub last_end: Micros,
}

impl Faults {
    pub fn new(seed: u64, injected_bug: Option<InjectedBug>) -> Self {
        let clock_steps = seed % 4 == 2
            || matches!(
                injected_bug,
                Some(InjectedBug::AgeByWall | InjectedBug::BelieveSteps | InjectedBug::ForgetStandstill)
            );
        Self { wild_clocks: seed % 4 == 3 && !clock_steps, clock_steps, last_end: 0 }
    }
}

impl World {
    /// Starts the next fault and schedules the one after it.
    pub fn next_fault(&mut self) {
        if self.faults_stopped {
            return;
        }
        if self.plan.full_disks > 0 {
            return self.fill_disks();
        }
        let place = match self.plan.injected_bug {
            // Bugs that need a rare fault get it more often.
            Some(InjectedBug::VoteAfterLogLoss) if self.rng.per_mille(400) => Fault::LoseVolume.place(),
            Some(InjectedBug::AcceptLogDamage) if self.rng.per_mille(400) => Fault::FlipLogBit.place(),
            Some(InjectedBug::AckBeforeFsync) if self.rng.per_mille(300) => Fault::ShardPowerLoss.place(),
            Some(InjectedBug::ServeDivergence) if self.rng.per_mille(400) => Fault::Diverge.place(),
            Some(InjectedBug::AgeByWall | InjectedBug::BelieveSteps | InjectedBug::ForgetStandstill)
                if self.rng.per_mille(600) =>
            {
                let faults = [Fault::SetClocks, Fault::SetClocks, Fault::Pause, Fault::PauseLink];
                self.rng.pick(&faults).expect("not empty").place()
            }
            // A leader that was paused while another was elected.
            Some(InjectedBug::StateUnproven) if self.rng.per_mille(700) => Fault::Pause.place(),
            _ if self.faults.clock_steps && self.rng.per_mille(250) => Fault::SetClocks.place(),
            _ => self.rng.below(Fault::places(self.broker.enabled)),
        };
        let duration = self.inject(Fault::at(place));
        self.trace(0xfa17 ^ (place << 16));
        if let Some(duration) = duration {
            self.counts.faults += 1;
            self.faults.last_end = self.faults.last_end.max(self.now + duration);
        }
        let next = self.now + self.rng.between(150, 800) * MILLI;
        self.queue.push(next, SimEvent::Fault);
    }

    fn up(&self) -> Vec<usize> {
        (0..self.pods.len()).filter(|pod| self.pods[*pod].is_up()).collect()
    }

    fn random_running_pod(&mut self) -> Option<usize> {
        let up = self.up();
        // Prefer leaders.
        if self.rng.per_mille(400) {
            let groups = self.groups();
            let group = *self.rng.pick(&groups)?;
            if let Some((pod, _)) = self.leader(group) {
                return Some(pod);
            }
        }
        self.rng.pick(&up).copied()
    }

    fn random_group(&mut self) -> (usize, ShardNumber) {
        let groups = self.groups();
        groups[self.rng.index(groups.len())]
    }

    /// Starts a fault; returns its duration, or `None` when it is not possible now.
    fn inject(&mut self, fault: Fault) -> Option<Micros> {
        self.log(|| format!("fault {fault:?}"));
        match fault {
            Fault::PowerLoss => {
                let pod = self.random_running_pod()?;
                let after = self.rng.between(100, 2500) * MILLI;
                self.stop(pod, true, Some(after));
                Some(after)
            }
            Fault::Kill => {
                let pod = self.random_running_pod()?;
                let after = self.rng.between(10, 1000) * MILLI;
                self.stop(pod, false, Some(after));
                Some(after)
            }
            Fault::CrashAtDiskOperation => {
                let pod = self.random_running_pod()?;
                let operations = self.rng.between(1, 60);
                self.pods[pod].disk.crash_at(operations);
                Some(2 * SECOND)
            }
            Fault::ShardPowerLoss => {
                let group = self.random_group();
                for pod in self.pods_of(group) {
                    if self.pods[pod].is_up() {
                        let after = self.rng.between(50, 1200) * MILLI;
                        self.stop(pod, true, Some(after));
                    }
                }
                Some(2 * SECOND)
            }
            Fault::Partition => self.partition(false),
            Fault::OneWayPartition => self.partition(true),
            Fault::CutRegions => self.cut_regions(),
            Fault::BreakConnection => {
                let open = self.network.open();
                let connection = *self.rng.pick(&open)?;
                self.break_connection(connection);
                Some(100 * MILLI)
            }
            Fault::SlowDisk => {
                let pod = self.random_running_pod()?;
                self.pods[pod].sync_us = self.rng.between(2, 80) * MILLI;
                let duration = self.rng.between(300, 3000) * MILLI;
                self.queue.push(self.now + duration, SimEvent::EndFault(FaultEnd::NormalDisk(pod)));
                Some(duration)
            }
            Fault::Pause => {
                let pod = self.random_running_pod()?;
                // Events for a paused pod are late by its pause, which must be shorter than a clock step.
                let most = if self.faults.clock_steps { 600 } else { 2500 };
                let duration = self.rng.between(50, most) * MILLI;
                self.pods[pod].paused_until = self.now + duration;
                if self.faults.clock_steps && self.rng.per_mille(500) {
                    self.pods[pod].clock.suspend(duration);
                }
                Some(duration)
            }
            Fault::SetClocks if self.faults.clock_steps => self.step_clocks(),
            Fault::SetClocks => self.set_clock(),
            Fault::LoseVolume => self.lose_volume(),
            Fault::FlipLogBit => self.flip_byte(),
            Fault::FillDisks => {
                let first = self.random_running_pod()?;
                let others = self.pods_of(self.pods[first].group()).into_iter().filter(|pod| *pod != first);
                let mut pods: Vec<usize> = std::iter::once(first).chain(others).collect();
                pods.truncate(1 + self.rng.index(3));
                let duration = self.rng.between(500, 4000) * MILLI;
                for pod in pods {
                    let used: u64 = self.pods[pod].disk.files().iter().map(|(_, bytes)| bytes).sum();
                    let free_bytes = if self.rng.per_mille(500) { 40_000 } else { 4 * SEGMENT_BYTES };
                    let free_bytes = self.rng.below(free_bytes);
                    self.pods[pod].disk.limit(used + free_bytes);
                    self.counts.disks_filled += 1;
                    self.queue.push(self.now + duration, SimEvent::EndFault(FaultEnd::Space(pod)));
                }
                Some(duration)
            }
            Fault::Scale => {
                let group = self.random_group();
                let is_healthy = |shard| self.is_whole((group.0, shard)) && self.has_no_divergence((group.0, shard));
                ShardNumber::all(self.shards[group.0]).all(is_healthy).then(|| self.scale(group.0))?;
                Some(SECOND)
            }
            Fault::TransferLeader => {
                let group = self.random_group();
                let (pod, status) = self.leader(group)?;
                let to = self.rng.pick(&status.voters)?.replica;
                let event = Event::Topology { ticket: 0, call: TopologyCall::TransferLeader { to } };
                let incarnation = self.pods[pod].incarnation;
                self.queue.push(self.now + 1, SimEvent::Deliver { pod, incarnation, event });
                Some(SECOND)
            }
            Fault::Drain => {
                let pod = self.random_running_pod()?;
                let incarnation = self.pods[pod].incarnation;
                self.queue.push(self.now + 1, SimEvent::Deliver { pod, incarnation, event: Event::Drain });
                Some(SECOND)
            }
            Fault::PauseLink => self.pause_link(false),
            Fault::DeleteLink => self.pause_link(true),
            Fault::FailDiskOperation => {
                let pod = self.random_running_pod()?;
                self.pods[pod].disk.fail_next(1, std::io::ErrorKind::Other);
                Some(SECOND)
            }
            Fault::Diverge => self.schedule_divergence(),
            Fault::Broker(fault) => self.break_broker(fault),
            Fault::BadNetwork => {
                let rng = &mut self.rng;
                self.network.frame_faults =
                    FrameFaults { lost: rng.below(60), duplicated: rng.below(60), late: rng.below(60) };
                let duration = self.rng.between(300, 3000) * MILLI;
                self.queue.push(self.now + duration, SimEvent::EndFault(FaultEnd::NormalNetwork));
                Some(duration)
            }
        }
    }

    /// Partitions a pod from the others of its region, in both or one direction.
    fn partition(&mut self, one_way: bool) -> Option<Micros> {
        let pod = self.random_running_pod()?;
        let region = self.pods[pod].region;
        let others: Vec<usize> =
            (0..self.pods.len()).filter(|other| *other != pod && self.pods[*other].region == region).collect();
        let out = others.iter().map(|other| (pod, *other));
        let back = others.iter().map(|other| (*other, pod));
        let directions: Vec<(usize, usize)> = match (one_way, self.rng.below(2)) {
            (false, _) => out.chain(back).collect(),
            (_, 0) => out.collect(),
            _ => back.collect(),
        };
        for (from, to) in &directions {
            self.network.block(*from, *to, true);
        }
        // Some networks drop packets silently, others reset connections.
        if self.rng.per_mille(500) {
            for (from, to) in &directions {
                self.break_peers(*from, *to);
            }
        }
        let duration = self.rng.between(100, 3000) * MILLI;
        self.queue.push(self.now + duration, SimEvent::EndFault(FaultEnd::Unblock(directions)));
        Some(duration)
    }

    fn cut_regions(&mut self) -> Option<Micros> {
        let directions = match self.rng.below(4) {
            0 => vec![(0, 1)],
            1 => vec![(1, 0)],
            _ => vec![(0, 1), (1, 0)],
        };
        for (from, to) in &directions {
            self.network.cut(*from, *to, true);
        }
        if self.rng.per_mille(500) {
            for connection in self.network.open() {
                self.break_connection(connection);
            }
        }
        let duration = self.rng.between(200, 4000) * MILLI;
        self.queue.push(self.now + duration, SimEvent::EndFault(FaultEnd::Uncut(directions)));
        Some(duration)
    }

    fn set_clock(&mut self) -> Option<Micros> {
        let pod = self.random_running_pod()?;
        let spread = if self.faults.wild_clocks { 700_000 } else { 4_500 };
        let error = i64::try_from(self.rng.between(0, 2 * spread)).ok()? - i64::try_from(spread).ok()?;
        let now = self.now;
        self.pods[pod].clock.set_error(now, error);
        if self.faults.wild_clocks {
            let duration = self.rng.between(500, 3000) * MILLI;
            self.queue.push(now + duration, SimEvent::EndFault(FaultEnd::RightClock(pod)));
            return Some(duration);
        }
        Some(100 * MILLI)
    }

    /// Steps the clocks of one pod, a majority of a group, a region or all pods by the same error, and resets them later.
    fn step_clocks(&mut self) -> Option<Micros> {
        let scope = self.rng.below(5);
        let pods: Vec<usize> = match scope {
            0 | 1 => vec![self.random_running_pod()?],
            2 => {
                let group = self.random_group();
                let all: Vec<usize> = self.pods_of(group).into_iter().filter(|pod| self.pods[*pod].wanted).collect();
                all[..all.len() / 2 + 1].to_vec()
            }
            3 => {
                let region = self.rng.index(self.regions.len());
                (0..self.pods.len()).filter(|pod| self.pods[*pod].region == region).collect()
            }
            _ => (0..self.pods.len()).collect(),
        };
        // Statements wait during a broker outage, which would hide a step of a few seconds.
        let seconds: &[u64] = if self.broker.enabled { &[60, 3_600, 86_400] } else { &[1, 3, 60, 3_600, 86_400] };
        let size = match scope {
            0 if self.rng.per_mille(500) => {
                let most = if self.rng.per_mille(500) { 80 } else { 450 };
                self.rng.between(25, most) * MILLI
            }
            _ => *self.rng.pick(seconds)? * SECOND,
        };
        let error = i64::try_from(size).ok()? * if self.rng.per_mille(500) { 1 } else { -1 };
        self.log(|| format!("clocks of {pods:?} step by {error} us"));
        self.counts.clock_steps += 1;
        let duration = self.rng.between(500, 4000) * MILLI;
        for pod in pods {
            let now = self.now;
            self.pods[pod].clock.set_error(now, error);
            self.queue.push(now + duration, SimEvent::EndFault(FaultEnd::RightClock(pod)));
        }
        Some(duration)
    }

    /// A pod whose group tolerates the loss of its disk.
    pub fn pick_expendable_pod(&mut self) -> Option<usize> {
        let group = self.random_group();
        if !self.is_whole(group) || !self.has_no_divergence(group) {
            return None;
        }
        let pods: Vec<usize> = self.pods_of(group).into_iter().filter(|pod| self.pods[*pod].is_up()).collect();
        self.rng.pick(&pods).copied()
    }

    fn lose_volume(&mut self) -> Option<Micros> {
        let pod = self.pick_expendable_pod()?;
        let after = self.rng.between(20, 800) * MILLI;
        self.stop(pod, true, Some(after));
        let disk = &self.pods[pod].disk;
        match self.rng.below(3) {
            0 => disk.remove("identity").and_then(|()| disk.sync_dir("")).ok()?,
            1 => disk.flip("identity", self.rng.below(60), 1 << self.rng.below(8)).ok()?,
            _ => {
                disk.wipe();
                self.pods[pod].retired = None;
            }
        }
        self.pods[pod].tampered = true;
        Some(3 * SECOND)
    }

    /// Flips a bit of a log record that was synced a while ago, so that later records prove it was.
    fn flip_byte(&mut self) -> Option<Micros> {
        let pod = self.pick_expendable_pod()?;
        let recent = &self.pods[pod].recent;
        let upto = recent.len().checked_sub(60)?;
        let record = recent.get(self.rng.index(upto))?.clone();
        let after = self.rng.between(20, 800) * MILLI;
        self.stop(pod, false, Some(after));
        let disk = self.pods[pod].disk.clone();
        for (path, bytes) in
            disk.files().into_iter().filter(|(path, _)| path.starts_with("log/seg") || path.starts_with("log/"))
        {
            let mut content = vec![0; usize::try_from(bytes).ok()?];
            let read = disk.open(&path).and_then(|file| file.read_at(0, &mut content));
            let found = content.windows(record.len()).position(|window| window == record.as_slice());
            if let (Ok(()), Some(at)) = (read, found) {
                let offset = at as u64 + self.rng.below(record.len() as u64);
                disk.flip(&path, offset, 1 << self.rng.below(8)).ok()?;
                self.pods[pod].tampered = true;
                return Some(3 * SECOND);
            }
        }
        None
    }

    /// Pauses or deletes the link for a while.
    fn pause_link(&mut self, delete: bool) -> Option<Micros> {
        self.links = if delete { Vec::new() } else { vec![self.link(true)] };
        let duration = self.rng.between(300, 4500) * MILLI;
        self.queue.push(self.now + duration, SimEvent::EndFault(FaultEnd::Links));
        Some(duration)
    }

    pub fn end_fault(&mut self, healing: FaultEnd) {
        match healing {
            FaultEnd::Unblock(directions) => {
                directions.into_iter().for_each(|(from, to)| self.network.block(from, to, false))
            }
            FaultEnd::Uncut(directions) => {
                directions.into_iter().for_each(|(from, to)| self.network.cut(from, to, false))
            }
            FaultEnd::NormalDisk(pod) => self.pods[pod].sync_us = 150,
            FaultEnd::Space(pod) => self.pods[pod].disk.limit(u64::MAX),
            FaultEnd::FullDisks => self.check_full_disks(),
            FaultEnd::NormalNetwork => self.network.frame_faults = NO_FRAME_FAULTS,
            FaultEnd::Links => self.links = vec![self.link(false)],
            FaultEnd::Stop { pod, incarnation, start_at } => {
                if self.pods[pod].incarnation == incarnation {
                    let after = start_at.saturating_sub(self.now);
                    self.stop(pod, false, Some(after));
                }
            }
            FaultEnd::Retire { pod, incarnation, replica } => {
                if self.pods[pod].incarnation == incarnation {
                    self.retire(pod, replica);
                }
            }
            FaultEnd::RightClock(pod) => self.pods[pod].clock.set_right(),
            FaultEnd::Diverge { pod, attempts } => self.diverge(pod, attempts),
            FaultEnd::Broker => self.heal_broker(),
        }
    }

    /// Ends all faults.
    pub fn stop_faults(&mut self) {
        self.log(|| "calm".into());
        self.faults_stopped = true;
        if self.plan.full_disks > 0 {
            self.check_free_disks();
        }
        self.network.clear();
        self.end_fault(FaultEnd::Links);
        self.heal_broker();
        for pod in 0..self.pods.len() {
            self.end_fault(FaultEnd::NormalDisk(pod));
            self.end_fault(FaultEnd::Space(pod));
            if self.faults.wild_clocks || self.faults.clock_steps {
                self.end_fault(FaultEnd::RightClock(pod));
            }
            self.pods[pod].paused_until = 0;
            if !self.pods[pod].is_up() {
                self.start_at(pod, self.now + MILLI);
            }
        }
    }
}

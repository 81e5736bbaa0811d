//! Faults happen and end.

use meridian_model::{ReplicaId, ShardNumber};
use meridian_proto::topology::TopologyCall;
use meridian_replica::Event;
use meridian_store::{Disk, DiskFile};

use crate::InjectedBug;
use crate::clock::{MILLI, Micros, SECOND};
use crate::fault::Fault;
use crate::network::{FAIR, Weather};
use crate::world::{SEGMENT_BYTES, What, World};

/// The end of a fault.
#[derive(Debug, Clone)]
pub enum Healing {
    /// Frames go through again.
    Unblock(Vec<(usize, usize)>),
    /// Likewise between regions.
    Uncut(Vec<(usize, usize)>),
    /// The disk is as fast as before.
    FastDisk(usize),
    /// There is space again.
    Space(usize),
    /// On all disks that were filled in place of other faults.
    FullDisks,
    /// The network is fair.
    Fair,
    /// The link is as the operator wants it.
    Links,
    /// A drained pod stops.
    Stop { pod: usize, life: u64, start_at: Micros },
    /// No end: a replica that is given up makes room for another.
    Retire { pod: usize, life: u64, replica: ReplicaId },
    /// The clock is right.
    RightClock(usize),
    /// No end, but a beginning that waits for its moment.
    Diverge { pod: usize, looks: u32 },
    /// The broker is back.
    Broker,
}

/// What a seed does to a run.
pub struct Faults {
    /// Clocks may leave their bound.
    pub wild_clocks: bool,
    /// Clocks step by a second up to a day, of one pod up to all, and the boot clock of a machine may stand still.
    pub clock_steps: bool,
    /// The last moment at which something was wrong, as far as is known.
    pub last: Micros,
}

impl Faults {
    pub fn new(seed: u64, injected_bug: Option<InjectedBug>) -> Self {
        let clock_steps = seed % 4 == 2
            || matches!(
                injected_bug,
                Some(InjectedBug::AgeByWall | InjectedBug::BelieveSteps | InjectedBug::ForgetStandstill)
            );
        Self { wild_clocks: seed % 4 == 3 && !clock_steps, clock_steps, last: 0 }
    }
}

impl World {
    /// Does the next fault, and plans the one after it.
    pub fn next_fault(&mut self) {
        if self.calm {
            return;
        }
        if self.plan.full_disks > 0 {
            return self.fill_disks();
        }
        let place = match self.plan.injected_bug {
            // Where a bug needs a rare fault, that fault comes more often.
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
            // A leader that was away while another was elected.
            Some(InjectedBug::StateUnproven) if self.rng.per_mille(700) => Fault::Pause.place(),
            _ if self.faults.clock_steps && self.rng.per_mille(250) => Fault::SetClocks.place(),
            _ => self.rng.below(Fault::places(self.broker.used)),
        };
        let lasting = self.fault(Fault::at(place));
        self.trace(0xfa17 ^ (place << 16));
        if let Some(lasting) = lasting {
            self.counts.faults += 1;
            self.faults.last = self.faults.last.max(self.now + lasting);
        }
        let next = self.now + self.rng.between(150, 800) * MILLI;
        self.queue.push(next, What::Fault);
    }

    fn up(&self) -> Vec<usize> {
        (0..self.pods.len()).filter(|pod| self.pods[*pod].is_up()).collect()
    }

    fn any_up(&mut self) -> Option<usize> {
        let up = self.up();
        // Leaders are where it hurts.
        if self.rng.per_mille(400) {
            let groups = self.groups();
            let group = *self.rng.pick(&groups)?;
            if let Some((pod, _)) = self.leader(group) {
                return Some(pod);
            }
        }
        self.rng.pick(&up).copied()
    }

    fn any_group(&mut self) -> (usize, ShardNumber) {
        let groups = self.groups();
        groups[self.rng.index(groups.len())]
    }

    /// Does one fault; how long it lasts, or nothing if it could not be done.
    fn fault(&mut self, fault: Fault) -> Option<Micros> {
        self.log(|| format!("fault {fault:?}"));
        match fault {
            Fault::PowerLoss => {
                let pod = self.any_up()?;
                let after = self.rng.between(100, 2500) * MILLI;
                self.stop(pod, true, Some(after));
                Some(after)
            }
            Fault::Kill => {
                let pod = self.any_up()?;
                let after = self.rng.between(10, 1000) * MILLI;
                self.stop(pod, false, Some(after));
                Some(after)
            }
            Fault::CrashAtDiskOperation => {
                let pod = self.any_up()?;
                let operations = self.rng.between(1, 60);
                self.pods[pod].disk.crash_at(operations);
                Some(2 * SECOND)
            }
            Fault::ShardPowerLoss => {
                let group = self.any_group();
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
                let pod = self.any_up()?;
                self.pods[pod].sync_us = self.rng.between(2, 80) * MILLI;
                let lasting = self.rng.between(300, 3000) * MILLI;
                self.queue.push(self.now + lasting, What::Heal(Healing::FastDisk(pod)));
                Some(lasting)
            }
            Fault::Pause => {
                let pod = self.any_up()?;
                // What waits for a pod that is paused is as late as the pause is long: shorter than a step of a clock.
                let most = if self.faults.clock_steps { 600 } else { 2500 };
                let lasting = self.rng.between(50, most) * MILLI;
                self.pods[pod].paused_until = self.now + lasting;
                if self.faults.clock_steps && self.rng.per_mille(500) {
                    self.pods[pod].clock.stand_still(lasting);
                }
                Some(lasting)
            }
            Fault::SetClocks if self.faults.clock_steps => self.step_clocks(),
            Fault::SetClocks => self.jump_clock(),
            Fault::LoseVolume => self.lose_volume(),
            Fault::FlipLogBit => self.flip_byte(),
            Fault::FillDisks => {
                let first = self.any_up()?;
                let others = self.pods_of(self.pods[first].group()).into_iter().filter(|pod| *pod != first);
                let mut pods: Vec<usize> = std::iter::once(first).chain(others).collect();
                pods.truncate(1 + self.rng.index(3));
                let lasting = self.rng.between(500, 4000) * MILLI;
                for pod in pods {
                    let used: u64 = self.pods[pod].disk.files().iter().map(|(_, bytes)| bytes).sum();
                    let room = if self.rng.per_mille(500) { 40_000 } else { 4 * SEGMENT_BYTES };
                    let room = self.rng.below(room);
                    self.pods[pod].disk.limit(used + room);
                    self.counts.disks_filled += 1;
                    self.queue.push(self.now + lasting, What::Heal(Healing::Space(pod)));
                }
                Some(lasting)
            }
            Fault::Scale => {
                let group = self.any_group();
                let spare = |shard| self.is_whole((group.0, shard)) && self.agrees((group.0, shard));
                ShardNumber::all(self.shards[group.0]).all(spare).then(|| self.scale(group.0))?;
                Some(SECOND)
            }
            Fault::TransferLeader => {
                let group = self.any_group();
                let (pod, status) = self.leader(group)?;
                let to = self.rng.pick(&status.voters)?.replica;
                let event = Event::Topology { ticket: 0, call: TopologyCall::TransferLeader { to } };
                let life = self.pods[pod].life;
                self.queue.push(self.now + 1, What::Hand { pod, life, event });
                Some(SECOND)
            }
            Fault::Drain => {
                let pod = self.any_up()?;
                let life = self.pods[pod].life;
                self.queue.push(self.now + 1, What::Hand { pod, life, event: Event::Drain });
                Some(SECOND)
            }
            Fault::PauseLink => self.pause_link(false),
            Fault::DeleteLink => self.pause_link(true),
            Fault::FailDiskOperation => {
                let pod = self.any_up()?;
                self.pods[pod].disk.fail_next(1, std::io::ErrorKind::Other);
                Some(SECOND)
            }
            Fault::Diverge => self.plan_divergence(),
            Fault::Broker(fault) => self.break_broker(fault),
            Fault::BadNetwork => {
                let rng = &mut self.rng;
                self.network.weather = Weather { lost: rng.below(60), doubled: rng.below(60), late: rng.below(60) };
                let lasting = self.rng.between(300, 3000) * MILLI;
                self.queue.push(self.now + lasting, What::Heal(Healing::Fair));
                Some(lasting)
            }
        }
    }

    /// A pod and the others of its region do not hear each other, or one side does not hear the other.
    fn partition(&mut self, one_way: bool) -> Option<Micros> {
        let pod = self.any_up()?;
        let region = self.pods[pod].region;
        let others: Vec<usize> =
            (0..self.pods.len()).filter(|other| *other != pod && self.pods[*other].region == region).collect();
        let out = others.iter().map(|other| (pod, *other));
        let back = others.iter().map(|other| (*other, pod));
        let ways: Vec<(usize, usize)> = match (one_way, self.rng.below(2)) {
            (false, _) => out.chain(back).collect(),
            (_, 0) => out.collect(),
            _ => back.collect(),
        };
        for (from, to) in &ways {
            self.network.block(*from, *to, true);
        }
        // Some networks swallow, others refuse.
        if self.rng.per_mille(500) {
            for (from, to) in &ways {
                self.break_peers(*from, *to);
            }
        }
        let lasting = self.rng.between(100, 3000) * MILLI;
        self.queue.push(self.now + lasting, What::Heal(Healing::Unblock(ways)));
        Some(lasting)
    }

    fn cut_regions(&mut self) -> Option<Micros> {
        let ways = match self.rng.below(4) {
            0 => vec![(0, 1)],
            1 => vec![(1, 0)],
            _ => vec![(0, 1), (1, 0)],
        };
        for (from, to) in &ways {
            self.network.cut(*from, *to, true);
        }
        if self.rng.per_mille(500) {
            for connection in self.network.open() {
                self.break_connection(connection);
            }
        }
        let lasting = self.rng.between(200, 4000) * MILLI;
        self.queue.push(self.now + lasting, What::Heal(Healing::Uncut(ways)));
        Some(lasting)
    }

    fn jump_clock(&mut self) -> Option<Micros> {
        let pod = self.any_up()?;
        let spread = if self.faults.wild_clocks { 700_000 } else { 4_500 };
        let error = i64::try_from(self.rng.between(0, 2 * spread)).ok()? - i64::try_from(spread).ok()?;
        let now = self.now;
        self.pods[pod].clock.jump(now, error);
        if self.faults.wild_clocks {
            let lasting = self.rng.between(500, 3000) * MILLI;
            self.queue.push(now + lasting, What::Heal(Healing::RightClock(pod)));
            return Some(lasting);
        }
        Some(100 * MILLI)
    }

    /// The clocks of one pod, of most of a group, of a region, or of all are set by the same error, and set right again.
    fn step_clocks(&mut self) -> Option<Micros> {
        let scope = self.rng.below(5);
        let pods: Vec<usize> = match scope {
            0 | 1 => vec![self.any_up()?],
            2 => {
                let group = self.any_group();
                let all: Vec<usize> = self.pods_of(group).into_iter().filter(|pod| self.pods[*pod].wanted).collect();
                all[..all.len() / 2 + 1].to_vec()
            }
            3 => {
                let region = self.rng.index(self.regions.len());
                (0..self.pods.len()).filter(|pod| self.pods[*pod].region == region).collect()
            }
            _ => (0..self.pods.len()).collect(),
        };
        // Statements wait for a broker that is down, so that a step of a second hides behind it.
        let seconds: &[u64] = if self.broker.used { &[60, 3_600, 86_400] } else { &[1, 3, 60, 3_600, 86_400] };
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
        let lasting = self.rng.between(500, 4000) * MILLI;
        for pod in pods {
            let now = self.now;
            self.pods[pod].clock.jump(now, error);
            self.queue.push(now + lasting, What::Heal(Healing::RightClock(pod)));
        }
        Some(lasting)
    }

    /// A pod whose group can do without its disk.
    pub fn spare(&mut self) -> Option<usize> {
        let group = self.any_group();
        if !self.is_whole(group) || !self.agrees(group) {
            return None;
        }
        let pods: Vec<usize> = self.pods_of(group).into_iter().filter(|pod| self.pods[*pod].is_up()).collect();
        self.rng.pick(&pods).copied()
    }

    fn lose_volume(&mut self) -> Option<Micros> {
        let pod = self.spare()?;
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

    /// A byte of a record that was synced a while ago, and that later ones vouch for.
    fn flip_byte(&mut self) -> Option<Micros> {
        let pod = self.spare()?;
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

    /// The link is paused, or deleted, and comes back.
    fn pause_link(&mut self, delete: bool) -> Option<Micros> {
        self.links = if delete { Vec::new() } else { vec![self.link(true)] };
        let lasting = self.rng.between(300, 4500) * MILLI;
        self.queue.push(self.now + lasting, What::Heal(Healing::Links));
        Some(lasting)
    }

    pub fn heal(&mut self, healing: Healing) {
        match healing {
            Healing::Unblock(ways) => ways.into_iter().for_each(|(from, to)| self.network.block(from, to, false)),
            Healing::Uncut(ways) => ways.into_iter().for_each(|(from, to)| self.network.cut(from, to, false)),
            Healing::FastDisk(pod) => self.pods[pod].sync_us = 150,
            Healing::Space(pod) => self.pods[pod].disk.limit(u64::MAX),
            Healing::FullDisks => self.judge_full_disks(),
            Healing::Fair => self.network.weather = FAIR,
            Healing::Links => self.links = vec![self.link(false)],
            Healing::Stop { pod, life, start_at } => {
                if self.pods[pod].life == life {
                    let after = start_at.saturating_sub(self.now);
                    self.stop(pod, false, Some(after));
                }
            }
            Healing::Retire { pod, life, replica } => {
                if self.pods[pod].life == life {
                    self.retire(pod, replica);
                }
            }
            Healing::RightClock(pod) => self.pods[pod].clock.set_right(),
            Healing::Diverge { pod, looks } => self.diverge(pod, looks),
            Healing::Broker => self.heal_broker(),
        }
    }

    /// All faults end.
    pub fn calm_down(&mut self) {
        self.log(|| "calm".into());
        self.calm = true;
        if self.plan.full_disks > 0 {
            self.judge_free_disks();
        }
        self.network.clear();
        self.heal(Healing::Links);
        self.heal_broker();
        for pod in 0..self.pods.len() {
            self.heal(Healing::FastDisk(pod));
            self.heal(Healing::Space(pod));
            if self.faults.wild_clocks || self.faults.clock_steps {
                self.heal(Healing::RightClock(pod));
            }
            self.pods[pod].paused_until = 0;
            if !self.pods[pod].is_up() {
                self.start_at(pod, self.now + MILLI);
            }
        }
    }
}

//! A shell that obeys at once, but for what a test is to answer.

use std::collections::VecDeque;
use std::time::Duration;

use meridian_model::client::{Body, Demand, Request};
use meridian_model::{ClusterId, PrimaryTerm, RegionName, ReplicaId, ShardNumber, WriteId};
use meridian_proto::topology::{Genesis, Identity, Member};
use meridian_raft::{Entry as RaftEntry, EntryKind};
use meridian_replica::{Command, Event, LogRecord, Now, Replica, Settings};
use meridian_store::SimDisk;
use meridian_volume::{LogVolume, SnapshotVolume, initialize_volume, open_volume};

const SEGMENT_BYTES: u64 = 1 << 20;

pub fn region(name: &str) -> RegionName {
    RegionName::new(name).unwrap()
}

/// A region of one shard with one replica.
pub struct Shell {
    identity: Identity,
    settings: Settings,
    pub disk: SimDisk,
    pub replica: Replica,
    log: LogVolume<SimDisk>,
    pub snapshots: SnapshotVolume<SimDisk>,
    pub now: Now,
    lives: u64,
    /// The ticket of the newest request, which its id follows from.
    pub tickets: u64,
    /// Commands that are not obeyed, oldest first: all but the disk's work.
    pub seen: Vec<Command>,
    /// Snapshots are not obeyed either.
    pub holds_snapshots: bool,
}

impl Shell {
    /// A leader in the region `own`, while `primary` takes the writes. The wall clock shows `start` at first.
    pub fn new(own: &str, primary: &str, settings: Settings, start: Duration) -> Self {
        let founders = vec![Member { replica: ReplicaId(1), address: "here:1".into() }];
        let genesis = Genesis {
            cluster: ClusterId(1),
            region: region(own),
            shard: ShardNumber::FIRST,
            shards: 1,
            primary: region(primary),
            primary_term: PrimaryTerm(1),
        };
        let identity = Identity {
            genesis,
            replica: ReplicaId(1),
            founders,
            group: None,
            behavior: meridian_model::BehaviorVersion::FIRST,
        };
        let disk = SimDisk::new();
        initialize_volume(&disk, &identity, SEGMENT_BYTES).unwrap();
        let (now, lives) = (Now { mono: Duration::ZERO, wall: start }, 7);
        let (replica, log, snapshots) = Self::open(&disk, &identity, &settings, now, lives);
        let (tickets, seen, holds_snapshots) = Default::default();
        let mut shell =
            Self { identity, settings, disk, replica, log, snapshots, now, lives, tickets, seen, holds_snapshots };
        shell.ticks(100);
        shell
    }

    fn open(
        disk: &SimDisk,
        identity: &Identity,
        settings: &Settings,
        now: Now,
        life: u64,
    ) -> (Replica, LogVolume<SimDisk>, SnapshotVolume<SimDisk>) {
        let (log, snapshots, found) = open_volume(disk, identity, SEGMENT_BYTES).unwrap();
        let replica = Replica::restore(settings.clone(), identity.clone(), now, life, found).unwrap();
        (replica, log, snapshots)
    }

    /// Kills the process and starts it again.
    pub fn restart(&mut self) {
        self.disk.kill();
        self.lives += 1;
        self.pass(Duration::from_secs(1));
        (self.replica, self.log, self.snapshots) =
            Self::open(&self.disk, &self.identity, &self.settings, self.now, self.lives);
    }

    /// Kills the process, appends an entry to its log, as one that another release or another leader wrote, and starts the
    /// process again. Its index.
    pub fn restart_with_entry(&mut self, payload: Vec<u8>) -> u64 {
        self.disk.kill();
        let (mut log, _, found) = open_volume(&self.disk, &self.identity, SEGMENT_BYTES).unwrap();
        let last = entries(&found.records).pop().expect("a leader has written its first entry");
        let (index, kind) = (last.index + 1, EntryKind::Payload);
        let entry = RaftEntry { index, term: last.term, kind, payload: payload.into() };
        log.persist(&[(1, vec![LogRecord::Entry(entry).encode()])]).unwrap();
        self.restart();
        index
    }

    /// What stands at an index of the log on the disk.
    pub fn payload_at(&mut self, index: u64) -> Vec<u8> {
        self.disk.kill();
        let (_, _, found) = open_volume(&self.disk, &self.identity, SEGMENT_BYTES).unwrap();
        let entry = entries(&found.records).into_iter().rfind(|entry| entry.index == index);
        entry.expect("the entry is in the log").payload.to_vec()
    }

    pub fn step(&mut self, event: Event) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            for command in self.replica.step(self.now, event) {
                match command {
                    Command::Persist { number, records } => {
                        events.extend(self.log.persist(&[(number, records)]).unwrap());
                    }
                    Command::Release { before, shrink } => self.log.release(before, shrink).unwrap(),
                    command @ Command::TakeSnapshot { .. } if !self.holds_snapshots => {
                        events.extend(self.snapshots.perform(command).ok().flatten());
                    }
                    other => self.seen.push(other),
                }
            }
        }
    }

    /// The request of a client, and its ticket.
    pub fn request(&mut self, body: Body) -> (u64, Event) {
        self.tickets += 1;
        let (ticket, id) = (self.tickets, WriteId(u128::from(self.tickets) << 64));
        let timeout = Duration::from_secs(30);
        let request = Request { id, body, demand: Demand::default(), traceparent: None, timeout, wait: None };
        (ticket, Event::Client { ticket, request })
    }

    fn pass(&mut self, time: Duration) {
        self.now.mono += time;
        self.now.wall += time;
    }

    pub fn tick(&mut self, random: u64) {
        self.pass(Duration::from_millis(20));
        self.step(Event::Tick { random });
    }

    pub fn ticks(&mut self, count: u64) {
        (0..count).for_each(|random| self.tick(random));
    }
}

fn entries(records: &[(u64, Vec<u8>)]) -> Vec<RaftEntry> {
    let entry = |(_, bytes): &(u64, Vec<u8>)| match LogRecord::decode(bytes) {
        Ok(LogRecord::Entry(entry)) => Some(entry),
        _ => None,
    };
    records.iter().filter_map(entry).collect()
}

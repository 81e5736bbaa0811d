//! Three replicas on a network without loss, with disks that are durable immediately.

use std::collections::VecDeque;

use meridian_model::ShardNumber;
use meridian_shard::Entry;

use super::*;
use crate::testing::{alone, identity};
use crate::{Event, Now, Replica};

const PLENTY: u64 = 1 << 40;
/// Free bytes within the log's reserve.
const RESERVE: u64 = 200 << 20;
/// Free bytes within the last two segments.
const EXHAUSTED: u64 = 100 << 20;

struct Trio {
    replicas: Vec<Replica>,
    now: Duration,
    frames: VecDeque<(usize, usize, PeerMessage)>,
    /// Transfers of leadership: from, to, time.
    hand_overs: Vec<(usize, u64, Duration)>,
    causes: Vec<HandOverCause>,
    /// Number of snapshots started by each; none can be written.
    snapshots: [u32; 3],
    /// The replica whose fsyncs do not end.
    hung: Option<usize>,
}

impl Trio {
    /// Replica 1 leads, and all disks have space.
    fn new() -> Self {
        let replicas = (1..=3).map(|id| alone(identity(id, 3))).collect();
        let (hand_overs, causes, snapshots, hung) = Default::default();
        let frames = VecDeque::new();
        let mut trio = Self { replicas, now: Duration::ZERO, frames, hand_overs, causes, snapshots, hung };
        (0..3).for_each(|at| trio.free(at, PLENTY));
        trio.run(Duration::from_secs(3));
        let leader = trio.leader();
        if leader != 0 {
            trio.replicas[leader].raft.transfer_leader(1).unwrap();
            trio.run(Duration::from_secs(2));
        }
        assert_eq!(trio.leader(), 0);
        trio
    }

    fn step(&mut self, at: usize, event: Event) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            let now = Now { mono: self.now, wall: Duration::from_secs(1) + self.now };
            for command in self.replicas[at].step(now, event) {
                match command {
                    Command::Persist { number, .. } if self.hung != Some(at) => {
                        events.push_back(Event::Persisted { number, first: 1 });
                    }
                    Command::Send(to, message) => {
                        self.frames.push_back((at, to.replica.0 as usize - 1, message));
                    }
                    Command::TakeSnapshot { id, .. } => {
                        self.snapshots[at] += 1;
                        events.push_back(Event::SnapshotTaken { id, manifest: None });
                    }
                    Command::HandedOver { to, cause } => {
                        self.hand_overs.push((at, to.0, self.now));
                        self.causes.push(cause);
                    }
                    _ => {}
                }
            }
        }
    }

    fn deliver(&mut self) {
        while let Some((from, to, message)) = self.frames.pop_front() {
            let from = NodeId { shard: ShardNumber::FIRST, replica: ReplicaId(from as u64 + 1) };
            self.step(to, Event::Peer(from, message));
        }
    }

    fn run(&mut self, lasting: Duration) {
        let end = self.now + lasting;
        while self.now < end {
            self.now += Duration::from_millis(20);
            for at in 0..3 {
                let random = self.now.as_millis() as u64 * 31 + at as u64 * 7;
                self.step(at, Event::Tick { random });
            }
            self.deliver();
        }
    }

    fn free(&mut self, at: usize, bytes: u64) {
        self.step(at, Event::FreeBytes(bytes));
        self.deliver();
    }

    fn leader(&self) -> usize {
        let leads = |replica: &Replica| replica.is_leading();
        self.replicas.iter().position(leads).expect("a leader")
    }

    /// Proposes an entry at the leader; returns for each replica whether it has applied it after one second.
    fn commit(&mut self) -> Vec<bool> {
        let leader = self.leader();
        let index = self.replicas[leader].raft.propose(Entry::Noop.encode()).unwrap().index;
        self.run(Duration::from_secs(1));
        self.replicas.iter().map(|replica| replica.state.applied().0 >= index).collect()
    }

    #[track_caller]
    fn admits(&self, upserts: bool, deletes: bool) {
        let leader = &self.replicas[self.leader()];
        assert_eq!((leader.admits_growth(), leader.admits_small()), (upserts, deletes));
    }
}

#[test]
fn one_full_follower_blocks_no_write_and_receives_no_appends() {
    let mut trio = Trio::new();
    trio.admits(true, true);
    trio.free(2, RESERVE);
    assert_eq!(trio.commit(), [true, true, false]);
    trio.admits(true, true);
    trio.free(2, PLENTY);
    assert_eq!(trio.commit(), [true, true, true]);
    assert!(trio.hand_overs.is_empty());
}

#[test]
fn a_full_leader_hands_over_to_a_voter_with_space() {
    let mut trio = Trio::new();
    trio.free(2, RESERVE);
    trio.free(0, RESERVE);
    trio.run(Duration::from_secs(3));
    assert_eq!(trio.leader(), 1, "the only one with space leads");
    assert_eq!(trio.hand_overs.len(), 1);
    trio.admits(false, true);
    trio.free(2, PLENTY);
    trio.run(Duration::from_secs(2));
    trio.admits(true, true);
    assert_eq!(trio.commit(), [false, true, true]);
}

#[test]
fn a_group_changes_its_leader_for_disks_once_in_thirty_seconds() {
    let mut trio = Trio::new();
    // The disk of each leader is full for two minutes.
    for _ in 0..120 {
        let leader = trio.leader();
        (0..3).for_each(|at| trio.free(at, if at == leader { RESERVE } else { PLENTY }));
        trio.run(Duration::from_secs(1));
    }
    assert!((3..=4).contains(&trio.hand_overs.len()), "{:?}", trio.hand_overs);
    for pair in trio.hand_overs.windows(2) {
        assert!(pair[1].2 - pair[0].2 >= HAND_OVER_EVERY, "{:?}", trio.hand_overs);
    }
}

#[test]
fn while_a_majority_is_full_deletes_commit_from_the_reserve() {
    for full in [&[1, 2][..], &[0, 1, 2]] {
        let mut trio = Trio::new();
        full.iter().for_each(|at| trio.free(*at, RESERVE));
        trio.run(Duration::from_secs(2));
        trio.admits(false, true);
        assert_eq!(trio.commit(), [true, true, true]);
        full.iter().for_each(|at| trio.free(*at, PLENTY));
        trio.run(Duration::from_secs(2));
        trio.admits(true, true);
    }
}

#[test]
fn the_last_segments_are_for_votes_alone() {
    let mut trio = Trio::new();
    (0..3).for_each(|at| trio.free(at, EXHAUSTED));
    trio.run(Duration::from_secs(2));
    trio.admits(false, false);
    assert_eq!(trio.commit(), [true, true, true], "what is in the log goes on");
}

#[test]
fn a_leader_whose_fsync_hangs_hands_over() {
    let mut trio = Trio::new();
    trio.hung = Some(0);
    trio.replicas[0].raft.propose(Entry::Noop.encode()).unwrap();
    trio.run(Duration::from_secs(3));
    assert_ne!(trio.leader(), 0);
    assert_eq!(trio.hand_overs.len(), 1);
}

#[test]
fn a_silent_voter_counts_as_full_beside_a_full_one() {
    for (full, admits) in [(true, false), (false, true)] {
        let mut trio = Trio::new();
        trio.free(1, if full { RESERVE } else { PLENTY });
        trio.admits(true, true);
        // Replica 3 receives and sends nothing from now on.
        for _ in 0..100 {
            trio.now += Duration::from_millis(20);
            for at in 0..2 {
                trio.step(at, Event::Tick { random: 1 });
            }
            while let Some((from, to, message)) = trio.frames.pop_front() {
                let id = NodeId { shard: ShardNumber::FIRST, replica: ReplicaId(from as u64 + 1) };
                if to != 2 {
                    trio.step(to, Event::Peer(id, message));
                }
            }
        }
        trio.admits(admits, true);
    }
}

#[test]
fn a_group_with_space_admits_writes_at_every_tick() {
    let mut trio = Trio::new();
    trio.free(2, RESERVE);
    for _ in 0..500 {
        trio.run(Duration::from_millis(20));
        trio.admits(true, true);
    }
}

/// Reports memory use in MiB, of 1,000, often enough to take effect.
fn use_memory(trio: &mut Trio, at: usize, mib: u64) {
    for _ in 0..10 {
        trio.step(at, Event::MemoryUsed { bytes: mib << 20, limit: 1_000 << 20 });
    }
    trio.deliver();
}

#[test]
fn a_replica_without_memory_for_a_snapshot_reports_no_free_bytes_until_it_has() {
    let mut trio = Trio::new();
    use_memory(&mut trio, 2, 810);
    assert_eq!(trio.commit(), [true, true, false]);
    trio.admits(true, true);
    let status = trio.replicas[2].status();
    assert_eq!(status.disk, DiskLevel::Free);
    assert!(status.memory.is_some_and(|memory| memory.is_short));
    use_memory(&mut trio, 1, 810);
    trio.run(Duration::from_secs(2));
    trio.admits(false, true);
    assert_eq!(trio.commit(), [true, true, true], "deletes go on everywhere");
    use_memory(&mut trio, 1, 700);
    trio.run(Duration::from_secs(2));
    trio.admits(true, true);
    use_memory(&mut trio, 2, 700);
    assert_eq!(trio.commit(), [true, true, true]);
    assert!(trio.hand_overs.is_empty());
}

#[test]
fn a_leader_without_memory_hands_over() {
    let mut trio = Trio::new();
    use_memory(&mut trio, 0, 810);
    trio.run(Duration::from_secs(3));
    assert_ne!(trio.leader(), 0);
    assert_eq!((trio.hand_overs.len(), trio.causes.as_slice()), (1, &[HandOverCause::MemoryShort][..]));
    trio.admits(true, true);
}

#[test]
fn no_snapshot_is_taken_without_memory_and_one_follows_at_once_when_there_is() {
    for (mib, taken) in [(700, 1), (810, 0)] {
        let mut trio = Trio::new();
        (0..3).for_each(|at| use_memory(&mut trio, at, mib));
        trio.replicas.iter_mut().for_each(|replica| replica.settings.snapshot_every = 1);
        trio.run(Duration::from_millis(40));
        let begun = trio.snapshots;
        assert_eq!(begun.map(|begun| begun.min(1)), [taken; 3]);
        (0..3).for_each(|at| use_memory(&mut trio, at, 700));
        trio.run(Duration::from_secs(6));
        assert!(trio.snapshots.iter().zip(begun).all(|(now, before)| *now > before), "{:?}", trio.snapshots);
    }
}

//! One seed determines a schedule of crashes, lost and duplicated messages, slow disks, partitions, snapshots and
//! membership changes. `Net` checks election safety, leader completeness and one committed history at every step.

use crate::net::{Net, Random};
use meridian_raft::{Change, Members, Restored};
use std::collections::BTreeMap;

/// Seeds of a run without the environment variable `RAFT_SEEDS`.
const SEEDS: u64 = 300;
const STEPS: usize = 1500;
const MAX_ID: u64 = 7;

#[derive(Default, Debug)]
struct Seen {
    elections: usize,
    crashes: usize,
    dropped: usize,
    doubled: usize,
    installs: usize,
    changes: usize,
    reads: usize,
    commits: usize,
}

/// Names the seed whose run panicked.
struct Replay(u64);

impl Drop for Replay {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("replay: RAFT_SEEDS={}..={} cargo test -p meridian-raft chaos", self.0, self.0);
        }
    }
}

fn run(seed: u64, sends_before_persist: bool, seen: &mut Seen) -> BTreeMap<u64, meridian_raft::Entry> {
    let _replay = Replay(seed);
    let mut random = Random(seed);
    let mut net = Net::with_config(&[1, 2, 3], seed ^ 0xabcd, |config| {
        (config.max_inflight, config.snapshot_retry_ticks, config.max_message_bytes) = (4, 8, 64);
    });
    net.sends_before_persist = sends_before_persist;
    // (replica, context) → commit index when the read was requested.
    let mut asked: BTreeMap<(u64, u64), u64> = BTreeMap::new();
    let (mut serial, mut next_id) = (0u64, 4);
    for _ in 0..STEPS {
        let ids: Vec<u64> = net.nodes.keys().copied().collect();
        if ids.is_empty() {
            net.restart(1);
            continue;
        }
        let id = ids[random.below(ids.len())];
        match random.below(100) {
            0..20 => {
                net.raft(id).tick(random.next());
                net.drain(id);
            }
            20..60 if !net.in_flight.is_empty() => {
                let nth = random.below(net.in_flight.len());
                if random.one_in(20) {
                    net.in_flight.swap_remove(nth);
                    net.dropped += 1;
                } else if random.one_in(20) {
                    net.in_flight.push(net.in_flight[nth].clone());
                    seen.doubled += 1;
                } else {
                    net.deliver(nth);
                }
            }
            60..80 => {
                net.sync_one(id);
            }
            80..88 => {
                if let Some(leader) = net.leader() {
                    serial += 1;
                    if net.raft(leader).propose(serial.to_le_bytes().to_vec()).is_ok() {
                        net.drain(leader);
                    }
                }
            }
            88..92 => {
                serial += 1;
                let newest = net.committed.keys().next_back().copied().unwrap_or(0);
                if net.raft(id).read_index(serial).is_ok() {
                    asked.insert((id, serial), newest);
                    net.drain(id);
                }
            }
            92 if random.one_in(2) => {
                net.crash(id);
                seen.crashes += 1;
            }
            93 => {
                if let Some(down) = net.down.keys().next().copied() {
                    net.restart(down);
                }
            }
            94 => {
                let other = ids[random.below(ids.len())];
                if random.one_in(2) {
                    net.cut.insert((id, other));
                } else {
                    net.cut.clear();
                }
            }
            95 | 96 => {
                net.take_snapshot(id);
                net.compact(id);
            }
            97 => {
                net.accept(id);
            }
            98 => {
                if let Some(leader) = net.leader() {
                    change(&mut net, leader, &mut next_id, &mut random);
                }
            }
            99 => {
                if let Some(leader) = net.leader() {
                    let _ = net.raft(leader).transfer_leader(id);
                    net.drain(leader);
                }
            }
            _ => {}
        }
        for id in ids {
            for (context, index) in
                net.nodes.get_mut(&id).map(|node| std::mem::take(&mut node.reads)).unwrap_or_default()
            {
                let newest = asked[&(id, context)];
                assert!(index >= newest, "seed {seed}: read at {index} misses {newest}, committed before it was asked");
                seen.reads += 1;
            }
        }
    }
    heal(&mut net, seed);
    seen.elections += net.elections;
    seen.dropped += net.dropped;
    seen.installs += net.nodes.values().map(|node| node.installs).sum::<usize>();
    seen.changes +=
        net.committed.values().filter(|entry| matches!(entry.kind, meridian_raft::EntryKind::Membership(_))).count();
    seen.commits += net.committed.len();
    net.committed
}

fn change(net: &mut Net, leader: u64, next_id: &mut u64, random: &mut Random) {
    let members = net.raft(leader).members();
    let learner = members.learners.first().copied();
    let change = match learner {
        Some(learner) if random.one_in(2) => Change::Promote(learner),
        None if *next_id <= MAX_ID => Change::AddLearner(*next_id),
        _ if members.voters.len() > 3 => Change::Remove(*members.voters.iter().find(|id| **id != leader).unwrap()),
        _ => return,
    };
    if net.raft(leader).change_members(change, vec![]).is_ok() {
        if let Change::AddLearner(id) = change {
            net.start(id, Restored::joining());
            *next_id += 1;
        }
        net.drain(leader);
    }
}

/// Without faults, the group must converge.
fn heal(net: &mut Net, seed: u64) {
    net.cut.clear();
    for id in net.down.keys().copied().collect::<Vec<_>>() {
        net.restart(id);
    }
    for _ in 0..400 {
        net.tick_all(1);
        for id in net.nodes.keys().copied().collect::<Vec<_>>() {
            if net.raft(id).snapshot_wanted() {
                net.take_snapshot(id);
            }
            net.accept(id);
        }
        net.settle();
        if is_whole(net) {
            return;
        }
    }
    let status: Vec<_> = net.nodes.values().map(|node| node.raft.status()).collect();
    panic!("seed {seed}: not together again: {status:#?}");
}

fn is_whole(net: &Net) -> bool {
    let Some(leader) = net.leader() else { return false };
    let status = net.nodes[&leader].raft.status();
    let together = |id: &u64| {
        let own = net.nodes[id].raft.status();
        let same_group: &Members = &own.members;
        own.applied == status.last_index && *same_group == status.members
    };
    status.members.voters.iter().chain(&status.members.learners).all(together)
        && net.committed.keys().next_back() == Some(&status.last_index)
}

/// `RAFT_SEEDS=5000` or `RAFT_SEEDS=17..=17`.
fn seeds() -> std::ops::RangeInclusive<u64> {
    let text = std::env::var("RAFT_SEEDS").unwrap_or_else(|_| SEEDS.to_string());
    match text.split_once("..=") {
        Some((first, last)) => first.parse().unwrap()..=last.parse().unwrap(),
        None => 0..=text.parse().unwrap(),
    }
}

#[test]
fn nothing_committed_is_ever_lost() {
    let mut seen = Seen::default();
    let seeds = seeds();
    for seed in seeds.clone() {
        run(seed, false, &mut seen);
    }
    println!("{seeds:?}: {seen:?}");
    let faults = [seen.crashes, seen.dropped, seen.doubled, seen.installs, seen.changes];
    let counts = [seen.elections, seen.reads, seen.commits].into_iter().chain(faults);
    let enough = if seeds.end() - seeds.start() < SEEDS { 0 } else { 101 };
    assert!(counts.min() >= Some(enough), "a schedule without faults proves nothing: {seen:?}");
}

/// The checks themselves detect a violation.
#[test]
fn sending_before_persisting_is_caught() {
    let caught = |seed: &u64| std::panic::catch_unwind(|| run(*seed, true, &mut Seen::default())).is_err();
    assert!((0..=SEEDS).filter(caught).count() > 0);
}

#[test]
fn a_seed_replays() {
    for seed in [3, 4711] {
        assert_eq!(run(seed, false, &mut Seen::default()), run(seed, false, &mut Seen::default()));
    }
}

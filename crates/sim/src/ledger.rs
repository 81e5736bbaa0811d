//! What the groups committed, read from their logs as they apply them: the truth that all answers are held against.
//!
//! It knows what an entry means only as far as a reader of the log must: which changes of which points a write carries, and
//! that their stamps grow. Sequences, version vectors and states are the machine's; here they are counted again.

use std::collections::{BTreeMap, BTreeSet};

use meridian_model::{CollectionUid, Hlc, Op, PointId, ShardNumber, WriteId};
use meridian_raft::{Entry as RaftEntry, EntryKind};
use meridian_shard::Entry;

use crate::clock::Micros;

/// A group: its region by number, and its shard.
pub type Group = (usize, ShardNumber);

/// One change that a group committed.
#[derive(Debug, Clone)]
pub struct Change {
    /// The write it came with.
    pub write: WriteId,
    /// The counter in its payload; `None` of a delete.
    pub value: Option<u64>,
}

/// A point of a collection.
pub type PointKey = (CollectionUid, PointId);

#[derive(Default)]
struct Log {
    /// Term and bytes of what is known committed.
    entries: BTreeMap<u64, (u64, [u8; 16])>,
    /// Committed and applied by somebody, but what stands before it is not yet.
    waiting: BTreeMap<u64, RaftEntry>,
    /// All up to here is counted.
    counted: u64,
    proposed: BTreeMap<(u64, u64), Micros>,
    writes: BTreeSet<(WriteId, u32)>,
    /// The largest stamp.
    newest: Hlc,
    /// Sequences given.
    seq: u64,
    /// When the change of each sequence was proposed: place 0 is sequence 1.
    proposals: Vec<Micros>,
}

/// What all groups committed.
#[derive(Default)]
pub struct Ledger {
    logs: BTreeMap<Group, Log>,
    /// The changes of each point, oldest first.
    points: BTreeMap<PointKey, Vec<Change>>,
    /// Collections by the name under which they were first created.
    created: BTreeMap<String, CollectionUid>,
    /// What contradicts itself.
    pub faults: Vec<String>,
}

impl Ledger {
    /// An entry was written into a log somewhere: if it is the first time, that is when it was proposed.
    pub fn proposed(&mut self, group: Group, entry: &RaftEntry, now: Micros) {
        let log = self.logs.entry(group).or_default();
        if entry.index > log.counted {
            log.proposed.entry((entry.index, entry.term)).or_insert(now);
        }
    }

    /// A replica applied this entry.
    pub fn applied(&mut self, group: Group, entry: &RaftEntry) {
        let hash = fingerprint(entry);
        let log = self.logs.entry(group).or_default();
        if let Some(held) = log.entries.get(&entry.index) {
            if *held != (entry.term, hash) {
                let fault = format!(
                    "committed entry {} of {group:?} changed: term {} became {}",
                    entry.index, held.0, entry.term
                );
                self.faults.push(fault);
            }
            return;
        }
        log.entries.insert(entry.index, (entry.term, hash));
        log.waiting.insert(entry.index, entry.clone());
        // The entry of a group's birth is at 1.
        log.counted = log.counted.max(1);
        loop {
            let Some(log) = self.logs.get_mut(&group) else { return };
            let Some(entry) = log.waiting.remove(&(log.counted + 1)) else { return };
            log.counted += 1;
            let proposed = log.proposed.get(&(entry.index, entry.term)).copied().unwrap_or_default();
            log.proposed.retain(|(index, _), _| *index > entry.index);
            self.count(group, &entry, proposed);
        }
    }

    fn count(&mut self, group: Group, entry: &RaftEntry, proposed: Micros) {
        if entry.kind != EntryKind::Payload {
            return;
        }
        let entry = match Entry::decode(&entry.payload) {
            Ok(entry) => entry,
            Err(fault) => return self.faults.push(format!("entry {} of {group:?}: {fault}", entry.index)),
        };
        let Some(log) = self.logs.get_mut(&group) else { return };
        match entry {
            Entry::Write(write) => {
                let known = !log.writes.insert((write.id, write.part));
                if !known {
                    if !write.ops.is_empty() {
                        if write.hlc <= log.newest {
                            let fault = format!("{group:?}: a write stamped {} came after {}", write.hlc, log.newest);
                            self.faults.push(fault);
                        }
                        log.newest = Hlc(write.hlc.0 + write.ops.len() as u64 - 1);
                    }
                    log.seq += write.ops.len() as u64;
                    log.proposals.extend(write.ops.iter().map(|_| proposed));
                    for op in write.ops {
                        match op {
                            Op::Upsert { collection, point, payload, .. } => {
                                let value = value_of(&payload.0);
                                let change = Change { write: write.id, value };
                                self.points.entry((collection, point)).or_default().push(change);
                            }
                            Op::Delete { collection, point } => {
                                let change = Change { write: write.id, value: None };
                                self.points.entry((collection, point)).or_default().push(change);
                            }
                            Op::CreateCollection { uid, def } => {
                                self.created.entry(def.name.as_str().to_owned()).or_insert(uid);
                            }
                            Op::DropCollection { .. } => {}
                        }
                    }
                }
            }
            _ => {}
        }
    }

    /// The changes of a point, oldest first.
    #[must_use]
    pub fn changes(&self, key: &PointKey) -> &[Change] {
        self.points.get(key).map_or(&[], Vec::as_slice)
    }

    /// The points that were ever changed.
    pub fn points(&self) -> impl Iterator<Item = (&PointKey, &Vec<Change>)> {
        self.points.iter()
    }

    /// The uid under which a name was first created.
    #[must_use]
    pub fn created(&self, name: &str) -> Option<CollectionUid> {
        self.created.get(name).copied()
    }

    /// Distinct changes that a group committed.
    #[must_use]
    pub fn sequences(&self, group: Group) -> u64 {
        self.logs.get(&group).map_or(0, |log| log.seq)
    }

    /// When the change of this sequence was proposed.
    #[must_use]
    pub fn proposed_at(&self, group: Group, seq: u64) -> Option<Micros> {
        let place = usize::try_from(seq.checked_sub(1)?).ok()?;
        self.logs.get(&group)?.proposals.get(place).copied()
    }
}

/// The counter in a payload of ours: `{"n":7}`.
#[must_use]
pub fn value_of(payload: &str) -> Option<u64> {
    payload.strip_prefix("{\"n\":")?.strip_suffix('}')?.parse().ok()
}

fn fingerprint(entry: &RaftEntry) -> [u8; 16] {
    let mut hash: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    for byte in entry.payload.iter() {
        hash = (hash ^ u128::from(*byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b);
    }
    hash.to_le_bytes()
}

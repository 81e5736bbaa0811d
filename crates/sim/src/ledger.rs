//! What the groups committed, read from their logs as they apply them: the truth that all answers are held against.
//!
//! It knows what an entry means only as far as a reader of the log must: which changes of which points a write carries, and
//! that their stamps grow. Sequences, version vectors and states are the machine's; here they are counted again.

use std::collections::{BTreeMap, BTreeSet};

use meridian_model::{CollectionUid, Hlc, Op, PointId, ShardNumber, Traceparent, WriteId};
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
    /// The request that it goes back to.
    pub trace: Option<u128>,
    /// Its stamp, as far as one group's changes differ by it.
    stamp: (Hlc, u64),
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
    /// Collections that are gone here.
    dropped: BTreeSet<CollectionUid>,
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
    /// Conditional changes that took place, and that did not.
    pub conditional: (u64, u64),
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
        match entry {
            Entry::Write(write) => {
                if let Some(first) =
                    self.sequences_of(group, (write.id, write.part), (write.hlc, write.ops.len()), proposed)
                {
                    for (i, op) in write.ops.iter().enumerate() {
                        let stamp = (write.stamp(i), first + i as u64);
                        self.count_op(group, op, write.id, write.trace, stamp);
                    }
                }
            }
            Entry::ConditionalWrite(write) => {
                let size = (write.hlc, write.changes.len());
                if let Some(first) = self.sequences_of(group, (write.id, write.part), size, proposed) {
                    for (i, change) in write.changes.iter().enumerate() {
                        let (collection, point) = (write.collection, change.point);
                        let stamp = (write.stamp(i), first + i as u64);
                        let seen = (change.seen.hlc, change.seen.seq.0);
                        let held = self.points.get(&(collection, point)).and_then(|changes| changes.last());
                        let gone = self.logs.get(&group).is_some_and(|log| log.dropped.contains(&collection));
                        let as_seen = held.is_some_and(|held| held.value.is_some() && held.stamp == seen);
                        if as_seen && seen < stamp && !gone {
                            self.conditional.0 += 1;
                            self.count_op(group, &Op::Delete { collection, point }, write.id, write.trace, stamp);
                        } else {
                            self.conditional.1 += 1;
                        }
                    }
                }
            }
            _ => {}
        }
    }

    /// The first sequence of a write of so many changes, unless it is a repeat.
    fn sequences_of(
        &mut self,
        group: Group,
        key: (WriteId, u32),
        (hlc, changes): (Hlc, usize),
        proposed: Micros,
    ) -> Option<u64> {
        let log = self.logs.get_mut(&group)?;
        if !log.writes.insert(key) {
            return None;
        }
        if changes > 0 {
            if hlc <= log.newest {
                let fault = format!("{group:?}: a write stamped {hlc} came after {}", log.newest);
                self.faults.push(fault);
            }
            log.newest = Hlc(hlc.0 + changes as u64 - 1);
        }
        let first = log.seq + 1;
        log.seq += changes as u64;
        log.proposals.extend(std::iter::repeat_n(proposed, changes));
        Some(first)
    }

    fn count_op(&mut self, group: Group, op: &Op, write: WriteId, trace: Option<Traceparent>, stamp: (Hlc, u64)) {
        let trace = trace.map(|trace| trace.trace);
        let (key, value) = match op {
            Op::Upsert { collection, point, payload, .. } => ((*collection, *point), value_of(&payload.0)),
            Op::Delete { collection, point } => ((*collection, *point), None),
            Op::CreateCollection { uid, def } => {
                self.created.entry(def.name.as_str().to_owned()).or_insert(*uid);
                return;
            }
            Op::DropCollection { uid } => {
                self.logs.entry(group).or_default().dropped.insert(*uid);
                return;
            }
            Op::Nothing => return,
        };
        self.points.entry(key).or_default().push(Change { write, value, trace, stamp });
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

    /// Whether a group committed a part of this write.
    #[must_use]
    pub fn has_write(&self, id: WriteId) -> bool {
        self.logs.values().any(|log| log.writes.range((id, 0)..=(id, u32::MAX)).next().is_some())
    }

    /// The requests that committed changes go back to.
    #[must_use]
    pub fn traces(&self) -> BTreeSet<u128> {
        self.points.values().flatten().filter_map(|change| change.trace).collect()
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

/// Classes of counters: deletes by filter delete one.
pub const CLASSES: u64 = 4;

/// The class of a counter.
#[must_use]
pub fn class_of(value: u64) -> u64 {
    value % CLASSES
}

/// The payload of a counter: its class and itself.
#[must_use]
pub fn payload_of(value: u64) -> String {
    format!("{{\"class\":{},\"n\":{value}}}", class_of(value))
}

/// The counter in a payload of ours.
#[must_use]
pub fn value_of(payload: &str) -> Option<u64> {
    payload.rsplit_once("\"n\":")?.1.strip_suffix('}')?.parse().ok()
}

fn fingerprint(entry: &RaftEntry) -> [u8; 16] {
    let mut hash: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    for byte in entry.payload.iter() {
        hash = (hash ^ u128::from(*byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b);
    }
    hash.to_le_bytes()
}

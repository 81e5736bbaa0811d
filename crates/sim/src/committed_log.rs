//! The committed log of each group, collected from the entries that replicas apply: the reference for all oracles.
//!
//! It interprets entries only as far as a log reader must: which points a write changes, and that timestamps grow.
//! Sequences, version vectors and states are computed by the machine; here they are counted independently.

use std::collections::{BTreeMap, BTreeSet};

use meridian_model::{BehaviorVersion, CollectionUid, Hlc, Op, PointId, ShardNumber, Traceparent, WriteId};
use meridian_raft::{Entry as RaftEntry, EntryKind};
use meridian_shard::Entry;

use crate::clock::Micros;
use crate::upgrade::NEXT_KEY;

/// A group: index of its region, and its shard.
pub type Group = (usize, ShardNumber);

/// One committed change.
#[derive(Debug, Clone)]
pub struct Change {
    /// Its write.
    pub write: WriteId,
    /// The counter in its payload; `None` for a delete.
    pub value: Option<u64>,
    /// Trace id of its request.
    pub trace: Option<u128>,
    /// Its timestamp and sequence, which order the changes of one group.
    stamp: (Hlc, u64),
}

/// A point in a collection.
pub type PointKey = (CollectionUid, PointId);

#[derive(Default)]
struct Log {
    /// Term and payload hash of each committed entry.
    entries: BTreeMap<u64, (u64, [u8; 16])>,
    /// Entries applied by some replica while earlier ones are not recorded yet.
    pending: BTreeMap<u64, RaftEntry>,
    /// Newest entry recorded without gaps.
    applied_through: u64,
    proposed: BTreeMap<(u64, u64), Micros>,
    writes: BTreeSet<(WriteId, u32)>,
    /// Largest timestamp.
    newest: Hlc,
    /// The behavior version that the group has finalized, if it is not the first one.
    finalized: Option<BehaviorVersion>,
    /// Dropped collections.
    dropped: BTreeSet<CollectionUid>,
    /// Newest assigned sequence.
    seq: u64,
    /// Time at which the change of each sequence was proposed; index 0 is sequence 1.
    proposals: Vec<Micros>,
}

/// Committed logs of all groups.
#[derive(Default)]
pub struct CommittedLog {
    logs: BTreeMap<Group, Log>,
    /// Changes of each point, oldest first.
    points: BTreeMap<PointKey, Vec<Change>>,
    /// First collection created under each name.
    created: BTreeMap<String, CollectionUid>,
    /// Number of conditional changes that were executed, and that were not.
    pub conditional: (u64, u64),
    /// Violated invariants.
    pub violations: Vec<String>,
}

impl CommittedLog {
    /// Records the time at which an entry was first written to any log: that of its proposal.
    pub fn record_proposed(&mut self, group: Group, entry: &RaftEntry, now: Micros) {
        let log = self.logs.entry(group).or_default();
        if entry.index > log.applied_through {
            log.proposed.entry((entry.index, entry.term)).or_insert(now);
        }
    }

    /// Records that a replica applied this entry.
    pub fn record_applied(&mut self, group: Group, entry: &RaftEntry) {
        let hash = fingerprint(entry);
        let log = self.logs.entry(group).or_default();
        if let Some(held) = log.entries.get(&entry.index) {
            if *held != (entry.term, hash) {
                let violation = format!(
                    "committed entry {} of {group:?} changed: term {} became {}",
                    entry.index, held.0, entry.term
                );
                self.violations.push(violation);
            }
            return;
        }
        log.entries.insert(entry.index, (entry.term, hash));
        log.pending.insert(entry.index, entry.clone());
        // Index 1 is the bootstrap entry.
        log.applied_through = log.applied_through.max(1);
        loop {
            let Some(log) = self.logs.get_mut(&group) else { return };
            let Some(entry) = log.pending.remove(&(log.applied_through + 1)) else { return };
            log.applied_through += 1;
            let proposed = log.proposed.get(&(entry.index, entry.term)).copied().unwrap_or_default();
            log.proposed.retain(|(index, _), _| *index > entry.index);
            self.apply_entry(group, &entry, proposed);
        }
    }

    fn apply_entry(&mut self, group: Group, entry: &RaftEntry, proposed: Micros) {
        if entry.kind != EntryKind::Payload {
            return;
        }
        let entry = match Entry::decode(&entry.payload) {
            Ok(entry) => entry,
            Err(error) => return self.violations.push(format!("entry {} of {group:?}: {error}", entry.index)),
        };
        let needs = entry.needs();
        if needs > self.finalized(group) {
            let held = self.finalized(group);
            let violation =
                format!("{group:?} has finalized {held} and committed what needs version {needs}: {entry:?}");
            self.violations.push(violation);
        }
        match entry {
            Entry::Version(version) => {
                let log = self.logs.entry(group).or_default();
                log.finalized = log.finalized.max(Some(version));
            }
            Entry::Write(write) => {
                let late = self.logs.keys().copied().find(|other| self.finalized(*other) < needs);
                if let Some(late) = late {
                    let violation =
                        format!("{group:?} writes what needs version {needs}, which {late:?} has not finalized");
                    self.violations.push(violation);
                }
                if let Some(first) =
                    self.sequences_of(group, (write.id, write.part), (write.hlc, write.ops.len()), proposed)
                {
                    for (i, op) in write.ops.iter().enumerate() {
                        let stamp = (write.stamp(i), first + i as u64);
                        self.apply_op(group, op, write.id, write.trace, stamp);
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
                        let is_dropped = self.logs.get(&group).is_some_and(|log| log.dropped.contains(&collection));
                        let as_seen = held.is_some_and(|held| held.value.is_some() && held.stamp == seen);
                        if as_seen && seen < stamp && !is_dropped {
                            self.conditional.0 += 1;
                            self.apply_op(group, &Op::Delete { collection, point }, write.id, write.trace, stamp);
                        } else {
                            self.conditional.1 += 1;
                        }
                    }
                }
            }
            _ => {}
        }
    }

    /// Assigns sequences to the changes of a write; returns the first. `None` when the write is a duplicate.
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
                let violation = format!("{group:?}: a write with timestamp {hlc} follows {}", log.newest);
                self.violations.push(violation);
            }
            log.newest = Hlc(hlc.0 + changes as u64 - 1);
        }
        let first = log.seq + 1;
        log.seq += changes as u64;
        log.proposals.extend(std::iter::repeat_n(proposed, changes));
        Some(first)
    }

    fn apply_op(&mut self, group: Group, op: &Op, write: WriteId, trace: Option<Traceparent>, stamp: (Hlc, u64)) {
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

    /// Changes of a point, oldest first.
    #[must_use]
    pub fn changes(&self, key: &PointKey) -> &[Change] {
        self.points.get(key).map_or(&[], Vec::as_slice)
    }

    /// All points with changes.
    pub fn points(&self) -> impl Iterator<Item = (&PointKey, &Vec<Change>)> {
        self.points.iter()
    }

    /// Whether any group committed a part of this write.
    #[must_use]
    pub fn has_write(&self, id: WriteId) -> bool {
        self.logs.values().any(|log| log.writes.range((id, 0)..=(id, u32::MAX)).next().is_some())
    }

    /// Trace ids of all committed changes.
    #[must_use]
    pub fn traces(&self) -> BTreeSet<u128> {
        self.points.values().flatten().filter_map(|change| change.trace).collect()
    }

    /// Uid of the first collection created under a name.
    #[must_use]
    pub fn created(&self, name: &str) -> Option<CollectionUid> {
        self.created.get(name).copied()
    }

    /// The behavior version that a group has finalized.
    #[must_use]
    pub fn finalized(&self, group: Group) -> BehaviorVersion {
        self.logs.get(&group).and_then(|log| log.finalized).unwrap_or(BehaviorVersion::FIRST)
    }

    /// Number of distinct changes committed by a group.
    #[must_use]
    pub fn sequences(&self, group: Group) -> u64 {
        self.logs.get(&group).map_or(0, |log| log.seq)
    }

    /// Time at which the change of this sequence was proposed.
    #[must_use]
    pub fn proposed_at(&self, group: Group, seq: u64) -> Option<Micros> {
        let place = usize::try_from(seq.checked_sub(1)?).ok()?;
        self.logs.get(&group)?.proposals.get(place).copied()
    }
}

/// Number of classes of counters; a delete by filter selects one class.
pub const CLASSES: u64 = 4;

/// Class of a counter.
#[must_use]
pub fn class_of(value: u64) -> u64 {
    value % CLASSES
}

/// Payload of a counter: its class and the counter.
#[must_use]
pub fn payload_of(value: u64) -> String {
    format!("{{\"class\":{},\"n\":{value}}}", class_of(value))
}

/// The same, of a payload that needs the next behavior version.
#[must_use]
pub fn next_payload_of(value: u64) -> String {
    format!("{{\"class\":{},\"{NEXT_KEY}\":true,\"n\":{value}}}", class_of(value))
}

/// Counter in a payload of [`payload_of`].
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

//! A replica whose state differs from its group's: who is right, and how the others' state is taken over.
//!
//! Every few thousand entries, and now and then while there are none, the log names the leader's checksum. The leader may be
//! the one that is wrong, so a replica that differs stops serving, and then asks:
//!
//! ```text
//!   differs ──► in doubt: serves nothing, asks all voters for theirs
//!                 │ most have ours ──────────► in service again
//!                 └ most have another one ───► the state of one of those, and the own log behind it ──► in service
//!   serving, and most of the others say that they differ in the same way ──► in doubt
//! ```
//!
//! Only the state is replaced: the log is sound, and its votes count on.

use std::collections::BTreeMap;
use std::time::Duration;

use meridian_model::{LogIndex, ReplicaId};
use meridian_proto::frame::{Call, CallAnswer, NodeId, PeerMessage};
use meridian_raft::Snapshot;
use meridian_shard::{Entry, State};
use meridian_store::Manifest;

use crate::injection::InjectedBug;
use crate::{Replica, SnapshotMeta};

/// Without an answer in this time the others are asked again.
const PATIENCE: Duration = Duration::from_millis(500);
/// A difference counts as open for this long after it was last heard of.
const DISPUTE: Duration = Duration::from_secs(2);
/// What clients are told meanwhile.
pub(crate) const DOUBT: &str = "its state differs from its group's";

type Hash = [u8; 32];

/// What is known of differences between the replicas of the group.
#[derive(Debug, Default)]
pub(crate) struct Healing {
    doubt: Option<Doubt>,
    /// Other replicas' newest checksums that differ from ours.
    differing: BTreeMap<ReplicaId, (LogIndex, Hash)>,
    /// When one of them last said so; one that is in doubt repeats it.
    disputed: Option<Duration>,
    /// When an entry was applied last, or an idle shard's checksum proposed.
    applied_at: Duration,
}

/// This replica differs from somebody, and serves nothing until it is known who is right.
#[derive(Debug)]
struct Doubt {
    /// After which entry they differ.
    at: LogIndex,
    own: Hash,
    /// As the log says.
    claimed: Hash,
    /// Everybody's.
    heard: BTreeMap<ReplicaId, Hash>,
    /// Most of the group has this one, and it is not ours.
    verdict: Option<Hash>,
    asked: Duration,
    attempts: usize,
}

impl Replica {
    /// Whether what this replica holds may be wrong.
    pub(crate) fn is_in_doubt(&self) -> bool {
        self.healing.doubt.is_some() && !self.settings.injects(InjectedBug::ServeDivergence)
    }

    /// Whether this replica was told that it differs from another, for the simulation to know.
    #[cfg(feature = "fault-injection")]
    #[must_use]
    pub fn is_doubted(&self) -> bool {
        self.healing.doubt.is_some()
    }

    /// Whether others may rely on what this replica holds.
    pub(crate) fn is_trusted(&self) -> bool {
        self.out_of_service.is_none() && !self.is_in_doubt()
    }

    /// Whether it is open who of the group is right. The log is kept meanwhile: a replica that lags would else be sent a state
    /// that may be wrong, in place of the entries by which it finds out for itself, and its vote would count for that state.
    pub(crate) fn is_disputed(&self) -> bool {
        let said = |at: Duration| self.now.mono.saturating_sub(at) < DISPUTE;
        self.healing.doubt.is_some() || self.healing.disputed.is_some_and(said)
    }

    /// A checksum entry was applied.
    pub(crate) fn checksum_heard(&mut self, entry: &Entry) {
        let Entry::Checksum { at, hash } = entry else { return };
        let own = self.state.checksum_at(*at);
        let judged = self.healing.doubt.as_ref().is_some_and(|doubt| doubt.verdict.is_some());
        match own {
            Some(own) if own != *hash => {
                self.counters.checksums_differed += 1;
                if !judged {
                    self.doubt(*at, own, *hash);
                }
            }
            // The difference is gone: what differed was overwritten.
            Some(_) if !judged => {
                self.counters.checksums_agreed += 1;
                self.vindicate();
            }
            _ => self.counters.checksums_agreed += 1,
        }
    }

    fn doubt(&mut self, at: LogIndex, own: Hash, claimed: Hash) {
        let before = self.is_in_doubt();
        let mut heard: BTreeMap<ReplicaId, Hash> = (self.healing.differing.iter())
            .filter(|(_, (there, _))| *there == at)
            .map(|(replica, (_, hash))| (*replica, *hash))
            .collect();
        heard.insert(self.me().replica, own);
        let asked = self.now.mono;
        self.healing.doubt = Some(Doubt { at, own, claimed, heard, verdict: None, asked, attempts: 0 });
        if !before && self.is_in_doubt() {
            self.fail_reads(DOUBT);
            self.close_tails();
            if self.consensus.leading.is_some() {
                self.stop_leading();
            }
        }
        self.compare();
    }

    /// Asks the voters that were not heard yet.
    fn compare(&mut self) {
        let Some(doubt) = &self.healing.doubt else { return };
        let (at, hash) = (doubt.at, doubt.own);
        let unheard: Vec<ReplicaId> = (self.raft.members().voters.iter().map(|id| ReplicaId(*id)))
            .filter(|replica| !doubt.heard.contains_key(replica))
            .collect();
        for replica in unheard {
            let call = self.number();
            self.send_replica(replica, PeerMessage::Call(call, Call::Compare { at, hash }));
        }
        self.judge();
    }

    pub(crate) fn compare_asked(&mut self, from: NodeId, call: u64, at: LogIndex, hash: Hash) {
        if from.shard != self.me().shard || self.out_of_service.is_some() {
            return;
        }
        let own = self.state.checksum_at(at);
        self.send(from, PeerMessage::Answer(call, CallAnswer::Compared(at, own)));
        match own {
            Some(own) if own != hash && self.raft.members().voters.contains(&from.replica.0) => {
                let voters = self.raft.members().voters;
                self.healing.differing.retain(|replica, _| voters.contains(&replica.0));
                self.healing.differing.insert(from.replica, (at, hash));
                self.healing.disputed = Some(self.now.mono);
                let same = self.healing.differing.values().filter(|said| **said == (at, hash)).count();
                // One that differs may be wrong itself; most of the group is not.
                if self.healing.doubt.is_none() && same > voters.len() / 2 {
                    self.counters.checksums_differed += 1;
                    self.doubt(at, own, hash);
                }
            }
            _ => drop(self.healing.differing.remove(&from.replica)),
        }
        self.compared(from, at, Some(hash));
    }

    pub(crate) fn compared(&mut self, from: NodeId, at: LogIndex, hash: Option<Hash>) {
        let Some(doubt) = self.healing.doubt.as_mut().filter(|doubt| doubt.at == at) else { return };
        if let (Some(hash), true) = (hash, from.shard == self.identity.genesis.shard) {
            doubt.heard.insert(from.replica, hash);
            self.judge();
        }
    }

    /// Most of the group is right; when no checksum has most of it, the log is.
    fn judge(&mut self) {
        let voters = self.raft.members().voters;
        let Some(doubt) = self.healing.doubt.as_mut().filter(|doubt| doubt.verdict.is_none()) else { return };
        let mut counts: BTreeMap<Hash, usize> = BTreeMap::new();
        for (_, hash) in doubt.heard.iter().filter(|(replica, _)| voters.contains(&replica.0)) {
            *counts.entry(*hash).or_default() += 1;
        }
        let all: usize = counts.values().sum();
        let first = counts.into_iter().max_by_key(|(hash, count)| (*count, *hash == doubt.claimed));
        let Some((hash, count)) = first else { return };
        if count * 2 <= voters.len() && all < voters.len() {
            return;
        }
        if hash == doubt.own {
            self.counters.vindications += 1;
            return self.vindicate();
        }
        doubt.verdict = Some(hash);
        self.ask_for_state();
    }

    pub(crate) fn note_applied(&mut self) {
        self.healing.applied_at = self.now.mono;
    }

    /// States are compared every so many entries; a leader of a shard that is idle has it compared now and then too.
    fn compare_when_idle(&mut self) {
        let now = self.now.mono;
        let idle = now.saturating_sub(self.healing.applied_at) >= self.settings.checksum_idle;
        if !idle || !self.is_leading() || self.raft.members().voters.len() <= 1 {
            return;
        }
        self.healing.applied_at = now;
        let at = self.state.applied();
        if self.raft.status().last_index == at.0 {
            let hash = self.state.checksum();
            // Refused only when the leadership is lost, and then the next leader compares.
            let _ = self.raft.propose(Entry::Checksum { at, hash }.encode());
        }
    }

    pub(crate) fn tick_healing(&mut self) {
        self.compare_when_idle();
        let now = self.now.mono;
        let busy = self.snapshots.is_installing();
        let Some(doubt) = &mut self.healing.doubt else { return };
        if busy || now.saturating_sub(doubt.asked) < PATIENCE {
            return;
        }
        doubt.asked = now;
        if doubt.verdict.is_some() { self.ask_for_state() } else { self.compare() }
    }

    /// Asks one after the other of those that are right, for a snapshot that none of ours can be taken for.
    fn ask_for_state(&mut self) {
        if self.raft.status().role == meridian_raft::Role::Leader {
            self.hand_over();
        }
        let own = self.snapshots.newest_number() + 1;
        let Some(doubt) = &mut self.healing.doubt else { return };
        let right: Vec<ReplicaId> =
            doubt.heard.iter().filter(|(_, hash)| Some(**hash) == doubt.verdict).map(|(replica, _)| *replica).collect();
        let Some(from) = right.get(doubt.attempts % right.len().max(1)).copied() else { return };
        doubt.attempts += 1;
        let at_least = LogIndex(doubt.at.0.max(own));
        let call = self.number();
        self.send_replica(from, PeerMessage::Call(call, Call::Snapshot { at_least }));
    }

    pub(crate) fn state_offered(&mut self, from: NodeId, manifest: Option<Vec<u8>>) {
        let Some(doubt) = &self.healing.doubt else { return };
        let right = doubt.verdict.is_some() && doubt.heard.get(&from.replica).copied() == doubt.verdict;
        if !right || from.shard != self.me().shard || self.snapshots.is_installing() {
            return;
        }
        let Some(bytes) = manifest else { return };
        let Ok(manifest) = Manifest::decode(&bytes) else { return };
        let Ok(meta) = SnapshotMeta::decode(&manifest.meta) else { return };
        if meta.index >= doubt.at.0 && manifest.id.0 > self.snapshots.newest_number() {
            let snapshot =
                Snapshot { index: manifest.id.0, term: meta.term, members: meta.members(), manifest: bytes.into() };
            self.begin_install(from, snapshot);
        }
    }

    /// Takes the state over, and applies what this replica had applied behind it again, from its own sound log.
    pub(crate) fn heal_with(&mut self, snapshot: &Snapshot, meta: &SnapshotMeta, state: State) {
        let applied = self.state.applied();
        let mut state = crate::replica::prepared(&self.settings, state);
        // Compacted meanwhile: a newer snapshot is asked for.
        let Ok(entries) = self.raft.entries(meta.index + 1, u64::MAX) else { return };
        for raw in entries.iter().filter(|raw| raw.index <= applied.0) {
            let Ok(entry) = crate::consensus::decode(raw) else { return };
            state.apply(LogIndex(raw.index), &entry);
        }
        let doubt = self.healing.doubt.as_ref();
        let known = doubt.and_then(|doubt| Some((state.checksum_at(doubt.at)?, doubt.verdict?)));
        if state.applied() != applied || known.is_some_and(|(taken, right)| taken != right) {
            return;
        }
        *self.state.change() = state;
        self.counters.snapshots_installed += 1;
        self.snapshots.newest = meta.index;
        self.snapshots.manifest = Some(snapshot.manifest.to_vec());
        // Refused only when the log begins behind it; then the next one is told of.
        let _ = self.raft.snapshot_taken(meta.index, meta.members(), snapshot.manifest.to_vec());
        self.replaced();
    }

    /// The state is another replica's.
    pub(crate) fn replaced(&mut self) {
        if self.healing.doubt.is_some() {
            self.counters.heals += 1;
            self.vindicate();
        }
    }

    /// What is held is right.
    fn vindicate(&mut self) {
        if self.healing.doubt.take().is_some() && self.consensus.leading.is_some() {
            self.begin_to_lead();
        }
    }
}

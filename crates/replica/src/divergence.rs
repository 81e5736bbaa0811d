//! Divergence of a replica's state from its group: detection, decision by majority, and installation of another
//! replica's state.
//!
//! Every few thousand entries, and periodically on an idle shard, an entry contains the leader's checksum. The leader
//! itself may be wrong, so a replica that differs stops serving and then queries the others:
//!
//! ```text
//!   differs ──► in doubt: serves nothing, asks all voters for theirs
//!                 │ most have ours ──────────► in service again
//!                 └ most have another one ───► the state of one of those, and the own log behind it ──► in service
//!   serving, and most of the others say that they differ in the same way ──► in doubt
//! ```
//!
//! Only the state is replaced: the log is valid, and its votes continue to count.

use std::collections::BTreeMap;
use std::time::Duration;

use meridian_model::{LogIndex, ReplicaId};
use meridian_proto::frame::{Call, CallAnswer, NodeId, PeerMessage};
use meridian_raft::Snapshot;
use meridian_shard::{Entry, State};
use meridian_store::Manifest;

use crate::context::Ctx;
use crate::effect::Effect;
use crate::injection::InjectedBug;
use crate::{Settings, SnapshotMeta};

/// Time without an answer after which the others are queried again.
const PATIENCE: Duration = Duration::from_millis(500);
/// Time after its last report for which a difference counts as open.
const DISPUTE: Duration = Duration::from_secs(2);
type Hash = [u8; 32];

/// Known differences between the replicas of the group.
#[derive(Debug, Default)]
pub(crate) struct Divergence {
    check: Option<DivergenceCheck>,
    /// The newest checksums of other replicas that differ from the own one.
    differing: BTreeMap<ReplicaId, (LogIndex, Hash)>,
    /// Time of the last such report; a replica in doubt repeats it.
    disputed: Option<Duration>,
    /// Time at which an entry was last applied, or the checksum of an idle shard proposed.
    applied_at: Duration,
}

/// This replica differs from another, and serves nothing until the majority is known.
#[derive(Debug)]
struct DivergenceCheck {
    /// The last entry that the checksums cover.
    at: LogIndex,
    own: Hash,
    /// The checksum in the log.
    claimed: Hash,
    /// The checksums of all replicas, as far as received.
    heard: BTreeMap<ReplicaId, Hash>,
    /// The checksum of the majority, if it is not the own one.
    verdict: Option<Hash>,
    asked: Duration,
    attempts: usize,
}

/// Events about divergence.
pub(crate) enum Event {
    /// An entry with the leader's checksum was applied.
    ChecksumApplied { at: LogIndex, hash: Hash },
    /// Another replica found a difference and compares checksums.
    CompareAsked { from: NodeId, call: u64, at: LogIndex, hash: Hash },
    /// The checksum of another replica.
    Compared { from: NodeId, at: LogIndex, hash: Option<Hash> },
    /// Entries were applied.
    Applied,
    /// Another replica offers a snapshot; `None` if it has none.
    StateOffered { from: NodeId, manifest: Option<Vec<u8>> },
    /// The requested snapshot is on disk.
    InstallPeerState { snapshot: Snapshot, meta: SnapshotMeta, state: Box<State> },
    /// The state was replaced by another replica's.
    StateReplaced,
    /// Time has passed.
    Tick,
}

impl Divergence {
    pub(crate) fn handle(&mut self, cx: &mut Ctx<'_>, event: Event) {
        match event {
            Event::ChecksumApplied { at, hash } => self.checksum_applied(cx, at, hash),
            Event::CompareAsked { from, call, at, hash } => self.compare_asked(cx, from, call, at, hash),
            Event::Compared { from, at, hash } => self.compared(cx, from, at, hash),
            Event::Applied => self.applied_at = cx.now.mono,
            Event::StateOffered { from, manifest } => self.state_offered(cx, from, manifest),
            Event::InstallPeerState { snapshot, meta, state } => {
                self.install_peer_state(cx, &snapshot, &meta, *state);
            }
            Event::StateReplaced => self.state_replaced(cx),
            Event::Tick => self.tick(cx),
        }
    }

    /// Returns true if the state of this replica may be wrong.
    pub(crate) fn is_in_doubt(&self, settings: &Settings) -> bool {
        self.check.is_some() && !settings.injects(InjectedBug::ServeDivergence)
    }

    /// Returns true if this replica differs from another.
    pub(crate) fn is_checking(&self) -> bool {
        self.check.is_some()
    }

    /// Returns true if the majority is undecided. Meanwhile the log is kept: otherwise a replica that lags would get a
    /// state that may be wrong, instead of the entries by which it can check for itself, and its vote would count for
    /// that state.
    pub(crate) fn check_pending(&self, now: Duration) -> bool {
        let said = |at: Duration| now.saturating_sub(at) < DISPUTE;
        self.check.is_some() || self.disputed.is_some_and(said)
    }

    fn checksum_applied(&mut self, cx: &mut Ctx<'_>, at: LogIndex, hash: Hash) {
        let own = cx.state.checksum_at(at);
        let judged = self.check.as_ref().is_some_and(|check| check.verdict.is_some());
        match own {
            Some(own) if own != hash => {
                cx.counters.checksums_differed += 1;
                if !judged {
                    self.begin_check(cx, at, own, hash);
                }
            }
            // The difference is gone: the differing data was overwritten.
            Some(_) if !judged => {
                cx.counters.checksums_agreed += 1;
                self.clear(cx);
            }
            _ => cx.counters.checksums_agreed += 1,
        }
    }

    fn begin_check(&mut self, cx: &mut Ctx<'_>, at: LogIndex, own: Hash, claimed: Hash) {
        let before = self.is_in_doubt(cx.settings);
        let mut heard: BTreeMap<ReplicaId, Hash> = (self.differing.iter())
            .filter(|(_, (there, _))| *there == at)
            .map(|(replica, (_, hash))| (*replica, *hash))
            .collect();
        heard.insert(cx.me().replica, own);
        let asked = cx.now.mono;
        self.check = Some(DivergenceCheck { at, own, claimed, heard, verdict: None, asked, attempts: 0 });
        if !before && self.is_in_doubt(cx.settings) {
            cx.effects.extend([Effect::GiveBackReads, Effect::CloseTails]);
            if cx.facts.term.is_some() {
                cx.effects.push(Effect::StopLeading);
            }
        }
        self.compare(cx);
    }

    /// Queries the voters that have not answered yet.
    fn compare(&mut self, cx: &mut Ctx<'_>) {
        let Some(check) = &self.check else { return };
        let (at, hash) = (check.at, check.own);
        let unheard: Vec<ReplicaId> = (cx.raft.members().voters.iter().map(|id| ReplicaId(*id)))
            .filter(|replica| !check.heard.contains_key(replica))
            .collect();
        for replica in unheard {
            let call = cx.numbers.allocate();
            cx.send_replica(replica, PeerMessage::Call(call, Call::Compare { at, hash }));
        }
        self.decide(cx);
    }

    fn compare_asked(&mut self, cx: &mut Ctx<'_>, from: NodeId, call: u64, at: LogIndex, hash: Hash) {
        if from.shard != cx.me().shard || cx.facts.out_of_service {
            return;
        }
        let own = cx.state.checksum_at(at);
        cx.send(from, PeerMessage::Answer(call, CallAnswer::Compared(at, own)));
        match own {
            Some(own) if own != hash && cx.raft.members().voters.contains(&from.replica.0) => {
                let voters = cx.raft.members().voters;
                self.differing.retain(|replica, _| voters.contains(&replica.0));
                self.differing.insert(from.replica, (at, hash));
                self.disputed = Some(cx.now.mono);
                let same = self.differing.values().filter(|said| **said == (at, hash)).count();
                // The replica that differs may itself be wrong; the majority is not.
                if self.check.is_none() && same > voters.len() / 2 {
                    cx.counters.checksums_differed += 1;
                    self.begin_check(cx, at, own, hash);
                }
            }
            _ => drop(self.differing.remove(&from.replica)),
        }
        self.compared(cx, from, at, Some(hash));
    }

    fn compared(&mut self, cx: &mut Ctx<'_>, from: NodeId, at: LogIndex, hash: Option<Hash>) {
        let Some(check) = self.check.as_mut().filter(|check| check.at == at) else { return };
        if let (Some(hash), true) = (hash, from.shard == cx.identity.genesis.shard) {
            check.heard.insert(from.replica, hash);
            self.decide(cx);
        }
    }

    /// The majority decides; without a majority, the checksum in the log does.
    fn decide(&mut self, cx: &mut Ctx<'_>) {
        let voters = cx.raft.members().voters;
        let Some(check) = self.check.as_mut().filter(|check| check.verdict.is_none()) else { return };
        let mut counts: BTreeMap<Hash, usize> = BTreeMap::new();
        for (_, hash) in check.heard.iter().filter(|(replica, _)| voters.contains(&replica.0)) {
            *counts.entry(*hash).or_default() += 1;
        }
        let all: usize = counts.values().sum();
        let first = counts.into_iter().max_by_key(|(hash, count)| (*count, *hash == check.claimed));
        let Some((hash, count)) = first else { return };
        if count * 2 <= voters.len() && all < voters.len() {
            return;
        }
        if hash == check.own {
            cx.counters.vindications += 1;
            return self.clear(cx);
        }
        check.verdict = Some(hash);
        self.ask_for_state(cx);
    }

    /// States are compared after a fixed number of entries; the leader of an idle shard also has them compared
    /// periodically.
    fn compare_when_idle(&mut self, cx: &mut Ctx<'_>) {
        let now = cx.now.mono;
        let idle = now.saturating_sub(self.applied_at) >= cx.settings.checksum_idle;
        if !idle || !cx.facts.leading || cx.raft.members().voters.len() <= 1 {
            return;
        }
        self.applied_at = now;
        let at = cx.state.applied();
        if cx.raft.status().last_index == at.0 {
            let hash = cx.state.checksum();
            // It fails only if leadership was lost; the next leader compares then.
            let _ = cx.raft.propose(Entry::Checksum { at, hash }.encode());
        }
    }

    fn tick(&mut self, cx: &mut Ctx<'_>) {
        self.compare_when_idle(cx);
        let now = cx.now.mono;
        let busy = cx.facts.snapshots.installing;
        let Some(check) = &mut self.check else { return };
        if busy || now.saturating_sub(check.asked) < PATIENCE {
            return;
        }
        check.asked = now;
        if check.verdict.is_some() { self.ask_for_state(cx) } else { self.compare(cx) }
    }

    /// Queries the replicas of the majority one after the other for a snapshot, which no own snapshot can be mistaken
    /// for.
    fn ask_for_state(&mut self, cx: &mut Ctx<'_>) {
        if cx.raft.status().role == meridian_raft::Role::Leader {
            cx.hand_over();
        }
        let own = cx.facts.snapshots.newest_number + 1;
        let Some(check) = &mut self.check else { return };
        let right: Vec<ReplicaId> =
            check.heard.iter().filter(|(_, hash)| Some(**hash) == check.verdict).map(|(replica, _)| *replica).collect();
        let Some(from) = right.get(check.attempts % right.len().max(1)).copied() else { return };
        check.attempts += 1;
        let at_least = LogIndex(check.at.0.max(own));
        let call = cx.numbers.allocate();
        cx.send_replica(from, PeerMessage::Call(call, Call::Snapshot { at_least }));
    }

    fn state_offered(&mut self, cx: &mut Ctx<'_>, from: NodeId, manifest: Option<Vec<u8>>) {
        let Some(check) = &self.check else { return };
        let right = check.verdict.is_some() && check.heard.get(&from.replica).copied() == check.verdict;
        if !right || from.shard != cx.me().shard || cx.facts.snapshots.installing {
            return;
        }
        let Some(bytes) = manifest else { return };
        let Ok(manifest) = Manifest::decode(&bytes) else { return };
        let Ok(meta) = SnapshotMeta::decode(&manifest.meta) else { return };
        if meta.index >= check.at.0 && manifest.id.0 > cx.facts.snapshots.newest_number {
            let snapshot =
                Snapshot { index: manifest.id.0, term: meta.term, members: meta.members(), manifest: bytes.into() };
            cx.effects.push(Effect::InstallSnapshot { from, snapshot });
        }
    }

    /// Installs the state, then applies later entries again from the own valid log.
    fn install_peer_state(&mut self, cx: &mut Ctx<'_>, snapshot: &Snapshot, meta: &SnapshotMeta, state: State) {
        let applied = cx.state.applied();
        let mut state = cx.settings.prepared(state);
        // The log was compacted: a newer snapshot is requested.
        let Ok(entries) = cx.raft.entries(meta.index + 1, u64::MAX) else { return };
        for raw in entries.iter().filter(|raw| raw.index <= applied.0) {
            let Ok(entry) = crate::log_entry::decode(raw) else { return };
            state.apply(LogIndex(raw.index), &entry);
        }
        let check = self.check.as_ref();
        let known = check.and_then(|check| Some((state.checksum_at(check.at)?, check.verdict?)));
        if state.applied() != applied || known.is_some_and(|(taken, right)| taken != right) {
            return;
        }
        cx.counters.snapshots_installed += 1;
        let manifest = snapshot.manifest.to_vec();
        cx.effects.push(Effect::AdoptPeerState { index: meta.index, manifest, state: Box::new(state) });
        // It fails only if the log begins after it; then the next one is reported.
        let _ = cx.raft.snapshot_taken(meta.index, meta.members(), snapshot.manifest.to_vec());
        self.state_replaced(cx);
    }

    fn state_replaced(&mut self, cx: &mut Ctx<'_>) {
        if self.check.is_some() {
            cx.counters.heals += 1;
            self.clear(cx);
        }
    }

    /// The own state is correct.
    fn clear(&mut self, cx: &mut Ctx<'_>) {
        if self.check.take().is_some() && cx.facts.term.is_some() {
            cx.effects.push(Effect::BeginToLead);
        }
    }
}

#[cfg(test)]
mod tests;

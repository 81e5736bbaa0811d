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

use crate::context::Ctx;
use crate::effect::Effect;
use crate::injection::InjectedBug;
use crate::{Settings, SnapshotMeta};

/// Without an answer in this time the others are asked again.
const PATIENCE: Duration = Duration::from_millis(500);
/// A difference counts as open for this long after it was last heard of.
const DISPUTE: Duration = Duration::from_secs(2);
type Hash = [u8; 32];

/// What is known of differences between the replicas of the group.
#[derive(Debug, Default)]
pub(crate) struct Divergence {
    check: Option<DivergenceCheck>,
    /// Other replicas' newest checksums that differ from ours.
    differing: BTreeMap<ReplicaId, (LogIndex, Hash)>,
    /// When one of them last said so; one that is in doubt repeats it.
    disputed: Option<Duration>,
    /// When an entry was applied last, or an idle shard's checksum proposed.
    applied_at: Duration,
}

/// This replica differs from somebody, and serves nothing until it is known who is right.
#[derive(Debug)]
struct DivergenceCheck {
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

/// Something happened that concerns differences.
pub(crate) enum Event {
    /// The log names the leader's checksum of the state after an entry.
    ChecksumApplied { at: LogIndex, hash: Hash },
    /// Another replica differs from somebody, and compares.
    CompareAsked { from: NodeId, call: u64, at: LogIndex, hash: Hash },
    /// Another replica's checksum.
    Compared { from: NodeId, at: LogIndex, hash: Option<Hash> },
    /// Entries were applied.
    Applied,
    /// Another replica offers a snapshot; none if it has none.
    StateOffered { from: NodeId, manifest: Option<Vec<u8>> },
    /// One that was asked for is on disk.
    InstallPeerState { snapshot: Snapshot, meta: SnapshotMeta, state: Box<State> },
    /// The state is another replica's.
    StateReplaced,
    /// Time passed.
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

    /// Whether what this replica holds may be wrong.
    pub(crate) fn is_in_doubt(&self, settings: &Settings) -> bool {
        self.check.is_some() && !settings.injects(InjectedBug::ServeDivergence)
    }

    /// Whether this replica was told that it differs from another.
    pub(crate) fn is_checking(&self) -> bool {
        self.check.is_some()
    }

    /// Whether it is open who of the group is right. The log is kept meanwhile: a replica that lags would else be sent a state
    /// that may be wrong, in place of the entries by which it finds out for itself, and its vote would count for that state.
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
            // The difference is gone: what differed was overwritten.
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

    /// Asks the voters that were not heard yet.
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
                // One that differs may be wrong itself; most of the group is not.
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

    /// Most of the group is right; when no checksum has most of it, the log is.
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

    /// States are compared every so many entries; a leader of a shard that is idle has it compared now and then too.
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
            // Refused only when the leadership is lost, and then the next leader compares.
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

    /// Asks one after the other of those that are right, for a snapshot that none of ours can be taken for.
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

    /// Takes the state over, and applies what this replica had applied behind it again, from its own sound log.
    fn install_peer_state(&mut self, cx: &mut Ctx<'_>, snapshot: &Snapshot, meta: &SnapshotMeta, state: State) {
        let applied = cx.state.applied();
        let mut state = cx.settings.prepared(state);
        // Compacted meanwhile: a newer snapshot is asked for.
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
        // Refused only when the log begins behind it; then the next one is told of.
        let _ = cx.raft.snapshot_taken(meta.index, meta.members(), snapshot.manifest.to_vec());
        self.state_replaced(cx);
    }

    fn state_replaced(&mut self, cx: &mut Ctx<'_>) {
        if self.check.is_some() {
            cx.counters.heals += 1;
            self.clear(cx);
        }
    }

    /// What is held is right.
    fn clear(&mut self, cx: &mut Ctx<'_>) {
        if self.check.take().is_some() && cx.facts.term.is_some() {
            cx.effects.push(Effect::BeginToLead);
        }
    }
}

#[cfg(test)]
mod tests;

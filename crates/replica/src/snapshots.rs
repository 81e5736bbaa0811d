//! Snapshots: taking them, truncating the log behind them, and installing another replica's.

use std::collections::BTreeMap;
use std::time::Duration;

use meridian_model::{BehaviorVersion, LogIndex, ReplicaId, VersionUnknown};
use meridian_proto::frame::{Call, CallAnswer, NodeId, PeerMessage};
use meridian_raft::{Installation, Members, Snapshot};
use meridian_shard::State;
use meridian_store::{EnvelopeError, Manifest, ManifestError};
use serde::{Deserialize, Serialize};

use crate::Command;
use crate::context::Ctx;
use crate::effect::Effect;

/// Format version of [`SnapshotMeta`].
const META_VERSION: u8 = 2;
/// Time after which a missing piece is requested again.
const PATIENCE: Duration = Duration::from_millis(500);
/// Time without a piece after which an installation ends; the leader offers a snapshot again.
const GIVE_UP: Duration = Duration::from_secs(20);

/// Time after which a failed snapshot is retried.
const RETRY_AFTER: Duration = Duration::from_secs(5);
/// A snapshot is taken once the log after the last one is this fraction of it: writing snapshots then uses at most four
/// times the disk bandwidth of the log.
const SNAPSHOT_SHARE: u64 = 4;

/// Size of all files of a snapshot, in bytes.
fn total_bytes(manifest: &[u8]) -> u64 {
    Manifest::decode(manifest).map_or(0, |manifest| manifest.total_bytes())
}

/// Metadata of a snapshot beside the state: the opaque bytes of its manifest, which a receiver gets first.
///
/// ```text
///   byte 0      format version, 2
///   bytes 1..3  behavior version that a replica needs to install the snapshot, little-endian
///   bytes 3..   postcard of the other fields, in order
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotMeta {
    /// Behavior version that a replica needs to install it: that of the group.
    #[serde(skip)]
    pub needs: BehaviorVersion,
    /// Newest entry applied.
    pub index: u64,
    /// Its term.
    pub term: u64,
    /// Voters at that index.
    pub voters: Vec<u64>,
    /// Learners at that index.
    pub learners: Vec<u64>,
    /// Address of each member.
    pub addresses: BTreeMap<ReplicaId, String>,
    /// Index of the newest membership change.
    pub membership_version: LogIndex,
}

/// Reason for which bytes are not a [`SnapshotMeta`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotMetaError {
    /// A newer release wrote the snapshot.
    #[error(transparent)]
    VersionUnknown(#[from] VersionUnknown),
    /// Written before 0.2.0, whose formats are not read.
    #[error("format version {0}; this build reads version {META_VERSION}")]
    Version(u8),
    /// Any other violation.
    #[error("the meta bytes of the snapshot are malformed")]
    Malformed,
}

impl SnapshotMeta {
    /// The bytes of the manifest.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let [low, high] = self.needs.0.to_le_bytes();
        postcard::to_extend(self, vec![META_VERSION, low, high]).expect("plain values can be encoded")
    }

    /// Reverses [`SnapshotMeta::encode`].
    ///
    /// # Errors
    /// [`SnapshotMetaError::VersionUnknown`] if a newer release wrote the bytes; another variant if they are invalid.
    pub fn decode(bytes: &[u8]) -> Result<Self, SnapshotMetaError> {
        let (needs, body) = match bytes {
            [META_VERSION, low, high, body @ ..] => (BehaviorVersion(u16::from_le_bytes([*low, *high])), body),
            [newer, ..] if *newer > META_VERSION => return Err(VersionUnknown::format(*newer, META_VERSION).into()),
            [META_VERSION, ..] | [] => return Err(SnapshotMetaError::Malformed),
            [older, ..] => return Err(SnapshotMetaError::Version(*older)),
        };
        VersionUnknown::check(needs)?;
        let meta = postcard::from_bytes::<Self>(body).map_err(|_| SnapshotMetaError::Malformed)?;
        Ok(Self { needs, ..meta })
    }

    /// The version error of this encoded manifest, if a newer release wrote it. Other errors appear at installation.
    fn newer(manifest: &[u8]) -> Option<String> {
        match Manifest::decode(manifest) {
            Ok(manifest) => match Self::decode(&manifest.meta) {
                Err(SnapshotMetaError::VersionUnknown(unknown)) => Some(unknown.to_string()),
                Ok(_) | Err(_) => None,
            },
            Err(ManifestError::Envelope(EnvelopeError::FutureVersion { found, supported })) => {
                Some(VersionUnknown::format(found, supported).to_string())
            }
            Err(_) => None,
        }
    }

    /// The members at that index.
    #[must_use]
    pub fn members(&self) -> Members {
        Members { voters: self.voters.iter().copied().collect(), learners: self.learners.iter().copied().collect() }
    }
}

/// The snapshots of a replica.
#[derive(Default)]
pub(crate) struct Snapshots {
    /// Index of the newest one on disk.
    newest: u64,
    /// Its manifest, for a replica that must install it.
    manifest: Option<Vec<u8>>,
    /// Size of its files, in bytes.
    bytes: u64,
    /// Bytes per second at which it was written; `None` if this process did not write it.
    speed: Option<u64>,
    /// Time of the last attempt, if it failed.
    failed: Option<Duration>,
    taking: Option<Taking>,
    installing: Option<Installing>,
    /// Installed on disk, waiting for raft-rs to accept it, or for this replica to reach its index.
    installed: Option<(Snapshot, SnapshotMeta, Box<State>)>,
    /// Replicas that wait for a snapshot of at least this index.
    wanted: Vec<(NodeId, u64, LogIndex)>,
}

/// A snapshot that is being written.
struct Taking {
    /// Its number.
    index: u64,
    members: Members,
    since: Duration,
}

struct Installing {
    from: NodeId,
    snapshot: Snapshot,
    call: u64,
    wants: Option<(String, u64, u32)>,
    asked: Duration,
    progressed: Duration,
}

impl Snapshots {
    /// Starts with a snapshot found on disk.
    pub(crate) fn found(newest: u64, manifest: Option<Vec<u8>>) -> Self {
        let bytes = manifest.as_deref().map_or(0, total_bytes);
        Self { newest, manifest, bytes, ..Self::default() }
    }

    /// Index of the newest one on disk.
    pub(crate) fn newest(&self) -> u64 {
        self.newest
    }

    /// Size of its files, in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Bytes per second at which it was written; `None` if this process did not write it.
    pub(crate) fn speed(&self) -> Option<u64> {
        self.speed
    }

    /// Returns true while another replica's snapshot is being installed.
    pub(crate) fn is_installing(&self) -> bool {
        self.installing.is_some() || self.installed.is_some()
    }

    /// Returns true if time may start or end an action, apart from the requests of raft-rs. `applied`: the newest
    /// entry.
    pub(crate) fn has_work(&self, applied: LogIndex) -> bool {
        applied.0 > self.newest || self.is_installing() || !self.wanted.is_empty()
    }

    /// Returns true while a snapshot is being written.
    pub(crate) fn is_taking(&self) -> bool {
        self.taking.is_some()
    }

    /// The newest number of an own snapshot, including one in progress.
    pub(crate) fn newest_number(&self) -> u64 {
        self.taking.as_ref().map_or(0, |taking| taking.index).max(self.newest)
    }
}

/// Events about snapshots.
pub(crate) enum Event {
    /// The snapshot found on disk at the start is of this group.
    Found(Members),
    /// Time has passed.
    Tick,
    /// A snapshot is requested now, if it can be taken.
    Take,
    /// The shell wrote a snapshot, or failed to.
    Taken { id: u64, manifest: Option<Vec<u8>> },
    /// A leader reports that this replica is too far behind its log.
    Offered { from: NodeId, snapshot: Snapshot },
    /// Install this snapshot.
    Install { from: NodeId, snapshot: Snapshot },
    /// The shell needs this piece of it next.
    InstallWants { file: String, offset: u64, len: u32 },
    /// The piece.
    Chunk { call: u64, bytes: Option<Vec<u8>> },
    /// It is complete and on disk.
    Installed { meta: Vec<u8>, state: Box<State> },
    /// Its files did not match its manifest: they are fetched again when the leader repeats the offer.
    InstallFailed,
    /// An installed snapshot became the state of this replica.
    Adopted { index: u64, manifest: Vec<u8> },
    /// Another replica waits for a snapshot of at least this index.
    Wanted { from: NodeId, call: u64, at_least: LogIndex },
}

impl Snapshots {
    pub(crate) fn handle(&mut self, cx: &mut Ctx<'_>, event: Event) {
        match event {
            Event::Found(members) => self.offer_found(cx, members),
            Event::Tick => self.tick(cx),
            Event::Take => self.take(cx),
            Event::Taken { id, manifest } => self.taken(cx, id, manifest),
            Event::Offered { from, snapshot } => self.offered(cx, from, snapshot),
            Event::Install { from, snapshot } => self.begin_install(cx, from, snapshot),
            Event::InstallWants { file, offset, len } => self.install_wants(cx, file, offset, len),
            Event::Chunk { call, bytes } => self.chunk(cx, call, bytes),
            Event::Installed { meta, state } => self.installed(cx, &meta, state),
            Event::InstallFailed => self.installing = None,
            Event::Adopted { index, manifest } => (self.newest, self.manifest) = (index, Some(manifest)),
            Event::Wanted { from, call, at_least } => self.wanted(cx, from, call, at_least),
        }
    }

    /// Reports the snapshot found on disk at the start to raft-rs.
    fn offer_found(&mut self, cx: &mut Ctx<'_>, members: Members) {
        if let Some(manifest) = self.manifest.clone() {
            // It fails only if the log begins after it; then it could not be offered.
            let _ = cx.raft.snapshot_taken(self.newest, members, manifest);
        }
    }

    fn tick(&mut self, cx: &mut Ctx<'_>) {
        let applied = cx.state.applied().0;
        let newest = self.newest;
        let due = applied.saturating_sub(newest) >= cx.settings.snapshot_every
            || applied > newest && cx.log_bytes.since(newest) >= self.due_after_bytes(cx);
        let is_awaited = self.wanted.iter().any(|(_, _, at_least)| at_least.0 <= applied);
        if due || is_awaited || cx.raft.snapshot_wanted() || cx.facts.snapshot_frees_space {
            self.take(cx);
        }
        self.ask_for_late_chunk(cx);
        self.accept_installed(cx);
    }

    /// Bytes of log after which the next snapshot is taken: a fraction of the size of a snapshot, so that writing
    /// snapshots costs at most a multiple of the log, within bounds on the replay at a start.
    fn due_after_bytes(&self, cx: &Ctx<'_>) -> u64 {
        let bounds = &cx.settings.snapshot_log_bytes;
        (self.bytes / SNAPSHOT_SHARE).clamp(*bounds.start(), *bounds.end())
    }

    fn take(&mut self, cx: &mut Ctx<'_>) {
        let retry = self.failed.is_some_and(|at| cx.now.mono.saturating_sub(at) < RETRY_AFTER);
        if self.taking.is_some()
            || retry
            || cx.facts.memory_short
            || !cx.facts.is_trusted()
            || !(cx.facts.has_space || cx.facts.snapshot_frees_space)
        {
            return;
        }
        let index = cx.state.applied().0;
        let Some(term) = cx.raft.term_of(index) else { return };
        let members = cx.raft.members();
        if members.voters.is_empty() {
            return;
        }
        self.taking = Some(Taking { index, members: members.clone(), since: cx.now.mono });
        cx.effects.push(Effect::TakeSnapshot { index, term, members });
    }

    fn taken(&mut self, cx: &mut Ctx<'_>, id: u64, manifest: Option<Vec<u8>>) {
        let Some(taking) = self.taking.take_if(|taking| taking.index == id) else { return };
        let Taking { index, members, since } = taking;
        self.failed = manifest.is_none().then_some(cx.now.mono);
        let Some(manifest) = manifest else { return };
        self.bytes = total_bytes(&manifest);
        let took = cx.now.mono.saturating_sub(since).max(cx.settings.tick);
        self.speed = Some((self.bytes as f64 / took.as_secs_f64()) as u64);
        if cx.facts.in_doubt {
            // On disk it is followed by a valid one; no other replica may get it.
            self.newest = index;
            self.manifest = None;
            return;
        }
        // The log was compacted beyond it while it was written: the next one will do.
        if cx.raft.snapshot_taken(index, members, manifest.clone()).is_err() {
            return;
        }
        cx.counters.snapshots_taken += 1;
        self.newest = index;
        let wanted = std::mem::take(&mut self.wanted);
        let (served, waiting): (Vec<_>, Vec<_>) = wanted.into_iter().partition(|(_, _, at_least)| at_least.0 <= index);
        self.wanted = waiting;
        for (node, call, _) in served {
            cx.send(node, PeerMessage::Answer(call, CallAnswer::Snapshot(Some(manifest.clone()))));
        }
        self.manifest = Some(manifest);
        let by_count = (index + 1).saturating_sub(cx.settings.log_kept);
        let by_bytes = cx.log_bytes.keep_from(index, cx.settings.log_kept_bytes);
        let keep_from = if cx.facts.has_space { by_count.max(by_bytes).min(index + 1) } else { index + 1 };
        cx.effects.push(Effect::CompactLog { keep_from });
    }

    fn offered(&mut self, cx: &mut Ctx<'_>, from: NodeId, snapshot: Snapshot) {
        if self.installing.as_ref().is_some_and(|installing| installing.snapshot.index >= snapshot.index) {
            return;
        }
        let ready = self.installed.as_ref().is_some_and(|(ready, _, _)| ready.index >= snapshot.index);
        if ready || !cx.fits(total_bytes(&snapshot.manifest)) {
            return;
        }
        self.begin_install(cx, from, snapshot);
    }

    fn begin_install(&mut self, cx: &mut Ctx<'_>, from: NodeId, snapshot: Snapshot) {
        let (id, manifest) = (snapshot.index, snapshot.manifest.to_vec());
        if let Some(unknown) = SnapshotMeta::newer(&manifest) {
            return cx.effects.push(Effect::LeaveService(format!("VersionUnknown: snapshot {id}: {unknown}")));
        }
        let now = cx.now.mono;
        self.installing = Some(Installing { from, snapshot, call: 0, wants: None, asked: now, progressed: now });
        cx.command(Command::Install { id, manifest });
    }

    fn install_wants(&mut self, cx: &mut Ctx<'_>, file: String, offset: u64, len: u32) {
        let now = cx.now.mono;
        let Some(installing) = self.installing.as_mut() else { return };
        installing.wants = Some((file, offset, len));
        installing.progressed = now;
        self.ask_for_chunk(cx);
    }

    fn ask_for_chunk(&mut self, cx: &mut Ctx<'_>) {
        let call = cx.numbers.allocate();
        let now = cx.now.mono;
        let Some(installing) = self.installing.as_mut() else { return };
        let Some((file, offset, len)) = installing.wants.clone() else { return };
        installing.call = call;
        installing.asked = now;
        let (to, snapshot) = (installing.from, installing.snapshot.index);
        cx.send(to, PeerMessage::Call(call, Call::Chunk { snapshot, file, offset, len }));
    }

    fn ask_for_late_chunk(&mut self, cx: &mut Ctx<'_>) {
        let now = cx.now.mono;
        let Some(installing) = &self.installing else { return };
        if now.saturating_sub(installing.progressed) >= GIVE_UP {
            self.installing = None;
        } else if installing.wants.is_some() && now.saturating_sub(installing.asked) >= PATIENCE {
            self.ask_for_chunk(cx);
        }
    }

    fn chunk(&mut self, cx: &mut Ctx<'_>, call: u64, bytes: Option<Vec<u8>>) {
        let Some(installing) = self.installing.as_mut().filter(|i| i.call == call) else { return };
        let Some((file, offset, _)) = installing.wants.take() else { return };
        match bytes {
            Some(bytes) => cx.command(Command::InstallChunk { file, offset, bytes }),
            // The sender has a newer one by now, which its leader offers.
            None => self.installing = None,
        }
    }

    fn installed(&mut self, cx: &mut Ctx<'_>, meta: &[u8], state: Box<State>) {
        let Some(installing) = self.installing.take() else { return };
        let Ok(meta) = SnapshotMeta::decode(meta) else { return };
        let snapshot = Snapshot { index: meta.index, term: meta.term, members: meta.members(), ..installing.snapshot };
        self.installed = Some((snapshot, meta, state));
        self.accept_installed(cx);
    }

    fn accept_installed(&mut self, cx: &mut Ctx<'_>) {
        let Some((snapshot, meta, state)) = self.installed.take() else { return };
        if cx.facts.in_doubt && meta.index <= cx.state.applied().0 {
            return cx.effects.push(Effect::InstallPeerState { snapshot, meta, state });
        }
        match cx.raft.accept_snapshot(&snapshot) {
            Installation::Accepted => {
                cx.counters.snapshots_installed += 1;
                self.newest = meta.index;
                self.manifest = Some(snapshot.manifest.to_vec());
                self.bytes = total_bytes(&snapshot.manifest);
                cx.effects.push(Effect::ReplaceState { meta, state });
            }
            // The log contains the entries of the snapshot, but they are not applied yet.
            Installation::Superseded if cx.facts.in_doubt => self.installed = Some((snapshot, meta, state)),
            Installation::Superseded | Installation::NotMember => {}
            Installation::Busy => self.installed = Some((snapshot, meta, state)),
        }
    }

    fn wanted(&mut self, cx: &mut Ctx<'_>, from: NodeId, call: u64, at_least: LogIndex) {
        const WAITING: usize = 64;
        let manifest = self.manifest.clone().filter(|_| self.newest >= at_least.0);
        self.wanted.retain(|(node, _, _)| *node != from);
        match manifest {
            _ if !cx.facts.is_trusted() => {}
            Some(manifest) => cx.send(from, PeerMessage::Answer(call, CallAnswer::Snapshot(Some(manifest)))),
            None if self.wanted.len() < WAITING => self.wanted.push((from, call, at_least)),
            None => {}
        }
    }
}

#[cfg(test)]
mod tests;

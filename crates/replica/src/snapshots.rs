//! Snapshots: taking them, letting go of the log behind them, and installing another replica's.

use std::collections::BTreeMap;
use std::time::Duration;

use meridian_model::{BehaviorVersion, LogIndex, ReplicaId, VersionUnknown};
use meridian_proto::frame::{Call, CallAnswer, NodeId, PeerMessage};
use meridian_raft::{Installation, Members, Snapshot};
use meridian_shard::State;
use meridian_store::{EnvelopeError, Manifest, ManifestError};
use serde::{Deserialize, Serialize};

use crate::{Command, Replica};

/// Format version of [`SnapshotMeta`].
const META_VERSION: u8 = 2;
/// A piece that was asked for is asked for again after this.
const PATIENCE: Duration = Duration::from_millis(500);
/// An installation that gets no piece for this long is given up; the leader offers again.
const GIVE_UP: Duration = Duration::from_secs(20);

/// A snapshot that could not be written is tried again after this.
const RETRY_AFTER: Duration = Duration::from_secs(5);
/// A snapshot is taken once the log behind the last one is this part of it: writing snapshots then costs at most four
/// times the disk's bandwidth that the log costs.
const SNAPSHOT_SHARE: u64 = 4;

/// Bytes of all files of a snapshot.
fn total_bytes(manifest: &[u8]) -> u64 {
    Manifest::decode(manifest).map_or(0, |manifest| manifest.total_bytes())
}

/// What a snapshot says beside the state: the opaque bytes of its manifest, which a receiver sees first.
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
    /// Those with a vote then.
    pub voters: Vec<u64>,
    /// Those without.
    pub learners: Vec<u64>,
    /// Where each was reached.
    pub addresses: BTreeMap<ReplicaId, String>,
    /// Index of the newest membership change.
    pub membership_version: LogIndex,
}

/// Bytes that are no [`SnapshotMeta`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotMetaError {
    /// A newer release wrote the snapshot.
    #[error(transparent)]
    VersionUnknown(#[from] VersionUnknown),
    /// Written before 0.2.0, whose formats are not read.
    #[error("format version {0}; this build reads version {META_VERSION}")]
    Version(u8),
    /// Anything else.
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

    /// Undoes [`SnapshotMeta::encode`].
    ///
    /// # Errors
    /// [`SnapshotMetaError::VersionUnknown`] when a newer release wrote the bytes; else when they are anything else.
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

    /// Whether a newer release wrote the snapshot of this encoded manifest. What else may be wrong with it shows when it is
    /// installed.
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

    /// The group then.
    #[must_use]
    pub fn members(&self) -> Members {
        Members { voters: self.voters.iter().copied().collect(), learners: self.learners.iter().copied().collect() }
    }
}

/// Where the snapshots of a replica stand.
#[derive(Default)]
pub(crate) struct Snapshots {
    /// Index of the newest one on disk.
    pub(crate) newest: u64,
    /// Its manifest, for a replica that must re-install.
    pub(crate) manifest: Option<Vec<u8>>,
    /// What its files take.
    pub(crate) bytes: u64,
    /// Bytes a second at which it was written; unknown when this process did not write it.
    pub(crate) speed: Option<u64>,
    /// When one could not be written, if that was the last.
    failed: Option<Duration>,
    taking: Option<Taking>,
    installing: Option<Installing>,
    /// Installed on disk, waiting for the consensus library to take it, or for this replica to be as far.
    pub(crate) installed: Option<(Snapshot, SnapshotMeta, State)>,
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
    /// With a snapshot found on disk.
    pub(crate) fn found(newest: u64, manifest: Option<Vec<u8>>) -> Self {
        let bytes = manifest.as_deref().map_or(0, total_bytes);
        Self { newest, manifest, bytes, ..Self::default() }
    }

    /// Whether another replica's snapshot is on its way.
    pub(crate) fn is_installing(&self) -> bool {
        self.installing.is_some() || self.installed.is_some()
    }

    /// Whether one is being written.
    pub(crate) fn is_taking(&self) -> bool {
        self.taking.is_some()
    }

    /// The newest number that a snapshot of ours has, or will have.
    pub(crate) fn newest_number(&self) -> u64 {
        self.taking.as_ref().map_or(0, |taking| taking.index).max(self.newest)
    }
}

impl Replica {
    /// Tells the consensus library of the snapshot that was on disk at the start.
    pub(crate) fn offer_found_snapshot(&mut self, members: Members) {
        if let Some(manifest) = self.snapshots.manifest.clone() {
            // Unknown only when the log begins behind it, and then it could not be offered.
            let _ = self.raft.snapshot_taken(self.snapshots.newest, members, manifest);
        }
    }

    pub(crate) fn tick_snapshots(&mut self) {
        let applied = self.state.applied().0;
        let newest = self.snapshots.newest;
        let due = applied.saturating_sub(newest) >= self.settings.snapshot_every
            || applied > newest && self.consensus.log_bytes.since(newest) >= self.snapshot_after_bytes();
        let wanted = self.snapshots.wanted.iter().any(|(_, _, at_least)| at_least.0 <= applied);
        if due || wanted || self.raft.snapshot_wanted() || self.snapshot_frees_space() {
            self.take_snapshot();
        }
        self.ask_for_late_chunk();
        self.accept_installed();
    }

    /// Bytes of log after which the next snapshot is taken: a share of what one takes, so that writing them costs at
    /// most as many times what is written to the log, within bounds on what a start reads.
    fn snapshot_after_bytes(&self) -> u64 {
        let bounds = &self.settings.snapshot_log_bytes;
        (self.snapshots.bytes / SNAPSHOT_SHARE).clamp(*bounds.start(), *bounds.end())
    }

    pub(crate) fn take_snapshot(&mut self) {
        let retry = self.snapshots.failed.is_some_and(|at| self.now.mono.saturating_sub(at) < RETRY_AFTER);
        if self.snapshots.taking.is_some()
            || retry
            || self.memory.is_short()
            || !self.is_trusted()
            || !(self.has_space() || self.snapshot_frees_space())
        {
            return;
        }
        let index = self.state.applied().0;
        let Some(term) = self.raft.term_of(index) else { return };
        let members = self.raft.members();
        if members.voters.is_empty() {
            return;
        }
        let meta = SnapshotMeta {
            needs: self.state.behavior(),
            index,
            term,
            voters: members.voters.iter().copied().collect(),
            learners: members.learners.iter().copied().collect(),
            addresses: self.membership.addresses.clone(),
            membership_version: self.membership.version,
        };
        self.note_snapshot_for_space();
        let image = Box::new(self.state.image());
        self.snapshots.taking = Some(Taking { index, members, since: self.now.mono });
        self.out.push(Command::TakeSnapshot { id: index, meta: meta.encode(), image });
    }

    pub(crate) fn snapshot_taken(&mut self, id: u64, manifest: Option<Vec<u8>>) {
        let Some(taking) = self.snapshots.taking.take_if(|taking| taking.index == id) else { return };
        let Taking { index, members, since } = taking;
        self.snapshots.failed = manifest.is_none().then_some(self.now.mono);
        let Some(manifest) = manifest else { return };
        self.snapshots.bytes = total_bytes(&manifest);
        let took = self.now.mono.saturating_sub(since).max(self.settings.tick);
        self.snapshots.speed = Some((self.snapshots.bytes as f64 / took.as_secs_f64()) as u64);
        if self.is_in_doubt() {
            // On disk it is followed by a sound one; nobody else is to have it.
            self.snapshots.newest = index;
            self.snapshots.manifest = None;
            return;
        }
        // Compacted past it while it was written: the next one will do.
        if self.raft.snapshot_taken(index, members, manifest.clone()).is_err() {
            return;
        }
        self.counters.snapshots_taken += 1;
        self.snapshots.newest = index;
        let wanted = std::mem::take(&mut self.snapshots.wanted);
        let (served, waiting): (Vec<_>, Vec<_>) = wanted.into_iter().partition(|(_, _, at_least)| at_least.0 <= index);
        self.snapshots.wanted = waiting;
        for (node, call, _) in served {
            self.send(node, PeerMessage::Answer(call, CallAnswer::Snapshot(Some(manifest.clone()))));
        }
        self.snapshots.manifest = Some(manifest);
        let by_count = (index + 1).saturating_sub(self.settings.log_kept);
        let by_bytes = self.consensus.log_bytes.keep_from(index, self.settings.log_kept_bytes);
        let keep_from = if self.has_space() { by_count.max(by_bytes).min(index + 1) } else { index + 1 };
        self.compact_log(keep_from);
    }

    /// A leader says that this replica is too far behind its log.
    pub(crate) fn snapshot_incoming(&mut self, from: NodeId, snapshot: Snapshot) {
        if self.snapshots.installing.as_ref().is_some_and(|installing| installing.snapshot.index >= snapshot.index) {
            return;
        }
        let ready = self.snapshots.installed.as_ref().is_some_and(|(ready, _, _)| ready.index >= snapshot.index);
        if ready || !self.fits(total_bytes(&snapshot.manifest)) {
            return;
        }
        self.begin_install(from, snapshot);
    }

    pub(crate) fn begin_install(&mut self, from: NodeId, snapshot: Snapshot) {
        let (id, manifest) = (snapshot.index, snapshot.manifest.to_vec());
        if let Some(unknown) = SnapshotMeta::newer(&manifest) {
            return self.leave_service(format!("VersionUnknown: snapshot {id}: {unknown}"));
        }
        let now = self.now.mono;
        self.snapshots.installing =
            Some(Installing { from, snapshot, call: 0, wants: None, asked: now, progressed: now });
        self.out.push(Command::Install { id, manifest });
    }

    pub(crate) fn install_wants(&mut self, file: String, offset: u64, len: u32) {
        let now = self.now.mono;
        let Some(installing) = self.snapshots.installing.as_mut() else { return };
        installing.wants = Some((file, offset, len));
        installing.progressed = now;
        self.ask_for_chunk();
    }

    fn ask_for_chunk(&mut self) {
        let call = self.number();
        let now = self.now.mono;
        let Some(installing) = self.snapshots.installing.as_mut() else { return };
        let Some((file, offset, len)) = installing.wants.clone() else { return };
        installing.call = call;
        installing.asked = now;
        let (to, snapshot) = (installing.from, installing.snapshot.index);
        self.send(to, PeerMessage::Call(call, Call::Chunk { snapshot, file, offset, len }));
    }

    fn ask_for_late_chunk(&mut self) {
        let now = self.now.mono;
        let Some(installing) = &self.snapshots.installing else { return };
        if now.saturating_sub(installing.progressed) >= GIVE_UP {
            self.snapshots.installing = None;
        } else if installing.wants.is_some() && now.saturating_sub(installing.asked) >= PATIENCE {
            self.ask_for_chunk();
        }
    }

    pub(crate) fn chunk(&mut self, call: u64, bytes: Option<Vec<u8>>) {
        let Some(installing) = self.snapshots.installing.as_mut().filter(|i| i.call == call) else { return };
        let Some((file, offset, _)) = installing.wants.take() else { return };
        match bytes {
            Some(bytes) => self.out.push(Command::InstallChunk { file, offset, bytes }),
            // The sender has a newer one by now; its leader offers that.
            None => self.snapshots.installing = None,
        }
    }

    pub(crate) fn installed(&mut self, meta: &[u8], state: State) {
        let Some(installing) = self.snapshots.installing.take() else { return };
        let Ok(meta) = SnapshotMeta::decode(meta) else { return };
        let snapshot = Snapshot { index: meta.index, term: meta.term, members: meta.members(), ..installing.snapshot };
        self.snapshots.installed = Some((snapshot, meta, state));
        self.accept_installed();
    }

    pub(crate) fn install_failed(&mut self, _reason: &str) {
        // The files did not fit their manifest: they are fetched anew when the leader offers again.
        self.snapshots.installing = None;
    }

    pub(crate) fn accept_installed(&mut self) {
        let Some((snapshot, meta, state)) = self.snapshots.installed.take() else { return };
        if self.is_in_doubt() && meta.index <= self.state.applied().0 {
            return self.heal_with(&snapshot, &meta, state);
        }
        match self.raft.accept_snapshot(&snapshot) {
            Installation::Accepted => {
                self.counters.snapshots_installed += 1;
                self.snapshots.newest = meta.index;
                self.snapshots.manifest = Some(snapshot.manifest.to_vec());
                self.snapshots.bytes = total_bytes(&snapshot.manifest);
                self.membership.replace(&meta);
                *self.state.change() = crate::replica::prepared(&self.settings, state);
                self.consensus.places.clear();
                self.consensus.log_bytes = crate::log_bytes::LogBytes::default();
                self.replaced();
            }
            // The log holds what the snapshot does, but it is not applied yet.
            Installation::Superseded if self.is_in_doubt() => self.snapshots.installed = Some((snapshot, meta, state)),
            Installation::Superseded | Installation::NotMember => {}
            Installation::Busy => self.snapshots.installed = Some((snapshot, meta, state)),
        }
    }

    pub(crate) fn snapshot_wanted(&mut self, from: NodeId, call: u64, at_least: LogIndex) {
        const WAITING: usize = 64;
        let manifest = self.snapshots.manifest.clone().filter(|_| self.snapshots.newest >= at_least.0);
        self.snapshots.wanted.retain(|(node, _, _)| *node != from);
        match manifest {
            _ if !self.is_trusted() => {}
            Some(manifest) => self.send(from, PeerMessage::Answer(call, CallAnswer::Snapshot(Some(manifest)))),
            None if self.snapshots.wanted.len() < WAITING => self.snapshots.wanted.push((from, call, at_least)),
            None => {}
        }
    }
}

#[cfg(test)]
mod tests;

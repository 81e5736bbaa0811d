//! Restores a running replica from its volume.

use meridian_model::LogIndex;
use meridian_proto::topology::Identity;
use meridian_raft::{Config, Entry as RaftEntry, HardState, Raft, Restored};
use meridian_shard::{Entry, State};

use crate::consensus::Consensus;
use crate::log_bytes::LogBytes;
use crate::machine::Parts;
use crate::membership::Membership;
use crate::snapshots::Snapshots;
use crate::{LogRecord, Now, RecordError, Replica, Settings, SnapshotMeta, SnapshotMetaError};

/// A snapshot on disk: meta bytes, manifest, state.
pub type FoundSnapshot = (Vec<u8>, Vec<u8>, State);

/// Contents of the volume.
#[derive(Default)]
pub struct Found {
    /// The records of the write-ahead log in order, each with its log sequence number.
    pub records: Vec<(u64, Vec<u8>)>,
    /// The newest complete snapshot.
    pub snapshot: Option<FoundSnapshot>,
    /// Bytes of a truncated torn tail: records that were never acknowledged.
    pub torn_bytes: u64,
}

/// Reason why a replica must not start. It never votes again under this id: it is removed, and joins under a new id.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The log is empty, although the initialization of the volume wrote records to it.
    #[error("the log is empty: it was lost")]
    LogLost,
    /// A record cannot be decoded.
    #[error("log record {lsn}")]
    Record {
        /// Its log sequence number.
        lsn: u64,
        /// The decoding error.
        source: RecordError,
    },
    /// The meta bytes of the snapshot cannot be decoded.
    #[error("snapshot")]
    SnapshotMeta(#[from] SnapshotMetaError),
    /// Log, hard state and snapshot are inconsistent.
    #[error("the log contradicts itself")]
    Log(#[from] meridian_raft::RestoreError),
    /// The number of shards in the identity is invalid.
    #[error("identity")]
    Identity(#[from] meridian_model::BucketTableError),
}

impl RestoreError {
    /// Returns `true` if log or snapshot is lost or damaged, not merely written by another release.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        !self.is_newer()
            && !matches!(
                self,
                Self::SnapshotMeta(SnapshotMetaError::Version(_))
                    | Self::Record { source: RecordError::Version(_), .. }
            )
    }

    /// Returns `true` if a newer release wrote the log or the snapshot.
    #[must_use]
    pub fn is_newer(&self) -> bool {
        matches!(
            self,
            Self::SnapshotMeta(SnapshotMetaError::VersionUnknown(_))
                | Self::Record { source: RecordError::VersionUnknown(_), .. }
        )
    }
}

impl Replica {
    /// Returns the first records of a replica's log, equal for all founders of groups and for all joining replicas.
    /// They are durable before the identity, so that an empty log under an identity is detected as lost.
    #[must_use]
    pub fn bootstrap_records(founded: bool) -> Vec<Vec<u8>> {
        // Only the identity names the founders.
        let born = if founded { Restored::bootstrap([]) } else { Restored::joining() };
        let (index, term) = born.snapshot;
        vec![LogRecord::Base { index, term }.encode(), LogRecord::HardState(born.hard_state).encode()]
    }

    /// Restores a replica from its volume. `incarnation` differs at every start.
    ///
    /// # Errors
    /// If the log is lost or inconsistent: the replica must not vote.
    pub fn restore(
        settings: Settings,
        identity: Identity,
        now: Now,
        incarnation: u64,
        found: Found,
    ) -> Result<Self, RestoreError> {
        if found.records.is_empty() {
            return Err(RestoreError::LogLost);
        }
        let mut log = Log::read(&identity, &found.records)?;
        let born_at = born(&identity).snapshot.0;
        let mut voided = false;
        let (state, membership, members, snapshots) = match found.snapshot {
            Some((meta, manifest, state)) => {
                let meta = SnapshotMeta::decode(&meta)?;
                voided = log.void_if_behind(&meta);
                let mut membership = Membership::default();
                membership.replace(&meta);
                (state, membership, meta.members(), Snapshots::found(meta.index, Some(manifest)))
            }
            None => {
                let mut state = State::new(shard_identity(&identity))?;
                if born_at > 0 {
                    state.apply(LogIndex(born_at), &Entry::Noop);
                }
                (state, Membership::of(&identity.founders), born(&identity).members, Snapshots::found(0, None))
            }
        };
        let consensus = Consensus::with_places(log.places);
        let log_bytes = LogBytes::of(&log.entries);
        let base = LogRecord::Base { index: log.base.0, term: log.base.1 };
        let restored = Restored {
            hard_state: log.hard_state,
            members: members.clone(),
            snapshot: log.base,
            entries: log.entries,
            applied: state.applied().0,
        };
        let config = Config {
            election_ticks: settings.election_ticks,
            heartbeat_ticks: settings.heartbeat_ticks,
            ..Config::new(identity.replica.0, incarnation)
        };
        let raft = Raft::new(config, restored)?;
        let mut replica =
            Self::assemble(settings, identity, now, Parts { raft, state, log_bytes, consensus, membership, snapshots });
        replica.offer_found_snapshot(members);
        if voided {
            // Written before any entry after the snapshot: without it the log would appear to have a gap.
            replica.log_voided(base);
        }
        Ok(replica)
    }
}

fn born(identity: &Identity) -> Restored {
    if identity.founders.is_empty() {
        Restored::joining()
    } else {
        Restored::bootstrap(identity.founders.iter().map(|founder| founder.replica.0))
    }
}

/// Returns the shard identity of a replica.
#[must_use]
pub fn shard_identity(identity: &Identity) -> meridian_shard::Identity {
    let genesis = &identity.genesis;
    meridian_shard::Identity {
        region: genesis.region.clone(),
        shard: genesis.shard,
        shards: genesis.shards,
        primary: (genesis.primary_term, genesis.primary.clone()),
        behavior: identity.behavior,
    }
}

/// Log rebuilt from its records.
struct Log {
    hard_state: HardState,
    base: (u64, u64),
    entries: Vec<RaftEntry>,
    places: Vec<(u64, u64)>,
}

impl Log {
    fn read(identity: &Identity, records: &[(u64, Vec<u8>)]) -> Result<Self, RestoreError> {
        let born = born(identity);
        let mut log =
            Self { hard_state: born.hard_state, base: born.snapshot, entries: Vec::new(), places: Vec::new() };
        for (lsn, bytes) in records {
            match LogRecord::decode(bytes).map_err(|source| RestoreError::Record { lsn: *lsn, source })? {
                LogRecord::HardState(state) => log.hard_state = state,
                LogRecord::Base { index, term } => log.rebase(index, term),
                LogRecord::Entry(entry) => log.append(*lsn, entry),
            }
        }
        Ok(log)
    }

    fn append(&mut self, lsn: u64, entry: RaftEntry) {
        // Released entries may remain at the start of a segment that was not released.
        if entry.index <= self.base.0 {
            return;
        }
        if self.entries.first().is_some_and(|first| entry.index <= first.index) {
            self.entries.clear();
            self.places.clear();
        }
        if let Some(first) = self.entries.first().map(|first| first.index) {
            let keep = usize::try_from(entry.index - first).expect("a log fits into memory");
            self.entries.truncate(keep);
            self.places.truncate(keep);
        }
        self.places.push((entry.index, lsn));
        self.entries.push(entry);
    }

    /// Voids the entries up to `index`, or all if the entry at `index` has another term.
    fn rebase(&mut self, index: u64, term: u64) {
        let held = self.entries.iter().find(|entry| entry.index == index).map(|entry| entry.term);
        if held == Some(term) {
            self.entries.retain(|entry| entry.index > index);
            self.places.retain(|(at, _)| *at > index);
        } else if self.entries.first().is_none_or(|first| first.index <= index) {
            self.entries.clear();
            self.places.clear();
        }
        self.base = (index, term);
    }

    /// Voids the log if a snapshot installed just before the crash is ahead of it. Returns `true` if so.
    fn void_if_behind(&mut self, meta: &SnapshotMeta) -> bool {
        // A released log starts after its base record, which may be later in the file than its first entries.
        let term_at = |index: u64| {
            let entry = self.entries.iter().find(|entry| entry.index == index).map(|entry| entry.term);
            entry.or((index == self.base.0).then_some(self.base.1))
        };
        let void = term_at(meta.index) != Some(meta.term);
        if void {
            self.base = (meta.index, meta.term);
            self.entries.clear();
            self.places.clear();
            if self.hard_state.term < meta.term {
                // No vote of that term exists: it would be in the log.
                self.hard_state = HardState { term: meta.term, vote: 0, ..self.hard_state };
            }
        }
        void
    }
}

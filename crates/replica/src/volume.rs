//! A replica's folder: its identity, its log, its snapshots. Obeys the disk commands of the machine on any [`Disk`].
//!
//! ```text
//!   identity      what the folder is a replica of; written last by the initialization, never changed
//!   log/          the write-ahead log
//!   snapshots/    snapshots, and one being installed
//! ```
//! A folder belongs to one identity for ever; a replica that must join anew has its old folder moved aside first.

use meridian_proto::topology::Identity;
use meridian_shard::{Image, State};
use meridian_store::{
    AtomicError, CommitError, Disk, Install, InstallError, Lsn, ManifestError, OpenError, SealError, SnapshotError,
    SnapshotId, Snapshots, Wal, WalOptions,
};

use crate::{Command, Event, Found};

mod folder;

pub use folder::{Folder, identity_of, initialize, inspect};

const LOG: &str = "log";
const SNAPSHOTS: &str = "snapshots";

/// Why a replica's folder could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum VolumeError {
    /// The folder cannot be read.
    #[error("replica folder")]
    Folder(#[source] std::io::Error),
    /// Something was a replica here, and its identity cannot be read.
    #[error("{0}")]
    NoIdentity(String),
    /// The identity cannot be read or written.
    #[error("identity")]
    Identity(#[from] AtomicError),
    /// The identity is no identity.
    #[error("the identity cannot be decoded")]
    IdentityMalformed,
    /// It is another replica's folder.
    #[error("the folder belongs to replica {found} of shard {shard} in cluster {cluster}")]
    Foreign {
        /// Its replica.
        found: meridian_model::ReplicaId,
        /// Its shard.
        shard: meridian_model::ShardNumber,
        /// Its cluster.
        cluster: meridian_model::ClusterId,
    },
    /// The log is damaged, or another's.
    #[error("log")]
    Log(#[from] OpenError),
    /// The log cannot be written.
    #[error("log")]
    Commit(#[from] CommitError),
    /// The snapshots cannot be read.
    #[error("snapshots")]
    Snapshots(#[from] SnapshotError),
    /// The newest snapshot is damaged, and the log may no longer reach back to an older one.
    #[error("snapshot {0} is damaged")]
    SnapshotDamaged(u64),
    /// The state in a snapshot cannot be read.
    #[error("snapshot {id}")]
    State {
        /// Which.
        id: u64,
        /// What is wrong.
        source: meridian_shard::RestoreError,
    },
}

impl VolumeError {
    /// Whether what is on the disk is lost or wrong, so that the replica must join anew, rather than the disk refusing just
    /// now, or a newer release having written it.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Log(fault) => Self::is_log_damage(fault),
            Self::Identity(fault) => folder::is_damaged_file(fault),
            Self::Snapshots(fault) => is_snapshot_damage(fault),
            Self::State { source, .. } => source.is_damage(),
            Self::SnapshotDamaged(_) | Self::IdentityMalformed | Self::NoIdentity(_) => true,
            Self::Foreign { .. } | Self::Commit(_) | Self::Folder(_) => false,
        }
    }

    fn is_log_damage(fault: &OpenError) -> bool {
        !matches!(fault, OpenError::Disk { .. } | OpenError::FutureVersion { .. })
    }
}

/// Whether a snapshot is not what was written. A file that is missing or short is; one that cannot be read is not.
fn is_snapshot_damage(fault: &SnapshotError) -> bool {
    match fault {
        SnapshotError::Disk { source, .. } => {
            matches!(source.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::UnexpectedEof)
        }
        SnapshotError::Manifest { source, .. } => {
            !matches!(source, ManifestError::Seal(SealError::FutureVersion { .. }))
        }
        SnapshotError::Damaged { .. } | SnapshotError::Name(_) => true,
        SnapshotError::Exists(_) => false,
    }
}

fn foreign(found: &Identity) -> VolumeError {
    let (shard, cluster) = (found.genesis.shard, found.genesis.cluster);
    VolumeError::Foreign { found: found.replica, shard, cluster }
}

fn options(identity: &Identity, segment_bytes: u64) -> WalOptions {
    let mut owner = [0; 16];
    owner[..8].copy_from_slice(&identity.replica.0.to_le_bytes());
    owner[8..10].copy_from_slice(&identity.genesis.shard.number().to_le_bytes());
    WalOptions { owner, segment_bytes }
}

/// The log of a replica: commits are grouped.
pub struct LogVolume<D: Disk> {
    wal: Wal<D>,
    /// Appended, and not durable because the disk was full.
    waiting: Vec<Event>,
}

/// The snapshots of a replica.
pub struct SnapshotVolume<D: Disk> {
    snapshots: Snapshots<D>,
    installing: Option<Install<D>>,
}

/// Opens the folder of `identity`: its two halves, and what they held.
///
/// # Errors
/// When anything in it is damaged, another's, or of a future format.
pub fn open<D: Disk>(
    disk: &D,
    identity: &Identity,
    segment_bytes: u64,
) -> Result<(LogVolume<D>, SnapshotVolume<D>, Found), VolumeError> {
    let (wal, recovered) = Wal::open(disk, LOG, options(identity, segment_bytes))?;
    let snapshots = Snapshots::open(disk, SNAPSHOTS)?;
    let snapshot = match snapshots.list()?.last() {
        None => None,
        Some(id) => {
            let damaged =
                |fault: VolumeError| if fault.is_damage() { VolumeError::SnapshotDamaged(id.0) } else { fault };
            let snapshot = snapshots.snapshot(*id).map_err(|fault| damaged(fault.into()))?;
            let manifest = snapshot.manifest().encode().map_err(|_| VolumeError::SnapshotDamaged(id.0))?;
            let state = load(&snapshot).map_err(damaged)?;
            Some((snapshot.meta().to_vec(), manifest, state))
        }
    };
    let records = recovered.records.into_iter().map(|(lsn, bytes)| (lsn.0, bytes)).collect();
    let found = Found { records, snapshot, torn_bytes: recovered.torn_bytes };
    Ok((LogVolume { wal, waiting: Vec::new() }, SnapshotVolume { snapshots, installing: None }, found))
}

fn load<D: Disk>(snapshot: &meridian_store::Snapshot<D>) -> Result<State, VolumeError> {
    let open = |name: &str| match snapshot.reader(name) {
        Ok(file) => Ok(Some(file)),
        Err(SnapshotError::Name(_)) => Ok(None),
        Err(SnapshotError::Disk { source, .. }) => Err(source),
        Err(fault) => Err(std::io::Error::new(std::io::ErrorKind::InvalidData, fault)),
    };
    State::read(open).map_err(|source| VolumeError::State { id: snapshot.id().0, source })
}

impl<D: Disk> LogVolume<D> {
    /// Makes all these batches durable by one commit; the events say so. When the disk is full the batches stay, and are
    /// made durable by a later call, also one without batches.
    ///
    /// # Errors
    /// [`CommitError::Full`] when the disk is full. After any other, what is on the disk is unknown: the replica must stop,
    /// and recover from the disk.
    pub fn persist(&mut self, batches: &[(u64, Vec<Vec<u8>>)]) -> Result<Vec<Event>, CommitError> {
        for (number, records) in batches {
            let first = self.wal.next_lsn().0;
            for record in records {
                self.wal.append(record).map_err(|fault| CommitError::Disk {
                    file: LOG.into(),
                    source: std::io::Error::other(fault.to_string()),
                })?;
            }
            self.waiting.push(Event::Persisted { number: *number, first });
        }
        self.wal.commit()?;
        Ok(std::mem::take(&mut self.waiting))
    }

    /// Length of the log's files.
    #[must_use]
    pub fn disk_bytes(&self) -> u64 {
        self.wal.stats().disk_bytes
    }

    /// Lets go of what stands before `lsn`; with `shrink`, gives the space back to the disk.
    ///
    /// # Errors
    /// As [`LogVolume::persist`].
    pub fn release(&mut self, lsn: u64, shrink: bool) -> Result<(), CommitError> {
        self.wal.release(Lsn(lsn));
        if shrink { self.wal.shrink() } else { Ok(()) }
    }

    /// Bytes that the log can take without asking the disk for space.
    #[must_use]
    pub fn reusable_bytes(&self) -> u64 {
        self.wal.reusable_bytes()
    }

    /// Makes a spare segment, when nothing else is to be done.
    ///
    /// # Errors
    /// As [`LogVolume::persist`].
    pub fn prepare(&mut self) -> Result<(), CommitError> {
        self.wal.prepare()
    }
}

impl<D: Disk> SnapshotVolume<D> {
    /// Obeys a command about snapshots; any other one is handed back.
    ///
    /// # Errors
    /// The command, if it is not about snapshots.
    pub fn obey(&mut self, command: Command) -> Result<Option<Event>, Box<Command>> {
        Ok(match command {
            Command::TakeSnapshot { id, meta, image } => {
                let manifest = self.take(id, meta, &image).ok();
                Some(Event::SnapshotTaken { id, manifest })
            }
            Command::ReadChunk { to, call, snapshot, file, offset, len } => {
                let read = |held: meridian_store::Snapshot<D>| held.read_chunk(&file, offset, u64::from(len));
                let bytes = self.snapshots.snapshot(SnapshotId(snapshot)).and_then(read).ok();
                Some(Event::ChunkRead { to, call, bytes })
            }
            Command::Install { manifest, .. } => Some(self.install(&manifest)),
            Command::InstallChunk { file, offset, bytes } => self.install_chunk(&file, offset, &bytes),
            other => return Err(Box::new(other)),
        })
    }

    fn take(&self, id: u64, meta: Vec<u8>, image: &Image) -> Result<Vec<u8>, SnapshotError> {
        let mut writer = self.snapshots.write(SnapshotId(id))?;
        for content in image.files() {
            let name = content.name();
            let mut file = writer.file(&name)?;
            content.write(&mut file).map_err(|source| SnapshotError::Disk { file: name, source })?;
            file.finish()?;
        }
        let snapshot = writer.commit(meta)?;
        self.snapshots.remove_older(SnapshotId(id))?;
        snapshot.manifest().encode().map_err(|_| SnapshotError::Name("manifest".into()))
    }

    fn install(&mut self, manifest: &[u8]) -> Event {
        match self.snapshots.install(manifest) {
            Ok(install) => {
                self.installing = Some(install);
                self.next_wanted()
            }
            // Installed before a crash, and not taken yet by the machine.
            Err(InstallError::Exists(id)) => match self.snapshots.snapshot(id) {
                Ok(snapshot) => installed(&snapshot),
                Err(fault) => Event::InstallFailed(fault.to_string()),
            },
            Err(fault) => Event::InstallFailed(fault.to_string()),
        }
    }

    fn install_chunk(&mut self, file: &str, offset: u64, bytes: &[u8]) -> Option<Event> {
        let install = self.installing.as_mut()?;
        match install.write_chunk(file, offset, bytes) {
            Ok(()) => Some(self.next_wanted()),
            Err(fault) => {
                self.installing = None;
                Some(Event::InstallFailed(fault.to_string()))
            }
        }
    }

    fn next_wanted(&mut self) -> Event {
        let Some(install) = self.installing.as_mut() else {
            return Event::InstallFailed("no snapshot is being installed".into());
        };
        if let Some(chunk) = install.missing(1).into_iter().next() {
            let len = u32::try_from(chunk.bytes).expect("a chunk is a mebibyte at most");
            return Event::InstallWants { file: chunk.file, offset: chunk.offset, len };
        }
        let finished = install.finish();
        self.installing = None;
        match finished {
            Ok(snapshot) => {
                // Older ones that stay cost only space.
                let _ = self.snapshots.remove_older(snapshot.id());
                installed(&snapshot)
            }
            Err(fault) => Event::InstallFailed(fault.to_string()),
        }
    }
}

fn installed<D: Disk>(snapshot: &meridian_store::Snapshot<D>) -> Event {
    match load(snapshot) {
        Ok(state) => Event::Installed { meta: snapshot.meta().to_vec(), state: Box::new(state) },
        Err(fault) => Event::InstallFailed(fault.to_string()),
    }
}

#[cfg(test)]
mod tests;

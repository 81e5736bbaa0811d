//! Faults of a replica's folder, and which of them are damage.

use meridian_proto::topology::Identity;
use meridian_replica::{RecordError, SnapshotMetaError};
use meridian_store::{AtomicError, CommitError, EnvelopeError, ManifestError, OpenError, SnapshotError};

/// Reason why a replica's folder could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum VolumeError {
    /// The folder cannot be read.
    #[error("replica folder")]
    Folder(#[source] std::io::Error),
    /// The folder was a replica's, and its identity cannot be read.
    #[error("{0}")]
    NoIdentity(String),
    /// The identity cannot be read or written.
    #[error("identity")]
    Identity(#[from] AtomicError),
    /// The identity is no identity.
    #[error("the identity cannot be decoded")]
    IdentityMalformed,
    /// The folder is another replica's.
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
    /// A record of the log is of another release.
    #[error("log record {lsn}")]
    Record {
        /// Its log sequence number.
        lsn: u64,
        /// Its version.
        source: RecordError,
    },
    /// A file is of a newer release.
    #[error("{0}")]
    Newer(String),
    /// The meta bytes of a snapshot are of another release.
    #[error("snapshot {id}")]
    SnapshotMeta {
        /// Its id.
        id: u64,
        /// Its version.
        source: SnapshotMetaError,
    },
    /// The snapshots cannot be read.
    #[error("snapshots")]
    Snapshots(#[from] SnapshotError),
    /// The newest snapshot is damaged, and the log may no longer reach back to an older one.
    #[error("snapshot {0} is damaged")]
    SnapshotDamaged(u64),
    /// The state in a snapshot cannot be read.
    #[error("snapshot {id}")]
    State {
        /// Its id.
        id: u64,
        /// The fault.
        source: meridian_shard::RestoreError,
    },
}

impl VolumeError {
    /// Whether the content of the disk is lost or wrong, so that the replica must join under a new id. A disk that refuses
    /// and a file of a newer release are no damage.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Log(fault) => Self::is_log_damage(fault),
            Self::Identity(fault) => crate::folder::is_damaged_file(fault),
            Self::Snapshots(fault) => is_snapshot_damage(fault),
            Self::State { source, .. } => source.is_damage(),
            Self::SnapshotDamaged(_) | Self::IdentityMalformed | Self::NoIdentity(_) => true,
            Self::Record { .. } | Self::SnapshotMeta { .. } | Self::Newer(_) => false,
            Self::Foreign { .. } | Self::Commit(_) | Self::Folder(_) => false,
        }
    }

    /// Whether a newer release wrote a file of the disk. The files stay as they are, for that release.
    #[must_use]
    pub fn is_newer(&self) -> bool {
        match self {
            Self::Newer(_) => true,
            Self::Log(fault) => matches!(fault, OpenError::FutureVersion { .. }),
            Self::Record { source, .. } => matches!(source, RecordError::VersionUnknown(_)),
            Self::Identity(AtomicError::Content { source, .. }) => {
                matches!(source, EnvelopeError::FutureVersion { .. })
            }
            Self::Snapshots(SnapshotError::Manifest { source, .. }) => {
                matches!(source, ManifestError::Envelope(EnvelopeError::FutureVersion { .. }))
            }
            Self::SnapshotMeta { source, .. } => matches!(source, SnapshotMetaError::VersionUnknown(_)),
            Self::State { source, .. } => source.is_newer(),
            Self::Identity(AtomicError::Disk { .. }) | Self::Snapshots(_) | Self::SnapshotDamaged(_) => false,
            Self::IdentityMalformed | Self::NoIdentity(_) | Self::Foreign { .. } => false,
            Self::Commit(_) | Self::Folder(_) => false,
        }
    }

    /// The error and its causes, for a status.
    #[must_use]
    pub fn describe(&self) -> String {
        let causes = std::iter::successors(Some(self as &dyn std::error::Error), |fault| fault.source());
        causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
    }

    pub(crate) fn is_log_damage(fault: &OpenError) -> bool {
        !matches!(fault, OpenError::Disk { .. } | OpenError::FutureVersion { .. })
    }
}

/// Whether a snapshot is not as it was written. A missing or short file is damage; one that cannot be read is not.
fn is_snapshot_damage(fault: &SnapshotError) -> bool {
    match fault {
        SnapshotError::Disk { source, .. } => {
            matches!(source.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::UnexpectedEof)
        }
        SnapshotError::Manifest { source, .. } => {
            !matches!(source, ManifestError::Envelope(EnvelopeError::FutureVersion { .. }))
        }
        SnapshotError::Damaged { .. } | SnapshotError::Name(_) => true,
        SnapshotError::Exists(_) => false,
    }
}

pub(crate) fn foreign(found: &Identity) -> VolumeError {
    let (shard, cluster) = (found.genesis.shard, found.genesis.cluster);
    VolumeError::Foreign { found: found.replica, shard, cluster }
}

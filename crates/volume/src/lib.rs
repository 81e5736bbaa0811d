//! A pod's volume: the folder of its replica on any [`Disk`], and the decisions of a pod whose replica does not run.
//!
//! Owns the layout of the folder, which content of it is damage, and the disk work that the machine commands. A
//! [`Lifecycle`] decides from the folder and the operator's calls whether a replica runs. Deliberately does not know:
//! threads, processes, the peer port. `node` runs it on real disks, `sim` on disks that crash.
//!
//! ```text
//!   replica/      the folder of the replica: Folder
//!     identity    its identity; written last by the initialization, never changed
//!     log/        the write-ahead log: LogVolume
//!     snapshots/  snapshots, and one being installed: SnapshotVolume
//!   retired-3/    the folder of an earlier replica: Retired
//! ```
//! A folder belongs to one identity for ever. A replica that must join under a new id has its old folder moved aside first.
//!
//! Start reading at [`Lifecycle::handle`], then [`inspect_volume`].

use meridian_proto::topology::Identity;
use meridian_replica::{Found, FoundSnapshot, LogRecord, SnapshotMeta, SnapshotMetaError};
use meridian_store::{Disk, Snapshots, Wal, WalOptions};

mod assignment;
mod error;
mod folder;
pub mod lifecycle;
mod log;
pub mod retired;
mod snapshots;

pub use assignment::Assignment;
pub use error::VolumeError;
pub use folder::{Folder, initialize_volume, inspect_volume};
pub use lifecycle::{Damage, Decision, Lifecycle, PodState};
pub use log::LogVolume;
pub use retired::Retired;
pub use snapshots::SnapshotVolume;

use log::LOG;
use snapshots::SNAPSHOTS;

fn options(identity: &Identity, segment_bytes: u64) -> WalOptions {
    let mut owner = [0; 16];
    owner[..8].copy_from_slice(&identity.replica.0.to_le_bytes());
    owner[8..10].copy_from_slice(&identity.genesis.shard.number().to_le_bytes());
    WalOptions { owner, segment_bytes }
}

/// Opens the folder of `identity`: the log, the snapshots, and their contents. `segment_bytes`: size of a log segment.
///
/// # Errors
/// Something in it is damaged, of another replica, or of a newer release; then nothing on the disk was changed. Or the
/// disk returns an error.
pub fn open_volume<D: Disk>(
    disk: &D,
    identity: &Identity,
    segment_bytes: u64,
) -> Result<(LogVolume<D>, SnapshotVolume<D>, Found), VolumeError> {
    let log = Wal::read(disk, LOG, options(identity, segment_bytes))?;
    for (lsn, record) in log.records() {
        LogRecord::check_versions(record).map_err(|source| VolumeError::Record { lsn: lsn.0, source })?;
    }
    let snapshot = newest_snapshot(&Snapshots::as_they_are(disk, SNAPSHOTS))?;
    // All of it is sound and of this release. From here on the disk is written to.
    let (wal, recovered) = log.open()?;
    let snapshots = Snapshots::open(disk, SNAPSHOTS)?;
    let records = recovered.records.into_iter().map(|(lsn, bytes)| (lsn.0, bytes)).collect();
    let found = Found { records, snapshot, torn_bytes: recovered.torn_bytes };
    Ok((LogVolume { wal, waiting: Vec::new() }, SnapshotVolume { snapshots, installing: None }, found))
}

/// The newest snapshot: its meta bytes, its manifest, its state. An older one never stands in for it: the log may no longer
/// reach back to that.
fn newest_snapshot<D: Disk>(snapshots: &Snapshots<D>) -> Result<Option<FoundSnapshot>, VolumeError> {
    match snapshots.list()?.last() {
        None => Ok(None),
        Some(id) => {
            let damaged =
                |fault: VolumeError| if fault.is_damage() { VolumeError::SnapshotDamaged(id.0) } else { fault };
            let snapshot = snapshots.snapshot(*id).map_err(|fault| damaged(fault.into()))?;
            if let Err(source @ SnapshotMetaError::VersionUnknown(_)) = SnapshotMeta::decode(snapshot.meta()) {
                return Err(VolumeError::SnapshotMeta { id: id.0, source });
            }
            let manifest = snapshot.manifest().encode().map_err(|_| VolumeError::SnapshotDamaged(id.0))?;
            let state = snapshots::load(&snapshot).map_err(damaged)?;
            Ok(Some((snapshot.meta().to_vec(), manifest, state)))
        }
    }
}

#[cfg(test)]
mod newer_tests;
#[cfg(test)]
mod tests;

//! State of a folder: blank, a replica's, of a newer release, or damaged.
//!
//! The identity is written last, so a folder without one is blank only when nothing else is in it, or nothing but an
//! initialization that was interrupted: a log of initialization records. Anything else was a replica once. It may have
//! voted, so it never becomes a member under its old id again.
//!
//! ```text
//!   identity   envelope of `store::write_atomic`, version 3; postcard of, in order:
//!              cluster | region | shard | shards | primary region | primary term    the genesis
//!              replica | founders: (id, address)… | replication group, or none | behavior version
//!   version 2 has no behavior version, version 1 no group either
//! ```

use std::io;

use meridian_model::{BehaviorVersion, ReplicaId, VersionUnknown};
use meridian_proto::topology::{Genesis, Identity, Member};
use meridian_replica::Replica;
use meridian_store::{AtomicError, Disk, EnvelopeError, OpenError, Peeked, Wal, read_atomic, write_atomic};

use crate::error::foreign;
use crate::log::LOG;
use crate::{VolumeError, options};

const IDENTITY: &str = "identity";
/// Version 2 added the replication group, version 3 the behavior version. An identity without one has the first.
const IDENTITY_VERSION: u32 = 3;
/// The draft of the identity, as [`write_atomic`] names it.
const DRAFT: &str = "identity.tmp";

/// State of a replica's folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Folder {
    /// Empty, or an initialization that was interrupted: it may become any replica.
    Blank,
    /// This replica's. Whether its log is sound shows when it is opened.
    Replica(Identity),
    /// A replica's whose identity cannot be read.
    Damaged {
        /// Its id, as far as the log can be read.
        replica: Option<ReplicaId>,
        /// The damage.
        reason: String,
    },
    /// A newer release wrote its identity, or its log when there is no identity. It is not touched.
    Newer {
        /// The file, its version, and the newest version that this build reads.
        reason: String,
    },
}

/// Reads the state of a folder; changes nothing.
///
/// # Errors
/// When the disk cannot be read, which is not damage.
pub fn inspect_volume(disk: &impl Disk) -> Result<Folder, VolumeError> {
    match inspect(disk) {
        Err(fault) if fault.is_newer() => Ok(Folder::Newer { reason: fault.describe() }),
        found => found,
    }
}

fn inspect(disk: &impl Disk) -> Result<Folder, VolumeError> {
    let reason = match identity_of(disk) {
        Ok(Some(identity)) => return Ok(Folder::Replica(identity)),
        Ok(None) => None,
        Err(fault) if fault.is_damage() => Some(describe(&fault)),
        Err(fault) => return Err(fault),
    };
    let names = disk.list("").map_err(VolumeError::Folder)?;
    let log = if names.iter().any(|name| name == LOG) { peek(disk)? } else { Ok(Peeked::default()) };
    let replica = log.as_ref().ok().and_then(|log| log.owner).map(owner_of);
    let reason = match (reason, names.iter().find(|name| ![LOG, DRAFT].contains(&name.as_str())), log) {
        (Some(reason), _, _) => reason,
        (None, Some(other), _) => format!("there is no identity beside {other}"),
        (None, None, Ok(log)) if names.is_empty() || is_unfinished(&log) => return Ok(Folder::Blank),
        (None, None, Ok(_)) => "there is no identity, and the log is that of a replica which ran".into(),
        (None, None, Err(fault)) => format!("there is no identity, and the log is damaged: {fault}"),
    };
    Ok(Folder::Damaged { replica, reason })
}

/// The identity of the folder's replica; `None` when there is none.
///
/// # Errors
/// When the identity is there and cannot be read.
pub(crate) fn identity_of(disk: &impl Disk) -> Result<Option<Identity>, VolumeError> {
    match read_atomic(disk, IDENTITY, IDENTITY_VERSION)? {
        None => Ok(None),
        Some((version, bytes)) => {
            let identity = decode(version, &bytes).map_err(|_| VolumeError::IdentityMalformed)?;
            VersionUnknown::check(identity.behavior)
                .map_err(|unknown| VolumeError::Newer(format!("identity: {unknown}")))?;
            Ok(Some(identity))
        }
    }
}

fn decode(version: u32, bytes: &[u8]) -> postcard::Result<Identity> {
    type Version1 = (Genesis, ReplicaId, Vec<Member>);
    let ((genesis, replica, founders), group, behavior) = match version {
        1 => (whole(postcard::take_from_bytes::<Version1>(bytes)?)?, None, BehaviorVersion::FIRST),
        2 => {
            let (identity, group) = whole(postcard::take_from_bytes::<(Version1, Option<String>)>(bytes)?)?;
            (identity, group, BehaviorVersion::FIRST)
        }
        _ => whole(postcard::take_from_bytes::<(Version1, Option<String>, BehaviorVersion)>(bytes)?)?,
    };
    Ok(Identity { genesis, replica, founders, group, behavior })
}

/// The value, if nothing is left behind it.
fn whole<T>((value, rest): (T, &[u8])) -> postcard::Result<T> {
    if rest.is_empty() { Ok(value) } else { Err(postcard::Error::DeserializeBadEncoding) }
}

fn encode(identity: &Identity) -> Vec<u8> {
    let Identity { genesis, replica, founders, group, behavior } = identity;
    postcard::to_stdvec(&(genesis, replica, founders, group, behavior)).expect("an identity can be encoded")
}

/// Initializes a blank folder for a replica: first the log with its initialization records, last the identity, so that an
/// identity without a log proves that the log was lost. `segment_bytes`: size of a log segment. An interrupted initialization is repeated; repeating a finished one
/// with the same identity changes nothing.
///
/// # Errors
/// The folder is another replica's or damaged, or the disk returns an error.
pub fn initialize_volume(disk: &impl Disk, identity: &Identity, segment_bytes: u64) -> Result<(), VolumeError> {
    match inspect_volume(disk)? {
        Folder::Replica(found) if found == *identity => return Ok(()),
        Folder::Replica(found) => return Err(foreign(&found)),
        Folder::Damaged { reason, .. } => return Err(VolumeError::NoIdentity(reason)),
        Folder::Newer { reason } => return Err(VolumeError::Newer(reason)),
        Folder::Blank => {}
    }
    clear(disk).map_err(VolumeError::Folder)?;
    let (mut wal, _) = Wal::open(disk, LOG, options(identity, segment_bytes))?;
    for record in Replica::bootstrap_records(!identity.founders.is_empty()) {
        wal.append(&record).expect("initialization records are small, and the log is fresh");
    }
    wal.commit()?;
    write_atomic(disk, IDENTITY, IDENTITY_VERSION, &encode(identity))?;
    Ok(())
}

/// Removes the files of an interrupted initialization.
fn clear(disk: &impl Disk) -> io::Result<()> {
    for name in disk.list("")? {
        if name == LOG {
            for file in disk.list(LOG)? {
                disk.remove(&format!("{LOG}/{file}"))?;
            }
            disk.sync_dir(LOG)?;
            disk.remove_dir(LOG)?;
        } else {
            disk.remove(&name)?;
        }
    }
    disk.sync_dir("")
}

/// The log of a folder; the inner error is damage.
fn peek<D: Disk>(disk: &D) -> Result<Result<Peeked, OpenError>, VolumeError> {
    match Wal::peek(disk, LOG).map_err(VolumeError::Log) {
        Ok(log) => Ok(Ok(log)),
        Err(VolumeError::Log(fault)) if VolumeError::is_log_damage(&fault) => Ok(Err(fault)),
        Err(fault) => Err(fault),
    }
}

/// Nothing was written to the log but the records of its initialization, or the first of them.
fn is_unfinished(log: &Peeked) -> bool {
    let Some(records) = &log.records else { return false };
    [true, false].into_iter().any(|founded| Replica::bootstrap_records(founded).starts_with(records))
}

/// The replica that [`options`] wrote into the owner of a log.
fn owner_of(owner: [u8; 16]) -> ReplicaId {
    let (replica, _) = owner.split_at(8);
    ReplicaId(u64::from_le_bytes(replica.try_into().expect("eight bytes")))
}

fn describe(fault: &VolumeError) -> String {
    match fault {
        VolumeError::Identity(AtomicError::Content { source, .. }) => format!("the identity is damaged: {source}"),
        VolumeError::Identity(AtomicError::Disk { source, .. }) => format!("the identity is no file of ours: {source}"),
        other => other.to_string(),
    }
}

/// Whether the content of a small file is damaged. A disk that refuses and a file of a newer release are no damage.
pub(crate) fn is_damaged_file(fault: &AtomicError) -> bool {
    match fault {
        AtomicError::Content { source, .. } => !matches!(source, EnvelopeError::FutureVersion { .. }),
        AtomicError::Disk { source, .. } => {
            matches!(source.kind(), io::ErrorKind::IsADirectory | io::ErrorKind::FileTooLarge)
        }
    }
}

#[cfg(test)]
mod tests;

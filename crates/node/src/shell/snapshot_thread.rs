//! The thread that owns the snapshots.

use std::sync::mpsc::Receiver;

use meridian_replica::Command;
use meridian_replica::volume::SnapshotVolume;
use meridian_store::RealDisk;

use super::engine::Inbox;

/// Obeys until the queue closes.
pub(super) fn run(mut snapshots: SnapshotVolume<RealDisk>, jobs: &Receiver<Command>, inbox: &Inbox) {
    while let Ok(command) = jobs.recv() {
        if let Ok(Some(event)) = snapshots.obey(command) {
            inbox.must(event);
        }
    }
}

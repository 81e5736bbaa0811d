//! The snapshot thread.

use std::sync::mpsc::Receiver;

use meridian_replica::Command;
use meridian_store::RealDisk;
use meridian_volume::SnapshotVolume;

use super::engine::Inbox;

/// Linux's lowest priority: snapshots use only idle processor time.
const NICE: i32 = 19;

/// Performs snapshot commands until the queue closes.
pub(super) fn run(mut snapshots: SnapshotVolume<RealDisk>, jobs: &Receiver<Command>, inbox: &Inbox) {
    // On Linux the priority is per thread, and `None` is the calling thread. A failure only costs search latency.
    if let Err(error) = rustix::process::setpriority_process(None, NICE) {
        tracing::warn!(%error, "snapshot thread runs at normal priority");
    }
    while let Ok(command) = jobs.recv() {
        if let Ok(Some(event)) = snapshots.perform(command) {
            inbox.send_blocking(event);
        }
    }
}

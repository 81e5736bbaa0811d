//! The thread that owns the snapshots.

use std::sync::mpsc::Receiver;

use meridian_replica::Command;
use meridian_store::RealDisk;
use meridian_volume::SnapshotVolume;

use super::engine::Inbox;

/// The least priority that Linux gives to a thread: snapshots take what searches leave of the processors.
const NICE: i32 = 19;

/// Obeys until the queue closes.
pub(super) fn run(mut snapshots: SnapshotVolume<RealDisk>, jobs: &Receiver<Command>, inbox: &Inbox) {
    // On Linux a priority is a thread's own, and this names the calling one. Without it snapshots are only less polite.
    if let Err(fault) = rustix::process::setpriority_process(None, NICE) {
        tracing::warn!(%fault, "snapshots are written at the priority of searches");
    }
    while let Ok(command) = jobs.recv() {
        if let Ok(Some(event)) = snapshots.perform(command) {
            inbox.must(event);
        }
    }
}

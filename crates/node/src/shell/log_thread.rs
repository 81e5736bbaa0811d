//! The thread that owns the log: it drains its queue, writes once, syncs once, and completes all.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use meridian_replica::Event;
use meridian_replica::volume::LogVolume;
use meridian_store::{CommitError, Disk, RealDisk};

use super::engine::Inbox;
use crate::metrics::Metrics;

/// What the log is asked to do.
pub(super) enum LogJob {
    /// Append and sync.
    Persist { number: u64, records: Vec<Vec<u8>> },
    /// Let go of what stands before.
    Release(u64),
}

/// How often the free space is looked at, and a commit that found the disk full is tried again.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// With less than this free, writes are refused before the log itself runs into the wall: four segments.
const LEAST_FREE: u64 = 4 * meridian_store::SEGMENT_BYTES;

/// Runs until the queue closes. An error means that what is on the disk is unknown: the process must end.
pub(super) fn run(
    disk: &RealDisk,
    mut log: LogVolume<RealDisk>,
    jobs: &Receiver<LogJob>,
    inbox: &Inbox,
    metrics: &Arc<Metrics>,
) -> Result<(), CommitError> {
    let mut full = false;
    loop {
        let mut batches = Vec::new();
        let mut release = None;
        match jobs.recv_timeout(LOOK_EVERY) {
            Ok(job) => sort(job, &mut batches, &mut release),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        }
        while let Ok(job) = jobs.try_recv() {
            sort(job, &mut batches, &mut release);
        }
        let begun = Instant::now();
        let mut refused = false;
        match log.persist(&batches) {
            Ok(events) => {
                if !events.is_empty() {
                    metrics.wal_sync.observe(begun.elapsed().as_secs_f64());
                }
                events.into_iter().for_each(|event| inbox.must(event));
            }
            Err(fault @ CommitError::Full { .. }) => {
                tracing::warn!(%fault, "the disk is full; records wait");
                refused = true;
            }
            Err(fault) => return Err(fault),
        }
        if let Some(lsn) = release {
            log.release(lsn);
        }
        metrics.wal_bytes.set(i64::try_from(log.disk_bytes()).unwrap_or(i64::MAX));
        if batches.is_empty() || refused {
            let now_full = refused || disk.free_bytes().is_ok_and(|free| free < LEAST_FREE);
            if now_full != full {
                full = now_full;
                inbox.must(Event::DiskFull(full));
            }
            if !full {
                log.prepare()?;
            }
        }
    }
}

fn sort(job: LogJob, batches: &mut Vec<(u64, Vec<Vec<u8>>)>, release: &mut Option<u64>) {
    match job {
        LogJob::Persist { number, records } => batches.push((number, records)),
        LogJob::Release(lsn) => *release = (*release).max(Some(lsn)),
    }
}

//! The log thread (group commit): drains its queue, writes once, syncs once, then completes all jobs.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use meridian_replica::Event;
use meridian_store::{CommitError, Disk, RealDisk};
use meridian_volume::LogVolume;

use super::engine::Inbox;
use crate::memory_limit;
use crate::metrics::Metrics;

/// Jobs of the log thread.
pub(super) enum LogJob {
    /// Append records and sync.
    Persist { number: u64, records: Vec<Vec<u8>> },
    /// Release the records before `before`; with `shrink`, return freed segments to the disk.
    Release { before: u64, shrink: bool },
}

/// Resources that the log thread measures for the machine.
pub(super) struct MeasuredResources {
    /// Disk, for its free space.
    pub(super) disk: RealDisk,
    /// Configured memory limit, in bytes.
    pub(super) memory_limit: Option<u64>,
}

/// Interval of the measurements, and of commit retries on a full disk. At 1 GB/s a disk takes 100 MB meanwhile, less
/// than the two segments reserved for votes.
const MEASURE_EVERY: Duration = Duration::from_millis(100);
/// Free bytes below which no segment is preallocated: a snapshot may need the space.
const PREPARE_MIN_FREE_BYTES: u64 = 4 * meridian_store::SEGMENT_BYTES;

/// Jobs that are completed together.
#[derive(Default)]
struct Batch {
    batches: Vec<(u64, Vec<Vec<u8>>)>,
    release: Option<(u64, bool)>,
}

impl Batch {
    fn add(&mut self, job: LogJob) {
        match job {
            LogJob::Persist { number, records } => self.batches.push((number, records)),
            LogJob::Release { before, shrink } => {
                let (pending, shrinks) = self.release.unwrap_or_default();
                self.release = Some((pending.max(before), shrinks || shrink));
            }
        }
    }
}

/// Runs until the queue closes.
///
/// # Errors
/// When the content of the disk is unknown; the process must exit.
pub(super) fn run(
    resources: &MeasuredResources,
    mut log: LogVolume<RealDisk>,
    jobs: &Receiver<LogJob>,
    inbox: &Inbox,
    metrics: &Arc<Metrics>,
) -> Result<(), CommitError> {
    let mut measured: Option<Instant> = None;
    let mut is_full = false;
    loop {
        let mut batch = Batch::default();
        match jobs.recv_timeout(MEASURE_EVERY) {
            Ok(job) => batch.add(job),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        }
        while let Ok(job) = jobs.try_recv() {
            batch.add(job);
        }
        let start = Instant::now();
        let was_full = is_full;
        match log.persist(&batch.batches) {
            Ok(events) => {
                is_full = false;
                if !events.is_empty() {
                    metrics.wal_fsync_duration.observe(start.elapsed().as_secs_f64());
                }
                events.into_iter().for_each(|event| inbox.send_blocking(event));
            }
            Err(error @ CommitError::Full { .. }) => {
                is_full = true;
                if !was_full {
                    tracing::warn!(%error, "disk full; records are queued");
                }
            }
            Err(error) => return Err(error),
        }
        if let Some((before, shrink)) = batch.release {
            ignore_full(log.release(before, shrink))?;
        }
        metrics.wal_size.set(i64::try_from(log.disk_bytes()).unwrap_or(i64::MAX));
        if measured.is_some_and(|at| at.elapsed() < MEASURE_EVERY) && is_full == was_full {
            continue;
        }
        measured = Some(Instant::now());
        if let Some((bytes, limit)) = memory_limit::measure(resources.memory_limit) {
            inbox.send_blocking(Event::MemoryUsed { bytes, limit });
        }
        if let Ok(free) = resources.disk.free_bytes() {
            inbox.send_blocking(Event::FreeBytes(free.saturating_add(log.reusable_bytes())));
            if batch.batches.is_empty() && !is_full && free > PREPARE_MIN_FREE_BYTES {
                ignore_full(log.prepare())?;
            }
        }
    }
}

/// Ignores a full disk: preallocation is optional, and the commit that needs the segment reports it.
fn ignore_full(done: Result<(), CommitError>) -> Result<(), CommitError> {
    match done {
        Err(CommitError::Full { .. }) => Ok(()),
        other => other,
    }
}

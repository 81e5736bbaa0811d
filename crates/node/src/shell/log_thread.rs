//! The thread that owns the log: it drains its queue, writes once, syncs once, and completes all.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use meridian_replica::Event;
use meridian_store::{CommitError, Disk, RealDisk};
use meridian_volume::LogVolume;

use super::engine::Inbox;
use crate::memory_limit;
use crate::metrics::Metrics;

/// What the log is asked to do.
pub(super) enum LogJob {
    /// Append and sync.
    Persist { number: u64, records: Vec<Vec<u8>> },
    /// Let go of what stands before, and perhaps give the space back to the disk.
    Release { before: u64, shrink: bool },
}

/// The resources that the log thread measures for the machine.
pub(super) struct Measured {
    /// Its free space.
    pub(super) disk: RealDisk,
    /// Memory that the process may use, if its configuration says.
    pub(super) memory_limit: Option<u64>,
}

/// How often the free space and memory are measured, also while writing, and a commit that found the disk full is tried again. At 1 GB/s a
/// disk takes 100 MB meanwhile, less than the two segments that are left for votes.
const MEASURE_EVERY: Duration = Duration::from_millis(100);
/// With less than this free no segment is made ahead: a snapshot may need the space.
const PREPARE_ABOVE: u64 = 4 * meridian_store::SEGMENT_BYTES;

/// What is taken from the queue at once.
#[derive(Default)]
struct Work {
    batches: Vec<(u64, Vec<Vec<u8>>)>,
    release: Option<(u64, bool)>,
}

impl Work {
    fn add(&mut self, job: LogJob) {
        match job {
            LogJob::Persist { number, records } => self.batches.push((number, records)),
            LogJob::Release { before, shrink } => {
                let (held, shrinks) = self.release.unwrap_or_default();
                self.release = Some((held.max(before), shrinks || shrink));
            }
        }
    }
}

/// Runs until the queue closes. An error means that what is on the disk is unknown: the process must end.
pub(super) fn run(
    of: &Measured,
    mut log: LogVolume<RealDisk>,
    jobs: &Receiver<LogJob>,
    inbox: &Inbox,
    metrics: &Arc<Metrics>,
) -> Result<(), CommitError> {
    let mut measured: Option<Instant> = None;
    let mut is_full = false;
    loop {
        let mut work = Work::default();
        match jobs.recv_timeout(MEASURE_EVERY) {
            Ok(job) => work.add(job),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        }
        while let Ok(job) = jobs.try_recv() {
            work.add(job);
        }
        let begun = Instant::now();
        let was_full = is_full;
        match log.persist(&work.batches) {
            Ok(events) => {
                is_full = false;
                if !events.is_empty() {
                    metrics.wal_fsync_duration.observe(begun.elapsed().as_secs_f64());
                }
                events.into_iter().for_each(|event| inbox.must(event));
            }
            Err(fault @ CommitError::Full { .. }) => {
                is_full = true;
                if !was_full {
                    tracing::warn!(%fault, "the disk is full; records wait");
                }
            }
            Err(fault) => return Err(fault),
        }
        if let Some((before, shrink)) = work.release {
            harmless_when_full(log.release(before, shrink))?;
        }
        metrics.wal_size.set(i64::try_from(log.disk_bytes()).unwrap_or(i64::MAX));
        if measured.is_some_and(|at| at.elapsed() < MEASURE_EVERY) && is_full == was_full {
            continue;
        }
        measured = Some(Instant::now());
        if let Some((bytes, limit)) = memory_limit::measure(of.memory_limit) {
            inbox.must(Event::MemoryUsed { bytes, limit });
        }
        if let Ok(free) = of.disk.free_bytes() {
            inbox.must(Event::FreeBytes(free.saturating_add(log.reusable_bytes())));
            if work.batches.is_empty() && !is_full && free > PREPARE_ABOVE {
                harmless_when_full(log.prepare())?;
            }
        }
    }
}

/// A segment that cannot be made ahead is no fault: the commit that needs it says so.
fn harmless_when_full(done: Result<(), CommitError>) -> Result<(), CommitError> {
    match done {
        Err(CommitError::Full { .. }) => Ok(()),
        other => other,
    }
}

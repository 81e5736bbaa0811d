//! Search threads: each executes one read at a time on the newest view, concurrently with the engine thread.
//!
//! ```text
//!   read ──admitted──► quick lane ──► threads ──ReadDone──► machine
//!     │                    │ longer than QUANTUM
//!     │ many steps         ▼
//!     └──────────────► slow lane ──► as many threads
//! ```
//!
//! A read in the quick lane that uses more processor time than [`QUANTUM`] is stopped and restarts in the slow lane,
//! which has its own threads: long reads share the processors with short ones, and no short read waits behind a long
//! one. A read is stopped at its deadline, and when it is cancelled.

use std::collections::{HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use meridian_model::{Query, VersionVector};
use meridian_proto::frame::PartBody;
use meridian_replica::{Event, ReadResult, ReadWhat, Views, execute, steps};
use parking_lot::{Condvar, Mutex};

use super::admission::Admission;
use super::engine::Inbox;
use super::thread;
use crate::metrics::{Metrics, SearchLabels};

/// Processor time limit in the quick lane: a multiple of a slow search. Time in which the thread waits for a processor
/// does not count; otherwise reads would restart exactly under overload.
const QUANTUM: Duration = Duration::from_millis(20);
/// Reads with more estimated steps go to the slow lane directly; about [`QUANTUM`] at 50 ns per step.
const QUICK_STEPS: u64 = 400_000;
/// Nice values of both lanes. Network and engine threads need microseconds per read and must not wait behind searches
/// that take milliseconds.
const NICE: [(Lane, &str, i32); 2] = [(Lane::Quick, "search", 5), (Lane::Slow, "scan", 10)];
/// Queue limit of the slow lane.
const MAX_SLOW_WAITING: usize = 256;

/// A queued read.
struct Job {
    number: u64,
    what: ReadWhat,
    deadline: Instant,
    queued: Instant,
    cancelled: Arc<AtomicBool>,
}

/// The pool of search threads; dropping it stops them.
pub(super) struct SearchThreads(Arc<Pool>);

/// Admission check for reads that are not queued yet.
#[derive(Clone)]
pub(super) struct ReadAdmission(Arc<Pool>);

struct Pool {
    lanes: Mutex<Lanes>,
    quick_ready: Condvar,
    slow_ready: Condvar,
    views: Arc<Views>,
    inbox: Inbox,
    metrics: Arc<Metrics>,
    labels: SearchLabels,
    start: Instant,
}

struct Lanes {
    quick: VecDeque<Job>,
    slow: VecDeque<Job>,
    /// Cancellation flag of every queued or running read.
    cancelled: HashMap<u64, Arc<AtomicBool>>,
    admission: Admission,
    /// Estimates the delay of the slow lane.
    slow_admission: Admission,
    closed: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Lane {
    Quick,
    Slow,
}

impl SearchThreads {
    /// Starts `threads` threads for each lane; they read the newest view.
    pub(super) fn start(
        threads: usize,
        views: &Arc<Views>,
        inbox: &Inbox,
        metrics: &Arc<Metrics>,
        labels: &SearchLabels,
    ) -> std::io::Result<Self> {
        let threads = threads.max(1);
        let lanes = Lanes {
            quick: VecDeque::new(),
            slow: VecDeque::new(),
            cancelled: HashMap::new(),
            admission: Admission::new(threads, Duration::ZERO),
            slow_admission: Admission::new(threads, Duration::ZERO),
            closed: false,
        };
        let pool = Arc::new(Pool {
            lanes: Mutex::new(lanes),
            quick_ready: Condvar::new(),
            slow_ready: Condvar::new(),
            views: Arc::clone(views),
            inbox: inbox.clone(),
            metrics: Arc::clone(metrics),
            labels: labels.clone(),
            start: Instant::now(),
        });
        for number in 0..threads {
            for (lane, name, nice) in NICE {
                let pool = Arc::clone(&pool);
                thread(&format!("{name}-{number}"), move || {
                    // On Linux the nice value is per thread. Where it cannot be set, the scheduler decides.
                    let _ = rustix::process::setpriority_process(None, nice);
                    pool.run_worker(lane);
                })?;
            }
        }
        Ok(Self(pool))
    }

    pub(super) fn read_admission(&self) -> ReadAdmission {
        ReadAdmission(Arc::clone(&self.0))
    }

    /// Queues a read.
    ///
    /// # Errors
    /// The reason, when the read is refused.
    pub(super) fn read(&self, job: u64, what: ReadWhat, deadline: Instant) -> Result<(), String> {
        let pool = &*self.0;
        let is_expensive = steps(&pool.views.newest(), &what) > QUICK_STEPS;
        let cancelled = Arc::new(AtomicBool::new(false));
        let job = Job { number: job, what, deadline, queued: Instant::now(), cancelled: Arc::clone(&cancelled) };
        let number = job.number;
        let mut lanes = pool.lanes.lock();
        if is_expensive {
            pool.queue_slow(&mut lanes, job)?;
        } else {
            if lanes.quick.is_empty() {
                lanes.admission.record_empty(pool.start.elapsed());
            }
            pool.check_quick(&mut lanes)?;
            lanes.quick.push_back(job);
            pool.metrics.read_queue_depth.inc();
            pool.quick_ready.notify_one();
        }
        lanes.cancelled.insert(number, cancelled);
        Ok(())
    }

    /// Cancels a read.
    pub(super) fn cancel(&self, job: u64) {
        if let Some(cancelled) = self.0.lanes.lock().cancelled.get(&job) {
            cancelled.store(true, Ordering::Relaxed);
        }
    }
}

impl Drop for SearchThreads {
    fn drop(&mut self) {
        self.0.lanes.lock().closed = true;
        self.0.quick_ready.notify_all();
        self.0.slow_ready.notify_all();
    }
}

impl ReadAdmission {
    /// Whether a read would be admitted now.
    ///
    /// # Errors
    /// The reason, when it would be refused.
    pub(super) fn check(&self) -> Result<(), String> {
        let checked = self.0.check_quick(&mut self.0.lanes.lock());
        if checked.is_err() {
            self.0.metrics.reads_refused.inc();
        }
        checked
    }
}

impl Pool {
    fn check_quick(&self, lanes: &mut Lanes) -> Result<(), String> {
        let waiting = lanes.quick.len();
        if lanes.admission.admits(waiting, self.start.elapsed()) {
            return Ok(());
        }
        Err(format!("{waiting} searches are queued, about {} ms", lanes.admission.delay(waiting).as_millis()))
    }

    fn queue_slow(&self, lanes: &mut Lanes, job: Job) -> Result<(), String> {
        let waiting = lanes.slow.len();
        let delay = lanes.slow_admission.delay(waiting);
        if waiting >= MAX_SLOW_WAITING || Instant::now() + delay >= job.deadline {
            return Err(format!("{waiting} long reads are queued, about {} ms", delay.as_millis()));
        }
        lanes.slow.push_back(job);
        self.metrics.read_queue_depth.inc();
        self.slow_ready.notify_one();
        Ok(())
    }

    fn run_worker(&self, lane: Lane) {
        while let Some(job) = self.next(lane) {
            let start = Instant::now();
            if job.cancelled.load(Ordering::Relaxed) || job.deadline <= start {
                self.lanes.lock().cancelled.remove(&job.number);
                self.metrics.reads_aborted.inc();
                continue;
            }
            let start_cpu = thread_cpu_time();
            let is_long = || lane == Lane::Quick && thread_cpu_time().saturating_sub(start_cpu) >= QUANTUM;
            let stop = || job.cancelled.load(Ordering::Relaxed) || Instant::now() >= job.deadline || is_long();
            let result = catch_panic(&self.metrics, || execute(&self.views.newest(), &job.what, &stop));
            self.complete(lane, job, start, result);
        }
    }

    /// The next read of a lane; `None` when the pool is closed.
    fn next(&self, lane: Lane) -> Option<Job> {
        let mut lanes = self.lanes.lock();
        loop {
            let (queue, ready) = match lane {
                Lane::Quick => (&mut lanes.quick, &self.quick_ready),
                Lane::Slow => (&mut lanes.slow, &self.slow_ready),
            };
            if let Some(job) = queue.pop_front() {
                self.metrics.read_queue_depth.dec();
                if lane == Lane::Quick && queue.is_empty() {
                    lanes.admission.record_empty(self.start.elapsed());
                }
                return Some(job);
            }
            if lanes.closed {
                return None;
            }
            ready.wait(&mut lanes);
        }
    }

    fn complete(&self, lane: Lane, job: Job, start: Instant, result: Option<ReadResult>) {
        let (now, number) = (Instant::now(), job.number);
        let is_wanted = !job.cancelled.load(Ordering::Relaxed) && now < job.deadline;
        let mut lanes = self.lanes.lock();
        match lane {
            Lane::Quick => lanes.admission.record_service_time(now - start),
            Lane::Slow => lanes.slow_admission.record_service_time(now - start),
        }
        if result.is_none() && is_wanted && lane == Lane::Quick {
            let refused = self.queue_slow(&mut lanes, job).err();
            if let Some(reason) = refused {
                lanes.cancelled.remove(&number);
                drop(lanes);
                self.metrics.reads_refused.inc();
                self.inbox.send_blocking(Event::ReadRefused { job: number, why: reason });
            }
            return;
        }
        lanes.cancelled.remove(&number);
        drop(lanes);
        // The machine has dropped a stopped read, or does so at its deadline.
        let Some(result) = result else {
            self.metrics.reads_aborted.inc();
            return;
        };
        if let (ReadWhat::Points(collection, Query::Search(_)), Some(PartBody::Answer { .. })) =
            (&job.what, &result.body)
        {
            let labels = SearchLabels { collection: collection.to_string(), ..self.labels.clone() };
            self.metrics.searched(&labels, job.queued.elapsed());
        }
        self.inbox.send_blocking(Event::ReadDone { job: number, result });
    }
}

/// Processor time used by the calling thread.
fn thread_cpu_time() -> Duration {
    let used = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(used).unwrap_or_default()
}

/// Runs a read and turns a panic into a failure. Reads do not modify state, so nothing is left half done. A panic in a
/// thread that modifies state ends the process.
fn catch_panic(metrics: &Metrics, read: impl FnOnce() -> Option<ReadResult>) -> Option<ReadResult> {
    catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|panic| {
        let message = panic.downcast_ref::<String>().map(String::as_str);
        let message = message.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
        tracing::error!(message, "a read panicked");
        metrics.reads_panicked.inc();
        let body = Some(PartBody::Failed("the search panicked; see the log of the pod".into()));
        Some(ReadResult { body, covers: VersionVector::default() })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panicking_read_fails_alone_and_is_counted() {
        let metrics = Metrics::new();
        let result = catch_panic(&metrics, || panic!("slot {} is not taken", 7));
        assert!(matches!(result, Some(ReadResult { body: Some(PartBody::Failed(_)), .. })));
        assert_eq!(metrics.reads_panicked.get(), 1);
        let whole = ReadResult { body: None, covers: VersionVector::default() };
        assert_eq!(catch_panic(&metrics, || Some(whole.clone())), Some(whole));
        assert_eq!(metrics.reads_panicked.get(), 1);
    }
}

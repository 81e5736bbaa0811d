//! The threads that read: one query a thread, beside others and beside the machine.
//!
//! ```text
//!   read ──admitted──► quick lane ──► threads ──ReadDone──► machine
//!     │                    │ longer than QUANTUM
//!     │ looks at much      ▼
//!     └──────────────► slow lane ──► as many threads
//! ```
//!
//! A read in the quick lane that takes longer than [`QUANTUM`] is stopped and begins anew in the slow lane, which has
//! threads of its own: long reads share the processors with short ones, and no short one waits behind them. A read is
//! stopped at its deadline, and when nobody waits for it any more.

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

/// Processor time that a read may take in the quick lane: some times what a slow search takes. Time in which its thread had to
/// wait for a processor does not count, or reads would begin anew just when there is too much to do.
const QUANTUM: Duration = Duration::from_millis(20);
/// A read that may look at this much goes to the slow lane at once; about [`QUANTUM`] at 50 ns a step.
const QUICK_STEPS: u64 = 400_000;
/// Nice values of the threads of either lane. What a read passes on its way in and out takes microseconds: it must not wait until
/// others have searched for milliseconds.
const NICE: [(Lane, &str, i32); 2] = [(Lane::Quick, "search", 5), (Lane::Slow, "scan", 10)];
/// Reads that wait in the slow lane.
const SLOW_WAITING: usize = 256;

/// One read.
struct Job {
    number: u64,
    what: ReadWhat,
    deadline: Instant,
    queued: Instant,
    cancelled: Arc<AtomicBool>,
}

/// A pool of reading threads; it ends when this is dropped.
pub(super) struct SearchThreads(Arc<Pool>);

/// Judges reads at the door, before anything is done for them.
#[derive(Clone)]
pub(super) struct Door(Arc<Pool>);

struct Pool {
    lanes: Mutex<Lanes>,
    quick_came: Condvar,
    slow_came: Condvar,
    views: Arc<Views>,
    inbox: Inbox,
    metrics: Arc<Metrics>,
    labels: SearchLabels,
    begun: Instant,
}

struct Lanes {
    quick: VecDeque<Job>,
    slow: VecDeque<Job>,
    /// Of every read that waits or runs: set when nobody waits for it any more.
    cancelled: HashMap<u64, Arc<AtomicBool>>,
    admission: Admission,
    /// Of the slow lane; only its estimate of a delay is used.
    patience: Admission,
    closed: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Lane {
    Quick,
    Slow,
}

impl SearchThreads {
    /// Starts `threads` threads for short reads that read the newest view, and as many for long ones.
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
            patience: Admission::new(threads, Duration::ZERO),
            closed: false,
        };
        let pool = Arc::new(Pool {
            lanes: Mutex::new(lanes),
            quick_came: Condvar::new(),
            slow_came: Condvar::new(),
            views: Arc::clone(views),
            inbox: inbox.clone(),
            metrics: Arc::clone(metrics),
            labels: labels.clone(),
            begun: Instant::now(),
        });
        for number in 0..threads {
            for (lane, name, nice) in NICE {
                let pool = Arc::clone(&pool);
                thread(&format!("{name}-{number}"), move || {
                    // On Linux the value is the calling thread's. Where it cannot be set, reads are served in the order that
                    // the system finds.
                    let _ = rustix::process::setpriority_process(None, nice);
                    pool.work(lane);
                })?;
            }
        }
        Ok(Self(pool))
    }

    pub(super) fn door(&self) -> Door {
        Door(Arc::clone(&self.0))
    }

    /// Queues a read.
    ///
    /// # Errors
    /// Why it is refused.
    pub(super) fn read(&self, job: u64, what: ReadWhat, deadline: Instant) -> Result<(), String> {
        let pool = &*self.0;
        let looks_at_much = steps(&pool.views.newest(), &what) > QUICK_STEPS;
        let cancelled = Arc::new(AtomicBool::new(false));
        let job = Job { number: job, what, deadline, queued: Instant::now(), cancelled: Arc::clone(&cancelled) };
        let number = job.number;
        let mut lanes = pool.lanes.lock();
        if looks_at_much {
            pool.queue_slow(&mut lanes, job)?;
        } else {
            if lanes.quick.is_empty() {
                lanes.admission.emptied(pool.begun.elapsed());
            }
            pool.check(&mut lanes)?;
            lanes.quick.push_back(job);
            pool.metrics.read_queue_depth.inc();
            pool.quick_came.notify_one();
        }
        lanes.cancelled.insert(number, cancelled);
        Ok(())
    }

    /// Nobody waits for this read any more.
    pub(super) fn cancel(&self, job: u64) {
        if let Some(cancelled) = self.0.lanes.lock().cancelled.get(&job) {
            cancelled.store(true, Ordering::Relaxed);
        }
    }
}

impl Drop for SearchThreads {
    fn drop(&mut self) {
        self.0.lanes.lock().closed = true;
        self.0.quick_came.notify_all();
        self.0.slow_came.notify_all();
    }
}

impl Door {
    /// Whether a read that comes now would be taken.
    ///
    /// # Errors
    /// Why not.
    pub(super) fn check(&self) -> Result<(), String> {
        let checked = self.0.check(&mut self.0.lanes.lock());
        if checked.is_err() {
            self.0.metrics.reads_refused.inc();
        }
        checked
    }
}

impl Pool {
    fn check(&self, lanes: &mut Lanes) -> Result<(), String> {
        let waiting = lanes.quick.len();
        if lanes.admission.admits(waiting, self.begun.elapsed()) {
            return Ok(());
        }
        Err(format!("{waiting} searches wait, about {} ms", lanes.admission.delay(waiting).as_millis()))
    }

    fn queue_slow(&self, lanes: &mut Lanes, job: Job) -> Result<(), String> {
        let waiting = lanes.slow.len();
        let delay = lanes.patience.delay(waiting);
        if waiting >= SLOW_WAITING || Instant::now() + delay >= job.deadline {
            return Err(format!("{waiting} long reads wait, about {} ms", delay.as_millis()));
        }
        lanes.slow.push_back(job);
        self.metrics.read_queue_depth.inc();
        self.slow_came.notify_one();
        Ok(())
    }

    fn work(&self, lane: Lane) {
        while let Some(job) = self.next(lane) {
            let begun = Instant::now();
            if job.cancelled.load(Ordering::Relaxed) || job.deadline <= begun {
                self.lanes.lock().cancelled.remove(&job.number);
                self.metrics.reads_aborted.inc();
                continue;
            }
            let spent = processor_time();
            let is_long = || lane == Lane::Quick && processor_time().saturating_sub(spent) >= QUANTUM;
            let stop = || job.cancelled.load(Ordering::Relaxed) || Instant::now() >= job.deadline || is_long();
            let result = caught(&self.metrics, || execute(&self.views.newest(), &job.what, &stop));
            self.done(lane, job, begun, result);
        }
    }

    /// The next read of a lane; `None` when the pool is closed.
    fn next(&self, lane: Lane) -> Option<Job> {
        let mut lanes = self.lanes.lock();
        loop {
            let (queue, came) = match lane {
                Lane::Quick => (&mut lanes.quick, &self.quick_came),
                Lane::Slow => (&mut lanes.slow, &self.slow_came),
            };
            if let Some(job) = queue.pop_front() {
                self.metrics.read_queue_depth.dec();
                if lane == Lane::Quick && queue.is_empty() {
                    lanes.admission.emptied(self.begun.elapsed());
                }
                return Some(job);
            }
            if lanes.closed {
                return None;
            }
            came.wait(&mut lanes);
        }
    }

    fn done(&self, lane: Lane, job: Job, begun: Instant, result: Option<ReadResult>) {
        let (now, number) = (Instant::now(), job.number);
        let is_wanted = !job.cancelled.load(Ordering::Relaxed) && now < job.deadline;
        let mut lanes = self.lanes.lock();
        match lane {
            Lane::Quick => lanes.admission.served(now - begun),
            Lane::Slow => lanes.patience.served(now - begun),
        }
        if result.is_none() && is_wanted && lane == Lane::Quick {
            let refused = self.queue_slow(&mut lanes, job).err();
            if let Some(why) = refused {
                lanes.cancelled.remove(&number);
                drop(lanes);
                self.metrics.reads_refused.inc();
                self.inbox.must(Event::ReadRefused { job: number, why });
            }
            return;
        }
        lanes.cancelled.remove(&number);
        drop(lanes);
        // The machine has forgotten a read that was stopped, or does so at its deadline.
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
        self.inbox.must(Event::ReadDone { job: number, result });
    }
}

/// Processor time that the calling thread has used.
fn processor_time() -> Duration {
    let used = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(used).unwrap_or_default()
}

/// Reads, and answers for a read that panics: it only looks at the state, so nothing is left half done, and the query that
/// met the fault must not take the replica with it. A panic of any thread that changes something ends the process.
fn caught(metrics: &Metrics, read: impl FnOnce() -> Option<ReadResult>) -> Option<ReadResult> {
    catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|panic| {
        let said = panic.downcast_ref::<String>().map(String::as_str);
        let said = said.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no words");
        tracing::error!(said, "a read panicked");
        metrics.reads_panicked.inc();
        let body = Some(PartBody::Failed("the search met a fault of this software; it was logged".into()));
        Some(ReadResult { body, covers: VersionVector::default() })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_that_panics_fails_alone_and_is_counted() {
        let metrics = Metrics::new();
        let result = caught(&metrics, || panic!("slot {} is not taken", 7));
        assert!(matches!(result, Some(ReadResult { body: Some(PartBody::Failed(_)), .. })));
        assert_eq!(metrics.reads_panicked.get(), 1);
        let whole = ReadResult { body: None, covers: VersionVector::default() };
        assert_eq!(caught(&metrics, || Some(whole.clone())), Some(whole));
        assert_eq!(metrics.reads_panicked.get(), 1);
    }
}

//! The threads that read: one query a thread, beside others and beside the machine.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Instant;

use meridian_model::{Query, VersionVector};
use meridian_replica::{Event, ReadResult, ReadWhat, Views, execute};
use meridian_wire::frame::PartBody;
use parking_lot::Mutex;

use super::engine::Inbox;
use super::thread;
use crate::metrics::{Metrics, SearchLabels};

/// A read, when it was queued, and its number.
type Job = (u64, ReadWhat, Instant);

/// A pool of reading threads; it ends when this is dropped.
pub(super) struct SearchThreads {
    jobs: Sender<Job>,
    metrics: Arc<Metrics>,
}

impl SearchThreads {
    /// Starts `threads` threads that read the newest view. How many reads wait is bounded by the machine.
    pub(super) fn start(
        threads: usize,
        views: &Arc<Views>,
        inbox: &Inbox,
        metrics: &Arc<Metrics>,
        labels: &SearchLabels,
    ) -> std::io::Result<Self> {
        let (jobs, queue) = channel();
        let queue = Arc::new(Mutex::new(queue));
        for number in 0..threads.max(1) {
            let (queue, views, inbox) = (Arc::clone(&queue), Arc::clone(views), inbox.clone());
            let (metrics, labels) = (Arc::clone(metrics), labels.clone());
            thread(&format!("search-{number}"), move || work(&queue, &views, &inbox, &metrics, &labels))?;
        }
        Ok(Self { jobs, metrics: Arc::clone(metrics) })
    }

    pub(super) fn read(&self, job: u64, what: ReadWhat) {
        self.metrics.search_queue.inc();
        // The threads live as long as this sender.
        let _ = self.jobs.send((job, what, Instant::now()));
    }
}

fn work(queue: &Mutex<Receiver<Job>>, views: &Views, inbox: &Inbox, metrics: &Metrics, labels: &SearchLabels) {
    loop {
        let next = queue.lock().recv();
        let Ok((job, what, queued)) = next else { return };
        metrics.search_queue.dec();
        let result = caught(metrics, || execute(&views.newest(), &what));
        if let ReadWhat::Points(collection, Query::Search(_)) = &what {
            let labels = SearchLabels { collection: collection.to_string(), ..labels.clone() };
            metrics.search_latency.get_or_create(&labels).observe(queued.elapsed().as_secs_f64());
        }
        inbox.must(Event::ReadDone { job, result });
    }
}

/// Reads, and answers for a read that panics: it only looks at the state, so nothing is left half done, and the query that
/// met the fault must not take the replica with it. A panic of any thread that changes something ends the process.
fn caught(metrics: &Metrics, read: impl FnOnce() -> ReadResult) -> ReadResult {
    catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|panic| {
        let said = panic.downcast_ref::<String>().map(String::as_str);
        let said = said.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no words");
        tracing::error!(said, "a read panicked");
        metrics.search_panics.inc();
        let body = Some(PartBody::Failed("the search met a fault of this software; it was logged".into()));
        ReadResult { body, covers: VersionVector::default() }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_that_panics_fails_alone_and_is_counted() {
        let metrics = Metrics::new();
        let result = caught(&metrics, || panic!("slot {} is not taken", 7));
        assert!(matches!(result.body, Some(PartBody::Failed(_))));
        assert_eq!(metrics.search_panics.get(), 1);
        let whole = ReadResult { body: None, covers: VersionVector::default() };
        assert_eq!(caught(&metrics, || whole.clone()), whole);
        assert_eq!(metrics.search_panics.get(), 1);
    }
}

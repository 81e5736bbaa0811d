//! Search latency while an index is written; the view is renewed after every write.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use meridian_ann::{Index, SearchParams, View};

use super::data::Data;
use crate::demo::quantile;

/// Duration of the baseline without writes.
const BASELINE_DURATION: Duration = Duration::from_secs(1);

/// Shares the newest view with a searching thread.
pub(super) struct ConcurrentSearch<'a> {
    data: &'a Data,
    k: usize,
    newest: Mutex<Arc<View>>,
    is_stopped: AtomicBool,
}

impl<'a> ConcurrentSearch<'a> {
    pub fn new(data: &'a Data, k: usize, index: &mut Index) -> Self {
        Self { data, k, newest: Mutex::new(Arc::new(index.view())), is_stopped: AtomicBool::new(false) }
    }

    pub fn publish_view(&self, index: &mut Index) {
        let newest = Arc::new(index.view());
        *self.newest.lock().unwrap_or_else(PoisonError::into_inner) = newest;
    }

    pub fn stop(&self) {
        self.is_stopped.store(true, Ordering::Relaxed);
    }

    /// Searches until [`Self::end`], at least once; returns the latencies.
    pub fn run(&self) -> Vec<Duration> {
        self.time(|| self.is_stopped.load(Ordering::Relaxed))
    }

    /// Searches without concurrent writes for [`BASELINE_DURATION`].
    pub fn run_baseline(&self) -> Vec<Duration> {
        let start = Instant::now();
        self.time(|| start.elapsed() > BASELINE_DURATION)
    }

    fn time(&self, is_stopped: impl Fn() -> bool) -> Vec<Duration> {
        let mut times = Vec::new();
        for query in (0..self.data.queries.len()).cycle() {
            let start = Instant::now();
            let view = Arc::clone(&self.newest.lock().unwrap_or_else(PoisonError::into_inner));
            let found = view.search(self.data.queries.row(query), self.k, &SearchParams::default(), None);
            drop(view);
            times.push(start.elapsed());
            found.expect("queries were checked when they were read");
            if is_stopped() {
                break;
            }
        }
        times
    }
}

/// Formats quantiles.
pub(super) fn format_quantiles(mut times: Vec<Duration>) -> String {
    let [p50, p99, p999] = [0.5, 0.99, 0.999].map(|share| quantile(&mut times, share).as_micros());
    format!("p50 {p50} us, p99 {p99}, p99.9 {p999}")
}

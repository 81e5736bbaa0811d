//! How long searches take while an index is written, by views that are renewed after every write.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use meridian_ann::{Index, SearchParams, View};

use super::data::Data;
use crate::demo::quantile;

/// As long as searches are timed with nothing beside them.
const ALONE: Duration = Duration::from_secs(1);

/// Where the thread that searches finds the newest view.
pub(super) struct Searches<'a> {
    data: &'a Data,
    k: usize,
    newest: Mutex<Arc<View>>,
    is_over: AtomicBool,
}

impl<'a> Searches<'a> {
    pub fn new(data: &'a Data, k: usize, index: &mut Index) -> Self {
        Self { data, k, newest: Mutex::new(Arc::new(index.view())), is_over: AtomicBool::new(false) }
    }

    pub fn see(&self, index: &mut Index) {
        let newest = Arc::new(index.view());
        *self.newest.lock().unwrap_or_else(PoisonError::into_inner) = newest;
    }

    pub fn end(&self) {
        self.is_over.store(true, Ordering::Relaxed);
    }

    /// Searches until [`Self::end`], and once at least; says how long each took.
    pub fn run(&self) -> Vec<Duration> {
        self.time(|| self.is_over.load(Ordering::Relaxed))
    }

    /// The same with nothing beside.
    pub fn run_alone(&self) -> Vec<Duration> {
        let begun = Instant::now();
        self.time(|| begun.elapsed() > ALONE)
    }

    fn time(&self, is_over: impl Fn() -> bool) -> Vec<Duration> {
        let mut times = Vec::new();
        for nth in (0..self.data.queries.len()).cycle() {
            let begun = Instant::now();
            let view = Arc::clone(&self.newest.lock().unwrap_or_else(PoisonError::into_inner));
            let found = view.search(self.data.queries.row(nth), self.k, &SearchParams::default(), None);
            drop(view);
            times.push(begun.elapsed());
            found.expect("queries were checked when they were read");
            if is_over() {
                break;
            }
        }
        times
    }
}

/// Some quantiles, for people.
pub(super) fn told(mut times: Vec<Duration>) -> String {
    let [p50, p99, p999] = [0.5, 0.99, 0.999].map(|share| quantile(&mut times, share).as_micros());
    format!("p50 {p50} us, p99 {p99}, p99.9 {p999}")
}

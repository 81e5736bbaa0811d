//! Cost of the exact search of small collections, and the recall of the graph that it replaces.

use std::time::Instant;

use meridian_ann::{Config, Hit, Index, Kind, Metric, Profile, SearchParams};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::median;

/// Default `full_scan_threshold`: 10,000 kilobytes.
const FULL_SCAN_BYTES: usize = 10_000 * 1_024;
/// Rounds; the median is reported.
const ROUNDS: usize = 5;
/// Queries per round.
const QUERIES: usize = 2_000;
/// Queries that are compared with the exact result.
const COMPARED_QUERIES: usize = 200;
/// Bound of scan time over graph time at 20,000 × 100.
const MAX_RATIO: f64 = 3.0;
const DIM: usize = 100;
const K: usize = 10;

/// Measures and prints one line per result.
///
/// # Errors
/// None; the signature is that of the other topics.
pub(super) fn run() -> anyhow::Result<()> {
    let metrics = [
        ("Cosine", Metric::Cosine),
        ("Dot", Metric::Dot),
        ("Euclid", Metric::Euclid),
        ("Manhattan", Metric::Manhattan),
    ];
    for (name, metric) in metrics {
        for points in [1_000, 5_000, 20_000] {
            let (index, queries) = uniform(points, metric);
            let graph = recall(&index, &queries, SearchParams::default());
            let scan = recall(&index, &queries, full_scan_params());
            println!("{name}, {points} x {DIM}: by the graph {graph}; by default {scan} (bound: 1.0000, 0)");
            if points == 20_000 {
                cost(name, &index, &queries);
            }
        }
    }
    Ok(())
}

fn full_scan_params() -> SearchParams {
    SearchParams { full_scan_bytes: FULL_SCAN_BYTES, ..SearchParams::default() }
}

/// An index with the default parameters of collections, and queries that it does not contain.
fn uniform(points: u32, metric: Metric) -> (Index, Vec<Vec<f32>>) {
    let mut rng = SmallRng::seed_from_u64(u64::from(points));
    let mut vector = || {
        let mut vector: Vec<f32> = (0..DIM).map(|_| rng.random()).collect();
        if metric == Metric::Cosine {
            let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
            vector.iter_mut().for_each(|x| *x /= length);
        }
        vector
    };
    let vectors: Vec<_> = (0..points).map(|_| vector()).collect();
    let kind = Kind::Hnsw { m: 16, ef_construct: 100 };
    let config = Config { profile: Profile::Balanced, ..Config::new(DIM, metric, kind) };
    let mut index = Index::new(config).expect("valid parameters");
    for (slot, vector) in (0..).zip(&vectors) {
        index.upsert(slot, vector).expect("a valid vector");
    }
    index.merge_all(2, |_| ());
    (index, (0..QUERIES).map(|_| vector()).collect())
}

fn search(index: &Index, query: &[f32], params: SearchParams) -> Vec<Hit> {
    index.search(query, K, &params, None).expect("a valid query")
}

struct RecallResult {
    missed: usize,
    wrong_first: usize,
}

impl std::fmt::Display for RecallResult {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let recall = 1.0 - self.missed as f64 / (COMPARED_QUERIES * K) as f64;
        write!(f, "recall@{K} is {recall:.4}, {} of {COMPARED_QUERIES} first hits are wrong", self.wrong_first)
    }
}

fn recall(index: &Index, queries: &[Vec<f32>], params: SearchParams) -> RecallResult {
    let mut result = RecallResult { missed: 0, wrong_first: 0 };
    for query in &queries[..COMPARED_QUERIES] {
        let exact = search(index, query, SearchParams { exact: true, ..SearchParams::default() });
        let found = search(index, query, params);
        result.missed += exact.iter().filter(|hit| !found.contains(hit)).count();
        result.wrong_first += usize::from(exact.first() != found.first());
    }
    result
}

fn cost(name: &str, index: &Index, queries: &[Vec<f32>]) {
    let seconds = |params| {
        let started = Instant::now();
        queries.iter().for_each(|query| _ = std::hint::black_box(search(index, query, params)));
        started.elapsed().as_secs_f64()
    };
    let rounds: Vec<_> = (0..ROUNDS).map(|_| (seconds(SearchParams::default()), seconds(full_scan_params()))).collect();
    let median_of = |of: fn(&(f64, f64)) -> f64| median(&mut rounds.iter().map(of).collect::<Vec<_>>());
    let micros = |of: fn(&(f64, f64)) -> f64| 1e6 * median_of(of) / queries.len() as f64;
    let (graph, scan) = (micros(|round| round.0), micros(|round| round.1));
    let ratio = median_of(|(graph, scan)| scan / graph);
    println!(
        "{name}, 20,000 x {DIM}: graph {graph:.0} µs, exact {scan:.0} µs a search, {ratio:.2} times (bound: {MAX_RATIO})"
    );
}

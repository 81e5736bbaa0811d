//! What it costs that small collections are searched exactly, and what was missed by the graph.

use std::time::Instant;

use meridian_ann::{Config, Hit, Index, Kind, Metric, Profile, SearchParams};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::median;

/// A threshold of 10,000 kilobytes, as collections have where they name none.
const FULL_SCAN_BYTES: usize = 10_000 * 1_024;
/// Rounds of which the median is told.
const ROUNDS: usize = 5;
/// Queries of a round.
const QUERIES: usize = 2_000;
/// Queries that are compared with exact answers.
const JUDGED: usize = 200;
/// How many times the graph's time the scan may take at 20,000 × 100.
const MOST: f64 = 3.0;
const DIM: usize = 100;
const K: usize = 10;

/// Measures, and prints a line for each number.
///
/// # Errors
/// None; as the other topics.
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
            let scan = recall(&index, &queries, by_threshold());
            println!("{name}, {points} x {DIM}: by the graph {graph}; by default {scan} (bound: 1.0000, 0)");
            if points == 20_000 {
                cost(name, &index, &queries);
            }
        }
    }
    Ok(())
}

fn by_threshold() -> SearchParams {
    SearchParams { full_scan_bytes: FULL_SCAN_BYTES, ..SearchParams::default() }
}

/// An index with the parameters that collections have, and queries that it does not hold.
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

fn ask(index: &Index, query: &[f32], params: SearchParams) -> Vec<Hit> {
    index.search(query, K, &params, None).expect("a valid query")
}

struct Judged {
    missed: usize,
    wrong_first: usize,
}

impl std::fmt::Display for Judged {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let recall = 1.0 - self.missed as f64 / (JUDGED * K) as f64;
        write!(f, "recall@{K} is {recall:.4}, {} of {JUDGED} first hits are wrong", self.wrong_first)
    }
}

fn recall(index: &Index, queries: &[Vec<f32>], params: SearchParams) -> Judged {
    let mut judged = Judged { missed: 0, wrong_first: 0 };
    for query in &queries[..JUDGED] {
        let right = ask(index, query, SearchParams { exact: true, ..SearchParams::default() });
        let found = ask(index, query, params);
        judged.missed += right.iter().filter(|hit| !found.contains(hit)).count();
        judged.wrong_first += usize::from(right.first() != found.first());
    }
    judged
}

fn cost(name: &str, index: &Index, queries: &[Vec<f32>]) {
    let seconds = |params| {
        let started = Instant::now();
        queries.iter().for_each(|query| _ = std::hint::black_box(ask(index, query, params)));
        started.elapsed().as_secs_f64()
    };
    let rounds: Vec<_> = (0..ROUNDS).map(|_| (seconds(SearchParams::default()), seconds(by_threshold()))).collect();
    let middle = |of: fn(&(f64, f64)) -> f64| median(&mut rounds.iter().map(of).collect::<Vec<_>>());
    let micros = |of: fn(&(f64, f64)) -> f64| 1e6 * middle(of) / queries.len() as f64;
    let (graph, scan) = (micros(|round| round.0), micros(|round| round.1));
    let ratio = middle(|(graph, scan)| scan / graph);
    println!(
        "{name}, 20,000 x {DIM}: graph {graph:.0} µs, exact {scan:.0} µs a search, {ratio:.2} times (bound: {MOST})"
    );
}

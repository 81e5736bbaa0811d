//! Nearest neighbors of some words in both regions, and search latency.

use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::{Value, json};

use super::context::{DemoContext, heading};
use super::stats::{grouped, ms, quantile};
use crate::client::{ApiRequest, RegionClient};

/// Query words, in order of preference; a data set may lack some.
const QUERY_WORDS: [&str; 6] = ["coffee", "piano", "berlin", "football", "planet", "river"];
/// Number of query words that are used.
const WORDS_SHOWN: usize = 3;
/// Number of timed searches.
const TIMED_SEARCHES: usize = 800;

/// Prints neighbors found in both regions; returns the 99th percentile of the search latency.
pub async fn search(demo: &DemoContext) -> anyhow::Result<Duration> {
    heading("Nearest words, in both regions");
    let found: Vec<usize> = QUERY_WORDS
        .iter()
        .filter_map(|word| demo.words.names.iter().position(|name| name == word))
        .take(WORDS_SHOWN)
        .collect();
    let rows = if found.is_empty() { vec![0] } else { found };
    for row in rows {
        let mut lists = Vec::new();
        for (at, region) in [&demo.primary, &demo.secondary].into_iter().enumerate() {
            let start = Instant::now();
            let names = nearest(demo, region, row).await?;
            println!(
                "   {:<10} {:<8} → {}  ({} ms)",
                demo.words.names[row],
                demo.region_name(at),
                names.join(", "),
                ms(start.elapsed())
            );
            lists.push(names);
        }
        anyhow::ensure!(lists[0].len() == lists[1].len(), "one region finds fewer neighbors than the other");
    }
    let mut times = Vec::with_capacity(TIMED_SEARCHES);
    for nth in 0..TIMED_SEARCHES {
        let region = if nth % 2 == 0 { &demo.primary } else { &demo.secondary };
        let body = json!({"query": demo.words.row(nth * 7919 % demo.words.len()), "limit": 10});
        let start = Instant::now();
        region
            .send(nth / 2, ApiRequest::post(&DemoContext::path("/points/query"), &body))
            .await?
            .error_for_status()
            .context("search")?;
        times.push(start.elapsed());
    }
    let (p50, p99) = (quantile(&mut times, 0.5), quantile(&mut times, 0.99));
    println!(
        "   {} searches for 10 neighbors, each sees all writes acknowledged by its region: p50 {} ms, p99 {} ms.",
        grouped(TIMED_SEARCHES),
        ms(p50),
        ms(p99)
    );
    Ok(p99)
}

async fn nearest(demo: &DemoContext, region: &RegionClient, row: usize) -> anyhow::Result<Vec<String>> {
    let body = json!({"query": demo.words.row(row), "limit": 7, "with_payload": true});
    let response =
        region.send(0, ApiRequest::post(&DemoContext::path("/points/query"), &body)).await?.error_for_status()?;
    let points = response.body.pointer("/result/points").and_then(Value::as_array).context("no points")?;
    let word = |point: &Value| point.pointer("/payload/word").and_then(Value::as_str).map(str::to_owned);
    // The nearest neighbor of a word is the word itself.
    Ok(points.iter().filter_map(word).filter(|word| *word != demo.words.names[row]).take(6).collect())
}

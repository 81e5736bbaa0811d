//! Nearest words, in both regions, and how long answers take.

use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::{Value, json};

use super::numbers::{grouped, ms, quantile};
use super::stage::{Stage, heading};
use crate::client::{Ask, Region};

/// Words to ask for, those first that people like.
const ASKED: [&str; 6] = ["coffee", "piano", "berlin", "football", "planet", "river"];
/// How many of them.
const SHOWN: usize = 3;
/// Searches that are timed.
const TIMED: usize = 800;

/// Shows neighbours in both regions; returns the 99th percentile of the search time.
pub async fn search(stage: &Stage) -> anyhow::Result<Duration> {
    heading("Nearest words, in both regions");
    let known: Vec<usize> =
        ASKED.iter().filter_map(|word| stage.words.names.iter().position(|name| name == word)).take(SHOWN).collect();
    let rows = if known.is_empty() { vec![0] } else { known };
    for row in rows {
        let mut lists = Vec::new();
        for (at, region) in [&stage.primary, &stage.other].into_iter().enumerate() {
            let begun = Instant::now();
            let names = nearest(stage, region, row).await?;
            println!(
                "   {:<10} {:<8} → {}  ({} ms)",
                stage.words.names[row],
                stage.name(at),
                names.join(", "),
                ms(begun.elapsed())
            );
            lists.push(names);
        }
        anyhow::ensure!(lists[0].len() == lists[1].len(), "one region finds fewer neighbours than the other");
    }
    let mut times = Vec::with_capacity(TIMED);
    for turn in 0..TIMED {
        let region = if turn % 2 == 0 { &stage.primary } else { &stage.other };
        let body = json!({"query": stage.words.row(turn * 7919 % stage.words.len()), "limit": 10});
        let begun = Instant::now();
        region.ask(turn / 2, Ask::post(&Stage::path("/points/query"), &body)).await?.fine().context("search")?;
        times.push(begun.elapsed());
    }
    let (half, most) = (quantile(&mut times, 0.5), quantile(&mut times, 0.99));
    println!(
        "   {} searches for 10 neighbours, each sees all that its region acknowledged: p50 {} ms, p99 {} ms.",
        grouped(TIMED),
        ms(half),
        ms(most)
    );
    Ok(most)
}

async fn nearest(stage: &Stage, region: &Region, row: usize) -> anyhow::Result<Vec<String>> {
    let body = json!({"query": stage.words.row(row), "limit": 7, "with_payload": true});
    let answer = region.ask(0, Ask::post(&Stage::path("/points/query"), &body)).await?.fine()?;
    let points = answer.body.pointer("/result/points").and_then(Value::as_array).context("no points")?;
    let word = |point: &Value| point.pointer("/payload/word").and_then(Value::as_str).map(str::to_owned);
    // The word itself is its own nearest.
    Ok(points.iter().filter_map(word).filter(|word| *word != stage.words.names[row]).take(6).collect())
}

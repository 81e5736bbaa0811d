//! How much of the truth the index finds: the server's own exact search is the truth.

use std::collections::BTreeSet;

use anyhow::Context;
use serde_json::{Value, json};

use crate::client::Ask;
use crate::demo::{Stage, heading};

/// Queries, vectors of the collection with something taken away, so that none is its own nearest neighbour at distance 0.
const QUERIES: usize = 300;
/// Neighbours asked for.
const NEIGHBOURS: usize = 10;

/// Recall at 10 with the server's defaults.
///
/// # Errors
/// When a search fails.
pub async fn recall(stage: &Stage) -> anyhow::Result<f64> {
    heading("Recall");
    let (mut found, mut wanted) = (0, 0);
    for nth in 0..QUERIES {
        let (one, two) = (stage.words.row(nth * 61 % stage.words.len()), stage.words.row(nth * 89 % stage.words.len()));
        let query: Vec<f32> = one.iter().zip(two).map(|(one, two)| one + 0.5 * two).collect();
        let truth = neighbours(stage, nth, &query, true).await?;
        let given = neighbours(stage, nth, &query, false).await?;
        wanted += truth.len();
        found += truth.intersection(&given).count();
    }
    let recall = found as f64 / wanted.max(1) as f64;
    println!("   recall at {NEIGHBOURS}: {recall:.4}, over {QUERIES} mixtures of two words");
    Ok(recall)
}

async fn neighbours(stage: &Stage, node: usize, query: &[f32], exact: bool) -> anyhow::Result<BTreeSet<u64>> {
    let body = json!({"query": query, "limit": NEIGHBOURS, "params": {"exact": exact}});
    let answer = stage.primary.ask(node, Ask::post(&Stage::path("/points/query"), &body)).await?.fine()?;
    let points = answer.body.pointer("/result/points").and_then(Value::as_array).context("no points")?;
    Ok(points.iter().filter_map(|point| point.get("id").and_then(Value::as_u64)).collect())
}

//! Recall of the index; the ground truth is the server's own exact search.

use std::collections::BTreeSet;

use anyhow::Context;
use serde_json::{Value, json};

use crate::client::ApiRequest;
use crate::demo::{DemoContext, heading};

/// Queries: mixtures of two stored vectors, so that none is its own nearest neighbor at distance 0.
const QUERIES: usize = 300;
/// Neighbors per query.
const RECALL_K: usize = 10;

/// Measures recall at 10 with the server's default parameters.
///
/// # Errors
/// When a search fails.
pub async fn recall(demo: &DemoContext) -> anyhow::Result<f64> {
    heading("Recall");
    let (mut hits, mut expected) = (0, 0);
    for nth in 0..QUERIES {
        let (one, two) = (demo.words.row(nth * 61 % demo.words.len()), demo.words.row(nth * 89 % demo.words.len()));
        let query: Vec<f32> = one.iter().zip(two).map(|(one, two)| one + 0.5 * two).collect();
        let truth = neighbors(demo, nth, &query, true).await?;
        let approximate = neighbors(demo, nth, &query, false).await?;
        expected += truth.len();
        hits += truth.intersection(&approximate).count();
    }
    let recall = hits as f64 / expected.max(1) as f64;
    println!("   recall at {RECALL_K}: {recall:.4}, over {QUERIES} mixtures of two words");
    Ok(recall)
}

async fn neighbors(demo: &DemoContext, node: usize, query: &[f32], exact: bool) -> anyhow::Result<BTreeSet<u64>> {
    let body = json!({"query": query, "limit": RECALL_K, "params": {"exact": exact}});
    let response = demo
        .primary
        .send(node, ApiRequest::post(&DemoContext::path("/points/query"), &body))
        .await?
        .error_for_status()?;
    let points = response.body.pointer("/result/points").and_then(Value::as_array).context("no points")?;
    Ok(points.iter().filter_map(|point| point.get("id").and_then(Value::as_u64)).collect())
}

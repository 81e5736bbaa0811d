//! Loads word vectors into the primary region.

use std::time::{Duration, Instant};

use anyhow::Context;
use futures::{TryStreamExt, stream};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use super::context::{DemoContext, heading};
use super::stats::grouped;
use super::write_history::Outcome;
use crate::client::ApiRequest;

/// Points per request, and concurrent requests.
const BATCH: usize = 200;
const CONCURRENT_REQUESTS: usize = 4;
/// Timeout until the other region has replicated everything.
const CATCH_UP_TIMEOUT: Duration = Duration::from_secs(60);

/// Creates the collection and loads all words: the point with id n is word n.
pub async fn load(demo: &DemoContext) -> anyhow::Result<()> {
    heading("Load");
    let count = demo.words.len();
    let create = json!({"vectors": {"size": demo.words.dim, "distance": "Cosine"}});
    demo.primary
        .send(0, ApiRequest::put(&DemoContext::path(""), &create))
        .await?
        .error_for_status()
        .context("create the collection")?;
    let style = ProgressStyle::with_template("   {bar:48} {human_pos} of {human_len} vectors, {per_sec}, {eta} left")?;
    let bar = ProgressBar::new(count as u64).with_style(style);
    let start = Instant::now();
    let batches = (0..count).step_by(BATCH).map(|first| first..(first + BATCH).min(count));
    stream::iter(batches.map(anyhow::Ok))
        .try_for_each_concurrent(CONCURRENT_REQUESTS, |rows| {
            let bar = &bar;
            async move {
                let size = rows.len() as u64;
                load_batch(demo, rows).await?;
                bar.inc(size);
                Ok(())
            }
        })
        .await?;
    bar.finish_and_clear();
    let elapsed = start.elapsed();
    let per_second = (count as f64 / elapsed.as_secs_f64()) as usize;
    println!(
        "   {} vectors of {} dimensions, each acknowledged after two disks had it: {:.1} s, {} vectors/s.",
        grouped(count),
        demo.words.dim,
        elapsed.as_secs_f64(),
        grouped(per_second)
    );
    let count_request = json!({"exact": true});
    let is_complete = async || {
        let path = DemoContext::path("/points/count");
        let response = demo.secondary.send(0, ApiRequest::post(&path, &count_request)).await?.error_for_status()?;
        Ok(response.body.pointer("/result/count").and_then(Value::as_u64) == Some(count as u64))
    };
    let delay = DemoContext::poll_until("the other region", CATCH_UP_TIMEOUT, is_complete).await?;
    println!("   {} had replicated all of them {} ms later.", demo.region_name(1), delay.as_millis());
    Ok(())
}

async fn load_batch(demo: &DemoContext, rows: std::ops::Range<usize>) -> anyhow::Result<()> {
    let ops: Vec<_> =
        (rows).filter_map(|row| demo.history.begin(row as u64, false).map(|op| (row as u64, row, op))).collect();
    let points: Vec<Value> = ops.iter().map(|(id, row, op)| demo.point(*id, *row, *op)).collect();
    let body = json!({"points": points});
    let response =
        demo.primary.send(demo.round_robin.next(), ApiRequest::put(&DemoContext::path("/points"), &body)).await;
    let loaded = response.context("load").and_then(|response| response.error_for_status().context("load"));
    let outcome = if loaded.is_ok() { Outcome::Acknowledged } else { Outcome::Unknown };
    ops.into_iter().for_each(|(id, _, op)| demo.history.end(id, op, outcome));
    loaded.map(drop)
}

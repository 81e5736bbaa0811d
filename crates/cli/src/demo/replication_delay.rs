//! Replication delay to the other region, and the staleness that it reports meanwhile.

use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::{Value, json};

use super::context::{DemoContext, heading};
use super::stats::{ms, quantile};
use super::write_history::Outcome;
use crate::client::{ApiRequest, RegionClient};

/// Measured writes, and how many of them are summarized per output line.
const PROBES: usize = 80;
const PROBES_PER_LINE: usize = 20;
/// Interval between two reads of a measured point.
const POLL_INTERVAL: Duration = Duration::from_millis(2);
/// Timeout until a write is visible in the other region.
const VISIBILITY_TIMEOUT: Duration = Duration::from_secs(10);

/// Prints lag and staleness live; returns the median delay from acknowledgement to visibility.
pub async fn measure_replication_delay(demo: &DemoContext) -> anyhow::Result<Duration> {
    heading("Lag and staleness, live");
    let mut all = Vec::new();
    let mut line = Vec::new();
    for probe in 0..PROBES {
        let id = (demo.words.len() + 1_000_000) as u64 + probe as u64;
        anyhow::ensure!(
            demo.write(id, probe, false).await == Some(Outcome::Acknowledged),
            "a write was not acknowledged"
        );
        let start = Instant::now();
        let is_visible = async || anyhow::Ok(read_counter(&demo.secondary, probe, id).await? == Some(1));
        while !is_visible().await.unwrap_or(false) {
            anyhow::ensure!(
                start.elapsed() < VISIBILITY_TIMEOUT,
                "a write was not visible in {} after {VISIBILITY_TIMEOUT:?}",
                demo.region_name(1)
            );
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        line.push(start.elapsed());
        if line.len() == PROBES_PER_LINE {
            let primary = demo.position(&demo.primary, 0).await?;
            let secondary = demo.position(&demo.secondary, 0).await?;
            let staleness = secondary.staleness_ms.map_or("unknown".into(), |ms| format!("{ms} ms"));
            println!(
                "   acknowledged in {} → visible in {}: p50 {:>5} ms   lag {} writes   staleness at most {staleness}",
                demo.region_name(0),
                demo.region_name(1),
                ms(quantile(&mut line, 0.5)),
                primary.seq.saturating_sub(secondary.seq)
            );
            all.append(&mut line);
        }
    }
    Ok(quantile(&mut all, 0.5))
}

/// Reads the counter of a point from one node's local state (`x-consistency: eventual`); `None` when there is no point.
pub async fn read_counter(region: &RegionClient, node: usize, id: u64) -> anyhow::Result<Option<u64>> {
    let body = json!({"ids": [id], "with_payload": true});
    let path = DemoContext::path("/points");
    let api_request = ApiRequest::post(&path, &body).with(&[("x-consistency", "eventual")]);
    let response = region.send(node, api_request).await?.error_for_status()?;
    let points = response.body.get("result").and_then(Value::as_array).context("no points")?;
    Ok(points.first().and_then(|point| point.pointer("/payload/counter")).and_then(Value::as_u64))
}

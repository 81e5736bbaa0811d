//! How soon the other region sees a write, and what it says of its own staleness meanwhile.

use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::{Value, json};

use super::ledger::Outcome;
use super::numbers::{ms, quantile};
use super::stage::{Stage, heading};
use crate::client::{Ask, Region};

/// Writes that are watched, and how many of them make a line.
const PROBES: usize = 80;
const A_LINE: usize = 20;
/// Between two looks for one of them.
const LOOK: Duration = Duration::from_millis(2);
/// For one of them to be seen.
const PATIENCE: Duration = Duration::from_secs(10);

/// Shows lag and staleness live; returns the median of acknowledged → visible.
pub async fn visible(stage: &Stage) -> anyhow::Result<Duration> {
    heading("Lag and staleness, live");
    let mut all = Vec::new();
    let mut line = Vec::new();
    for probe in 0..PROBES {
        let id = (stage.words.len() + 1_000_000) as u64 + probe as u64;
        anyhow::ensure!(
            stage.write(id, probe, false).await == Some(Outcome::Acknowledged),
            "a write was not acknowledged"
        );
        let begun = Instant::now();
        let seen = async || anyhow::Ok(counter(&stage.other, probe, id).await? == Some(1));
        while !seen().await.unwrap_or(false) {
            anyhow::ensure!(
                begun.elapsed() < PATIENCE,
                "a write was not visible in {} after {PATIENCE:?}",
                stage.name(1)
            );
            tokio::time::sleep(LOOK).await;
        }
        line.push(begun.elapsed());
        if line.len() == A_LINE {
            let ahead = stage.position(&stage.primary, 0).await?;
            let here = stage.position(&stage.other, 0).await?;
            let staleness = here.staleness_ms.map_or("unknown".into(), |ms| format!("{ms} ms"));
            println!(
                "   acknowledged in {} → visible in {}: p50 {:>5} ms   lag {} writes   staleness at most {staleness}",
                stage.name(0),
                stage.name(1),
                ms(quantile(&mut line, 0.5)),
                ahead.seq.saturating_sub(here.seq)
            );
            all.append(&mut line);
        }
    }
    Ok(quantile(&mut all, 0.5))
}

/// The counter of a point as a node of the region sees it now, without asking anybody.
pub async fn counter(region: &Region, node: usize, id: u64) -> anyhow::Result<Option<u64>> {
    let body = json!({"ids": [id], "with_payload": true});
    let path = Stage::path("/points");
    let ask = Ask::post(&path, &body).with(&[("x-consistency", "eventual")]);
    let answer = region.ask(node, ask).await?.fine()?;
    let points = answer.body.get("result").and_then(Value::as_array).context("no points")?;
    Ok(points.first().and_then(|point| point.pointer("/payload/counter")).and_then(Value::as_u64))
}

//! Real words into the primary region.

use std::time::{Duration, Instant};

use anyhow::Context;
use futures::{TryStreamExt, stream};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use super::ledger::Outcome;
use super::numbers::grouped;
use super::stage::{Stage, heading};
use crate::client::Ask;

/// Points a request, requests at once.
const BATCH: usize = 200;
const AT_ONCE: usize = 4;
/// For the other region to have all of it.
const CATCH_UP: Duration = Duration::from_secs(60);

/// Creates the collection and loads all words: point n is word n.
pub async fn load(stage: &Stage) -> anyhow::Result<()> {
    heading("Load");
    let count = stage.words.len();
    let create = json!({"vectors": {"size": stage.words.dim, "distance": "Cosine"}});
    stage.primary.ask(0, Ask::put(&Stage::path(""), &create)).await?.fine().context("create the collection")?;
    let style = ProgressStyle::with_template("   {bar:48} {human_pos} of {human_len} vectors, {per_sec}, {eta} left")?;
    let bar = ProgressBar::new(count as u64).with_style(style);
    let begun = Instant::now();
    let batches = (0..count).step_by(BATCH).map(|first| first..(first + BATCH).min(count));
    stream::iter(batches.map(anyhow::Ok))
        .try_for_each_concurrent(AT_ONCE, |rows| {
            let bar = &bar;
            async move {
                let size = rows.len() as u64;
                batch(stage, rows).await?;
                bar.inc(size);
                Ok(())
            }
        })
        .await?;
    bar.finish_and_clear();
    let took = begun.elapsed();
    let a_second = (count as f64 / took.as_secs_f64()) as usize;
    println!(
        "   {} vectors of {} numbers, each on two disks before it was acknowledged: {:.1} s, {} a second.",
        grouped(count),
        stage.words.dim,
        took.as_secs_f64(),
        grouped(a_second)
    );
    let wanted = json!({"exact": true});
    let there = async || {
        let path = Stage::path("/points/count");
        let answer = stage.other.ask(0, Ask::post(&path, &wanted)).await?.fine()?;
        Ok(answer.body.pointer("/result/count").and_then(Value::as_u64) == Some(count as u64))
    };
    let behind = Stage::until("the other region", CATCH_UP, there).await?;
    println!("   {} had the last of them {} ms later.", stage.name(1), behind.as_millis());
    Ok(())
}

async fn batch(stage: &Stage, rows: std::ops::Range<usize>) -> anyhow::Result<()> {
    let ops: Vec<_> =
        (rows).filter_map(|row| stage.ledger.begin(row as u64, false).map(|op| (row as u64, row, op))).collect();
    let points: Vec<Value> = ops.iter().map(|(id, row, op)| stage.point(*id, *row, *op)).collect();
    let body = json!({"points": points});
    let answer = stage.primary.ask(stage.turn.next(), Ask::put(&Stage::path("/points"), &body)).await;
    let fine = answer.context("load").and_then(|answer| answer.fine().context("load"));
    let outcome = if fine.is_ok() { Outcome::Acknowledged } else { Outcome::Unknown };
    ops.into_iter().for_each(|(id, _, op)| stage.ledger.end(id, op, outcome));
    fine.map(drop)
}

//! A demand for freshness with the link up, cut and healed.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde_json::json;

use super::ledger::Outcome;
use super::stage::{Stage, heading};
use super::visible::counter;
use crate::client::{Answer, Ask};

const DEMAND: &str = "100ms";
const DEMAND_OR_FAIL: &str = "100ms; on-stale=wait,fail; max-wait=200ms";
/// How long the link stays cut, so that staleness can be seen to grow.
const CUT: Duration = Duration::from_millis(1500);
/// For the link to be made anew and answers to be fresh.
const HEAL: Duration = Duration::from_secs(15);
/// Times a fresh answer is asked for while the link is up: a busy laptop may miss one.
const TRIES: usize = 20;

/// Asks for answers that miss nothing older than 100 ms.
pub async fn freshness(stage: &Stage) -> anyhow::Result<()> {
    heading("X-Required-Freshness: 100ms");
    let here = stage.name(1);
    let up = kept(stage).await.context("with the link up, every answer was marked stale")?;
    tell("link up", &up);

    stage.running.cut(stage.name(0));
    stage.running.cut(here);
    let id = stage.words.len() as u64 + 2_000_000;
    ensure!(stage.write(id, 0, false).await == Some(Outcome::Acknowledged), "a write failed in the primary region");
    tokio::time::sleep(CUT).await;
    let missed = ask(stage, DEMAND).await?;
    tell("link cut", &missed);
    ensure!(missed.status == 200 && missed.stale, "an answer without the newest write was not marked stale");
    let refused = ask(stage, DEMAND_OR_FAIL).await?;
    tell("cut, or fail", &refused);
    ensure!(refused.status == 503, "on-stale=fail was answered with status {}", refused.status);
    let unseen = counter(&stage.other, 0, id).await?.is_none();
    ensure!(unseen, "a write crossed a link that was cut");
    println!("   {:<14} {here} does not have what {} wrote meanwhile, and says so.", "", stage.name(0));

    stage.running.heal(stage.name(0));
    stage.running.heal(here);
    let begun = Instant::now();
    let seen = async || {
        let answer = ask(stage, DEMAND).await?;
        Ok(answer.status == 200 && !answer.stale && counter(&stage.other, 0, id).await? == Some(1))
    };
    Stage::until("a fresh answer after the link was healed", HEAL, seen).await?;
    tell("link healed", &ask(stage, DEMAND).await?);
    println!("   {:<14} fresh again {} ms after the link was healed.", "", begun.elapsed().as_millis());
    Ok(())
}

async fn kept(stage: &Stage) -> anyhow::Result<Answer> {
    for _ in 0..TRIES {
        let answer = ask(stage, DEMAND).await?.fine()?;
        if !answer.stale {
            return Ok(answer);
        }
    }
    anyhow::bail!("{TRIES} answers were asked for")
}

async fn ask(stage: &Stage, demand: &str) -> anyhow::Result<Answer> {
    let body = json!({"query": stage.words.row(0), "limit": 3});
    let path = Stage::path("/points/query");
    Ok(stage.other.ask(0, Ask::post(&path, &body).with(&[("x-required-freshness", demand)])).await?)
}

fn tell(when: &str, answer: &Answer) {
    let staleness = answer.staleness_ms.map_or("unknown".into(), |ms| format!("at most {ms} ms"));
    let verdict = match (answer.status, answer.stale) {
        (200, false) => "kept".to_owned(),
        (200, true) => "served, Stale-Result: true".to_owned(),
        (status, _) => format!("refused, status {status}"),
    };
    let by = answer.served_region.as_deref().unwrap_or("?");
    println!("   {when:<14} {verdict:<28} staleness {staleness}, answered by {by}");
}

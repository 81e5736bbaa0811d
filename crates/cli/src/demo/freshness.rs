//! Required freshness while the replication link is up, cut and restored.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde_json::json;

use super::context::{DemoContext, heading};
use super::replication_delay::read_counter;
use super::write_history::Outcome;
use crate::client::{ApiRequest, ApiResponse};

const DEMAND: &str = "100ms";
const DEMAND_OR_FAIL: &str = "100ms; on-stale=wait,fail; max-wait=200ms";
/// How long the link stays cut; staleness grows visibly meanwhile.
const CUT_DURATION: Duration = Duration::from_millis(1500);
/// Timeout until the link is restored and responses are fresh.
const HEAL_TIMEOUT: Duration = Duration::from_secs(15);
/// Attempts for a fresh response while the link is up: a busy machine may miss some.
const MAX_TRIES: usize = 20;

/// Queries with a required freshness of 100 ms in each state of the link.
pub async fn freshness(demo: &DemoContext) -> anyhow::Result<()> {
    heading("X-Required-Freshness: 100ms");
    let secondary = demo.region_name(1);
    let fresh = first_fresh_response(demo).await.context("every response was marked stale with the link up")?;
    print_response("link up", &fresh);

    demo.cluster.cut(demo.region_name(0));
    demo.cluster.cut(secondary);
    let id = demo.words.len() as u64 + 2_000_000;
    ensure!(demo.write(id, 0, false).await == Some(Outcome::Acknowledged), "a write failed in the primary region");
    tokio::time::sleep(CUT_DURATION).await;
    let stale = query(demo, DEMAND).await?;
    print_response("link cut", &stale);
    ensure!(stale.status == 200 && stale.stale, "a response without the newest write was not marked stale");
    let refused = query(demo, DEMAND_OR_FAIL).await?;
    print_response("cut, or fail", &refused);
    ensure!(refused.status == 503, "on-stale=fail must answer 503 (got {})", refused.status);
    let invisible = read_counter(&demo.secondary, 0, id).await?.is_none();
    ensure!(invisible, "a write was replicated over a cut link");
    println!(
        "   {:<14} {secondary} lacks the write to {}, and its responses are marked stale.",
        "",
        demo.region_name(0)
    );

    demo.cluster.heal(demo.region_name(0));
    demo.cluster.heal(secondary);
    let start = Instant::now();
    let is_fresh_again = async || {
        let response = query(demo, DEMAND).await?;
        Ok(response.status == 200 && !response.stale && read_counter(&demo.secondary, 0, id).await? == Some(1))
    };
    DemoContext::poll_until("a fresh response after the link was restored", HEAL_TIMEOUT, is_fresh_again).await?;
    print_response("link restored", &query(demo, DEMAND).await?);
    println!("   {:<14} fresh again {} ms after the link was restored.", "", start.elapsed().as_millis());
    Ok(())
}

async fn first_fresh_response(demo: &DemoContext) -> anyhow::Result<ApiResponse> {
    for _ in 0..MAX_TRIES {
        let response = query(demo, DEMAND).await?.error_for_status()?;
        if !response.stale {
            return Ok(response);
        }
    }
    anyhow::bail!("{MAX_TRIES} responses were stale")
}

async fn query(demo: &DemoContext, demand: &str) -> anyhow::Result<ApiResponse> {
    let body = json!({"query": demo.words.row(0), "limit": 3});
    let path = DemoContext::path("/points/query");
    Ok(demo.secondary.send(0, ApiRequest::post(&path, &body).with(&[("x-required-freshness", demand)])).await?)
}

fn print_response(when: &str, response: &ApiResponse) {
    let staleness = response.staleness_ms.map_or("unknown".into(), |ms| format!("at most {ms} ms"));
    let verdict = match (response.status, response.stale) {
        (200, false) => "kept".to_owned(),
        (200, true) => "served, Stale-Result: true".to_owned(),
        (status, _) => format!("refused, status {status}"),
    };
    let served_by = response.served_region.as_deref().unwrap_or("?");
    println!("   {when:<14} {verdict:<28} staleness {staleness}, served by {served_by}");
}

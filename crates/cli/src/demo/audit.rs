//! Audit after the faults: every acknowledged write is present in both regions, exactly once.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context;
use serde_json::{Value, json};

use super::context::{DemoContext, heading};
use super::stats::grouped;
use crate::client::{ApiRequest, RegionClient};

/// Timeout until all replicas agree after the last write.
const CONVERGENCE_TIMEOUT: Duration = Duration::from_secs(30);
/// Points per request.
const BATCH: usize = 1000;
/// Records of the primary's log that are not operations on points: the creation of the collection.
const DEFINITIONS: u64 = 1;

/// Result of the audit.
#[derive(Debug)]
pub struct Audit {
    pub acknowledged: usize,
    /// Acknowledged writes that are neither present nor overwritten; the larger count of the two regions.
    pub lost: usize,
    /// Applied operations minus distinct committed operations; negative when operations are missing.
    pub duplicated: i64,
    /// Every replica of both regions has the same digest.
    pub digests_equal: bool,
}

impl Audit {
    /// Whether no write is lost or duplicated and all replicas are equal.
    pub fn passed(&self) -> bool {
        self.lost == 0 && self.duplicated == 0 && self.digests_equal
    }
}

/// Waits until all replicas agree, then reads every written point in both regions.
pub async fn audit(demo: &DemoContext) -> anyhow::Result<Audit> {
    heading("Audit");
    let acknowledged = demo.history.acknowledged();
    let (digests_equal, seq) = match demo.wait_for_convergence(CONVERGENCE_TIMEOUT).await {
        Ok(position) => {
            println!("   Six replicas at sequence {}, all with digest {}…", position.seq, &position.digest[..16]);
            (true, position.seq)
        }
        Err(error) => {
            println!("   {error:#}");
            (false, demo.position(&demo.secondary, 0).await?.seq)
        }
    };
    let ids = demo.history.written();
    let mut lost = 0;
    let mut resolved = 0;
    for (index, region) in [&demo.primary, &demo.secondary].into_iter().enumerate() {
        let held =
            read_counters(region, &ids).await.with_context(|| format!("read {} back", demo.region_name(index)))?;
        let findings = demo.history.audit(&held);
        println!(
            "   {}: {} points read back, {} writes acknowledged, {} lost; {} of {} unknown outcomes took place.",
            demo.region_name(index),
            grouped(held.len()),
            grouped(acknowledged),
            findings.lost,
            findings.resolved,
            demo.history.unknown()
        );
        lost = lost.max(findings.lost);
        if index == 0 {
            resolved = findings.resolved;
        }
    }
    let applied = i64::try_from(seq.saturating_sub(DEFINITIONS))?;
    let committed = i64::try_from(acknowledged + resolved)?;
    println!("   {applied} operations applied, {committed} distinct ones committed.");
    Ok(Audit { acknowledged, lost, duplicated: applied - committed, digests_equal })
}

/// Reads the counter of each point that exists.
async fn read_counters(region: &RegionClient, ids: &[u64]) -> anyhow::Result<BTreeMap<u64, u64>> {
    let mut held = BTreeMap::new();
    for batch in ids.chunks(BATCH) {
        let body = json!({"ids": batch, "with_payload": ["counter"]});
        let response =
            region.send(0, ApiRequest::post(&DemoContext::path("/points"), &body)).await?.error_for_status()?;
        for point in response.body.get("result").and_then(Value::as_array).context("no points")? {
            let id = point.get("id").and_then(Value::as_u64).context("no id")?;
            held.insert(id, point.pointer("/payload/counter").and_then(Value::as_u64).context("no counter")?);
        }
    }
    Ok(held)
}

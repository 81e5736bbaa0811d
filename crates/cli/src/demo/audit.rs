//! After the storm: is everything there, once, everywhere?

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context;
use serde_json::{Value, json};

use super::numbers::grouped;
use super::stage::{Stage, heading};
use crate::client::{Ask, Region};

/// For all replicas to agree once nobody writes.
const QUIET: Duration = Duration::from_secs(30);
/// Ids a request.
const BATCH: usize = 1000;
/// Records of the primary's log that are no operations on points: the creation of the collection.
const DEFINITIONS: u64 = 1;

/// What was found.
#[derive(Debug)]
pub struct Audit {
    pub acknowledged: usize,
    /// Acknowledged writes that neither stand nor were overtaken, in the region where more are.
    pub lost: usize,
    /// Operations applied less distinct operations committed; below zero, some are missing.
    pub doubled: i64,
    /// Every replica of both regions has the same digest.
    pub digests_equal: bool,
}

impl Audit {
    /// Whether every promise was kept.
    pub fn is_fine(&self) -> bool {
        self.lost == 0 && self.doubled == 0 && self.digests_equal
    }
}

/// Waits for quiet, then reads everything back in both regions.
pub async fn audit(stage: &Stage) -> anyhow::Result<Audit> {
    heading("Audit");
    let acknowledged = stage.ledger.acknowledged();
    let (digests_equal, seq) = match stage.quiet(QUIET).await {
        Ok(position) => {
            println!("   Six replicas at sequence {}, all with digest {}…", position.seq, &position.digest[..16]);
            (true, position.seq)
        }
        Err(fault) => {
            println!("   {fault:#}");
            (false, stage.position(&stage.other, 0).await?.seq)
        }
    };
    let ids = stage.ledger.written();
    let mut lost = 0;
    let mut resolved = 0;
    for (at, region) in [&stage.primary, &stage.other].into_iter().enumerate() {
        let held = read(region, &ids).await.with_context(|| format!("read {} back", stage.name(at)))?;
        let findings = stage.ledger.audit(&held);
        println!(
            "   {}: {} points read back, {} writes acknowledged, {} lost; {} of {} unknown outcomes took place.",
            stage.name(at),
            grouped(held.len()),
            grouped(acknowledged),
            findings.lost,
            findings.resolved,
            stage.ledger.unknown()
        );
        lost = lost.max(findings.lost);
        if at == 0 {
            resolved = findings.resolved;
        }
    }
    let applied = i64::try_from(seq.saturating_sub(DEFINITIONS))?;
    let committed = i64::try_from(acknowledged + resolved)?;
    println!("   {applied} operations applied, {committed} distinct ones committed.");
    Ok(Audit { acknowledged, lost, doubled: applied - committed, digests_equal })
}

/// The counter of each point that stands.
async fn read(region: &Region, ids: &[u64]) -> anyhow::Result<BTreeMap<u64, u64>> {
    let mut held = BTreeMap::new();
    for batch in ids.chunks(BATCH) {
        let body = json!({"ids": batch, "with_payload": ["counter"]});
        let answer = region.ask(0, Ask::post(&Stage::path("/points"), &body)).await?.fine()?;
        for point in answer.body.get("result").and_then(Value::as_array).context("no points")? {
            let id = point.get("id").and_then(Value::as_u64).context("no id")?;
            held.insert(id, point.pointer("/payload/counter").and_then(Value::as_u64).context("no counter")?);
        }
    }
    Ok(held)
}

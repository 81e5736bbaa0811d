//! `meridian status`: prints the status that a node reports.

use anyhow::Context;
use serde_json::Value;

use crate::client::{ApiRequest, RegionClient};

/// Arguments of `meridian status`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Base URL of any node's HTTP API.
    #[arg(long, default_value = "http://127.0.0.1:8080")]
    api: String,
    /// API key.
    #[arg(long, env = "MERIDIAN_API_KEY")]
    api_key: Option<String>,
}

/// Prints the node's cluster and consistency status.
///
/// # Errors
/// When the node does not answer or answers with an error.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let api = args.api.trim_end_matches('/').to_owned();
    let node = RegionClient::new(vec![api.clone()], args.api_key)?;
    let read = async |path| {
        let response = node.send(0, ApiRequest::get(path)).await.with_context(|| format!("request to {api}"))?;
        anyhow::Ok(response.error_for_status()?.body)
    };
    let (cluster, consistency) = (read("/api/v1/cluster").await?, read("/api/v1/consistency").await?);
    print!("{}", text(&cluster, &consistency));
    Ok(())
}

/// Renders the status as text.
fn text(cluster: &Value, consistency: &Value) -> String {
    if cluster.get("region").is_none() {
        return "not a replica yet: waiting to be bootstrapped or to join\n".into();
    }
    let of = |value: &Value, key: &str| match value.get(key) {
        None | Some(Value::Null) => "?".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    };
    let c = |key: &str| of(cluster, key);
    let digest: String = c("digest").chars().take(16).collect();
    let mut lines = vec![
        format!("region     {} (primary: {})", c("region"), of(consistency, "primary_region")),
        format!(
            "replica    {} of shard {} of {}, {}, ready: {}",
            c("replica"),
            c("shard"),
            c("shards"),
            c("role"),
            c("ready")
        ),
        format!(
            "group      leader {}, term {}, applied {} of {}",
            c("leader"),
            c("term"),
            c("applied_index"),
            c("commit_index")
        ),
        format!("points     {}, digest {digest}…", c("points")),
    ];
    let (finalized, published) = (c("behavior_version"), c("published_behavior_version"));
    if finalized != published {
        lines.push(format!("version    finalized {finalized}, published {published}"));
    }
    if let Some(fault) = cluster.get("fault").and_then(Value::as_str) {
        lines.push(format!("fault      {fault}"));
    }
    for (kind, key) in [("voter", "voters"), ("learner", "learners")] {
        for member in cluster.get(key).and_then(Value::as_array).into_iter().flatten() {
            lines.push(format!("{kind:<10} {} at {}", of(member, "replica"), of(member, "address")));
        }
    }
    for origin in consistency.get("origins").and_then(Value::as_array).into_iter().flatten() {
        let (region, shard) = (of(origin, "region"), of(origin, "shard"));
        let (seq, staleness) = (of(origin, "seq"), of(origin, "staleness_ms"));
        lines.push(format!("origin     {region} shard {shard}: applied up to {seq}, staleness at most {staleness} ms"));
    }
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::text;
    use serde_json::{Value, json};

    #[test]
    fn a_blank_node_reports_the_awaited_condition() {
        assert!(text(&json!({"state": "blank"}), &Value::Null).starts_with("not a replica yet"));
    }

    #[test]
    fn unknown_values_are_printed_as_a_question_mark() {
        let cluster = json!({
            "region": "us-east", "replica": 2, "shard": 1, "shards": 1, "role": "follower", "leader": null, "term": 3,
            "voters": [{"replica": 1, "address": "a:1"}], "applied_index": 7, "commit_index": 8, "points": 5,
            "ready": true, "digest": "0123456789abcdef0123", "fault": "log lost",
            "behavior_version": 2, "published_behavior_version": 1,
        });
        let origins = json!([{"region": "eu-west", "shard": 2, "seq": 9, "staleness_ms": null}]);
        let page = text(&cluster, &json!({"primary_region": "eu-west", "origins": origins}));
        for line in [
            "region     us-east (primary: eu-west)",
            "replica    2 of shard 1 of 1, follower, ready: true",
            "group      leader ?, term 3, applied 7 of 8",
            "points     5, digest 0123456789abcdef…",
            "version    finalized 2, published 1",
            "fault      log lost",
            "voter      1 at a:1",
            "origin     eu-west shard 2: applied up to 9, staleness at most ? ms",
        ] {
            assert!(page.lines().any(|found| found == line), "{line:?} is not in\n{page}");
        }
    }
}

//! Reads of admin ports: those of pods for a link, and that of another operator.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::Context as _;
use meridian_plan::names::ADMIN_PORT;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, ToSocketAddrs};

/// Time limit of a read.
const TIMEOUT: Duration = Duration::from_secs(3);
/// Largest answer, in bytes.
const MAX_METRICS_BYTES: u64 = 8 << 20;

/// The largest `replication_lag_seconds` of `origin` over its shards; `None` if the pod has none or does not answer.
pub async fn lag(address: IpAddr, origin: &str) -> Option<f64> {
    let text = tokio::time::timeout(TIMEOUT, fetch((address, ADMIN_PORT), "/metrics")).await.ok()?.ok()?;
    largest(&text, origin)
}

/// Checks that an operator at `address` is ready and exports its count of reconciliations, which may be zero.
pub async fn check(address: &str) -> anyhow::Result<()> {
    for (path, wanted) in [("/readyz", "ok"), ("/metrics", "meridian_operator_reconcile_duration_seconds_count")] {
        let text = tokio::time::timeout(TIMEOUT, fetch(address, path)).await.context("no answer")??;
        anyhow::ensure!(text.contains(" 200 ") && text.contains(wanted), "{path} of {address} answers {text}");
    }
    Ok(())
}

async fn fetch(address: impl ToSocketAddrs, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    // With HTTP/1.0 the answer ends with the connection and is not chunked.
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: pod\r\n\r\n").as_bytes()).await?;
    let mut text = String::new();
    stream.take(MAX_METRICS_BYTES).read_to_string(&mut text).await?;
    Ok(text)
}

fn largest(text: &str, origin: &str) -> Option<f64> {
    let label = format!("origin=\"{origin}\"");
    let lags = text.lines().filter(|line| line.starts_with("replication_lag_seconds{") && line.contains(&label));
    lags.filter_map(|line| line.rsplit_once('}')?.1.split_whitespace().next()?.parse::<f64>().ok()).reduce(f64::max)
}

#[cfg(test)]
mod tests {
    use super::largest;

    #[test]
    fn the_worst_shard_of_the_origin_counts() {
        let text = "# TYPE replication_lag_seconds gauge\n\
                    replication_lag_seconds{origin=\"us-east\",shard=\"1\"} 0.02\n\
                    replication_lag_seconds{origin=\"us-east\",shard=\"2\"} 1.5\n\
                    replication_lag_seconds{origin=\"eu-west\",shard=\"1\"} 9\n";
        assert_eq!(largest(text, "us-east"), Some(1.5));
        assert_eq!(largest(text, "mars"), None);
    }

    #[test]
    fn the_lag_of_a_silent_source_is_infinite() {
        let text = "replication_lag_seconds{origin=\"us-east\",shard=\"1\"} +Inf\n";
        assert_eq!(largest(text, "us-east"), Some(f64::INFINITY));
    }
}

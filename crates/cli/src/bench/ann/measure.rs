//! Asking and timing.

use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use meridian_ann::Index;
use serde_json::json;

use crate::demo::quantile;

use super::Args;
use super::data::Data;
use super::setting::Choice;

/// The queries are asked again until this much time is over, so that a fast index is timed as exactly as a slow one.
const TIMED: Duration = Duration::from_millis(500);

/// What one setting gives.
pub(super) struct Measured {
    /// Share of the true neighbours that are found.
    pub recall: f64,
    /// Queries a second, all threads together.
    pub qps: f64,
    pub p50: Duration,
    pub p99: Duration,
}

/// Asks the queries that are `chosen`: once for recall, then for time.
pub(super) fn measure(
    index: &Index,
    data: &Data,
    choice: &Choice,
    args: &Args,
    chosen: impl Fn(usize) -> bool,
) -> anyhow::Result<Measured> {
    let k = usize::from(args.k);
    let chosen: Vec<usize> = (0..data.queries.len()).filter(|query| chosen(*query)).collect();
    let (mut found, mut wanted) = (0, 0);
    for &query in &chosen {
        let hits = index.search(data.queries.row(query), k, &choice.params, None);
        let hits = hits.with_context(|| format!("query {query}"))?;
        found += hits.iter().filter(|hit| data.truth[query].contains(&hit.slot)).count();
        wanted += data.truth[query].len();
    }
    let begun = Instant::now();
    let mut times = std::thread::scope(|scope| -> anyhow::Result<Vec<Duration>> {
        let ask = || {
            let mut times = Vec::new();
            while begun.elapsed() < TIMED {
                for &query in &chosen {
                    let asked = Instant::now();
                    let hits = index.search(data.queries.row(query), k, &choice.params, None);
                    std::hint::black_box(&hits);
                    times.push(asked.elapsed());
                }
            }
            times
        };
        let threads: Vec<_> = (0..args.threads).map(|_| scope.spawn(ask)).collect();
        let mut times = Vec::new();
        for thread in threads {
            times.extend(thread.join().map_err(|_| anyhow!("a thread that asks has panicked"))?);
        }
        Ok(times)
    })?;
    let qps = times.len() as f64 / begun.elapsed().as_secs_f64();
    let recall = found as f64 / wanted.max(1) as f64;
    Ok(Measured { recall, qps, p50: quantile(&mut times, 0.5), p99: quantile(&mut times, 0.99) })
}

impl Measured {
    pub fn head() -> String {
        format!("{:<28} {:>7} {:>9} {:>9} {:>9}", "setting", "recall", "queries/s", "p50 µs", "p99 µs")
    }

    /// A line of the table.
    pub fn row(&self, choice: &Choice) -> String {
        let name: Vec<String> = choice.name.iter().map(|(key, value)| format!("{key}={value}")).collect();
        format!(
            "{:<28} {:>7.4} {:>9.0} {:>9.0} {:>9.0}",
            name.join(" "),
            self.recall,
            self.qps,
            self.p50.as_secs_f64() * 1e6,
            self.p99.as_secs_f64() * 1e6
        )
    }

    /// The same and all that belongs to it, for programs.
    pub fn json(&self, args: &Args, data: &Data, choice: &Choice, built: Duration, index_bytes: usize) -> String {
        let metric = format!("{:?}", args.metric).to_lowercase();
        let index = format!("{:?}", args.index).to_lowercase();
        let mut params: serde_json::Map<String, serde_json::Value> =
            args.set.iter().map(|(key, value)| (key.clone(), json!(value))).collect();
        params.extend(choice.name.iter().map(|(key, value)| ((*key).to_owned(), json!(value))));
        json!({
            "dataset": data.name,
            "n": data.base.len(),
            "dim": data.base.dim,
            "metric": metric,
            "index": index,
            "params": params,
            "threads": args.threads,
            "k": args.k,
            "recall": self.recall,
            "qps": self.qps,
            "p50_us": self.p50.as_secs_f64() * 1e6,
            "p99_us": self.p99.as_secs_f64() * 1e6,
            "build_s": built.as_secs_f64(),
            "rss_bytes": resident(),
            "index_bytes": index_bytes,
        })
        .to_string()
    }
}

/// Memory of this process; none where the system does not tell.
fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let kibibytes = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    kibibytes.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok().map(|kibibytes| kibibytes * 1024)
}

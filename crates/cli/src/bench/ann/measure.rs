//! Runs queries and measures recall and latency.

use std::time::{Duration, Instant};

use anyhow::anyhow;
use meridian_ann::{Datatype, Index, Profile, Stats};
use serde_json::json;

use crate::demo::quantile;

use super::Args;
use super::case::Case;
use super::data::Data;
use super::settings::{IndexKind, SearchSetting};

/// Minimum duration of a timed run: queries repeat until it is over, so that fast indexes are timed as precisely as
/// slow ones.
const MIN_TIMED: Duration = Duration::from_millis(250);

/// Result of one setting.
pub(super) struct Measured {
    /// Fraction of the true neighbors that are found.
    pub recall: f64,
    /// Queries per second over all threads.
    pub qps: f64,
    /// Latency of one call with a batch of queries.
    pub p50: Duration,
    pub p99: Duration,
}

/// Cost of building an index.
pub(super) struct Built {
    pub index: IndexKind,
    profile: Profile,
    datatype: &'static str,
    /// History of the index: fresh, churned or opened.
    pub state: &'static str,
    pub time: Duration,
    /// Growth of this process's memory; `None` when the system does not report it.
    pub memory_growth: Option<Resident>,
    index_bytes: usize,
}

/// Resident memory of this process, in bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Resident {
    /// Anonymous pages.
    pub anonymous: u64,
    /// Pages of mapped files.
    pub mapped: u64,
}

impl Built {
    /// Describes an index that was started at `start`, with so much resident memory before.
    pub fn new(index: &Index, kind: IndexKind, start: Instant, before: Option<Resident>) -> Self {
        let time = start.elapsed();
        let Stats { resident_vector_bytes, graph_bytes, queue_bytes, table_bytes, .. } = index.stats();
        Self {
            index: kind,
            profile: index.config().profile,
            datatype: match index.config().datatype {
                Datatype::Float32 => "float32",
                Datatype::Bfloat16 => "bfloat16",
            },
            state: "fresh",
            time,
            memory_growth: resident().zip(before).map(|(now, before)| now.since(before)),
            index_bytes: resident_vector_bytes + graph_bytes + queue_bytes + table_bytes,
        }
    }
}

/// Runs the selected queries once for recall, then repeatedly for time.
pub(super) fn measure(
    index: &Index,
    (data, case): (&Data, &Case),
    setting: &SearchSetting,
    args: &Args,
    is_selected: impl Fn(usize) -> bool,
) -> anyhow::Result<Measured> {
    let k = usize::from(args.k);
    let filter = case.filter.as_ref().map(|(_, filter)| filter);
    let selected: Vec<usize> = (0..data.queries.len()).filter(|query| is_selected(*query)).collect();
    let rows: Vec<&[f32]> = selected.iter().map(|query| data.queries.row(*query)).collect();
    let batch = usize::from(args.batch);
    let (mut correct, mut expected) = (0, 0);
    for (queries, rows) in selected.chunks(batch).zip(rows.chunks(batch)) {
        let results = index.search_batch(rows, k, &setting.params, filter);
        let results = results.map_err(|(at, error)| anyhow!(error).context(format!("query {}", queries[at])))?;
        for (query, hits) in queries.iter().zip(results) {
            correct += hits.iter().filter(|hit| case.truth[*query].contains(&hit.slot)).count();
            expected += case.truth[*query].len();
        }
    }
    let (start, mut queries_done) = (Instant::now(), 0);
    let mut times = std::thread::scope(|scope| -> anyhow::Result<Vec<Duration>> {
        let worker = || {
            let mut times = Vec::new();
            while start.elapsed() < MIN_TIMED {
                for queries in rows.chunks(batch) {
                    let sent = Instant::now();
                    let results = index.search_batch(queries, k, &setting.params, filter);
                    std::hint::black_box(&results);
                    times.push((sent.elapsed(), queries.len()));
                }
            }
            times
        };
        let threads: Vec<_> = (0..args.threads).map(|_| scope.spawn(worker)).collect();
        let mut times = Vec::new();
        for thread in threads {
            for (time, queries) in thread.join().map_err(|_| anyhow!("a query thread panicked"))? {
                times.push(time);
                queries_done += queries;
            }
        }
        Ok(times)
    })?;
    let qps = queries_done as f64 / start.elapsed().as_secs_f64();
    let recall = correct as f64 / expected.max(1) as f64;
    Ok(Measured { recall, qps, p50: quantile(&mut times, 0.5), p99: quantile(&mut times, 0.99) })
}

/// The fastest setting that reaches a recall.
pub(super) fn fastest<T>(measured_settings: &[(T, Measured)], recall: f64) -> Option<&(T, Measured)> {
    let reach = measured_settings.iter().filter(|(_, measured)| measured.recall >= recall);
    reach.max_by(|(_, a), (_, b)| a.qps.total_cmp(&b.qps))
}

/// The setting with the highest recall.
pub(super) fn most_thorough<T>(measured_settings: &[(T, Measured)]) -> Option<&(T, Measured)> {
    measured_settings.iter().max_by(|(_, a), (_, b)| a.recall.total_cmp(&b.recall))
}

impl Measured {
    pub fn header() -> String {
        format!("{:<28} {:>7} {:>9} {:>9} {:>9}", "setting", "recall", "queries/s", "p50 µs", "p99 µs")
    }

    /// Formats a table row.
    pub fn row(&self, setting: &SearchSetting) -> String {
        let name: Vec<String> = setting.name.iter().map(|(key, value)| format!("{key}={value}")).collect();
        format!(
            "{:<28} {:>7.4} {:>9.0} {:>9.0} {:>9.0}",
            name.join(" "),
            self.recall,
            self.qps,
            self.p50.as_secs_f64() * 1e6,
            self.p99.as_secs_f64() * 1e6
        )
    }

    /// Formats a JSON object with all parameters.
    pub fn json(&self, args: &Args, (data, case): (&Data, &Case), setting: &SearchSetting, built: &Built) -> String {
        let metric = format!("{:?}", args.metric).to_lowercase();
        let index = format!("{:?}", built.index).to_lowercase();
        let profile = format!("{:?}", built.profile).to_lowercase();
        let mut params: serde_json::Map<String, serde_json::Value> =
            args.set.iter().map(|(key, value)| (key.clone(), json!(value))).collect();
        params.extend(setting.name.iter().map(|(key, value)| ((*key).to_owned(), json!(value))));
        json!({
            "dataset": data.name,
            "n": data.base.len(),
            "dim": data.base.dim,
            "metric": metric,
            "index": index,
            "params": params,
            "profile": profile,
            "datatype": built.datatype,
            "filter": case.json(),
            "state": built.state,
            "threads": args.threads,
            "k": args.k,
            "recall": self.recall,
            "qps": self.qps,
            "p50_us": self.p50.as_secs_f64() * 1e6,
            "p99_us": self.p99.as_secs_f64() * 1e6,
            "build_s": built.time.as_secs_f64(),
            "storage": format!("{:?}", args.storage()).to_lowercase(),
            "rss_bytes": built.memory_growth.map(|memory_growth| memory_growth.anonymous + memory_growth.mapped),
            "anonymous_bytes": built.memory_growth.map(|memory_growth| memory_growth.anonymous),
            "mapped_bytes": built.memory_growth.map(|memory_growth| memory_growth.mapped),
            "index_bytes": built.index_bytes,
        })
        .to_string()
    }
}

impl Resident {
    fn since(self, before: Self) -> Self {
        Self {
            anonymous: self.anonymous.saturating_sub(before.anonymous),
            mapped: self.mapped.saturating_sub(before.mapped),
        }
    }
}

/// Resident memory of this process; `None` when the system does not report it.
pub(super) fn resident() -> Option<Resident> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let bytes = |name: &str| {
        let kibibytes = status.lines().find_map(|line| line.strip_prefix(name))?;
        kibibytes.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok().map(|kibibytes| kibibytes * 1024)
    };
    Some(Resident { anonymous: bytes("RssAnon:")?, mapped: bytes("RssFile:")? })
}

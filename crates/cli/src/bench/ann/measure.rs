//! Asking and timing.

use std::time::{Duration, Instant};

use anyhow::anyhow;
use meridian_ann::{Datatype, Index, Profile, Stats};
use serde_json::json;

use crate::demo::quantile;

use super::Args;
use super::case::Case;
use super::data::Data;
use super::setting::{Choice, IndexKind};

/// The queries are asked again until this much time is over, so that a fast index is timed as exactly as a slow one.
const TIMED: Duration = Duration::from_millis(250);

/// What one setting gives.
pub(super) struct Measured {
    /// Share of the true neighbours that are found.
    pub recall: f64,
    /// Queries a second, all threads together.
    pub qps: f64,
    /// Of a call, which asks a batch.
    pub p50: Duration,
    pub p99: Duration,
}

/// What building took.
pub(super) struct Built {
    pub index: IndexKind,
    profile: Profile,
    datatype: &'static str,
    /// What happened to it before it was asked.
    pub state: &'static str,
    pub time: Duration,
    /// By which the memory of this process grew; none where the system does not tell.
    pub grown: Option<Resident>,
    index_bytes: usize,
}

/// Memory of this process that is resident, in bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Resident {
    /// Its own.
    pub anonymous: u64,
    /// Pages of files that it has mapped.
    pub mapped: u64,
}

impl Built {
    /// Of an index that is ready now: begun then, with so much memory resident before.
    pub fn new(index: &Index, kind: IndexKind, begun: Instant, before: Option<Resident>) -> Self {
        let time = begun.elapsed();
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
            grown: resident().zip(before).map(|(now, before)| now.since(before)),
            index_bytes: resident_vector_bytes + graph_bytes + queue_bytes + table_bytes,
        }
    }
}

/// Asks the queries that are `chosen`: once for recall, then for time.
pub(super) fn measure(
    index: &Index,
    (data, case): (&Data, &Case),
    choice: &Choice,
    args: &Args,
    chosen: impl Fn(usize) -> bool,
) -> anyhow::Result<Measured> {
    let k = usize::from(args.k);
    let filter = case.filter.as_ref().map(|(_, filter)| filter);
    let chosen: Vec<usize> = (0..data.queries.len()).filter(|query| chosen(*query)).collect();
    let rows: Vec<&[f32]> = chosen.iter().map(|query| data.queries.row(*query)).collect();
    let batch = usize::from(args.batch);
    let (mut found, mut wanted) = (0, 0);
    for (queries, rows) in chosen.chunks(batch).zip(rows.chunks(batch)) {
        let answers = index.search_batch(rows, k, &choice.params, filter);
        let answers = answers.map_err(|(at, error)| anyhow!(error).context(format!("query {}", queries[at])))?;
        for (query, hits) in queries.iter().zip(answers) {
            found += hits.iter().filter(|hit| case.truth[*query].contains(&hit.slot)).count();
            wanted += case.truth[*query].len();
        }
    }
    let (begun, mut asked) = (Instant::now(), 0);
    let mut times = std::thread::scope(|scope| -> anyhow::Result<Vec<Duration>> {
        let ask = || {
            let mut times = Vec::new();
            while begun.elapsed() < TIMED {
                for queries in rows.chunks(batch) {
                    let asked = Instant::now();
                    let answers = index.search_batch(queries, k, &choice.params, filter);
                    std::hint::black_box(&answers);
                    times.push((asked.elapsed(), queries.len()));
                }
            }
            times
        };
        let threads: Vec<_> = (0..args.threads).map(|_| scope.spawn(ask)).collect();
        let mut times = Vec::new();
        for thread in threads {
            for (time, queries) in thread.join().map_err(|_| anyhow!("a thread that asks has panicked"))? {
                times.push(time);
                asked += queries;
            }
        }
        Ok(times)
    })?;
    let qps = asked as f64 / begun.elapsed().as_secs_f64();
    let recall = found as f64 / wanted.max(1) as f64;
    Ok(Measured { recall, qps, p50: quantile(&mut times, 0.5), p99: quantile(&mut times, 0.99) })
}

/// The fastest of those that reach a recall.
pub(super) fn fastest<T>(known: &[(T, Measured)], recall: f64) -> Option<&(T, Measured)> {
    let reach = known.iter().filter(|(_, measured)| measured.recall >= recall);
    reach.max_by(|(_, a), (_, b)| a.qps.total_cmp(&b.qps))
}

/// The one with the highest recall.
pub(super) fn most_thorough<T>(known: &[(T, Measured)]) -> Option<&(T, Measured)> {
    known.iter().max_by(|(_, a), (_, b)| a.recall.total_cmp(&b.recall))
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
    pub fn json(&self, args: &Args, (data, case): (&Data, &Case), choice: &Choice, built: &Built) -> String {
        let metric = format!("{:?}", args.metric).to_lowercase();
        let index = format!("{:?}", built.index).to_lowercase();
        let profile = format!("{:?}", built.profile).to_lowercase();
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
            "rss_bytes": built.grown.map(|grown| grown.anonymous + grown.mapped),
            "anonymous_bytes": built.grown.map(|grown| grown.anonymous),
            "mapped_bytes": built.grown.map(|grown| grown.mapped),
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

/// Memory of this process; none where the system does not tell.
pub(super) fn resident() -> Option<Resident> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let bytes = |name: &str| {
        let kibibytes = status.lines().find_map(|line| line.strip_prefix(name))?;
        kibibytes.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok().map(|kibibytes| kibibytes * 1024)
    };
    Some(Resident { anonymous: bytes("RssAnon:")?, mapped: bytes("RssFile:")? })
}

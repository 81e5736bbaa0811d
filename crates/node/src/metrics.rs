//! The metrics of a node, typed: a label that does not exist does not compile.

use std::collections::HashSet;
use std::fmt;
use std::time::Duration;

use meridian_model::client::Outcome;
use meridian_model::{Hlc, OriginShard};
use meridian_replica::Poison;
use meridian_shard::SourcePosition;
use parking_lot::Mutex;
use prometheus_client::encoding::{EncodeLabelSet, text::encode};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use std::sync::atomic::AtomicU64;

/// Seconds; an edge at 0.03 for the alert on search, and fine steps below 10 ms.
const SEARCH_EDGES: [f64; 14] =
    [0.000_25, 0.000_5, 0.001, 0.002, 0.003, 0.005, 0.007_5, 0.01, 0.02, 0.03, 0.05, 0.1, 0.5, 2.0];
/// Seconds; an edge at 0.2, the promise of DESIGN 1.
const DELAY_EDGES: [f64; 12] = [0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.15, 0.2, 0.5, 1.0, 5.0, 30.0];
/// Seconds; from one fsync of a fast disk to a stuck one.
const SYNC_EDGES: [f64; 11] = [0.000_1, 0.000_2, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.05, 0.1, 0.5, 2.0];

/// Labels of a search.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct SearchLabels {
    /// Region that answered.
    pub region: String,
    /// Shard that searched.
    pub shard: u32,
    /// Collection that was searched.
    pub collection: String,
}

/// Labels of what concerns one delta log of a region.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OriginLabels {
    /// Region that accepted the writes.
    pub origin: String,
    /// Its shard.
    pub shard: u32,
}

impl From<&OriginShard> for OriginLabels {
    fn from(from: &OriginShard) -> Self {
        Self { origin: from.region.to_string(), shard: from.shard.number().into() }
    }
}

/// Labels of the newest record of a followed log that could not be taken; one for each origin shard at a time.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct PoisonLabels {
    /// Region that accepted the writes.
    pub origin: String,
    /// Its shard.
    pub shard: u32,
    /// Partition of the topic; -1 where no broker is between.
    pub partition: i64,
    /// Offset in it; -1 where no broker is between.
    pub offset: i64,
    /// The sequence it claims; `unknown` when that cannot be told.
    pub seq: String,
}

impl PoisonLabels {
    /// Of a record of `origin`.
    #[must_use]
    pub fn of(origin: &OriginShard, poison: &Poison) -> Self {
        let (partition, offset) = match poison.at {
            SourcePosition::Kafka { partition, offset } => (partition.into(), offset),
            SourcePosition::Direct => (-1, -1),
        };
        let seq = poison.seq.map_or_else(|| "unknown".into(), |seq| seq.to_string());
        Self { origin: origin.region.to_string(), shard: origin.shard.number().into(), partition, offset, seq }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct HttpLabels {
    route: String,
    method: &'static str,
    status: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabels {
    route: String,
}

type Seconds = Gauge<f64, AtomicU64>;

/// All metrics of one node.
pub struct Metrics {
    registry: Registry,
    /// Time of a search inside a shard.
    pub search_latency: Family<SearchLabels, Histogram, fn() -> Histogram>,
    /// The labels that it has series of.
    searched: Mutex<HashSet<SearchLabels>>,
    /// Staleness of each followed delta log; `+Inf` while unknown.
    pub replication_lag: Family<OriginLabels, Seconds>,
    /// Commit in the origin to applied here.
    pub replication_delay: Family<OriginLabels, Histogram, fn() -> Histogram>,
    freshness_outcomes: Family<OutcomeLabels, Counter>,
    http_requests: Family<HttpLabels, Counter>,
    http_latency: Family<RouteLabels, Histogram, fn() -> Histogram>,
    /// Open connections of the HTTP API.
    pub http_connections: Gauge,
    /// Searches that wait for a thread.
    pub search_queue: Gauge,
    /// Reads refused because too many waited.
    pub search_refused: Counter,
    /// Reads ended before their end: the deadline was over, or the client gone.
    pub search_stopped: Counter,
    /// Reads that panicked: each is a fault of ours, and only its own request fails.
    pub search_panics: Counter,
    /// Committed entries that wait to be applied.
    pub apply_queue: Gauge,
    /// Time of one `fdatasync` of the write-ahead log.
    pub wal_sync: Histogram,
    /// Bytes of the write-ahead log on disk.
    pub wal_bytes: Gauge,
    /// Current term.
    pub raft_term: Gauge,
    /// Index of the last committed entry.
    pub raft_commit_index: Gauge,
    /// Index of the last applied entry.
    pub raft_applied_index: Gauge,
    /// 1 on the leader.
    pub raft_leader: Gauge,
    /// Elections that this replica won.
    pub raft_elections: Counter,
    /// 1 while the clock stepped, or provably differs from the group's.
    pub clock_wrong: Gauge,
    /// Deltas applied, of each origin.
    pub link_applied: Family<OriginLabels, Counter>,
    /// Deltas dropped because they were applied already.
    pub link_duplicates: Counter,
    /// Gaps found and read again.
    pub link_gaps: Counter,
    /// Times a state was taken whole because the log no longer reached back.
    pub link_reseeds: Counter,
    /// 1 while the link follows.
    pub link_connected: Family<OriginLabels, Gauge>,
    /// Records of followed logs that could not be taken.
    pub link_poisons: Family<OriginLabels, Counter>,
    /// 1 for the newest of them.
    pub link_poison: Family<PoisonLabels, Gauge>,
    /// Newest sequence of this shard that the broker has confirmed.
    pub delta_log_published: Gauge,
    /// 1 while this shard's log is published to a broker.
    pub delta_log_connected: Gauge,
}

fn search_histogram() -> Histogram {
    Histogram::new(SEARCH_EDGES)
}

fn delay_histogram() -> Histogram {
    Histogram::new(DELAY_EDGES)
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// All at zero.
    #[must_use]
    pub fn new() -> Self {
        let mut all = Self {
            registry: Registry::default(),
            search_latency: Family::new_with_constructor(search_histogram),
            searched: Mutex::default(),
            replication_lag: Family::default(),
            replication_delay: Family::new_with_constructor(delay_histogram),
            freshness_outcomes: Family::default(),
            http_requests: Family::default(),
            http_latency: Family::new_with_constructor(search_histogram),
            http_connections: Gauge::default(),
            search_queue: Gauge::default(),
            search_refused: Counter::default(),
            search_stopped: Counter::default(),
            search_panics: Counter::default(),
            apply_queue: Gauge::default(),
            wal_sync: Histogram::new(SYNC_EDGES),
            wal_bytes: Gauge::default(),
            raft_term: Gauge::default(),
            raft_commit_index: Gauge::default(),
            raft_applied_index: Gauge::default(),
            raft_leader: Gauge::default(),
            raft_elections: Counter::default(),
            clock_wrong: Gauge::default(),
            link_applied: Family::default(),
            link_duplicates: Counter::default(),
            link_gaps: Counter::default(),
            link_reseeds: Counter::default(),
            link_connected: Family::default(),
            link_poisons: Family::default(),
            link_poison: Family::default(),
            delta_log_published: Gauge::default(),
            delta_log_connected: Gauge::default(),
        };
        all.register();
        // Every outcome is there from the start, so that a rate over one that has not happened yet is zero, not absent.
        for outcome in [Outcome::Fresh, Outcome::Waited, Outcome::Redirected, Outcome::Stale, Outcome::Failed] {
            drop(all.freshness_outcomes.get_or_create(&OutcomeLabels { outcome: outcome_name(outcome) }));
        }
        all
    }

    fn register(&mut self) {
        let (to, s) = (&mut self.registry, || Unit::Seconds);
        to.register_with_unit(
            "vector_search_query_latency",
            "Time of a search inside a shard",
            s(),
            self.search_latency.clone(),
        );
        to.register_with_unit(
            "replication_lag",
            "Upper bound of the age of what is missing of an origin; +Inf while unknown",
            s(),
            self.replication_lag.clone(),
        );
        to.register_with_unit(
            "replication_delay",
            "Commit in the origin to applied here",
            s(),
            self.replication_delay.clone(),
        );
        to.register("freshness_outcome", "How demands for freshness ended", self.freshness_outcomes.clone());
        to.register("meridian_http_requests", "Requests answered", self.http_requests.clone());
        to.register_with_unit("meridian_http_request_latency", "Time of a request", s(), self.http_latency.clone());
        to.register("meridian_http_connections", "Open connections", self.http_connections.clone());
        to.register("meridian_search_queue", "Searches that wait for a thread", self.search_queue.clone());
        to.register("meridian_search_refused", "Reads refused, too many waited", self.search_refused.clone());
        to.register("meridian_search_stopped", "Reads ended early, by deadline or client", self.search_stopped.clone());
        to.register("meridian_search_panics", "Reads that met a fault of ours", self.search_panics.clone());
        to.register("meridian_apply_queue", "Committed entries that wait to be applied", self.apply_queue.clone());
        to.register_with_unit("meridian_wal_sync", "Time of one fdatasync", s(), self.wal_sync.clone());
        to.register_with_unit("meridian_wal", "Write-ahead log on disk", Unit::Bytes, self.wal_bytes.clone());
        to.register("meridian_raft_term", "Current term", self.raft_term.clone());
        to.register("meridian_raft_commit_index", "Last committed entry", self.raft_commit_index.clone());
        to.register("meridian_raft_applied_index", "Last applied entry", self.raft_applied_index.clone());
        to.register("meridian_raft_leader", "1 on the leader", self.raft_leader.clone());
        to.register("meridian_raft_elections", "Elections won by this replica", self.raft_elections.clone());
        to.register(
            "meridian_clock_wrong",
            "1 while the wall clock stepped or provably differs from the group's",
            self.clock_wrong.clone(),
        );
        to.register("meridian_link_applied", "Deltas applied", self.link_applied.clone());
        to.register("meridian_link_duplicates", "Deltas dropped, applied already", self.link_duplicates.clone());
        to.register("meridian_link_gaps", "Gaps found and read again", self.link_gaps.clone());
        to.register("meridian_link_reseeds", "States taken whole", self.link_reseeds.clone());
        to.register("meridian_link_connected", "1 while the link follows", self.link_connected.clone());
        to.register("meridian_link_poisons", "Records that could not be taken", self.link_poisons.clone());
        to.register("meridian_link_poison", "The newest of them", self.link_poison.clone());
        to.register("meridian_delta_log_published", "Newest sequence at the broker", self.delta_log_published.clone());
        to.register("meridian_delta_log_connected", "1 while deltas are published", self.delta_log_connected.clone());
    }

    /// Counts a search of a collection.
    pub fn searched(&self, labels: &SearchLabels, took: Duration) {
        let mut searched = self.searched.lock();
        if !searched.contains(labels) {
            searched.insert(labels.clone());
        }
        self.search_latency.get_or_create(labels).observe(took.as_secs_f64());
    }

    /// Ends the series of collections that are gone.
    pub fn keep_collections(&self, exists: impl Fn(&str) -> bool) {
        self.searched.lock().retain(|labels| {
            let kept = exists(&labels.collection);
            if !kept {
                self.search_latency.remove(labels);
            }
            kept
        });
    }

    /// Deltas of `origin`, stamped at these times, are applied here at `now`.
    pub fn merged(&self, origin: &OriginShard, committed_at: &[Hlc], now: Hlc) {
        let labels = OriginLabels::from(origin);
        self.link_applied.get_or_create(&labels).inc_by(committed_at.len() as u64);
        let delay = self.replication_delay.get_or_create(&labels);
        committed_at.iter().for_each(|at| delay.observe(now.since(*at).as_secs_f64()));
    }

    /// Counts how one demand ended; the name that it is counted under.
    pub fn freshness_outcome(&self, outcome: Outcome) -> &'static str {
        let outcome = outcome_name(outcome);
        self.freshness_outcomes.get_or_create(&OutcomeLabels { outcome }).inc();
        outcome
    }

    /// Counts one request. `route` is a pattern of the router, so there are as many as it has.
    pub fn http_request(&self, route: &str, method: &http::Method, status: u16, took: Duration) {
        let method = match method.as_str() {
            "GET" => "GET",
            "PUT" => "PUT",
            "POST" => "POST",
            "DELETE" => "DELETE",
            "PATCH" => "PATCH",
            _ => "other",
        };
        self.http_requests.get_or_create(&HttpLabels { route: route.into(), method, status: status.into() }).inc();
        self.http_latency.get_or_create(&RouteLabels { route: route.into() }).observe(took.as_secs_f64());
    }

    /// The OpenMetrics text.
    ///
    /// # Errors
    /// Never in practice: a text grows as far as it must.
    pub fn render(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

fn outcome_name(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Fresh => "fresh",
        Outcome::Waited => "waited",
        Outcome::Redirected => "redirected",
        Outcome::Stale => "stale",
        Outcome::Failed => "failed",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_promised_names_stand_in_the_text() {
        let metrics = Metrics::new();
        let labels = SearchLabels { region: "us-east".into(), shard: 1, collection: "words".into() };
        metrics.searched(&labels, Duration::from_millis(29));
        let origin = OriginLabels { origin: "eu-west".into(), shard: 2 };
        metrics.replication_lag.get_or_create(&origin).set(0.25);
        metrics.replication_delay.get_or_create(&origin).observe(0.19);
        metrics.freshness_outcome(Outcome::Waited);
        metrics.http_request("/collections", &http::Method::GET, 200, Duration::from_millis(1));
        let text = metrics.render().unwrap();
        for line in [
            "vector_search_query_latency_seconds_bucket{le=\"0.03\",region=\"us-east\",shard=\"1\",collection=\"words\"} 1",
            "replication_lag_seconds{origin=\"eu-west\",shard=\"2\"} 0.25",
            "replication_delay_seconds_bucket{le=\"0.2\",origin=\"eu-west\",shard=\"2\"} 1",
            "freshness_outcome_total{outcome=\"waited\"} 1",
            "freshness_outcome_total{outcome=\"failed\"} 0",
            "meridian_http_requests_total{route=\"/collections\",method=\"GET\",status=\"200\"} 1",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
    }

    #[test]
    fn the_series_of_a_dropped_collection_disappear() {
        let metrics = Metrics::new();
        let labels = |name: &str| SearchLabels { region: "us-east".into(), shard: 1, collection: name.into() };
        for name in ["kept", "dropped"] {
            metrics.searched(&labels(name), Duration::from_millis(1));
        }
        metrics.keep_collections(|name| name == "kept");
        let text = metrics.render().unwrap();
        assert!(text.contains("collection=\"kept\"") && !text.contains("collection=\"dropped\""), "{text}");
        metrics.searched(&labels("dropped"), Duration::from_millis(1));
        assert!(metrics.render().unwrap().contains("collection=\"dropped\""), "it may be created anew");
    }
}

//! The metrics of a node, typed: a label that does not exist does not compile.

use std::collections::HashSet;
use std::fmt;
use std::time::Duration;

use meridian_model::client::Outcome;
use meridian_model::{BehaviorVersion, Hlc, OriginShard};
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

/// Labels of the last poison record of a followed log; one for each origin shard at a time.
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

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct VersionLabels {
    kind: &'static str,
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
    http_duration: Family<RouteLabels, Histogram, fn() -> Histogram>,
    /// Open connections of the HTTP API.
    pub http_connections: Gauge,
    /// Reads that wait for a thread.
    pub read_queue_depth: Gauge,
    /// Reads refused because too many waited.
    pub reads_refused: Counter,
    /// Reads ended early: by their deadline, or because the client disconnected.
    pub reads_aborted: Counter,
    /// Reads that panicked: each is a defect of this program, and only its own request fails.
    pub reads_panicked: Counter,
    /// Committed entries that wait to be applied.
    pub raft_unapplied_entries: Gauge,
    /// Time of one `fdatasync` of the write-ahead log.
    pub wal_fsync_duration: Histogram,
    /// Bytes of the write-ahead log on disk.
    pub wal_size: Gauge,
    /// Current term.
    pub raft_term: Gauge,
    /// Index of the last committed entry.
    pub raft_commit_index: Gauge,
    /// Index of the last applied entry.
    pub raft_applied_index: Gauge,
    /// 1 on the leader.
    pub raft_is_leader: Gauge,
    /// Elections that this replica won.
    pub raft_elections_won: Counter,
    behavior_version: Family<VersionLabels, Gauge>,
    /// 1 while the clock stepped, or provably differs from the group's.
    pub clock_fault: Gauge,
    /// Deltas applied, of each origin.
    pub link_deltas_applied: Family<OriginLabels, Counter>,
    /// Deltas dropped because they were applied already.
    pub link_duplicate_deltas: Counter,
    /// Gaps found in delta logs and read again.
    pub link_gaps_healed: Counter,
    /// Full re-seeds of an origin shard, whose log no longer reached back.
    pub link_reseeds: Counter,
    /// 1 while the link follows.
    pub link_connected: Family<OriginLabels, Gauge>,
    /// Records of followed logs that could not be applied.
    pub link_poison_records: Family<OriginLabels, Counter>,
    /// 1 for the last poison record of each origin shard.
    pub link_poison_record: Family<PoisonLabels, Gauge>,
    /// Newest sequence of this shard that the broker has confirmed.
    pub delta_log_published_seq: Gauge,
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
            http_duration: Family::new_with_constructor(search_histogram),
            http_connections: Gauge::default(),
            read_queue_depth: Gauge::default(),
            reads_refused: Counter::default(),
            reads_aborted: Counter::default(),
            reads_panicked: Counter::default(),
            raft_unapplied_entries: Gauge::default(),
            wal_fsync_duration: Histogram::new(SYNC_EDGES),
            wal_size: Gauge::default(),
            raft_term: Gauge::default(),
            raft_commit_index: Gauge::default(),
            raft_applied_index: Gauge::default(),
            raft_is_leader: Gauge::default(),
            raft_elections_won: Counter::default(),
            behavior_version: Family::default(),
            clock_fault: Gauge::default(),
            link_deltas_applied: Family::default(),
            link_duplicate_deltas: Counter::default(),
            link_gaps_healed: Counter::default(),
            link_reseeds: Counter::default(),
            link_connected: Family::default(),
            link_poison_records: Family::default(),
            link_poison_record: Family::default(),
            delta_log_published_seq: Gauge::default(),
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
            "Latency of a search inside a shard, its wait for a thread included",
            s(),
            self.search_latency.clone(),
        );
        to.register_with_unit(
            "replication_lag",
            "Staleness of an origin shard: upper bound of the age of what is missing; +Inf while unknown",
            s(),
            self.replication_lag.clone(),
        );
        to.register_with_unit(
            "replication_delay",
            "Time from the commit of a delta in its origin to its application here",
            s(),
            self.replication_delay.clone(),
        );
        to.register(
            "freshness_outcome",
            "Requests by how their freshness demand ended",
            self.freshness_outcomes.clone(),
        );
        to.register("meridian_http_requests", "HTTP requests answered", self.http_requests.clone());
        to.register_with_unit(
            "meridian_http_request_duration",
            "Duration of an HTTP request",
            s(),
            self.http_duration.clone(),
        );
        to.register("meridian_http_connections", "Open connections of the HTTP API", self.http_connections.clone());
        to.register("meridian_read_queue_depth", "Reads that wait for a thread", self.read_queue_depth.clone());
        to.register("meridian_reads_refused", "Reads refused because too many waited", self.reads_refused.clone());
        to.register(
            "meridian_reads_aborted",
            "Reads ended by their deadline or by the client",
            self.reads_aborted.clone(),
        );
        to.register("meridian_reads_panicked", "Reads that panicked", self.reads_panicked.clone());
        to.register_with_unit(
            "meridian_wal_fsync_duration",
            "Duration of one fdatasync of the write-ahead log",
            s(),
            self.wal_fsync_duration.clone(),
        );
        to.register_with_unit(
            "meridian_wal_size",
            "Size of the write-ahead log on disk",
            Unit::Bytes,
            self.wal_size.clone(),
        );
        to.register("meridian_raft_term", "Current Raft term", self.raft_term.clone());
        to.register("meridian_raft_commit_index", "Index of the last committed entry", self.raft_commit_index.clone());
        to.register("meridian_raft_applied_index", "Index of the last applied entry", self.raft_applied_index.clone());
        to.register(
            "meridian_raft_unapplied_entries",
            "Committed entries that are not applied yet",
            self.raft_unapplied_entries.clone(),
        );
        to.register("meridian_raft_is_leader", "1 if this replica leads its shard", self.raft_is_leader.clone());
        to.register("meridian_raft_elections_won", "Elections won by this replica", self.raft_elections_won.clone());
        to.register(
            "meridian_behavior_version",
            "Behavior version that this build knows, that the group has finalized, or that every region has",
            self.behavior_version.clone(),
        );
        to.register(
            "meridian_clock_fault",
            "1 while the wall clock has stepped or provably differs from the group's",
            self.clock_fault.clone(),
        );
        to.register(
            "meridian_link_deltas_applied",
            "Deltas applied per origin shard",
            self.link_deltas_applied.clone(),
        );
        to.register(
            "meridian_link_duplicate_deltas",
            "Deltas dropped because they were applied before",
            self.link_duplicate_deltas.clone(),
        );
        to.register(
            "meridian_link_gaps_healed",
            "Gaps in delta logs that were read again",
            self.link_gaps_healed.clone(),
        );
        to.register("meridian_link_reseeds", "Full re-seeds of an origin shard", self.link_reseeds.clone());
        to.register("meridian_link_connected", "1 while the origin shard is followed", self.link_connected.clone());
        to.register(
            "meridian_link_poison_records",
            "Poison records found per origin shard",
            self.link_poison_records.clone(),
        );
        to.register(
            "meridian_link_poison_record",
            "Last poison record per origin shard; always 1",
            self.link_poison_record.clone(),
        );
        to.register(
            "meridian_delta_log_published_seq",
            "Newest sequence of this shard that the broker has confirmed",
            self.delta_log_published_seq.clone(),
        );
        to.register(
            "meridian_delta_log_connected",
            "1 while the delta log of this shard is published to a broker",
            self.delta_log_connected.clone(),
        );
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
        self.link_deltas_applied.get_or_create(&labels).inc_by(committed_at.len() as u64);
        let delay = self.replication_delay.get_or_create(&labels);
        committed_at.iter().for_each(|at| delay.observe(now.since(*at).as_secs_f64()));
    }

    /// Behavior versions: of this build, and what the group has finalized and published.
    pub fn behavior_versions(&self, finalized: BehaviorVersion, published: BehaviorVersion) {
        let known = BehaviorVersion::newest();
        for (kind, version) in [("known", known), ("finalized", finalized), ("published", published)] {
            self.behavior_version.get_or_create(&VersionLabels { kind }).set(version.0.into());
        }
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
        self.http_duration.get_or_create(&RouteLabels { route: route.into() }).observe(took.as_secs_f64());
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
mod tests;

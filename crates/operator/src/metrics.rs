//! What the operator counts.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// Edges of the duration of a turn, in seconds: from a glance at a resting cluster to a pod that does not answer.
const EDGES: [f64; 8] = [0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Turn {
    kind: &'static str,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Named {
    name: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Cluster {
    namespace: String,
    cluster: String,
}

/// What the operator counts.
pub struct Metrics {
    pub registry: Registry,
    turns: Family<Turn, Counter<u64, AtomicU64>>,
    seconds: Histogram,
    acts: Family<Named, Counter<u64, AtomicU64>>,
    writes: Family<Named, Counter<u64, AtomicU64>>,
    certificates: Family<Cluster, Gauge>,
    /// Writes that may still be made before the process ends; see [`Metrics::end_after`].
    left: Option<AtomicU64>,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("meridian_operator");
        let metrics = (Family::default(), Histogram::new(EDGES), Family::default(), Family::default());
        let (turns, seconds, acts, writes) = metrics;
        registry.register("turns", "Turns by kind of resource and how they ended", turns.clone());
        registry.register("turn_seconds", "Duration of a turn", seconds.clone());
        registry.register("acts", "Acts on pods and groups", acts.clone());
        registry.register("writes", "Writes to the API server by kind of object", writes.clone());
        let certificates = Family::<Cluster, Gauge>::default();
        registry.register(
            "certificate_not_after_seconds",
            "Unix time until which the certificate of a cluster's pods is valid",
            certificates.clone(),
        );
        Self { registry, turns, seconds, acts, writes, certificates, left: None }
    }
}

impl Metrics {
    pub fn turned(&self, kind: &'static str, well: bool, took: Duration) {
        let outcome = if well { "ok" } else { "failed" };
        self.turns.get_or_create(&Turn { kind, outcome }).inc();
        self.seconds.observe(took.as_secs_f64());
    }

    /// Until when the certificate of a cluster's pods is valid; nothing when there is none, or no cluster any more.
    pub fn certificate(&self, namespace: &str, cluster: &str, not_after: Option<i64>) {
        let of = Cluster { namespace: namespace.into(), cluster: cluster.into() };
        if let Some(seconds) = not_after {
            self.certificates.get_or_create(&of).set(seconds);
        } else {
            self.certificates.remove(&of);
        }
    }

    pub fn acted(&self, name: &str) {
        self.acts.get_or_create(&Named { name: name.into() }).inc();
    }

    /// For tests: the process ends right after that many writes, without a word, as if it had been killed there.
    pub fn end_after(mut self, writes: Option<u64>) -> Self {
        self.left = writes.map(AtomicU64::new);
        self
    }

    /// Counts a write that the API server has answered.
    pub fn wrote(&self, kind: &str) {
        self.writes.get_or_create(&Named { name: kind.into() }).inc();
        let last = |left: &AtomicU64| left.fetch_sub(1, Ordering::SeqCst) <= 1;
        if self.left.as_ref().is_some_and(last) {
            std::process::exit(137);
        }
    }
}

//! Metrics of the operator, named as in controller-runtime where it has them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

/// Bucket bounds in seconds: from a reconciliation without work to a pod that does not answer.
const EDGES: [f64; 8] = [0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0];
/// Kinds of resources that are reconciled.
pub const KINDS: [&str; 2] = ["VectorCluster", "ReplicationLink"];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReconcileLabels {
    kind: &'static str,
    result: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabels {
    kind: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ActionLabels {
    action: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ClusterLabels {
    namespace: String,
    cluster: String,
}

/// Metrics of the operator.
pub struct Metrics {
    pub registry: Registry,
    reconcile: Family<ReconcileLabels, Counter>,
    reconcile_duration: Family<KindLabels, Histogram, fn() -> Histogram>,
    actions: Family<ActionLabels, Counter>,
    api_writes: Family<KindLabels, Counter>,
    certificate_expiration: Family<ClusterLabels, Gauge>,
    /// Writes until the process exits; see [`Metrics::end_after`].
    left: Option<AtomicU64>,
}

impl Default for Metrics {
    fn default() -> Self {
        let metrics = Self {
            registry: Registry::with_prefix("meridian_operator"),
            reconcile: Family::default(),
            reconcile_duration: Family::new_with_constructor(|| Histogram::new(EDGES)),
            actions: Family::default(),
            api_writes: Family::default(),
            certificate_expiration: Family::default(),
            left: None,
        };
        // Every kind and result is registered at the start, so that its rate is zero and not absent before its first
        // event.
        for kind in KINDS {
            drop(metrics.reconcile_duration.get_or_create(&KindLabels { kind: kind.into() }));
            for result in ["success", "error"] {
                drop(metrics.reconcile.get_or_create(&ReconcileLabels { kind, result }));
            }
        }
        metrics.registered()
    }
}

impl Metrics {
    fn registered(mut self) -> Self {
        let to = &mut self.registry;
        to.register("reconcile", "Reconciliations by kind of resource and result", self.reconcile.clone());
        to.register_with_unit(
            "reconcile_duration",
            "Duration of a reconciliation",
            Unit::Seconds,
            self.reconcile_duration.clone(),
        );
        to.register("actions", "Calls to pods and evictions, by action", self.actions.clone());
        to.register("api_writes", "Writes to the API server by kind of object", self.api_writes.clone());
        to.register_with_unit(
            "certificate_expiration_timestamp",
            "Unix time at which the certificate of a cluster's pods expires",
            Unit::Seconds,
            self.certificate_expiration.clone(),
        );
        self
    }

    /// Counts a reconciliation.
    pub fn reconciled(&self, kind: &'static str, well: bool, took: Duration) {
        let result = if well { "success" } else { "error" };
        self.reconcile.get_or_create(&ReconcileLabels { kind, result }).inc();
        self.reconcile_duration.get_or_create(&KindLabels { kind: kind.into() }).observe(took.as_secs_f64());
    }

    /// Sets the expiry of the certificate of a cluster's pods, in Unix seconds; `None` removes it.
    pub fn certificate(&self, namespace: &str, cluster: &str, not_after: Option<i64>) {
        let of = ClusterLabels { namespace: namespace.into(), cluster: cluster.into() };
        if let Some(seconds) = not_after {
            self.certificate_expiration.get_or_create(&of).set(seconds);
        } else {
            self.certificate_expiration.remove(&of);
        }
    }

    /// Counts a call to a pod, or an eviction.
    pub fn act_started(&self, action: &'static str) {
        self.actions.get_or_create(&ActionLabels { action }).inc();
    }

    /// For tests: the process exits right after that many writes, without logging, as if it had been killed.
    pub fn end_after(mut self, writes: Option<u64>) -> Self {
        self.left = writes.map(AtomicU64::new);
        self
    }

    /// Counts a write that the API server has answered.
    pub fn wrote(&self, kind: &str) {
        self.api_writes.get_or_create(&KindLabels { kind: kind.into() }).inc();
        let last = |left: &AtomicU64| left.fetch_sub(1, Ordering::SeqCst) <= 1;
        if self.left.as_ref().is_some_and(last) {
            std::process::exit(137);
        }
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;

    use super::*;

    #[test]
    fn names_types_and_help_texts_are_the_documented_ones() {
        let metrics = Metrics::default();
        metrics.reconciled("VectorCluster", true, Duration::from_millis(30));
        metrics.act_started("Evict");
        metrics.wrote("StatefulSet");
        metrics.certificate("us-east", "vector-search", Some(1));
        let mut text = String::new();
        encode(&mut text, &metrics.registry).unwrap();
        let described: Vec<&str> = text.lines().filter(|line| line.starts_with('#')).collect();
        insta::assert_snapshot!(described.join("\n"));
        for line in [
            "meridian_operator_reconcile_total{kind=\"VectorCluster\",result=\"success\"} 1",
            "meridian_operator_reconcile_total{kind=\"ReplicationLink\",result=\"error\"} 0",
            "meridian_operator_reconcile_duration_seconds_count{kind=\"VectorCluster\"} 1",
            "meridian_operator_actions_total{action=\"Evict\"} 1",
            "meridian_operator_api_writes_total{kind=\"StatefulSet\"} 1",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
    }
}

//! State shared by all turns.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kube::api::ListParams;
use kube::runtime::events::{Recorder, Reporter};
use kube::{Api, Client};
use meridian_crd::VectorCluster;
use meridian_plan::names::FIELD_MANAGER;
use meridian_plan::{Apis, Settings};

use crate::act_backoff::ActBackoff;
use crate::cluster::api;
use crate::metrics::Metrics;
use crate::refusals::Refusals;

/// The first wait after a failure; it doubles with each further one.
const BACKOFF_FIRST: Duration = Duration::from_millis(500);
/// The longest wait after a failure: a repaired dependency may stay unnoticed for so long.
const BACKOFF_LAST: Duration = Duration::from_secs(60);

/// State shared by all turns.
pub struct Context {
    pub client: Client,
    pub settings: Settings,
    /// Optional APIs whose resources may be written.
    pub apis: Apis,
    pub recorder: Recorder,
    pub metrics: Metrics,
    /// Objects that could not be written.
    pub refusals: Refusals,
    /// Namespaces that are watched; `None` stands for all.
    pub namespaces: Vec<Option<String>>,
    /// Clusters that may roll at the same time because of the operator's own change. The check and the write to the
    /// status are under [`Self::rolls`].
    pub max_concurrent_rollouts: usize,
    pub rolls: tokio::sync::Mutex<()>,
    failures: Mutex<HashMap<String, u32>>,
    act_backoff: Mutex<ActBackoff>,
}

impl Context {
    pub fn new(client: Client, settings: Settings, apis: Apis, metrics: Metrics) -> Self {
        let reporter = Reporter { controller: FIELD_MANAGER.into(), instance: std::env::var("POD_NAME").ok() };
        let recorder = Recorder::new(client.clone(), reporter);
        Self {
            client,
            settings,
            apis,
            recorder,
            metrics,
            refusals: Refusals::default(),
            namespaces: vec![None],
            max_concurrent_rollouts: 1,
            rolls: tokio::sync::Mutex::default(),
            failures: Mutex::default(),
            act_backoff: Mutex::default(),
        }
    }

    /// Sets the watched namespaces and the number of clusters that may roll at the same time.
    pub fn with_rolls(self, namespaces: Vec<Option<String>>, max_concurrent_rollouts: usize) -> Self {
        Self { namespaces, max_concurrent_rollouts, ..self }
    }

    /// All clusters that are watched.
    pub async fn clusters(&self) -> kube::Result<Vec<VectorCluster>> {
        let mut clusters = Vec::new();
        for namespace in &self.namespaces {
            let of_namespace: Api<VectorCluster> = api(&self.client, namespace.as_deref());
            clusters.extend(of_namespace.list(&ListParams::default()).await?);
        }
        Ok(clusters)
    }

    /// Counts a failure of this object; returns the wait before the next turn.
    pub fn failed(&self, object: &str) -> Duration {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let count = failures.entry(object.to_owned()).or_default();
        let wait = BACKOFF_FIRST.saturating_mul(1 << (*count).min(16)).min(BACKOFF_LAST);
        *count += 1;
        wait
    }

    /// Resets the failures of this object.
    pub fn succeeded(&self, object: &str) {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).remove(object);
    }

    /// Refused acts, by `namespace/name`.
    pub fn act_backoff(&self) -> MutexGuard<'_, ActBackoff> {
        self.act_backoff.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

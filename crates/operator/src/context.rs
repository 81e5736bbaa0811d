//! What every turn uses.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kube::Client;
use kube::runtime::events::{Recorder, Reporter};
use meridian_plan::names::FIELD_MANAGER;
use meridian_plan::{Apis, Settings};

use crate::act_backoff::ActBackoff;
use crate::metrics::Metrics;

/// The first wait after a failure; it doubles with each further one.
const BACKOFF_FIRST: Duration = Duration::from_millis(500);
/// The longest wait after a failure: what a fixed dependency may go unnoticed.
const BACKOFF_LAST: Duration = Duration::from_secs(60);

/// What every turn uses.
pub struct Context {
    pub client: Client,
    pub settings: Settings,
    /// Optional APIs whose resources may be written.
    pub apis: Apis,
    pub recorder: Recorder,
    pub metrics: Metrics,
    failures: Mutex<HashMap<String, u32>>,
    act_backoff: Mutex<ActBackoff>,
}

impl Context {
    pub fn new(client: Client, settings: Settings, apis: Apis, metrics: Metrics) -> Self {
        let reporter = Reporter { controller: FIELD_MANAGER.into(), instance: std::env::var("POD_NAME").ok() };
        let recorder = Recorder::new(client.clone(), reporter);
        Self { client, settings, apis, recorder, metrics, failures: Mutex::default(), act_backoff: Mutex::default() }
    }

    /// How long to wait after one more failure of this object.
    pub fn failed(&self, object: &str) -> Duration {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let count = failures.entry(object.to_owned()).or_default();
        let wait = BACKOFF_FIRST.saturating_mul(1 << (*count).min(16)).min(BACKOFF_LAST);
        *count += 1;
        wait
    }

    /// A turn of this object went well.
    pub fn succeeded(&self, object: &str) {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).remove(object);
    }

    /// Acts that were refused, by `namespace/name`.
    pub fn act_backoff(&self) -> MutexGuard<'_, ActBackoff> {
        self.act_backoff.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

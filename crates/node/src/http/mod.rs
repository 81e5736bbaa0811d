//! The public HTTP API: parses requests, calls the gateway, renders replies. Decides nothing itself.
//!
//! ```text
//!   socket ──server: connections, head──► auth ──► body: size, read time──► api::http ──► Gateway::execute ──► Reply ──► render
//! ```
//!
//! Start at [`Api`]. A query by point id takes two gateway calls (`call`).

#![expect(clippy::result_large_err, reason = "an error here is the response itself, moved once a request")]

mod auth;
mod body;
mod call;
mod collections;
mod cors;
mod memory_budget;
mod native;
mod points;
mod queries;
mod response;
mod response_body;
pub mod server;
mod trace_context;
mod unsupported;
mod write_timeout;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::{get, post, put};
use futures::future::BoxFuture;
use meridian_api::http::Shape;
use meridian_config::{Cors, Limits};
use meridian_model::RegionName;
use meridian_model::client::{Refusal, Reply, Request};

pub(crate) use native::probe;

pub use auth::ApiKeys;

use crate::metrics::Metrics;
use memory_budget::MemoryBudget;

/// Executes client requests, wherever in the cluster.
pub trait Gateway: Send + Sync {
    /// Whether a read would be admitted now. Called before any work for the read, so it must be cheap.
    ///
    /// # Errors
    /// The refusal, when the read would not be admitted.
    fn admit_read(&self) -> Result<(), Refusal> {
        Ok(())
    }
    /// Executes one request within its timeout. Dropping the future cancels a read.
    fn execute(&self, request: Request) -> BoxFuture<'static, Reply>;
}

/// Source of the native API's reports and of the probes.
pub trait Reporter: Send + Sync {
    /// Body of `GET /api/v1/cluster`.
    fn cluster(&self) -> serde_json::Value;
    /// Body of `GET /api/v1/consistency`.
    fn consistency(&self) -> serde_json::Value;
    /// Body of `GET /api/v1/links`.
    fn links(&self) -> serde_json::Value;
    /// Number of voters of the own shard; `None` while unknown.
    fn voters(&self) -> Option<u16>;
    /// Liveness; an `Err` names the defect that requires a restart.
    fn live(&self) -> Result<(), String>;
    /// Readiness; an `Err` names what is waited for.
    fn ready(&self) -> Result<(), String>;
}

/// Configuration of the API.
pub struct Config {
    /// The region of this node.
    pub region: RegionName,
    /// Limits on requests.
    pub limits: Limits,
    /// Shards, replicas and index defaults of the cluster.
    pub shape: Shape,
    /// Accepted API keys; `None` disables authentication.
    pub keys: Option<Arc<ApiKeys>>,
    /// Allowed origins of browsers.
    pub cors: Cors,
    /// Build commit, for `GET /`.
    pub commit: String,
}

/// State shared by all handlers.
#[derive(Clone)]
pub struct Api(Arc<Inner>);

struct Inner {
    config: Config,
    gateway: Arc<dyn Gateway>,
    reporter: Arc<dyn Reporter>,
    metrics: Arc<Metrics>,
    /// MemoryBudget budget of all requests in flight.
    memory: Arc<MemoryBudget>,
}

impl Api {
    /// Creates the API in front of `gateway`.
    #[must_use]
    pub fn new(config: Config, gateway: Arc<dyn Gateway>, reporter: Arc<dyn Reporter>, metrics: Arc<Metrics>) -> Self {
        let memory = MemoryBudget::new(config.limits.inflight_requests_bytes);
        Self(Arc::new(Inner { config, gateway, reporter, metrics, memory }))
    }

    fn limits(&self) -> &Limits {
        &self.0.config.limits
    }

    /// Timeout of a request: the requested one, at most the node's limit.
    fn timeout(&self, requested: Option<Duration>) -> Duration {
        let max = self.limits().request_timeout();
        requested.map_or(max, |requested| requested.min(max))
    }

    /// All routes. Everything but probes and `GET /` requires a key, unknown paths included. Browsers' preflight
    /// requests cannot carry a key; the CORS layer answers them first.
    pub fn router(self) -> Router {
        let points_path = "/collections/{name}/points";
        let with_key = Router::new()
            .route("/collections", get(collections::list))
            .route(
                "/collections/{name}",
                get(collections::describe)
                    .put(collections::create)
                    .delete(collections::remove)
                    .patch(collections::update),
            )
            .route("/collections/{name}/exists", get(collections::exists))
            .route(points_path, put(points::upsert).post(points::retrieve))
            .route(&format!("{points_path}/delete"), post(points::delete))
            .route(&format!("{points_path}/scroll"), post(points::scroll))
            .route(&format!("{points_path}/count"), post(points::count))
            .route(&format!("{points_path}/query"), post(queries::query))
            .route(&format!("{points_path}/query/batch"), post(queries::batch))
            .route(&format!("{points_path}/search"), post(queries::search))
            .route(&format!("{points_path}/{{id}}"), get(points::retrieve_one))
            .route("/api/v1/cluster", get(native::cluster))
            .route("/api/v1/consistency", get(native::consistency))
            .route("/api/v1/links", get(native::links))
            .route("/api/v1/reindex", post(native::reindex))
            .fallback(response::unknown_path)
            .method_not_allowed_fallback(response::wrong_method)
            .layer(axum::middleware::from_fn_with_state(self.clone(), auth::require_key));
        let without_key = Router::new()
            .route("/", get(collections::version))
            .route("/healthz", get(native::live))
            .route("/livez", get(native::live))
            .route("/readyz", get(native::ready))
            .method_not_allowed_fallback(response::wrong_method);
        let all = match cors::layer(&self.0.config.cors) {
            Some(layer) => with_key.merge(without_key).layer(layer),
            None => with_key.merge(without_key),
        };
        all.layer(axum::middleware::from_fn_with_state(self.clone(), response::instrument)).with_state(self)
    }
}

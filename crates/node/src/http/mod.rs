//! The public HTTP API: parse, ask the gateway, render. Decides nothing itself.
//!
//! ```text
//!   socket ──server: connections, head──► auth ──► body: size, pace──► api::http ──► Gateway::ask ──► Reply ──► render
//! ```
//!
//! Start at [`Api`]. Two requests take several asks: a delete by filter and a query near a point (`steps`).

#![expect(clippy::result_large_err, reason = "an error here is the response itself, moved once a request")]

mod answer;
mod auth;
mod body;
mod collections;
mod cors;
mod memory;
mod native;
mod paced;
mod points;
mod queries;
mod sent;
pub mod server;
mod steps;
mod trace;
mod unsupported;

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
use memory::Memory;

/// Takes requests of clients wherever they have to go.
pub trait Gateway: Send + Sync {
    /// Whether a read that comes now would be taken. Asked before anything is done for it, so it is cheap.
    ///
    /// # Errors
    /// Why not.
    fn admit_read(&self) -> Result<(), Refusal> {
        Ok(())
    }
    /// Answers one request; never later than its timeout. A read whose answer is not waited for is cancelled.
    fn ask(&self, request: Request) -> BoxFuture<'static, Reply>;
}

/// Tells what the native API and the probes show.
pub trait Reporter: Send + Sync {
    /// Of `GET /api/v1/cluster`.
    fn cluster(&self) -> serde_json::Value;
    /// Of `GET /api/v1/consistency`.
    fn consistency(&self) -> serde_json::Value;
    /// Of `GET /api/v1/links`.
    fn links(&self) -> serde_json::Value;
    /// How many replicas of the own shard have a vote; `None` while that is not known.
    fn voters(&self) -> Option<u16>;
    /// Whether the process does its work; an `Err` says what is broken, and asks for a restart.
    fn live(&self) -> Result<(), String>;
    /// Whether requests should come here; an `Err` says what is waited for.
    fn ready(&self) -> Result<(), String>;
}

/// What the API needs to know.
pub struct Config {
    /// The region of this node.
    pub region: RegionName,
    /// Bounds on what clients may send.
    pub limits: Limits,
    /// What the cluster has.
    pub shape: Shape,
    /// Who may ask; `None` lets everyone.
    pub keys: Option<Arc<ApiKeys>>,
    /// Which web pages may call from a browser.
    pub cors: Cors,
    /// Build commit, for `GET /`.
    pub commit: String,
}

/// The state that all handlers share.
#[derive(Clone)]
pub struct Api(Arc<Inner>);

struct Inner {
    config: Config,
    gateway: Arc<dyn Gateway>,
    reporter: Arc<dyn Reporter>,
    metrics: Arc<Metrics>,
    /// Of all requests in flight.
    memory: Arc<Memory>,
}

impl Api {
    /// An API in front of `gateway`.
    #[must_use]
    pub fn new(config: Config, gateway: Arc<dyn Gateway>, reporter: Arc<dyn Reporter>, metrics: Arc<Metrics>) -> Self {
        let memory = Memory::new(config.limits.inflight_requests_bytes);
        Self(Arc::new(Inner { config, gateway, reporter, metrics, memory }))
    }

    fn limits(&self) -> &Limits {
        &self.0.config.limits
    }

    /// The time a request gets: what it names, within what the node allows.
    fn timeout(&self, named: Option<Duration>) -> Duration {
        let most = self.limits().request_timeout();
        named.map_or(most, |named| named.min(most))
    }

    /// All routes. What is neither a probe nor `GET /` needs a key, unknown paths included. A preflight request of a browser
    /// cannot carry one: it is answered before.
    pub fn router(self) -> Router {
        let point = "/collections/{name}/points";
        let closed = Router::new()
            .route("/collections", get(collections::list))
            .route(
                "/collections/{name}",
                get(collections::describe)
                    .put(collections::create)
                    .delete(collections::remove)
                    .patch(collections::update),
            )
            .route("/collections/{name}/exists", get(collections::exists))
            .route(point, put(points::upsert).post(points::retrieve))
            .route(&format!("{point}/delete"), post(points::delete))
            .route(&format!("{point}/scroll"), post(points::scroll))
            .route(&format!("{point}/count"), post(points::count))
            .route(&format!("{point}/query"), post(queries::query))
            .route(&format!("{point}/query/batch"), post(queries::batch))
            .route(&format!("{point}/search"), post(queries::search))
            .route(&format!("{point}/{{id}}"), get(points::one))
            .route("/api/v1/cluster", get(native::cluster))
            .route("/api/v1/consistency", get(native::consistency))
            .route("/api/v1/links", get(native::links))
            .route("/api/v1/reindex", post(native::reindex))
            .fallback(answer::unknown_path)
            .method_not_allowed_fallback(answer::wrong_method)
            .layer(axum::middleware::from_fn_with_state(self.clone(), auth::check));
        let open = Router::new()
            .route("/", get(collections::version))
            .route("/healthz", get(native::live))
            .route("/livez", get(native::live))
            .route("/readyz", get(native::ready))
            .method_not_allowed_fallback(answer::wrong_method);
        let all = match cors::layer(&self.0.config.cors) {
            Some(layer) => closed.merge(open).layer(layer),
            None => closed.merge(open),
        };
        all.layer(axum::middleware::from_fn_with_state(self.clone(), answer::finish)).with_state(self)
    }
}

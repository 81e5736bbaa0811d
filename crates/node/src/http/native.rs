//! The native API under `/api/v1`, errors as problem+json (RFC 9457), and the probes.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde_json::{Value, json};

use super::Api;

pub async fn cluster(State(api): State<Api>) -> Json<Value> {
    Json(api.0.reporter.cluster())
}

pub async fn consistency(State(api): State<Api>) -> Json<Value> {
    Json(api.0.reporter.consistency())
}

pub async fn links(State(api): State<Api>) -> Json<Value> {
    Json(api.0.reporter.links())
}

pub async fn reindex() -> Response {
    problem(StatusCode::NOT_IMPLEMENTED, "online re-indexing is not supported yet")
}

fn problem(status: StatusCode, detail: &str) -> Response {
    let title = status.canonical_reason().unwrap_or_default();
    let body = json!({"type": "about:blank", "title": title, "status": status.as_u16(), "detail": detail});
    let kind = (header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    (status, [kind], body.to_string()).into_response()
}

pub async fn live(State(api): State<Api>) -> Response {
    probe(api.0.reporter.live())
}

pub async fn ready(State(api): State<Api>) -> Response {
    probe(api.0.reporter.ready())
}

/// Response to a probe: 200, or 503 with the reason.
pub fn probe(state: Result<(), String>) -> Response {
    match state {
        Ok(()) => (StatusCode::OK, "ok\n").into_response(),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")).into_response(),
    }
}

//! From replies to responses: status, envelope, headers.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{HeaderName, HeaderValue, StatusCode, header};
use meridian_api::freshness::{
    STALE_RESULT, X_CONSISTENCY_TOKEN, X_SERVED_REGION, X_STALENESS_MS, encode_token, staleness_text,
};
use meridian_api::http::{Fault, error, message_of, retry_after_s, status_of};
use meridian_model::client::{Freshness, Refusal};
use parking_lot::Mutex;

use super::Api;
use super::body::Noted;
use super::sent::{AnswerShare, Sent};
use super::trace::{TRACEPARENT, continued};
use super::unsupported;

/// When a request came, kept with it for the `time` of its answer.
#[derive(Clone, Copy)]
pub struct Started(pub Instant);

/// The trace context of a request, ours already.
#[derive(Clone)]
pub struct Trace(pub String);

/// A JSON response.
pub fn json(status: StatusCode, body: Vec<u8>) -> Response {
    (status, [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], Body::from(body)).into_response()
}

/// An error that needed nobody's answer.
pub fn refuse(status: StatusCode, message: &str) -> Response {
    json(status, error(message, Duration::ZERO))
}

/// A body that was refused at the door.
pub fn faulty(fault: &Fault) -> Response {
    let mut response = refuse(code(fault.status()), &fault.to_string());
    if matches!(fault, Fault::NoRoom) {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

/// A refusal of the gateway.
pub fn refused(refusal: &Refusal, freshness: &Freshness, time: Duration) -> Response {
    let mut response = json(code(status_of(refusal)), error(&message_of(refusal), time));
    if let Some(seconds) = retry_after_s(refusal) {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    told(response, freshness)
}

/// A refusal before anybody was asked.
pub fn refused_at_the_door(refusal: &Refusal) -> Response {
    let mut response = refuse(code(status_of(refusal)), &message_of(refusal));
    if let Some(seconds) = retry_after_s(refusal) {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// An answer with its freshness.
pub fn fine(rendered: Result<Vec<u8>, serde_json::Error>, freshness: &Freshness) -> Response {
    let response = match rendered {
        Ok(body) => json(StatusCode::OK, body),
        Err(fault) => {
            tracing::error!(%fault, "a stored payload cannot be rendered");
            refuse(StatusCode::INTERNAL_SERVER_ERROR, "Service internal error: a stored payload is no JSON")
        }
    };
    told(response, freshness)
}

/// A reply of another kind than was asked for: a fault of ours.
pub fn unexpected() -> Response {
    tracing::error!("the gateway gave a reply of another kind than was asked for");
    refuse(StatusCode::INTERNAL_SERVER_ERROR, "Service internal error: a reply of another kind than was asked for")
}

fn code(status: u16) -> StatusCode {
    StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

fn told(mut response: Response, freshness: &Freshness) -> Response {
    let headers = response.headers_mut();
    let mut put = |name: &'static str, text: &str| {
        if let Ok(value) = HeaderValue::from_str(text) {
            headers.insert(HeaderName::from_static(name), value);
        }
    };
    put(X_STALENESS_MS, &staleness_text(freshness.staleness));
    put(X_SERVED_REGION, freshness.served_region.as_str());
    match encode_token(&freshness.token) {
        Ok(token) => put(X_CONSISTENCY_TOKEN, &token),
        Err(fault) => tracing::warn!(%fault, "an answer goes out without a token"),
    }
    if freshness.stale {
        put(STALE_RESULT, "true");
    }
    response
}

/// Around every request: its start, its trace, its metrics, and the headers that even an error at the door carries.
pub async fn finish(State(api): State<Api>, mut request: Request, next: Next) -> Response {
    let started = Instant::now();
    let from = request.headers().get(TRACEPARENT).and_then(|value| value.to_str().ok());
    let trace = continued(from, (rand::random(), rand::random()));
    let route = request.extensions().get::<MatchedPath>().map_or("unknown", MatchedPath::as_str).to_owned();
    let method = request.method().clone();
    request.extensions_mut().insert(Started(started));
    request.extensions_mut().insert(Trace(trace.clone()));
    let share = AnswerShare(Arc::new(Mutex::new(api.0.memory.share())));
    request.extensions_mut().insert(share.clone());
    let (parts, body) = request.into_parts();
    let (body, is_read) = Noted::new(body);
    let response = next.run(Request::from_parts(parts, Body::new(body))).await;
    let mut response = response.map(|body| Body::new(Sent::new(body, share)));
    api.0.metrics.http_request(&route, &method, response.status().as_u16(), started.elapsed());
    let headers = response.headers_mut();
    if let Ok(value) = HeaderValue::from_str(&trace) {
        headers.insert(HeaderName::from_static(TRACEPARENT), value);
    }
    if let Ok(region) = HeaderValue::from_str(api.0.config.region.as_str()) {
        headers.entry(X_SERVED_REGION).or_insert(region);
    }
    if !is_read.load(Ordering::Relaxed) {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// A path that no route has.
pub async fn unknown_path(request: Request) -> Response {
    match unsupported::operation(request.method(), request.uri().path()) {
        Some(operation) => refuse(StatusCode::NOT_IMPLEMENTED, &format!("Not supported: {operation}")),
        None => refuse(StatusCode::NOT_FOUND, "Not found: no such path"),
    }
}

/// A known path with another method. The last word of some of Qdrant's operations stands where a point id may stand.
pub async fn wrong_method(request: Request) -> Response {
    match unsupported::operation(request.method(), request.uri().path()) {
        Some(operation) => refuse(StatusCode::NOT_IMPLEMENTED, &format!("Not supported: {operation}")),
        None => refuse(StatusCode::METHOD_NOT_ALLOWED, "Wrong input: this path does not know the method"),
    }
}

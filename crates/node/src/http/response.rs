//! Builds responses from replies: status, envelope, headers.

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
use super::body::TrackedBody;
use super::response_body::{ResponseBody, ResponseReservation};
use super::trace_context::{TRACEPARENT, child_context};
use super::unsupported;

/// Start time of a request, an extension that supplies the `time` of its response.
#[derive(Clone, Copy)]
pub struct RequestStart(pub Instant);

/// `traceparent` of this node's span, a request extension.
#[derive(Clone)]
pub struct TraceContext(pub String);

/// A JSON response.
pub fn json(status: StatusCode, body: Vec<u8>) -> Response {
    (status, [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], Body::from(body)).into_response()
}

/// An error response that did not involve the gateway.
pub fn refuse(status: StatusCode, message: &str) -> Response {
    json(status, error(message, Duration::ZERO))
}

/// The response to an invalid body.
pub fn bad_request(error: &Fault) -> Response {
    let mut response = refuse(status_code(error.status()), &error.to_string());
    if matches!(error, Fault::NoRoom) {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

/// The response to a refusal by the gateway.
pub fn error_response(refusal: &Refusal, freshness: &Freshness, time: Duration) -> Response {
    let mut response = json(status_code(status_of(refusal)), error(&message_of(refusal), time));
    if let Some(seconds) = retry_after_s(refusal) {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    with_freshness_headers(response, freshness)
}

/// The response to a refusal before the request was executed; it has no freshness headers.
pub fn early_error_response(refusal: &Refusal) -> Response {
    let mut response = refuse(status_code(status_of(refusal)), &message_of(refusal));
    if let Some(seconds) = retry_after_s(refusal) {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// A successful response with freshness headers.
pub fn ok_response(rendered: Result<Vec<u8>, serde_json::Error>, freshness: &Freshness) -> Response {
    let response = match rendered {
        Ok(body) => json(StatusCode::OK, body),
        Err(error) => {
            tracing::error!(%error, "a stored payload cannot be rendered");
            refuse(StatusCode::INTERNAL_SERVER_ERROR, "Service internal error: a stored payload is not valid JSON")
        }
    };
    with_freshness_headers(response, freshness)
}

/// The response to a reply whose kind does not match the request: a defect of this software.
pub fn unexpected_reply() -> Response {
    tracing::error!("the kind of a gateway reply does not match the request");
    refuse(StatusCode::INTERNAL_SERVER_ERROR, "Service internal error: the kind of a reply does not match the request")
}

fn status_code(status: u16) -> StatusCode {
    StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

fn with_freshness_headers(mut response: Response, freshness: &Freshness) -> Response {
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
        Err(error) => tracing::warn!(%error, "a response is sent without a consistency token"),
    }
    if freshness.stale {
        put(STALE_RESULT, "true");
    }
    response
}

/// Outermost middleware: sets start time and trace context, records metrics, and adds the headers of every response.
pub async fn instrument(State(api): State<Api>, mut request: Request, next: Next) -> Response {
    let started = Instant::now();
    let from = request.headers().get(TRACEPARENT).and_then(|value| value.to_str().ok());
    let trace = child_context(from, (rand::random(), rand::random()));
    let route = request.extensions().get::<MatchedPath>().map_or("unknown", MatchedPath::as_str).to_owned();
    let method = request.method().clone();
    request.extensions_mut().insert(RequestStart(started));
    request.extensions_mut().insert(TraceContext(trace.clone()));
    let reservation = ResponseReservation(Arc::new(Mutex::new(api.0.memory.reservation())));
    request.extensions_mut().insert(reservation.clone());
    let (parts, body) = request.into_parts();
    let (body, is_body_read) = TrackedBody::new(body);
    let response = next.run(Request::from_parts(parts, Body::new(body))).await;
    let mut response = response.map(|body| Body::new(ResponseBody::new(body, reservation)));
    api.0.metrics.http_request(&route, &method, response.status().as_u16(), started.elapsed());
    let headers = response.headers_mut();
    if let Ok(value) = HeaderValue::from_str(&trace) {
        headers.insert(HeaderName::from_static(TRACEPARENT), value);
    }
    if let Ok(region) = HeaderValue::from_str(api.0.config.region.as_str()) {
        headers.entry(X_SERVED_REGION).or_insert(region);
    }
    if !is_body_read.load(Ordering::Relaxed) {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Fallback for unknown paths: 501 for Qdrant's other operations, else 404.
pub async fn unknown_path(request: Request) -> Response {
    match unsupported::operation(request.method(), request.uri().path()) {
        Some(operation) => refuse(StatusCode::NOT_IMPLEMENTED, &format!("Not supported: {operation}")),
        None => refuse(StatusCode::NOT_FOUND, "Not found: no such path"),
    }
}

/// Fallback for known paths with another method. Some Qdrant operations have their name where a point id may be.
pub async fn wrong_method(request: Request) -> Response {
    match unsupported::operation(request.method(), request.uri().path()) {
        Some(operation) => refuse(StatusCode::NOT_IMPLEMENTED, &format!("Not supported: {operation}")),
        None => refuse(StatusCode::METHOD_NOT_ALLOWED, "Wrong input: this path does not support the method"),
    }
}

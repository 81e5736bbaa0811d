//! CORS headers for web pages of other origins.
//!
//! Keys are sent in headers that a page must set, never in cookies, so an allowed origin gains no user's rights.

use std::time::Duration;

use http::{HeaderName, HeaderValue, Method, header};
use meridian_api::freshness::{STALE_RESULT, X_CONSISTENCY_TOKEN, X_SERVED_REGION, X_STALENESS_MS};
use meridian_config::Cors;
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};

use super::trace_context::TRACEPARENT;

/// Cache lifetime of a preflight response; browsers cap it at 2 hours or less.
const MAX_AGE: Duration = Duration::from_secs(600);

/// Layer that answers preflight requests and sets the headers for allowed origins; `None` when no origin is allowed.
pub fn layer(cors: &Cors) -> Option<CorsLayer> {
    if cors.is_off() {
        return None;
    }
    let origin = if cors.allow_origins.iter().any(|origin| origin.is_any()) {
        AllowOrigin::any()
    } else {
        let origins = cors.allow_origins.iter().map(|origin| {
            HeaderValue::from_str(origin.as_str()).expect("an origin consists of visible ASCII characters")
        });
        AllowOrigin::list(origins)
    };
    let exposed =
        [STALE_RESULT, X_CONSISTENCY_TOKEN, X_SERVED_REGION, X_STALENESS_MS, TRACEPARENT].map(HeaderName::from_static);
    let layer = CorsLayer::new()
        .allow_origin(origin)
        .allow_methods([Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE])
        // Request headers are validated by the handlers.
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers(exposed.into_iter().chain([header::RETRY_AFTER]).collect::<Vec<_>>())
        .max_age(MAX_AGE);
    Some(layer)
}

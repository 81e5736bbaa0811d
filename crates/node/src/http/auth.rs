//! API keys: `api-key: <key>` or `Authorization: Bearer <key>`.

use std::sync::{PoisonError, RwLock};

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::{HeaderMap, StatusCode, header};
use subtle::{Choice, ConstantTimeEq};

use super::Api;
use super::response::refuse;

/// The accepted API keys as hashes, so that the duration of a comparison reveals neither length nor content.
pub struct ApiKeys(RwLock<Vec<blake3::Hash>>);

impl ApiKeys {
    /// Creates the set from BLAKE3 hashes of the keys.
    #[must_use]
    pub fn from_hashes(hashes: Vec<blake3::Hash>) -> Self {
        Self(RwLock::new(hashes))
    }

    /// Replaces all keys.
    pub fn replace(&self, hashes: Vec<blake3::Hash>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = hashes;
    }

    /// Whether `key` is accepted.
    #[must_use]
    pub fn contains(&self, key: &[u8]) -> bool {
        let presented_key = blake3::hash(key);
        let keys = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let equal =
            keys.iter().fold(Choice::from(0), |found, key| found | key.as_bytes().ct_eq(presented_key.as_bytes()));
        equal.into()
    }
}

/// Middleware that refuses requests without an accepted key.
pub async fn require_key(State(api): State<Api>, request: Request, next: Next) -> Response {
    let Some(keys) = &api.0.config.keys else { return next.run(request).await };
    match presented_key(request.headers()) {
        Some(key) if keys.contains(key) => next.run(request).await,
        Some(_) => refuse(StatusCode::UNAUTHORIZED, "Invalid API key or JWT"),
        None => refuse(StatusCode::UNAUTHORIZED, "Must provide an API key or an Authorization bearer token"),
    }
}

fn presented_key(headers: &HeaderMap) -> Option<&[u8]> {
    if let Some(key) = headers.get("api-key") {
        return Some(key.as_bytes());
    }
    let value = headers.get(header::AUTHORIZATION)?.as_bytes();
    let (scheme, key) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then_some(key)
}

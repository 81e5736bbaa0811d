//! API keys: `api-key: <key>` or `Authorization: Bearer <key>`.

use std::sync::{PoisonError, RwLock};

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::{HeaderMap, StatusCode, header};
use subtle::{Choice, ConstantTimeEq};

use super::Api;
use super::answer::refuse;

/// The keys that let a client in, as hashes, so that neither length nor content shows in the time a comparison takes.
pub struct ApiKeys(RwLock<Vec<blake3::Hash>>);

impl ApiKeys {
    /// From the hashes of keys.
    #[must_use]
    pub fn of(hashes: Vec<blake3::Hash>) -> Self {
        Self(RwLock::new(hashes))
    }

    /// Puts other keys in force.
    pub fn put(&self, hashes: Vec<blake3::Hash>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = hashes;
    }

    /// Whether `key` lets a client in.
    #[must_use]
    pub fn holds(&self, key: &[u8]) -> bool {
        let shown = blake3::hash(key);
        let keys = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let equal = keys.iter().fold(Choice::from(0), |found, key| found | key.as_bytes().ct_eq(shown.as_bytes()));
        equal.into()
    }
}

/// Lets a request pass that shows a key.
pub async fn check(State(api): State<Api>, request: Request, next: Next) -> Response {
    let Some(keys) = &api.0.config.keys else { return next.run(request).await };
    match shown(request.headers()) {
        Some(key) if keys.holds(key) => next.run(request).await,
        Some(_) => refuse(StatusCode::UNAUTHORIZED, "Invalid API key or JWT"),
        None => refuse(StatusCode::UNAUTHORIZED, "Must provide an API key or an Authorization bearer token"),
    }
}

fn shown(headers: &HeaderMap) -> Option<&[u8]> {
    if let Some(key) = headers.get("api-key") {
        return Some(key.as_bytes());
    }
    let value = headers.get(header::AUTHORIZATION)?.as_bytes();
    let (scheme, key) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then_some(key)
}

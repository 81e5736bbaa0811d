//! API keys: `api-key: <key>` or `Authorization: Bearer <key>`.

use std::sync::{PoisonError, RwLock};

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::{HeaderMap, StatusCode, header};
use subtle::{Choice, ConstantTimeEq};

use super::Api;
use super::answer::refuse;

/// Keys held at once: the one in use, the next one, and room for a few clients' own.
const KEYS: usize = 64;
/// Shortest key: below this it can be guessed.
const KEY_BYTES: usize = 8;

/// The keys that let a client in, as hashes, so that neither length nor content shows in the time a comparison takes.
pub struct ApiKeys(RwLock<Vec<blake3::Hash>>);

/// A key file that cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ApiKeysError {
    /// Nobody could get in.
    #[error("no key in the API key file")]
    Empty,
    /// More than the bound.
    #[error("more than {KEYS} keys in the API key file")]
    TooMany,
    /// Too easy to guess, or not what a header can carry.
    #[error("line {0} of the API key file is no key: at least {KEY_BYTES} visible ASCII characters")]
    Unusable(usize),
}

impl ApiKeys {
    /// Reads a key file: one key a line, empty lines are skipped.
    ///
    /// # Errors
    /// When it holds none, too many, or one that is none. The text of a key is never told.
    pub fn parse(file: &str) -> Result<Self, ApiKeysError> {
        read(file).map(|keys| Self(RwLock::new(keys)))
    }

    /// From the hashes of keys.
    #[must_use]
    pub fn of(hashes: Vec<blake3::Hash>) -> Self {
        Self(RwLock::new(hashes))
    }

    /// The hashes of the keys in a file.
    ///
    /// # Errors
    /// As [`ApiKeys::parse`].
    pub fn read(file: &str) -> Result<Vec<blake3::Hash>, ApiKeysError> {
        read(file)
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

fn read(file: &str) -> Result<Vec<blake3::Hash>, ApiKeysError> {
    let mut keys = Vec::new();
    for (at, line) in file.lines().map(str::trim).enumerate().filter(|(_, line)| !line.is_empty()) {
        if line.len() < KEY_BYTES || !line.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(ApiKeysError::Unusable(at + 1));
        }
        keys.push(blake3::hash(line.as_bytes()));
    }
    match keys.len() {
        0 => Err(ApiKeysError::Empty),
        count if count > KEYS => Err(ApiKeysError::TooMany),
        _ => Ok(keys),
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

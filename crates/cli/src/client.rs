//! A client of the HTTP API of one region: asks one node, and the next when that one does not listen.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Context;
use meridian_api::freshness::{STALE_RESULT, X_SERVED_REGION, X_STALENESS_MS};
use reqwest::Method;
use serde_json::Value;

/// For one answer; the nodes give up before.
const PATIENCE: Duration = Duration::from_secs(15);

/// One region's API.
#[derive(Debug, Clone)]
pub struct Region {
    http: reqwest::Client,
    nodes: Vec<String>,
    key: Option<String>,
}

/// One answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// The body, `Null` when it is not JSON.
    pub body: Value,
    /// `X-Staleness-Ms`; `None` when it is unknown or not told.
    pub staleness_ms: Option<u64>,
    /// `Stale-Result: true`.
    pub stale: bool,
    /// `X-Served-Region`.
    pub served_region: Option<String>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// Nobody got the request.
    #[error("no node of the region listens")]
    NotSent,
    /// Somebody may have: what became of it is unknown.
    #[error("the connection ended before the answer")]
    Unknown(#[source] reqwest::Error),
}

/// A request of a client.
#[derive(Debug, Clone)]
pub struct Ask<'a> {
    method: Method,
    path: &'a str,
    body: Option<&'a Value>,
    headers: &'a [(&'a str, &'a str)],
}

impl<'a> Ask<'a> {
    /// Reads a path.
    #[must_use]
    pub fn get(path: &'a str) -> Self {
        Self { method: Method::GET, path, body: None, headers: &[] }
    }

    /// Sends a body to a path.
    #[must_use]
    pub fn post(path: &'a str, body: &'a Value) -> Self {
        Self { method: Method::POST, path, body: Some(body), headers: &[] }
    }

    /// Puts a body at a path.
    #[must_use]
    pub fn put(path: &'a str, body: &'a Value) -> Self {
        Self { method: Method::PUT, path, body: Some(body), headers: &[] }
    }

    /// With these headers.
    #[must_use]
    pub fn with(self, headers: &'a [(&'a str, &'a str)]) -> Self {
        Self { headers, ..self }
    }
}

impl Region {
    /// The region whose nodes have these base URLs.
    ///
    /// # Errors
    /// When the HTTP client cannot be made.
    pub fn new(nodes: Vec<String>, key: Option<String>) -> anyhow::Result<Self> {
        anyhow::ensure!(!nodes.is_empty(), "a region without nodes");
        let http = reqwest::Client::builder().timeout(PATIENCE).build().context("http client")?;
        Ok(Self { http, nodes, key })
    }

    /// How many nodes it has.
    #[must_use]
    pub fn nodes(&self) -> usize {
        self.nodes.len()
    }

    /// Asks the nodes in turn, beginning with number `first` (modulo their count), until one takes the request.
    ///
    /// # Errors
    /// When none does, or the one that did is lost.
    pub async fn ask(&self, first: usize, ask: Ask<'_>) -> Result<Answer, AskError> {
        for step in 0..self.nodes.len() {
            match self.ask_one(first + step, ask.clone()).await {
                Err(AskError::NotSent) => {}
                done => return done,
            }
        }
        Err(AskError::NotSent)
    }

    /// Asks exactly one node.
    ///
    /// # Errors
    /// When it does not listen, or is lost.
    pub async fn ask_one(&self, node: usize, ask: Ask<'_>) -> Result<Answer, AskError> {
        let url = format!("{}{}", self.nodes[node % self.nodes.len()], ask.path);
        let mut request = self.http.request(ask.method, url);
        if let Some(key) = &self.key {
            request = request.header("api-key", key);
        }
        for (name, value) in ask.headers {
            request = request.header(*name, *value);
        }
        if let Some(body) = ask.body {
            request = request.json(body);
        }
        let lost =
            |fault: reqwest::Error| if fault.is_connect() { AskError::NotSent } else { AskError::Unknown(fault) };
        let response = request.send().await.map_err(lost)?;
        let header = |name: &str| response.headers().get(name)?.to_str().ok().map(str::to_owned);
        let (status, staleness) = (response.status().as_u16(), header(X_STALENESS_MS));
        let (stale, served_region) = (header(STALE_RESULT).as_deref() == Some("true"), header(X_SERVED_REGION));
        let bytes = response.bytes().await.map_err(AskError::Unknown)?;
        let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        Ok(Answer { status, body, staleness_ms: staleness.and_then(|text| text.parse().ok()), stale, served_region })
    }
}

impl Answer {
    /// The answer, if it is a success.
    ///
    /// # Errors
    /// With the status and the server's sentence.
    pub fn fine(self) -> anyhow::Result<Self> {
        let sentence =
            || self.body.pointer("/status/error").and_then(Value::as_str).unwrap_or("no sentence").to_owned();
        anyhow::ensure!(self.status == 200, "status {}: {}", self.status, sentence());
        Ok(self)
    }
}

/// Counts requests, so that they go round.
#[derive(Debug, Default)]
pub struct Turn(AtomicUsize);

impl Turn {
    /// The next number.
    pub fn next(&self) -> usize {
        self.0.fetch_add(1, Ordering::Relaxed)
    }
}

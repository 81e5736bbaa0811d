//! HTTP client of one region: sends each request to one node and fails over when that node refuses the connection.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Context;
use meridian_api::freshness::{STALE_RESULT, X_SERVED_REGION, X_STALENESS_MS};
use reqwest::Method;
use serde_json::Value;

/// Timeout of one request; longer than the nodes' own request timeout.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);

/// The API of one region, reachable at each of its nodes.
#[derive(Debug, Clone)]
pub struct RegionClient {
    http: reqwest::Client,
    nodes: Vec<String>,
    key: Option<String>,
}

/// Response to a request, with the freshness headers parsed.
#[derive(Debug, Clone)]
pub struct ApiResponse {
    /// HTTP status.
    pub status: u16,
    /// The body, `Null` when it is not JSON.
    pub body: Value,
    /// `X-Staleness-Ms`; `None` when the staleness is unknown or the header is absent.
    pub staleness_ms: Option<u64>,
    /// `Stale-Result: true`.
    pub stale: bool,
    /// `X-Served-Region`.
    pub served_region: Option<String>,
}

/// Why a request has no response.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// Every node refused the connection: the request was certainly not executed.
    #[error("no node of the region accepts connections")]
    NotSent,
    /// The connection failed after it was established: the request may or may not have been executed.
    #[error("the connection failed before the response")]
    Unknown(#[source] reqwest::Error),
}

/// A request to the HTTP API.
#[derive(Debug, Clone)]
pub struct ApiRequest<'a> {
    method: Method,
    path: &'a str,
    body: Option<&'a Value>,
    headers: &'a [(&'a str, &'a str)],
}

impl<'a> ApiRequest<'a> {
    /// `GET` of a path.
    #[must_use]
    pub fn get(path: &'a str) -> Self {
        Self { method: Method::GET, path, body: None, headers: &[] }
    }

    /// `POST` of a JSON body.
    #[must_use]
    pub fn post(path: &'a str, body: &'a Value) -> Self {
        Self { method: Method::POST, path, body: Some(body), headers: &[] }
    }

    /// `PUT` of a JSON body.
    #[must_use]
    pub fn put(path: &'a str, body: &'a Value) -> Self {
        Self { method: Method::PUT, path, body: Some(body), headers: &[] }
    }

    /// Adds headers.
    #[must_use]
    pub fn with(self, headers: &'a [(&'a str, &'a str)]) -> Self {
        Self { headers, ..self }
    }
}

impl RegionClient {
    /// Creates a client for nodes with these base URLs; `key` is sent as `api-key`.
    ///
    /// # Errors
    /// When `nodes` is empty or the HTTP client cannot be created.
    pub fn new(nodes: Vec<String>, key: Option<String>) -> anyhow::Result<Self> {
        anyhow::ensure!(!nodes.is_empty(), "nodes must not be empty");
        let http = reqwest::Client::builder().timeout(REQUEST_TIMEOUT).build().context("http client")?;
        Ok(Self { http, nodes, key })
    }

    /// Number of nodes.
    #[must_use]
    pub fn node_count(&self) -> usize {
        self.nodes.len()
    }

    /// Sends a request to the node with index `first` (modulo the node count), then to the next ones until a node
    /// accepts it.
    ///
    /// # Errors
    /// [`RequestError::NotSent`] when no node accepts a connection, [`RequestError::Unknown`] when a connection fails
    /// later.
    pub async fn send(&self, first: usize, api_request: ApiRequest<'_>) -> Result<ApiResponse, RequestError> {
        for step in 0..self.nodes.len() {
            match self.send_to(first + step, api_request.clone()).await {
                Err(RequestError::NotSent) => {}
                done => return done,
            }
        }
        Err(RequestError::NotSent)
    }

    /// Sends a request to exactly one node, without failover.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub async fn send_to(&self, node: usize, api_request: ApiRequest<'_>) -> Result<ApiResponse, RequestError> {
        let url = format!("{}{}", self.nodes[node % self.nodes.len()], api_request.path);
        let mut request = self.http.request(api_request.method, url);
        if let Some(key) = &self.key {
            request = request.header("api-key", key);
        }
        for (name, value) in api_request.headers {
            request = request.header(*name, *value);
        }
        if let Some(body) = api_request.body {
            request = request.json(body);
        }
        let classify = |error: reqwest::Error| {
            if error.is_connect() { RequestError::NotSent } else { RequestError::Unknown(error) }
        };
        let response = request.send().await.map_err(classify)?;
        let header = |name: &str| response.headers().get(name)?.to_str().ok().map(str::to_owned);
        let (status, staleness) = (response.status().as_u16(), header(X_STALENESS_MS));
        let (stale, served_region) = (header(STALE_RESULT).as_deref() == Some("true"), header(X_SERVED_REGION));
        let bytes = response.bytes().await.map_err(RequestError::Unknown)?;
        let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        Ok(ApiResponse {
            status,
            body,
            staleness_ms: staleness.and_then(|text| text.parse().ok()),
            stale,
            served_region,
        })
    }
}

impl ApiResponse {
    /// Returns the response if its status is 200.
    ///
    /// # Errors
    /// Any other status, with the server's error message.
    pub fn error_for_status(self) -> anyhow::Result<Self> {
        let message =
            || self.body.pointer("/status/error").and_then(Value::as_str).unwrap_or("no error message").to_owned();
        anyhow::ensure!(self.status == 200, "status {}: {}", self.status, message());
        Ok(self)
    }
}

/// Counter for round-robin selection of nodes.
#[derive(Debug, Default)]
pub struct RoundRobin(AtomicUsize);

impl RoundRobin {
    /// The next number.
    pub fn next(&self) -> usize {
        self.0.fetch_add(1, Ordering::Relaxed)
    }
}

//! Bounds that protect memory, threads and the time of a stop.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::bounds::{between, maybe_between};

/// Bounds that protect memory, threads and the time of a stop. A request beyond one is refused with a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Bytes of a request body. Default 32 MiB.
    #[serde(deserialize_with = "between::<_, usize, 1024, 1073741824>")]
    pub request_body_bytes: usize,
    /// Bytes of all requests in flight: bodies, what they become, and answers until they are sent. Default 512 MiB, but at
    /// most a third of the memory that the node may use.
    #[serde(deserialize_with = "between::<_, usize, 1024, 68719476736>")]
    pub inflight_requests_bytes: usize,
    /// Bytes of memory that the node may use. Default, and at most: what its control group and the machine allow.
    #[serde(deserialize_with = "maybe_between::<_, 1048576, 1125899906842624>")]
    pub memory_bytes: Option<u64>,
    /// Bytes of the body of one response, as JSON. Default 64 MiB.
    #[serde(deserialize_with = "between::<_, usize, 65536, 1073741824>")]
    pub response_body_bytes: usize,
    /// Milliseconds without progress after which a client that does not read its response is disconnected. Default 15 s.
    #[serde(deserialize_with = "between::<_, u64, 10, 600000>")]
    pub response_idle_timeout_ms: u64,
    /// Collections of the region. Default 1,000.
    #[serde(deserialize_with = "between::<_, usize, 1, 1000000>")]
    pub collections: usize,
    /// Points, or ids, of one request; Qdrant's `upsert_max_batchsize`. Default 100,000: a full-size body of small points.
    #[serde(deserialize_with = "between::<_, usize, 1, 1000000>")]
    pub point_batch_size: usize,
    /// Queries of one batch; Qdrant's `search_max_batchsize`. Default 1,000.
    #[serde(deserialize_with = "between::<_, usize, 1, 100000>")]
    pub search_batch_size: usize,
    /// Largest sum of `limit` and `offset` of a query; Qdrant's `max_query_limit`. Default 10,000.
    #[serde(deserialize_with = "between::<_, usize, 1, 1000000>")]
    pub query_limit: usize,
    /// Lists and objects inside each other. Default 64; the parser's own bound is 128.
    #[serde(deserialize_with = "between::<_, usize, 8, 120>")]
    pub json_depth: usize,
    /// Conditions of one filter; Qdrant's `filter_max_conditions`. Default 1,000.
    #[serde(deserialize_with = "between::<_, usize, 1, 1000000>")]
    pub filter_conditions: usize,
    /// Values and ids of one filter's conditions. Default 10,000.
    #[serde(deserialize_with = "between::<_, usize, 1, 1000000>")]
    pub filter_values: usize,
    /// Filters inside each other. Default 16, at most 32: messages between pods are nested up to 100 levels, three a filter.
    #[serde(deserialize_with = "between::<_, usize, 1, 32>")]
    pub filter_depth: usize,
    /// Largest `params.hnsw_ef` of a query; Qdrant's `search_max_hnsw_ef`. Default 4,096.
    #[serde(deserialize_with = "between::<_, usize, 1, 65536>")]
    pub hnsw_ef: usize,
    /// Bytes of the request line and headers. Default 16 KiB.
    #[serde(deserialize_with = "between::<_, usize, 8192, 1048576>")]
    pub request_headers_bytes: usize,
    /// Milliseconds within which the request line and headers arrive. Default 10 s.
    #[serde(deserialize_with = "between::<_, u64, 10, 600000>")]
    pub request_headers_timeout_ms: u64,
    /// Milliseconds between two pieces of a request body. Default 15 s.
    #[serde(deserialize_with = "between::<_, u64, 10, 600000>")]
    pub request_idle_timeout_ms: u64,
    /// Milliseconds for the whole body, and for the answer where the client names no `timeout`. Default 60 s.
    #[serde(deserialize_with = "between::<_, u64, 10, 3600000>")]
    pub request_timeout_ms: u64,
    /// Open connections. Default 10,000.
    #[serde(deserialize_with = "between::<_, usize, 1, 1000000>")]
    pub connections: usize,
    /// Milliseconds that open requests get to end when the node stops. Default 20 s.
    #[serde(deserialize_with = "between::<_, u64, 0, 600000>")]
    pub drain_timeout_ms: u64,
    /// Milliseconds from the request to stop within which a last snapshot may be written, after the leadership is handed over
    /// and open requests have ended. Default 35 s; the kubelet kills a pod after 40.
    #[serde(deserialize_with = "between::<_, u64, 0, 600000>")]
    pub shutdown_timeout_ms: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            request_body_bytes: 32 << 20,
            inflight_requests_bytes: 512 << 20,
            memory_bytes: None,
            response_body_bytes: 64 << 20,
            response_idle_timeout_ms: 15_000,
            collections: 1_000,
            point_batch_size: 100_000,
            search_batch_size: 1_000,
            query_limit: 10_000,
            json_depth: 64,
            filter_conditions: 1_000,
            filter_values: 10_000,
            filter_depth: 16,
            hnsw_ef: 4_096,
            request_headers_bytes: 16 << 10,
            request_headers_timeout_ms: 10_000,
            request_idle_timeout_ms: 15_000,
            request_timeout_ms: 60_000,
            connections: 10_000,
            drain_timeout_ms: 20_000,
            shutdown_timeout_ms: 35_000,
        }
    }
}

impl Limits {
    /// Time for the whole body, and for the answer where the client names none.
    #[must_use]
    pub fn request_timeout(&self) -> Duration {
        Duration::from_millis(self.request_timeout_ms)
    }
}

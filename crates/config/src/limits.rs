//! Bounds on client requests.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::bounds::{between, maybe_between};

/// Bounds on client requests. Each protects memory or a thread; a request beyond one is refused with a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Bytes of a request body. Default 32 MiB.
    #[serde(deserialize_with = "between::<_, usize, 1024, 1073741824>")]
    pub body_bytes: usize,
    /// Bytes of all requests in flight: bodies, what they become, and answers until they are sent. Default 512 MiB, but at
    /// most a third of the memory that the node may use.
    #[serde(deserialize_with = "between::<_, usize, 1024, 68719476736>")]
    pub requests_bytes: usize,
    /// Bytes of memory that the node may use. Default, and at most: what its control group and the machine allow.
    #[serde(deserialize_with = "maybe_between::<_, 1048576, 1125899906842624>")]
    pub memory_bytes: Option<u64>,
    /// Bytes of one answer, as JSON. Default 64 MiB.
    #[serde(deserialize_with = "between::<_, usize, 65536, 1073741824>")]
    pub response_bytes: usize,
    /// Milliseconds that a client may take to read a piece of an answer. Default 15 s.
    #[serde(deserialize_with = "between::<_, u64, 10, 600000>")]
    pub write_idle_ms: u64,
    /// Collections of the region. Default 1,000.
    #[serde(deserialize_with = "between::<_, usize, 1, 1000000>")]
    pub collections: usize,
    /// Points, or ids, of one request. Default 100,000: a full-size body of small points.
    #[serde(deserialize_with = "between::<_, usize, 1, 1000000>")]
    pub batch_points: usize,
    /// Searches of one batch. Default 1,000.
    #[serde(deserialize_with = "between::<_, usize, 1, 100000>")]
    pub batch_searches: usize,
    /// Points of one answer, the skipped ones included. Default 10,000.
    #[serde(deserialize_with = "between::<_, usize, 1, 1000000>")]
    pub result_points: usize,
    /// Lists and objects inside each other. Default 64; the parser's own bound is 128.
    #[serde(deserialize_with = "between::<_, usize, 8, 120>")]
    pub json_depth: usize,
    /// Conditions of one filter. Default 1,000.
    #[serde(deserialize_with = "between::<_, usize, 1, 1000000>")]
    pub filter_conditions: usize,
    /// Values and ids of one filter's conditions. Default 10,000.
    #[serde(deserialize_with = "between::<_, usize, 1, 1000000>")]
    pub filter_values: usize,
    /// Filters inside each other. Default 16.
    #[serde(deserialize_with = "between::<_, usize, 1, 64>")]
    pub filter_depth: usize,
    /// Beam width of a search. Default 4,096.
    #[serde(deserialize_with = "between::<_, usize, 1, 65536>")]
    pub search_ef: usize,
    /// Bytes of a request's head. Default 16 KiB.
    #[serde(deserialize_with = "between::<_, usize, 8192, 1048576>")]
    pub head_bytes: usize,
    /// Milliseconds for a request's head to come. Default 10 s.
    #[serde(deserialize_with = "between::<_, u64, 10, 600000>")]
    pub head_timeout_ms: u64,
    /// Milliseconds between two pieces of a body. Default 15 s.
    #[serde(deserialize_with = "between::<_, u64, 10, 600000>")]
    pub body_idle_ms: u64,
    /// Milliseconds for the whole body, and for the answer where the client names no `timeout`. Default 60 s.
    #[serde(deserialize_with = "between::<_, u64, 10, 3600000>")]
    pub request_timeout_ms: u64,
    /// Open connections. Default 10,000.
    #[serde(deserialize_with = "between::<_, usize, 1, 1000000>")]
    pub connections: usize,
    /// Milliseconds that open requests get to end when the node stops. Default 20 s.
    #[serde(deserialize_with = "between::<_, u64, 0, 600000>")]
    pub drain_ms: u64,
    /// Milliseconds from the request to stop within which a last snapshot may be written, after the leadership is handed over
    /// and open requests have ended. Default 35 s; the kubelet kills a pod after 40.
    #[serde(deserialize_with = "between::<_, u64, 0, 600000>")]
    pub stop_ms: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes: 32 << 20,
            requests_bytes: 512 << 20,
            memory_bytes: None,
            response_bytes: 64 << 20,
            write_idle_ms: 15_000,
            collections: 1_000,
            batch_points: 100_000,
            batch_searches: 1_000,
            result_points: 10_000,
            json_depth: 64,
            filter_conditions: 1_000,
            filter_values: 10_000,
            filter_depth: 16,
            search_ef: 4_096,
            head_bytes: 16 << 10,
            head_timeout_ms: 10_000,
            body_idle_ms: 15_000,
            request_timeout_ms: 60_000,
            connections: 10_000,
            drain_ms: 20_000,
            stop_ms: 35_000,
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

//! All that crosses a process: HTTP bodies and headers, peer frames, delta records, the node's configuration file. Owns their shapes and versions, and knows no behaviour.
//!
//! ```text
//!   HTTP body + headers ──http, freshness──► Request ──frame──► another pod or region
//!   Delta ──record──► Kafka          config ◄── ConfigMap
//! ```

pub mod config;
pub mod frame;
pub mod freshness;
pub mod http;
pub mod record;
pub mod topology;

//! All that crosses a process: HTTP bodies and headers, requests between pods, peer frames, delta records, the node's
//! configuration file. Owns their shapes and versions, and knows no behaviour.
//!
//! ```text
//!   HTTP body + headers ──http, freshness──► client::Request ──frame──► another pod or region
//!   Delta ──record──► Kafka          config ◄── ConfigMap
//! ```

pub mod client;
pub mod config;
pub mod frame;
pub mod freshness;
pub mod http;
pub mod record;
pub mod topology;

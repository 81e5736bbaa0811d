//! Formats between processes: HTTP bodies and headers, peer frames, delta records. Owns their shapes and versions, and
//! knows no behavior.
//!
//! ```text
//!   HTTP body + headers ──http, freshness──► Request ──frame──► another pod or region
//!   Delta ──record──► Kafka
//! ```

pub mod frame;
pub mod freshness;
pub mod http;
pub mod record;
pub mod topology;

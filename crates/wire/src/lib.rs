//! Formats between processes: peer frames, delta records. Owns their shapes and versions, and
//! knows no behavior.
//!
//! ```text
//!   Request ──frame──► another pod or region
//!   Delta ──record──► Kafka
//! ```

pub mod frame;
pub mod record;
pub mod topology;

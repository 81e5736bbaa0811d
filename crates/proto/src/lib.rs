//! Messages between processes: frames of the peer port, the operator's calls, and delta records.
//!
//! Owns: the types of these messages, their encodings and format versions. Must not contain: connections, TLS, retries or
//! timeouts, Kafka clients, HTTP, or what a receiver does with a message.
//!
//! ```text
//!   pod ◄──frame──► pod of the region, pod of another region
//!   operator ──topology, in frames──► pod
//!   delta ──opaque bytes──► relaying pods ──► the region that applies it
//!   delta, statement ──record──► headers and value of a Kafka record
//! ```
//!
//! Start reading at [`frame::Frame`], then [`topology::TopologyCall`]; for Kafka at [`record::Record`].

pub mod delta_bytes;
#[cfg(test)]
mod fixtures;
pub mod frame;
pub mod record;
mod tagged;
pub mod topology;

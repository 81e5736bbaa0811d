//! The command line: clusters of real processes on one machine, a demo and benchmarks.
//!
//! Owns: the layout of a cluster on one machine ([`local`]), the demo ([`demo`]), benchmarks ([`mod@bench`]) and
//! offline rendering of the operator's objects ([`render`]), and requests to the operator ([`upgrade`]). Deliberately does not know: cluster decisions. It
//! configures nodes, makes the operator's topology calls, calls `plan`, and otherwise is a client of the HTTP API.
//!
//! ```text
//!   local::Layout ──write──► configurations, keys, certificates
//!        └──────────start──► local::LocalCluster: node processes, restarted when they exit; regions joined by proxies that can be cut
//! ```
//!
//! Start reading at [`local::LocalCluster::start`].

pub mod bench;
pub mod client;
pub mod demo;
pub mod local;
pub mod render;
pub mod status;
pub mod upgrade;
pub mod vectors;

//! The command line: clusters of real processes on one machine, and what can be shown with them.
//!
//! Owns: how a cluster is laid out on a laptop ([`local`]), the demo ([`demo`]), figures at a fixed rate ([`mod@bench`]), the
//! operator's objects on paper ([`render`]). Deliberately does not know: how anything is decided; it configures nodes, makes
//! the operator's calls on their peer ports, asks `plan`, and otherwise is a client of the HTTP API.
//!
//! ```text
//!   local::Layout ──write──► configurations, keys, certificates
//!        └──────────start──► local::Running: node processes, restarted when they die; regions joined by links that can be cut
//! ```
//!
//! Start reading at [`local::Running::start`].

pub mod bench;
pub mod client;
pub mod demo;
pub mod local;
pub mod render;
pub mod status;
pub mod vectors;

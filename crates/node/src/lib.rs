//! The node: everything with I/O around the replica machine. Owns: sockets, the HTTP API, metrics. Decides nothing:
//! `api` defines requests, `replica` executes them.
//!
//! ```text
//!   :8080 http ──client::Request──► shell (Gateway) ──► the machine on its thread, disk and search threads
//!   :8082 peer ──frames───────────► shell                :8081 admin ──► metrics, Reporter
//!   broker ◄──deltas── kafka ◄────► shell
//! ```
//!
//! Start reading at [`http::Api`].

pub mod admin;
pub mod credentials;
pub mod http;
pub mod kafka;
pub mod memory_limit;
pub mod metrics;
pub mod peer;
pub mod shell;

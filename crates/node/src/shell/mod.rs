//! Around the machine: one thread drives it, others do what it commands.
//!
//! ```text
//!   HTTP, peers ──Inbox──► engine thread: Replica::step ──Persist──► log thread (group commit) ──Persisted──┐
//!                             ▲      │  │                                                                  │
//!                             │      │  ├──Read──► search threads ──ReadDone──┐                             │
//!                             │      │  └──snapshots──► snapshot thread ──────┤                             │
//!                             └──────┼──────────────────────────────────────┴─────────────────────────────┘
//!                                    └──Send──► peer::Hub
//! ```

mod engine;
mod log_thread;
mod report;
mod search_threads;
mod snapshot_thread;
mod supervisor;

pub use engine::{Engine, Handle};
pub use report::NodeReporter;
pub use supervisor::{Supervisor, SupervisorError};

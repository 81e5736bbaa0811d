//! `meridian demo`: runs two regions on this machine, demonstrates every guarantee on real words, and prints a summary.
//!
//! ```text
//!   start ─► load ─► nearest ─► lag ─► freshness: link up, cut, restored ─► kill leaders under load ─► audit ─► one line
//!                      every write is recorded in WriteHistory ──────────────────────────────────────────┘
//! ```
//!
//! Start at [`run`].

mod audit;
mod command;
mod context;
mod freshness;
mod kill_leaders;
mod load;
mod replication_delay;
mod run_demo;
mod search;
mod stats;
mod write_history;

pub use command::{Args, run};
pub(crate) use context::{DemoContext, heading};
pub(crate) use kill_leaders::{KilledLeader, LOAD_AFTER_KILL, longest_outage};
pub(crate) use load::load;
pub(crate) use replication_delay::read_counter;
pub(crate) use run_demo::{DemoArgs, run_demo};
pub(crate) use stats::{ms, quantile};

#[cfg(test)]
mod tests;

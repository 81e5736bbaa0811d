//! `meridian demo`: two regions on this machine, and everything that is promised shown on real words, with a verdict.
//!
//! ```text
//!   start ─► load ─► nearest ─► lag ─► freshness: link up, cut, healed ─► kill leaders under load ─► audit ─► one line
//!                      every write goes through the Ledger ────────────────────────────────────────────┘
//! ```
//!
//! Start at [`run`].

mod audit;
mod command;
mod freshness;
mod ledger;
mod load;
mod numbers;
mod play;
mod search;
mod stage;
mod storm;
mod visible;

pub use command::{Args, run};
pub(crate) use load::load;
pub(crate) use numbers::{ms, quantile};
pub(crate) use play::{Setting, play};
pub(crate) use stage::{Stage, heading};
pub(crate) use storm::{AFTER, KilledLeader, longest_pause};
pub(crate) use visible::counter;

#[cfg(test)]
mod tests;

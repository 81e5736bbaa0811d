//! Deterministic simulation: many replicas in two regions, in one thread, on a virtual clock, network and disk.
//!
//! Owns: faults, clients and oracles. It drives [`meridian_replica::Replica`], [`meridian_volume::Lifecycle`] and
//! [`meridian_plan::next_step`] on [`meridian_store::SimDisk`], and makes none of their decisions. A run is a function
//! of its seed.
//!
//! ```text
//!   Rng ──► faults, clients, operator ──► World ──events──► Replica ×9
//!                                          │  ◄──commands──    │
//!                                          ├─ history ◄─ replies
//!                                          └─ committed ◄─ committed log entries
//!                                   check: history against committed log, region against region
//! ```
//!
//! Start reading at [`run`], then `world`, then `history`.

mod broker;
mod clients;
mod clock;
mod committed_log;
mod divergence;
mod fault;
mod faults;
mod final_check;
mod full_disks;
mod history;
mod network;
mod operator;
mod pod;
mod queue;
mod report;
mod rng;
mod trace;
mod upgrade;
mod world;

pub use meridian_replica::InjectedBug;
pub use report::{Counts, Report};

/// Options of a run, besides its seed.
#[derive(Debug, Clone, Copy, Default)]
pub struct Plan {
    /// The injected bug.
    pub injected_bug: Option<InjectedBug>,
    /// Whether to print events.
    pub verbose: bool,
    /// Number of full disks of a shard, as the only fault; 0 for the faults of the seed.
    pub full_disks: usize,
    /// Computes a hash of all events and commands; see [`Report::hash`].
    pub hash: bool,
}

/// Runs one seed to its end, or to the first violated invariant. A panic counts as a violation.
#[must_use]
pub fn run(seed: u64, plan: Plan) -> Report {
    let result = std::panic::catch_unwind(|| world::World::new(seed, plan).run());
    result.unwrap_or_else(|panic| {
        let message = panic.downcast_ref::<String>().map(String::as_str);
        let message = message.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
        let violations = vec![format!("panic: {message}")];
        Report { seed, counts: Counts::default(), trace: 0, hash: None, violations }
    })
}

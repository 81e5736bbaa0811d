//! Many replicas in two regions, in one thread, on a virtual clock, network and disk; and what must hold of them.
//!
//! Owns: the faults, the clients, and the oracles. It drives [`meridian_replica::Replica`], [`meridian_volume::Lifecycle`] and
//! [`meridian_plan::next_step`] on [`meridian_store::SimDisk`] and decides nothing that they decide. One seed decides all: equal runs are equal.
//!
//! ```text
//!   Rng ──► faults, clients, operator ──► World ──events──► Replica ×9
//!                                          │  ◄──commands──    │
//!                                          ├─ history ◄─ replies
//!                                          └─ ledger  ◄─ committed log entries
//!                                   check: history against ledger, region against region
//! ```
//!
//! Start reading at [`run`], then `world`, then `history`.

mod broker;
mod clients;
mod clock;
mod divergence;
mod fault;
mod faults;
mod final_check;
mod full_disks;
mod history;
mod ledger;
mod network;
mod operator;
mod pod;
mod queue;
mod report;
mod rng;
mod world;

pub use meridian_replica::InjectedBug;
pub use report::{Counts, Report};

/// What a run is like, beside its seed.
#[derive(Debug, Clone, Copy, Default)]
pub struct Plan {
    /// The injected bug.
    pub injected_bug: Option<InjectedBug>,
    /// Prints what happens.
    pub verbose: bool,
    /// So many of the disks of a shard are full for a while, and nothing else goes wrong; 0 for the faults of the seed.
    pub full_disks: usize,
}

/// Runs one seed to its end, or to the first thing that must not happen.
#[must_use]
pub fn run(seed: u64, plan: Plan) -> Report {
    let ran = std::panic::catch_unwind(|| world::World::new(seed, plan).run());
    ran.unwrap_or_else(|panic| {
        let said = panic.downcast_ref::<String>().map(String::as_str);
        let said = said.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no words");
        Report { seed, counts: Counts::default(), trace: 0, faults: vec![format!("panic: {said}")] }
    })
}

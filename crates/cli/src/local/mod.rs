//! Regions as processes on this machine: every listener on the loopback address, every byte below one folder.
//!
//! ```text
//!   RegionSpec ──► Layout (ports, ids, keys; kept in <dir>/layout.json) ──► files ──► process ──► Allocator ──► ready
//!                                            region ◄── Link (can be cut) ──► region
//! ```
//!
//! Start at [`Running`].

mod allocator;
mod brokers;
mod caller;
mod command;
mod files;
mod layout;
mod link;
mod process;
mod running;

pub use brokers::{BrokerSpec, BrokerSpecError, Brokers, WireSpec};
pub use command::{Args, Signals, run};
pub use layout::{Layout, LayoutError, NodeLayout, RegionLayout, RegionSpec, RegionSpecError};
pub use link::Link;
pub use process::{Restart, send_signal};
pub use running::{Options, Running, node_binary};

#[cfg(test)]
mod tests;

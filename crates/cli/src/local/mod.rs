//! Regions as processes on this machine: all listeners on the loopback address, all files below one folder.
//!
//! ```text
//!   RegionSpec ──► Layout (ports, ids, keys; kept in <dir>/layout.json) ──► files ──► process ──► Allocator ──► ready
//!                                       region ◄── TcpProxy (can be cut) ──► region
//! ```
//!
//! Start at [`LocalCluster`].

mod allocator;
mod brokers;
mod call;
mod cluster;
mod command;
mod files;
mod layout;
mod process;
mod tcp_proxy;
mod topology_client;

pub use brokers::{BrokerSpec, BrokerSpecError, Brokers, ProxySpec};
pub use call::{CallArgs, call};
pub use cluster::{LocalCluster, Options, node_binary};
pub use command::{Args, Signals, run};
pub use layout::{Layout, LayoutError, NodeLayout, RegionLayout, RegionSpec, RegionSpecError};
pub use process::{Restart, send_signal};
pub use tcp_proxy::TcpProxy;

#[cfg(test)]
mod tests;

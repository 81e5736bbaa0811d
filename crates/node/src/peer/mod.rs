//! The peer port: replicas of the region, other regions, and the operator, each by its own proof.
//!
//! ```text
//!   dialled, mutual TLS ──► replicas of the region: what this node says
//!   accepted, with a certificate of the cluster's authority ──► what they say; the operator's calls
//!   dialled or accepted, with a proof of the group key ──► other regions: calls and answers on one connection
//! ```
//!
//! A node speaks to a replica on the connection that it dialled and listens on the one that it accepted, so that a pair
//! needs no agreement on whose connection counts. Every queue is bounded; what does not fit is dropped, as by a network.

mod accept;
mod dial;
mod gate;
mod hub;
mod resolve;

pub use accept::{Inbound, serve};
pub use hub::{Hub, Incoming};

#[cfg(test)]
mod tests;

//! What a replica counts: for metrics, and for the simulation to know that it tried what it claims.

use std::collections::BTreeMap;

use meridian_model::client::Outcome;
use meridian_replication::follower;

/// Counts since the start of the process; they only grow.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Counters {
    /// Elections won by this replica.
    pub elections_won: u64,
    /// Times that this replica handed the leadership over because its clock was wrong.
    pub clock_hand_overs: u64,
    /// Entries applied.
    pub entries_applied: u64,
    /// Local changes that got a sequence.
    pub ops_committed: u64,
    /// Writes answered from the map of recent ids.
    pub writes_repeated: u64,
    /// Of the links to other regions.
    pub links: follower::Counters,
    /// Snapshots taken.
    pub snapshots_taken: u64,
    /// Snapshots of another replica installed.
    pub snapshots_installed: u64,
    /// Membership changes applied.
    pub membership_changes: u64,
    /// Checksum entries that agreed.
    pub checksums_agreed: u64,
    /// Checksum entries that did not.
    pub checksums_differed: u64,
    /// Times that this replica was found sound after all, by most of its group.
    pub vindications: u64,
    /// Times that it was not, and its state was replaced.
    pub heals: u64,
    /// Collections created or dropped here because shard 1 had, and no gateway told.
    pub collections_mended: u64,
    /// How demands for freshness ended, at this gateway.
    pub outcomes: BTreeMap<Outcome, u64>,
}

//! Consistency and freshness that a reader may demand.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What a reader asks for. Without a wish, a read sees every write its region acknowledged before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Consistency {
    /// Linearizable per point, across regions: ReadIndex at the primary region.
    Strong,
    /// No older than a [`RequiredFreshness`].
    Bounded,
    /// At least what the client's token names.
    Session,
    /// Whatever this replica holds.
    Eventual,
}

/// The client's demand: the answer reflects every write acknowledged anywhere longer ago than this.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RequiredFreshness(pub Duration);

//! Who is at the other end, and the numbers of calls.

use meridian_model::RegionName;

use super::NodeId;

/// Another party.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Peer {
    /// A replica of this region.
    Node(NodeId),
    /// The one address of another region, whichever pod stands behind it now.
    Region(RegionName),
    /// A connection that another region opened.
    Connection(u64),
}

/// Allocates the numbers of one replica's calls. No number is given twice.
#[derive(Debug)]
pub struct CallNumbers {
    last: u64,
}

impl CallNumbers {
    /// The first number is the one behind `last`.
    #[must_use]
    pub fn behind(last: u64) -> Self {
        Self { last }
    }

    /// The next number.
    pub fn allocate(&mut self) -> u64 {
        self.last += 1;
        self.last
    }
}

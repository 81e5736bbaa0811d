//! Reading a shard's delta log, and re-seeding from its points when the log no longer reaches back far enough.

use meridian_model::{
    BehaviorVersion, CollectionDef, CollectionUid, Hlc, Payload, PointId, Position, Statement, Vectors,
};

use crate::delta_bytes::DeltaBytes;

/// A call to a shard's delta log.
#[derive(Debug, Clone, PartialEq)]
pub enum TailCall {
    /// Stream the records after a position, as they are committed, while there is credit.
    Open {
        /// The newest position that the caller has.
        after: Position,
        /// Bytes of records that may be in flight.
        credit: u64,
    },
    /// Under the number of the open call: more bytes may be in flight.
    Credit(u64),
    /// Under the number of the open call: end the stream.
    Close,
    /// One page of the live points, for a caller whose position the log no longer holds.
    Seed {
        /// Position of the first page; absent for the first page.
        at: Option<Position>,
        /// Last point of the previous page.
        after: Option<(CollectionUid, PointId)>,
    },
}

/// The answer to a [`TailCall`].
#[derive(Debug, Clone, PartialEq)]
pub enum TailAnswer {
    /// The next records, in order.
    Records {
        /// Deltas that follow the last one sent, without gaps. A pod that relays them does not decode them.
        deltas: Vec<DeltaBytes>,
        /// The newest position of the log.
        at: Position,
        /// The leader's statement of completeness, of a position up to `at`; absent when there is no newer one.
        complete: Option<Statement>,
        /// Number of shards of the origin region.
        origin_shards: u16,
    },
    /// The log no longer holds the records after the position; the caller re-seeds.
    Gone,
    /// This pod cannot serve the log now; the caller retries. Also any answer of a kind that this build does not know.
    Unavailable,
    /// A page of live points.
    Seed(SeedPage),
}

/// A page of live points, ordered by collection and id.
#[derive(Debug, Clone, PartialEq)]
pub struct SeedPage {
    /// The caller's position after the whole seed.
    pub at: Position,
    /// The position at which this page was read, not before `at`.
    pub read_at: Position,
    /// The largest uid that the origin had assigned by then.
    pub largest_uid: CollectionUid,
    /// The collections.
    pub collections: Vec<(CollectionUid, CollectionDef)>,
    /// The points.
    pub points: Vec<SeedPoint>,
    /// Where the next page begins; absent after the last.
    pub next: Option<(CollectionUid, PointId)>,
    /// Number of shards of the origin region.
    pub origin_shards: u16,
}

impl SeedPage {
    /// The behavior version that taking in the page needs.
    #[must_use]
    pub fn needs(&self) -> BehaviorVersion {
        self.points.iter().map(|point| point.payload.needs()).max().unwrap_or(BehaviorVersion::FIRST)
    }
}

/// One live point with the stamp of its last write.
#[derive(Debug, Clone, PartialEq)]
pub struct SeedPoint {
    /// Its collection.
    pub collection: CollectionUid,
    /// Its id.
    pub point: PointId,
    /// Its vectors.
    pub vectors: Vectors,
    /// Its payload.
    pub payload: Payload,
    /// Time of the stamp.
    pub committed_at: Hlc,
    /// Position of the write in the origin's log.
    pub position: Position,
}

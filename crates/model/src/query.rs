//! What a reader asks of one collection, and what comes back.

use serde::{Deserialize, Serialize};

use crate::{BehaviorVersion, Filter, Payload, PayloadPath, PointId, VectorName, Vectors};

/// One read of one collection.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Query {
    /// The points nearest to a vector.
    Search(Search),
    /// These points, those that exist, in this order.
    Retrieve {
        /// Which.
        ids: Vec<PointId>,
        /// What to return of each.
        select: Select,
    },
    /// Points in the order of their ids.
    Scroll {
        /// Which may come.
        filter: Option<Filter>,
        /// The first id that may come.
        from: Option<PointId>,
        /// How many at most.
        limit: usize,
        /// What to return of each.
        select: Select,
    },
    /// How many points pass.
    Count {
        /// Which count.
        filter: Option<Filter>,
    },
}

impl Query {
    /// The behavior version that executing the query needs.
    #[must_use]
    pub fn needs(&self) -> BehaviorVersion {
        match self {
            Self::Search(Search { filter, .. }) | Self::Scroll { filter, .. } | Self::Count { filter } => {
                filter.as_ref().map_or(BehaviorVersion::FIRST, Filter::needs)
            }
            Self::Retrieve { .. } => BehaviorVersion::FIRST,
        }
    }
}

/// The `limit` points nearest to `vector`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Search {
    /// `vector.len()` is the dimension of the vector `using`.
    pub vector: Vec<f32>,
    /// Which of the points' vectors is compared.
    pub using: VectorName,
    /// Which points may come.
    pub filter: Option<Filter>,
    /// How many at most, the skipped ones included.
    pub limit: usize,
    /// Beam width; the index's own choice when absent.
    pub ef: Option<usize>,
    /// Share of the true neighbours to be found on average, in thousandths, where `ef` is absent.
    pub recall: Option<u16>,
    /// Compare with every point.
    pub exact: bool,
    /// Points must be at least this near, by the score that users see.
    pub score_threshold: Option<f32>,
    /// What to return of each.
    pub select: Select,
}

/// What to return of a point beside its id.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Select {
    /// Of its payload.
    pub payload: Fields,
    /// Of its vectors.
    pub vectors: Names,
}

/// Which fields of a payload.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Fields {
    /// Leave the payload out.
    #[default]
    None,
    /// All of it.
    All,
    /// Only the values at these paths, under their names and in their arrays.
    Only(Vec<PayloadPath>),
    /// All but the values at these paths.
    Without(Vec<PayloadPath>),
}

/// Which vectors.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Names {
    /// None of them.
    #[default]
    None,
    /// All of them.
    All,
    /// Only these.
    Only(Vec<VectorName>),
}

/// A point as a read returns it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Its id.
    pub id: PointId,
    /// The sequence of the write that put it there.
    pub version: u64,
    /// What was selected of its payload; `None` when it was left out.
    pub payload: Option<Payload>,
    /// What was selected of its vectors; `None` when they were left out.
    pub vectors: Option<Vectors>,
}

/// A point that a search found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Found {
    /// The point.
    pub record: Record,
    /// As users see it: larger is nearer for Cosine and Dot, smaller for Euclid and Manhattan.
    pub score: f32,
}

/// What a [`Query`] returned.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Answer {
    /// Of a search, nearest first; ties by id.
    Found(Vec<Found>),
    /// Of a retrieve.
    Records(Vec<Record>),
    /// Of a scroll: the page, and the id the next one starts with.
    Page(Vec<Record>, Option<PointId>),
    /// Of a count.
    Count(u64),
}

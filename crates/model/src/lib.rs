//! The nouns every Meridian crate speaks.
//!
//! Owns: ids and names, hash buckets, hybrid logical time, version vectors, deltas, the verdict on an answer's freshness,
//! client requests with their replies, and the rules for addresses, topics and links. Deliberately does not know: async,
//! encodings, I/O, or who uses it.
//!
//! ```text
//!   PointId ──bucket_of──► Bucket ──BucketTable──► ShardNumber
//!   Hlc ─┐
//!   Seq ─┼─► Delta ──applied──► VersionVector
//!   Statement ──heard──► Completeness::staleness, held against a RequiredFreshness
//! ```
//!
//! Start reading at [`Delta`], then [`VersionVector`], then [`Completeness`]; for requests at [`client`].

mod address;
#[cfg(debug_assertions)]
mod artificial;
mod bucket;
pub mod client;
mod collection;
mod completeness;
mod conditional;
mod delta;
mod filter;
mod freshness;
mod hlc;
mod ids;
mod link;
mod path;
mod point;
mod query;
mod stamp;
mod trace;
mod vectors;
mod version;
mod version_vector;
mod write_ref;

pub use address::{AddressError, Addresses, TopicName};
#[cfg(debug_assertions)]
pub use artificial::PlayedRelease;
pub use bucket::{BUCKETS, Bucket, BucketTable, BucketTableError, bucket_of};
pub use collection::{CollectionDef, CollectionName, CollectionNameError, Distance, HnswParams, VectorDef, VectorName};
pub use completeness::{Completeness, Moment, Statement};
pub use conditional::{ConditionalChange, PointChange};
pub use delta::{Delta, MAX_PAYLOAD_BYTES, Op, Payload};
pub use filter::{Condition, Filter, Range, Scalar};
pub use freshness::{Consistency, RequiredFreshness};
pub use hlc::{Hlc, WallMillis};
pub use ids::{
    BehaviorVersion, ClusterId, CollectionUid, Epoch, LogIndex, NameError, OriginShard, PrimaryTerm, RegionName,
    ReplicaId, Seq, ShardNumber, ShardNumberError, TableVersion, Term, WriteId,
};
pub use link::{Link, LinksError, MAX_LINKS, Topic, Transport, check_links};
pub use path::{MAX_PATH_BYTES, PathError, PathStep, PayloadPath};
pub use point::{PointId, PointIdError};
pub use query::{Answer, Fields, Found, Names, Query, Record, Search, Select};
pub use stamp::Stamp;
pub use trace::{TRACEPARENT, Traceparent, TraceparentError};
pub use vectors::Vectors;
pub use version::{VersionKind, VersionUnknown};
pub use version_vector::{Position, VersionVector};
pub use write_ref::{
    CONDITIONAL_PLACES, MAX_CONDITIONAL_PART, RequestIndexes, RequestIndexesError, WriteRef, conditional_index,
};

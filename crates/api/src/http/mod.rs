//! Bodies of Qdrant's REST interface: bytes to values of `model`, and back.
//!
//! A request body is checked completely here; the values that are returned need no further check:
//!
//! ```text
//!   bytes ──depth──► serde (unknown fields refused) ──convert: bounds, unsupported features──► CollectionDef, PointOp, Query
//!   Answer, CollectionReport ──reply──► JSON in Qdrant's envelope
//! ```
//!
//! `meter` counts the memory of a body while it is decoded: with the body itself at most four times its bytes, and 1 MiB.
//!
//! A known but unsupported field is refused with a message (501), never ignored. The only values accepted without effect are
//! those that are true anyway: `shard_number` equal to the cluster's, a `write_consistency_factor` up to the majority, and
//! tuning values equal to those that `GET /collections/{name}` reports.

mod collections;
mod fault;
mod filter;
mod id;
mod json;
mod meter;
mod payload;
mod points;
mod query;
mod refusal;
mod reply;
mod select;
mod vector;

pub use collections::{Shape, create_collection};
pub use fault::Fault;
pub use meter::{Budget, metered};
pub use points::{Deletion, count, delete, retrieve, scroll, upsert};
pub use query::{QueryRequest, Target, legacy_search, query, query_batch};
pub use refusal::{message_of, retry_after_s, status_of};
pub use reply::{
    collection, collection_names, counted, done, error, exists, found, found_batch, found_plain, record, records,
    scrolled, updated, version,
};

#[cfg(test)]
mod tests;

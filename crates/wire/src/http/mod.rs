//! Qdrant-compatible REST bodies: bytes in, the crates' own types out, and back.
//!
//! Every request body goes one way, and what leaves this module needs no further check:
//!
//! ```text
//!   bytes ──depth──► serde (unknown fields refused) ──convert: bounds, what is not supported──► CollectionDef, PointOp, Query
//!   Answer, CollectionReport ──reply──► JSON in Qdrant's envelope
//! ```
//!
//! While a body is decoded, `meter` counts what it becomes: at most four times its bytes and 1 MiB.
//!
//! A field that is known but not supported is refused with a sentence (501), never ignored. Accepted although nothing
//! follows from them are only values that say what is so anyway: `shard_number` equal to the cluster's, a
//! `write_consistency_factor` up to the majority, tuning values equal to those that `GET /collections/{name}` reports.

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
pub use query::{Ask, Target, legacy_search, query, query_batch};
pub use refusal::{message_of, retry_after_s, status_of};
pub use reply::{
    collection, collection_names, counted, done, error, exists, found, found_batch, found_plain, record, records,
    scrolled, updated, version,
};

#[cfg(test)]
mod tests;

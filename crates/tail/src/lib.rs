//! Following one origin shard's delta log.
//!
//! Owns: the order of deltas, the dropping of duplicates, and the finding of gaps. Deliberately does not know: which broker or stream brings the records, which runtime drives it, and
//! how a batch is committed.
//!
//! ```text
//!   transport ──Record──► Chaser::take ──► Accepted | Duplicate | Gap | NewEpoch
//!                          Chaser::batch ──Batch──► proposed as one log entry
//!   log entry applied ──► Chaser::applied          (its bytes come back as credit)
//!   entry refused, leader changed ──► Chaser::rewind
//! ```
//!
//! Start reading at [`Chaser`].

mod chaser;

pub use chaser::{Batch, Chaser, Record, Taken};

//! Following one origin shard's delta log.
//!
//! Owns: ordering, deduplication and gap detection. Deliberately does not know: the transport that delivers records, the
//! runtime, and how a batch is committed.
//!
//! ```text
//!   transport ──Record──► LogFollower::receive ──► Accepted | Duplicate | Gap | NewEpoch
//!                         LogFollower::next_batch ──Batch──► proposed as one log entry
//!   log entry applied ──► LogFollower::applied    (the bytes of the batch are returned as credit)
//!   proposal rejected, leader changed ──► LogFollower::rewind
//! ```
//!
//! Start reading at [`LogFollower`].

mod log_follower;

pub use log_follower::{Batch, LogFollower, ReceiveOutcome, Record};

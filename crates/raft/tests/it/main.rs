//! Groups of replicas in one thread, on a network and disks controlled by the test.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod chaos;
mod elections;
mod garbage;
mod membership;
mod net;
mod persistence;
mod reads;
mod snapshots;

//! One replica that is a group of its own, driven as a node drives it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod broker;
mod clock;
mod delete_by_filter;
mod later;
mod shell;
mod stop;
mod versions;

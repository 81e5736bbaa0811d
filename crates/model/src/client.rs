//! A client's request and its reply as values: checked, and the same whether a request stays in this pod or is relayed to
//! another pod or region.

mod on_stale;
mod reply;
mod request;

pub use on_stale::{OnStale, OnStaleError};
pub use reply::{CollectionReport, Freshness, Outcome, Refusal, Reply, ReplyBody};
pub use request::{Body, Demand, PointOp, Request};

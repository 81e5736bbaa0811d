//! The HTTP API as formats: request bodies and headers to values of `model`, replies to bytes.
//!
//! Owns: the JSON of Qdrant's REST interface as far as Meridian supports it, the freshness headers with their token, and the
//! status code and text of each refusal. Must not contain: sockets, routes, a runtime, messages between processes, or any
//! decision about where a request is executed.
//!
//! ```text
//!   body ──http──► CollectionDef, PointOp, Query        reply ──http──► JSON, status code
//!   headers ──freshness──► Demand                       Freshness ──freshness──► headers
//! ```
//!
//! Start reading at [`http`], then [`freshness`].

pub mod freshness;
pub mod http;

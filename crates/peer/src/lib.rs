//! The transport of the peer port, for both sides.
//!
//! Owns: TLS in both directions, the proof of the group key between regions, key rotation, frames over a connection,
//! detection of dead connections, and the call of the operator. Does not know the meaning of frames, or which
//! connections a process keeps.
//!
//! ```text
//!   PeerTls ──open, greet──► Connection ──read, write, run──► Frame
//!   GroupKey ──proof over the connection's keying material──► another region
//! ```
//!
//! Start reading at [`Connection`], then [`PeerTls`].

mod call;
mod connection;
mod group_key;
mod keys;
mod rotation;
mod timing;
mod tls;

pub use call::{call_topology, call_topology_at, connect, greet, host_of, open, open_at, secure};
pub use connection::{Connection, ConnectionError, Sender, queue};
pub use group_key::{GroupKey, GroupKeyError, GroupKeys, Side};
pub use keys::{ApiKeysError, keys_digest, read_api_keys};
pub use rotation::{FORMER_ACCEPTED, FORMER_SHOWN, Rotating, ShownRotation};
pub use timing::{Timing, watch};
pub use tls::{Pair, PeerTls, TlsError, TlsFiles};

#[cfg(test)]
mod tests;

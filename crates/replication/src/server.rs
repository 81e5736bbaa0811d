//! Serves this shard's delta log to other regions. The Raft log is the outbox; credit limits each stream.
//!
//! ```text
//!   other region ──call──► Server ──this shard──► Stream: Log, State ──► Records … | Gone | Unavailable
//!                            └── another replica ──► Relay ──► its answers
//! ```
//! Any pod of the region accepts calls of another region and relays them to a replica of the addressed shard. Any
//! replica serves the entries that it has applied.

mod context;
mod relay;
mod seed;
mod stream;

use std::collections::BTreeMap;
use std::time::Duration;

use meridian_model::ShardNumber;
use meridian_proto::frame::{NodeId, Peer, TailAnswer, TailCall};

pub use self::context::{Ctx, Log};
use self::relay::Relays;
use self::stream::Stream;

/// Maximum number of streams of one replica; further calls are refused as unavailable.
const STREAMS: usize = 256;
/// Timeout of a stream without messages from its reader. Readers send credit as a keep-alive, if only 0 bytes.
const FORGET_AFTER: Duration = Duration::from_secs(10);

/// The receiver of a stream or page.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Reader {
    /// A relaying replica and its call number.
    Node(NodeId, u64),
    /// Another region connected to this pod, and its call number.
    Region(Peer, u64),
}

/// Reason why a replica cannot serve a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refusal {
    /// Its log no longer contains the requested position.
    Gone,
    /// It cannot serve now; a retry may succeed.
    Unavailable,
}

impl From<Refusal> for TailAnswer {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Gone => Self::Gone,
            Refusal::Unavailable => Self::Unavailable,
        }
    }
}

/// Streams served and calls relayed by this replica.
#[derive(Debug, Default)]
pub struct Server {
    streams: BTreeMap<Reader, Stream>,
    relays: Relays,
}

/// Input of [`Server::handle`].
#[derive(Debug)]
pub enum Event<'a> {
    /// Another region calls this pod.
    RegionCall {
        /// The connection.
        from: &'a Peer,
        /// Number of the call.
        call: u64,
        /// The shard whose log is requested.
        shard: ShardNumber,
        /// The call.
        body: TailCall,
    },
    /// A replica of this region relays a call to this one.
    NodeCall {
        /// The replica.
        from: NodeId,
        /// Number of the call.
        call: u64,
        /// The call.
        body: TailCall,
    },
    /// A replica answered a call that was relayed to it.
    Relayed {
        /// The replica.
        from: NodeId,
        /// Number of the call.
        call: u64,
        /// The answer.
        answer: TailAnswer,
    },
    /// The connection to a peer was lost.
    Lost(&'a Peer),
    /// Entries were applied, or a statement was received: streams may have records to send.
    StateMoved,
    /// The state may have diverged. All streams end; readers retry at another replica.
    Close,
    /// Periodic tick.
    Tick,
}

impl Server {
    /// Handles one event and appends the resulting effects to those of `cx`.
    pub fn handle(&mut self, cx: &mut Ctx<'_>, event: Event<'_>) {
        match event {
            Event::RegionCall { from, call, shard, body } => self.region_call(cx, from, call, shard, body),
            Event::NodeCall { from, call, body } => self.serve_call(cx, Reader::Node(from, call), body),
            Event::Relayed { from, call, answer } => self.relayed(cx, from, call, answer),
            Event::Lost(peer) => self.lost(cx, peer),
            Event::StateMoved => self.serve_all(cx),
            Event::Close => {
                for reader in std::mem::take(&mut self.streams).into_keys() {
                    cx.send(&reader, TailAnswer::Unavailable);
                }
            }
            Event::Tick => self.tick(cx),
        }
    }

    /// Returns `true` if no stream is open. Changes of the state can then be skipped.
    #[must_use]
    pub fn serves_nobody(&self) -> bool {
        self.streams.is_empty()
    }

    /// Returns `true` if no stream is open and no call is relayed. Ticks can then be skipped.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.streams.is_empty() && self.relays.is_empty()
    }

    fn serve_call(&mut self, cx: &mut Ctx<'_>, reader: Reader, body: TailCall) {
        match body {
            TailCall::Open { .. } | TailCall::Seed { .. } => {
                if let Some(refusal) = self.try_serve(cx, &reader, &body) {
                    cx.send(&reader, refusal.into());
                }
            }
            TailCall::Credit(bytes) => {
                let gone = self.streams.get_mut(&reader).is_some_and(|stream| {
                    stream.give_credit(cx, bytes);
                    !stream.serve(cx, &reader)
                });
                if gone {
                    self.streams.remove(&reader);
                }
            }
            TailCall::Close => drop(self.streams.remove(&reader)),
        }
    }

    /// Serves an opening call, or returns why this replica cannot.
    fn try_serve(&mut self, cx: &mut Ctx<'_>, reader: &Reader, body: &TailCall) -> Option<Refusal> {
        match body {
            TailCall::Open { .. } if self.streams.len() >= STREAMS => Some(Refusal::Unavailable),
            TailCall::Open { after, credit } => match Stream::open(cx, *after, *credit) {
                Ok(mut stream) => {
                    // A stream under a reused call number replaces the earlier one.
                    self.streams.remove(reader);
                    if stream.serve(cx, reader) {
                        self.streams.insert(reader.clone(), stream);
                    }
                    None
                }
                Err(refusal) => Some(refusal),
            },
            TailCall::Seed { at, after } => match seed::page(cx, *at, *after) {
                Some(page) => {
                    cx.send(reader, TailAnswer::Seed(page));
                    None
                }
                None => Some(Refusal::Unavailable),
            },
            TailCall::Credit(_) | TailCall::Close => None,
        }
    }

    fn serve_all(&mut self, cx: &mut Ctx<'_>) {
        self.streams.retain(|reader, stream| stream.serve(cx, reader));
    }

    fn lost(&mut self, cx: &mut Ctx<'_>, peer: &Peer) {
        self.streams.retain(|reader, _| match (reader, peer) {
            (Reader::Node(node, _), Peer::Node(lost)) => node != lost,
            (Reader::Region(from, _), lost) => from != lost,
            _ => true,
        });
        self.relays.lost(cx, peer);
    }

    fn tick(&mut self, cx: &mut Ctx<'_>) {
        self.streams.retain(|_, stream| !stream.is_silent(cx.now));
        self.relays.tick(cx);
        self.serve_all(cx);
    }
}

#[cfg(test)]
mod tests;

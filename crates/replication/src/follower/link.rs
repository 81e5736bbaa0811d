//! One followed origin shard: opens and closes its stream and grants credit.

use std::collections::VecDeque;
use std::time::Duration;

use meridian_model::{OriginShard, Position, Seq, Topic};
use meridian_proto::frame::{Peer, RegionCall, RegionMessage, TailCall};
use meridian_shard::SourcePosition;

use super::Ctx;
use super::log_follower::LogFollower;
use super::origin_fallback::OriginFallback;
use super::reseed::Seeding;
use crate::{Effect, Poison};

/// Maximum bytes of records in flight on one link.
const CREDIT_BYTES: u64 = 8 << 20;
/// Receive timeout. The origin sends its log position at least every 250 ms; after this silence the stream is reopened.
const SILENCE: Duration = Duration::from_secs(1);
/// Interval of keep-alives from reader to server.
const KEEP_ALIVE: Duration = Duration::from_secs(2);
/// Delay before a failed open or seed is retried.
const RETRY_AFTER: Duration = Duration::from_millis(50);

/// One followed origin shard.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) log: LogFollower,
    pub(super) phase: Phase,
    /// Known number of shards of the origin region; all of them are followed.
    pub(super) origin_shards: u16,
    /// Source position after the last record in a batch.
    pub(super) source: SourcePosition,
    /// Source positions after received records that are not in a batch yet.
    pub(super) sources: VecDeque<(Position, SourcePosition)>,
    /// Ends of the batches proposed and not applied, each with the credit in bytes that applying it returns.
    pub(super) under_way: Vec<(Position, u64)>,
    /// Bytes received and not in a batch yet.
    pub(super) received_bytes: u64,
    /// Topic to read through the shell; `None` reads from the origin.
    pub(super) topic: Option<Topic>,
    /// The first missing sequence of the newest gap, while reading from a broker.
    pub(super) gap: Option<Seq>,
    /// Set while the origin is read because the broker lacks records.
    pub(super) fallback: Option<OriginFallback>,
    /// The newest record that could not be applied, and the time of it.
    pub(super) poison: Option<(Duration, Poison)>,
    /// Time of the last message from the source on any stream; opening a stream does not reset it.
    pub(super) last_received: Option<Duration>,
    /// Time of the last proposed batch, which commits the read position of the source.
    pub(super) last_proposed: Duration,
}

#[derive(Debug)]
pub(super) enum Phase {
    /// Reopened at this time.
    Closed { again_at: Duration },
    /// Reading under this call number, with the times of the last message received and sent.
    Streaming { call: u64, last_received: Duration, last_sent: Duration, path: Path },
    /// Reading pages of a re-seed.
    Seeding(Seeding),
}

/// The source of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Path {
    /// The origin.
    Direct,
    /// A broker, through the shell.
    Broker,
}

impl Link {
    pub(super) fn new(cx: &Ctx<'_>, origin: OriginShard, origin_shards: u16, topic: Option<Topic>) -> Self {
        let applied = cx.state.tail_position(&origin);
        Self {
            log: LogFollower::new(origin, applied),
            phase: Phase::Closed { again_at: cx.now },
            origin_shards,
            source: SourcePosition::Direct,
            sources: VecDeque::new(),
            under_way: Vec::new(),
            received_bytes: 0,
            topic,
            gap: None,
            fallback: None,
            poison: None,
            last_received: None,
            last_proposed: cx.now,
        }
    }

    pub(super) fn origin(&self) -> &OriginShard {
        self.log.origin()
    }

    /// Number of the current call.
    pub(super) fn call(&self) -> Option<u64> {
        match &self.phase {
            Phase::Closed { .. } => None,
            Phase::Streaming { call, .. } | Phase::Seeding(Seeding { call, .. }) => Some(*call),
        }
    }

    /// Returns `true` unless records are read from a broker.
    pub(super) fn is_direct(&self) -> bool {
        !matches!(self.phase, Phase::Streaming { path: Path::Broker, .. })
    }

    pub(super) fn is_seeding(&self) -> bool {
        matches!(self.phase, Phase::Seeding(_))
    }

    /// Sends a call to the origin.
    pub(super) fn send(&self, cx: &mut Ctx<'_>, call: u64, body: TailCall) {
        let OriginShard { region, shard } = self.origin();
        let message = RegionMessage::Call(call, RegionCall::Tail(*shard, body));
        cx.effects.push(Effect::SendRegion(Peer::Region(region.clone()), message));
    }

    pub(super) fn tick(&mut self, cx: &mut Ctx<'_>) {
        let now = cx.now;
        let is_silent = |at: Duration| now.saturating_sub(at) >= SILENCE;
        match &self.phase {
            Phase::Closed { again_at } if *again_at <= now => self.open(cx),
            // Only the origin repeats its log position while nothing changes; a broker may be silent.
            Phase::Streaming { last_received, path: Path::Direct, .. } if is_silent(*last_received) => self.close(cx),
            Phase::Streaming { last_sent, path: Path::Direct, .. } if now.saturating_sub(*last_sent) >= KEEP_ALIVE => {
                self.give_credit(cx, 0);
            }
            Phase::Seeding(seeding) if is_silent(seeding.since()) => {
                if seeding.is_proposed() {
                    self.begin_seed(cx);
                } else {
                    self.ask_for_page(cx);
                }
            }
            _ => {}
        }
        self.propose_batches(cx);
    }

    fn open(&mut self, cx: &mut Ctx<'_>) {
        let (call, now) = (cx.numbers.allocate(), cx.now);
        self.under_way.clear();
        self.sources.clear();
        self.received_bytes = 0;
        let applied = cx.state.tail_position(self.origin());
        self.log.rewind(applied);
        if self.topic.is_some() {
            self.end_fallback(applied, cx.state.source_position(self.origin()));
        }
        let credit = CREDIT_BYTES;
        let path = match self.topic.clone().filter(|_| self.fallback.is_none()) {
            None => {
                self.send(cx, call, TailCall::Open { after: applied, credit });
                Path::Direct
            }
            Some(topic) => {
                let (origin, after) = (self.origin().clone(), self.source);
                cx.effects.push(Effect::Follow { call, origin, topic, after, credit });
                Path::Broker
            }
        };
        self.phase = Phase::Streaming { call, last_received: now, last_sent: now, path };
    }

    /// Ends the stream and schedules reopening from the position applied by then.
    pub(super) fn close(&mut self, cx: &mut Ctx<'_>) {
        self.close_for(cx, RETRY_AFTER);
    }

    pub(super) fn close_for(&mut self, cx: &mut Ctx<'_>, wait: Duration) {
        let closed = Phase::Closed { again_at: cx.now + wait };
        match std::mem::replace(&mut self.phase, closed) {
            Phase::Streaming { call, path: Path::Broker, .. } => cx.effects.push(Effect::Unfollow { call }),
            Phase::Streaming { call, .. } | Phase::Seeding(Seeding { call, .. }) => {
                self.send(cx, call, TailCall::Close);
            }
            Phase::Closed { .. } => {}
        }
    }

    /// Grants `bytes` more credit. A grant of 0 bytes is a keep-alive.
    pub(super) fn give_credit(&mut self, cx: &mut Ctx<'_>, bytes: u64) {
        let Phase::Streaming { call, last_sent, path, .. } = &mut self.phase else { return };
        *last_sent = cx.now;
        match (*call, *path) {
            (call, Path::Direct) => self.send(cx, call, TailCall::Credit(bytes)),
            (call, Path::Broker) => cx.effects.push(Effect::FollowCredit { call, bytes }),
        }
    }

    pub(super) fn note_poison(&mut self, cx: &mut Ctx<'_>, poison: Poison) {
        cx.counters.poisons_met += 1;
        self.poison = Some((cx.now, poison.clone()));
        cx.effects.push(Effect::Poisoned { origin: self.origin().clone(), poison });
    }
}

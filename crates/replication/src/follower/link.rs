//! One origin shard that is followed: opening and closing its stream, and credit.

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

/// Bytes of records that may be under way to one link.
const CREDIT_BYTES: u64 = 8 << 20;
/// A source that says every 250 ms at least where its log stands, and is silent for this long, is asked anew.
const SILENCE: Duration = Duration::from_secs(1);
/// A reader tells its server this often that it is there.
const KEEP_ALIVE: Duration = Duration::from_secs(2);
/// Before a failed open or seed is tried again.
const RETRY_AFTER: Duration = Duration::from_millis(50);

/// One origin shard that is followed.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) log: LogFollower,
    pub(super) phase: Phase,
    /// Shards of the origin region, as far as known; all of them are followed.
    pub(super) origin_shards: u16,
    /// Source position behind what stands in batches.
    pub(super) source: SourcePosition,
    /// Source positions behind what is taken in and not in a batch yet.
    pub(super) sources: VecDeque<(Position, SourcePosition)>,
    /// Ends of the batches proposed and not applied, with the bytes that they give back.
    pub(super) under_way: Vec<(Position, u64)>,
    /// Bytes taken in and not in a batch yet.
    pub(super) taken_bytes: u64,
    /// The records come from here, through the shell; none when they come from the origin.
    pub(super) topic: Option<Topic>,
    /// The first missing sequence of the newest gap, while reading from a broker.
    pub(super) gap: Option<Seq>,
    /// The origin itself is read, because the broker lacks something.
    pub(super) fallback: Option<OriginFallback>,
    /// The newest record that could not be taken, and when.
    pub(super) poison: Option<(Duration, Poison)>,
    /// When anything of the log was heard last, on whatever stream: opening one anew is no sign of life.
    pub(super) heard: Option<Duration>,
    /// When a batch was proposed last: it notes how far the source is read.
    pub(super) noted: Duration,
}

#[derive(Debug)]
pub(super) enum Phase {
    /// Opened at this time.
    Closed { again_at: Duration },
    /// Under this number; something was heard, and said, at these times.
    Streaming { call: u64, heard: Duration, spoken: Duration, path: Path },
    /// Reading pages.
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
            taken_bytes: 0,
            topic,
            gap: None,
            fallback: None,
            poison: None,
            heard: None,
            noted: cx.now,
        }
    }

    pub(super) fn origin(&self) -> &OriginShard {
        self.log.origin()
    }

    /// Number of the call under way.
    pub(super) fn call(&self) -> Option<u64> {
        match &self.phase {
            Phase::Closed { .. } => None,
            Phase::Streaming { call, .. } | Phase::Seeding(Seeding { call, .. }) => Some(*call),
        }
    }

    /// Whether nothing is read from a broker.
    pub(super) fn is_direct(&self) -> bool {
        !matches!(self.phase, Phase::Streaming { path: Path::Broker, .. })
    }

    pub(super) fn is_seeding(&self) -> bool {
        matches!(self.phase, Phase::Seeding(_))
    }

    /// A call to the origin.
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
            // Only the origin itself repeats where its log stands while nothing changes.
            Phase::Streaming { heard, path: Path::Direct, .. } if is_silent(*heard) => self.close(cx),
            Phase::Streaming { spoken, path: Path::Direct, .. } if now.saturating_sub(*spoken) >= KEEP_ALIVE => {
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
        self.taken_bytes = 0;
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
        self.phase = Phase::Streaming { call, heard: now, spoken: now, path };
    }

    /// Ends the stream; it is opened again soon, behind what is applied then.
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

    /// So many bytes more may be under way. Without any, it tells that the reader is there.
    pub(super) fn give_credit(&mut self, cx: &mut Ctx<'_>, bytes: u64) {
        let Phase::Streaming { call, spoken, path, .. } = &mut self.phase else { return };
        *spoken = cx.now;
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

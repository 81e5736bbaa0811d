//! Serving this shard's delta log to other regions: from the Raft log, which is the outbox, while there is credit.
//!
//! Any pod of the region takes the call of another region and relays it to a replica of the right shard; any replica
//! serves what it has applied.

use std::collections::BTreeMap;
use std::time::Duration;

use meridian_model::{CollectionUid, Delta, Epoch, PointId, Position, Seq, ShardNumber, Statement};
use meridian_proto::delta_bytes::DeltaBytes;
use meridian_proto::frame::{
    Call, CallAnswer, NodeId, PeerMessage, RegionAnswer, RegionMessage, SeedPage, SeedPoint, TailAnswer, TailCall,
};
use meridian_replication::delta_bytes;
use meridian_shard::{Entry, State};

use crate::effect::Requester;
use crate::{Command, Peer, Replica};

/// Streams that one replica serves; more are told to ask another.
const STREAMS: usize = 256;
/// Bytes of records in one message.
const MESSAGE_BYTES: u64 = 1 << 20;
/// A stream whose reader says nothing for this long is forgotten; a reader gives credit, if only of 0 bytes.
const FORGET_AFTER: Duration = Duration::from_secs(10);
/// Where the log stands is repeated this often when nothing changes, so that silence can be told from a cut link.
const REPEAT_AFTER: Duration = Duration::from_millis(250);

/// Who reads.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Reader {
    /// A replica that relays.
    Node(NodeId, u64),
    /// Another region, connected to this pod.
    Region(Peer, u64),
}

/// What is served and relayed.
#[derive(Debug, Default)]
pub(crate) struct Tails {
    streams: BTreeMap<Reader, Stream>,
    /// Number of a relayed call → from where it came.
    relayed: BTreeMap<u64, Relay>,
    /// The same, the other way.
    relays: BTreeMap<(Peer, u64), u64>,
}

#[derive(Debug)]
struct Stream {
    /// The newest position sent.
    sent: Position,
    /// The statement told last.
    complete: Option<Statement>,
    credit: u64,
    heard: Duration,
    spoken: Duration,
}

#[derive(Debug)]
struct Relay {
    to: (Peer, u64),
    shard: ShardNumber,
    node: NodeId,
    call: TailCall,
    /// Replicas that could not serve it.
    tried: Vec<NodeId>,
    /// One of them might later.
    unavailable: bool,
    /// It has served something: silence may only mean that the reader gives no credit. Before, the call may be lost.
    answered: bool,
    heard: Duration,
}

impl Replica {
    /// A call of another region that reached this pod.
    pub(crate) fn region_tail_call(&mut self, from: &Peer, call: u64, shard: ShardNumber, body: TailCall) {
        let key = (from.clone(), call);
        let reader = Reader::Region(from.clone(), call);
        if let Some(number) = self.tails.relays.get(&key).copied() {
            return self.relay_on(number, body);
        }
        if self.tails.streams.contains_key(&reader) {
            return self.serve_call(reader, body);
        }
        if matches!(body, TailCall::Credit(_) | TailCall::Close) {
            return;
        }
        self.ask_replicas(key, shard, body, Vec::new(), false);
    }

    /// Asks one replica of the shard after the other, this one in its turn, until one can serve: some are behind, some
    /// have let go of the log, and one that was removed may not know it. Only when the log of none reaches back far enough
    /// is it gone.
    fn ask_replicas(
        &mut self,
        to: (Peer, u64),
        shard: ShardNumber,
        call: TailCall,
        mut tried: Vec<NodeId>,
        mut unavailable: bool,
    ) {
        let reader = Reader::Region(to.0.clone(), to.1);
        while let Some(node) = self.relay_target(shard, &tried) {
            if node != self.identity.node() {
                return self.relay(to, shard, node, call, tried, unavailable);
            }
            let Some(refusal) = self.try_serve(&reader, &call) else { return };
            unavailable |= refusal != TailAnswer::Gone;
            tried.push(node);
        }
        let answer = if unavailable || tried.is_empty() { TailAnswer::Unavailable } else { TailAnswer::Gone };
        self.send_tail(&reader, answer);
    }

    /// The replica to ask: the leader hears of a commit first.
    fn relay_target(&self, shard: ShardNumber, gone: &[NodeId]) -> Option<NodeId> {
        let leader = self.directory.leader(shard).filter(|node| !gone.contains(node));
        let reachable = |node: &NodeId| *node == self.identity.node() || self.directory.is_connected(*node);
        leader.filter(reachable).or_else(|| {
            let mut replicas = self.directory.of_shard(shard);
            if shard == self.identity.node().shard {
                replicas.push(self.identity.node());
            }
            replicas.into_iter().find(|node| reachable(node) && !gone.contains(node))
        })
    }

    fn relay(
        &mut self,
        to: (Peer, u64),
        shard: ShardNumber,
        node: NodeId,
        call: TailCall,
        tried: Vec<NodeId>,
        unavailable: bool,
    ) {
        let number = self.number();
        let relay = Relay {
            to: to.clone(),
            shard,
            node,
            call: call.clone(),
            tried,
            unavailable,
            answered: false,
            heard: self.now.mono,
        };
        self.tails.relays.insert(to, number);
        self.tails.relayed.insert(number, relay);
        self.out.push(Command::Send(node, PeerMessage::Call(number, Call::Tail(call))));
    }

    fn relay_on(&mut self, number: u64, body: TailCall) {
        let Some(relay) = self.tails.relayed.get_mut(&number) else { return };
        if relay.answered {
            relay.heard = self.now.mono;
        }
        let node = relay.node;
        if body == TailCall::Close {
            self.forget_relay(number);
        }
        self.out.push(Command::Send(node, PeerMessage::Call(number, Call::Tail(body))));
    }

    fn forget_relay(&mut self, number: u64) -> Option<Relay> {
        let relay = self.tails.relayed.remove(&number)?;
        self.tails.relays.remove(&relay.to);
        Some(relay)
    }

    /// A replica's answer to what was relayed to it.
    pub(crate) fn relayed_tail(&mut self, from: NodeId, call: u64, answer: TailAnswer) {
        let Some(relay) = self.tails.relayed.get_mut(&call).filter(|relay| relay.node == from) else { return };
        relay.heard = self.now.mono;
        relay.answered = true;
        let to = Reader::Region(relay.to.0.clone(), relay.to.1);
        match answer {
            TailAnswer::Records { .. } => {}
            // Another replica's log may reach further back, or be further on.
            TailAnswer::Gone | TailAnswer::Unavailable => {
                let Some(mut relay) = self.forget_relay(call) else { return };
                relay.tried.push(from);
                let unavailable = relay.unavailable || answer != TailAnswer::Gone;
                return self.ask_replicas(relay.to, relay.shard, relay.call, relay.tried, unavailable);
            }
            TailAnswer::Seed(_) => drop(self.forget_relay(call)),
        }
        self.send_tail(&to, answer);
    }

    pub(crate) fn tail_call(&mut self, from: Requester, body: TailCall) {
        if let Requester::Node(node, call) = from {
            self.serve_call(Reader::Node(node, call), body);
        }
    }

    fn serve_call(&mut self, reader: Reader, body: TailCall) {
        let now = self.now.mono;
        match body {
            TailCall::Open { .. } | TailCall::Seed { .. } => {
                if let Some(refusal) = self.try_serve(&reader, &body) {
                    self.send_tail(&reader, refusal);
                }
            }
            TailCall::Credit(bytes) => {
                if let Some(stream) = self.tails.streams.get_mut(&reader) {
                    stream.credit = stream.credit.saturating_add(bytes);
                    stream.heard = now;
                    self.serve(&reader);
                }
            }
            TailCall::Close => drop(self.tails.streams.remove(&reader)),
        }
    }

    /// Serves a call that begins something, or says why this replica cannot.
    fn try_serve(&mut self, reader: &Reader, body: &TailCall) -> Option<TailAnswer> {
        match body {
            TailCall::Open { after, credit } => self.open_tail(reader, *after, *credit),
            TailCall::Seed { at, after } => self.serve_seed(reader, *at, *after),
            TailCall::Credit(_) | TailCall::Close => None,
        }
    }

    fn open_tail(&mut self, reader: &Reader, after: Position, credit: u64) -> Option<TailAnswer> {
        if !self.is_trusted() || self.tails.streams.len() >= STREAMS || !self.consensus.is_caught_up() {
            return Some(TailAnswer::Unavailable);
        }
        let now = self.now.mono;
        let state = &self.state;
        // Never heard of means: from the first delta of the first incarnation.
        let sent = if after.epoch.0 == 0 { Position { epoch: Epoch(1), seq: Seq(0) } } else { after };
        // Ahead of what this replica has applied: it is the slow one, not the reader.
        if sent > state.position(state.origin()) {
            return Some(TailAnswer::Unavailable);
        }
        // Behind the end of an epoch that is over stands nothing: what the reader has beyond it is not of this log.
        let is_of_this_log = state.last_of(sent.epoch).is_some_and(|last| sent.seq <= last);
        if !is_of_this_log || next_change(state, sent).is_some_and(|next| !self.held(state, next)) {
            return Some(TailAnswer::Gone);
        }
        let stream = Stream { sent, complete: None, credit, heard: now, spoken: Duration::ZERO };
        self.tails.streams.insert(reader.clone(), stream);
        self.serve(reader);
        None
    }

    /// Whether the log still holds the entry of the change at this position.
    fn held(&self, state: &State, position: Position) -> bool {
        let first = self.raft.first_index();
        state.locate(position).is_some_and(|located| located.index.0 >= first)
    }

    /// The state moved on: the streams may have something to say.
    pub(crate) fn serve_tails(&mut self) {
        let readers: Vec<Reader> = self.tails.streams.keys().cloned().collect();
        for reader in readers {
            self.serve(&reader);
        }
    }

    fn serve(&mut self, reader: &Reader) {
        loop {
            let Some(stream) = self.tails.streams.get(reader) else { return };
            let (sent, credit, told) = (stream.sent, stream.credit, stream.complete);
            let repeat = self.now.mono.saturating_sub(stream.spoken) >= REPEAT_AFTER;
            let state = &self.state;
            let at = state.position(state.origin());
            // What counts here is of a position that is applied here, so it can be told behind the deltas up to there.
            let news = self.statement(state.origin()).filter(|statement| told != Some(*statement));
            let origin_shards = self.identity.genesis.shards;
            if sent == at {
                if news.is_some() || repeat {
                    self.say(reader, TailAnswer::Records { deltas: Vec::new(), at, complete: news, origin_shards }, 0);
                }
                return;
            }
            let Some(next) = next_change(state, sent) else {
                // A new epoch began, and has no change yet.
                let complete = news.filter(|statement| statement.through <= at);
                self.say(reader, TailAnswer::Records { deltas: Vec::new(), at, complete, origin_shards }, 0);
                return;
            };
            if credit == 0 {
                return;
            }
            let held = self.held(state, next);
            let deltas = if held { self.deltas_from(state, next, credit.min(MESSAGE_BYTES)) } else { Vec::new() };
            let Some(last) = deltas.last() else {
                self.tails.streams.remove(reader);
                return self.send_tail(reader, TailAnswer::Gone);
            };
            let upto = last.position();
            let complete = news.filter(|statement| statement.through <= upto);
            let bytes: u64 = deltas.iter().map(delta_bytes).sum();
            let deltas = deltas.iter().map(DeltaBytes::encode).collect();
            self.say(reader, TailAnswer::Records { deltas, at: upto, complete, origin_shards }, bytes);
        }
    }

    fn say(&mut self, reader: &Reader, answer: TailAnswer, bytes: u64) {
        let now = self.now.mono;
        if let (Some(stream), TailAnswer::Records { at, complete, .. }) = (self.tails.streams.get_mut(reader), &answer)
        {
            stream.sent = *at;
            stream.complete = complete.or(stream.complete);
            stream.credit = stream.credit.saturating_sub(bytes);
            stream.spoken = now;
        }
        self.send_tail(reader, answer);
    }

    /// The deltas of one epoch from `first` on, from the log: at least one, about `budget` bytes.
    fn deltas_from(&self, state: &State, first: Position, budget: u64) -> Vec<Delta> {
        let (mut deltas, mut bytes, mut next) = (Vec::new(), 0, first);
        while bytes < budget || deltas.is_empty() {
            let Some(located) = state.locate(next) else { break };
            let Some(entry) = self.logged(located.index.0) else { break };
            for delta in state.deltas_of(located, &entry) {
                if delta.position() == next {
                    bytes += delta_bytes(&delta);
                    next.seq = next.seq.next();
                    deltas.push(delta);
                }
            }
            if deltas.last().is_none_or(|delta| delta.seq.next() != next.seq) {
                break;
            }
        }
        deltas
    }

    fn logged(&self, index: u64) -> Option<Entry> {
        let entries = self.raft.entries(index, 1).ok()?;
        crate::log_entry::decode(entries.first()?).ok()
    }

    fn serve_seed(
        &mut self,
        reader: &Reader,
        at: Option<Position>,
        after: Option<(CollectionUid, PointId)>,
    ) -> Option<TailAnswer> {
        let state = &self.state;
        let now_at = state.position(state.origin());
        // A later page must not come from a replica that is behind the first one.
        let unable = !self.is_trusted()
            || !self.consensus.is_caught_up()
            || at.is_some_and(|at| at > now_at || at.epoch != now_at.epoch)
            || (at.is_none() && !self.is_leading());
        if unable {
            return Some(TailAnswer::Unavailable);
        }
        let chunk = state.seed_chunk(after, self.settings.seed_page_bytes, |_| true);
        let points = (chunk.points.into_iter())
            .map(|point| SeedPoint {
                collection: point.collection,
                point: point.point,
                vectors: point.vectors,
                payload: point.payload,
                committed_at: point.stamp.hlc,
                position: Position { epoch: point.stamp.epoch, seq: point.stamp.seq },
            })
            .collect();
        let page = SeedPage {
            at: at.unwrap_or(now_at),
            read_at: now_at,
            largest_uid: state.largest_uid(),
            collections: chunk.collections,
            points,
            next: chunk.next,
            origin_shards: self.identity.genesis.shards,
        };
        self.send_tail(reader, TailAnswer::Seed(page));
        None
    }

    fn send_tail(&mut self, to: &Reader, answer: TailAnswer) {
        match to {
            Reader::Node(node, call) => {
                self.out.push(Command::Send(*node, PeerMessage::Answer(*call, CallAnswer::Tail(answer))));
            }
            Reader::Region(peer, call) => {
                let message = RegionMessage::Answer(*call, RegionAnswer::Tail(answer));
                self.out.push(Command::SendRegion(peer.clone(), message));
            }
        }
    }

    pub(crate) fn tails_lost(&mut self, peer: &Peer) {
        self.tails.streams.retain(|reader, _| match (reader, peer) {
            (Reader::Node(node, _), Peer::Node(lost)) => node != lost,
            (Reader::Region(from, _), lost) => from != lost,
            _ => true,
        });
        let concerned: Vec<u64> = (self.tails.relayed.iter())
            .filter(|(_, relay)| relay.to.0 == *peer || Peer::Node(relay.node) == *peer)
            .map(|(number, _)| *number)
            .collect();
        for number in concerned {
            let Some(relay) = self.forget_relay(number) else { continue };
            if relay.to.0 == *peer {
                self.out.push(Command::Send(relay.node, PeerMessage::Call(number, Call::Tail(TailCall::Close))));
            } else {
                self.send_tail(&Reader::Region(relay.to.0, relay.to.1), TailAnswer::Unavailable);
            }
        }
    }

    /// Ends what this replica serves itself; the readers find another.
    pub(crate) fn close_tails(&mut self) {
        for reader in std::mem::take(&mut self.tails.streams).into_keys() {
            self.send_tail(&reader, TailAnswer::Unavailable);
        }
    }

    pub(crate) fn tick_tails(&mut self) {
        let now = self.now.mono;
        let forget = |heard: Duration| now.saturating_sub(heard) >= FORGET_AFTER;
        self.tails.streams.retain(|_, stream| !forget(stream.heard));
        let silent: Vec<u64> =
            self.tails.relayed.iter().filter(|(_, relay)| forget(relay.heard)).map(|(number, _)| *number).collect();
        for number in silent {
            if let Some(relay) = self.forget_relay(number) {
                // Who waits without a time limit of its own must ask again.
                self.send_tail(&Reader::Region(relay.to.0, relay.to.1), TailAnswer::Unavailable);
            }
        }
        self.serve_tails();
    }
}

/// Position of the first change behind `after` in this shard's own log. Epochs without a change are stepped over.
fn next_change(state: &State, mut after: Position) -> Option<Position> {
    loop {
        after = state.next_position(after)?;
        if after.seq > Seq(0) {
            return Some(after);
        }
    }
}

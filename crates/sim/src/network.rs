//! The network: connections within and between regions, and the faults of frames on them.

use std::collections::BTreeMap;

use meridian_proto::frame::{Build, Call, Frame, Hello, NodeId, PeerMessage, RegionCall, RegionMessage};
use meridian_replica::{Event, Peer};

use crate::clock::{MILLI, Micros};
use crate::rng::Rng;
use crate::upgrade::run_as;
use crate::world::{SimEvent, World};

/// A connection between regions.
struct Connection {
    dialer: (usize, u64),
    acceptor: (usize, u64),
    /// Arrival of the last heartbeat.
    heard: Micros,
}

/// Time without a heartbeat after which the dialer closes a connection, as the real transport does.
const HEARTBEAT_TIMEOUT: Micros = 1_500 * MILLI;

/// Probabilities of frame faults, per mille.
#[derive(Debug, Clone, Copy)]
pub struct FrameFaults {
    /// Frames lost.
    pub lost: u64,
    /// Frames duplicated.
    pub duplicated: u64,
    /// Frames delayed, so that later ones overtake them.
    pub late: u64,
}

/// No frame faults.
pub const NO_FRAME_FAULTS: FrameFaults = FrameFaults { lost: 0, duplicated: 0, late: 0 };

/// The network.
pub struct Network {
    /// Connected pod pairs of a region, smaller index first, with the incarnations that are connected.
    connected: BTreeMap<(usize, usize), (u64, u64)>,
    connections: BTreeMap<u64, Connection>,
    next_connection: u64,
    /// Blocked directions between pods, with the number of active faults that block them.
    blocked: BTreeMap<(usize, usize), u32>,
    /// Blocked directions between regions, likewise.
    cut: BTreeMap<(usize, usize), u32>,
    /// Arrival of the last frame per direction; frames keep their order.
    arrivals: BTreeMap<(usize, usize), Micros>,
    /// Current frame faults.
    pub frame_faults: FrameFaults,
    /// Minimum and maximum latency within a region.
    intra_region: (Micros, Micros),
    /// Minimum and maximum latency between regions.
    inter_region: (Micros, Micros),
}

impl Network {
    pub fn new(rng: &mut Rng) -> Self {
        let far = rng.between(2, 40) * MILLI;
        Self {
            connected: BTreeMap::new(),
            connections: BTreeMap::new(),
            next_connection: 0,
            blocked: BTreeMap::new(),
            cut: BTreeMap::new(),
            arrivals: BTreeMap::new(),
            frame_faults: NO_FRAME_FAULTS,
            intra_region: (100, rng.between(300, 2000)),
            inter_region: (far, far + rng.between(1, 20) * MILLI),
        }
    }

    /// The pod at one end of a connection.
    pub fn pod_at(&self, connection: u64, dialer: bool) -> Option<usize> {
        let connection = self.connections.get(&connection)?;
        Some(if dialer { connection.dialer.0 } else { connection.acceptor.0 })
    }

    /// Blocks or unblocks frames from one pod to another of its region.
    pub fn block(&mut self, from: usize, to: usize, stop: bool) {
        adjust_count(&mut self.blocked, (from, to), stop);
    }

    /// Blocks or unblocks frames from one region to another.
    pub fn cut(&mut self, from: usize, to: usize, stop: bool) {
        adjust_count(&mut self.cut, (from, to), stop);
    }

    /// Ends all network faults.
    pub fn clear(&mut self) {
        self.blocked.clear();
        self.cut.clear();
        self.frame_faults = NO_FRAME_FAULTS;
    }

    fn is_blocked(&self, from: usize, to: usize) -> bool {
        self.blocked.contains_key(&(from, to))
    }

    /// The open connections between regions.
    pub fn open(&self) -> Vec<u64> {
        self.connections.keys().copied().collect()
    }
}

fn adjust_count(counts: &mut BTreeMap<(usize, usize), u32>, key: (usize, usize), stop: bool) {
    let count = counts.entry(key).or_default();
    *count = if stop { *count + 1 } else { count.saturating_sub(1) };
    if *count == 0 {
        counts.remove(&key);
    }
}

impl World {
    /// Connects all pairs of running pods of a region that are neither connected nor blocked.
    pub fn connect_all(&mut self) {
        for a in 0..self.pods.len() {
            for b in a + 1..self.pods.len() {
                let (one, other) = (&self.pods[a], &self.pods[b]);
                let open = !self.network.is_blocked(a, b) && !self.network.is_blocked(b, a);
                let incarnations = (one.incarnation, other.incarnation);
                if one.region != other.region || !one.is_up() || !other.is_up() || !open {
                    continue;
                }
                if self.network.connected.get(&(a, b)) == Some(&incarnations) {
                    continue;
                }
                self.network.connected.insert((a, b), incarnations);
                for (to, from) in [(a, b), (b, a)] {
                    let _release = run_as(self.pods[from].knows());
                    let hello = Hello {
                        cluster: self.genesis(self.pods[from].region, self.pods[from].shard).cluster,
                        region: self.regions[self.pods[from].region].clone(),
                        node: self.pods[from].node(),
                        address: self.pods[from].address.clone(),
                        build: Build::current(),
                    };
                    let incarnation = self.pods[to].incarnation;
                    let at = self.arrival(from, to, false);
                    self.queue.push(at, SimEvent::Deliver { pod: to, incarnation, event: Event::Met(hello) });
                }
            }
        }
    }

    /// Arrival time of a frame that is sent now.
    fn arrival(&mut self, from: usize, to: usize, far: bool) -> Micros {
        let (least, most) = if far { self.network.inter_region } else { self.network.intra_region };
        let at = self.now + self.rng.between(least, most);
        let last = self.network.arrivals.entry((from, to)).or_default();
        *last = (*last + 1).max(at);
        *last
    }

    /// Arrival times of one frame: none when it is lost, two when it is duplicated. A change is never duplicated: real
    /// connections deliver a frame once, and the refusal of a change proves that no copy was executed.
    fn arrivals(&mut self, from: usize, to: usize, far: bool, is_change: bool) -> Vec<Micros> {
        let frame_faults = self.network.frame_faults;
        if self.rng.per_mille(frame_faults.lost) {
            return Vec::new();
        }
        let mut at = vec![self.arrival(from, to, far)];
        if self.rng.per_mille(frame_faults.duplicated) && !is_change {
            at.push(self.now + self.rng.between(1, 80) * MILLI);
        }
        if self.rng.per_mille(frame_faults.late) {
            at[0] = self.now + self.rng.between(1, 120) * MILLI;
        }
        at
    }

    pub fn send(&mut self, from: usize, to: NodeId, message: PeerMessage) {
        let region = self.pods[from].region;
        let found = (0..self.pods.len()).find(|pod| {
            let pod = &self.pods[*pod];
            pod.region == region && pod.node() == Some(to) && pod.is_up()
        });
        let Some(to) = found else { return };
        let (from_incarnation, to_incarnation) = (self.pods[from].incarnation, self.pods[to].incarnation);
        let incarnations =
            if from < to { (from_incarnation, to_incarnation) } else { (to_incarnation, from_incarnation) };
        let connected = self.network.connected.get(&(from.min(to), from.max(to))) == Some(&incarnations);
        if !connected || self.network.is_blocked(from, to) {
            return;
        }
        let is_change = matches!(&message, PeerMessage::Call(_, Call::Shard(_, call)) if call.is_change());
        let bytes = Frame::Peer(message).encode();
        for at in self.arrivals(from, to, false, is_change) {
            self.queue.push(at, SimEvent::Frame { from, from_incarnation, to, to_incarnation, bytes: bytes.clone() });
        }
    }

    pub fn frame(&mut self, from: usize, from_incarnation: u64, to: usize, to_incarnation: u64, bytes: &[u8]) {
        if self.pods[to].incarnation != to_incarnation
            || self.pods[from].incarnation != from_incarnation
            || self.network.is_blocked(from, to)
        {
            return;
        }
        let Some(node) = self.pods[from].node() else { return };
        let decoded = {
            let _release = run_as(self.pods[to].knows());
            Frame::decode(bytes)
        };
        match decoded {
            Ok(Frame::Peer(message)) => self.step(to, Event::Peer(node, message)),
            other => self.violation(format!("a frame between pods was decoded as {other:?}")),
        }
    }

    pub fn send_region(&mut self, from: usize, to: &Peer, message: RegionMessage) {
        let connection = match to {
            Peer::Region(region) => {
                let open = self.pods[from].process.as_ref().and_then(|process| process.region_connection);
                match open.or_else(|| self.dial_region(from, region)) {
                    Some(connection) => connection,
                    None => {
                        let (incarnation, event) = (self.pods[from].incarnation, Event::Lost(to.clone()));
                        return self
                            .queue
                            .push(self.now + 60 * MILLI, SimEvent::Deliver { pod: from, incarnation, event });
                    }
                }
            }
            Peer::Connection(connection) => *connection,
            Peer::Node(_) => return,
        };
        let Some(Connection { dialer, acceptor, .. }) = self.network.connections.get(&connection) else { return };
        let to_dialer = acceptor.0 == from;
        let to = if to_dialer { dialer.0 } else { acceptor.0 };
        let is_change =
            matches!(&message, RegionMessage::Call(_, RegionCall::Ask(_, request)) if request.body.changes());
        let bytes = Frame::Region(message).encode();
        for at in self.arrivals(from, to, true, is_change) {
            self.queue.push(at, SimEvent::RegionFrame { connection, to_dialer, bytes: bytes.clone() });
        }
    }

    /// Connects to a random running pod of the other region, as behind a load balancer.
    fn dial_region(&mut self, from: usize, region: &meridian_model::RegionName) -> Option<u64> {
        let region = self.regions.iter().position(|name| name == region)?;
        let own = self.pods[from].region;
        if self.network.cut.contains_key(&(own, region)) || self.network.cut.contains_key(&(region, own)) {
            return None;
        }
        let up: Vec<usize> =
            (0..self.pods.len()).filter(|pod| self.pods[*pod].region == region && self.pods[*pod].is_up()).collect();
        let to = *self.rng.pick(&up)?;
        self.network.next_connection += 1;
        let number = self.network.next_connection;
        let incarnation = self.pods[from].incarnation;
        let connection =
            Connection { dialer: (from, incarnation), acceptor: (to, self.pods[to].incarnation), heard: self.now };
        self.network.connections.insert(number, connection);
        self.pods[from].process.as_mut()?.region_connection = Some(number);
        let at = self.arrival(to, from, true);
        let event = Event::Connected(self.region_peer(region));
        self.queue.push(at, SimEvent::Deliver { pod: from, incarnation, event });
        Some(number)
    }

    /// Keeps one connection per pod to the other region open, and delivers heartbeats on it.
    pub fn maintain_region_connections(&mut self) {
        for pod in 0..self.pods.len() {
            let Some(process) = &self.pods[pod].process else { continue };
            let other = 1 - self.pods[pod].region;
            let Some(number) = process.region_connection else {
                let name = self.regions[other].clone();
                self.dial_region(pod, &name);
                continue;
            };
            let Some(connection) = self.network.connections.get(&number) else { continue };
            let (own, acceptor, heard) = (self.pods[pod].region, connection.acceptor, connection.heard);
            let cut = self.network.cut.contains_key(&(other, own)) || self.network.cut.contains_key(&(own, other));
            // A paused process sends nothing.
            let is_reachable =
                self.pods[acceptor.0].incarnation == acceptor.1 && self.pods[acceptor.0].paused_until <= self.now;
            if is_reachable && !cut {
                if let Some(connection) = self.network.connections.get_mut(&number) {
                    connection.heard = self.now;
                }
                let (at, incarnation) = (self.arrival(acceptor.0, pod, true), self.pods[pod].incarnation);
                let event = Event::Heard(self.region_peer(other));
                self.queue.push(at, SimEvent::Deliver { pod, incarnation, event });
            } else if self.now.saturating_sub(heard) >= HEARTBEAT_TIMEOUT {
                self.break_connection(number);
            }
        }
    }

    pub fn region_frame(&mut self, connection: u64, to_dialer: bool, bytes: &[u8]) {
        let Some(Connection { dialer, acceptor, .. }) = self.network.connections.get(&connection) else { return };
        let ((to, incarnation), (from, _)) = if to_dialer { (*dialer, *acceptor) } else { (*acceptor, *dialer) };
        let regions = (self.pods[from].region, self.pods[to].region);
        if self.pods[to].incarnation != incarnation || self.network.cut.contains_key(&regions) {
            return;
        }
        let peer = if to_dialer { self.region_peer(regions.0) } else { Peer::Connection(connection) };
        let decoded = {
            let _release = run_as(self.pods[to].knows());
            Frame::decode(bytes)
        };
        match decoded {
            Ok(Frame::Region(message)) => self.step(to, Event::Region(peer, message)),
            other => self.violation(format!("a frame between regions was decoded as {other:?}")),
        }
    }

    /// Closes a connection between regions and notifies both ends.
    pub fn break_connection(&mut self, connection: u64) {
        let Some(Connection { dialer, acceptor, .. }) = self.network.connections.remove(&connection) else { return };
        let peer = self.region_peer(self.pods[acceptor.0].region);
        if self.pods[dialer.0].incarnation == dialer.1 {
            if let Some(process) = &mut self.pods[dialer.0].process {
                process.region_connection = None;
            }
            let at = self.now + self.rng.between(1, 30) * MILLI;
            self.queue.push(at, SimEvent::Deliver { pod: dialer.0, incarnation: dialer.1, event: Event::Lost(peer) });
        }
        let at = self.now + self.rng.between(1, 30) * MILLI;
        let event = Event::Lost(Peer::Connection(connection));
        self.queue.push(at, SimEvent::Deliver { pod: acceptor.0, incarnation: acceptor.1, event });
    }

    /// Closes the connection of two pods and notifies both.
    pub fn break_peers(&mut self, a: usize, b: usize) {
        let key = (a.min(b), a.max(b));
        if self.network.connected.remove(&key).is_none() {
            return;
        }
        for (to, from) in [(a, b), (b, a)] {
            if let Some(node) = self.pods[from].node() {
                let incarnation = self.pods[to].incarnation;
                let at = self.arrival(from, to, false);
                self.queue.push(at, SimEvent::Deliver { pod: to, incarnation, event: Event::Lost(Peer::Node(node)) });
            }
        }
    }

    /// Closes all connections of a pod whose process ended.
    pub fn disconnect(&mut self, pod: usize) {
        for other in 0..self.pods.len() {
            if other != pod {
                self.break_peers(pod, other);
            }
        }
        let of = |connection: &Connection| connection.dialer.0 == pod || connection.acceptor.0 == pod;
        let gone: Vec<u64> =
            self.network.connections.iter().filter(|(_, held)| of(held)).map(|(number, _)| *number).collect();
        for connection in gone {
            self.break_connection(connection);
        }
    }
}

//! The network: connections inside a region and between regions, and what becomes of frames on them.

use std::collections::BTreeMap;

use meridian_proto::frame::{Build, Call, Frame, Hello, NodeId, PeerMessage, RegionCall, RegionMessage};
use meridian_replica::{Event, Peer};

use crate::clock::{MILLI, Micros};
use crate::rng::Rng;
use crate::world::{What, World};

/// A connection between regions.
struct Connection {
    dialer: (usize, u64),
    acceptor: (usize, u64),
    /// When a heartbeat last went through.
    heard: Micros,
}

/// Without a heartbeat for so long the dialer gives a connection up, as the transport does.
const SILENCE: Micros = 1_500 * MILLI;

/// How frames fare.
#[derive(Debug, Clone, Copy)]
pub struct Weather {
    /// Of a thousand frames.
    pub lost: u64,
    /// Of a thousand.
    pub doubled: u64,
    /// Of a thousand: overtaken.
    pub late: u64,
}

/// Nothing is lost.
pub const FAIR: Weather = Weather { lost: 0, doubled: 0, late: 0 };

/// The network.
pub struct Network {
    /// Inside regions, by the smaller pod first: the lives that are connected.
    connected: BTreeMap<(usize, usize), (u64, u64)>,
    connections: BTreeMap<u64, Connection>,
    next_connection: u64,
    /// Pod to pod: nothing goes through, for so many reasons.
    blocked: BTreeMap<(usize, usize), u32>,
    /// Region to region, likewise.
    cut: BTreeMap<(usize, usize), u32>,
    /// When the last frame from one to another arrives: the next one is behind it.
    arrivals: BTreeMap<(usize, usize), Micros>,
    /// How frames fare just now.
    pub weather: Weather,
    /// Least and most that a frame takes inside a region.
    near: (Micros, Micros),
    /// And between regions.
    far: (Micros, Micros),
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
            weather: FAIR,
            near: (100, rng.between(300, 2000)),
            far: (far, far + rng.between(1, 20) * MILLI),
        }
    }

    /// The pod at one end of a connection.
    pub fn end(&self, connection: u64, dialer: bool) -> Option<usize> {
        let connection = self.connections.get(&connection)?;
        Some(if dialer { connection.dialer.0 } else { connection.acceptor.0 })
    }

    /// Stops, or lets through again, what goes from one pod to another of its region.
    pub fn block(&mut self, from: usize, to: usize, stop: bool) {
        adjust(&mut self.blocked, (from, to), stop);
    }

    /// The same between regions.
    pub fn cut(&mut self, from: usize, to: usize, stop: bool) {
        adjust(&mut self.cut, (from, to), stop);
    }

    /// Everything goes through again.
    pub fn clear(&mut self) {
        self.blocked.clear();
        self.cut.clear();
        self.weather = FAIR;
    }

    fn is_blocked(&self, from: usize, to: usize) -> bool {
        self.blocked.contains_key(&(from, to))
    }

    /// The open connections between regions.
    pub fn open(&self) -> Vec<u64> {
        self.connections.keys().copied().collect()
    }
}

fn adjust(reasons: &mut BTreeMap<(usize, usize), u32>, key: (usize, usize), stop: bool) {
    let count = reasons.entry(key).or_default();
    *count = if stop { *count + 1 } else { count.saturating_sub(1) };
    if *count == 0 {
        reasons.remove(&key);
    }
}

impl World {
    /// Connects all pods of a region that can be and are not.
    pub fn connect_all(&mut self) {
        for a in 0..self.pods.len() {
            for b in a + 1..self.pods.len() {
                let (one, other) = (&self.pods[a], &self.pods[b]);
                let open = !self.network.is_blocked(a, b) && !self.network.is_blocked(b, a);
                let lives = (one.life, other.life);
                if one.region != other.region || !one.is_up() || !other.is_up() || !open {
                    continue;
                }
                if self.network.connected.get(&(a, b)) == Some(&lives) {
                    continue;
                }
                self.network.connected.insert((a, b), lives);
                for (to, from) in [(a, b), (b, a)] {
                    let hello = Hello {
                        cluster: self.genesis(self.pods[from].region, self.pods[from].shard).cluster,
                        region: self.regions[self.pods[from].region].clone(),
                        node: self.pods[from].node(),
                        address: self.pods[from].address.clone(),
                        build: Build::current(),
                    };
                    let life = self.pods[to].life;
                    let at = self.arrival(from, to, false);
                    self.queue.push(at, What::Hand { pod: to, life, event: Event::Met(hello) });
                }
            }
        }
    }

    /// When a frame sent now arrives.
    fn arrival(&mut self, from: usize, to: usize, far: bool) -> Micros {
        let (least, most) = if far { self.network.far } else { self.network.near };
        let at = self.now + self.rng.between(least, most);
        let last = self.network.arrivals.entry((from, to)).or_default();
        *last = (*last + 1).max(at);
        *last
    }

    /// Arrivals of one frame: none when it is lost, two when it is doubled. A request for a change never is: a connection
    /// delivers a frame once, and the refusal of the only copy of a change is taken at its word.
    fn arrivals(&mut self, from: usize, to: usize, far: bool, is_change: bool) -> Vec<Micros> {
        let weather = self.network.weather;
        if self.rng.per_mille(weather.lost) {
            return Vec::new();
        }
        let mut at = vec![self.arrival(from, to, far)];
        if self.rng.per_mille(weather.doubled) && !is_change {
            at.push(self.now + self.rng.between(1, 80) * MILLI);
        }
        if self.rng.per_mille(weather.late) {
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
        let (from_life, to_life) = (self.pods[from].life, self.pods[to].life);
        let lives = if from < to { (from_life, to_life) } else { (to_life, from_life) };
        let connected = self.network.connected.get(&(from.min(to), from.max(to))) == Some(&lives);
        if !connected || self.network.is_blocked(from, to) {
            return;
        }
        let is_change = matches!(&message, PeerMessage::Call(_, Call::Shard(_, call)) if call.is_change());
        let bytes = Frame::Peer(message).encode();
        for at in self.arrivals(from, to, false, is_change) {
            self.queue.push(at, What::Frame { from, from_life, to, to_life, bytes: bytes.clone() });
        }
    }

    pub fn frame(&mut self, from: usize, from_life: u64, to: usize, to_life: u64, bytes: &[u8]) {
        if self.pods[to].life != to_life || self.pods[from].life != from_life || self.network.is_blocked(from, to) {
            return;
        }
        let Some(node) = self.pods[from].node() else { return };
        match Frame::decode(bytes) {
            Ok(Frame::Peer(message)) => self.step(to, Event::Peer(node, message)),
            other => self.violation(format!("a frame between pods became {other:?}")),
        }
    }

    pub fn send_region(&mut self, from: usize, to: &Peer, message: RegionMessage) {
        let connection = match to {
            Peer::Region(region) => {
                let open = self.pods[from].process.as_ref().and_then(|process| process.region_connection);
                match open.or_else(|| self.dial_region(from, region)) {
                    Some(connection) => connection,
                    None => {
                        let (life, event) = (self.pods[from].life, Event::Lost(to.clone()));
                        return self.queue.push(self.now + 60 * MILLI, What::Hand { pod: from, life, event });
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
            self.queue.push(at, What::RegionFrame { connection, to_dialer, bytes: bytes.clone() });
        }
    }

    /// A connection to any pod of the other region that runs, as behind one address.
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
        let life = self.pods[from].life;
        let connection = Connection { dialer: (from, life), acceptor: (to, self.pods[to].life), heard: self.now };
        self.network.connections.insert(number, connection);
        self.pods[from].process.as_mut()?.region_connection = Some(number);
        let at = self.arrival(to, from, true);
        let event = Event::Connected(self.region_peer(region));
        self.queue.push(at, What::Hand { pod: from, life, event });
        Some(number)
    }

    /// Every pod keeps a connection to the other region, on which heartbeats come.
    pub fn keep_regions(&mut self) {
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
            // A process that is paused sends nothing.
            let there = self.pods[acceptor.0].life == acceptor.1 && self.pods[acceptor.0].paused_until <= self.now;
            if there && !cut {
                if let Some(connection) = self.network.connections.get_mut(&number) {
                    connection.heard = self.now;
                }
                let (at, life) = (self.arrival(acceptor.0, pod, true), self.pods[pod].life);
                let event = Event::Heard(self.region_peer(other));
                self.queue.push(at, What::Hand { pod, life, event });
            } else if self.now.saturating_sub(heard) >= SILENCE {
                self.break_connection(number);
            }
        }
    }

    pub fn region_frame(&mut self, connection: u64, to_dialer: bool, bytes: &[u8]) {
        let Some(Connection { dialer, acceptor, .. }) = self.network.connections.get(&connection) else { return };
        let ((to, life), (from, _)) = if to_dialer { (*dialer, *acceptor) } else { (*acceptor, *dialer) };
        let regions = (self.pods[from].region, self.pods[to].region);
        if self.pods[to].life != life || self.network.cut.contains_key(&regions) {
            return;
        }
        let peer = if to_dialer { self.region_peer(regions.0) } else { Peer::Connection(connection) };
        match Frame::decode(bytes) {
            Ok(Frame::Region(message)) => self.step(to, Event::Region(peer, message)),
            other => self.violation(format!("a frame between regions became {other:?}")),
        }
    }

    /// Both ends learn that a connection between regions is gone.
    pub fn break_connection(&mut self, connection: u64) {
        let Some(Connection { dialer, acceptor, .. }) = self.network.connections.remove(&connection) else { return };
        let peer = self.region_peer(self.pods[acceptor.0].region);
        if self.pods[dialer.0].life == dialer.1 {
            if let Some(process) = &mut self.pods[dialer.0].process {
                process.region_connection = None;
            }
            let at = self.now + self.rng.between(1, 30) * MILLI;
            self.queue.push(at, What::Hand { pod: dialer.0, life: dialer.1, event: Event::Lost(peer) });
        }
        let at = self.now + self.rng.between(1, 30) * MILLI;
        let event = Event::Lost(Peer::Connection(connection));
        self.queue.push(at, What::Hand { pod: acceptor.0, life: acceptor.1, event });
    }

    /// The two pods learn that they are no longer connected.
    pub fn break_peers(&mut self, a: usize, b: usize) {
        let key = (a.min(b), a.max(b));
        if self.network.connected.remove(&key).is_none() {
            return;
        }
        for (to, from) in [(a, b), (b, a)] {
            if let Some(node) = self.pods[from].node() {
                let life = self.pods[to].life;
                let at = self.arrival(from, to, false);
                self.queue.push(at, What::Hand { pod: to, life, event: Event::Lost(Peer::Node(node)) });
            }
        }
    }

    /// A pod's process is gone, and with it its connections.
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

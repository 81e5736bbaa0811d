//! Whom this node can speak to now.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use meridian_model::RegionName;
use meridian_peer::{GroupKey, PeerTls, Sender};
use meridian_replica::Peer;
use meridian_wire::frame::{Frame, Hello, NodeId, PeerMessage, RegionMessage};
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::dial;

/// What comes from the peer port for the machine.
#[derive(Debug)]
pub enum Incoming {
    /// A replica of the region can be spoken to.
    Met(Hello),
    /// Another region can be spoken to.
    Connected(Peer),
    /// A party cannot be spoken to any more.
    Lost(Peer),
    /// Another region is there, and has nothing else to say.
    Heard(Peer),
    /// A replica of the region said this.
    Peer(NodeId, PeerMessage),
    /// Another region said this.
    Region(Peer, RegionMessage),
}

/// The connections of a node.
#[derive(Clone)]
pub struct Hub(Arc<Inner>);

pub(super) struct Inner {
    pub(super) tls: PeerTls,
    pub(super) group_key: Option<GroupKey>,
    pub(super) hello: Mutex<Hello>,
    pub(super) deliver: Box<dyn Fn(Incoming) + Send + Sync>,
    pub(super) stop: CancellationToken,
    nodes: Mutex<HashMap<NodeId, (u64, Sender)>>,
    regions: Mutex<HashMap<RegionName, Sender>>,
    connections: Mutex<HashMap<u64, Sender>>,
    dialled: Mutex<HashSet<String>>,
    next: AtomicU64,
    /// Members are met by the machine's own thread, which is none of the runtime's.
    runtime: Handle,
}

impl Hub {
    /// A hub that introduces itself as `hello` and hands what comes to `deliver`, which must not block. Its connections live
    /// on the runtime it is made on.
    pub fn new(
        tls: PeerTls,
        group_key: Option<GroupKey>,
        hello: Hello,
        stop: CancellationToken,
        deliver: impl Fn(Incoming) + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(Inner {
            tls,
            group_key,
            hello: Mutex::new(hello),
            deliver: Box::new(deliver),
            stop,
            nodes: Mutex::default(),
            regions: Mutex::default(),
            connections: Mutex::default(),
            dialled: Mutex::default(),
            next: AtomicU64::new(1),
            runtime: Handle::current(),
        }))
    }

    pub(super) fn inner(&self) -> &Inner {
        &self.0
    }

    /// From now on this node is this replica.
    pub fn become_node(&self, node: Option<NodeId>) {
        self.0.hello.lock().node = node;
    }

    /// Keeps a connection to the replica at `address`, whichever it is.
    pub fn dial(&self, address: &str) {
        let own = self.0.hello.lock().address == address;
        if !own && self.0.dialled.lock().insert(address.to_owned()) {
            self.0.runtime.spawn(dial::keep_replica(self.clone(), address.to_owned()));
        }
    }

    /// Keeps a connection to whichever pod answers at the region's address.
    pub fn dial_region(&self, region: RegionName, endpoint: String) {
        self.0.runtime.spawn(dial::keep_region(self.clone(), region, endpoint));
    }

    /// Says something to a replica of the region; lost when it is not connected.
    pub fn send(&self, to: NodeId, message: PeerMessage) {
        let sender = self.0.nodes.lock().get(&to).map(|(_, sender)| sender.clone());
        if let Some(sender) = sender {
            sender.send(Frame::Peer(message));
        }
    }

    /// Says something to another region; lost when it is not connected.
    pub fn send_region(&self, to: &Peer, message: RegionMessage) {
        let sender = match to {
            Peer::Region(region) => self.0.regions.lock().get(region).cloned(),
            Peer::Connection(number) => self.0.connections.lock().get(number).cloned(),
            Peer::Node(_) => None,
        };
        if let Some(sender) = sender {
            sender.send(Frame::Region(message));
        }
    }

    pub(super) fn node_up(&self, hello: Hello, node: NodeId, sender: Sender) -> u64 {
        let number = self.number();
        self.0.nodes.lock().insert(node, (number, sender));
        (self.0.deliver)(Incoming::Met(hello));
        number
    }

    pub(super) fn node_down(&self, node: NodeId, number: u64) {
        let mut nodes = self.0.nodes.lock();
        if nodes.get(&node).is_some_and(|(held, _)| *held == number) {
            nodes.remove(&node);
            drop(nodes);
            (self.0.deliver)(Incoming::Lost(Peer::Node(node)));
        }
    }

    pub(super) fn region_up(&self, region: RegionName, sender: Sender) {
        self.0.regions.lock().insert(region.clone(), sender);
        (self.0.deliver)(Incoming::Connected(Peer::Region(region)));
    }

    pub(super) fn region_down(&self, region: &RegionName) {
        self.0.regions.lock().remove(region);
        (self.0.deliver)(Incoming::Lost(Peer::Region(region.clone())));
    }

    pub(super) fn connection_up(&self, sender: Sender) -> u64 {
        let number = self.number();
        self.0.connections.lock().insert(number, sender);
        number
    }

    pub(super) fn connection_down(&self, number: u64) {
        self.0.connections.lock().remove(&number);
        (self.0.deliver)(Incoming::Lost(Peer::Connection(number)));
    }

    fn number(&self) -> u64 {
        self.0.next.fetch_add(1, Ordering::Relaxed)
    }
}

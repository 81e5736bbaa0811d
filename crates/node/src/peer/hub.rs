//! Whom this node can speak to now.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use meridian_model::RegionName;
use meridian_peer::{GroupKeys, PeerTls, Sender};
use meridian_proto::frame::{Frame, Hello, NodeId, PeerMessage, RegionMessage};
use meridian_replica::Peer;
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
    tls: Mutex<PeerTls>,
    group_keys: Mutex<Option<GroupKeys>>,
    /// Ends when a certificate or key is accepted no longer: connections that may rest on it are opened anew.
    accepted: Mutex<CancellationToken>,
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
        group_keys: Option<GroupKeys>,
        hello: Hello,
        stop: CancellationToken,
        deliver: impl Fn(Incoming) + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(Inner {
            tls: Mutex::new(tls),
            group_keys: Mutex::new(group_keys),
            accepted: Mutex::new(stop.child_token()),
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

    /// What counts for connections that are opened from now on. `ended`: something is accepted no longer, and the connections
    /// that stand end.
    pub fn replace_credentials(&self, tls: Option<PeerTls>, group_keys: Option<GroupKeys>, ended: bool) {
        if let Some(tls) = tls {
            *self.0.tls.lock() = tls;
        }
        if group_keys.is_some() {
            *self.0.group_keys.lock() = group_keys;
        }
        if ended {
            tracing::info!("a certificate authority or a group key is accepted no longer: peers connect anew");
            let token = std::mem::replace(&mut *self.0.accepted.lock(), self.0.stop.child_token());
            token.cancel();
        }
    }

    pub(super) fn tls(&self) -> PeerTls {
        self.0.tls.lock().clone()
    }

    pub(super) fn group_keys(&self) -> Option<GroupKeys> {
        self.0.group_keys.lock().clone()
    }

    /// Ends with the node, and when what a connection rests on may be accepted no longer.
    pub(super) fn accepted(&self) -> CancellationToken {
        self.0.accepted.lock().clone()
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

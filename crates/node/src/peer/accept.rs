//! Connections that others open to the peer port.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use meridian_peer::{Connection, ConnectionError, Side, Timing, queue, watch};
use meridian_proto::frame::{Frame, Hello};
use meridian_proto::topology::{TopologyAnswer, TopologyCall};
use meridian_replica::Peer;
use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

use super::gate::{Gate, Ticket};
use super::hub::{Hub, Incoming};

/// Connections at once of replicas and of the operator, who show a certificate of the cluster.
const CLUSTER_CONNECTIONS: usize = 1024;
/// Connections at once of other regions, who prove the group key. The bounds are apart, so that nobody takes another's.
const GROUP_CONNECTIONS: usize = 1024;
/// Pause after an accept that failed for want of file descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Answers the operator's calls.
pub type Inbound = Arc<dyn Fn(TopologyCall) -> BoxFuture<'static, TopologyAnswer> + Send + Sync>;

/// What all accepted connections share.
#[derive(Clone)]
struct Door {
    gate: Arc<Mutex<Strangers>>,
    cluster: Arc<Semaphore>,
    group: Arc<Semaphore>,
}

/// The unproven connections, and how each is told to make room.
#[derive(Default)]
struct Strangers {
    gate: Gate,
    leave: std::collections::HashMap<Ticket, CancellationToken>,
}

/// An unproven connection's place at the door, given back when it is dropped.
struct Place {
    ticket: Ticket,
    leave: CancellationToken,
    gate: Arc<Mutex<Strangers>>,
}

impl Door {
    fn arrive(&self, from: IpAddr) -> Place {
        let mut strangers = self.gate.lock();
        let (ticket, displaced) = strangers.gate.arrive(from);
        if let Some(displaced) = displaced.and_then(|displaced| strangers.leave.remove(&displaced)) {
            displaced.cancel();
        }
        let leave = CancellationToken::new();
        strangers.leave.insert(ticket, leave.clone());
        Place { ticket, leave, gate: Arc::clone(&self.gate) }
    }
}

impl Place {
    fn proven(self) {
        self.gate.lock().gate.proven(self.ticket);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut strangers = self.gate.lock();
        strangers.gate.leave(self.ticket);
        strangers.leave.remove(&self.ticket);
    }
}

/// Accepts until the hub stops.
pub async fn serve(hub: Hub, listener: TcpListener, topology: Inbound) {
    let door = Door {
        gate: Arc::default(),
        cluster: Arc::new(Semaphore::new(CLUSTER_CONNECTIONS)),
        group: Arc::new(Semaphore::new(GROUP_CONNECTIONS)),
    };
    let stop = hub.inner().stop.clone();
    loop {
        let Some(accepted) = stop.run_until_cancelled(listener.accept()).await else { return };
        let (stream, from) = match accepted {
            Ok(accepted) => accepted,
            Err(fault) => {
                tracing::warn!(%fault, "accept a peer");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let place = door.arrive(from.ip());
        let (hub, door, topology, stop) = (hub.clone(), door.clone(), Arc::clone(&topology), stop.clone());
        tokio::spawn(async move {
            if let Some(Err(fault)) = stop.run_until_cancelled(one(hub, door, place, stream, topology)).await {
                tracing::debug!(fault = %anyhow::Error::new(fault), "accepted connection ended");
            }
        });
    }
}

/// What a connection has proven itself to be.
enum Proven {
    Cluster(Hello),
    Group,
}

async fn one(hub: Hub, door: Door, place: Place, stream: TcpStream, topology: Inbound) -> Result<(), ConnectionError> {
    watch(&stream, &Timing::GROUP)?;
    // Taken before the certificates: what is replaced in between ends the connection once for nothing, not never.
    let accepted = hub.accepted();
    let leave = place.leave.clone();
    let greeted = leave.run_until_cancelled(tokio::time::timeout(Timing::GROUP.greeting, greet(&hub, stream)));
    let greeted =
        greeted.await.ok_or_else(|| ConnectionError::Refused("others came while it proved nothing".into()))?;
    let (connection, proven) = greeted.map_err(|_| ConnectionError::TimedOut)??;
    place.proven();
    let (slots, kind) = match proven {
        Proven::Cluster(_) => (door.cluster, "of the cluster"),
        Proven::Group => (door.group, "of other regions"),
    };
    let Ok(_slot) = slots.try_acquire_owned() else {
        return Err(ConnectionError::Io(io::Error::other(format!("too many connections {kind} at once"))));
    };
    match proven {
        Proven::Cluster(hello) => {
            let run = of_the_cluster(hub, connection, hello, topology);
            accepted.run_until_cancelled(run).await.unwrap_or(Ok(()))
        }
        Proven::Group => of_the_group(hub, connection, accepted).await,
    }
}

/// TLS, and the proof of who it is: a certificate of the cluster's authority, or of the group key.
async fn greet(hub: &Hub, stream: TcpStream) -> Result<(Connection<TlsStream<TcpStream>>, Proven), ConnectionError> {
    let tls = hub.tls().acceptor.accept(stream).await?;
    let mut connection = Connection::new(tls);
    let Frame::Hello(hello) = connection.read().await? else {
        return Err(ConnectionError::Unexpected("a hello"));
    };
    let own = hub.inner().hello.lock().clone();
    let common = own.build.protocols.common(hello.build.protocols);
    // A certificate that was shown was verified against the cluster's authority.
    if connection.stream().get_ref().1.peer_certificates().is_some() {
        connection.write(&Frame::Hello(own.clone())).await?;
        // Greeted first, so that the other side can name both versions too.
        common?;
        if hello.cluster != own.cluster {
            return Err(ConnectionError::Refused(format!("it belongs to cluster {}", hello.cluster)));
        }
        return Ok((connection, Proven::Cluster(hello)));
    }
    let Some(keys) = hub.group_keys() else {
        return Err(ConnectionError::Refused("no certificate, and this node belongs to no group".into()));
    };
    let Frame::Proof(proof) = connection.read().await? else {
        return Err(ConnectionError::Unexpected("a proof of the group key"));
    };
    // Proved with the key that the caller holds: it may know neither the next one nor the previous one.
    let Some(key) = keys.matching(connection.stream().get_ref().1, Side::Dialler, &proof) else {
        return Err(ConnectionError::Refused("it does not hold the group key".into()));
    };
    let proof = key.proof(connection.stream().get_ref().1, Side::Acceptor).ok_or(ConnectionError::Unexpected("TLS"))?;
    connection.write(&Frame::Hello(Hello { node: None, address: String::new(), ..own })).await?;
    connection.write(&Frame::Proof(proof)).await?;
    common?;
    Ok((connection, Proven::Group))
}

async fn of_the_cluster(
    hub: Hub,
    connection: Connection<TlsStream<TcpStream>>,
    hello: Hello,
    topology: Inbound,
) -> Result<(), ConnectionError> {
    if let (Some(_), false) = (hello.node, hello.address.is_empty()) {
        // Whoever speaks to us is spoken to.
        hub.dial(&hello.address);
    }
    let (sender, frames) = queue();
    let from = hello.node;
    let timing = if from.is_some() { Timing::REGION } else { Timing::CALL };
    watch(connection.stream().get_ref().0, &timing)?;
    connection
        .run(frames, &timing, |frame| match (frame, from) {
            (Frame::Peer(message), Some(node)) => (hub.inner().deliver)(Incoming::Peer(node, message)),
            (Frame::Topology(number, call), None) => {
                let (answer, sender) = (topology(call), sender.clone());
                tokio::spawn(async move {
                    sender.send(Frame::TopologyAnswer(number, answer.await));
                });
            }
            (Frame::TopologyUnsupported(number, why), None) => {
                sender.send(Frame::TopologyAnswer(number, TopologyAnswer::Refused(why.to_string())));
            }
            _ => {}
        })
        .await
}

async fn of_the_group(
    hub: Hub,
    connection: Connection<TlsStream<TcpStream>>,
    accepted: CancellationToken,
) -> Result<(), ConnectionError> {
    let (sender, frames) = queue();
    let number = hub.connection_up(sender);
    let run = connection.run(frames, &Timing::GROUP, |frame| {
        if let Frame::Region(message) = frame {
            (hub.inner().deliver)(Incoming::Region(Peer::Connection(number), message));
        }
    });
    let ended = accepted.run_until_cancelled(run).await.unwrap_or(Ok(()));
    hub.connection_down(number);
    ended
}

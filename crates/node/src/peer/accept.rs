//! Connections that others open to the peer port.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use meridian_peer::{Connection, ConnectionError, Side, queue};
use meridian_replica::Peer;
use meridian_wire::frame::{Frame, Hello};
use meridian_wire::topology::{TopologyAnswer, TopologyCall};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::server::TlsStream;

use super::GREETING;
use super::hub::{Hub, Incoming};

/// Connections at once; more wait in the kernel's queue.
const CONNECTIONS: usize = 1024;
/// Pause after an accept that failed for want of file descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Answers the operator's calls.
pub type Inbound = Arc<dyn Fn(TopologyCall) -> BoxFuture<'static, TopologyAnswer> + Send + Sync>;

/// Accepts until the hub stops.
pub async fn serve(hub: Hub, listener: TcpListener, topology: Inbound) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS));
    let stop = hub.inner().stop.clone();
    loop {
        let slot = Arc::clone(&slots).acquire_owned().await.expect("this semaphore is never closed");
        let Some(accepted) = stop.run_until_cancelled(listener.accept()).await else { return };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(fault) => {
                tracing::warn!(%fault, "accept a peer");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let (hub, topology, stop) = (hub.clone(), Arc::clone(&topology), stop.clone());
        tokio::spawn(async move {
            if let Some(Err(fault)) = stop.run_until_cancelled(one(hub, stream, topology)).await {
                tracing::debug!(fault = %anyhow::Error::new(fault), "accepted connection ended");
            }
            drop(slot);
        });
    }
}

async fn one(hub: Hub, stream: TcpStream, topology: Inbound) -> Result<(), ConnectionError> {
    stream.set_nodelay(true)?;
    let greeting = async {
        let tls = hub.inner().tls.acceptor.accept(stream).await?;
        let mut connection = Connection::new(tls);
        let Frame::Hello(hello) = connection.read().await? else {
            return Err(ConnectionError::Unexpected("a hello"));
        };
        Ok((connection, hello))
    };
    let (connection, hello) =
        tokio::time::timeout(GREETING, greeting).await.map_err(|_| ConnectionError::TimedOut)??;
    // A certificate that was shown was verified against the cluster's authority.
    if connection.stream().get_ref().1.peer_certificates().is_some() {
        of_the_cluster(hub, connection, hello, topology).await
    } else {
        of_the_group(hub, connection).await
    }
}

async fn of_the_cluster(
    hub: Hub,
    mut connection: Connection<TlsStream<TcpStream>>,
    hello: Hello,
    topology: Inbound,
) -> Result<(), ConnectionError> {
    let own = hub.inner().hello.lock().clone();
    connection.write(&Frame::Hello(own.clone())).await?;
    if hello.cluster != own.cluster {
        return Err(ConnectionError::Refused(format!("it belongs to cluster {}", hello.cluster)));
    }
    if let (Some(_), false) = (hello.node, hello.address.is_empty()) {
        // Whoever speaks to us is spoken to.
        hub.dial(&hello.address);
    }
    let (sender, frames) = queue();
    let from = hello.node;
    connection
        .run(frames, |frame| match (frame, from) {
            (Frame::Peer(message), Some(node)) => (hub.inner().deliver)(Incoming::Peer(node, message)),
            (Frame::Topology(number, call), None) => {
                let (answer, sender) = (topology(call), sender.clone());
                tokio::spawn(async move {
                    sender.send(Frame::TopologyAnswer(number, answer.await));
                });
            }
            _ => {}
        })
        .await
}

async fn of_the_group(hub: Hub, mut connection: Connection<TlsStream<TcpStream>>) -> Result<(), ConnectionError> {
    let Some(key) = hub.inner().group_key.clone() else {
        return Err(ConnectionError::Refused("no certificate, and this node belongs to no group".into()));
    };
    let greeting = async {
        let Frame::Proof(proof) = connection.read().await? else {
            return Err(ConnectionError::Unexpected("a proof of the group key"));
        };
        if !key.holds(connection.stream().get_ref().1, Side::Dialler, &proof) {
            return Err(ConnectionError::Refused("it does not hold the group key".into()));
        }
        let own = hub.inner().hello.lock().clone();
        let proof =
            key.proof(connection.stream().get_ref().1, Side::Acceptor).ok_or(ConnectionError::Unexpected("TLS"))?;
        connection.write(&Frame::Hello(Hello { node: None, address: String::new(), ..own })).await?;
        connection.write(&Frame::Proof(proof)).await
    };
    tokio::time::timeout(GREETING, greeting).await.map_err(|_| ConnectionError::TimedOut)??;
    let (sender, frames) = queue();
    let number = hub.connection_up(sender);
    let ended = connection
        .run(frames, |frame| {
            if let Frame::Region(message) = frame {
                (hub.inner().deliver)(Incoming::Region(Peer::Connection(number), message));
            }
        })
        .await;
    hub.connection_down(number);
    ended
}

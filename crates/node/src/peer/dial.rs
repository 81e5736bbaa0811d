//! Connections that this node opens, and opens again.
//!
//! ```text
//!   attempt: resolve ──► TCP connect ──► TLS, greeting ──► run until it ends ──► the next attempt
//!      └─ not there yet after 500 ms: between regions the next attempt starts beside it; the first that is greeted counts
//! ```

use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use meridian_model::RegionName;
use meridian_peer::{Connection, ConnectionError, Side, Timing, connect, greet, host_of, queue, secure};
use meridian_proto::frame::{Frame, Hello, NodeId};
use meridian_replica::Peer;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_rustls::client::TlsStream;
use tokio_util::sync::CancellationToken;

use super::hub::{Hub, Incoming};
use super::resolve::Endpoint;

/// Before an attempt that failed at once is repeated; doubled up to [`Timing::attempt_every`].
const FIRST_RETRY: Duration = Duration::from_millis(50);

/// A connection whose other end has said who it is, and what ends when it must be opened anew. That was taken before the
/// certificates: what is replaced in between ends the connection once for nothing, not never.
type Greeted = (Connection<TlsStream<TcpStream>>, Hello, CancellationToken);

pub(super) async fn keep_replica(hub: Hub, address: String) {
    let greet = |tcp| greet_replica(&hub, &address, tcp);
    keep(&hub, &address, &Timing::REGION, greet, |greeted| run_replica(&hub, &address, greeted)).await;
}

pub(super) async fn keep_region(hub: Hub, name: RegionName, endpoint: String) {
    let greet = |tcp| greet_region(&hub, &name, &endpoint, tcp);
    keep(&hub, &endpoint, &Timing::GROUP, greet, |greeted| run_region(&hub, &name, greeted)).await;
}

async fn keep<G, F, R, E>(hub: &Hub, address: &str, timing: &Timing, greet: G, run: R)
where
    G: Fn(TcpStream) -> F,
    F: Future<Output = Result<Greeted, ConnectionError>>,
    R: Fn(Greeted) -> E,
    E: Future<Output = Result<(), ConnectionError>>,
{
    let endpoint = Endpoint::new(address.to_owned());
    let stop = &hub.inner().stop;
    let mut begin = Instant::now();
    loop {
        let Some(greeted) = stop.run_until_cancelled(establish(&endpoint, timing, begin, &greet)).await else { return };
        let established = Instant::now();
        let Some(ended) = stop.run_until_cancelled(run(greeted)).await else { return };
        if let Err(fault) = ended {
            tracing::debug!(address, fault = %anyhow::Error::new(fault), "peer connection ended");
        }
        // A party that greets and hangs up at once is not dialled in a loop.
        begin = established + timing.attempt_every;
    }
}

/// Makes attempts, the first at `begin`, until one is greeted.
async fn establish<G, F>(endpoint: &Endpoint, timing: &Timing, begin: Instant, greet: &G) -> Greeted
where
    G: Fn(TcpStream) -> F,
    F: Future<Output = Result<Greeted, ConnectionError>>,
{
    let attempt = |number: usize| async move {
        let address = endpoint.resolve(number).await?;
        let tcp = connect(address, timing).await?;
        timeout(timing.greeting, greet(tcp)).await.map_err(|_| ConnectionError::TimedOut)?
    };
    let mut under_way = FuturesUnordered::new();
    let (mut number, mut pause) = (0, FIRST_RETRY);
    let (mut begun, mut next) = (begin, begin);
    loop {
        tokio::select! {
            Some(ended) = under_way.next(), if !under_way.is_empty() => match ended {
                Ok(greeted) => return greeted,
                Err(fault) => {
                    tracing::debug!(address = endpoint.address(), fault = %anyhow::Error::new(fault), "dial a peer");
                    next = next.min(begun + pause);
                    pause = (pause * 2).min(timing.attempt_every);
                }
            },
            () = sleep_until(next), if under_way.len() < timing.attempts => {
                under_way.push(attempt(number));
                number += 1;
                begun = Instant::now();
                next = begun + timing.attempt_every;
            }
        }
    }
}

async fn greet_replica(hub: &Hub, address: &str, tcp: TcpStream) -> Result<Greeted, ConnectionError> {
    let own = hub.inner().hello.lock().clone();
    if own.node.is_none() {
        // What is said on a connection is heard as of who greeted on it.
        return Err(ConnectionError::Refused("this node is not a replica yet".into()));
    }
    let accepted = hub.accepted();
    let mut connection = secure(&hub.tls().region, tcp, host_of(address)).await?;
    let hello = greet(&mut connection, own.clone()).await?;
    if hello.cluster != own.cluster || hello.region != own.region {
        return Err(ConnectionError::Refused(format!("it belongs to cluster {}", hello.cluster)));
    }
    Ok((connection, hello, accepted))
}

async fn run_replica(hub: &Hub, address: &str, (connection, hello, accepted): Greeted) -> Result<(), ConnectionError> {
    let Some(node): Option<NodeId> = hello.node else {
        return Err(ConnectionError::Refused("it is not a replica yet".into()));
    };
    let (sender, frames) = queue();
    let number = hub.node_up(Hello { address: address.to_owned(), ..hello }, node, sender);
    // Nothing but heartbeats is said on it by the other side; its end is what matters.
    let run = connection.run(frames, &Timing::REGION, |_| {});
    let ended = accepted.run_until_cancelled(run).await.unwrap_or(Ok(()));
    hub.node_down(node, number);
    ended
}

async fn greet_region(
    hub: &Hub,
    name: &RegionName,
    endpoint: &str,
    tcp: TcpStream,
) -> Result<Greeted, ConnectionError> {
    let accepted = hub.accepted();
    let Some(key) = hub.group_keys().map(|keys| keys.dial) else {
        return Err(ConnectionError::Refused("this node has no group key".into()));
    };
    let mut connection = secure(&hub.tls().group, tcp, host_of(endpoint)).await?;
    let own = hub.inner().hello.lock().clone();
    let proof = key.proof(connection.stream().get_ref().1, Side::Dialler).ok_or(ConnectionError::Unexpected("TLS"))?;
    connection.write(&Frame::Hello(Hello { node: None, address: String::new(), ..own })).await?;
    connection.write(&Frame::Proof(proof)).await?;
    let Frame::Hello(hello) = connection.read().await? else {
        return Err(ConnectionError::Unexpected("a hello"));
    };
    let Frame::Proof(proof) = connection.read().await? else {
        return Err(ConnectionError::Unexpected("a proof of the group key"));
    };
    if !key.holds(connection.stream().get_ref().1, Side::Acceptor, &proof) {
        return Err(ConnectionError::Refused("it does not hold the group key".into()));
    }
    hub.inner().hello.lock().build.protocols.common(hello.build.protocols)?;
    if hello.region != *name {
        return Err(ConnectionError::Refused(format!("{endpoint} belongs to region {}", hello.region)));
    }
    Ok((connection, hello, accepted))
}

async fn run_region(hub: &Hub, name: &RegionName, (connection, _, accepted): Greeted) -> Result<(), ConnectionError> {
    let (sender, frames) = queue();
    hub.region_up(name.clone(), sender);
    let peer = || Peer::Region(name.clone());
    let run = connection.run(frames, &Timing::GROUP, |frame| match frame {
        Frame::Region(message) => (hub.inner().deliver)(Incoming::Region(peer(), message)),
        // A message of a later release is a sign of life, no more.
        Frame::Heartbeat | Frame::Unknown => (hub.inner().deliver)(Incoming::Heard(peer())),
        _ => {}
    });
    let ended = accepted.run_until_cancelled(run).await.unwrap_or(Ok(()));
    hub.region_down(name);
    ended
}

#[cfg(test)]
mod tests;

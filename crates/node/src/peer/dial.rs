//! Connections that this node opens, and opens again.

use std::time::Duration;

use meridian_model::RegionName;
use meridian_peer::{ConnectionError, Side, greet, open, queue};
use meridian_replica::Peer;
use meridian_wire::frame::{Frame, Hello};

use super::GREETING;
use super::hub::{Hub, Incoming};

/// Before a failed connection is tried again: doubled from the first to the last.
const FIRST_RETRY: Duration = Duration::from_millis(50);
const LAST_RETRY: Duration = Duration::from_secs(1);

pub(super) async fn keep_replica(hub: Hub, address: String) {
    keep(&hub, &address, || replica(&hub, &address)).await;
}

pub(super) async fn keep_region(hub: Hub, name: RegionName, endpoint: String) {
    keep(&hub, &endpoint, || region(&hub, &name, &endpoint)).await;
}

async fn keep<F, R>(hub: &Hub, address: &str, connect: F)
where
    F: Fn() -> R,
    R: Future<Output = Result<(), ConnectionError>>,
{
    let mut pause = FIRST_RETRY;
    loop {
        let begun = tokio::time::Instant::now();
        let ended = hub.inner().stop.run_until_cancelled(connect()).await;
        let Some(ended) = ended else { return };
        if let Err(fault) = ended {
            tracing::debug!(address, fault = %anyhow::Error::new(fault), "peer connection ended");
        }
        pause = if begun.elapsed() > LAST_RETRY { FIRST_RETRY } else { (pause * 2).min(LAST_RETRY) };
        if hub.inner().stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
            return;
        }
    }
}

async fn replica(hub: &Hub, address: &str) -> Result<(), ConnectionError> {
    let own = hub.inner().hello.lock().clone();
    if own.node.is_none() {
        // What is said on a connection is heard as of who greeted on it.
        return Err(ConnectionError::Refused("this node is not a replica yet".into()));
    }
    let mut connection = open(&hub.inner().tls.region, address).await?;
    let hello = tokio::time::timeout(GREETING, greet(&mut connection, own.clone()))
        .await
        .map_err(|_| ConnectionError::TimedOut)??;
    if hello.cluster != own.cluster || hello.region != own.region {
        return Err(ConnectionError::Refused(format!("it belongs to cluster {}", hello.cluster)));
    }
    let Some(node) = hello.node else {
        return Err(ConnectionError::Refused("it is not a replica yet".into()));
    };
    let (sender, frames) = queue();
    let number = hub.node_up(Hello { address: address.to_owned(), ..hello }, node, sender);
    // Nothing is said on it by the other side; its end is what matters.
    let ended = connection.run(frames, |_| {}).await;
    hub.node_down(node, number);
    ended
}

async fn region(hub: &Hub, name: &RegionName, endpoint: &str) -> Result<(), ConnectionError> {
    let Some(key) = &hub.inner().group_key else {
        return Err(ConnectionError::Refused("this node has no group key".into()));
    };
    let mut connection = open(&hub.inner().tls.group, endpoint).await?;
    let own = hub.inner().hello.lock().clone();
    let greeting = async {
        let proof =
            key.proof(connection.stream().get_ref().1, Side::Dialler).ok_or(ConnectionError::Unexpected("TLS"))?;
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
        Ok(hello)
    };
    let hello = tokio::time::timeout(GREETING, greeting).await.map_err(|_| ConnectionError::TimedOut)??;
    if hello.region != *name {
        return Err(ConnectionError::Refused(format!("{endpoint} belongs to region {}", hello.region)));
    }
    let (sender, frames) = queue();
    hub.region_up(name.clone(), sender);
    let ended = connection
        .run(frames, |frame| {
            if let Frame::Region(message) = frame {
                (hub.inner().deliver)(Incoming::Region(Peer::Region(name.clone()), message));
            }
        })
        .await;
    hub.region_down(name);
    ended
}

//! Calls to pods on the peer port: mutual TLS, one connection and one question each.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use meridian_model::{ClusterId, RegionName};
use meridian_peer::{ConnectionError, call_topology_at};
use meridian_plan::names::PEER_PORT;
use meridian_proto::frame::{Build, Hello};
use meridian_proto::topology::{TopologyAnswer, TopologyCall};
use tokio_rustls::TlsConnector;

use crate::certificates::PodTrust;

/// How long a pod may take: longer than a disk stalls now and then, shorter than a user waits for `status` to move.
const CALL_TIMEOUT: Duration = Duration::from_secs(3);

/// The way to the pods of one cluster.
#[derive(Clone)]
pub struct Peers {
    connectors: Vec<(PodTrust, TlsConnector)>,
    hello: Hello,
}

impl Peers {
    /// With what the operator shows to the pods of this cluster; none when there is nothing to show.
    pub fn new(connectors: Vec<(PodTrust, TlsConnector)>, cluster: ClusterId, region: RegionName) -> Option<Self> {
        let hello = Hello { cluster, region, node: None, address: String::new(), build: Build::current() };
        (!connectors.is_empty()).then_some(Self { connectors, hello })
    }

    /// Puts one question to the pod `host` at `address`.
    pub async fn call(
        &self,
        address: IpAddr,
        host: &str,
        call: TopologyCall,
    ) -> Result<TopologyAnswer, ConnectionError> {
        self.exchange((address, PEER_PORT).into(), host, call).await.map(|(answer, _)| answer)
    }

    /// As [`Peers::call`], and by which way the pod was reached.
    pub async fn call_with_trust(
        &self,
        address: IpAddr,
        host: &str,
        call: TopologyCall,
    ) -> Result<(TopologyAnswer, PodTrust), ConnectionError> {
        self.exchange((address, PEER_PORT).into(), host, call).await
    }

    /// While an authority is replaced pods refuse some of the ways: the first that is not refused counts. Calls are harmless
    /// when they are repeated.
    async fn exchange(
        &self,
        address: SocketAddr,
        host: &str,
        call: TopologyCall,
    ) -> Result<(TopologyAnswer, PodTrust), ConnectionError> {
        let mut refused = ConnectionError::Closed;
        for (trust, tls) in &self.connectors {
            match call_topology_at(tls, &self.hello, address, host, call.clone(), CALL_TIMEOUT).await {
                Ok(answer) => return Ok((answer, *trust)),
                // TLS refuses at once; who is silent is so on every way.
                Err(error @ ConnectionError::TimedOut) => return Err(error),
                Err(error) => refused = error,
            }
        }
        Err(refused)
    }
}

#[cfg(test)]
mod tests;

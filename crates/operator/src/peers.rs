//! Calls to pods on the peer port: mutual TLS, one connection and one question each.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use meridian_model::{ClusterId, RegionName};
use meridian_peer::{ConnectionError, call_topology_at};
use meridian_plan::names::PEER_PORT;
use meridian_wire::frame::Hello;
use meridian_wire::topology::{TopologyAnswer, TopologyCall};
use tokio_rustls::TlsConnector;

/// How long a pod may take: longer than a disk stalls now and then, shorter than a user waits for `status` to move.
const PATIENCE: Duration = Duration::from_secs(3);

/// The way to the pods of one cluster.
#[derive(Clone)]
pub struct Peers {
    tls: TlsConnector,
    hello: Hello,
}

impl Peers {
    /// With what the operator shows to the pods of this cluster.
    pub fn new(tls: TlsConnector, cluster: ClusterId, region: RegionName) -> Self {
        Self { tls, hello: Hello { cluster, region, node: None, address: String::new() } }
    }

    /// Puts one question to the pod `host` at `address`.
    pub async fn call(
        &self,
        address: IpAddr,
        host: &str,
        call: TopologyCall,
    ) -> Result<TopologyAnswer, ConnectionError> {
        self.exchange((address, PEER_PORT).into(), host, call).await
    }

    async fn exchange(
        &self,
        address: SocketAddr,
        host: &str,
        call: TopologyCall,
    ) -> Result<TopologyAnswer, ConnectionError> {
        call_topology_at(&self.tls, &self.hello, address, host, call, PATIENCE).await
    }
}

#[cfg(test)]
mod tests;

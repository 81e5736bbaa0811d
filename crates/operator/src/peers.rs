//! Calls to pods on the peer port: mutual TLS, one connection for each call.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use meridian_model::{ClusterId, RegionName};
use meridian_peer::{ConnectionError, call_topology_at};
use meridian_plan::names::PEER_PORT;
use meridian_proto::frame::{Build, Hello};
use meridian_proto::topology::{TopologyAnswer, TopologyCall};
use tokio_rustls::TlsConnector;

use crate::certificates::PodTrust;

/// Time limit of a call: longer than an occasional stall of a disk, shorter than the time in which a user expects
/// `status` to change.
const CALL_TIMEOUT: Duration = Duration::from_secs(3);

/// The connection to the pods of one cluster.
#[derive(Clone)]
pub struct Peers {
    connectors: Vec<(PodTrust, TlsConnector)>,
    hello: Hello,
}

impl Peers {
    /// `None` if there is no certificate to present.
    pub fn new(connectors: Vec<(PodTrust, TlsConnector)>, cluster: ClusterId, region: RegionName) -> Option<Self> {
        let hello = Hello { cluster, region, node: None, address: String::new(), build: Build::current() };
        (!connectors.is_empty()).then_some(Self { connectors, hello })
    }

    /// Makes one call to the pod `host` at `address`.
    pub async fn call(
        &self,
        address: IpAddr,
        host: &str,
        call: TopologyCall,
    ) -> Result<TopologyAnswer, ConnectionError> {
        self.exchange((address, PEER_PORT).into(), host, call).await.map(|(answer, _)| answer)
    }

    /// Like [`Peers::call`]; also returns the authorities that the pod uses.
    pub async fn call_with_trust(
        &self,
        address: IpAddr,
        host: &str,
        call: TopologyCall,
    ) -> Result<(TopologyAnswer, PodTrust), ConnectionError> {
        self.exchange((address, PEER_PORT).into(), host, call).await
    }

    /// While an authority is replaced, pods refuse some of the connectors: the first that is accepted counts. Calls are
    /// idempotent.
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
                // TLS refuses immediately; a timeout does not depend on the connector.
                Err(error @ ConnectionError::TimedOut) => return Err(error),
                Err(error) => refused = error,
            }
        }
        Err(refused)
    }
}

#[cfg(test)]
mod tests;

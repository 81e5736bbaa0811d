//! Calls to pods on the peer port: mutual TLS, one connection and one question each.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures::{SinkExt, StreamExt};
use meridian_model::{ClusterId, RegionName};
use meridian_plan::names::PEER_PORT;
use meridian_wire::frame::{FRAME_BYTES, Frame, FrameError, Hello};
use meridian_wire::topology::{TopologyAnswer, TopologyCall};
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_util::bytes::Bytes;
use tokio_util::codec::{Framed, LengthDelimitedCodec};

/// How long a pod may take: longer than a disk stalls now and then, shorter than a user waits for `status` to move.
const CALL_TIMEOUT: Duration = Duration::from_secs(3);
/// The number of the only call on a connection.
const CALL: u64 = 1;

/// Why a pod did not answer.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    #[error("connect")]
    Connect(#[source] io::Error),
    #[error("the name of a pod is no server name")]
    Name(#[from] rustls_pki_types::InvalidDnsNameError),
    #[error("exchange frames")]
    Exchange(#[from] io::Error),
    #[error("read a frame")]
    Frame(#[from] FrameError),
    #[error("the pod belongs to cluster {0}")]
    Stranger(ClusterId),
    #[error("the connection ended before the answer")]
    Ended,
    #[error("no answer within {CALL_TIMEOUT:?}")]
    Timeout,
}

/// The way to the pods of one cluster.
#[derive(Clone)]
pub struct Peers {
    pub tls: Arc<rustls::ClientConfig>,
    pub cluster: ClusterId,
    pub region: RegionName,
}

impl Peers {
    /// Puts one question to the pod `host` at `address`.
    pub async fn call(&self, address: IpAddr, host: &str, call: TopologyCall) -> Result<TopologyAnswer, CallError> {
        tokio::time::timeout(CALL_TIMEOUT, self.exchange((address, PEER_PORT).into(), host, call))
            .await
            .map_err(|_| CallError::Timeout)?
    }

    async fn exchange(&self, address: SocketAddr, host: &str, call: TopologyCall) -> Result<TopologyAnswer, CallError> {
        let name = ServerName::try_from(host.to_owned())?;
        let stream = TcpStream::connect(address).await.map_err(CallError::Connect)?;
        stream.set_nodelay(true)?;
        let stream = TlsConnector::from(self.tls.clone()).connect(name, stream).await?;
        let codec = LengthDelimitedCodec::builder().max_frame_length(FRAME_BYTES).new_codec();
        let mut framed = Framed::new(stream, codec);
        let hello = Hello { cluster: self.cluster, region: self.region.clone(), node: None, address: String::new() };
        framed.send(Bytes::from(Frame::Hello(hello).encode())).await?;
        framed.send(Bytes::from(Frame::Topology(CALL, call).encode())).await?;
        while let Some(bytes) = framed.next().await {
            match Frame::decode(&bytes?)? {
                Frame::Hello(hello) if hello.cluster != self.cluster => return Err(CallError::Stranger(hello.cluster)),
                Frame::TopologyAnswer(CALL, answer) => return Ok(answer),
                _ => {}
            }
        }
        Err(CallError::Ended)
    }
}

#[cfg(test)]
mod tests;

//! Connections to the peer port, and the operator's call over one.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use meridian_proto::frame::{Frame, Hello};
use meridian_proto::topology::{TopologyAnswer, TopologyCall};
use rustls::pki_types::ServerName;
use tokio::net::{TcpStream, ToSocketAddrs};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::timing::watch;
use crate::{Connection, ConnectionError, PeerTls, Timing};

/// Time limit from the first byte to the end of the TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(5);

/// Opens a connection to `address` (`host:port`); the certificate must name the host.
///
/// # Errors
/// The address cannot be reached in time, or TLS refuses the other side.
pub async fn open(
    connector: &TlsConnector,
    address: &str,
) -> Result<Connection<TlsStream<TcpStream>>, ConnectionError> {
    open_at(connector, address, host_of(address)).await
}

/// The host of `host:port`, as a certificate names it.
#[must_use]
pub fn host_of(address: &str) -> &str {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    host.trim_matches(['[', ']'])
}

/// Opens a connection to `address`; the certificate must name `host`.
///
/// # Errors
/// The address cannot be reached in time, or TLS refuses the other side.
pub async fn open_at(
    connector: &TlsConnector,
    address: impl ToSocketAddrs,
    host: &str,
) -> Result<Connection<TlsStream<TcpStream>>, ConnectionError> {
    let connect = async {
        let tcp = TcpStream::connect(address).await?;
        watch(&tcp, &Timing::CALL)?;
        secure(connector, tcp, host).await
    };
    tokio::time::timeout(HANDSHAKE, connect).await.map_err(|_| ConnectionError::TimedOut)?
}

/// Connects to one address, within [`Timing::connect`].
///
/// # Errors
/// The address cannot be reached in time, or a socket option is refused.
pub async fn connect(address: SocketAddr, timing: &Timing) -> Result<TcpStream, ConnectionError> {
    let connecting = TcpStream::connect(address);
    let tcp = tokio::time::timeout(timing.connect, connecting).await.map_err(|_| ConnectionError::TimedOut)??;
    watch(&tcp, timing)?;
    Ok(tcp)
}

/// TLS over a TCP connection; the certificate must name `host`. The caller sets the deadline.
///
/// # Errors
/// TLS refuses the other side.
pub async fn secure(
    connector: &TlsConnector,
    tcp: TcpStream,
    host: &str,
) -> Result<Connection<TlsStream<TcpStream>>, ConnectionError> {
    let name = ServerName::try_from(host.to_owned())
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, format!("{host} is not a host name")))?;
    Ok(Connection::new(connector.connect(name, tcp).await?))
}

/// Exchanges `Hello` frames: returns that of the other side, with its protocol versions.
///
/// # Errors
/// The connection ends, the other side sends another frame, or the builds have no protocol version in common.
pub async fn greet(connection: &mut Connection<TlsStream<TcpStream>>, own: Hello) -> Result<Hello, ConnectionError> {
    let protocols = own.build.protocols;
    connection.write(&Frame::Hello(own)).await?;
    let Frame::Hello(hello) = connection.read().await? else {
        return Err(ConnectionError::Unexpected("a hello"));
    };
    // Both sides use the greatest common version. So far there is only one, so nothing depends on it.
    protocols.common(hello.build.protocols)?;
    Ok(hello)
}

/// One topology call to the pod at `address`, as the operator makes it.
///
/// # Errors
/// The pod cannot be reached, belongs to another cluster, has no common protocol version, or does not answer in time.
pub async fn call_topology(
    tls: &PeerTls,
    own: &Hello,
    address: &str,
    call: TopologyCall,
    patience: Duration,
) -> Result<TopologyAnswer, ConnectionError> {
    exchange(open(&tls.region, address), own, call, patience).await
}

/// Like [`call_topology`], for a pod with a known address whose certificate must name `host`: an operator may be unable
/// to resolve the names of pods, or would have to wait until they are published.
///
/// # Errors
/// The pod cannot be reached, belongs to another cluster, has no common protocol version, or does not answer in time.
pub async fn call_topology_at(
    connector: &TlsConnector,
    own: &Hello,
    address: SocketAddr,
    host: &str,
    call: TopologyCall,
    patience: Duration,
) -> Result<TopologyAnswer, ConnectionError> {
    exchange(open_at(connector, address, host), own, call, patience).await
}

async fn exchange(
    open: impl Future<Output = Result<Connection<TlsStream<TcpStream>>, ConnectionError>>,
    own: &Hello,
    call: TopologyCall,
    patience: Duration,
) -> Result<TopologyAnswer, ConnectionError> {
    let exchange = async {
        let mut connection = open.await?;
        let hello = greet(&mut connection, own.clone()).await?;
        if hello.cluster != own.cluster {
            return Err(ConnectionError::Refused(format!("the pod belongs to cluster {}", hello.cluster)));
        }
        connection.write(&Frame::Topology(1, call)).await?;
        loop {
            if let Frame::TopologyAnswer(1, answer) = connection.read().await? {
                return Ok(answer);
            }
        }
    };
    tokio::time::timeout(patience, exchange).await.map_err(|_| ConnectionError::TimedOut)?
}

//! The peer port by real sockets on loopback.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use meridian_model::{ClusterId, RegionName};
use meridian_peer::{Connection, ConnectionError, PeerTls, call_topology, open};
use meridian_proto::frame::{Build, Frame, Hello};
use meridian_proto::topology::{PodStatus, TopologyAnswer, TopologyCall};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls_pki_types::PrivateKeyDer;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_rustls::client::TlsStream;
use tokio_util::sync::CancellationToken;

use super::{Hub, serve};

pub(super) fn hello() -> Hello {
    let (region, build) = (RegionName::new("us-east").unwrap(), Build::current());
    Hello { cluster: ClusterId(7), region, node: None, address: String::new(), build }
}

/// TLS of two parties whom one authority vouches for.
fn two_of_one_authority() -> [PeerTls; 2] {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = params.self_signed(&key).unwrap().der().clone();
    let issuer = Issuer::new(params, key);
    [(), ()].map(|()| {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &issuer).unwrap().der().clone();
        let private = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        PeerTls::new(vec![authority.clone()], vec![certificate], private).unwrap()
    })
}

/// A connection to a party that accepts TLS and says nothing.
pub(super) async fn pair() -> Connection<TlsStream<TcpStream>> {
    let [server, client] = two_of_one_authority();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let held = server.acceptor.accept(stream).await;
        std::future::pending::<()>().await;
        drop(held);
    });
    open(&client.region, &address).await.unwrap()
}

/// A pod that answers every call with `Blank`; where it is, and what opens it.
async fn pod() -> (String, PeerTls, CancellationToken) {
    let [pod, operator] = two_of_one_authority();
    let stop = CancellationToken::new();
    let hub = Hub::new(pod, None, hello(), stop.clone(), |_| {});
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let answer = Arc::new(|_: TopologyCall| async { TopologyAnswer::status(PodStatus::Blank) }.boxed());
    tokio::spawn(serve(hub, listener, answer));
    (address, operator, stop)
}

async fn call(address: &str, operator: &PeerTls) -> Result<TopologyAnswer, ConnectionError> {
    // As long as a loaded machine may take; a starved port answered after the greeting's deadline of each of its strangers.
    call_topology(operator, &hello(), address, TopologyCall::Status, Duration::from_secs(20)).await
}

/// Connections that say nothing, from this address.
async fn half_open(to: &str, from: [u8; 4], count: usize) -> Vec<TcpStream> {
    let mut held = Vec::new();
    for _ in 0..count {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((from, 0).into()).unwrap();
        held.push(socket.connect(to.parse().unwrap()).await.unwrap());
    }
    held
}

#[tokio::test]
async fn strangers_that_prove_nothing_do_not_starve_the_operator() {
    let (address, operator, stop) = pod().await;
    let mut held = Vec::new();
    for last in 1..=20 {
        // Twice as many as the port took in all before, from addresses of their own and from the operator's.
        held.extend(half_open(&address, [127, 0, 0, last], 20).await);
    }
    for _ in 0..3 {
        held.extend(half_open(&address, [127, 0, 0, 1], 40).await);
        assert_eq!(call(&address, &operator).await.unwrap(), TopologyAnswer::status(PodStatus::Blank));
    }
    stop.cancel();
}

#[tokio::test]
async fn an_unproven_connection_makes_room_for_later_ones() {
    let (address, _, stop) = pod().await;
    let first = half_open(&address, [127, 0, 0, 9], 1).await.remove(0);
    let others = half_open(&address, [127, 0, 0, 9], 200).await;
    // The port closes it, long before its greeting is due.
    let mut byte = [0];
    first.readable().await.unwrap();
    assert!(matches!(first.try_read(&mut byte), Ok(0) | Err(_)));
    drop(others);
    stop.cancel();
}

/// A connection that greeted, and what its next frame is.
async fn greeted(address: &str, tls: &PeerTls) -> Connection<TlsStream<TcpStream>> {
    let mut connection = open(&tls.region, address).await.unwrap();
    connection.write(&Frame::Hello(hello())).await.unwrap();
    assert!(matches!(connection.read().await, Ok(Frame::Hello(_))));
    connection
}

#[tokio::test]
async fn what_is_accepted_no_longer_ends_its_connections_and_opens_no_other() {
    let [pod, old] = two_of_one_authority();
    let [renewed, new] = two_of_one_authority();
    let stop = CancellationToken::new();
    let hub = Hub::new(pod, None, hello(), stop.clone(), |_| {});
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let answer = Arc::new(|_: TopologyCall| async { TopologyAnswer::status(PodStatus::Blank) }.boxed());
    tokio::spawn(serve(hub.clone(), listener, answer));
    let mut connection = greeted(&address, &old).await;
    // Other certificates alone end nothing: the connection answers still.
    hub.replace_credentials(Some(renewed.clone()), None, false);
    connection.write(&Frame::Topology(1, TopologyCall::Status)).await.unwrap();
    let is_answer = |frame: &Frame| matches!(frame, Frame::TopologyAnswer(1, _));
    while !is_answer(&connection.read().await.unwrap()) {}
    hub.replace_credentials(Some(renewed), None, true);
    while connection.read().await.is_ok() {}
    assert!(call(&address, &old).await.is_err(), "the former authority is not trusted any more");
    assert_eq!(call(&address, &new).await.unwrap(), TopologyAnswer::status(PodStatus::Blank));
    stop.cancel();
}

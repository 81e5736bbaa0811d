//! A pod of our own on loopback: certificates, frames and answers as a real one would have them.

use std::net::Ipv4Addr;
use std::sync::Arc;

use meridian_crd::VectorCluster;
use meridian_model::ShardNumber;
use meridian_peer::Connection;
use meridian_plan::{Settings, ValidCluster};
use meridian_wire::frame::Frame;
use meridian_wire::topology::PodStatus;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::{certificates, observe};

fn cluster(id: u128) -> ValidCluster {
    let mut resource: VectorCluster = serde_json::from_value(serde_json::json!({
        "apiVersion": "meridiandb.io/v1alpha1", "kind": "VectorCluster",
        "metadata": {"name": "c", "namespace": "n"},
        "spec": {"region": "r", "storage": {"size": "1Gi"}},
    }))
    .unwrap();
    resource.metadata.generation = Some(1);
    ValidCluster::parse(&resource, &[], ClusterId(id), &Settings::default()).unwrap()
}

/// A pod that says it belongs to `cluster` and answers one call with `Blank`.
async fn pod(listener: TcpListener, made: meridian_plan::render::Certificates, cluster: ClusterId) {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(made.ca.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let clients = rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_client_cert_verifier(clients.build().unwrap())
        .with_single_cert(
            vec![CertificateDer::from_pem_slice(made.cert.as_bytes()).unwrap()],
            PrivateKeyDer::from_pem_slice(made.key.as_bytes()).unwrap(),
        )
        .unwrap();
    let (stream, _) = listener.accept().await.unwrap();
    let Ok(stream) = TlsAcceptor::from(Arc::new(config)).accept(stream).await else { return };
    let mut connection = Connection::new(stream);
    let Ok(hello) = connection.read().await else { return };
    assert!(matches!(hello, Frame::Hello(Hello { node: None, .. })));
    let hello = Hello { cluster, region: RegionName::new("r").unwrap(), node: None, address: String::new() };
    connection.write(&Frame::Hello(hello)).await.unwrap();
    // The caller may hang up at our name.
    let Ok(Frame::Topology(number, TopologyCall::Status)) = connection.read().await else { return };
    let answer = Frame::TopologyAnswer(number, TopologyAnswer::Status(PodStatus::Blank));
    connection.write(&answer).await.unwrap();
}

/// Calls a pod of cluster `of` whose authority is `signed` by the caller's own or by another one.
async fn call(of: u128, own_authority: bool) -> Result<TopologyAnswer, ConnectionError> {
    let cluster = cluster(7);
    let made = certificates::make(&cluster).unwrap();
    let shown = if own_authority { made.clone() } else { certificates::make(&cluster).unwrap() };
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let tls = certificates::client(&cluster, &certificates::Authority { cert: made.ca, key: made.ca_key }).unwrap();
    let peers = Peers::new(tls, cluster.id, cluster.region.clone());
    let served = tokio::spawn(pod(listener, shown, ClusterId(of)));
    let host = observe::host(&cluster, ShardNumber::FIRST, 2);
    let answer = peers.exchange((Ipv4Addr::LOCALHOST, port).into(), &host, TopologyCall::Status).await;
    served.abort();
    answer
}

#[tokio::test]
async fn a_pod_of_the_cluster_answers() {
    let answer = call(7, true).await.unwrap();
    assert_eq!(answer, TopologyAnswer::Status(PodStatus::Blank));
}

#[tokio::test]
async fn a_pod_of_another_cluster_is_not_believed() {
    assert!(matches!(call(8, true).await, Err(ConnectionError::Refused(_))));
}

#[tokio::test]
async fn a_certificate_of_another_authority_is_refused() {
    assert!(matches!(call(7, false).await, Err(ConnectionError::Io(_))));
}

//! A pod of our own on loopback: certificates, frames and answers as a real one would have them.

use std::net::Ipv4Addr;
use std::sync::Arc;

use meridian_crd::VectorCluster;
use meridian_model::ShardNumber;
use meridian_peer::Connection;
use meridian_plan::certificates::CertificateStep;
use meridian_plan::{Settings, ValidCluster};
use meridian_proto::frame::{Build, Frame};
use meridian_proto::topology::PodStatus;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::certificates::{Authority, Given, Standing};
use crate::observe;

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
async fn pod(listener: TcpListener, made: Given, cluster: ClusterId) {
    let mut roots = rustls::RootCertStore::empty();
    for root in CertificateDer::pem_slice_iter(made.ca.as_bytes()) {
        roots.add(root.unwrap()).unwrap();
    }
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
    let acceptor = TlsAcceptor::from(Arc::new(config));
    // Callers that are refused come again on another way.
    while let Ok((stream, _)) = listener.accept().await {
        let Ok(stream) = acceptor.accept(stream).await else { continue };
        let mut connection = Connection::new(stream);
        let Ok(hello) = connection.read().await else { continue };
        assert!(matches!(hello, Frame::Hello(Hello { node: None, .. })));
        let (region, build) = (RegionName::new("r").unwrap(), Build::current());
        let hello = Hello { cluster, region, node: None, address: String::new(), build };
        connection.write(&Frame::Hello(hello)).await.unwrap();
        // The caller may hang up at our name.
        let Ok(Frame::Topology(number, TopologyCall::Status)) = connection.read().await else { continue };
        let answer = Frame::TopologyAnswer(number, TopologyAnswer::status(PodStatus::Blank));
        connection.write(&answer).await.unwrap();
    }
}

/// An authority, and what pods are given under it.
fn authority(cluster: &ValidCluster) -> (Authority, Given) {
    let authority = Authority::found(cluster).unwrap();
    let (cert, key) = authority.sign(cluster).unwrap();
    let given = Given { ca: authority.cert.clone(), cert, key };
    (authority, given)
}

/// Calls a pod of cluster `of` that was given `pod`, as an operator to whom `standing` stands.
async fn call(of: u128, standing: Standing, given: Given) -> Result<(TopologyAnswer, Way), ConnectionError> {
    let cluster = cluster(7);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let peers = Peers::new(standing.ways(&cluster).unwrap(), cluster.id, cluster.region.clone()).unwrap();
    let served = tokio::spawn(pod(listener, given, ClusterId(of)));
    let host = observe::host(&cluster, ShardNumber::FIRST, 2);
    let answer = peers.exchange((Ipv4Addr::LOCALHOST, port).into(), &host, TopologyCall::Status).await;
    served.abort();
    answer
}

fn settled() -> (Standing, Given) {
    let (authority, given) = authority(&cluster(7));
    (Standing { authority: Some(authority), given: Some(given.clone()) }, given)
}

#[tokio::test]
async fn a_pod_of_the_cluster_answers() {
    let (standing, given) = settled();
    let (answer, way) = call(7, standing, given).await.unwrap();
    assert_eq!((answer, way), (TopologyAnswer::status(PodStatus::Blank), Way::Shown));
}

#[tokio::test]
async fn a_pod_of_another_cluster_is_not_believed() {
    let (standing, given) = settled();
    assert!(matches!(call(8, standing, given).await, Err(ConnectionError::Refused(_))));
}

#[tokio::test]
async fn a_certificate_of_another_authority_is_refused() {
    let (standing, _) = settled();
    assert!(matches!(call(7, standing, settled().1).await, Err(ConnectionError::Io(_))));
}

/// A lost authority, step by step, as pods follow it: they answer at every step, and each step sees how far they are.
#[tokio::test]
async fn pods_answer_while_a_lost_authority_is_replaced() {
    let now = k8s_openapi::jiff::Timestamp::now().as_second();
    let (_, old) = settled();
    let lost = Standing { authority: None, given: Some(old.clone()) };
    assert_eq!(lost.seen().next(now), CertificateStep::Found);
    assert_eq!(call(7, lost.clone(), old.clone()).await.unwrap().1, Way::Former);
    // The new one is there; pods know nothing of it.
    let (authority, fresh) = authority(&cluster(7));
    let found = Standing { authority: Some(authority.clone()), given: Some(old.clone()) };
    assert_eq!(found.seen().next(now), CertificateStep::Trust);
    assert_eq!(call(7, found, old.clone()).await.unwrap().1, Way::Former);
    // Pods are told to trust both; some have read it.
    let both = Given { ca: format!("{}\n{}", old.ca, authority.cert), ..old.clone() };
    let told = Standing { authority: Some(authority.clone()), given: Some(both.clone()) };
    assert_eq!(told.seen().next(now), CertificateStep::Keep);
    assert_eq!(call(7, told.clone(), old).await.unwrap().1, Way::Former);
    assert_eq!(call(7, told, both.clone()).await.unwrap().1, Way::Trusted);
    // The new certificate is signed; some pods show it.
    let signed = Given { cert: fresh.cert.clone(), key: fresh.key.clone(), ..both.clone() };
    let standing = Standing { authority: Some(authority.clone()), given: Some(signed.clone()) };
    assert_eq!(standing.seen().next(now), CertificateStep::Keep);
    assert_eq!(call(7, standing.clone(), both).await.unwrap().1, Way::Trusted);
    assert_eq!(call(7, standing.clone(), signed).await.unwrap().1, Way::Shown);
    let mut seen = standing.seen();
    (seen.all_trust, seen.all_show) = (true, true);
    assert_eq!(seen.next(now), CertificateStep::Forget);
    let done = Standing { authority: Some(authority), given: Some(fresh.clone()) };
    assert_eq!(done.seen().next(now), CertificateStep::Keep);
    assert_eq!(call(7, done, fresh).await.unwrap().1, Way::Shown);
}

#[test]
fn certificates_begin_two_days_back_and_end_after_ninety() {
    let now = k8s_openapi::jiff::Timestamp::now().as_second();
    let leaf = settled().0.seen().leaf.unwrap();
    assert!((leaf.not_before - (now - 2 * 86_400)).abs() < 600, "{leaf:?}");
    assert!((leaf.not_after - (now + 90 * 86_400)).abs() < 600, "{leaf:?}");
    assert!(leaf.by_authority && leaf.trusts_authority && !leaf.trusts_others);
}

//! A pod on loopback with the certificates, frames and answers of a real one.

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
use crate::certificates::{Authority, CertificateSecrets, PodCertificates};
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

/// A pod of `cluster` that answers one call with `Blank`.
async fn pod(listener: TcpListener, made: PodCertificates, cluster: ClusterId) {
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
    // Refused callers retry with another connector.
    while let Ok((stream, _)) = listener.accept().await {
        let Ok(stream) = acceptor.accept(stream).await else { continue };
        let mut connection = Connection::new(stream);
        let Ok(hello) = connection.read().await else { continue };
        assert!(matches!(hello, Frame::Hello(Hello { node: None, .. })));
        let (region, build) = (RegionName::new("r").unwrap(), Build::current());
        let hello = Hello { cluster, region, node: None, address: String::new(), build };
        connection.write(&Frame::Hello(hello)).await.unwrap();
        // The caller may close the connection after our hello.
        let Ok(Frame::Topology(number, TopologyCall::Status)) = connection.read().await else { continue };
        let answer = Frame::TopologyAnswer(number, TopologyAnswer::status(PodStatus::Blank));
        connection.write(&answer).await.unwrap();
    }
}

/// An authority, and the files that pods mount under it.
fn authority(cluster: &ValidCluster) -> (Authority, PodCertificates) {
    let authority = Authority::create(cluster).unwrap();
    let (cert, key) = authority.sign(cluster).unwrap();
    let pod_certificates = PodCertificates { ca: authority.cert.clone(), cert, key };
    (authority, pod_certificates)
}

/// Calls a pod of cluster `of` that mounts `pod_certificates`, as an operator with `secrets`.
async fn call(
    of: u128,
    secrets: CertificateSecrets,
    pod_certificates: PodCertificates,
) -> Result<(TopologyAnswer, PodTrust), ConnectionError> {
    let cluster = cluster(7);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let peers = Peers::new(secrets.connectors(&cluster).unwrap(), cluster.id, cluster.region.clone()).unwrap();
    let served = tokio::spawn(pod(listener, pod_certificates, ClusterId(of)));
    let host = observe::host(&cluster, ShardNumber::FIRST, 2);
    let answer = peers.exchange((Ipv4Addr::LOCALHOST, port).into(), &host, TopologyCall::Status).await;
    served.abort();
    answer
}

fn settled() -> (CertificateSecrets, PodCertificates) {
    let (authority, pod_certificates) = authority(&cluster(7));
    (
        CertificateSecrets { authority: Some(authority), pod_certificates: Some(pod_certificates.clone()) },
        pod_certificates,
    )
}

#[tokio::test]
async fn a_pod_of_the_cluster_answers() {
    let (secrets, pod_certificates) = settled();
    let (answer, trust) = call(7, secrets, pod_certificates).await.unwrap();
    assert_eq!((answer, trust), (TopologyAnswer::status(PodStatus::Blank), PodTrust::ShowsAuthority));
}

#[tokio::test]
async fn a_pod_of_another_cluster_is_not_believed() {
    let (secrets, pod_certificates) = settled();
    assert!(matches!(call(8, secrets, pod_certificates).await, Err(ConnectionError::Refused(_))));
}

#[tokio::test]
async fn a_certificate_of_another_authority_is_refused() {
    let (secrets, _) = settled();
    assert!(matches!(call(7, secrets, settled().1).await, Err(ConnectionError::Io(_))));
}

/// Replaces a lost authority step by step: pods answer at every step, and each step observes their progress.
#[tokio::test]
async fn pods_answer_while_a_lost_authority_is_replaced() {
    let now = k8s_openapi::jiff::Timestamp::now().as_second();
    let (_, old) = settled();
    let lost = CertificateSecrets { authority: None, pod_certificates: Some(old.clone()) };
    assert_eq!(lost.seen().next(now), CertificateStep::CreateAuthority);
    assert_eq!(call(7, lost.clone(), old.clone()).await.unwrap().1, PodTrust::TrustsFormer);
    // The new authority exists; pods do not know it yet.
    let (authority, fresh) = authority(&cluster(7));
    let created = CertificateSecrets { authority: Some(authority.clone()), pod_certificates: Some(old.clone()) };
    assert_eq!(created.seen().next(now), CertificateStep::TrustBoth);
    assert_eq!(call(7, created, old.clone()).await.unwrap().1, PodTrust::TrustsFormer);
    // The bundle has both authorities; some pods have read it.
    let both = PodCertificates { ca: format!("{}\n{}", old.ca, authority.cert), ..old.clone() };
    let trusting = CertificateSecrets { authority: Some(authority.clone()), pod_certificates: Some(both.clone()) };
    assert_eq!(trusting.seen().next(now), CertificateStep::Keep);
    assert_eq!(call(7, trusting.clone(), old).await.unwrap().1, PodTrust::TrustsFormer);
    assert_eq!(call(7, trusting, both.clone()).await.unwrap().1, PodTrust::TrustsAuthority);
    // The new certificate is signed; some pods present it.
    let signed = PodCertificates { cert: fresh.cert.clone(), key: fresh.key.clone(), ..both.clone() };
    let secrets = CertificateSecrets { authority: Some(authority.clone()), pod_certificates: Some(signed.clone()) };
    assert_eq!(secrets.seen().next(now), CertificateStep::Keep);
    assert_eq!(call(7, secrets.clone(), both).await.unwrap().1, PodTrust::TrustsAuthority);
    assert_eq!(call(7, secrets.clone(), signed).await.unwrap().1, PodTrust::ShowsAuthority);
    let mut seen = secrets.seen();
    (seen.all_trust, seen.all_show) = (true, true);
    assert_eq!(seen.next(now), CertificateStep::TrustNewOnly);
    let done = CertificateSecrets { authority: Some(authority), pod_certificates: Some(fresh.clone()) };
    assert_eq!(done.seen().next(now), CertificateStep::Keep);
    assert_eq!(call(7, done, fresh).await.unwrap().1, PodTrust::ShowsAuthority);
}

#[test]
fn certificates_begin_two_days_back_and_end_after_ninety() {
    let now = k8s_openapi::jiff::Timestamp::now().as_second();
    let leaf = settled().0.seen().leaf.unwrap();
    assert!((leaf.not_before - (now - 2 * 86_400)).abs() < 600, "{leaf:?}");
    assert!((leaf.not_after - (now + 90 * 86_400)).abs() < 600, "{leaf:?}");
    assert!(leaf.by_authority && leaf.trusts_authority && !leaf.trusts_others);
}

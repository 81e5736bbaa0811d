use std::time::Duration;

use meridian_model::{ClusterId, RegionName};
use meridian_wire::frame::{Frame, Hello};
use meridian_wire::topology::{PodStatus, TopologyAnswer, TopologyCall};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpListener;

use crate::{Connection, ConnectionError, GroupKey, PeerTls, Side, call_topology, open};

/// A certificate authority, and the TLS of somebody it vouches for.
struct Authority(Issuer<'static, KeyPair>, CertificateDer<'static>);

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap().der().clone();
        Self(Issuer::new(params, key), certificate)
    }

    fn tls(&self, name: &str) -> PeerTls {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap().der().clone();
        let private = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        PeerTls::new(vec![self.1.clone()], vec![certificate], private).unwrap()
    }
}

fn hello() -> Hello {
    Hello { cluster: ClusterId(7), region: RegionName::new("us-east").unwrap(), node: None, address: String::new() }
}

/// A pod that answers one status call of whoever shows a certificate.
async fn answer_once(tls: PeerTls) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut connection = Connection::new(tls.acceptor.accept(stream).await?);
        assert!(matches!(connection.read().await?, Frame::Hello(_)));
        assert!(connection.stream().get_ref().1.peer_certificates().is_some());
        connection.write(&Frame::Hello(hello())).await?;
        let Frame::Topology(number, TopologyCall::Status) = connection.read().await? else { panic!("a status call") };
        connection.write(&Frame::TopologyAnswer(number, TopologyAnswer::Status(PodStatus::Blank))).await
    });
    address
}

async fn ask_status(authority: &Authority, address: &str) -> Result<TopologyAnswer, ConnectionError> {
    let patience = Duration::from_secs(10);
    call_topology(&authority.tls("operator"), &hello(), address, TopologyCall::Status, patience).await
}

#[tokio::test]
async fn a_call_is_answered_by_a_pod_of_the_same_authority() {
    let authority = Authority::new();
    let address = answer_once(authority.tls("127.0.0.1")).await;
    let answer = ask_status(&authority, &address).await.unwrap();
    assert_eq!(answer, TopologyAnswer::Status(PodStatus::Blank));
}

#[tokio::test]
async fn a_pod_of_another_authority_or_name_is_not_spoken_to() {
    let authority = Authority::new();
    for tls in [Authority::new().tls("127.0.0.1"), authority.tls("10.0.0.1")] {
        let address = answer_once(tls).await;
        assert!(ask_status(&authority, &address).await.is_err());
    }
}

#[tokio::test]
async fn a_proof_of_the_group_key_holds_on_its_own_connection_only() {
    let folder = std::env::temp_dir().join(format!("meridian-group-key-{}", std::process::id()));
    std::fs::write(&folder, "0123456789abcdef0123456789abcdef\n").unwrap();
    let key = GroupKey::from_file(&folder).unwrap();
    std::fs::write(&folder, "short").unwrap();
    assert!(GroupKey::from_file(&folder).is_err());
    std::fs::remove_file(&folder).unwrap();

    let server = Authority::new().tls("127.0.0.1");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let accepted = tokio::spawn(async move {
        let mut connections = Vec::new();
        for _ in 0..2 {
            let (stream, _) = listener.accept().await.unwrap();
            connections.push(server.acceptor.accept(stream).await.unwrap());
        }
        connections
    });
    let client = Authority::new().tls("127.0.0.1");
    let first = open(&client.group, &address).await.unwrap();
    let second = open(&client.group, &address).await.unwrap();
    let accepted = accepted.await.unwrap();
    let proof = key.proof(first.stream().get_ref().1, Side::Dialler).unwrap();
    let holds = |nth: usize, side| key.holds(accepted[nth].get_ref().1, side, &proof);
    assert!(holds(0, Side::Dialler));
    assert!(!holds(0, Side::Acceptor), "a proof cannot be sent back");
    assert!(!holds(1, Side::Dialler), "a proof cannot be carried to another connection");
    drop(second);
}

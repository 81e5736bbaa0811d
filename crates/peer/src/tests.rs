use std::time::Duration;

use meridian_model::{ClusterId, RegionName};
use meridian_proto::frame::{Build, Frame, Hello, Protocols};
use meridian_proto::topology::{PodStatus, TopologyAnswer, TopologyCall};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpListener;

use crate::{Connection, ConnectionError, GroupKey, PeerTls, Side, Timing, call_topology, open, queue};

/// A certificate authority, and the TLS configuration of a party that it certified.
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
    let (region, build) = (RegionName::new("us-east").unwrap(), Build::current());
    Hello { cluster: ClusterId(7), region, node: None, address: String::new(), build }
}

/// A pod that answers one status call of any party with a certificate.
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
        connection.write(&Frame::TopologyAnswer(number, TopologyAnswer::status(PodStatus::Blank))).await
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
    assert_eq!(answer, TopologyAnswer::status(PodStatus::Blank));
}

#[tokio::test]
async fn a_pod_without_a_common_protocol_version_is_refused() {
    let authority = Authority::new();
    let tls = authority.tls("127.0.0.1");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut connection = Connection::new(tls.acceptor.accept(stream).await.unwrap());
        let mut later = hello();
        later.build.protocols = Protocols { oldest: 3, newest: 4 };
        connection.write(&Frame::Hello(later)).await.unwrap();
        let _ = connection.read().await;
    });
    let refused = ask_status(&authority, &address).await.unwrap_err();
    let ConnectionError::Protocol(refused) = refused else { panic!("{refused:?}") };
    assert_eq!(refused.to_string(), "peer speaks protocol 3 to 4; this build speaks 1 to 1");
}

#[tokio::test]
async fn a_message_of_a_later_release_does_not_end_the_connection() {
    use tokio::io::AsyncWriteExt;
    let (one, mut other) = tokio::io::duplex(1 << 16);
    let (_sender, frames) = queue();
    // A message of kind 900, unknown to this build, and a heartbeat.
    for frame in [&[5, 0xa2, 0x38, 0][..], &Frame::Heartbeat.encode()] {
        other.write_all(&u32::try_from(frame.len()).unwrap().to_be_bytes()).await.unwrap();
        other.write_all(frame).await.unwrap();
    }
    other.shutdown().await.unwrap();
    let taken = std::cell::RefCell::new(Vec::new());
    let ended = Connection::new(one).run(frames, &FAST, |frame| taken.borrow_mut().push(frame)).await;
    assert!(matches!(ended, Err(ConnectionError::Closed)), "{ended:?}");
    assert_eq!(taken.take(), [Frame::Unknown, Frame::Heartbeat]);
}

#[tokio::test]
async fn a_pod_of_another_authority_or_name_is_refused() {
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
    assert!(!holds(0, Side::Acceptor), "a proof cannot be reflected");
    assert!(!holds(1, Side::Dialler), "a proof is bound to its connection");
    drop(second);
}

/// Heartbeats every half second, silence of two seconds, on a virtual clock.
const FAST: Timing =
    Timing { heartbeat: Duration::from_millis(500), silence: Duration::from_secs(2), ..Timing::REGION };

#[tokio::test(start_paused = true)]
async fn heartbeats_keep_an_idle_connection() {
    let (one, other) = tokio::io::duplex(1 << 16);
    let (_from_one, frames_of_one) = queue();
    let (_from_other, frames_of_other) = queue();
    let heard = std::cell::Cell::new(0);
    let listens = Connection::new(one).run(frames_of_one, &FAST, |frame| {
        assert_eq!(frame, Frame::Heartbeat);
        heard.set(heard.get() + 1);
    });
    let speaks = Connection::new(other).run(frames_of_other, &FAST, |_| {});
    tokio::select! {
        ended = listens => panic!("{ended:?}"),
        ended = speaks => panic!("{ended:?}"),
        () = tokio::time::sleep(Duration::from_secs(60)) => {}
    }
    assert!(heard.get() > 100, "{} heartbeats in a minute", heard.get());
}

#[tokio::test(start_paused = true)]
async fn a_silent_party_is_disconnected() {
    let (one, _other) = tokio::io::duplex(1 << 16);
    let (_sender, frames) = queue();
    let ended = Connection::new(one).run(frames, &FAST, |_| {}).await;
    assert!(matches!(ended, Err(ConnectionError::Silent(silence)) if silence == FAST.silence), "{ended:?}");
}

#[tokio::test(start_paused = true)]
async fn a_large_frame_on_a_slow_line_is_no_silence() {
    use tokio::io::AsyncWriteExt;
    let (one, mut other) = tokio::io::duplex(1 << 16);
    let (_sender, frames) = queue();
    let written = async {
        let frame = Frame::Topology(7, TopologyCall::Status).encode();
        other.write_all(&u32::try_from(frame.len()).unwrap().to_be_bytes()).await.unwrap();
        for byte in frame {
            // The frame takes longer than several times the allowed silence, and no gap is that long.
            tokio::time::sleep(FAST.silence * 9 / 10).await;
            other.write_all(&[byte]).await.unwrap();
        }
        std::future::pending::<()>().await;
    };
    let taken = std::cell::Cell::new(0);
    let listens = Connection::new(one).run(frames, &FAST, |frame| {
        assert!(matches!(frame, Frame::Topology(7, TopologyCall::Status)));
        taken.set(taken.get() + 1);
    });
    tokio::select! {
        ended = listens => assert!(matches!(ended, Err(ConnectionError::Silent(_))), "{ended:?}"),
        () = written => {}
    }
    assert_eq!(taken.get(), 1, "the whole frame arrived before the silence");
}

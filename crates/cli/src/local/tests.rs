use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use super::*;

fn spec(text: &str) -> RegionSpec {
    text.parse().unwrap()
}

#[test]
fn brokers_and_proxies_are_parsed_with_their_region() {
    let broker: BrokerSpec = "us-east=127.0.0.1:9092".parse().unwrap();
    assert_eq!((broker.region.as_str(), broker.bootstrap_servers.as_str()), ("us-east", "127.0.0.1:9092"));
    let proxy: ProxySpec = "us-east=19092:9092".parse().unwrap();
    assert_eq!((proxy.region.as_str(), proxy.from, proxy.to), ("us-east", 19092, 9092));
    for bad in ["us-east", "us-east=1", "us-east=1:x", "us-east=1:70000", "US=1:2"] {
        assert!(bad.parse::<ProxySpec>().is_err(), "{bad}");
    }
}

fn random() -> StdRng {
    StdRng::seed_from_u64(7)
}

#[test]
fn a_region_is_named_with_its_counts() {
    assert_eq!(spec("us-east:2x3").to_string(), "us-east:2x3");
    for bad in ["us-east", "us-east:1", "us-east:0x3", "us-east:1x99", ":1x1", "US:1x1", "a:1xx"] {
        assert!(bad.parse::<RegionSpec>().is_err(), "{bad}");
    }
}

#[test]
fn a_folder_keeps_its_layout_and_refuses_another() {
    let dir = tempfile::tempdir().unwrap();
    let specs = [spec("us-east:1x3"), spec("eu-west:2x3")];
    let first = Layout::open(dir.path(), &specs, &mut random()).unwrap();
    assert_eq!(Layout::open(dir.path(), &specs, &mut random()).unwrap(), first);
    let other = Layout::open(dir.path(), &specs[..1], &mut random()).unwrap_err();
    assert!(other.to_string().contains("contains us-east:1x3, eu-west:2x3; requested was us-east:1x3"), "{other}");
    std::fs::write(dir.path().join("layout.json"), "{").unwrap();
    assert!(matches!(Layout::open(dir.path(), &specs, &mut random()), Err(LayoutError::Damaged { .. })));
}

#[test]
fn no_port_is_allocated_twice() {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::open(dir.path(), &[spec("a:2x3"), spec("b:1x5")], &mut random()).unwrap();
    let nodes = layout.regions.iter().flat_map(|region| &region.nodes);
    let mut ports: Vec<u16> = nodes.flat_map(|node| [node.api, node.admin, node.peer]).collect();
    ports.extend(layout.regions.iter().map(|region| region.endpoint));
    assert_eq!(ports.len(), 11 * 3 + 2);
    ports.sort_unstable();
    ports.dedup();
    assert_eq!(ports.len(), 35);
}

#[test]
fn two_regions_of_one_name_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let twice = Layout::open(dir.path(), &[spec("a:1x1"), spec("a:1x3")], &mut random());
    assert!(matches!(twice, Err(LayoutError::Duplicate(_))));
}

#[test]
fn every_file_that_a_configuration_names_is_there_and_can_be_used() {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::open(dir.path(), &[spec("us-east:2x3"), spec("eu-west:1x3")], &mut random()).unwrap();
    files::write(&layout, &Brokers::default()).unwrap();
    for region in &layout.regions {
        for node in &region.nodes {
            let text = std::fs::read_to_string(files::config_path(&layout, region, node)).unwrap();
            let config = meridian_config::NodeConfig::parse(&text).unwrap();
            meridian_peer::PeerTls::from_files(
                &config.peer_tls.ca_file,
                &config.peer_tls.cert_file,
                &config.peer_tls.key_file,
            )
            .unwrap();
            let group = config.replication_group.unwrap();
            meridian_peer::GroupKey::from_file(&group.key_file).unwrap();
            assert_eq!(group.primary_region.as_str(), "us-east");
        }
    }
    let ca = std::fs::read(dir.path().join("us-east/ca.crt")).unwrap();
    files::write(&layout, &Brokers::default()).unwrap();
    assert_eq!(std::fs::read(dir.path().join("us-east/ca.crt")).unwrap(), ca, "certificates are created once");
}

#[tokio::test]
async fn a_proxy_forwards_bytes_until_it_is_cut_and_again_when_healed() {
    let target = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let to = target.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = target.accept().await {
            tokio::spawn(async move {
                let (mut read, mut write) = stream.split();
                tokio::io::copy(&mut read, &mut write).await
            });
        }
    });
    let dead = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let own = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let stop = CancellationToken::new();
    let proxy = TcpProxy::listen(own, vec![dead, to], stop.clone()).await.unwrap();
    let echo = async |stream: &mut TcpStream| -> std::io::Result<u8> {
        stream.write_all(&[42]).await?;
        stream.read_u8().await
    };
    let mut first = TcpStream::connect(("127.0.0.1", own)).await.unwrap();
    assert_eq!(echo(&mut first).await.unwrap(), 42, "a closed target is skipped");
    proxy.cut();
    assert_eq!(first.read(&mut [0]).await.unwrap_or(0), 0, "a cut closes open connections");
    let mut second = TcpStream::connect(("127.0.0.1", own)).await.unwrap();
    assert!(echo(&mut second).await.is_err(), "and new ones");
    proxy.heal();
    let mut third = TcpStream::connect(("127.0.0.1", own)).await.unwrap();
    assert_eq!(echo(&mut third).await.unwrap(), 42);
}

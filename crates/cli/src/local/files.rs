//! Files of a layout: authorities, certificates, keys, configurations.

use std::fs::OpenOptions;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use meridian_config::{
    Auth, CollectionDefaults, Cors, DeltaLog, FORMAT, FreshnessDefaults, Limits, Listen, NodeConfig, Peer, RaftTiming,
    RegionEndpoint, ReplicationGroup, Tls,
};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

use super::brokers::Brokers;
use super::layout::{Layout, NodeLayout, RegionLayout};

/// Subject alternative names of all node certificates.
const NAMES: [&str; 2] = ["127.0.0.1", "localhost"];

/// The folder of a region.
pub fn region_dir(layout: &Layout, region: &RegionLayout) -> PathBuf {
    layout.dir.join(region.name.as_str())
}

/// The configuration file of a node.
pub fn config_path(layout: &Layout, region: &RegionLayout, node: &NodeLayout) -> PathBuf {
    region_dir(layout, region).join(format!("{}.yaml", region.node_name(node)))
}

/// The operator's certificate of a region, for topology calls.
pub fn operator_tls(layout: &Layout, region: &RegionLayout) -> Tls {
    tls(&region_dir(layout, region), "operator")
}

fn tls(dir: &Path, name: &str) -> Tls {
    Tls {
        ca_file: dir.join("ca.crt"),
        cert_file: dir.join(format!("{name}.crt")),
        key_file: dir.join(format!("{name}.key")),
    }
}

/// Writes missing certificates and keys, and all configurations.
pub fn write(layout: &Layout, brokers: &Brokers) -> anyhow::Result<()> {
    let group_key = layout.dir.join("group.key");
    if !group_key.exists() {
        secret(&group_key, &format!("{:032x}{:032x}\n", rand::random::<u128>(), rand::random::<u128>()))?;
    }
    for region in &layout.regions {
        let dir = region_dir(layout, region);
        std::fs::create_dir_all(&dir).with_context(|| format!("make {}", dir.display()))?;
        secret(&dir.join("api.key"), &format!("{}\n", region.api_key))?;
        let names: Vec<String> = region.nodes.iter().map(|node| region.node_name(node)).collect();
        if !dir.join("ca.crt").exists() {
            certificates(&dir, &names).with_context(|| format!("certificates of {}", region.name))?;
        }
        for node in &region.nodes {
            let path = config_path(layout, region, node);
            let config = config(layout, brokers, region, node, &group_key);
            std::fs::write(&path, config.render()).with_context(|| format!("write {}", path.display()))?;
        }
    }
    Ok(())
}

fn secret(path: &Path, text: &str) -> anyhow::Result<()> {
    let write = || -> std::io::Result<()> {
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?.write_all(text.as_bytes())
    };
    write().with_context(|| format!("write {}", path.display()))
}

/// Creates an authority and one certificate for each node and the operator. The key of the authority is discarded.
/// `ca.crt` is written last: its presence means that all other files exist.
fn certificates(dir: &Path, nodes: &[String]) -> anyhow::Result<()> {
    let authority_key = KeyPair::generate()?;
    let mut params = CertificateParams::new(Vec::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, "meridian local authority");
    let authority = params.self_signed(&authority_key)?.pem();
    let issuer = Issuer::new(params, authority_key);
    for name in nodes.iter().map(String::as_str).chain(["operator"]) {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(NAMES.map(String::from))?;
        params.distinguished_name.push(DnType::CommonName, name);
        let paths = tls(dir, name);
        std::fs::write(&paths.cert_file, params.signed_by(&key, &issuer)?.pem())?;
        secret(&paths.key_file, &key.serialize_pem())?;
    }
    std::fs::write(dir.join("ca.crt"), authority)?;
    Ok(())
}

fn config(
    layout: &Layout,
    brokers: &Brokers,
    region: &RegionLayout,
    node: &NodeLayout,
    group_key: &Path,
) -> NodeConfig {
    let dir = region_dir(layout, region);
    let name = region.node_name(node);
    let primary = &layout.primary().name;
    let group = layout.group().map(|name| ReplicationGroup {
        name,
        primary_region: primary.clone(),
        key_file: group_key.into(),
        derive_api_key: false,
        regions: (layout.regions.iter())
            .map(|r| RegionEndpoint { name: r.name.clone(), endpoint: format!("127.0.0.1:{}", r.endpoint) })
            .collect(),
    });
    let sink = brokers.sink(primary).filter(|_| region.name == *primary);
    NodeConfig {
        format: FORMAT,
        cluster: region.name.to_string(),
        cluster_id: region.cluster_id.0,
        region: region.name.clone(),
        shard: node.shard,
        shards: region.shards,
        peers: (region.nodes.iter())
            .map(|other| Peer { shard: other.shard, replica: other.replica, address: other.peer_address() })
            .collect(),
        listen: Listen {
            address: IpAddr::V4(Ipv4Addr::LOCALHOST),
            api_port: node.api,
            admin_port: node.admin,
            peer_port: node.peer,
        },
        data_dir: dir.join(&name),
        // Must be shorter than STOP of `process`, after which the node is killed.
        limits: Limits { shutdown_timeout_ms: 10_000, ..Limits::default() },
        peer_tls: tls(&dir, &name),
        auth: Auth::ApiKeyFile(dir.join("api.key")),
        cors: Cors::default(),
        delta_log: sink.map(|kafka| DeltaLog { kafka }),
        replication_group: group,
        freshness: FreshnessDefaults::default(),
        collection_defaults: CollectionDefaults::default(),
        raft: RaftTiming::default(),
    }
}

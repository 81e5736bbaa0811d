//! No text breaks the parser of node configurations; what it accepts is parsed again from its own text.

use meridian_config::NodeConfig;

/// Runs the target; returns whether the bytes are a configuration.
#[must_use]
pub fn run(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let Ok(config) = NodeConfig::parse(text) else { return false };
    assert_eq!(NodeConfig::parse(&config.render()).expect("just written"), config);
    true
}

/// A configuration without optional keys, and one of a replication group.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    const LEAST: &str = "\
format: 1
cluster: vector-search
cluster_id: f47ac10b-58cc-4372-a567-0e02b2c3d479
region: us-east
shard: 1
shards: 2
data_dir: /data
peer_tls: {ca_file: /tls/ca.crt, cert_file: /tls/tls.crt, key_file: /tls/tls.key}
auth: disabled
";
    const GROUP: &str = "\
replication_group:
  name: g
  primary_region: us-east
  key_file: /group/key
  regions:
    - {name: us-east, endpoint: 'us:8082'}
    - {name: eu-west, endpoint: '[::1]:8082'}
";
    vec![LEAST.into(), format!("{LEAST}{GROUP}").into_bytes()]
}

use std::time::Duration;

use super::*;
use meridian_model::client::OnStale;
use proptest::prelude::*;

/// As small as a configuration gets.
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

const REGIONS: &str = "\
replication_group:
  name: g
  primary_region: us-east
  key_file: /group/key
  regions:
    - {name: us-east, endpoint: 'us:8082'}
    - {name: eu-west, endpoint: '[::1]:8082'}
delta_log:
  kafka: {bootstrap_servers: 'a:9092,b:9092'}
freshness: {default_ms: 100, on_stale: [wait, fail], completeness_interval_ms: 25}
";

fn full() -> String {
    format!(
        "{}peers: [{{shard: 2, replica: 4, address: 'vector-search-s2-0:8082'}}]\n{REGIONS}",
        LEAST.replace("auth: disabled", "auth: {api_key_file: /keys/api}")
    )
}

#[track_caller]
fn refused(text: &str, says: &[&str]) {
    let error = NodeConfig::parse(text).unwrap_err().to_string();
    for part in says {
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn absent_keys_have_their_defaults() {
    let config = NodeConfig::parse(LEAST).unwrap();
    assert_eq!(config.listen, Listen::default());
    assert_eq!(config.limits, Limits::default());
    assert_eq!(config.limits.request_timeout(), Duration::from_secs(60));
    assert_eq!(config.auth, Auth::Disabled);
    assert_eq!(config.freshness.on_stale, [OnStale::Wait, OnStale::Redirect, OnStale::Serve]);
}

#[test]
fn every_key_is_read_and_written_back() {
    let config = NodeConfig::parse(&full()).unwrap();
    assert_eq!(config.auth, Auth::ApiKeyFile("/keys/api".into()));
    assert_eq!(config.delta_log.as_ref().unwrap().kafka.topic, "vector-deltas");
    assert_eq!(NodeConfig::parse(&config.render()).unwrap(), config);
    let json = serde_json::to_string(&config).unwrap();
    assert_eq!(NodeConfig::parse(&json).unwrap(), config, "JSON is YAML");
    let least = NodeConfig::parse(LEAST).unwrap();
    assert_eq!(NodeConfig::parse(&least.render()).unwrap(), least);
}

#[test]
fn a_later_format_is_refused_by_name_whatever_else_it_holds() {
    refused("format: 7\nshiny: true\n", &["format 7", "format 1 is"]);
    refused("cluster: x\n", &["format"]);
}

#[test]
fn an_unknown_or_bad_key_is_named_with_its_line() {
    refused(&format!("{LEAST}colour: red\n"), &["line 10", "colour"]);
    refused(&LEAST.replace("shards: 2", "shards: 0"), &["line 6", "shards: 0", "between 1 and 1024"]);
    refused(&LEAST.replace("shard: 1\n", "shard: one\n"), &["line 5", "shard: one"]);
    refused(&LEAST.replace("region: us-east", "region: US"), &["line 4", "US"]);
    refused(&LEAST.replace("f47ac10b-", "x-"), &["line 3", "UUID"]);
    refused(&LEAST.replace("auth: disabled\n", ""), &["auth"]);
    refused(&LEAST.replace("auth: disabled", "auth: none"), &["line 9", "none"]);
    refused(&LEAST.replace("shards: 2\n", "shards: 2\nshards: 3\n"), &["line 7", "shards"]);
    refused(
        &format!("{LEAST}freshness: {{completeness_interval_ms: 10}}\n"),
        &["line 10", "completeness_interval_ms: 10", "between 25"],
    );
    refused(&format!("{LEAST}limits:\n  body: 1\n"), &["line 11", "body"]);
    refused(&format!("{LEAST}freshness:\n  on_stale: [serve, wait]\n"), &["line 11", "\"wait\" is never reached"]);
    refused(&format!("{LEAST}initial_replicas: []\n"), &["line 10", "unknown field `initial_replicas`"]);
    refused("format: 1\n  bad: [", &["line"]);
    refused("", &["line 1", "end of input"]);
}

#[test]
fn keys_that_contradict_each_other_are_named() {
    refused(&LEAST.replace("shard: 1\n", "shard: 3\n"), &["shard: 3 does not exist"]);
    refused(&LEAST.replace("shards: 2", "shards: 2\nlisten: {api_port: 8082}"), &["listen.peer_port", "8082"]);
    refused(&LEAST.replace("shards: 2", "shards: 2\nraft: {heartbeat_ticks: 40}"), &["raft.heartbeat_ticks"]);
    refused(&full().replace("primary_region: us-east", "primary_region: ap"), &["primary_region", "ap"]);
    refused(&full().replace("'us:8082'", "us"), &["regions[0].endpoint", "\"us\" is no host:port"]);
    refused(&full().replace("'[::1]:8082'", "'[x]:8082'"), &["regions[1].endpoint"]);
    refused(&full().replace("'a:9092,b:9092'", "'a:9092', topic: eu/deltas"), &["delta_log.kafka.topic"]);
    refused(&full().replace("replica: 4", "replica: 0"), &["peers[0]"]);
}

#[test]
fn a_region_named_no_stays_a_text() {
    let config = NodeConfig::parse(&LEAST.replace("us-east", "no")).unwrap();
    assert_eq!(NodeConfig::parse(&config.render()).unwrap().region.as_str(), "no");
}

proptest! {
    #[test]
    fn damaged_text_never_panics(at in any::<prop::sample::Index>(), cut in 0usize..40, put in "[ -~\n\t]{0,12}") {
        let text = full();
        let from = at.index(text.len());
        let until = (from + cut).min(text.len());
        let _ = NodeConfig::parse(&format!("{}{put}{}", &text[..from], &text[until..]));
    }

    #[test]
    fn garbage_never_panics(text in "(?s).{0,200}") {
        let _ = NodeConfig::parse(&text);
    }
}

#[test]
fn origins_of_web_pages_are_checked() {
    let with = |origins: &str| format!("{LEAST}cors: {{allow_origins: {origins}}}\n");
    let config = NodeConfig::parse(&with("['https://a.example', 'http://localhost:3000']")).unwrap();
    assert_eq!(
        config.cors.allow_origins.iter().map(CorsOrigin::as_str).collect::<Vec<_>>(),
        ["https://a.example", "http://localhost:3000"]
    );
    assert_eq!(NodeConfig::parse(&config.render()), Ok(config));
    assert!(NodeConfig::parse(&with("['*']")).is_ok_and(|config| config.cors.allow_origins[0].is_any()));
    assert!(!NodeConfig::parse(LEAST).unwrap().render().contains("cors"));
    refused(&with("['https://a.example/']"), &["line 10", "without a path (got \"https://a.example/\")"]);
    refused(&with("['*', 'https://a.example']"), &["cors.allow_origins: must be [\"*\"] or a list without"]);
    let many = format!("{:?}", vec!["https://a.example"; MAX_ORIGINS + 1]);
    refused(&with(&many), &["cors.allow_origins: must have at most 32 entries (got 33)"]);
}

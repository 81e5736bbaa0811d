use meridian_model::client::OnStale;

use super::{Settings, ValidCluster, ValidLink, millis};
use crate::fixtures::{ALONE, GROUPED, MIRRORED, id, link, resource, valid};

fn check(yaml: &str, from: &str, to: &str, field: &str) {
    let changed = yaml.replace(from, to);
    assert_ne!(changed, yaml, "{from:?} does not occur");
    let refusal = ValidCluster::parse(&resource(&changed), &[], id(), &Settings::default()).unwrap_err();
    assert_eq!(refusal.field, field, "{refusal}");
}

#[test]
fn specs_that_the_schema_wrongly_admits_are_refused() {
    check(ALONE, "region: us-east", "region: US", "spec.region");
    check(ALONE, "shards: 2", "shards: 0", "spec.shards");
    check(ALONE, "replicasPerShard: 3", "replicasPerShard: 4", "spec.replicasPerShard");
    check(GROUPED, "primary: {region: us-east}", "primary: {region: mars}", "spec.replicationGroup.primary.region");
    check(GROUPED, "region: eu-west", "region: mars", "spec.region");
    check(GROUPED, "name: search\n", "name: search\n    writeMode: MultiWriter\n", "spec.replicationGroup.writeMode");
    check(GROUPED, "maxWait: 2s", "maxWait: 2h", "spec.freshness.maxWait");
    check(GROUPED, "- {name: eu-west,", "- {name: us-east,", "spec.replicationGroup.regions");
    check(
        GROUPED,
        "  collectionDefaults: {",
        "  cors: {allowOrigins: ['https://a/b']}\n  collectionDefaults: {",
        "spec.cors.allowOrigins",
    );
}

#[test]
fn text_that_would_leave_its_line_or_its_file_is_refused() {
    check(ALONE, "name: vector-search", "name: \"v\\nx\"", "metadata.name");
    check(ALONE, "namespace: us-east", "namespace: \"us\\nlisteners = x\"", "metadata.namespace");
    check(GROUPED, "image: example.com/node:2", "image: 'node: 2'", "spec.image");
    check(GROUPED, "size: 20Gi", "size: '20 Gi'", "spec.storage.size");
    check(GROUPED, "size: 20Gi", "size: '-1'", "spec.storage.size");
    check(GROUPED, "storageClassName: fast", "storageClassName: 'fast disk'", "spec.storage.storageClassName");
    check(GROUPED, "cpu: 2", "cpu: lots", "spec.resources.requests.cpu");
    check(GROUPED, "limits: {memory: 4Gi}", "limits: {memory: -1}", "spec.resources.limits.memory");
    check(GROUPED, "name: search\n", "name: 'se/arch'\n", "spec.replicationGroup.name");
    check(GROUPED, "secretRef: {name: group-key}", "secretRef: {name: '../k'}", "spec.replicationGroup.secretRef.name");
    check(GROUPED, "secretRef: {name: my-key}", "secretRef: {name: 'my key'}", "spec.auth.secretRef.name");
    check(GROUPED, "eu-west.svc.cluster.local:8082", "eu-west:99999", "spec.replicationGroup.regions.endpoint");
    let servers = "bootstrapServers: 'kafka.eu-west:9092'";
    check(GROUPED, servers, "bootstrapServers: \"k:1\\nx = y\"", "spec.deltaLog.kafka.bootstrapServers");
    check(GROUPED, servers, "bootstrapServers: 'k:1', topic: 'a,b'", "spec.deltaLog.kafka.topic");
}

#[test]
fn a_link_cannot_write_its_own_lines_into_the_properties_of_mirror_maker_2() {
    let cluster = valid(GROUPED, &[]);
    let refused =
        |from: &str, to: &str| ValidLink::parse(&link(&MIRRORED.replace(from, to)), &cluster).unwrap_err().field;
    let (source, copy) = ("'kafka.us-east:9092'", "'kafka.eu-west:9092'");
    assert_eq!(refused(source, "\"k:1\\nlisteners = http://0.0.0.0:1\""), "spec.transport.kafka.bootstrapServers");
    assert_eq!(refused(source, "'k:1', topic: \"t\\rx = y\""), "spec.transport.kafka.topic");
    assert_eq!(refused(source, "'k:1', topic: '.*'"), "spec.transport.kafka.topic");
    assert_eq!(refused(copy, "\"k:1\\nx = y\""), "spec.mirrorMaker2.bootstrapServers");
    assert_eq!(refused("name: from-us-east", "name: \"l\\nx = y\""), "metadata.name");
}

#[test]
fn a_group_key_is_made_only_where_no_other_region_needs_the_same() {
    let without = GROUPED.replace("    secretRef: {name: group-key}\n", "");
    let us_east = "    - {name: us-east, endpoint: 'vector-search-region.us-east.svc.cluster.local:8082'}\n";
    let one_region = without.replace(us_east, "").replace("primary: {region: us-east}", "primary: {region: eu-west}");
    let is_ours = |yaml: &str| valid(yaml, &[]).group.map(|group| (group.regions.len(), group.secret_is_ours));
    assert_eq!(is_ours(GROUPED), Some((2, false)));
    assert_eq!(is_ours(&without), Some((2, false)));
    assert_eq!(is_ours(&one_region), Some((1, true)));
}

#[test]
fn defaults_are_filled_in() {
    let cluster = valid(ALONE, &[]);
    assert_eq!(cluster.freshness.on_stale, [OnStale::Wait, OnStale::Redirect, OnStale::Serve]);
    assert_eq!(cluster.api_key.as_ref().map(|key| key.secret.as_str()), Some("vector-search-api-key"));
    assert_eq!(cluster.primary().as_str(), "us-east");
}

#[test]
fn durations_are_read_and_round_up() {
    for (text, expected) in [("100ms", 100), ("2s", 2000), ("1m", 60_000), ("1us", 1), ("1001us", 2)] {
        assert_eq!(millis("f", text), Ok(expected), "{text}");
    }
    for bad in ["", "s", "1", "1h", "-1s", "18446744073709551615m"] {
        assert!(millis("f", bad).is_err(), "{bad}");
    }
}

#[test]
fn addresses_lead_back_to_pods() {
    let cluster = valid(ALONE, &[]);
    let shard = meridian_model::ShardNumber::FIRST;
    assert_eq!(cluster.ordinal_of(shard, &cluster.peer_address(shard, 4)), Some(4));
    for other in ["vector-search-s1-x.y:8082", "vector-search-s12-0.a:8082", "", "vector-search-s1-0"] {
        assert_eq!(cluster.ordinal_of(shard, other), None, "{other}");
    }
}

#[test]
fn a_link_is_refused_with_the_field_that_is_wrong() {
    let cluster = valid(GROUPED, &[]);
    let refused =
        |from: &str, to: &str| ValidLink::parse(&link(&MIRRORED.replace(from, to)), &cluster).unwrap_err().field;
    assert_eq!(refused("region: us-east", "region: mars"), "spec.source.region");
    assert_eq!(refused("region: us-east", "region: eu-west"), "spec.source.region");
    assert_eq!(refused("via: Mirror", "via: Remote"), "spec.mirrorMaker2");
}

#[test]
fn of_two_links_with_one_source_the_older_counts() {
    let newer = MIRRORED.replace("generation: 1}", "creationTimestamp: '2026-01-02T00:00:00Z'}");
    let older = newer.replace("2026-01-02", "2026-01-01").replace("from-us-east", "older");
    let cluster = valid(GROUPED, &[&newer, &older]);
    assert_eq!(cluster.links.iter().map(|link| link.name.as_str()).collect::<Vec<_>>(), ["older"]);
    assert!(ValidLink::parse(&link(&newer), &cluster).unwrap().is_superseded(&cluster));
}

use std::collections::BTreeSet;

use meridian_model::{BehaviorVersion, RegionName, ShardNumber};

use super::*;

/// One series of each metric: the encoder leaves out families without series.
fn one_of_each() -> Metrics {
    let metrics = Metrics::new();
    let origin = OriginShard { region: RegionName::new("eu-west").unwrap(), shard: ShardNumber::FIRST };
    let labels = OriginLabels::from(&origin);
    let poison = PoisonLabels { origin: "eu-west".into(), shard: 1, partition: 0, offset: 7, seq: "9".into() };
    let search = SearchLabels { region: "us-east".into(), shard: 1, collection: "words".into() };
    metrics.searched(&search, Duration::from_millis(29));
    metrics.http_request("/collections", &http::Method::GET, 200, Duration::from_millis(1));
    metrics.replication_lag.get_or_create(&labels).set(0.25);
    metrics.merged(&origin, &[Hlc::default()], Hlc::default());
    metrics.behavior_versions(BehaviorVersion(3), BehaviorVersion(2));
    metrics.link_connected.get_or_create(&labels).set(1);
    metrics.link_poison_records.get_or_create(&labels).inc();
    metrics.link_poison_record.get_or_create(&poison).set(1);
    metrics
}

/// Names, types and help texts in order; then the names of all series with those of their labels.
fn described(text: &str) -> String {
    let (described, series): (Vec<&str>, Vec<&str>) = text.lines().partition(|line| line.starts_with('#'));
    let without_values = |line: &str| {
        let series = line.split(' ').next().unwrap_or_default();
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        let labels = labels.split('"').step_by(2).map(|label| label.trim_matches([',', '=', '}']));
        format!("{name}{{{}}}", labels.filter(|label| !label.is_empty()).collect::<Vec<_>>().join(", "))
    };
    let series: BTreeSet<String> = series.into_iter().map(without_values).collect();
    described.into_iter().map(str::to_owned).chain(series).collect::<Vec<_>>().join("\n")
}

#[test]
fn names_types_labels_and_help_texts_are_the_documented_ones() {
    let text = one_of_each().render().unwrap();
    let registered = include_str!("../metrics.rs").matches("        to.register").count();
    assert_eq!(text.matches("# TYPE").count(), registered, "a metric has no series here: add one to one_of_each");
    insta::assert_snapshot!(described(&text));
}

#[test]
fn the_promised_names_stand_in_the_text() {
    let metrics = Metrics::new();
    let labels = SearchLabels { region: "us-east".into(), shard: 1, collection: "words".into() };
    metrics.searched(&labels, Duration::from_millis(29));
    let origin = OriginLabels { origin: "eu-west".into(), shard: 2 };
    metrics.replication_lag.get_or_create(&origin).set(0.25);
    metrics.replication_delay.get_or_create(&origin).observe(0.19);
    metrics.freshness_outcome(Outcome::Waited);
    metrics.http_request("/collections", &http::Method::GET, 200, Duration::from_millis(1));
    metrics.behavior_versions(BehaviorVersion(3), BehaviorVersion(2));
    let text = metrics.render().unwrap();
    for line in [
        "vector_search_query_latency_seconds_bucket{le=\"0.03\",region=\"us-east\",shard=\"1\",collection=\"words\"} 1",
        "replication_lag_seconds{origin=\"eu-west\",shard=\"2\"} 0.25",
        "replication_delay_seconds_bucket{le=\"0.2\",origin=\"eu-west\",shard=\"2\"} 1",
        "freshness_outcome_total{outcome=\"waited\"} 1",
        "freshness_outcome_total{outcome=\"failed\"} 0",
        "meridian_behavior_version{kind=\"finalized\"} 3",
        "meridian_behavior_version{kind=\"published\"} 2",
        "meridian_http_requests_total{route=\"/collections\",method=\"GET\",status=\"200\"} 1",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
}

#[test]
fn the_series_of_a_dropped_collection_disappear() {
    let metrics = Metrics::new();
    let labels = |name: &str| SearchLabels { region: "us-east".into(), shard: 1, collection: name.into() };
    for name in ["kept", "dropped"] {
        metrics.searched(&labels(name), Duration::from_millis(1));
    }
    metrics.keep_collections(|name| name == "kept");
    let text = metrics.render().unwrap();
    assert!(text.contains("collection=\"kept\"") && !text.contains("collection=\"dropped\""), "{text}");
    metrics.searched(&labels("dropped"), Duration::from_millis(1));
    assert!(metrics.render().unwrap().contains("collection=\"dropped\""), "it may be created anew");
}

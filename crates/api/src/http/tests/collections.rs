//! The body that defines a collection, and what is reported of one.

use std::time::Duration;

use meridian_model::client::CollectionReport;
use meridian_model::{CollectionUid, Distance};

use super::*;

#[test]
fn a_collection_with_one_or_several_vectors_is_read() {
    let one = create(json!({"vectors": {"size": 4, "distance": "Cosine"}})).unwrap();
    assert_eq!(one.vectors[""].dim, 4);
    assert_eq!(one.vectors[""].hnsw, SHAPE.hnsw);
    let several = json!({
        "vectors": {
            "image": {"size": 4, "distance": "Dot", "on_disk": false, "datatype": "float32"},
            "size": {"size": 2, "distance": "Manhattan", "hnsw_config": {"m": 32, "inline_storage": false, "full_scan_threshold_kb": 0}},
        },
        "hnsw_config": {"ef_construct": 200, "inline_storage": true, "max_indexing_threads": 0, "full_scan_threshold": 250},
        "shard_number": 2, "replication_factor": 3, "write_consistency_factor": 2, "on_disk_payload": false,
        "optimizers_config": {"default_segment_number": 0}, "wal_config": {"wal_capacity_mb": 32},
        "sparse_vectors": {}, "metadata": null, "strict_mode_config": {"enabled": false}, "sharding_method": "auto",
    });
    let several = create(several).unwrap();
    assert_eq!(several.vectors["image"].distance, Distance::Dot);
    let hnsw = |m, inline_storage, full_scan_threshold| HnswParams {
        m,
        ef_construct: 200,
        inline_storage,
        full_scan_threshold,
    };
    assert_eq!(several.vectors["image"].hnsw, hnsw(16, true, 250));
    assert_eq!(several.vectors["size"].hnsw, hnsw(32, false, 0));
}

#[test]
fn a_collection_reports_the_thresholds_that_its_searches_use() {
    let reported = |body: Value| {
        let def = create(body).unwrap();
        let report = CollectionReport { uid: CollectionUid(1), def, points: 0, indexed: 0, shards: 2, replicas: 3 };
        let body: Value = serde_json::from_slice(&collection(&report, Duration::ZERO).unwrap()).unwrap();
        let config = &body["result"]["config"];
        (config["hnsw_config"]["full_scan_threshold"].clone(), config["params"]["vectors"].clone())
    };
    let (common, vectors) = reported(json!({"vectors": {"size": 4, "distance": "Dot"}}));
    assert_eq!((common, vectors), (json!(10_000), json!({"size": 4, "distance": "Dot"})));
    let one = json!({"size": 4, "distance": "Dot"});
    let (common, vectors) = reported(json!({
        "vectors": {"a": one, "b": {"size": 4, "distance": "Dot", "hnsw_config": {"full_scan_threshold": 0}}},
        "hnsw_config": {"full_scan_threshold": 77},
    }));
    assert_eq!((common, &vectors["a"]), (json!(77), &one));
    assert_eq!(vectors["b"]["hnsw_config"]["full_scan_threshold"], 0);
}

#[test]
fn unsupported_fields_of_a_collection_are_refused_by_name() {
    let with = |name: &str, value: Value| {
        let mut body = json!({"vectors": {"size": 4, "distance": "Dot"}});
        body[name] = value;
        create(body)
    };
    check(with("shard_number", json!(3)), 400, "shard_number: 3 cannot be had, this cluster has 2");
    check(with("replication_factor", json!(1)), 400, "replication_factor: 1 cannot be had");
    check(with("write_consistency_factor", json!(3)), 400, "majority, which is 2");
    check(with("on_disk_payload", json!(true)), 501, "on_disk_payload");
    check(with("sharding_method", json!("custom")), 501, "sharding_method: custom");
    check(with("quantization_config", json!({"scalar": {"type": "int8"}})), 501, "quantization_config");
    check(with("sparse_vectors", json!({"text": {}})), 501, "sparse_vectors");
    check(with("metadata", json!({"a": 1})), 501, "metadata");
    check(with("strict_mode_config", json!({"enabled": true})), 501, "strict_mode_config");
    check(with("optimizers_config", json!({"indexing_threshold": 0})), 501, "optimizers_config");
    check(with("wal_config", json!({"wal_capacity_mb": 1})), 501, "wal_config.wal_capacity_mb: 1");
    check(with("hnsw_config", json!({"on_disk": true})), 501, "hnsw_config.on_disk: true");
    check(with("hnsw_config", json!({"m": 0})), 400, "hnsw_config.m must be between 4 and 128 (got 0)");
    check(with("hnsw_config", json!({"payload_m": 4})), 501, "hnsw_config.payload_m");
    let beyond = json!({"full_scan_threshold": 1u64 << 32});
    check(with("hnsw_config", beyond), 400, "full_scan_threshold must be <= 4294967295 kilobytes (got 4294967296)");
    check(with("init_from", json!({"collection": "x"})), 501, "init_from");
    check(with("colour", json!(1)), 400, "unknown field `colour`");
    check(with("vectors", json!({})), 400, "vectors must be between 1 and");
    check(with("vectors", Value::Null), 400, "vectors must be between 1 and");
    check(with("vectors", json!({"size": 0, "distance": "Dot"})), 400, "vectors.size must be between");
    check(
        with("vectors", json!({"size": 65537, "distance": "Dot"})),
        400,
        "vectors.size must be between 1 and 65536 (got 65537)",
    );
    check(with("vectors", json!({"size": 4, "distance": "Hamming"})), 400, "Hamming");
    check(with("vectors", json!({"size": 4, "distance": "Dot", "on_disk": true})), 501, "vectors.on_disk");
    check(
        with("vectors", json!({"a": {"size": 4, "distance": "Dot", "datatype": "uint8"}})),
        501,
        "vectors.a.datatype",
    );
    check(with("vectors", json!({"a": {"size": 4, "distance": "Dot", "x": 1}})), 400, "vectors.a: unknown field `x`");
    check(with("vectors", json!({"a\u{0}": {"size": 4, "distance": "Dot"}})), 400, "cannot contain");
}

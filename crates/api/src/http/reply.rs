//! Replies as JSON in Qdrant's envelope, `{"result": …, "status": "ok", "time": seconds}`.

use std::time::Duration;

use meridian_model::client::CollectionReport;
use meridian_model::{CollectionDef, Distance, Found, HnswParams, Payload, PointId, Record, VectorDef, Vectors};
use serde::ser::{Error as _, SerializeMap};
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::collections::{
    DEFAULT_SEGMENT_NUMBER, DELETED_THRESHOLD, FLUSH_INTERVAL_SEC, VACUUM_MIN_VECTOR_NUMBER, WAL_CAPACITY_MB,
    WAL_SEGMENTS_AHEAD,
};
use super::id::Id;

/// The version of Qdrant's interface that is reported. Qdrant's clients compare major and minor with their own.
const QDRANT_VERSION: &str = "1.20.0";

#[derive(Serialize)]
struct Envelope<T> {
    result: T,
    status: &'static str,
    time: f64,
}

/// Rendering fails only on a stored payload that is no JSON, which no request can store.
type Rendered = Result<Vec<u8>, serde_json::Error>;

fn ok<T: Serialize>(result: T, time: Duration) -> Rendered {
    serde_json::to_vec(&Envelope { result, status: "ok", time: time.as_secs_f64() })
}

/// The body of an error.
#[must_use]
pub fn error(message: &str, time: Duration) -> Vec<u8> {
    json!({"status": {"error": message}, "time": time.as_secs_f64()}).to_string().into_bytes()
}

/// The body of `GET /`, which has no envelope.
#[must_use]
pub fn version(commit: &str) -> Vec<u8> {
    let title = concat!("Meridian ", env!("CARGO_PKG_VERSION"), ", regional vector search (Qdrant-compatible API)");
    json!({"title": title, "version": QDRANT_VERSION, "commit": commit}).to_string().into_bytes()
}

/// Reply to the creation or deletion of a collection.
///
/// # Errors
/// See [`found`].
pub fn done(existed: bool, time: Duration) -> Rendered {
    ok(existed, time)
}

/// Reply to `exists`.
///
/// # Errors
/// See [`found`].
pub fn exists(exists: bool, time: Duration) -> Rendered {
    ok(json!({"exists": exists}), time)
}

/// Reply to the list of collections, in the order of `defs`.
///
/// # Errors
/// See [`found`].
pub fn collection_names(defs: &[CollectionDef], time: Duration) -> Rendered {
    let names: Vec<_> = defs.iter().map(|def| json!({"name": def.name.as_str()})).collect();
    ok(json!({"collections": names}), time)
}

/// Reply to a write: `completed` if it is visible in this region, else `acknowledged`.
///
/// # Errors
/// See [`found`].
pub fn updated(operation_id: u64, visible: bool, time: Duration) -> Rendered {
    let status = if visible { "completed" } else { "acknowledged" };
    ok(json!({"operation_id": operation_id, "status": status}), time)
}

/// Reply to a count.
///
/// # Errors
/// See [`found`].
pub fn counted(count: u64, time: Duration) -> Rendered {
    ok(json!({"count": count}), time)
}

/// Reply to the description of a collection. The status is always green: points that are not indexed yet are searched too.
///
/// # Errors
/// See [`found`].
pub fn collection(report: &CollectionReport, time: Duration) -> Rendered {
    let def = &report.def;
    let hnsw = def.vectors.values().next().map_or_else(HnswParams::default, |vector| vector.hnsw);
    let vectors = match def.vectors.get("") {
        Some(only) if def.vectors.len() == 1 => vector_def(only, hnsw),
        _ => def.vectors.iter().map(|(name, vector)| (name.clone(), vector_def(vector, hnsw))).collect(),
    };
    let result = json!({
        "status": "green",
        "optimizer_status": "ok",
        "points_count": report.points,
        "indexed_vectors_count": report.indexed,
        "segments_count": report.shards,
        "config": {
            "params": {
                "vectors": vectors,
                "shard_number": report.shards,
                "replication_factor": report.replicas,
                "write_consistency_factor": report.replicas / 2 + 1,
                "on_disk_payload": false,
            },
            "hnsw_config": {
                "m": hnsw.m,
                "ef_construct": hnsw.ef_construct,
                "full_scan_threshold": hnsw.full_scan_threshold,
                "max_indexing_threads": 0,
                "on_disk": false,
                "inline_storage": hnsw.inline_storage,
            },
            "optimizer_config": {
                "deleted_threshold": DELETED_THRESHOLD,
                "vacuum_min_vector_number": VACUUM_MIN_VECTOR_NUMBER,
                "default_segment_number": DEFAULT_SEGMENT_NUMBER,
                "flush_interval_sec": FLUSH_INTERVAL_SEC,
            },
            "wal_config": {"wal_capacity_mb": WAL_CAPACITY_MB, "wal_segments_ahead": WAL_SEGMENTS_AHEAD},
            "quantization_config": null,
        },
        "payload_schema": {},
    });
    ok(result, time)
}

fn vector_def(vector: &VectorDef, common: HnswParams) -> Value {
    let distance = match vector.distance {
        Distance::Cosine => "Cosine",
        Distance::Dot => "Dot",
        Distance::Euclid => "Euclid",
        Distance::Manhattan => "Manhattan",
    };
    let mut def = json!({"size": vector.dim, "distance": distance});
    if vector.hnsw != common {
        let HnswParams { m, ef_construct, inline_storage, full_scan_threshold } = vector.hnsw;
        def["hnsw_config"] = json!({
            "m": m,
            "ef_construct": ef_construct,
            "full_scan_threshold": full_scan_threshold,
            "inline_storage": inline_storage,
        });
    }
    def
}

#[derive(Serialize)]
struct RecordBody<'a> {
    id: Id,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    score: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "payload")]
    payload: Option<&'a Payload>,
    #[serde(skip_serializing_if = "Option::is_none")]
    vector: Option<VectorsBody<'a>>,
}

fn payload<S: Serializer>(payload: &Option<&Payload>, serializer: S) -> Result<S::Ok, S::Error> {
    match payload {
        Some(payload) if !payload.is_empty() => {
            serde_json::from_str::<&RawValue>(&payload.0).map_err(S::Error::custom)?.serialize(serializer)
        }
        _ => serializer.serialize_map(Some(0))?.end(),
    }
}

/// The vectors of a point: a list if there is only the unnamed one, else an object.
struct VectorsBody<'a>(&'a Vectors);

impl Serialize for VectorsBody<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.get("") {
            Some(only) if self.0.len() == 1 => only.serialize(serializer),
            _ => self.0.serialize(serializer),
        }
    }
}

fn body(record: &Record, score: Option<f32>) -> RecordBody<'_> {
    RecordBody {
        id: Id(record.id),
        version: score.map(|_| record.version),
        score,
        payload: record.payload.as_ref(),
        vector: record.vectors.as_ref().map(VectorsBody),
    }
}

#[derive(Serialize)]
struct Points<'a> {
    points: Vec<RecordBody<'a>>,
}

impl<'a> Points<'a> {
    fn found(found: &'a [Found]) -> Self {
        Self { points: found.iter().map(|found| body(&found.record, Some(found.score))).collect() }
    }
}

/// Reply to a query; hits stay in the order of `found`.
///
/// # Errors
/// When a stored payload is no JSON.
pub fn found(found: &[Found], time: Duration) -> Rendered {
    ok(Points::found(found), time)
}

/// Reply to a batch of queries.
///
/// # Errors
/// See [`found`].
pub fn found_batch(batch: &[Vec<Found>], time: Duration) -> Rendered {
    ok(batch.iter().map(|found| Points::found(found)).collect::<Vec<_>>(), time)
}

/// Reply to the older search: the points without an enclosing object.
///
/// # Errors
/// See [`found`].
pub fn found_plain(found: &[Found], time: Duration) -> Rendered {
    ok(Points::found(found).points, time)
}

/// Reply to a retrieve; points stay in the order of `records`.
///
/// # Errors
/// See [`found`].
pub fn records(records: &[Record], time: Duration) -> Rendered {
    ok(records.iter().map(|record| body(record, None)).collect::<Vec<_>>(), time)
}

/// Reply to the retrieval of one point.
///
/// # Errors
/// See [`found`].
pub fn record(record: &Record, time: Duration) -> Rendered {
    ok(body(record, None), time)
}

/// Reply to a scroll; `next` is where the next page begins.
///
/// # Errors
/// See [`found`].
pub fn scrolled(page: &[Record], next: Option<PointId>, time: Duration) -> Rendered {
    #[derive(Serialize)]
    struct Page<'a> {
        points: Vec<RecordBody<'a>>,
        next_page_offset: Option<Id>,
    }
    let points = page.iter().map(|record| body(record, None)).collect();
    ok(Page { points, next_page_offset: next.map(Id) }, time)
}

//! The body of `PUT /collections/{name}`.

use std::collections::BTreeMap;

use meridian_config::{Limits, NodeConfig};
use meridian_model::{CollectionDef, CollectionName, Distance, HnswParams, VectorDef, VectorName};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Map, Value};

use super::Fault;
use super::json::{only, parse, refuse};

/// Largest number of vector names of a collection.
const VECTORS: usize = 64;
/// Largest definition in bytes: several times 64 vectors with all their fields. Its JSON tree stays within the 1 MiB that
/// any body may need.
const BYTES: usize = 32 << 10;
/// Longest vector name in bytes.
const NAME_BYTES: usize = 255;
/// Possible dimensions of a vector.
const DIM: std::ops::RangeInclusive<u64> = 1..=65_536;

/// Values that `GET /collections/{name}` reports for tuning that Meridian does not have; no others are accepted.
pub const DELETED_THRESHOLD: f64 = 0.2;
pub const VACUUM_MIN_VECTOR_NUMBER: u64 = 1_000;
pub const DEFAULT_SEGMENT_NUMBER: u64 = 0;
pub const FLUSH_INTERVAL_SEC: u64 = 5;
pub const WAL_CAPACITY_MB: u64 = 32;
pub const WAL_SEGMENTS_AHEAD: u64 = 0;

/// The cluster's properties that the definition of a collection must match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Shards of the region.
    pub shards: u16,
    /// Replicas of each shard; `None` while the node does not know them, and then nothing is checked against them.
    pub replicas: Option<u16>,
    /// Graph parameters of collections whose definition names none.
    pub hnsw: HnswParams,
}

impl From<&NodeConfig> for Shape {
    fn from(config: &NodeConfig) -> Self {
        Self { shards: config.shards, replicas: None, hnsw: config.collection_defaults.hnsw_config.into() }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CreateBody {
    vectors: Option<Map<String, Value>>,
    shard_number: Option<u64>,
    sharding_method: Option<String>,
    replication_factor: Option<u64>,
    write_consistency_factor: Option<u64>,
    on_disk_payload: Option<bool>,
    hnsw_config: Option<HnswBody>,
    wal_config: Option<WalBody>,
    optimizers_config: Option<OptimizersBody>,
    quantization_config: Option<IgnoredAny>,
    sparse_vectors: Option<Map<String, Value>>,
    strict_mode_config: Option<StrictModeBody>,
    metadata: Option<Map<String, Value>>,
    init_from: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct VectorBody {
    size: u64,
    distance: DistanceBody,
    hnsw_config: Option<HnswBody>,
    quantization_config: Option<IgnoredAny>,
    on_disk: Option<bool>,
    datatype: Option<String>,
    multivector_config: Option<IgnoredAny>,
}

#[derive(Deserialize)]
enum DistanceBody {
    Cosine,
    Dot,
    Euclid,
    Manhattan,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct HnswBody {
    m: Option<u64>,
    ef_construct: Option<u64>,
    /// Kilobytes.
    #[serde(alias = "full_scan_threshold_kb")]
    full_scan_threshold: Option<u64>,
    max_indexing_threads: Option<u64>,
    on_disk: Option<bool>,
    payload_m: Option<IgnoredAny>,
    inline_storage: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WalBody {
    wal_capacity_mb: Option<u64>,
    wal_segments_ahead: Option<u64>,
    wal_retain_closed: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OptimizersBody {
    deleted_threshold: Option<f64>,
    vacuum_min_vector_number: Option<u64>,
    default_segment_number: Option<u64>,
    flush_interval_sec: Option<u64>,
    max_segment_size: Option<IgnoredAny>,
    memmap_threshold: Option<IgnoredAny>,
    indexing_threshold: Option<IgnoredAny>,
    max_optimization_threads: Option<IgnoredAny>,
    prevent_unoptimized: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct StrictModeBody {
    enabled: Option<bool>,
    #[serde(flatten)]
    bounds: Map<String, Value>,
}

/// Parses the definition of the collection `name`.
///
/// # Errors
/// When it is malformed, too large, out of bounds, or names what Meridian or this cluster does not support.
pub fn create_collection(
    name: CollectionName,
    body: &[u8],
    shape: &Shape,
    limits: &Limits,
) -> Result<CollectionDef, Fault> {
    if body.len() > BYTES {
        return Err(Fault::TooLarge(format!(
            "the definition of a collection must be at most {BYTES} bytes (got {})",
            body.len()
        )));
    }
    let body: CreateBody = parse(body, limits)?;
    refuse_what_is_not_supported(&body)?;
    fits(&body, shape)?;
    let hnsw = body.hnsw_config.unwrap_or_default().convert("hnsw_config", shape.hnsw)?;
    let vectors = body.vectors.unwrap_or_default();
    // A single vector has a number under `size`; several are objects under their names, `size` being a possible one.
    let single = matches!(vectors.get("size"), Some(Value::Number(_) | Value::Null | Value::String(_)));
    let mut defs = BTreeMap::new();
    if single {
        defs.insert(VectorName::new(), vector("vectors", Value::Object(vectors), hnsw)?);
    } else {
        for (name, def) in vectors {
            check_name(&name)?;
            let def = vector(&format!("vectors.{name}"), def, hnsw)?;
            defs.insert(name, def);
        }
    }
    if defs.is_empty() || defs.len() > VECTORS {
        return Err(Fault::input(format!("vectors must be between 1 and {VECTORS} in number (got {})", defs.len())));
    }
    Ok(CollectionDef { name, vectors: defs })
}

fn refuse_what_is_not_supported(body: &CreateBody) -> Result<(), Fault> {
    refuse(body.quantization_config.as_ref(), "quantization_config: quantization cannot be chosen yet")?;
    refuse(body.init_from.as_ref(), "init_from: a collection cannot be started from another one")?;
    if body.sparse_vectors.as_ref().is_some_and(|map| !map.is_empty()) {
        return Err(Fault::unsupported("sparse_vectors: sparse vectors are not supported"));
    }
    if body.metadata.as_ref().is_some_and(|map| !map.is_empty()) {
        return Err(Fault::unsupported("metadata: collections carry no metadata"));
    }
    if let Some(strict) = &body.strict_mode_config
        && (strict.enabled == Some(true) || strict.bounds.values().any(|value| !value.is_null()))
    {
        return Err(Fault::unsupported(
            "strict_mode_config: limits are set for the whole cluster, not for a collection",
        ));
    }
    only("on_disk_payload", body.on_disk_payload, false, "payloads are served from memory")?;
    only("sharding_method", body.sharding_method.as_deref(), "auto", "points are spread by the hash of their id")?;
    if let Some(wal) = &body.wal_config {
        let why = "the write-ahead log belongs to the shard, not to a collection";
        only("wal_config.wal_capacity_mb", wal.wal_capacity_mb, WAL_CAPACITY_MB, why)?;
        only("wal_config.wal_segments_ahead", wal.wal_segments_ahead, WAL_SEGMENTS_AHEAD, why)?;
        refuse(wal.wal_retain_closed.as_ref(), "wal_config.wal_retain_closed: the log belongs to the shard")?;
    }
    if let Some(optimizers) = &body.optimizers_config {
        let why = "there are no segments to optimise";
        let name = |field| format!("optimizers_config.{field}");
        only(&name("deleted_threshold"), optimizers.deleted_threshold, DELETED_THRESHOLD, why)?;
        only(&name("vacuum_min_vector_number"), optimizers.vacuum_min_vector_number, VACUUM_MIN_VECTOR_NUMBER, why)?;
        only(&name("default_segment_number"), optimizers.default_segment_number, DEFAULT_SEGMENT_NUMBER, why)?;
        only(&name("flush_interval_sec"), optimizers.flush_interval_sec, FLUSH_INTERVAL_SEC, why)?;
        let refused = "optimizers_config: only deleted_threshold, vacuum_min_vector_number, default_segment_number and \
                       flush_interval_sec may stand here, with the values that GET /collections/{name} reports";
        refuse(optimizers.max_segment_size.as_ref(), refused)?;
        refuse(optimizers.memmap_threshold.as_ref(), refused)?;
        refuse(optimizers.indexing_threshold.as_ref(), refused)?;
        refuse(optimizers.max_optimization_threads.as_ref(), refused)?;
        refuse(optimizers.prevent_unoptimized.as_ref(), refused)?;
    }
    Ok(())
}

/// Checks shards and replicas of the request against those of the cluster.
fn fits(body: &CreateBody, shape: &Shape) -> Result<(), Fault> {
    let equal = |name, found: Option<u64>, has: u16| match found {
        Some(found) if found != u64::from(has) => Err(Fault::input(format!(
            "{name}: {found} cannot be had, this cluster has {has}; its VectorCluster says how many"
        ))),
        _ => Ok(()),
    };
    equal("shard_number", body.shard_number, shape.shards)?;
    if body.write_consistency_factor == Some(0) {
        return Err(Fault::input("write_consistency_factor must be at least 1 (got 0)"));
    }
    let Some(replicas) = shape.replicas else { return Ok(()) };
    equal("replication_factor", body.replication_factor, replicas)?;
    let majority = replicas / 2 + 1;
    match body.write_consistency_factor {
        Some(factor) if factor > u64::from(majority) => Err(Fault::input(format!(
            "write_consistency_factor: {factor} cannot be had, a write is acknowledged by a majority, which is {majority}"
        ))),
        _ => Ok(()),
    }
}

fn vector(place: &str, def: Value, hnsw: HnswParams) -> Result<VectorDef, Fault> {
    let body: VectorBody = serde_json::from_value(def).map_err(|error| Fault::Format(format!("{place}: {error}")))?;
    if !DIM.contains(&body.size) {
        return Err(Fault::input(format!(
            "{place}.size must be between {} and {} (got {})",
            DIM.start(),
            DIM.end(),
            body.size
        )));
    }
    let refused = |field: Option<&IgnoredAny>, sentence: &str| {
        field.map_or(Ok(()), |_| Err(Fault::unsupported(format!("{place}.{sentence}"))))
    };
    refused(body.quantization_config.as_ref(), "quantization_config: quantization cannot be chosen yet")?;
    refused(body.multivector_config.as_ref(), "multivector_config: multivectors are not supported")?;
    only(&format!("{place}.on_disk"), body.on_disk, false, "vectors are served from memory")?;
    only(&format!("{place}.datatype"), body.datatype.as_deref(), "float32", "other types are not supported")?;
    Ok(VectorDef {
        dim: u32::try_from(body.size).expect("checked against DIM"),
        distance: match body.distance {
            DistanceBody::Cosine => Distance::Cosine,
            DistanceBody::Dot => Distance::Dot,
            DistanceBody::Euclid => Distance::Euclid,
            DistanceBody::Manhattan => Distance::Manhattan,
        },
        hnsw: body.hnsw_config.unwrap_or_default().convert(&format!("{place}.hnsw_config"), hnsw)?,
    })
}

impl HnswBody {
    fn convert(self, place: &str, default: HnswParams) -> Result<HnswParams, Fault> {
        let name = |field| format!("{place}.{field}");
        only(&name("max_indexing_threads"), self.max_indexing_threads, 0, "the node decides by itself")?;
        only(&name("on_disk"), self.on_disk, false, "graphs are served from memory")?;
        if self.payload_m.is_some() {
            return Err(Fault::unsupported(format!("{}: there are no links by payload", name("payload_m"))));
        }
        let within = |field, value: Option<u64>, default: u16, least: u16, most: u16| match value {
            None => Ok(default),
            Some(value) => match u16::try_from(value) {
                Ok(fine) if (least..=most).contains(&fine) => Ok(fine),
                _ => Err(Fault::input(format!("{} must be between {least} and {most} (got {value})", name(field)))),
            },
        };
        let full_scan_threshold = match self.full_scan_threshold {
            None => default.full_scan_threshold,
            Some(value) => u32::try_from(value).map_err(|_| {
                let field = name("full_scan_threshold");
                Fault::input(format!("{field} must be <= {} kilobytes (got {value})", u32::MAX))
            })?,
        };
        Ok(HnswParams {
            full_scan_threshold,
            m: within("m", self.m, default.m, 4, 128)?,
            ef_construct: within("ef_construct", self.ef_construct, default.ef_construct, 8, 4_096)?,
            inline_storage: self.inline_storage.unwrap_or(default.inline_storage),
        })
    }
}

fn check_name(name: &str) -> Result<(), Fault> {
    if name.len() > NAME_BYTES {
        return Err(Fault::input(format!(
            "the name of a vector must be at most {NAME_BYTES} bytes long (got {})",
            name.len()
        )));
    }
    match name.chars().find(|c| c.is_control()) {
        Some(c) => Err(Fault::input(format!("vectors: a name cannot contain {c:?}"))),
        None => Ok(()),
    }
}

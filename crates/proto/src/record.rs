//! Deltas and statements of completeness as Kafka records: headers with position and time, a value in JSON.
//!
//! ```text
//!   headers  kind       delta | complete | collection
//!            schema     3
//!            needs      number: behavior version that a reader needs, that of the change's kind
//!            origin     region            shard   number, from 1       shards  how many the region has
//!            epoch      number            seq     number               (all numbers in decimal)
//!            hlc        number, of a change
//!            write      of a change: id of the client's request, a UUID
//!            index      of a change: its place in that request (of a conditional write: part * 1024 + place)
//!            term       number, of a statement of completeness: Raft term of the leader that states that every change
//!            wall       acknowledged before this wall time (milliseconds since 1970) has a position up to epoch and seq
//!            traceparent  of a delta, and only if the request had one: W3C trace context
//!   value    delta       {"id": 7 | "<uuid>", "op": "upsert" | "delete", "ts": seconds, "collection": "<uid>",
//!                         "embedding": [...]  and "vectors": {name: [...]}, "payload": {...}}
//!                     or  {"op": "none", "ts": seconds}: a change that did nothing, published so that sequences have no gap
//!            collection  {"op": "create" | "drop", "ts": seconds, "collection": "<uid>", "name": ..., "vectors": {name: {...}}}
//!            complete    {"ts": seconds}
//! ```
//! `embedding` is the unnamed vector. Numbers of vectors are the shortest decimals that give the same f32 back. Unknown
//! headers are ignored, because tracing adds some; a key of the value that is not known is refused by name. So is a record
//! that needs a later schema or behavior version: it stops the link of its origin shard, and no other.

use std::collections::BTreeMap;
use std::sync::Arc;

use meridian_model::{
    BehaviorVersion, CollectionDef, CollectionName, CollectionUid, Delta, Epoch, Hlc, Op, OriginShard, Payload,
    PointId, Position, RegionName, Seq, ShardNumber, Statement, TRACEPARENT, Term, VectorDef, VectorName, Vectors,
    VersionUnknown, WallMillis, WriteId, WriteRef,
};
use serde::{Deserialize, Serialize};

/// The schema that this version writes and reads; others are refused.
pub const SCHEMA: u32 = 3;
/// Longest value that is decoded, in bytes: the largest point of a request body of 32 MiB.
pub const VALUE_BYTES: usize = 32 << 20;

/// Longest record that is published, in bytes with its headers; the topic and MirrorMaker 2 must accept it. Other regions
/// read a longer delta directly.
pub const RECORD_BYTES: usize = 8 << 20;

/// A record.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// Origin shard of the log.
    pub origin: OriginShard,
    /// Number of shards of the origin region.
    pub origin_shards: u16,
    /// Change or statement.
    pub body: Body,
}

/// The content of a record.
#[derive(Debug, Clone, PartialEq)]
pub enum Body {
    /// One change.
    Delta(Delta),
    /// A statement of completeness.
    Complete(Statement),
}

/// An encoded record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    /// Names and values in the order written.
    pub headers: Vec<(&'static str, Vec<u8>)>,
    /// JSON.
    pub value: Vec<u8>,
}

/// Why a record cannot be decoded. Such a poison record stops the link of its origin shard.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// A header is missing.
    #[error("header {0} is missing")]
    Missing(&'static str),
    /// A header has an invalid value.
    #[error("header {name}: {value:?} is not {wanted}")]
    Header {
        /// Which.
        name: &'static str,
        /// The value, cut to 80 characters.
        value: String,
        /// What the value must be.
        wanted: &'static str,
    },
    /// Written by a newer release: a later schema, or a behavior version that this build does not know.
    #[error(transparent)]
    VersionUnknown(#[from] VersionUnknown),
    /// A schema that was written before 0.2.0, or none.
    #[error("schema {0} is not read by this version; schema {SCHEMA} is")]
    Schema(String),
    /// Longer than [`VALUE_BYTES`].
    #[error("a value of {0} bytes; at most {VALUE_BYTES} are read")]
    TooLong(usize),
    /// The value does not fit the kind.
    #[error("value: {0}")]
    Value(String),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct DeltaValue {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    id: Option<Id>,
    op: DeltaOp,
    ts: f64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    collection: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    embedding: Option<Vec<f32>>,
    #[serde(default, skip_serializing_if = "Vectors::is_empty")]
    vectors: Vectors,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    payload: Option<serde_json::Map<String, serde_json::Value>>,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Id {
    Num(u64),
    Text(String),
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum DeltaOp {
    Upsert,
    Delete,
    None,
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "lowercase", deny_unknown_fields)]
enum CollectionValue {
    Create { ts: f64, collection: String, name: CollectionName, vectors: BTreeMap<VectorName, VectorDef> },
    Drop { ts: f64, collection: String },
}

#[derive(Serialize)]
struct CompleteValue {
    ts: f64,
}

impl Record {
    /// Position of the delta in the log, or the position that the statement is about.
    #[must_use]
    pub fn position(&self) -> Position {
        match &self.body {
            Body::Delta(delta) => delta.position(),
            Body::Complete(statement) => statement.through,
        }
    }

    /// The behavior version that a reader needs.
    #[must_use]
    pub fn needs(&self) -> BehaviorVersion {
        match &self.body {
            Body::Delta(delta) => delta.needs(),
            Body::Complete(_) => BehaviorVersion::FIRST,
        }
    }

    /// Encodes headers and value.
    #[must_use]
    pub fn encode(&self) -> Encoded {
        let (kind, value) = match &self.body {
            Body::Complete(statement) => ("complete", json(&CompleteValue { ts: seconds(statement.wall) })),
            Body::Delta(delta) => encode_op(&delta.op, seconds(delta.committed_at.wall())),
        };
        let position = self.position();
        let text = |number: u64| number.to_string().into_bytes();
        let mut headers = vec![
            ("kind", kind.as_bytes().to_vec()),
            ("schema", text(SCHEMA.into())),
            ("needs", text(self.needs().0.into())),
            ("origin", self.origin.region.as_str().as_bytes().to_vec()),
            ("shard", text(self.origin.shard.number().into())),
            ("shards", text(self.origin_shards.into())),
            ("epoch", text(position.epoch.0.into())),
            ("seq", text(position.seq.0)),
        ];
        match &self.body {
            Body::Delta(delta) => headers.extend([
                ("hlc", text(delta.committed_at.0)),
                ("write", delta.write.id.to_string().into_bytes()),
                ("index", text(delta.write.index.into())),
            ]),
            Body::Complete(statement) => {
                headers.extend([("term", text(statement.term.0)), ("wall", text(statement.wall.0))]);
            }
        }
        if let Body::Delta(Delta { trace: Some(trace), .. }) = &self.body {
            headers.push((TRACEPARENT, trace.to_string().into_bytes()));
        }
        Encoded { headers, value }
    }

    /// Decodes a record. `header` returns the value of a header by its name.
    ///
    /// # Errors
    /// [`RecordError::VersionUnknown`] when a newer release wrote it; else when a header is missing or invalid, or the value
    /// is too long or malformed.
    pub fn decode<'a>(header: impl Fn(&str) -> Option<&'a [u8]>, value: &[u8]) -> Result<Self, RecordError> {
        if value.len() > VALUE_BYTES {
            return Err(RecordError::TooLong(value.len()));
        }
        let headers = Headers(&header);
        let schema = headers.text("schema")?;
        match schema.parse() {
            Ok(SCHEMA) => {}
            Ok(newer) if newer > SCHEMA => return Err(VersionUnknown::format(newer, SCHEMA).into()),
            Ok(_) | Err(_) => return Err(RecordError::Schema(cut(schema))),
        }
        VersionUnknown::check(BehaviorVersion(headers.parse("needs", "a number", |text| text.parse().ok())?))?;
        let origin = OriginShard {
            region: headers.parse("origin", "a region", |text| RegionName::new(text).ok())?,
            shard: headers.parse("shard", "a shard number", |t| ShardNumber::new(t.parse().ok()?).ok())?,
        };
        let origin_shards = headers.parse("shards", "a number of shards", |text| {
            text.parse().ok().filter(|count| (1..=ShardNumber::MAX).contains(count))
        })?;
        let epoch = Epoch(headers.parse("epoch", "a number", |text| text.parse().ok())?);
        let seq = Seq(headers.number("seq")?);
        let op = match headers.text("kind")? {
            "complete" => None,
            "delta" => Some(decode_point(value)?),
            "collection" => Some(decode_collection(value)?),
            other => return Err(fault("kind", other, "delta, complete or collection")),
        };
        let body = match op {
            None => Body::Complete(Statement {
                through: Position { epoch, seq },
                term: Term(headers.number("term")?),
                wall: WallMillis(headers.number("wall")?),
            }),
            Some(op) => {
                let committed_at = Hlc(headers.number("hlc")?);
                // A malformed header counts as absent: headers added by others must not stop the link.
                let trace = header(TRACEPARENT).and_then(|bytes| std::str::from_utf8(bytes).ok()?.parse().ok());
                let write = WriteRef {
                    id: headers.parse("write", "a UUID", |text| text.parse::<WriteId>().ok())?,
                    index: headers.parse("index", "a number", |text| text.parse().ok())?,
                };
                Body::Delta(Delta { origin: origin.clone(), epoch, seq, committed_at, op, write, trace })
            }
        };
        Ok(Self { origin, origin_shards, body })
    }
}

struct Headers<'f, F>(&'f F);

impl<'a, F: Fn(&str) -> Option<&'a [u8]>> Headers<'_, F> {
    fn text(&self, name: &'static str) -> Result<&'a str, RecordError> {
        let bytes = (self.0)(name).ok_or(RecordError::Missing(name))?;
        std::str::from_utf8(bytes).map_err(|_| fault(name, &String::from_utf8_lossy(bytes), "text"))
    }

    fn parse<T>(
        &self,
        name: &'static str,
        wanted: &'static str,
        read: impl Fn(&str) -> Option<T>,
    ) -> Result<T, RecordError> {
        let text = self.text(name)?;
        read(text).ok_or_else(|| fault(name, text, wanted))
    }

    fn number(&self, name: &'static str) -> Result<u64, RecordError> {
        self.parse(name, "a number", |text| text.parse().ok())
    }
}

fn encode_op(op: &Op, ts: f64) -> (&'static str, Vec<u8>) {
    let uid = |uid: &CollectionUid| uid.to_string();
    let id = |point: &PointId| match point {
        PointId::Num(number) => Some(Id::Num(*number)),
        PointId::Uuid(_) => Some(Id::Text(point.to_string())),
    };
    let bare = |id, op, collection| {
        let (embedding, vectors, payload) = (None, Vectors::new(), None);
        ("delta", json(&DeltaValue { id, op, ts, collection, embedding, vectors, payload }))
    };
    match op {
        Op::Upsert { collection, point, vectors, payload } => {
            let mut vectors = vectors.clone();
            let embedding = vectors.remove("");
            // Payloads in a log were checked when the request was parsed.
            let payload = (!payload.is_empty()).then(|| serde_json::from_str(&payload.0).unwrap_or_default());
            let (id, collection) = (id(point), Some(uid(collection)));
            ("delta", json(&DeltaValue { id, op: DeltaOp::Upsert, ts, collection, embedding, vectors, payload }))
        }
        Op::Delete { collection, point } => bare(id(point), DeltaOp::Delete, Some(uid(collection))),
        Op::Nothing => bare(None, DeltaOp::None, None),
        Op::CreateCollection { uid: collection, def } => {
            let (name, vectors) = (def.name.clone(), def.vectors.clone());
            ("collection", json(&CollectionValue::Create { ts, collection: uid(collection), name, vectors }))
        }
        Op::DropCollection { uid: collection } => {
            ("collection", json(&CollectionValue::Drop { ts, collection: uid(collection) }))
        }
    }
}

fn decode_point(value: &[u8]) -> Result<Op, RecordError> {
    let DeltaValue { id, op, collection, embedding, vectors, payload, .. } = parse(value)?;
    if matches!(op, DeltaOp::None) {
        return Ok(Op::Nothing);
    }
    let missing = |key: &str| RecordError::Value(format!("missing field `{key}`"));
    let collection = uid_of(&collection.ok_or_else(|| missing("collection"))?)?;
    let point = match id.ok_or_else(|| missing("id"))? {
        Id::Num(number) => PointId::Num(number),
        Id::Text(text) => match text.parse() {
            Ok(point @ PointId::Uuid(_)) => point,
            _ => return Err(RecordError::Value(format!("id {:?} is no UUID", cut(&text)))),
        },
    };
    match op {
        DeltaOp::None => Ok(Op::Nothing),
        DeltaOp::Delete => Ok(Op::Delete { collection, point }),
        DeltaOp::Upsert => {
            let mut vectors = vectors;
            if let Some(embedding) = embedding {
                vectors.insert(VectorName::new(), embedding);
            }
            let payload = payload
                .map_or_else(Payload::default, |map| Payload(Arc::from(serde_json::Value::Object(map).to_string())));
            Ok(Op::Upsert { collection, point, vectors, payload })
        }
    }
}

fn decode_collection(value: &[u8]) -> Result<Op, RecordError> {
    Ok(match parse(value)? {
        CollectionValue::Create { collection, name, vectors, .. } => {
            Op::CreateCollection { uid: uid_of(&collection)?, def: CollectionDef { name, vectors } }
        }
        CollectionValue::Drop { collection, .. } => Op::DropCollection { uid: uid_of(&collection)? },
    })
}

fn uid_of(text: &str) -> Result<CollectionUid, RecordError> {
    text.parse().map(CollectionUid).map_err(|_| RecordError::Value(format!("collection {:?} is no uid", cut(text))))
}

fn parse<'a, T: Deserialize<'a>>(value: &'a [u8]) -> Result<T, RecordError> {
    serde_json::from_slice(value).map_err(|fault| RecordError::Value(fault.to_string()))
}

fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("finite numbers and text keys can always be written as JSON")
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds since 1970 fit into 53 bits for 285,000 years")]
fn seconds(wall: WallMillis) -> f64 {
    wall.0 as f64 / 1000.0
}

fn fault(name: &'static str, value: &str, wanted: &'static str) -> RecordError {
    RecordError::Header { name, value: cut(value), wanted }
}

fn cut(text: &str) -> String {
    text.chars().take(80).collect()
}

#[cfg(test)]
mod tests;

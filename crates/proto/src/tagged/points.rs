//! Vectors, payloads and changes of points.

use std::sync::Arc;

use meridian_model as model;
use meridian_model::client;

use super::fields::{Fault, known, required};
use super::ids::{PointId, Stamp};

/// Packed floats: on the wire the same as `repeated float`.
pub fn pack(numbers: &[f32]) -> Vec<u8> {
    let mut bytes = vec![0; 4 * numbers.len()];
    for (four, number) in bytes.chunks_exact_mut(4).zip(numbers) {
        four.copy_from_slice(&number.to_le_bytes());
    }
    bytes
}

/// The numbers of packed floats.
pub fn unpack(field: &str, bytes: &[u8]) -> Result<Vec<f32>, Fault> {
    let (fours, rest) = bytes.as_chunks::<4>();
    if !rest.is_empty() {
        return Err(Fault::malformed(field, format_args!("{} bytes are no packed floats", bytes.len())));
    }
    Ok(fours.iter().map(|four| f32::from_le_bytes(*four)).collect())
}

/// `1 name, 2 numbers (packed float)`
#[derive(prost::Message)]
pub struct NamedVector {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(bytes = "vec", tag = "2")]
    numbers: Vec<u8>,
}

/// The vectors of a point as messages, ordered by name.
pub fn from_vectors(vectors: &model::Vectors) -> Vec<NamedVector> {
    vectors.iter().map(|(name, numbers)| NamedVector { name: name.clone(), numbers: pack(numbers) }).collect()
}

/// The vectors of a point.
pub fn to_vectors(named: Vec<NamedVector>) -> Result<model::Vectors, Fault> {
    let mut vectors = model::Vectors::new();
    for NamedVector { name, numbers } in named {
        let numbers = unpack("vector", &numbers)?;
        if vectors.contains_key(&name) {
            return Err(Fault::malformed("vectors", format_args!("two are named {name:?}")));
        }
        vectors.insert(name, numbers);
    }
    Ok(vectors)
}

/// Vectors where "none selected" and "no vectors" differ: `1 vectors`
#[derive(prost::Message)]
pub struct VectorList {
    #[prost(message, repeated, tag = "1")]
    vectors: Vec<NamedVector>,
}

impl From<&model::Vectors> for VectorList {
    fn from(vectors: &model::Vectors) -> Self {
        Self { vectors: from_vectors(vectors) }
    }
}

impl TryFrom<VectorList> for model::Vectors {
    type Error = Fault;

    fn try_from(list: VectorList) -> Result<Self, Fault> {
        to_vectors(list.vectors)
    }
}

/// The text of a payload.
pub fn payload(text: String) -> model::Payload {
    model::Payload(Arc::from(text))
}

/// `1 upsert: {1 point, 2 vectors, 3 payload}, 2 delete: {1 point}`
#[derive(prost::Message)]
pub struct PointOp {
    #[prost(oneof = "PointOpKind", tags = "1, 2")]
    kind: Option<PointOpKind>,
}

#[derive(prost::Oneof)]
pub enum PointOpKind {
    #[prost(message, tag = "1")]
    Upsert(Upsert),
    #[prost(message, tag = "2")]
    Delete(Delete),
}

#[derive(prost::Message)]
pub struct Upsert {
    #[prost(message, optional, tag = "1")]
    point: Option<PointId>,
    #[prost(message, repeated, tag = "2")]
    vectors: Vec<NamedVector>,
    #[prost(string, tag = "3")]
    payload: String,
}

#[derive(prost::Message)]
pub struct Delete {
    #[prost(message, optional, tag = "1")]
    point: Option<PointId>,
}

impl From<&client::PointOp> for PointOp {
    fn from(op: &client::PointOp) -> Self {
        let kind = match op {
            client::PointOp::Upsert { point, vectors, payload } => PointOpKind::Upsert(Upsert {
                point: Some(point.into()),
                vectors: from_vectors(vectors),
                payload: String::from(&*payload.0),
            }),
            client::PointOp::Delete { point } => PointOpKind::Delete(Delete { point: Some(point.into()) }),
        };
        Self { kind: Some(kind) }
    }
}

impl TryFrom<PointOp> for client::PointOp {
    type Error = Fault;

    fn try_from(op: PointOp) -> Result<Self, Fault> {
        Ok(match known("change of a point", op.kind)? {
            PointOpKind::Upsert(upsert) => Self::Upsert {
                point: required("upsert.point", upsert.point)?,
                vectors: to_vectors(upsert.vectors)?,
                payload: payload(upsert.payload),
            },
            PointOpKind::Delete(delete) => Self::Delete { point: required("delete.point", delete.point)? },
        })
    }
}

/// `1 point, 2 seen; change: 3 delete`
#[derive(prost::Message)]
pub struct ConditionalChange {
    #[prost(message, optional, tag = "1")]
    point: Option<PointId>,
    #[prost(message, optional, tag = "2")]
    seen: Option<Stamp>,
    #[prost(oneof = "PointChange", tags = "3")]
    change: Option<PointChange>,
}

#[derive(prost::Oneof)]
pub enum PointChange {
    #[prost(message, tag = "3")]
    Delete(()),
}

impl From<&model::ConditionalChange> for ConditionalChange {
    fn from(change: &model::ConditionalChange) -> Self {
        let kind = match change.change {
            model::PointChange::Delete => PointChange::Delete(()),
        };
        Self { point: Some((&change.point).into()), seen: Some((&change.seen).into()), change: Some(kind) }
    }
}

impl TryFrom<ConditionalChange> for model::ConditionalChange {
    type Error = Fault;

    fn try_from(change: ConditionalChange) -> Result<Self, Fault> {
        let PointChange::Delete(()) = known("change of a point", change.change)?;
        let (point, seen) = (required("change.point", change.point)?, required("change.seen", change.seen)?);
        Ok(Self { point, seen, change: model::PointChange::Delete })
    }
}

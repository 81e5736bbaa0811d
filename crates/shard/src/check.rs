//! Checks before a proposal. Committed entries are never refused: replicas apply them.

use std::collections::BTreeMap;

use meridian_model::{
    BehaviorVersion, CollectionDef, CollectionName, CollectionUid, Delta, Distance, Hlc, MAX_PAYLOAD_BYTES, Op,
    Payload, PointId, Seq, TableVersion, VectorDef, VectorName, Vectors,
};
use serde::de::IgnoredAny;

use crate::State;
use crate::vectors::{NumberError, TooLong, check_numbers, normalize};

/// Most named vectors of a collection: each has its own index.
pub const MAX_VECTORS: usize = 64;
/// Longest name of a vector, in bytes, as of a collection.
const MAX_VECTOR_NAME_BYTES: usize = 255;

/// Refusal of a change. The texts about vectors equal those of Qdrant, which its clients know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpError {
    /// No collection has that uid, or not yet.
    #[error("collection {0} is not known")]
    UnknownCollection(CollectionUid),
    /// A stamp that no origin can have assigned.
    #[error("stamp must be at most {max} (got {0})", max = Hlc::REMOTE_MAX)]
    Stamp(Hlc),
    /// A change that this region must not merge yet.
    #[error("the change needs behavior version {needs}; this region has finalized {finalized}")]
    Version {
        /// The version that it needs.
        needs: BehaviorVersion,
        /// The version that the group has finalized.
        finalized: BehaviorVersion,
    },
    /// Another shard owns the point.
    #[error("point {point} belongs to another shard by bucket table {table}")]
    Elsewhere {
        /// The point.
        point: PointId,
        /// The version of the table that says so.
        table: TableVersion,
    },
    /// A vector of another length.
    #[error("Vector dimension error: expected dim: {expected}, got {found}")]
    Dimension {
        /// The length in the definition.
        expected: u32,
        /// The length of the vector.
        found: usize,
    },
    /// The collection has no vector of that name.
    #[error("Not existing vector name error: {0}")]
    UnknownVector(VectorName),
    /// The unnamed vector of the collection is missing.
    #[error("point {0} lacks the unnamed vector")]
    MissingVector(PointId),
    /// An element is NaN or infinite.
    #[error("vector {name:?} of point {point}: element {element} is not a finite number")]
    NotFinite {
        /// The point.
        point: PointId,
        /// The vector.
        name: VectorName,
        /// The element, from 0.
        element: usize,
    },
    /// A vector so long that its distance to another one might overflow.
    #[error("vector {name:?} of point {point}: {fault}")]
    TooLong {
        /// The point.
        point: PointId,
        /// The vector.
        name: VectorName,
        /// Its length and the limit.
        fault: TooLong,
    },
    /// The payload has too many bytes.
    #[error("payload of point {point} must be at most {MAX_PAYLOAD_BYTES} bytes (got {bytes})")]
    PayloadTooLong {
        /// The point.
        point: PointId,
        /// Number of bytes.
        bytes: usize,
    },
    /// The payload is not one JSON object.
    #[error("payload of point {0} is not a JSON object")]
    Payload(PointId),
    /// Another collection has the name.
    #[error("Collection `{0}` already exists!")]
    NameTaken(CollectionName),
    /// The uid is in use, or was dropped.
    #[error("collection uid {0} was given before")]
    UidTaken(CollectionUid),
    /// No vectors, or too many.
    #[error("vectors of a collection must be between 1 and {MAX_VECTORS} in number (got {0})")]
    VectorCount(usize),
    /// A parameter outside its range.
    #[error("{parameter} of vector {name:?} must be between {least} and {most} (got {value})")]
    Parameter {
        /// The vector.
        name: VectorName,
        /// The parameter.
        parameter: &'static str,
        /// Its value.
        value: u64,
        /// Its minimum.
        least: u64,
        /// Its maximum.
        most: u64,
    },
}

impl State {
    /// Checks local changes before they are proposed, each against the state and the preceding changes.
    ///
    /// # Errors
    /// The first violation.
    pub fn check_write(&self, ops: &[Op]) -> Result<(), OpError> {
        let mut created = BTreeMap::new();
        for op in ops {
            if let Op::Upsert { point, .. } | Op::Delete { point, .. } = op
                && !self.owns(*point)
            {
                return Err(OpError::Elsewhere { point: *point, table: self.core.table.version });
            }
            match op {
                Op::Upsert { collection, .. } | Op::Delete { collection, .. }
                    if self.def(*collection, &created).is_none() =>
                {
                    return Err(OpError::UnknownCollection(*collection));
                }
                Op::CreateCollection { uid, def } => self.check_new(*uid, def)?,
                _ => {}
            }
            self.check_op(op, &mut created)?;
        }
        Ok(())
    }

    /// Checks deltas of another region before they are proposed. An unknown collection is valid: it may be dropped.
    ///
    /// # Errors
    /// The first violation with the sequence of its delta, the poison delta at which the link stops.
    pub fn check_remote(&self, deltas: &[Delta]) -> Result<(), (Seq, OpError)> {
        let mut created = BTreeMap::new();
        deltas.iter().try_for_each(|delta| {
            let (needs, finalized) = (delta.needs(), self.core.behavior);
            let checked = if needs > finalized {
                Err(OpError::Version { needs, finalized })
            } else if delta.committed_at > Hlc::REMOTE_MAX {
                Err(OpError::Stamp(delta.committed_at))
            } else {
                self.check_op(&delta.op, &mut created)
            };
            checked.map_err(|fault| (delta.seq, fault))
        })
    }

    /// Scales vectors with Cosine distance in `ops` to length 1. The leader calls it once, after [`State::check_write`]: all
    /// replicas and regions store the bytes of the entry.
    pub fn normalize(&self, ops: &mut [Op]) {
        for op in ops {
            let Op::Upsert { collection, vectors, .. } = op else { continue };
            let Some(held) = self.collections.get(collection) else { continue };
            for (name, vector) in vectors {
                if held.def().vectors.get(name).is_some_and(|def| def.distance == Distance::Cosine) {
                    normalize(vector);
                }
            }
        }
    }

    fn def<'a>(
        &'a self,
        uid: CollectionUid,
        created: &BTreeMap<CollectionUid, &'a CollectionDef>,
    ) -> Option<&'a CollectionDef> {
        self.collections.get(&uid).map(crate::Collection::def).or_else(|| created.get(&uid).copied())
    }

    fn check_new(&self, uid: CollectionUid, def: &CollectionDef) -> Result<(), OpError> {
        let known = self.collections.get(&uid).map(crate::Collection::def);
        if known.is_some_and(|known| known != def) || self.is_dropped(uid) {
            return Err(OpError::UidTaken(uid));
        }
        match self.names.get(&def.name) {
            // Only shard 1 decides on names; the other shards follow and may still hold the previous collection.
            Some(held) if *held >= uid && known.is_none() => Err(OpError::NameTaken(def.name.clone())),
            Some(held) if *held != uid && self.core.me.shard == meridian_model::ShardNumber::FIRST => {
                Err(OpError::NameTaken(def.name.clone()))
            }
            _ => Ok(()),
        }
    }

    fn check_op<'a>(
        &'a self,
        op: &'a Op,
        created: &mut BTreeMap<CollectionUid, &'a CollectionDef>,
    ) -> Result<(), OpError> {
        match op {
            Op::Upsert { collection, point, vectors, payload } => {
                check_payload(*point, payload)?;
                match self.def(*collection, created) {
                    Some(def) => check_vectors(*point, def, vectors),
                    None => Ok(()),
                }
            }
            Op::CreateCollection { uid, def } => {
                created.insert(*uid, def);
                check_def(def)
            }
            Op::Delete { .. } | Op::DropCollection { .. } | Op::Nothing => Ok(()),
        }
    }
}

fn check_vectors(point: PointId, def: &CollectionDef, vectors: &Vectors) -> Result<(), OpError> {
    if def.vectors.contains_key("") && !vectors.contains_key("") {
        return Err(OpError::MissingVector(point));
    }
    for (name, vector) in vectors {
        let def = def.vectors.get(name).ok_or_else(|| OpError::UnknownVector(name.clone()))?;
        if vector.len() != def.dim as usize {
            return Err(OpError::Dimension { expected: def.dim, found: vector.len() });
        }
        check_numbers(vector).map_err(|error| match error {
            NumberError::NotFinite(element) => OpError::NotFinite { point, name: name.clone(), element },
            NumberError::TooLong(fault) => OpError::TooLong { point, name: name.clone(), fault },
        })?;
    }
    Ok(())
}

fn check_payload(point: PointId, payload: &Payload) -> Result<(), OpError> {
    if payload.0.len() > MAX_PAYLOAD_BYTES {
        return Err(OpError::PayloadTooLong { point, bytes: payload.0.len() });
    }
    if payload.is_empty() || serde_json::from_str::<BTreeMap<String, IgnoredAny>>(&payload.0).is_ok() {
        return Ok(());
    }
    Err(OpError::Payload(point))
}

fn check_def(def: &CollectionDef) -> Result<(), OpError> {
    if def.vectors.is_empty() || def.vectors.len() > MAX_VECTORS {
        return Err(OpError::VectorCount(def.vectors.len()));
    }
    for (name, VectorDef { dim, hnsw, .. }) in &def.vectors {
        let parameters = [
            ("name length", name.len() as u64, 0, MAX_VECTOR_NAME_BYTES as u64),
            ("dimension", u64::from(*dim), 1, 65_536),
            ("m", u64::from(hnsw.m), 4, 128),
            ("ef_construct", u64::from(hnsw.ef_construct), 8, 4_096),
        ];
        for (parameter, value, least, most) in parameters {
            if !(least..=most).contains(&value) {
                return Err(OpError::Parameter { name: name.clone(), parameter, value, least, most });
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;

//! What is refused before it is proposed. Behind the log nothing is refused: replicas apply what is committed.

use std::collections::BTreeMap;

use meridian_model::{
    BehaviorVersion, CollectionDef, CollectionName, CollectionUid, Delta, Distance, Hlc, MAX_PAYLOAD_BYTES, Op,
    Payload, PointId, Seq, TableVersion, VectorDef, VectorName, Vectors,
};
use serde::de::IgnoredAny;

use crate::State;
use crate::vectors::{NumberError, TooLong, check_numbers, normalize};

/// Most named vectors of a collection: each has an index of its own.
pub const MAX_VECTORS: usize = 64;
/// Longest name of a vector, as of a collection.
const MAX_VECTOR_NAME_BYTES: usize = 255;

/// Why a change is refused. The texts on vectors are those that Qdrant's clients know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpError {
    /// No collection has that uid here, or not yet.
    #[error("collection {0} is not known")]
    UnknownCollection(CollectionUid),
    /// A stamp that no origin can have given.
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
        /// Which.
        point: PointId,
        /// By which table.
        table: TableVersion,
    },
    /// A vector of another length.
    #[error("Vector dimension error: expected dim: {expected}, got {found}")]
    Dimension {
        /// As the collection says.
        expected: u32,
        /// As it came.
        found: usize,
    },
    /// The collection has no vector of that name.
    #[error("Not existing vector name error: {0}")]
    UnknownVector(VectorName),
    /// The collection's unnamed vector was left out.
    #[error("point {0} lacks the unnamed vector")]
    MissingVector(PointId),
    /// NaN or infinite.
    #[error("vector {name:?} of point {point}: element {element} is not a finite number")]
    NotFinite {
        /// Of which point.
        point: PointId,
        /// Which vector.
        name: VectorName,
        /// Which element, from 0.
        element: usize,
    },
    /// A vector so long that its distance to another one may overflow.
    #[error("vector {name:?} of point {point}: {fault}")]
    TooLong {
        /// Of which point.
        point: PointId,
        /// Which vector.
        name: VectorName,
        /// How long it is, and may be.
        fault: TooLong,
    },
    /// A payload of too many bytes.
    #[error("payload of point {point}: {bytes} bytes, at most {MAX_PAYLOAD_BYTES} are possible")]
    PayloadTooLong {
        /// Of which point.
        point: PointId,
        /// How many.
        bytes: usize,
    },
    /// A payload that is not the text of one JSON object.
    #[error("payload of point {0} is not a JSON object")]
    Payload(PointId),
    /// Another collection has the name.
    #[error("Collection `{0}` already exists!")]
    NameTaken(CollectionName),
    /// The uid is taken, or was dropped.
    #[error("collection uid {0} was given before")]
    UidTaken(CollectionUid),
    /// No vectors, or too many.
    #[error("a collection of {0} vectors: from 1 to {MAX_VECTORS} are possible")]
    VectorCount(usize),
    /// A parameter out of its range.
    #[error("vector {name:?}: {parameter} of {value}, from {least} to {most} is possible")]
    Parameter {
        /// Of which vector.
        name: VectorName,
        /// Which parameter.
        parameter: &'static str,
        /// What it was.
        value: u64,
        /// Its least value.
        least: u64,
        /// Its greatest value.
        most: u64,
    },
}

impl State {
    /// Checks local changes before they are proposed, each against this state and the changes before it.
    ///
    /// # Errors
    /// The first fault.
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

    /// Checks another region's deltas before they are proposed. A collection that is not known is no fault: it may be
    /// dropped.
    ///
    /// # Errors
    /// The first fault, and the sequence of its delta: the poison delta at which the link stops.
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

    /// Scales the vectors whose distance is Cosine to length 1. Once, by the leader, after [`State::check_write`]: the
    /// bytes of the entry are what all replicas and regions store.
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
            // Only shard 1 decides on names; the others learn, and may still hold the one before.
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

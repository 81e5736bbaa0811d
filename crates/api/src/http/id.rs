//! Point ids in JSON: an unsigned number, or a string with a UUID.

use std::fmt;

use meridian_model::{PointId, PointIdError};
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A point id in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Id(pub PointId);

impl Serialize for Id {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            PointId::Num(number) => serializer.serialize_u64(number),
            uuid @ PointId::Uuid(_) => serializer.collect_str(&uuid),
        }
    }
}

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(IdVisitor)
    }
}

struct IdVisitor;

impl Visitor<'_> for IdVisitor {
    type Value = Id;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a point ID, either an unsigned integer or a UUID")
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Id, E> {
        Ok(Id(PointId::Num(number)))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Id, E> {
        Err(E::custom(PointIdError(number.to_string())))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Id, E> {
        Err(E::custom(PointIdError(number.to_string())))
    }

    // A string of digits is no id: other tools distinguish the number 1 from the string "1".
    fn visit_str<E: Error>(self, text: &str) -> Result<Id, E> {
        let uuid = uuid::Uuid::parse_str(text).map_err(|_| E::custom(PointIdError(text.chars().take(64).collect())))?;
        Ok(Id(PointId::Uuid(uuid.as_u128())))
    }
}

/// The ids in their order.
pub fn ids(ids: Vec<Id>) -> Vec<PointId> {
    ids.into_iter().map(|id| id.0).collect()
}

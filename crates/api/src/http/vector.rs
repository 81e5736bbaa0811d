//! Vectors in JSON. Numbers are parsed as f32 directly, so that the shortest decimal of an f32 gives its bits back.

use std::collections::BTreeMap;
use std::fmt;

use meridian_model::{VectorName, Vectors};
use serde::de::{Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::json::{EXPECTED_NUMBER, unsupported};
use super::meter::{HEADER, List, Text, charge, charge_push, collect};

/// Bytes of a vector in the list of its point, without its numbers.
pub const ENTRY: usize = size_of::<(VectorName, Vec<f32>)>() + 2 * HEADER;
/// About the bytes of a node of the map of columns.
const NODE: usize = 11 * size_of::<(VectorName, Vec<Dense>)>() + HEADER;

/// One finite number.
struct Finite(f32);

impl<'de> Deserialize<'de> for Finite {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Number;
        impl Visitor<'_> for Number {
            type Value = Finite;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(EXPECTED_NUMBER)
            }

            #[expect(
                clippy::cast_possible_truncation,
                reason = "rounding to f32 is what is asked; overflow is refused"
            )]
            fn visit_f64<E: Error>(self, number: f64) -> Result<Finite, E> {
                match number as f32 {
                    fine if fine.is_finite() => Ok(Finite(fine)),
                    _ => Err(E::custom(format_args!("{number:e} is beyond the range of a 32-bit float"))),
                }
            }

            #[expect(clippy::cast_precision_loss, reason = "rounding to f32 is what is asked")]
            fn visit_u64<E: Error>(self, number: u64) -> Result<Finite, E> {
                Ok(Finite(number as f32))
            }

            #[expect(clippy::cast_precision_loss, reason = "rounding to f32 is what is asked")]
            fn visit_i64<E: Error>(self, number: i64) -> Result<Finite, E> {
                Ok(Finite(number as f32))
            }
        }
        deserializer.deserialize_f32(Number)
    }
}

fn numbers<'de, A: SeqAccess<'de>>(mut list: A) -> Result<Vec<f32>, A::Error> {
    let mut out = Vec::new();
    while let Some(Finite(number)) = list.next_element()? {
        charge_push::<_, A::Error>(&out)?;
        out.push(number);
    }
    out.shrink_to_fit();
    Ok(out)
}

/// One dense vector.
pub struct Dense(pub Vec<f32>);

impl<'de> Deserialize<'de> for Dense {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List;
        impl<'de> Visitor<'de> for List {
            type Value = Dense;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of numbers")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Dense, A::Error> {
                numbers(list).map(Dense)
            }

            fn visit_map<A: MapAccess<'de>>(self, _: A) -> Result<Dense, A::Error> {
                Err(unsupported(
                    "vector: sparse vectors, documents and images are not supported, send a list of numbers",
                ))
            }
        }
        deserializer.deserialize_any(List)
    }
}

/// The vectors of one point: a list is the unnamed vector, an object holds named ones.
pub struct PointVectors(pub Vectors);

impl<'de> Deserialize<'de> for PointVectors {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ListOrNamed;
        impl<'de> Visitor<'de> for ListOrNamed {
            type Value = PointVectors;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of numbers, or an object of such lists by name")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<PointVectors, A::Error> {
                charge::<A::Error>(ENTRY)?;
                Ok(PointVectors(Vectors::unnamed(numbers(list)?)))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<PointVectors, A::Error> {
                let mut vectors = Vectors::new();
                while let Some(Text(name)) = map.next_key()? {
                    charge::<A::Error>(ENTRY)?;
                    let Dense(vector) = map.next_value()?;
                    if vectors.contains_key(&name) {
                        return Err(A::Error::custom(format_args!("vector {name:?} stands twice")));
                    }
                    vectors.insert(name, vector);
                }
                Ok(PointVectors(vectors))
            }
        }
        deserializer.deserialize_any(ListOrNamed)
    }
}

/// The vectors of many points: a list of lists, or such lists by name.
pub enum Columns {
    Unnamed(Vec<Dense>),
    Named(BTreeMap<VectorName, Vec<Dense>>),
}

impl<'de> Deserialize<'de> for Columns {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ListOrNamed;
        impl<'de> Visitor<'de> for ListOrNamed {
            type Value = Columns;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of vectors, or an object of such lists by name")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Columns, A::Error> {
                collect(list).map(Columns::Unnamed)
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Columns, A::Error> {
                let mut columns = BTreeMap::new();
                while let Some((Text(name), List(rows))) = map.next_entry()? {
                    charge::<A::Error>(NODE)?;
                    columns.insert(name, rows);
                }
                Ok(Columns::Named(columns))
            }
        }
        deserializer.deserialize_any(ListOrNamed)
    }
}

/// The target of a query: a vector or a point.
pub enum VectorInput {
    Vector(Vec<f32>),
    Point(super::id::Id),
}

impl<'de> Deserialize<'de> for VectorInput {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(VectorInputVisitor { nested: false })
    }
}

/// The target of a query may be wrapped in `{"nearest": …}` once.
struct VectorInputVisitor {
    nested: bool,
}

impl<'de> Visitor<'de> for VectorInputVisitor {
    type Value = VectorInput;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of numbers, a point ID, or {\"nearest\": …}")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<VectorInput, A::Error> {
        numbers(list).map(VectorInput::Vector)
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<VectorInput, E> {
        Ok(VectorInput::Point(super::id::Id(meridian_model::PointId::Num(number))))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<VectorInput, E> {
        Deserialize::deserialize(serde::de::value::StrDeserializer::new(text)).map(VectorInput::Point)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<VectorInput, A::Error> {
        let mut near = None;
        while let Some(name) = map.next_key::<String>()? {
            if self.nested || name != "nearest" {
                let name: String = name.chars().take(64).collect();
                return Err(match name.as_str() {
                    "mmr" if map.next_value::<Option<IgnoredAny>>()?.is_none() => continue,
                    "indices" | "values" => unsupported("query: sparse vectors are not supported"),
                    _ => unsupported(format_args!(
                        "query: {name:?} is not supported, only vectors, point IDs and nearest are"
                    )),
                });
            }
            if near.is_some() {
                return Err(A::Error::duplicate_field("nearest"));
            }
            near = Some(map.next_value_seed(VectorInputVisitor { nested: true })?);
        }
        near.ok_or_else(|| A::Error::missing_field("nearest"))
    }
}

impl<'de> serde::de::DeserializeSeed<'de> for VectorInputVisitor {
    type Value = VectorInput;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<VectorInput, D::Error> {
        deserializer.deserialize_any(self)
    }
}

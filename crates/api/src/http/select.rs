//! `with_payload` and `with_vector`.

use std::fmt;
use std::marker::PhantomData;

use meridian_model::{Fields, Names, PayloadPath, Select};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::json::unsupported;
use super::meter::{List, Text, charge, charge_path, collect};

/// `with_payload`: true, false, a list of keys, `{include: […]}` or `{exclude: […]}`.
#[derive(Debug)]
pub struct WithPayload(Fields);

/// `with_vector`: true, false, or a list of names.
#[derive(Debug)]
pub struct WithVector(Names);

#[derive(Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum IncludeOrExclude {
    Include(List<Text>),
    Exclude(List<Text>),
}

fn texts(texts: Vec<Text>) -> Vec<String> {
    texts.into_iter().map(|text| text.0).collect()
}

impl<'de> Deserialize<'de> for WithPayload {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Fields;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("true, false, a list of keys, {\"include\": […]} or {\"exclude\": […]}")
            }

            fn visit_bool<E: Error>(self, all: bool) -> Result<Fields, E> {
                Ok(if all { Fields::All } else { Fields::None })
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Fields, A::Error> {
                paths(texts(collect(list)?)).map(Fields::Only)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Fields, A::Error> {
                match IncludeOrExclude::deserialize(MapAccessDeserializer::new(map))? {
                    IncludeOrExclude::Include(List(keys)) => paths(texts(keys)).map(Fields::Only),
                    IncludeOrExclude::Exclude(List(keys)) => paths(texts(keys)).map(Fields::Without),
                }
            }
        }
        deserializer.deserialize_any(Any).map(Self)
    }
}

/// Parses paths. Qdrant accepts an array index and silently selects nothing by it; here it is refused.
fn paths<E: Error>(keys: Vec<String>) -> Result<Vec<PayloadPath>, E> {
    let path = |key: String| {
        charge_path::<E>(&key)?;
        let path: PayloadPath = key.parse().map_err(|error| E::custom(format_args!("with_payload: {error}")))?;
        if path.has_index() {
            return Err(unsupported(format_args!(
                "with_payload: elements of arrays cannot be selected by index (got {key:?}), only all of them with []"
            )));
        }
        Ok(path)
    };
    keys.into_iter().map(path).collect()
}

impl<'de> Deserialize<'de> for WithVector {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Names;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("true, false, or a list of vector names")
            }

            fn visit_bool<E: Error>(self, all: bool) -> Result<Names, E> {
                Ok(if all { Names::All } else { Names::None })
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Names, A::Error> {
                collect(list).map(texts).map(Names::Only)
            }
        }
        deserializer.deserialize_any(Any).map(Self)
    }
}

/// The fields to return. `payload` is the meaning of an absent `with_payload`, which differs between requests.
pub fn select(with_payload: Option<WithPayload>, with_vector: Option<WithVector>, payload: Fields) -> Select {
    Select {
        payload: with_payload.map_or(payload, |with| with.0),
        vectors: with_vector.map_or(Names::None, |with| with.0),
    }
}

/// A list, or a single element in place of a list of one.
pub struct OneOrMany<T>(pub Vec<T>);

impl<T> Default for OneOrMany<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for OneOrMany<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Any<T> {
            type Value = Vec<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object or a list of objects")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Vec<T>, A::Error> {
                collect(list)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Vec<T>, A::Error> {
                charge::<A::Error>(size_of::<T>())?;
                T::deserialize(MapAccessDeserializer::new(map)).map(|one| vec![one])
            }
        }
        deserializer.deserialize_any(Any(PhantomData)).map(Self)
    }
}

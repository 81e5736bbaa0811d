//! Bodies of searches: `points/query`, its batch, and the older `points/search`.

use std::fmt;

use meridian_config::Limits;
use meridian_model::{Condition, Fields, Filter, PointId, Query, Search, Select, VectorName};
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::Fault;
use super::filter::{FilterBody, filter};
use super::json::{only, parse, refuse};
use super::meter::List;
use super::points::{SHARD_KEY, limit};
use super::select::{WithPayload, WithVector, select};
use super::vector::{Dense, VectorInput};

/// A parsed search. Its query may name a point, whose vector has to be read before the search.
#[derive(Debug, Clone, PartialEq)]
pub struct QueryRequest {
    /// The query vector, or how to get it.
    pub target: Target,
    /// The search; its vector is empty until [`QueryRequest::search`] sets it.
    search: Search,
    /// How many of the nearest points the reply skips; the search returns them too.
    pub skip: usize,
}

/// The query of a search.
#[derive(Debug, Clone, PartialEq)]
pub enum Target {
    /// The points nearest to this vector.
    Vector(Vec<f32>),
    /// The points nearest to this point, which is excluded.
    Point(PointId),
    /// Any points, ordered by id.
    Any,
}

impl QueryRequest {
    /// Name of the vector that is compared.
    #[must_use]
    pub fn using(&self) -> &VectorName {
        &self.search.using
    }

    /// The search near `vector`. The point of [`Target::Point`] is excluded from the answer.
    #[must_use]
    pub fn search(&self, vector: Vec<f32>) -> Query {
        let mut search = Search { vector, ..self.search.clone() };
        if let Target::Point(point) = self.target {
            let inner = search.filter.take().map(Box::new).map(Condition::Nested);
            search.filter = Some(Filter {
                must: inner.into_iter().collect(),
                should: Vec::new(),
                must_not: vec![Condition::HasId([point].into())],
            });
        }
        Query::Search(search)
    }

    /// The read for [`Target::Any`]: points ordered by id.
    #[must_use]
    pub fn scroll(&self) -> Query {
        let Search { filter, limit, select, .. } = self.search.clone();
        Query::Scroll { filter, from: None, limit, select }
    }

    /// The read of the query vector of `point`.
    #[must_use]
    pub fn vector_of(&self, point: PointId) -> Query {
        let vectors = meridian_model::Names::Only(vec![self.using().clone()]);
        Query::Retrieve { ids: vec![point], select: Select { payload: Fields::None, vectors } }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct QueryBody {
    query: Option<VectorInput>,
    using: Option<VectorName>,
    filter: Option<FilterBody>,
    params: Option<ParamsBody>,
    #[serde(default, deserialize_with = "finite")]
    score_threshold: Option<f32>,
    limit: Option<usize>,
    offset: Option<usize>,
    with_payload: Option<WithPayload>,
    #[serde(alias = "with_vectors")]
    with_vector: Option<WithVector>,
    prefetch: Option<PrefetchBody>,
    lookup_from: Option<IgnoredAny>,
    shard_key: Option<IgnoredAny>,
}

/// Whether `prefetch` holds a query.
struct PrefetchBody(bool);

impl<'de> Deserialize<'de> for PrefetchBody {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = PrefetchBody;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a query or a list of queries")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<PrefetchBody, A::Error> {
                let mut any = false;
                while list.next_element::<IgnoredAny>()?.is_some() {
                    any = true;
                }
                Ok(PrefetchBody(any))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<PrefetchBody, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(PrefetchBody(true))
            }
        }
        deserializer.deserialize_any(Any)
    }
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct ParamsBody {
    hnsw_ef: Option<usize>,
    /// Meridian's own: the share of the true neighbors to be found.
    recall: Option<f64>,
    exact: Option<bool>,
    quantization: Option<IgnoredAny>,
    indexed_only: Option<bool>,
    acorn: Option<IgnoredAny>,
}

fn finite<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<f32>, D::Error> {
    match Option::<f32>::deserialize(deserializer)? {
        Some(number) if !number.is_finite() => Err(D::Error::custom("score_threshold is beyond a 32-bit float")),
        other => Ok(other),
    }
}

/// Parses the body of `points/query`.
///
/// # Errors
/// When it is malformed, a value is out of bounds, or a field is not supported.
pub fn query(body: &[u8], limits: &Limits) -> Result<QueryRequest, Fault> {
    parse::<QueryBody>(body, limits)?.convert(limits)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BatchBody {
    searches: List<QueryBody>,
}

/// Parses the body of `points/query/batch`.
///
/// # Errors
/// As [`query`], and when there are more than `limits.search_batch_size`.
pub fn query_batch(body: &[u8], limits: &Limits) -> Result<Vec<QueryRequest>, Fault> {
    let List(searches) = parse::<BatchBody>(body, limits)?.searches;
    if searches.len() > limits.search_batch_size {
        let most = limits.search_batch_size;
        return Err(Fault::input(format!("searches must be at most {most} in one request (got {})", searches.len())));
    }
    searches.into_iter().map(|body| body.convert(limits)).collect()
}

impl QueryBody {
    fn convert(self, limits: &Limits) -> Result<QueryRequest, Fault> {
        refuse(self.shard_key.as_ref(), SHARD_KEY)?;
        refuse(self.lookup_from.as_ref(), "lookup_from: vectors cannot be taken from another collection")?;
        if let Some(PrefetchBody(true)) = self.prefetch {
            return Err(Fault::unsupported("prefetch: queries of several stages are not supported"));
        }
        let target = match self.query {
            Some(VectorInput::Vector(vector)) => Target::Vector(vector),
            Some(VectorInput::Point(id)) => Target::Point(id.0),
            None if self.using.is_some() || self.score_threshold.is_some() => {
                return Err(Fault::input("query: using and score_threshold need a query"));
            }
            None => Target::Any,
        };
        let params = self.params.unwrap_or_default();
        refuse(params.quantization.as_ref(), "params.quantization: quantization cannot be chosen yet")?;
        refuse(params.acorn.as_ref(), "params.acorn: the planner decides by itself how to filter")?;
        only("params.indexed_only", params.indexed_only, false, "committed points are searchable at once")?;
        if let Some(ef) = params.hnsw_ef.filter(|ef| !(1..=limits.hnsw_ef).contains(ef)) {
            return Err(Fault::input(format!("params.hnsw_ef must be between 1 and {} (got {ef})", limits.hnsw_ef)));
        }
        let skip = self.offset.unwrap_or(0);
        let recall = params.recall.map(|share| recall(share, params.hnsw_ef)).transpose()?;
        let search = Search {
            vector: Vec::new(),
            using: self.using.unwrap_or_default(),
            filter: self.filter.map(|body| filter(body, limits)).transpose()?,
            limit: limit(self.limit, skip, limits)?,
            ef: params.hnsw_ef,
            recall,
            exact: params.exact.unwrap_or(false),
            score_threshold: self.score_threshold,
            select: select(self.with_payload, self.with_vector, Fields::None),
        };
        Ok(QueryRequest { target, search, skip })
    }
}

/// A demanded recall, from a share to thousandths.
fn recall(share: f64, ef: Option<usize>) -> Result<u16, Fault> {
    if ef.is_some() {
        return Err(Fault::input("params.recall: name either it or hnsw_ef"));
    }
    let thousandths = (share * 1_000.0).round();
    if (1.0..=1_000.0).contains(&thousandths) {
        Ok(thousandths as u16)
    } else {
        Err(Fault::input(format!("params.recall must be between 0.001 and 1 (got {share})")))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LegacyBody {
    vector: LegacyVector,
    filter: Option<FilterBody>,
    params: Option<ParamsBody>,
    #[serde(default, deserialize_with = "finite")]
    score_threshold: Option<f32>,
    #[serde(alias = "top")]
    limit: usize,
    offset: Option<usize>,
    with_payload: Option<WithPayload>,
    #[serde(alias = "with_vectors")]
    with_vector: Option<WithVector>,
    shard_key: Option<IgnoredAny>,
}

enum LegacyVector {
    Plain(Dense),
    Named(NamedBody),
}

impl<'de> Deserialize<'de> for LegacyVector {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = LegacyVector;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of numbers, or an object of name and vector")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<LegacyVector, A::Error> {
                Dense::deserialize(SeqAccessDeserializer::new(list)).map(LegacyVector::Plain)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<LegacyVector, A::Error> {
                NamedBody::deserialize(MapAccessDeserializer::new(map)).map(LegacyVector::Named)
            }
        }
        deserializer.deserialize_any(Any)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NamedBody {
    name: VectorName,
    vector: Dense,
}

/// Parses the body of the older `points/search`.
///
/// # Errors
/// As [`query`].
pub fn legacy_search(body: &[u8], limits: &Limits) -> Result<QueryRequest, Fault> {
    let body: LegacyBody = parse(body, limits)?;
    let (vector, using) = match body.vector {
        LegacyVector::Plain(Dense(vector)) => (vector, None),
        LegacyVector::Named(named) => (named.vector.0, Some(named.name)),
    };
    let body = QueryBody {
        query: Some(VectorInput::Vector(vector)),
        using,
        filter: body.filter,
        params: body.params,
        score_threshold: body.score_threshold,
        limit: Some(body.limit),
        offset: body.offset,
        with_payload: body.with_payload,
        with_vector: body.with_vector,
        prefetch: None,
        lookup_from: None,
        shard_key: body.shard_key,
    };
    body.convert(limits)
}

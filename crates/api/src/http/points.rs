//! Bodies of point operations: upsert, delete, retrieve, scroll, count.

use meridian_config::Limits;
use meridian_model::client::PointOp;
use meridian_model::{Fields, Filter, PointId, Query, Vectors};
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};

use super::Fault;
use super::filter::{FilterBody, filter};
use super::id::{Id, ids};
use super::json::{only, parse, refuse};
use super::meter::{List, charge};
use super::payload::{PayloadText, payload};
use super::select::{WithPayload, WithVector, select};
use super::vector::{Columns, ENTRY, PointVectors};

/// Points of a reply when the request has no `limit`.
const LIMIT: usize = 10;

pub(super) const SHARD_KEY: &str = "shard_key: points are spread by the hash of their id, there are no shard keys";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UpsertBody {
    points: Option<List<Point>>,
    batch: Option<BatchBody>,
    shard_key: Option<IgnoredAny>,
    update_filter: Option<IgnoredAny>,
    update_mode: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PointBody {
    id: Id,
    vector: PointVectors,
    payload: Option<PayloadText>,
}

/// A point that is converted as soon as it is parsed, so that at most one exists in both forms.
struct Point(PointOp);

impl<'de> Deserialize<'de> for Point {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        PointBody::deserialize(deserializer).map(|body| Self(body.convert()))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BatchBody {
    ids: List<Id>,
    vectors: Columns,
    payloads: Option<List<Option<PayloadText>>>,
}

/// Parses the body of an upsert, a list of points or columns. One operation per point, in the order of the body.
///
/// # Errors
/// When it is malformed, has no point or more than `limits.point_batch_size`, or a field is not supported.
pub fn upsert(body: &[u8], limits: &Limits) -> Result<Vec<PointOp>, Fault> {
    let body: UpsertBody = parse(body, limits)?;
    refuse(body.shard_key.as_ref(), SHARD_KEY)?;
    refuse(body.update_filter.as_ref(), "update_filter: conditional writes are not supported")?;
    only("update_mode", body.update_mode.as_deref(), "upsert", "conditional writes are not supported")?;
    let ops = match (body.points, body.batch) {
        (Some(List(points)), None) => points.into_iter().map(|point| point.0).collect(),
        (None, Some(batch)) => batch.convert()?,
        _ => return Err(Fault::input("an upsert holds either points or batch")),
    };
    within("points", ops.len(), limits)?;
    Ok(ops)
}

fn within(what: &str, count: usize, limits: &Limits) -> Result<(), Fault> {
    match count {
        0 => Err(Fault::input(format!("{what}: at least one is needed"))),
        count if count > limits.point_batch_size => Err(Fault::input(format!(
            "{what} must be at most {} in one request (got {count})",
            limits.point_batch_size
        ))),
        _ => Ok(()),
    }
}

impl PointBody {
    fn convert(self) -> PointOp {
        PointOp::Upsert { point: self.id.0, vectors: self.vector.0, payload: payload(self.payload) }
    }
}

impl BatchBody {
    fn convert(self) -> Result<Vec<PointOp>, Fault> {
        let count = self.ids.0.len();
        let long = |what: &str, found: usize| {
            if found == count {
                Ok(())
            } else {
                Err(Fault::input(format!("batch.{what}: {found} of them for {count} ids")))
            }
        };
        // Each point gets a map of its own, and a place in a list.
        charge::<serde_json::Error>(count.saturating_mul(ENTRY + size_of::<PointOp>())).map_err(|_| Fault::NoRoom)?;
        let mut points = vec![Vectors::new(); count];
        let columns = match self.vectors {
            Columns::Unnamed(rows) => vec![(String::new(), rows)],
            Columns::Named(columns) => columns.into_iter().collect(),
        };
        for (name, rows) in columns {
            long("vectors", rows.len())?;
            for (vectors, row) in points.iter_mut().zip(rows) {
                vectors.insert(name.clone(), row.0);
            }
        }
        let payloads = self.payloads.map_or_else(|| (0..count).map(|_| None).collect(), |payloads| payloads.0);
        long("payloads", payloads.len())?;
        let rows = self.ids.0.into_iter().zip(points).zip(payloads);
        Ok(rows
            .map(|((id, vectors), object)| PointOp::Upsert { point: id.0, vectors, payload: payload(object) })
            .collect())
    }
}

/// The points that a delete removes.
#[derive(Debug, Clone, PartialEq)]
pub enum Deletion {
    /// Those with these ids.
    Ids(Vec<PointId>),
    /// All that match.
    Filter(Filter),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DeleteBody {
    points: Option<List<Id>>,
    filter: Option<FilterBody>,
    shard_key: Option<IgnoredAny>,
}

/// Parses the body of a delete.
///
/// # Errors
/// When it is malformed, has no id or more than `limits.point_batch_size`, or a field is not supported.
pub fn delete(body: &[u8], limits: &Limits) -> Result<Deletion, Fault> {
    let body: DeleteBody = parse(body, limits)?;
    refuse(body.shard_key.as_ref(), SHARD_KEY)?;
    match (body.points, body.filter) {
        (Some(List(points)), None) => {
            within("points", points.len(), limits)?;
            Ok(Deletion::Ids(ids(points)))
        }
        (None, Some(body)) => filter(body, limits).map(Deletion::Filter),
        _ => Err(Fault::input("a delete holds either points or filter")),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RetrieveBody {
    ids: List<Id>,
    with_payload: Option<WithPayload>,
    #[serde(alias = "with_vectors")]
    with_vector: Option<WithVector>,
    shard_key: Option<IgnoredAny>,
}

/// Parses the body of a retrieve. Payloads are returned unless it says otherwise.
///
/// # Errors
/// When it is malformed, has more than `limits.point_batch_size` ids, or a field is not supported.
pub fn retrieve(body: &[u8], limits: &Limits) -> Result<Query, Fault> {
    let body: RetrieveBody = parse(body, limits)?;
    refuse(body.shard_key.as_ref(), SHARD_KEY)?;
    let List(wanted) = body.ids;
    if !wanted.is_empty() {
        within("ids", wanted.len(), limits)?;
    }
    let select = select(body.with_payload, body.with_vector, Fields::All);
    Ok(Query::Retrieve { ids: ids(wanted), select })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ScrollBody {
    offset: Option<Id>,
    limit: Option<usize>,
    filter: Option<FilterBody>,
    with_payload: Option<WithPayload>,
    #[serde(alias = "with_vectors")]
    with_vector: Option<WithVector>,
    order_by: Option<IgnoredAny>,
    shard_key: Option<IgnoredAny>,
}

/// Parses the body of a scroll. Payloads are returned unless it says otherwise.
///
/// # Errors
/// When it is malformed, its `limit` is out of bounds, or a field is not supported.
pub fn scroll(body: &[u8], limits: &Limits) -> Result<Query, Fault> {
    let body: ScrollBody = parse(body, limits)?;
    refuse(body.shard_key.as_ref(), SHARD_KEY)?;
    refuse(body.order_by.as_ref(), "order_by: points come in the order of their ids only")?;
    Ok(Query::Scroll {
        filter: body.filter.map(|body| filter(body, limits)).transpose()?,
        from: body.offset.map(|id| id.0),
        limit: limit(body.limit, 0, limits)?,
        select: select(body.with_payload, body.with_vector, Fields::All),
    })
}

/// Points to read: `limit` and the `skip` points before them.
///
/// # Errors
/// When `limit` is 0, or the sum is above `limits.query_limit`.
pub(super) fn limit(limit: Option<usize>, skip: usize, limits: &Limits) -> Result<usize, Fault> {
    let limit = limit.unwrap_or(LIMIT);
    let most = limits.query_limit;
    if limit == 0 {
        return Err(Fault::input("limit must be at least 1 (got 0)"));
    }
    match limit.checked_add(skip) {
        Some(all) if all <= most => Ok(all),
        _ => Err(Fault::input(format!("limit + offset must be at most {most} (got {limit} + {skip})"))),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CountBody {
    filter: Option<FilterBody>,
    /// Accepted and ignored: counts are always exact.
    #[serde(rename = "exact")]
    _exact: Option<bool>,
    shard_key: Option<IgnoredAny>,
}

/// Parses the body of a count.
///
/// # Errors
/// When it is malformed, or a field is not supported.
pub fn count(body: &[u8], limits: &Limits) -> Result<Query, Fault> {
    let body: CountBody = parse(body, limits)?;
    refuse(body.shard_key.as_ref(), SHARD_KEY)?;
    Ok(Query::Count { filter: body.filter.map(|body| filter(body, limits)).transpose()? })
}

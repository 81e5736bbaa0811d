//! Whether a point passes a filter.

use std::collections::BTreeSet;

use meridian_model::{Condition, Filter, PayloadPath, PointId, Scalar};
use serde_json::Value;

use crate::collection::Point;
use crate::payload::any_at;

/// True when the point passes.
pub(crate) fn passes(filter: &Filter, point: &Point) -> bool {
    let holds = |condition: &Condition| holds(condition, point);
    filter.must.iter().all(holds)
        && (filter.should.is_empty() || filter.should.iter().any(holds))
        && !filter.must_not.iter().any(holds)
}

/// The ids beside which no point can pass, when the filter names such: the shortest list among `must`.
pub(crate) fn only_ids(filter: &Filter) -> Option<&BTreeSet<PointId>> {
    let lists = filter.must.iter().filter_map(|condition| match condition {
        Condition::HasId(ids) => Some(ids),
        Condition::Nested(inner) => only_ids(inner),
        _ => None,
    });
    lists.min_by_key(|ids| ids.len())
}

fn holds(condition: &Condition, point: &Point) -> bool {
    match condition {
        Condition::Any { key, any } => at(point, key, |value| any.iter().any(|scalar| equals(value, scalar))),
        Condition::Except { key, except } => {
            at(point, key, |value| !value.is_null() && !except.iter().any(|scalar| equals(value, scalar)))
        }
        Condition::Range { key, range } => {
            at(point, key, |value| value.as_f64().is_some_and(|number| range.contains(number)))
        }
        Condition::HasId(ids) => ids.contains(&point.id),
        Condition::Nested(filter) => passes(filter, point),
    }
}

/// True when `test` holds for a value that `key` selects, or for an element where that value is an array.
fn at(point: &Point, key: &PayloadPath, test: impl Fn(&Value) -> bool) -> bool {
    any_at(point.tree(), key.steps(), &mut |value| match value {
        Value::Array(elements) => elements.iter().any(&test),
        value => test(value),
    })
}

fn equals(value: &Value, scalar: &Scalar) -> bool {
    match (value, scalar) {
        (Value::String(held), Scalar::Text(text)) => held == text,
        (Value::Number(held), Scalar::Int(int)) => held.as_i64() == Some(*int),
        (Value::Bool(held), Scalar::Bool(bool)) => held == bool,
        _ => false,
    }
}

//! Whether a point passes a filter.

use std::collections::BTreeSet;

use meridian_model::{Condition, Filter, PayloadPath, PointId, Scalar};
use serde_json::Value;

use crate::collection::Point;
use crate::meter::Meter;
use crate::payload::any_at;

/// Values of a list that one value is compared with in the time of a step.
const LISTED_A_STEP: usize = 8;

/// True when the point passes. Once `meter` says that the read is to end, the result means nothing.
pub(crate) fn passes(filter: &Filter, point: &Point, meter: &Meter<'_>) -> bool {
    let holds = |condition: &Condition| meter.go_on(1) && holds(condition, point, meter);
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

fn holds(condition: &Condition, point: &Point, meter: &Meter<'_>) -> bool {
    // Per value of the payload, in steps.
    let each = |listed: usize| meter.go_on(1 + listed / LISTED_A_STEP);
    match condition {
        Condition::Any { key, any } => {
            at(point, key, |value| each(any.len()) && any.iter().any(|scalar| equals(value, scalar)))
        }
        Condition::Except { key, except } => at(point, key, |value| {
            each(except.len()) && !value.is_null() && !except.iter().any(|scalar| equals(value, scalar))
        }),
        Condition::Range { key, range } => {
            at(point, key, |value| each(0) && value.as_f64().is_some_and(|number| range.contains(number)))
        }
        Condition::HasId(ids) => ids.contains(&point.id),
        Condition::Nested(filter) => passes(filter, point, meter),
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

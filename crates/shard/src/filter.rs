//! Evaluation of filters on points.

use std::collections::BTreeSet;

use meridian_model::{Condition, Filter, PayloadPath, PointId, Scalar};

use crate::collection::Point;
use crate::meter::Meter;
use crate::seek::{Leaf, any_at};

/// Values of a list that are compared in the time of one step.
const LISTED_A_STEP: usize = 8;
/// Bytes of a payload that are read in the time of one step.
const BYTES_A_STEP: usize = 64;

/// Returns true if the point matches. Once `meter` ends the read, the result is meaningless.
pub(crate) fn passes(filter: &Filter, point: &Point, meter: &Meter<'_>) -> bool {
    let holds = |condition: &Condition| meter.go_on(1) && holds(condition, point, meter);
    filter.must.iter().all(holds)
        && (filter.should.is_empty() || filter.should.iter().any(holds))
        && !filter.must_not.iter().any(holds)
}

/// The ids among which all matches are, if the filter lists ids: the shortest list in `must`.
pub(crate) fn only_ids(filter: &Filter) -> Option<&BTreeSet<PointId>> {
    let lists = filter.must.iter().filter_map(|condition| match condition {
        Condition::HasId(ids) => Some(ids),
        Condition::Nested(inner) => only_ids(inner),
        _ => None,
    });
    lists.min_by_key(|ids| ids.len())
}

fn holds(condition: &Condition, point: &Point, meter: &Meter<'_>) -> bool {
    // Steps for each value of the payload.
    let each = |listed: usize| meter.go_on(1 + listed / LISTED_A_STEP);
    let at = |key: &PayloadPath, test: &dyn Fn(Leaf<'_>) -> bool| {
        meter.go_on(point.payload.0.len() / BYTES_A_STEP) && any_at(&point.payload, key.steps(), test)
    };
    match condition {
        Condition::Any { key, any } => {
            at(key, &|leaf| each(any.len()) && any.iter().any(|scalar| equals(leaf, scalar)))
        }
        Condition::Except { key, except } => at(key, &|leaf| {
            each(except.len()) && leaf != Leaf::Null && !except.iter().any(|scalar| equals(leaf, scalar))
        }),
        Condition::Range { key, range } => {
            at(key, &|leaf| each(0) && number(leaf).is_some_and(|number| range.contains(number)))
        }
        Condition::HasId(ids) => ids.contains(&point.id),
        Condition::Nested(filter) => passes(filter, point, meter),
    }
}

fn number(leaf: Leaf<'_>) -> Option<f64> {
    match leaf {
        Leaf::Int(int) => Some(int as f64),
        Leaf::Float(float) => Some(float),
        _ => None,
    }
}

fn equals(leaf: Leaf<'_>, scalar: &Scalar) -> bool {
    match (leaf, scalar) {
        (Leaf::Text(held), Scalar::Text(text)) => held == text,
        (Leaf::Int(held), Scalar::Int(int)) => held == *int,
        (Leaf::Bool(held), Scalar::Bool(bool)) => held == *bool,
        _ => false,
    }
}

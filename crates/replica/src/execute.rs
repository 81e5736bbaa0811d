//! Executes reads on a view of the state. The shell calls this on any thread.

use meridian_model::{Distance, Query};
use meridian_proto::frame::{MatchQuery, PartBody};
use meridian_shard::{Matches, ReadError, Stop, View};

use crate::{ReadResult, ReadWhat};

/// Executes a read on the state, on any thread and concurrently with other reads. Returns `None` if `stop` ended it.
#[must_use]
pub fn execute(state: &View, what: &ReadWhat, stop: Stop<'_>) -> Option<ReadResult> {
    let body = match what {
        ReadWhat::Points(name, query) => match state.collection(name) {
            Some(held) => match state.read_until(held.uid(), query, stop) {
                Ok(answer) => {
                    let smallest_first = smallest_first(held.def(), query);
                    Some(PartBody::Answer { answer, smallest_first })
                }
                Err(ReadError::Stopped) => return None,
                Err(fault) => Some(PartBody::Wrong(fault.to_string())),
            },
            None => None,
        },
        ReadWhat::List => Some(PartBody::Collections(state.collections().map(|held| held.def().clone()).collect())),
        ReadWhat::Describe(name) => state.collection(name).map(|held| PartBody::Collection {
            uid: held.uid(),
            def: held.def().clone(),
            points: held.points(),
            indexed: held.indexed(),
        }),
        ReadWhat::Match(query) if query.table != state.table() => Some(PartBody::NotOwner(state.table())),
        ReadWhat::Match(MatchQuery { collection, filter, from, limit, .. }) => {
            let Ok(found) = state.matches(*collection, (filter, *from), *limit, stop) else { return None };
            let Matches { points, next, read_at } = found;
            Some(PartBody::Matched { points, next, read_at })
        }
    };
    Some(ReadResult { body, covers: state.vv().clone() })
}

/// Estimated cost of [`execute`] without early termination; see [`View::steps`].
#[must_use]
pub fn steps(state: &View, what: &ReadWhat) -> u64 {
    match what {
        ReadWhat::Points(name, query) => state.collection(name).map_or(0, |held| state.steps(held.uid(), query)),
        ReadWhat::List | ReadWhat::Describe(_) | ReadWhat::Match(_) => 0,
    }
}

fn smallest_first(def: &meridian_model::CollectionDef, query: &Query) -> bool {
    let Query::Search(search) = query else { return false };
    let distance = def.vectors.get(&search.using).map(|vector| vector.distance);
    matches!(distance, Some(Distance::Euclid | Distance::Manhattan))
}

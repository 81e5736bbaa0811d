//! Merging the shards' parts of an answer.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use meridian_model::client::{Body, CollectionReport, Refusal, ReplyBody};
use meridian_model::{Answer, Found, PointId, Query, Record, ShardNumber};
use meridian_proto::frame::{PartBody, ReadPart};

use super::reads::{Merged, bodies};

/// Merges the parts of a read; `None` if no shard knows the collection.
pub(super) fn merge(body: &Body, parts: Vec<(ShardNumber, ReadPart)>, replicas: u16) -> Option<Merged> {
    let shards = u16::try_from(parts.len()).expect("at most 1,024 shards");
    let failed = |(_, part): &(ShardNumber, ReadPart)| match &part.body {
        Some(PartBody::Failed(fault)) => Some(fault.clone()),
        _ => None,
    };
    if let Some(fault) = parts.iter().find_map(failed) {
        return Some(Err(Refusal::Internal(fault)));
    }
    match body {
        Body::Read { query, .. } => merge_answers(query, parts),
        Body::ListCollections => {
            let mut all = Vec::new();
            for part in bodies(parts) {
                if let PartBody::Collections(defs) = part {
                    all.extend(defs);
                }
            }
            all.sort_by(|a, b| a.name.cmp(&b.name));
            Some(Ok(ReplyBody::Collections(all)))
        }
        Body::DescribeCollection(_) => {
            let mut report: Option<CollectionReport> = None;
            for part in bodies(parts) {
                let PartBody::Collection { uid, def, points, indexed } = part else { continue };
                let report =
                    report.get_or_insert(CollectionReport { uid, def, points: 0, indexed: 0, shards, replicas });
                report.points += points;
                report.indexed += indexed;
            }
            report.map(|report| Ok(ReplyBody::Collection(report)))
        }
        Body::Write { .. } | Body::DeleteByFilter { .. } | Body::CreateCollection(_) | Body::DropCollection(_) => None,
    }
}

fn merge_answers(query: &Query, parts: Vec<(ShardNumber, ReadPart)>) -> Option<Merged> {
    let mut answers = Vec::with_capacity(parts.len());
    let mut order = false;
    for part in bodies(parts) {
        match part {
            PartBody::Answer { answer, smallest_first } => {
                order |= smallest_first;
                answers.push(answer);
            }
            PartBody::Wrong(fault) => return Some(Err(Refusal::BadInput(fault))),
            PartBody::Collections(_)
            | PartBody::Collection { .. }
            | PartBody::Failed(_)
            | PartBody::Matched { .. }
            | PartBody::NotOwner(_) => {}
        }
    }
    if answers.is_empty() {
        return None;
    }
    let answer = match query {
        Query::Search(search) => Answer::Found(nearest(answers, search.limit, order)),
        Query::Retrieve { ids, .. } => Answer::Records(in_order_of(ids, answers)),
        Query::Scroll { limit, .. } => page(answers, *limit),
        Query::Count { .. } => Answer::Count(answers.iter().map(count_of).sum()),
    };
    Some(Ok(ReplyBody::Answer(answer)))
}

fn nearest(answers: Vec<Answer>, limit: usize, smallest_first: bool) -> Vec<Found> {
    let mut all: Vec<Found> = Vec::new();
    for answer in answers {
        if let Answer::Found(found) = answer {
            all.extend(found);
        }
    }
    all.sort_by(|a, b| {
        let by_score = if smallest_first { a.score.total_cmp(&b.score) } else { b.score.total_cmp(&a.score) };
        by_score.then(a.record.id.cmp(&b.record.id))
    });
    all.truncate(limit);
    all
}

fn in_order_of(ids: &[PointId], answers: Vec<Answer>) -> Vec<Record> {
    let mut found = BTreeMap::new();
    for answer in answers {
        if let Answer::Records(records) = answer {
            found.extend(records.into_iter().map(|record| (record.id, record)));
        }
    }
    ids.iter().filter_map(|id| found.remove(id)).collect()
}

fn page(answers: Vec<Answer>, limit: usize) -> Answer {
    let mut all = Vec::new();
    let mut next: Option<PointId> = None;
    for answer in answers {
        if let Answer::Page(records, more) = answer {
            all.extend(records);
            next = match (next, more) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            };
        }
    }
    all.sort_by_key(|record: &Record| record.id);
    if all.len() > limit {
        let first_left_out = all[limit].id;
        next = Some(next.map_or(first_left_out, |next| next.min(first_left_out)));
        all.truncate(limit);
    }
    // A shard that stopped early may hold points before another shard's last ones: they come with the next page.
    if let Some(next) = next {
        all.retain(|record| record.id.cmp(&next) == Ordering::Less);
    }
    Answer::Page(all, next)
}

fn count_of(answer: &Answer) -> u64 {
    if let Answer::Count(count) = answer { *count } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(id: u64) -> Record {
        Record { id: PointId::Num(id), version: 1, payload: None, vectors: None }
    }

    fn found(id: u64, score: f32) -> Found {
        Found { record: record(id), score }
    }

    fn ids<'a>(records: impl IntoIterator<Item = &'a Record>) -> Vec<String> {
        records.into_iter().map(|record| record.id.to_string()).collect()
    }

    #[test]
    fn the_nearest_of_all_shards_come_first() {
        let parts = || vec![Answer::Found(vec![found(1, 0.9), found(2, 0.1)]), Answer::Found(vec![found(3, 0.5)])];
        assert_eq!(ids(nearest(parts(), 2, false).iter().map(|found| &found.record)), ["1", "3"]);
        assert_eq!(ids(nearest(parts(), 2, true).iter().map(|found| &found.record)), ["2", "3"]);
    }

    #[test]
    fn a_page_ends_where_the_first_shard_stopped() {
        let parts = vec![
            Answer::Page(vec![record(1), record(4)], Some(PointId::Num(6))),
            Answer::Page(vec![record(2), record(9)], None),
        ];
        let Answer::Page(records, next) = page(parts, 10) else { panic!("a page") };
        assert_eq!(ids(&records), ["1", "2", "4"]);
        assert_eq!(next, Some(PointId::Num(6)));
    }

    #[test]
    fn a_page_has_at_most_the_requested_number_of_points() {
        let parts = vec![Answer::Page(vec![record(1), record(3)], None), Answer::Page(vec![record(2)], None)];
        let Answer::Page(records, next) = page(parts, 2) else { panic!("a page") };
        assert_eq!(ids(&records), ["1", "2"]);
        assert_eq!(next, Some(PointId::Num(3)));
    }
}

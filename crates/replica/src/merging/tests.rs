use std::collections::BTreeMap;
use std::ops::Range;

use meridian_model::{
    Answer, CollectionDef, CollectionName, CollectionUid, Distance, Hlc, HnswParams, LogIndex, Op, Payload, PointId,
    PrimaryTerm, Query, RequestIndexes, Search, Select, TableVersion, VectorDef, Vectors, WriteId,
};
use meridian_shard::{Entry, View, Write};

use super::*;
use crate::testing::{alone, identity};

const WORDS: CollectionUid = CollectionUid(1);

/// Applies a write as a log entry.
fn apply(replica: &mut Replica, ops: Vec<Op>) {
    let index = replica.state().applied().0 + 1;
    let (table, hlc, sent_at) = (TableVersion(1), Hlc(index * 100_000), LogIndex(index - 1));
    let (id, term, indexes) = (WriteId(index.into()), PrimaryTerm(1), RequestIndexes::default());
    let entry = Entry::Write(Write { id, part: 0, table, term, sent_at, ops, indexes, hlc, trace: None });
    replica.state.change().apply(LogIndex(index), &entry);
    replica.state.publish();
}

/// Upserts these points, each with coordinates near its id, shifted by `beside`.
fn upsert(replica: &mut Replica, points: Range<u64>, beside: f32) {
    let op = |point: u64| Op::Upsert {
        collection: WORDS,
        point: PointId::Num(point),
        vectors: Vectors::unnamed(vec![point as f32, beside]),
        payload: Payload("{}".into()),
    };
    apply(replica, points.map(op).collect());
}

/// A replica with `count` vectors, none of them merged.
fn with_vectors(count: u64) -> Replica {
    let mut replica = alone(identity(1, 1));
    let vector = VectorDef { dim: 2, distance: Distance::Euclid, hnsw: HnswParams::default() };
    let def = CollectionDef {
        name: CollectionName::new("words").unwrap(),
        vectors: BTreeMap::from([(String::new(), vector)]),
    };
    apply(&mut replica, vec![Op::CreateCollection { uid: WORDS, def }]);
    upsert(&mut replica, 0..count, 1.0);
    replica
}

/// Number of copied rows.
fn copied(replica: &Replica) -> usize {
    replica.state().collection_by_uid(WORDS).map(Collection::copied).unwrap_or_default()
}

/// Nearest points of some queries, with their scores.
fn found(view: &View) -> Vec<Answer> {
    let ask = |at: u64| {
        let search = Search {
            vector: vec![at as f32, 1.0],
            using: String::new(),
            filter: None,
            limit: 5,
            ef: None,
            recall: None,
            exact: false,
            score_threshold: None,
            select: Select::default(),
        };
        view.read(WORDS, &Query::Search(search)).unwrap()
    };
    (0..20).map(|nth| ask(nth * 61)).collect()
}

#[test]
fn a_step_is_published_while_readers_exist_and_visible_to_later_ones() {
    let mut replica = with_vectors(256);
    let views = replica.views();
    let before = views.newest();
    let said = found(&before);
    let mut steps = 1;
    while replica.idle() != Backlog::None {
        steps += 1;
    }
    assert_eq!((replica.idle(), replica.state().pending_index()), (Backlog::None, 0));
    assert_eq!(steps, 2 * 256, "two steps per vector: search and insert");
    let indexed = |view: &View| view.collections().map(meridian_shard::CollectionView::indexed).sum::<u64>();
    assert_eq!((indexed(&before), indexed(&views.newest())), (0, 256));
    assert_eq!(found(&views.newest()), said, "merging does not change results");
    upsert(&mut replica, 0..300, 2.0);
    assert_eq!(found(&before), said, "an older view does not contain the write");
    assert_ne!(found(&views.newest()), said);
}

/// Rows of a live view are copied, up to a limit: merging then waits. Reads and writes never wait.
#[test]
fn merging_waits_for_a_reader_that_never_ends() {
    let mut replica = with_vectors(5_120);
    while replica.idle() != Backlog::None {}
    let views = replica.views();
    let slow = views.newest();
    let said = found(&slow);
    let mut writes = 0..20;
    while replica.idle() != Backlog::Waiting {
        if replica.state().next_to_merge().is_none() {
            let nth = writes.next().expect("merging waits before all points are rewritten");
            upsert(&mut replica, nth * 256..(nth + 1) * 256, 2.0);
        }
    }
    assert!(copied(&replica) > COPIES);
    assert_eq!(replica.idle(), Backlog::Waiting);
    // Writes continue and are visible at once.
    upsert(&mut replica, 0..1, 0.5);
    let nearest = |view: &View| found(view)[0].clone();
    assert_ne!(nearest(&views.newest()), nearest(&slow));
    assert_eq!(found(&slow), said);
    drop(slow);
    while replica.idle() != Backlog::None {}
    assert!(copied(&replica) < COPIES);
}

mod bounds;

mod exact;
mod kept_filter;
mod recall_model;
mod storage;
mod views;

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::metric::Metric;
use crate::params::{Profile, Recall};
use crate::testing::{Rng, clustered, normalized};
use crate::view::View;

const METRICS: [Metric; 4] = [Metric::Cosine, Metric::Dot, Metric::Euclid, Metric::Manhattan];

fn index(dim: usize, metric: Metric, kind: Kind) -> Index {
    with_profile(dim, metric, (kind, Profile::default()))
}

fn with_profile(dim: usize, metric: Metric, (kind, profile): (Kind, Profile)) -> Index {
    Index::new(Config { profile, seed: 7, ..Config::new(dim, metric, kind) }).expect("valid")
}

const HNSW: Kind = Kind::Hnsw { m: 4, ef_construct: 20 };

const IVF: Kind = Kind::IvfPq { nlist: Some(4), subquantizers: None };

fn exact() -> SearchParams {
    SearchParams { exact: true, ..SearchParams::default() }
}

/// Distance by its textbook formula.
fn textbook(metric: Metric, a: &[f32], b: &[f32]) -> f32 {
    let pairs = || a.iter().zip(b).map(|(x, y)| (f64::from(*x), f64::from(*y)));
    let distance = match metric {
        Metric::Cosine | Metric::Dot => 0.0 - pairs().map(|(x, y)| x * y).sum::<f64>(),
        Metric::Euclid => pairs().map(|(x, y)| (x - y) * (x - y)).sum::<f64>().sqrt(),
        Metric::Manhattan => pairs().map(|(x, y)| (x - y).abs()).sum(),
    };
    distance as f32
}

#[derive(Debug, Clone)]
enum Act {
    Upsert(u32, [i8; 2]),
    Delete(u32),
    Merge(usize),
    Reopen,
    Search { query: [i8; 2], k: usize, ef: usize, residue: Option<u32>, expected: usize },
}

fn act() -> impl Strategy<Value = Act> {
    let pair = || [-3i8..=3, -3i8..=3];
    prop_oneof![
        60 => (0u32..200, pair()).prop_map(|(slot, v)| Act::Upsert(slot, v)),
        20 => (0u32..200).prop_map(Act::Delete),
        5 => (0usize..400).prop_map(Act::Merge),
        1 => Just(Act::Reopen),
        5 => (pair(), 0usize..30, 0usize..5, prop::option::of(0u32..5), 0usize..300)
            .prop_map(|(query, k, ef, residue, expected)| Act::Search { query, k, ef, residue, expected }),
    ]
}

/// Small whole numbers: every distance is computed without rounding, and ties abound.
fn floats(v: [i8; 2]) -> [f32; 2] {
    v.map(f32::from)
}

/// The index after writing and reading a snapshot.
fn reopened(index: &Index) -> Index {
    let mut bytes = Vec::new();
    index.write_to(&mut bytes).expect("memory");
    Index::read_from(&mut bytes.as_slice()).expect("our own bytes")
}

/// Runs `acts` on an index and on a map, and compares every answer.
fn check(metric: Metric, kind: Kind, acts: &[Act]) {
    let mut subject = index(2, metric, kind);
    let mut model = BTreeMap::new();
    for act in acts {
        match *act {
            Act::Upsert(slot, v) => {
                subject.upsert(slot, &floats(v)).expect("valid");
                model.insert(slot, floats(v));
            }
            Act::Delete(slot) => assert_eq!(subject.delete(slot), model.remove(&slot).is_some()),
            Act::Merge(most) => {
                let can = subject.can_merge();
                let steps = subject.merge(most);
                assert!(steps <= most);
                assert_eq!(steps > 0, can && most > 0, "a merge has work if and only if it says so");
            }
            Act::Reopen => subject = reopened(&subject),
            Act::Search { query, k, ef, residue, expected } => {
                let query = floats(query);
                let accepts = |slot: u32| residue.is_none_or(|r| slot % 5 == r);
                let mut right: Vec<Hit> = model
                    .iter()
                    .filter(|(slot, _)| accepts(**slot))
                    .map(|(slot, v)| Hit { slot: *slot, distance: textbook(metric, &query, v) })
                    .collect();
                right.sort_by(|a, b| a.distance.total_cmp(&b.distance).then(a.slot.cmp(&b.slot)));
                let listed = Filter::slots((0..200).filter(|slot| accepts(*slot)).collect::<Vec<_>>());
                let guessed = Filter::predicate(&accepts, expected);
                for filter in [&listed, &guessed] {
                    let found = subject.search(&query, k, &exact(), Some(filter)).expect("valid");
                    assert_eq!(found, right[..k.min(right.len())], "{metric:?} exact");
                    let params = SearchParams { ef: Some(ef), ..SearchParams::default() };
                    let found = subject.search(&query, k, &params, Some(filter)).expect("valid");
                    assert_eq!(found.len(), k.min(right.len()), "{metric:?}: exactly k while k match");
                    assert!(found.iter().all(|hit| right.contains(hit)), "{metric:?}: {found:?} of {right:?}");
                    assert!(found.is_sorted_by(|a, b| (a.distance, a.slot) < (b.distance, b.slot)), "{found:?}");
                }
            }
        }
        assert_eq!(subject.len(), model.len());
    }
    assert_eq!(subject.reachable(), model.len());
    for slot in 0..200 {
        assert_eq!(subject.contains(slot), model.contains_key(&slot), "slot {slot}");
        assert_eq!(subject.vector(slot).as_deref(), model.get(&slot).map(|v| v.as_slice()), "slot {slot}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn answers_are_those_of_a_map(acts in prop::collection::vec(act(), 0..1_500), metric in 1usize..4) {
        check(METRICS[metric], HNSW, &acts);
        check(METRICS[metric], IVF, &acts);
        check(METRICS[metric], Kind::Flat, &acts);
    }
}

/// Recall of the true ten nearest over all queries; 1 if there are none. Half of the queries are single, half in a
/// batch.
fn recall(subject: &Index, truth: &Index, queries: &[Vec<f32>], ef: usize, filter: Option<&Filter<'_>>) -> f64 {
    let params = SearchParams { ef: Some(ef), nprobe: Some(ef), ..SearchParams::default() };
    let queries: Vec<&[f32]> = queries.iter().map(Vec::as_slice).collect();
    let (alone, together) = queries.split_at(queries.len() / 2);
    let search = |queries: &[&[f32]]| subject.search_batch(queries, 10, &params, filter).expect("valid");
    let found = alone.chunks(1).flat_map(search).chain(search(together));
    let (mut right, mut all) = (0, 0);
    for (query, found) in queries.iter().zip(found) {
        let wanted = truth.search(query, 10, &exact(), filter).expect("valid");
        assert_eq!(found.len(), wanted.len(), "k while k match");
        all += wanted.len();
        right += wanted.iter().filter(|hit| found.iter().any(|f| f.slot == hit.slot)).count();
    }
    if all == 0 { 1.0 } else { right as f64 / all as f64 }
}

/// Enough for codes, and for packed neighbors.
const DIM: usize = 192;

fn data(metric: Metric, seed: u64, n: usize) -> Vec<Vec<f32>> {
    let data = clustered(seed, n, DIM, 30);
    if metric == Metric::Cosine { data.into_iter().map(normalized).collect() } else { data }
}

fn filled(metric: Metric, subject: (Kind, Profile), vectors: &[Vec<f32>]) -> Index {
    let mut index = with_profile(DIM, metric, subject);
    for (slot, vector) in (0..).zip(vectors) {
        index.upsert(slot, vector).expect("valid");
        index.merge(4);
    }
    index
}

const FLAT: (Kind, Profile) = (Kind::Flat, Profile::Balanced);

const GOOD: Kind = Kind::Hnsw { m: 12, ef_construct: 60 };

const LISTS: Kind = Kind::IvfPq { nlist: None, subquantizers: None };

const SUBJECTS: [(Kind, Profile); 4] =
    [(GOOD, Profile::Balanced), (GOOD, Profile::Speed), (GOOD, Profile::Memory), (LISTS, Profile::Balanced)];

#[test]
fn graph_and_lists_find_what_flat_finds() {
    for (metric, seed) in METRICS.into_iter().zip(100..) {
        let all = data(metric, seed, 5_050);
        let (queries, vectors) = all.split_at(50);
        let truth = filled(metric, FLAT, vectors);
        for subject in SUBJECTS {
            let recall = recall(&filled(metric, subject, vectors), &truth, queries, 60, None);
            assert!(recall >= 0.95, "recall {recall} for {subject:?}, {metric:?}, seed {seed}");
        }
    }
}

#[test]
fn graph_and_lists_stay_good_while_all_points_are_replaced() {
    for subject in SUBJECTS {
        replace_all(subject, 11);
    }
}

fn replace_all(kind: (Kind, Profile), seed: u64) {
    let all = data(Metric::Euclid, seed, 6_050);
    let (queries, vectors) = all.split_at(50);
    let mut subject = filled(Metric::Euclid, kind, &vectors[..3_000]);
    for slot in 0..3_000 {
        assert!(subject.delete(slot));
        subject.upsert(slot + 3_000, &vectors[slot as usize + 3_000]).expect("valid");
        subject.merge(8);
    }
    let mut truth = index(DIM, Metric::Euclid, Kind::Flat);
    for slot in 3_000..6_000u32 {
        truth.upsert(slot, &vectors[slot as usize]).expect("valid");
    }
    assert_eq!((subject.len(), subject.reachable()), (3_000, 3_000));
    let recall = recall(&subject, &truth, queries, 90, None);
    assert!(recall >= 0.95, "recall {recall} for {kind:?}, seed {seed}");
}

#[test]
fn filters_of_every_width_find_what_flat_finds() {
    for subject in SUBJECTS {
        filter(subject, 12);
    }
}

fn filter(kind: (Kind, Profile), seed: u64) {
    let all = data(Metric::Euclid, seed, 6_050);
    let (queries, vectors) = all.split_at(50);
    let subject = filled(Metric::Euclid, kind, vectors);
    let truth = filled(Metric::Euclid, FLAT, vectors);
    for share in [1, 2, 3, 10, 100, 1_000, 7_000] {
        let random = |slot: u32| (slot * 7 + 3).is_multiple_of(share);
        let on_one_side = |slot: u32| vectors[slot as usize][0] > 1.0;
        for accepts in [&random as &(dyn Fn(u32) -> bool + Sync), &on_one_side] {
            let matching = (0..6_000).filter(|slot| accepts(*slot)).count();
            // Estimates may be wrong in both directions.
            for expected in [matching, 0, 6_000, usize::MAX] {
                let filter = Filter::predicate(accepts, expected);
                let recall = recall(&subject, &truth, queries, 60, Some(&filter));
                assert!(
                    matching == 0 || recall >= 0.9,
                    "recall {recall} for {kind:?}, 1 in {share}, expected {expected}, seed {seed}"
                );
            }
        }
    }
}

#[test]
fn thousands_of_equal_points_can_all_be_found() {
    for kind in [HNSW, IVF, LISTS] {
        let mut subject = index(3, Metric::Euclid, kind);
        for slot in 0..3_000 {
            subject.upsert(slot, &[1.0, 2.0, 3.0]).expect("valid");
            subject.merge(2);
        }
        assert_eq!(subject.reachable(), 3_000);
        let hits = subject.search(&[1.0, 2.0, 3.0], 50, &SearchParams::default(), None).expect("valid");
        assert_eq!(hits.len(), 50);
    }
}

#[test]
fn a_buffer_that_nobody_merges_stays_bounded() {
    for kind in [HNSW, IVF] {
        leave_alone(kind);
    }
}

fn leave_alone(kind: Kind) {
    let mut rng = Rng::new(3);
    let mut subject = index(2, Metric::Euclid, kind);
    for _ in 0..12_000 {
        subject.upsert(rng.below(500) as u32, &[rng.unit(), rng.unit()]).expect("valid");
        assert!(subject.pending() <= 8_192 + 256);
    }
    assert!(subject.can_merge());
    subject.merge(usize::MAX);
    assert!((1..256).contains(&subject.pending()) && !subject.can_merge(), "an open block waits for its end");
    assert_eq!((subject.len(), subject.reachable()), (500, 500));
}

#[test]
fn readers_may_share_an_index() {
    fn shareable<T: Send + Sync>() {}
    shareable::<Index>();
    shareable::<View>();
}

/// A batch that exceeds the limit for lists, of queries that are near and far from each other. With a matching set, a
/// batch may find nearer points.
#[test]
fn a_batch_finds_what_its_queries_find_one_by_one() {
    let vectors = data(Metric::Cosine, 12, 3_000);
    let queries: Vec<&[f32]> = vectors.iter().step_by(9).map(Vec::as_slice).collect();
    for kind in [Kind::Flat, HNSW, Kind::IvfPq { nlist: Some(40), subquantizers: None }] {
        let mut index = filled(Metric::Cosine, (kind, Profile::default()), &vectors);
        (0..40).for_each(|slot| assert!(index.delete(slot)));
        let few = |slot: u32| slot.is_multiple_of(7);
        let many: Vec<u32> = (0..3_000).filter(|slot| !few(*slot)).collect();
        let filters = [None, Some(Filter::predicate(&few, 400)), Some(Filter::slots(many))];
        for filter in filters.iter().map(Option::as_ref) {
            let [mut nearer, mut farther] = [0; 2];
            for params in
                [SearchParams::default(), SearchParams { nprobe: Some(3), ..SearchParams::default() }, exact()]
            {
                let together = index.search_batch(&queries, 5, &params, filter).expect("valid");
                assert_eq!(together.len(), queries.len());
                for (query, together) in queries.iter().zip(together) {
                    let alone = index.search(query, 5, &params, filter).expect("valid");
                    assert_eq!(together.len(), alone.len(), "{kind:?}");
                    assert!(together.iter().all(|hit| hit.slot >= 40), "{kind:?} finds deleted points");
                    let are_equal = params.exact || filter.is_none();
                    assert!(!are_equal || together == alone, "{kind:?}: {together:?} beside {alone:?}");
                    for (together, alone) in together.iter().zip(alone) {
                        nearer += u32::from(together.distance < alone.distance);
                        farther += u32::from(together.distance > alone.distance);
                    }
                }
            }
            assert!(nearer >= farther, "{kind:?}: {nearer} are nearer, {farther} are not");
        }
        let ask = |queries: &[&[f32]], k| index.search_batch(queries, k, &SearchParams::default(), None);
        assert_eq!(ask(&[], 5), Ok(Vec::new()));
        assert_eq!(ask(&queries[..2], 0), Ok(vec![Vec::new(); 2]));
        let expected = vectors[0].len();
        assert_eq!(ask(&[queries[0], &[1.0]], 5), Err((1, SearchError::Dim { found: 1, expected })));
        let mut odd = vectors[0].clone();
        odd[1] = f32::NAN;
        assert_eq!(ask(&[queries[0], queries[1], &odd], 5), Err((2, SearchError::NotFinite { at: 1 })));
    }
}

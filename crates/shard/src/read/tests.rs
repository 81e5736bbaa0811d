use std::collections::{BTreeMap, BTreeSet};

use meridian_model::{Condition, Distance, Fields, Op, Payload, PayloadPath, Range, Scalar};
use proptest::prelude::*;

use super::*;
use crate::fixture::{Action, Region, Shard, actions, def, upsert, write};

fn search(vector: &[f32], limit: usize) -> Search {
    Search {
        vector: vector.to_vec(),
        using: String::new(),
        filter: None,
        limit,
        ef: None,
        recall: None,
        exact: false,
        score_threshold: None,
        select: Select::default(),
    }
}

fn filters() -> impl Strategy<Value = Option<Filter>> {
    let condition = prop_oneof![
        (0u8..3).prop_map(|t| any_of("tags[]", [Scalar::Text(format!("t{t}"))])),
        (0u8..3).prop_map(|t| any_of("tags", [Scalar::Text(format!("t{t}")), Scalar::Int(1)])),
        any::<i8>().prop_map(|x| any_of("x", [Scalar::Int(x.into())])),
        any::<i8>().prop_map(|x| Condition::Except { key: path("x"), except: vec![Scalar::Int(x.into())] }),
        any::<i8>().prop_map(|x| range(f64::from(x))),
        prop::collection::btree_set((0u64..24).prop_map(PointId::Num), 0..8).prop_map(Condition::HasId),
    ];
    let list = || prop::collection::vec(condition.clone(), 0..2);
    let filter = (list(), list(), list()).prop_map(|(must, should, must_not)| Filter { must, should, must_not });
    let nested = (filter.clone(), filter.clone()).prop_map(|(mut outer, inner)| {
        outer.must.push(Condition::Nested(Box::new(inner)));
        outer
    });
    prop::option::of(prop_oneof![filter, nested])
}

fn path(text: &str) -> PayloadPath {
    text.parse().unwrap()
}

fn any_of(key: &str, any: impl Into<Vec<Scalar>>) -> Condition {
    Condition::Any { key: path(key), any: any.into() }
}

fn range(gte: f64) -> Condition {
    Condition::Range { key: path("x"), range: Range { gte: Some(gte), ..Range::default() } }
}

/// An independent evaluation: points as `(x, y)`.
fn judged(filter: &Filter, id: PointId, (x, y): (i8, i8)) -> bool {
    let holds = |condition: &Condition| match condition {
        Condition::Any { key, any } if *key == path("x") => any.contains(&Scalar::Int(x.into())),
        Condition::Any { any, .. } => any.contains(&Scalar::Text(format!("t{}", y.rem_euclid(3)))),
        Condition::Except { except, .. } => !except.contains(&Scalar::Int(x.into())),
        Condition::Range { range, .. } => f64::from(x) >= range.gte.unwrap(),
        Condition::HasId(ids) => ids.contains(&id),
        Condition::Nested(inner) => judged(inner, id, (x, y)),
    };
    let Filter { must, should, must_not } = filter;
    must.iter().all(holds) && (should.is_empty() || should.iter().any(holds)) && !must_not.iter().any(holds)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn reads_agree_with_a_plain_list(
        actions in actions(100), filter in filters(), query: (i8, i8), limit in 0usize..8, from in 0u64..24,
        threshold in prop::option::of(0f32..200.0),
    ) {
        let mut region = Region::new("us", 1);
        region.act(&Action::Create { name: 0 });
        let mut points = BTreeMap::new();
        for action in &actions {
            match action {
                Action::Upsert { uid: 1, point, x, y } => drop(points.insert(PointId::Num(*point), (*x, *y))),
                Action::Delete { uid: 1, point } => drop(points.remove(&PointId::Num(*point))),
                Action::DeleteIf { uid: 1, points: tried } => {
                    tried.iter().filter(|(_, other)| !other).for_each(|(point, _)| {
                        points.remove(&PointId::Num(*point));
                    });
                }
                Action::Drop { .. } => continue,
                _ => {}
            }
            region.act(action);
        }
        let view = region.shards[0].state.view();
        let read = |query| view.read(CollectionUid(1), &query).unwrap();
        let pass = |(id, at): &(PointId, (i8, i8))| filter.as_ref().is_none_or(|filter| judged(filter, *id, *at));
        let passing: Vec<_> = points.into_iter().filter(pass).collect();

        prop_assert_eq!(read(Query::Count { filter: filter.clone() }), Answer::Count(passing.len() as u64));

        let select = Select { payload: Fields::Only(vec![path("x")]), vectors: Names::Only(vec![String::new()]) };
        let page = read(Query::Scroll { filter: filter.clone(), from: Some(PointId::Num(from)), limit, select });
        let Answer::Page(records, next) = page else { panic!() };
        let mut behind = passing.iter().filter(|(id, _)| *id >= PointId::Num(from));
        for record in &records {
            let (id, (x, y)) = behind.next().unwrap();
            prop_assert_eq!(record.id, *id);
            prop_assert_eq!(&*record.payload.as_ref().unwrap().0, &format!(r#"{{"x":{x}}}"#));
            prop_assert_eq!(&record.vectors.as_ref().unwrap()[""], &vec![f32::from(*x), f32::from(*y)]);
        }
        prop_assert!(records.len() == limit || next.is_none());
        prop_assert_eq!(next, behind.next().map(|(id, _)| *id));

        let query = [f32::from(query.0), f32::from(query.1)];
        let found = read(Query::Search(Search { filter, score_threshold: threshold, ..search(&query, limit) }));
        let Answer::Found(found) = found else { panic!() };
        let distance = |(x, y): (i8, i8)| (f32::from(x) - query[0]).hypot(f32::from(y) - query[1]);
        let mut expected: Vec<_> = passing.iter().map(|(id, at)| (distance(*at), *id)).collect();
        expected.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        expected.truncate(limit);
        expected.retain(|(distance, _)| threshold.is_none_or(|threshold| *distance <= threshold));
        // Points at the same distance at the end of the list may replace each other.
        prop_assert_eq!(found.len(), expected.len());
        for (found, (distance, _)) in found.iter().zip(&expected) {
            prop_assert!((found.score - distance).abs() <= distance * 1e-5, "{} {}", found.score, distance);
        }
        prop_assert!(found.is_sorted_by(|a, b| (a.score, a.record.id) < (b.score, b.record.id)));
        let ids: BTreeSet<_> = found.iter().map(|found| found.record.id).collect();
        prop_assert!(ids.iter().all(|id| passing.iter().any(|(passing, _)| passing == id)));
    }
}

/// One collection of each distance, with the same four points.
fn four(distance: Distance) -> Shard {
    let mut shard = Shard::new("us", 1, 1);
    let mut ops = vec![Op::CreateCollection { uid: CollectionUid(1), def: def("a", distance) }];
    ops.extend([(1, 3, 4), (2, 6, 8), (3, -3, -4), (4, 4, -3)].map(|(id, x, y)| upsert(1, id, x, y)));
    shard.commit(write(1, 10, ops[..1].to_vec()));
    let mut points = ops.split_off(1);
    shard.state.check_write(&points).unwrap();
    shard.state.normalize(&mut points);
    shard.commit(write(2, 20, points));
    shard
}

fn scores(distance: Distance, threshold: Option<f32>) -> Vec<(PointId, f32)> {
    let view = four(distance).state.view();
    let query = Query::Search(Search { score_threshold: threshold, ..search(&[3.0, 4.0], 10) });
    let Answer::Found(found) = view.read(CollectionUid(1), &query).unwrap() else { panic!() };
    found.into_iter().map(|found| (found.record.id, (found.score * 1000.0).round() / 1000.0)).collect()
}

#[test]
fn scores_are_those_that_users_know() {
    let id = PointId::Num;
    let cosine = [(id(1), 1.0), (id(2), 1.0), (id(4), 0.0), (id(3), -1.0)];
    assert_eq!(scores(Distance::Cosine, None), cosine);
    assert_eq!(scores(Distance::Cosine, Some(0.5)), cosine[..2]);
    let dot = [(id(2), 50.0), (id(1), 25.0), (id(4), 0.0), (id(3), -25.0)];
    assert_eq!(scores(Distance::Dot, None), dot);
    let euclid = [(id(1), 0.0), (id(2), 5.0), (id(4), 7.071), (id(3), 10.0)];
    assert_eq!(scores(Distance::Euclid, None), euclid);
    assert_eq!(scores(Distance::Euclid, Some(5.0)), euclid[..2]);
    let manhattan = [(id(1), 0.0), (id(2), 7.0), (id(4), 8.0), (id(3), 14.0)];
    assert_eq!(scores(Distance::Manhattan, None), manhattan);
}

#[test]
fn a_point_without_a_vector_is_not_found_by_it() {
    let view = four(Distance::Euclid).state.view();
    let query = Query::Search(Search { using: "other".into(), ..search(&[0.0, 0.0, 0.0], 10) });
    let Answer::Found(found) = view.read(CollectionUid(1), &query).unwrap() else { panic!() };
    let ids: BTreeSet<_> = found.iter().map(|found| found.record.id).collect();
    assert_eq!(ids, BTreeSet::from([PointId::Num(2), PointId::Num(4)]));
}

#[test]
fn retrieve_keeps_the_requested_order_and_returns_the_version() {
    let view = four(Distance::Euclid).state.view();
    let ids = [4, 9, 1].map(PointId::Num).to_vec();
    let query = Query::Retrieve { ids, select: Select::default() };
    let Answer::Records(records) = view.read(CollectionUid(1), &query).unwrap() else { panic!() };
    let bare = |id, version| Record { id: PointId::Num(id), version, payload: None, vectors: None };
    assert_eq!(records, [bare(4, 5), bare(1, 2)]);
}

#[test]
fn a_query_that_does_not_fit_is_refused() {
    let view = four(Distance::Euclid).state.view();
    let check = |search: Search, expected| {
        assert_eq!(view.read(CollectionUid(1), &Query::Search(search)), Err(expected));
    };
    check(search(&[1.0], 1), ReadError::Dimension { expected: 2, found: 1 });
    check(search(&[1.0, f32::NAN], 1), ReadError::NotFinite(1));
    let found = view.read(CollectionUid(1), &Query::Search(search(&[3e38, 0.0], 1))).unwrap_err().to_string();
    assert_eq!(found, "query vector: the sum of the squares of its elements must be <= 4.2535e37 (got 9.0000e76)");
    check(Search { using: "x".into(), ..search(&[1.0], 1) }, ReadError::UnknownVector("x".into()));
    let count = Query::Count { filter: None };
    assert_eq!(view.read(CollectionUid(9), &count), Err(ReadError::UnknownCollection(CollectionUid(9))));
}

#[test]
fn conditions_on_odd_payloads() {
    let mut shard = Shard::new("us", 1, 1);
    shard.commit(write(1, 10, vec![Op::CreateCollection { uid: CollectionUid(1), def: def("a", Distance::Dot) }]));
    let payload = r#"{"deep":{"list":[{"n":1},{"n":2.5}]},"null":null,"flag":true,"empty":[],"big":9007199254740993,"rows":[[1,2],[3]],"deep.list":9}"#;
    let Op::Upsert { collection, point, vectors, .. } = upsert(1, 1, 1, 1) else { panic!() };
    let op = Op::Upsert { collection, point, vectors, payload: Payload(payload.into()) };
    shard.commit(write(2, 20, vec![op]));
    let view = shard.state.view();
    let check = |condition: Condition, expected| {
        let filter = Some(Filter { must: vec![condition.clone()], ..Filter::default() });
        let answer = view.read(CollectionUid(1), &Query::Count { filter }).unwrap();
        assert_eq!(answer, Answer::Count(expected), "{condition:?}");
    };
    let except = |key: &str| Condition::Except { key: path(key), except: vec![Scalar::Int(1)] };
    let above = |key: &str, gt| Condition::Range { key: path(key), range: Range { gt: Some(gt), ..Range::default() } };
    check(any_of("deep.list[].n", [Scalar::Int(1)]), 1);
    check(any_of("deep.list.n", [Scalar::Int(1)]), 0);
    check(any_of("deep.list[0].n", [Scalar::Int(1)]), 1);
    check(any_of("deep.list[1].n", [Scalar::Int(1)]), 0);
    check(any_of("rows[][]", [Scalar::Int(3)]), 1);
    check(any_of("rows[1]", [Scalar::Int(3)]), 1);
    check(any_of("rows[0]", [Scalar::Int(3)]), 0);
    check(any_of("rows", [Scalar::Int(3)]), 0);
    check(any_of("\"deep.list\"", [Scalar::Int(9)]), 1);
    check(any_of("deep.\"list\"[].n", [Scalar::Int(1)]), 1);
    check(above("deep.list[].n", 2.0), 1);
    check(above("deep.list[].n", 2.5), 0);
    check(any_of("flag", [Scalar::Bool(true)]), 1);
    check(any_of("big", [Scalar::Int(9_007_199_254_740_992)]), 0);
    check(except("null"), 0);
    check(except("empty"), 0);
    check(except("nowhere"), 0);
    check(except("flag"), 1);
    check(except("deep.list[].n"), 1);
}

/// Few points are compared exhaustively regardless of the requested recall, even for an impossible one.
#[test]
fn a_requested_recall_is_accepted() {
    let view = four(Distance::Euclid).state.view();
    let ask = |recall| {
        let query = Query::Search(Search { recall, ..search(&[3.0, 4.0], 2) });
        view.read(CollectionUid(1), &query).unwrap()
    };
    assert_eq!(ask(Some(950)), ask(None));
    assert_eq!(ask(Some(u16::MAX)), ask(None));
}

fn large() -> impl Strategy<Value = f32> {
    prop_oneof![
        -4.7e18f32..4.7e18,
        prop::sample::select(vec![6.5e18f32, -6.5e18, 4.61e18, -4.61e18, 1e-44, -1e-44, 0.0, 3e38, f32::MAX]),
        any::<f32>(),
    ]
}

proptest! {
    #[test]
    fn accepted_input_has_finite_scores(
        points in prop::collection::vec([large(), large()], 1..6),
        query in [large(), large()],
        distance in prop::sample::select(vec![Distance::Cosine, Distance::Dot, Distance::Euclid, Distance::Manhattan]),
    ) {
        let mut shard = Shard::new("us", 1, 1);
        shard.commit(write(1, 10, vec![Op::CreateCollection { uid: CollectionUid(1), def: def("a", distance) }]));
        let ops = (1..).zip(points).map(|(id, vector)| {
            let Op::Upsert { collection, point, payload, .. } = upsert(1, id, 1, 1) else { panic!() };
            Op::Upsert { collection, point, payload, vectors: [(String::new(), vector.to_vec())].into() }
        });
        let mut accepted: Vec<_> = ops.filter(|op| shard.state.check_write(std::slice::from_ref(op)).is_ok()).collect();
        shard.state.normalize(&mut accepted);
        let count = accepted.len();
        shard.commit(write(2, 20, accepted));
        if let Ok(Answer::Found(found)) = shard.state.view().read(CollectionUid(1), &Query::Search(search(&query, 10))) {
            prop_assert_eq!(found.len(), count);
            prop_assert!(found.iter().all(|found| found.score.is_finite()), "{:?}", found);
        }
    }
}

/// A collection of `count` points with 40 uniform numbers each, and this threshold.
fn uniform(distance: Distance, count: u64, full_scan_threshold: u32) -> (Shard, impl FnMut() -> Vec<f32>) {
    let mut state = 1;
    let mut vector = move || {
        let mut number = || {
            state += 1;
            (scattered(state) >> 40) as f32 / (1u64 << 24) as f32
        };
        (0..40).map(|_| number()).collect::<Vec<_>>()
    };
    let mut def = def("a", distance);
    def.vectors.remove("other");
    let unnamed = def.vectors.get_mut("").unwrap();
    unnamed.dim = 40;
    (unnamed.hnsw.m, unnamed.hnsw.ef_construct, unnamed.hnsw.full_scan_threshold) = (4, 16, full_scan_threshold);
    let mut shard = Shard::new("us", 1, 1);
    shard.commit(write(1, 10, vec![Op::CreateCollection { uid: CollectionUid(1), def }]));
    let upsert = |point| {
        let Op::Upsert { collection, point, payload, .. } = upsert(1, point, (point % 100) as i8, 1) else { panic!() };
        Op::Upsert { collection, point, payload, vectors: [(String::new(), vector())].into() }
    };
    let mut ops: Vec<_> = (0..count).map(upsert).collect();
    shard.state.check_write(&ops).unwrap();
    shard.state.normalize(&mut ops);
    shard.commit(write(2, 20, ops));
    shard.state.merge_index(usize::MAX);
    (shard, vector)
}

#[test]
fn small_collections_are_searched_exactly() {
    for distance in [Distance::Cosine, Distance::Dot, Distance::Euclid, Distance::Manhattan] {
        let missed = |threshold, change: fn(&mut Search)| {
            let (mut shard, mut vector) = uniform(distance, 2_000, threshold);
            let view = shard.state.view();
            let differs = |_: &usize| {
                let mut search = search(&vector(), 10);
                change(&mut search);
                let read = |search| view.read(CollectionUid(1), &Query::Search(search)).unwrap();
                read(search.clone()) != read(Search { exact: true, ..search })
            };
            (0..50).filter(differs).count()
        };
        let half = |search: &mut Search| {
            search.filter = Some(Filter { must: vec![range(50.0)], ..Filter::default() });
            search.ef = Some(10);
        };
        let narrow: fn(&mut Search) = |search| search.ef = Some(10);
        // 2,000 vectors of 160 bytes are 312.5 kilobytes; up to 255 of them are not merged yet and are always compared.
        assert_eq!(missed(10_000, narrow), 0, "{distance:?}, by default");
        assert_eq!(missed(313, narrow), 0, "{distance:?}, all");
        assert!(missed(272, narrow) > 0, "{distance:?}, fewer than all that are merged");
        assert_eq!(missed(170, half), 0, "{distance:?}, half of them");
        assert_eq!(missed(0, |search| search.ef = Some(2_000)), 0, "{distance:?}, a beam for all");
        assert!(missed(0, narrow) > 0, "{distance:?}, by the graph");
    }
}

#[test]
fn a_sample_estimates_the_matches_and_rarely_too_low() {
    assert_eq!(estimated(7, 200, 200), Estimate { expected: 7, fewest: 7 });
    assert_eq!(estimated(0, 256, 1_000_000), Estimate { expected: 0, fewest: 0 });
    let Estimate { expected, fewest } = estimated(256, 256, 100_000);
    assert_eq!(expected, 100_000);
    assert!((98_000..99_900).contains(&fewest), "{fewest}");
    let Estimate { expected, fewest } = estimated(128, 256, 100_000);
    assert_eq!(expected, 50_000);
    assert!((37_000..38_000).contains(&fewest), "{fewest}");
    // Every 16th slot matches, and every 16th is sampled: without scattering the estimate would be none or all.
    let (mut shard, _) = uniform(Distance::Dot, 4_096, 0);
    let view = shard.state.view();
    let Estimate { expected, fewest } =
        view.collections.get(&CollectionUid(1)).unwrap().estimate(&|slot| slot.is_multiple_of(16));
    assert!((100..500).contains(&expected) && fewest <= 256, "{expected}, {fewest}");
}

/// 3,000 conditions that match few points: a cancelled read evaluates no more of them.
#[test]
fn a_read_ends_when_it_is_cancelled() {
    let view = four(Distance::Euclid).state.view();
    let should = vec![any_of("nowhere", [Scalar::Int(1)]); 3_000];
    let filter = Some(Filter { should, ..Filter::default() });
    let count = Query::Count { filter: filter.clone() };
    assert_eq!(view.read(CollectionUid(1), &count), Ok(Answer::Count(0)));
    assert_eq!(view.read_until(CollectionUid(1), &count, &|| true), Err(ReadError::Stopped));
    let scroll = Query::Scroll { filter: filter.clone(), from: None, limit: 10, select: Select::default() };
    assert_eq!(view.read_until(CollectionUid(1), &scroll, &|| true), Err(ReadError::Stopped));
    let near = Query::Search(Search { filter, ..search(&[3.0, 4.0], 2) });
    assert_eq!(view.read_until(CollectionUid(1), &near, &|| true), Err(ReadError::Stopped));
    assert_eq!(view.steps(CollectionUid(1), &count), 4 * 3_000);
}

/// Forty payloads of 500 kB: a page ends before it is too large, and the next one continues; reads without pages are
/// refused.
#[test]
fn answers_are_bounded_in_bytes() {
    let mut shard = Shard::new("us", 1, 1);
    shard.commit(write(1, 10, vec![Op::CreateCollection { uid: CollectionUid(1), def: def("a", Distance::Dot) }]));
    let payload = Payload(format!(r#"{{"text":"{}"}}"#, "x".repeat(500_000)).into());
    for id in 0..40 {
        let Op::Upsert { collection, point, vectors, .. } = upsert(1, id, 1, 1) else { panic!() };
        let op = Op::Upsert { collection, point, vectors, payload: payload.clone() };
        shard.commit(write(u128::from(id) + 2, 20 + id, vec![op]));
    }
    let view = shard.state.view();
    let select = Select { payload: Fields::All, ..Select::default() };
    let page = |from| {
        let query = Query::Scroll { filter: None, from, limit: 100, select: select.clone() };
        let Answer::Page(records, next) = view.read(CollectionUid(1), &query).unwrap() else { panic!() };
        (records.iter().map(|record| record.id).collect::<Vec<_>>(), next)
    };
    let (mut ids, next) = page(None);
    assert_eq!((ids.len(), next), (33, Some(PointId::Num(33))));
    let (more, next) = page(next);
    ids.extend(more);
    assert_eq!((ids, next), ((0..40).map(PointId::Num).collect(), None));
    let near = Query::Search(Search { select: select.clone(), ..search(&[1.0, 1.0], 40) });
    assert_eq!(view.read(CollectionUid(1), &near), Err(ReadError::TooLarge));
    let named = Query::Retrieve { ids: (0..40).map(PointId::Num).collect(), select };
    assert_eq!(view.read(CollectionUid(1), &named), Err(ReadError::TooLarge));
}

//! Filters that are reused for many searches.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

/// Queries after which a filter caches its matching set.
const QUERIES: usize = 60;

/// Single queries. Hits match and exist. Returns the recall of the second half.
fn checked_recall(index: &Index, queries: &[Vec<f32>], filter: &Filter<'_>, accepts: impl Fn(u32) -> bool) -> f64 {
    let [mut found, mut all] = [0; 2];
    for (nth, query) in queries.iter().cycle().take(QUERIES).enumerate() {
        let right = index.search(query, 10, &exact(), Some(filter)).expect("valid");
        let params = SearchParams { ef: Some(80), nprobe: Some(12), ..SearchParams::default() };
        let hits = index.search(query, 10, &params, Some(filter)).expect("valid");
        assert_eq!(hits.len(), right.len(), "k while k match");
        assert!(right[0].distance > 0.0 || hits[0] == right[0], "{:?} is there, {:?} is not it", right[0], hits[0]);
        for hit in &hits {
            assert!(accepts(hit.slot), "{hit:?} does not match");
            let vector = index.vector(hit.slot).expect("what is found is there");
            let distance = textbook(Metric::Euclid, query, &vector);
            assert!((hit.distance - distance).abs() <= 1e-4 * distance, "{hit:?} is {distance} away");
        }
        if nth >= QUERIES / 2 {
            all += right.len();
            found += right.iter().filter(|hit| hits.contains(hit)).count();
        }
    }
    found as f64 / all as f64
}

#[test]
fn writes_invalidate_a_reused_filter() {
    let vectors = data(Metric::Euclid, 21, 4_030);
    let (holdouts, vectors) = vectors.split_at(30);
    // Some are inserted late.
    let late = vectors[3_600..3_700].iter().step_by(3);
    let queries: Vec<_> =
        holdouts.iter().zip(late).flat_map(|(holdout, late)| [holdout.clone(), late.clone()]).collect();
    for (kind, profile) in SUBJECTS {
        let mut index = filled(Metric::Euclid, (kind, profile), &vectors[..3_000]);
        index.merge_all(1, |_| ());
        let third = |slot: u32| slot.is_multiple_of(3);
        let tenth = |slot: u32| slot % 10 == 3;
        let listed = |accepts: &dyn Fn(u32) -> bool| (0..4_000).filter(|slot| accepts(*slot)).collect::<Vec<u32>>();
        let filters: [(Filter<'_>, &dyn Fn(u32) -> bool); 3] = [
            (Filter::slots(listed(&third)), &third),
            (Filter::slots(listed(&tenth)), &tenth),
            (Filter::predicate(&third, 1_000), &third),
        ];
        let check = |index: &Index, what: &str| {
            for (filter, accepts) in &filters {
                let recall = checked_recall(index, &queries, filter, accepts);
                assert!(recall >= 0.9, "{kind:?}, {profile:?}, {what}: {recall}");
            }
        };
        check(&index, "at first");
        let before = index.view();
        // Hits are deleted, and later inserts reuse their nodes.
        for query in holdouts {
            for hit in index.search(query, 5, &exact(), Some(&filters[0].0)).expect("valid") {
                index.delete(hit.slot);
            }
        }
        check(&index, "deleted");
        for slot in 3_000..3_700 {
            index.upsert(slot, &vectors[slot as usize]).expect("valid");
        }
        check(&index, "queued");
        index.merge(700);
        check(&index, "merged in part");
        index.merge_all(1, |_| ());
        check(&index, "merged");
        check(&before.0, "as it was");
        check(&index, "as it is");
    }
}

/// Trained lists replace those that the cache was derived from.
#[test]
fn training_invalidates_a_reused_filter() {
    let vectors = data(Metric::Euclid, 23, 4_096);
    let mut index = with_profile(DIM, Metric::Euclid, (LISTS, Profile::Balanced));
    for (slot, vector) in (0..).zip(&vectors) {
        index.upsert(slot, vector).expect("valid");
        // After 2,048 points lists are trained, and after the last there are twice as many.
        if slot < 4_000 {
            index.merge(usize::MAX);
        }
    }
    while index.pending() > 0 {
        index.merge(1);
    }
    assert!(index.can_merge(), "training is due");
    let half = |slot: u32| slot.is_multiple_of(2);
    let tenth = |slot: u32| slot % 10 == 3;
    let [many, few] = [&half as &dyn Fn(u32) -> bool, &tenth]
        .map(|accepts| Filter::slots((0..4_096).filter(|slot| accepts(*slot)).collect::<Vec<_>>()));
    for is_learnt_anew in [false, true] {
        if is_learnt_anew {
            index.merge(usize::MAX);
        }
        let recall = [
            checked_recall(&index, &vectors[..QUERIES], &many, half),
            checked_recall(&index, &vectors[..QUERIES], &few, tenth),
        ];
        assert!(recall.iter().all(|recall| *recall > 0.9), "{recall:?}");
    }
}

/// A filter that is not reused calls its predicate as often as necessary; a reused one stops calling it.
#[test]
fn a_reused_filter_evaluates_its_predicate_once() {
    let vectors = data(Metric::Euclid, 22, 3_000);
    for subject in SUBJECTS {
        let mut index = filled(Metric::Euclid, subject, &vectors);
        index.merge_all(1, |_| ());
        let calls = AtomicUsize::new(0);
        let rule = |slot: u32| {
            calls.fetch_add(1, Ordering::Relaxed);
            slot.is_multiple_of(2)
        };
        let kept = Filter::predicate(&rule, 1_500);
        let ask = |filter: &Filter<'_>, nth: usize| {
            let found = index.search(&vectors[nth], 10, &SearchParams::default(), Some(filter)).expect("valid");
            assert_eq!(found.len(), 10);
        };
        (0..QUERIES).for_each(|nth| ask(&kept, nth));
        let evaluated = calls.swap(0, Ordering::Relaxed);
        assert!(evaluated > 3_000, "{subject:?}: {evaluated}");
        (0..QUERIES).for_each(|nth| ask(&kept, nth));
        assert_eq!(calls.swap(0, Ordering::Relaxed), 0, "{subject:?}");
        (0..QUERIES).for_each(|nth| ask(&Filter::predicate(&rule, 1_500), nth));
        assert!(calls.into_inner() > QUERIES * 50, "{subject:?}");
    }
}

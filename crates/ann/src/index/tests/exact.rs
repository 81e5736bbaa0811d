//! Scans of all matching points are exact, whether by vector or by code first.

use super::*;

/// Uniform components: nearly all points are about equally far.
fn uniform(rng: &mut Rng, dim: usize) -> Vec<f32> {
    (0..dim).map(|_| rng.unit()).collect()
}

fn by_ef(ef: usize) -> SearchParams {
    SearchParams { ef: Some(ef), ..SearchParams::default() }
}

fn by_bytes(points: usize, dim: usize) -> SearchParams {
    SearchParams { full_scan_bytes: points * dim * 4, ..SearchParams::default() }
}

/// An index after inserts, replacements and deletes, some of them pending.
fn written(rng: &mut Rng, (count, dim): (u32, usize), metric: Metric, kind: (Kind, Profile)) -> Index {
    let vector = |rng: &mut Rng| match metric {
        Metric::Cosine => normalized(uniform(rng, dim)),
        _ => uniform(rng, dim),
    };
    let mut subject = with_profile(dim, metric, kind);
    for slot in 0..count {
        subject.upsert(slot, &vector(rng)).expect("valid");
    }
    subject.merge(usize::MAX);
    for slot in (0..count).step_by(9) {
        subject.upsert(slot, &vector(rng)).expect("valid");
    }
    (0..count).step_by(31).for_each(|slot| _ = subject.delete(slot));
    subject
}

#[test]
fn a_beam_for_all_and_a_threshold_above_all_give_the_exact_answer() {
    let mut rng = Rng::new(11);
    for (dim, count) in [(5, 700), (40, 900), (100, 1_200)] {
        for metric in METRICS {
            let kinds = [(HNSW, Profile::Balanced), (HNSW, Profile::Memory), (IVF, Profile::Balanced)];
            for kind in kinds {
                let subject = written(&mut rng, (count, dim), metric, kind);
                let few = |slot: u32| slot.is_multiple_of(2);
                let listed: Vec<u32> = (0..count).filter(|slot| slot % 3 != 0).collect();
                // The bound allows that few of the second match, and the estimate of the first is exact.
                let filters = [
                    None,
                    Some(Filter::predicate(&few, count as usize / 2)),
                    Some(Filter::predicate(&few, usize::MAX).at_least(300)),
                    Some(Filter::slots(listed)),
                ];
                for (query, filter) in (0..24).zip(filters.iter().cycle()) {
                    let near = uniform(&mut rng, dim);
                    let exact = subject.search(&near, 10, &exact(), filter.as_ref()).expect("valid");
                    for params in [by_ef(count as usize), by_bytes(count as usize, dim)] {
                        let found = subject.search(&near, 10, &params, filter.as_ref()).expect("valid");
                        assert_eq!(found, exact, "{kind:?}, {metric:?}, {dim}, query {query}, {params:?}");
                    }
                }
                let queries: Vec<_> = (0..40).map(|_| uniform(&mut rng, dim)).collect();
                let queries: Vec<&[f32]> = queries.iter().map(Vec::as_slice).collect();
                for filter in filters.iter().map(Option::as_ref) {
                    let batch = |params| subject.search_batch(&queries, 3, &params, filter).expect("valid");
                    assert_eq!(batch(by_bytes(count as usize, dim)), batch(exact()), "{kind:?}, {metric:?}, {dim}");
                }
            }
        }
    }
}

#[test]
fn ties_and_overflowing_distances_are_found_by_slot() {
    let dim = 40;
    for metric in [Metric::Dot, Metric::Euclid] {
        let mut subject = index(dim, metric, HNSW);
        for slot in 0..600u32 {
            let scale = [1.0, 1e-30, 3e38, -3e38, 2.0][slot as usize % 5];
            subject.upsert(slot, &vec![scale; dim]).expect("valid");
        }
        subject.merge(usize::MAX);
        for query in [vec![1.0; dim], vec![3e38; dim], vec![1e-30; dim], vec![0.0; dim]] {
            let exact = subject.search(&query, 130, &exact(), None).expect("valid");
            assert_eq!(subject.search(&query, 130, &by_bytes(600, dim), None).expect("valid"), exact, "{metric:?}");
        }
    }
}

/// The threshold counts bytes of matching vectors in their stored type.
#[test]
fn a_threshold_below_the_matching_vectors_leaves_the_search_to_the_graph() {
    let (dim, count) = (40, 3_000);
    let mut rng = Rng::new(5);
    let subject = written(&mut rng, (count, dim), Metric::Euclid, (HNSW, Profile::Balanced));
    let queries: Vec<_> = (0..60).map(|_| uniform(&mut rng, dim)).collect();
    let missed = |params: SearchParams, filter: Option<&Filter<'_>>| {
        let differs = |query: &&Vec<f32>| {
            let found = subject.search(query, 10, &params, filter).expect("valid");
            found != subject.search(query, 10, &exact(), filter).expect("valid")
        };
        queries.iter().filter(differs).count()
    };
    let half = |slot: u32| slot.is_multiple_of(2);
    let half = Filter::predicate(&half, count as usize / 2);
    let narrow = |points| SearchParams { ef: Some(10), ..by_bytes(points, dim) };
    assert!(missed(narrow(0), None) > 0, "a beam of 10 must miss some for this test to say anything");
    assert!(missed(narrow(2_000), None) > 0);
    assert_eq!(missed(narrow(2_000), Some(&half)), 0);
    assert_eq!(missed(narrow(3_000), None), 0);
}

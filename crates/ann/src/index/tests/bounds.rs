//! Invalid input, and numbers at the limits of their types.

use super::*;

#[test]
fn bad_configurations_are_named() {
    let with = |dim, m, ef_construct| Index::new(Config::new(dim, Metric::Dot, Kind::Hnsw { m, ef_construct })).err();
    assert_eq!(with(0, 16, 100), Some(ConfigError::Dim(0)));
    assert_eq!(with(65_537, 16, 100), Some(ConfigError::Dim(65_537)));
    assert_eq!(with(4, 1, 100), Some(ConfigError::M(1)));
    assert_eq!(with(4, 257, 100), Some(ConfigError::M(257)));
    assert_eq!(with(4, 16, 0), Some(ConfigError::EfConstruct(0)));
    assert_eq!(with(65_536, 256, 65_536), None);
    let with =
        |nlist, subquantizers| Index::new(Config::new(4, Metric::Dot, Kind::IvfPq { nlist, subquantizers })).err();
    assert_eq!(with(Some(0), None), Some(ConfigError::Nlist(0)));
    assert_eq!(with(Some(65_537), None), Some(ConfigError::Nlist(65_537)));
    assert_eq!(with(None, Some(0)), Some(ConfigError::Subquantizers(0)));
    assert_eq!(with(None, Some(5)), Some(ConfigError::Subquantizers(5)));
    assert_eq!(with(Some(65_536), Some(4)), None);
}

#[test]
fn bad_vectors_are_refused_and_change_nothing() {
    for kind in [Kind::Flat, HNSW, IVF] {
        let mut subject = index(2, Metric::Euclid, kind);
        subject.upsert(5, &[1.0, 2.0]).expect("valid");
        assert_eq!(subject.upsert(5, &[1.0]), Err(UpsertError::Dim { found: 1, expected: 2 }));
        assert_eq!(subject.upsert(5, &[0.0, f32::NAN]), Err(UpsertError::NotFinite { at: 1 }));
        assert_eq!(subject.upsert(5, &[f32::INFINITY, 0.0]), Err(UpsertError::NotFinite { at: 0 }));
        assert_eq!(subject.upsert(u32::MAX, &[0.0, 0.0]), Err(UpsertError::Slot));
        assert_eq!((subject.len(), subject.vector(5).as_deref()), (1, Some([1.0, 2.0].as_slice())));
        let ask = |query: &[f32]| subject.search(query, 1, &SearchParams::default(), None);
        assert_eq!(ask(&[1.0]), Err(SearchError::Dim { found: 1, expected: 2 }));
        assert_eq!(ask(&[f32::NAN, 0.0]), Err(SearchError::NotFinite { at: 0 }));
    }
}

/// Number of points found by one query, and by each query of a batch.
fn count(subject: &Index, k: usize, filter: Option<&Filter<'_>>) -> Result<usize, SearchError> {
    let query = vec![1.0; subject.config().dim];
    let alone = subject.search(&query, k, &SearchParams::default(), filter)?;
    let together = subject.search_batch(&[&query[..]; 40], k, &SearchParams::default(), filter);
    assert!(together.is_ok_and(|all| all.len() == 40 && all.iter().all(|hits| hits.len() == alone.len())));
    Ok(alone.len())
}

#[test]
fn searches_that_can_find_nothing_find_nothing() {
    // With 40 dimensions there are codes.
    for (kind, dim) in [(Kind::Flat, 1), (HNSW, 1), (HNSW, 40), (IVF, 1), (IVF, 40)] {
        let mut subject = index(dim, Metric::Dot, kind);
        assert_eq!(count(&subject, 5, None), Ok(0), "an empty index");
        assert!(!subject.delete(1) && subject.is_empty());
        for slot in 0..600 {
            subject.upsert(slot, &vec![slot as f32; dim]).expect("valid");
        }
        subject.merge(usize::MAX);
        assert_eq!(count(&subject, 0, None), Ok(0), "k of 0");
        assert_eq!(count(&subject, usize::MAX, None), Ok(600), "k beyond all");
        assert_eq!(count(&subject, 5, Some(&Filter::slots([]))), Ok(0), "an empty filter");
        assert_eq!(count(&subject, 5, Some(&Filter::slots([900, 7, 7]))), Ok(1), "unknown and repeated slots");
        assert_eq!(
            count(&subject, 5, Some(&Filter::predicate(&|_| false, 600))),
            Ok(0),
            "a filter with a wrong estimate"
        );
        assert_eq!(
            count(&subject, usize::MAX, Some(&Filter::predicate(&|slot| slot > 9, 600))),
            Ok(590),
            "all of many"
        );
        let huge = SearchParams { ef: Some(usize::MAX), ..SearchParams::default() };
        assert_eq!(subject.search(&vec![1.0; dim], 3, &huge, None).map(|h| h.len()), Ok(3));
    }
}

#[test]
fn zero_vectors_and_overflow_have_defined_distances() {
    for kind in [Kind::Flat, HNSW, IVF] {
        let mut subject = index(2, Metric::Cosine, kind);
        subject.upsert(3, &[0.0, 0.0]).expect("valid");
        subject.upsert(2, &[1.0, 0.0]).expect("valid");
        let hits = subject.search(&[0.0, 0.0], 9, &SearchParams::default(), None).expect("valid");
        assert_eq!(hits, [Hit { slot: 2, distance: 0.0 }, Hit { slot: 3, distance: 0.0 }]);
        let mut subject = index(2, Metric::Dot, kind);
        subject.upsert(1, &[3e38, 3e38]).expect("valid");
        let far = subject.search(&[3e38, -3e38], 1, &SearchParams::default(), None).expect("valid");
        assert_eq!(far, [Hit { slot: 1, distance: f32::INFINITY }]);
    }
}

/// Overflowing codes exclude no point.
#[test]
fn answers_are_not_short_where_numbers_overflow() {
    let dim = 40;
    for (kind, profile) in SUBJECTS {
        for metric in [Metric::Cosine, Metric::Dot, Metric::Euclid] {
            let mut index = Index::new(Config { profile, seed: 1, ..Config::new(dim, metric, kind) }).expect("valid");
            for slot in 0..2_500_u32 {
                let number = [3e38, -3e38, 1e30, 1.0, 0.0, 1e-30][slot as usize % 6];
                let vector: Vec<f32> = (0..dim as u32).map(|i| number * (1.0 - (slot ^ i) as f32 * 1e-4)).collect();
                index.upsert(slot, &vector).expect("finite");
            }
            index.merge_all(1, |_| ());
            for number in [3e38, -1e30, 1.0, 0.0] {
                for filter in [None, Some(Filter::slots((0..2_400).collect::<Vec<_>>()))] {
                    for effort in [10, 300] {
                        let ask = SearchParams { ef: Some(effort), nprobe: Some(effort), ..SearchParams::default() };
                        let query = vec![number; dim];
                        for queries in [1, 50] {
                            let hits = index.search_batch(&vec![&query[..]; queries], 10, &ask, filter.as_ref());
                            let are_there = hits.expect("valid").iter().all(|hits| hits.len() == 10);
                            assert!(are_there, "{kind:?}, {profile:?}, {metric:?}, {number:e}, {queries} of {effort}");
                        }
                    }
                }
            }
        }
    }
}

/// Points with overflowing distances are never near, whatever links lead to them.
#[test]
fn overflowing_vectors_are_far() {
    let dim = 200;
    for profile in [Profile::Balanced, Profile::Speed, Profile::Memory] {
        let kind = Kind::Hnsw { m: 8, ef_construct: 40 };
        let mut index = Index::new(Config { profile, ..Config::new(dim, Metric::Euclid, kind) }).expect("valid");
        let mut vectors = clustered(5, 3_000, dim, 10);
        vectors.iter_mut().step_by(2).for_each(|vector| vector.iter_mut().for_each(|x| *x *= 1e19));
        (0..).zip(&vectors).for_each(|(slot, vector)| index.upsert(slot, vector).expect("finite"));
        index.merge_all(1, |_| ());
        let mut found = 0;
        for query in (1..3_000).step_by(14).take(200) {
            let hits = index.search(&vectors[query], 10, &SearchParams { ef: Some(10), ..Default::default() }, None);
            found += usize::from(hits.expect("valid").first().is_some_and(|hit| hit.slot as usize == query));
        }
        assert!(found >= 180, "{profile:?}: {found} of 200 find themselves");
    }
}

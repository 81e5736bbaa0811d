//! Vectors in files, and of other types.

use super::*;
use crate::storage::datatype::Datatype;

const DATATYPES: [Datatype; 2] = [Datatype::Float32, Datatype::Bfloat16];

#[test]
fn vectors_in_a_file_change_nothing_but_where_they_are() {
    let subjects = SUBJECTS.into_iter().chain([FLAT]);
    for ((kind, profile), datatype) in subjects.flat_map(|subject| DATATYPES.map(|datatype| (subject, datatype))) {
        let config = Config { profile, datatype, seed: 3, ..Config::new(48, Metric::Euclid, kind) };
        let vectors = clustered(7, 3_000, 48, 20);
        let file = || tempfile::tempfile().expect("a file");
        let mut subjects = [VectorStorage::Memory, VectorStorage::File(file()), VectorStorage::Mapped(file())]
            .map(|storage| Index::new_in(config, storage).expect("valid"));
        for (i, vector) in (0..).zip(&vectors) {
            for subject in &mut subjects {
                subject.upsert(i % 2_500, vector).expect("valid");
                if i % 3 == 0 {
                    subject.delete(i / 2);
                }
                subject.merge(5);
            }
        }
        let written = subjects.each_ref().map(|subject| {
            let mut bytes = Vec::new();
            subject.write_to(&mut bytes).expect("memory");
            bytes
        });
        assert!(written[0] == written[1] && written[0] == written[2], "{kind:?}, {profile:?}");
        let read = Index::read_from_in(&mut written[0].as_slice(), VectorStorage::File(file()));
        let [held, listed, mapped] = subjects;
        for other in [listed, mapped, read.expect("our own bytes")] {
            let stats = other.stats();
            assert_eq!((stats.resident_vector_bytes, stats.vector_bytes), (0, held.stats().vector_bytes));
            assert_eq!(other.vector(2_000), held.vector(2_000));
            for exact in [false, true] {
                for (at, query) in vectors.iter().enumerate().step_by(100) {
                    let ask = SearchParams { exact, ..SearchParams::default() };
                    let filter = Filter::slots((0..2_500).step_by(1 + at % 7).collect::<Vec<_>>());
                    let search = |index: &Index| index.search(query, 10, &ask, Some(&filter)).expect("valid");
                    assert_eq!(search(&other), search(&held), "{kind:?}, {profile:?}");
                }
            }
        }
    }
}

/// An index of rounded vectors returns the hits and distances of an index of `f32` with the same rounded vectors, at
/// half of the bytes.
#[test]
fn a_datatype_changes_nothing_but_the_vectors() {
    for (kind, profile) in SUBJECTS.into_iter().chain([FLAT]) {
        for metric in METRICS {
            let make = |datatype| {
                let config = Config { profile, datatype, seed: 4, ..Config::new(50, metric, kind) };
                Index::new(config).expect("valid")
            };
            let (mut rounded, mut whole) = (make(Datatype::Bfloat16), make(Datatype::Float32));
            let vectors = clustered(9, 2_000, 50, 20);
            for (i, vector) in (0..).zip(&vectors) {
                rounded.upsert(i % 1_500, vector).expect("valid");
                whole.upsert(i % 1_500, &Datatype::Bfloat16.kept(vector)).expect("valid");
                for subject in [&mut rounded, &mut whole] {
                    if i % 5 == 0 {
                        subject.delete(i / 2);
                    }
                    subject.merge(3);
                }
            }
            assert_eq!(rounded.vector(700), whole.vector(700));
            assert_ne!(rounded.vector(700).as_deref(), Some(vectors[700].as_slice()));
            assert_eq!(2 * rounded.stats().vector_bytes, whole.stats().vector_bytes);
            let mut written = Vec::new();
            rounded.write_to(&mut written).expect("memory");
            let read = Index::read_from(&mut written.as_slice()).expect("our own bytes");
            for query in vectors.iter().step_by(90) {
                for params in [exact(), SearchParams::default()] {
                    let ask = |index: &Index| index.search(query, 10, &params, None).expect("valid");
                    let expected = ask(&whole);
                    assert_eq!(ask(&rounded), expected, "{kind:?}, {profile:?}, {metric:?}");
                    assert_eq!(ask(&read), expected, "{kind:?}, {profile:?}, {metric:?}, read");
                }
            }
        }
    }
}

//! Views do not change.

use std::sync::{Arc, Barrier, Mutex};

use super::*;

/// Results of all read operations of an index.
#[derive(Debug, PartialEq)]
struct Answers {
    found: Vec<Vec<Hit>>,
    vectors: Vec<Option<Vec<f32>>>,
    len: usize,
    pending: usize,
}

fn ask(index: &Index, queries: &[Vec<f32>]) -> Answers {
    let rare = |slot: u32| slot.is_multiple_of(29);
    let filters = [None, Some(Filter::predicate(&rare, 80)), Some(Filter::slots((3..900).collect::<Vec<_>>()))];
    let recall = SearchParams { recall: Recall::new(0.9), ..SearchParams::default() };
    let efforts = [SearchParams::default(), recall, exact()];
    let numbered = queries.iter().enumerate();
    let found = numbered
        .map(|(nth, query)| index.search(query, 8, &efforts[nth / 3 % 3], filters[nth % 3].as_ref()).expect("valid"));
    Answers {
        found: found.collect(),
        vectors: (0..2_700).step_by(7).map(|slot| index.vector(slot).map(Cow::into_owned)).collect(),
        len: index.len(),
        pending: index.pending(),
    }
}

fn subjects() -> impl Iterator<Item = (Config, VectorStorage)> {
    let file = || tempfile::tempfile().expect("a file");
    let storages = [VectorStorage::Memory, VectorStorage::Mapped(file()), VectorStorage::File(file())];
    let more = [VectorStorage::File(file()), VectorStorage::Memory, VectorStorage::Memory];
    let flat = (Kind::Flat, Profile::default());
    let manhattan = (HNSW, Profile::default());
    let kinds = SUBJECTS.into_iter().chain([flat, manhattan]);
    kinds.zip(storages.into_iter().chain(more)).enumerate().map(|(nth, ((kind, profile), storage))| {
        let metric = if nth == 5 { Metric::Manhattan } else { Metric::Euclid };
        (Config { profile, seed: 6, ..Config::new(24, metric, kind) }, storage)
    })
}

/// Inserts, replacements and deletes, some of them merged: nodes are reused, lists trained, recall measured.
fn change(index: &mut Index, vectors: &[Vec<f32>], rng: &mut Rng) {
    for _ in 0..1 + rng.below(200) {
        let slot = rng.below(2_700) as u32;
        if rng.below(5) == 0 {
            index.delete(slot);
        } else {
            index.upsert(slot, &vectors[rng.below(vectors.len())]).expect("valid");
        }
    }
    index.merge(rng.below(500));
}

fn bytes(index: &Index) -> Vec<u8> {
    let mut bytes = Vec::new();
    index.write_to(&mut bytes).expect("memory");
    bytes
}

/// Views are made, kept and dropped in any order. Each returns the answers of the index at its creation, and an index
/// without views is the same.
#[test]
fn a_view_never_changes() {
    for (config, storage) in subjects() {
        let vectors = clustered(5, 4_000, 24, 30);
        let [mut rng, mut same, mut fate] = [9, 9, 10].map(Rng::new);
        let mut subject = Index::new_in(config, storage).expect("valid");
        let mut unseen = Index::new(config).expect("valid");
        let mut views = Vec::new();
        let mut most = 0;
        for round in 0..120 {
            change(&mut subject, &vectors, &mut rng);
            change(&mut unseen, &vectors, &mut same);
            let queries = &vectors[round * 9..][..9];
            let answers = ask(&subject, queries);
            views.push((subject.view(), queries, answers));
            most = most.max(subject.copied());
            while views.len() > 5 {
                let (view, queries, answers) = views.swap_remove(fate.below(views.len()));
                assert_eq!(ask(&view.0, queries), answers, "{config:?}");
            }
        }
        assert!(most > 40, "{config:?}: {most} rows were written while views looked at them");
        assert!(bytes(&subject) == bytes(&unseen), "{config:?}");
        let last = bytes(&subject);
        // The index may be dropped before its views.
        drop(subject);
        views.iter().for_each(|(view, queries, answers)| assert_eq!(ask(&view.0, queries), *answers, "{config:?}"));
        assert!(last == bytes(&unseen));
    }
}

/// No copy outlives the views that need it.
#[test]
fn patches_are_merged_back() {
    for (config, storage) in subjects() {
        let vectors = clustered(5, 4_000, 24, 30);
        let mut rng = Rng::new(9);
        let mut subject = Index::new_in(config, storage).expect("valid");
        (0..8).for_each(|_| change(&mut subject, &vectors, &mut rng));
        let first = subject.view();
        (0..8).for_each(|_| change(&mut subject, &vectors, &mut rng));
        assert!(subject.copied() > 0, "{config:?}");
        // Of all views, the first one reads the rows themselves.
        drop(subject.view());
        assert!(subject.copied() > 0, "{config:?}");
        drop(first);
        let answers = ask(&subject, &vectors[..9]);
        let second = subject.view();
        assert_eq!((subject.copied(), ask(&second.0, &vectors[..9])), (0, answers), "{config:?}");
        change(&mut subject, &vectors, &mut rng);
        drop(second);
        // Without views, rows are written in place.
        let copied = subject.copied();
        change(&mut subject, &vectors, &mut rng);
        assert!(subject.copied() <= copied, "{config:?}");
    }
}

/// Two threads search while an index is written; each view gives the answers recorded with it.
#[test]
fn searches_beside_changes_see_one_state() {
    for (config, storage) in subjects() {
        let vectors = clustered(5, 4_000, 24, 30);
        let queries = &vectors[..9];
        let mut rng = Rng::new(9);
        let mut subject = Index::new_in(config, storage).expect("valid");
        (0..8).for_each(|_| change(&mut subject, &vectors, &mut rng));
        let seen = |subject: &mut Index| Arc::new((ask(subject, queries), subject.view()));
        let latest = Mutex::new(Some(seen(&mut subject)));
        let all = Barrier::new(3);
        let reader = || {
            all.wait();
            while let Some(seen) = latest.lock().expect("no panic").clone() {
                assert_eq!(ask(&seen.1.0, queries), seen.0, "{config:?}");
            }
        };
        std::thread::scope(|scope| {
            let readers = [0; 2].map(|_| scope.spawn(reader));
            all.wait();
            for _ in 0..15 {
                change(&mut subject, &vectors, &mut rng);
                *latest.lock().expect("no panic") = Some(seen(&mut subject));
            }
            *latest.lock().expect("no panic") = None;
            readers.into_iter().for_each(|reader| reader.join().expect("no torn row"));
        });
    }
}

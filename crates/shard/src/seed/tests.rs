use meridian_model::{Hlc, Seq};
use proptest::prelude::*;

use super::*;
use crate::Entry;
use crate::fixture::{Action, Region, Shard, actions, create, origin, upsert, write};

fn commit(target: &mut Shard, origin: &OriginShard, step: SeedStep) -> Outcome {
    target.commit(Entry::Seed { origin: origin.clone(), step }).outcome
}

/// Seeds `target` from shard `nth` of `source`, which goes on by `meanwhile` after each chunk.
fn seed(target: &mut Shard, source: &mut Region, nth: usize, budget: usize, meanwhile: &mut Vec<Action>) {
    let from = source.shards[nth].state.origin().clone();
    let begin = source.shards[nth].state.seed_begin();
    let SeedStep::Begin { at, .. } = begin else { panic!() };
    let closed = source.shards[nth].state.safe().get(&from).copied().unwrap_or_default();
    commit(target, &from, begin);
    let mut next = None;
    loop {
        let wanted = |point| target.state.owns(point);
        let SeedChunk { collections, points, next: after } = source.shards[nth].state.seed_chunk(next, budget, wanted);
        let outcome = commit(target, &from, SeedStep::Chunk { collections, points });
        assert!(matches!(outcome, Outcome::SeedMerged { .. }));
        if let Some(action) = meanwhile.pop() {
            source.act(&action);
        }
        next = after;
        if next.is_none() {
            break;
        }
    }
    let commit_step = SeedStep::Commit { position: at, closed, origin_shards: source.shards.len() as u16 };
    assert!(matches!(commit(target, &from, commit_step), Outcome::Seeded { .. }));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn a_stale_replica_that_is_seeded_equals_its_origin(
        before in actions(60), missed in actions(60), mut meanwhile in actions(40), after in actions(20),
        shards in 1u16..3, targets in 1u16..3, budget in prop_oneof![Just(1usize), Just(400), Just(1 << 20)],
    ) {
        let (mut source, mut target) = (Region::new("us", shards), Region::new("eu", targets));
        source.act(&Action::Create { name: 0 });
        source.run(&before);
        target.follow(&source, 2);
        source.run(&missed);
        for nth in 0..source.shards.len() {
            for shard in &mut target.shards {
                seed(shard, &mut source, nth, budget, &mut meanwhile);
            }
        }
        source.run(&after);
        target.follow(&source, 3);
        prop_assert_eq!(target.contents(), source.contents());
        prop_assert_eq!(target.digest(), source.digest());
        prop_assert_eq!(&target.names()[0], &source.names()[0]);
    }
}

#[test]
fn a_seed_without_news_converges_by_itself() {
    let (mut source, mut target) = (Region::new("us", 1), Region::new("eu", 1));
    source.act(&Action::Create { name: 0 });
    (0..9).for_each(|point| source.act(&Action::Upsert { uid: 1, point, x: 1, y: 1 }));
    target.follow(&source, 2);
    (0..5).for_each(|point| source.act(&Action::Delete { uid: 1, point }));
    source.act(&Action::Upsert { uid: 1, point: 7, x: 9, y: 9 });
    seed(&mut target.shards[0], &mut source, 0, 1, &mut Vec::new());
    assert_eq!(target.digest(), source.digest());
    let us = origin("us", 1);
    let (held, theirs) = (&target.shards[0].state, &source.shards[0].state);
    assert_eq!(held.vv().position(&us), theirs.vv().position(&us));
    assert_eq!(held.safe()[&us], theirs.safe()[&us]);
}

#[test]
fn a_seed_begun_again_forgets_what_it_had_seen() {
    let us = origin("us", 1);
    let (mut source, mut target) = (Region::new("us", 1), Shard::new("eu", 1, 1));
    source.act(&Action::Create { name: 0 });
    source.act(&Action::Upsert { uid: 1, point: 1, x: 1, y: 1 });
    let begin = source.shards[0].state.seed_begin();
    let chunk = source.shards[0].state.seed_chunk(None, 1 << 20, |_| true);
    commit(&mut target, &us, begin);
    commit(&mut target, &us, SeedStep::Chunk { collections: chunk.collections, points: chunk.points });
    assert!(target.state.is_seeding(&us));
    source.act(&Action::Delete { uid: 1, point: 1 });
    seed(&mut target, &mut source, 0, 1, &mut Vec::new());
    assert!(!target.state.is_seeding(&us));
    assert_eq!(target.state.digest(), source.digest());
    assert_eq!(target.state.collections().map(crate::Collection::points).sum::<u64>(), 0);
}

#[test]
fn steps_out_of_place_are_refused() {
    let us = origin("us", 1);
    let mut target = Shard::new("eu", 1, 1);
    let at = |seq| Position { epoch: meridian_model::Epoch(1), seq: Seq(seq) };
    let chunk = SeedStep::Chunk { collections: Vec::new(), points: Vec::new() };
    let end = |seq| SeedStep::Commit { position: at(seq), closed: Hlc(9), origin_shards: 1 };
    let begin = SeedStep::Begin { at: at(5), largest_uid: CollectionUid(0) };
    assert!(matches!(commit(&mut target, &us, chunk), Outcome::SeedRefused { .. }));
    assert!(matches!(commit(&mut target, &us, end(5)), Outcome::SeedRefused { .. }));
    assert!(matches!(commit(&mut target, &origin("eu", 2), begin.clone()), Outcome::Malformed { .. }));
    commit(&mut target, &us, begin);
    assert!(matches!(commit(&mut target, &us, end(6)), Outcome::Malformed { .. }));
    let mut source = Shard::new("us", 1, 1);
    source.commit(write(1, 10, vec![create(1, "a"), upsert(1, 1, 1, 1)]));
    let batch = source.batch(Seq(1), 1, &target.state);
    let outcome = target.commit(Entry::RemoteBatch(batch)).outcome;
    assert!(matches!(outcome, Outcome::SeedRunning { .. }));
    assert!(matches!(commit(&mut target, &us, end(5)), Outcome::Seeded { .. }));
    assert_eq!(target.state.vv().position(&us), at(5));
}

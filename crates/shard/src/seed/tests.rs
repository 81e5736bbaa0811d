use meridian_model::Seq;
use proptest::prelude::*;

use super::*;
use crate::Entry;
use crate::fixture::{Action, Region, Shard, actions, create, origin, upsert, write};

fn commit(target: &mut Shard, origin: &OriginShard, step: SeedStep) -> Outcome {
    target.commit(Entry::Seed { origin: origin.clone(), step }).outcome
}

fn stands_at(shard: &Shard) -> Position {
    Position { epoch: shard.state.epoch(), seq: Seq(shard.state.next_seq().0 - 1) }
}

/// Seeds `target` from shard `nth` of `source`, which performs `meanwhile` after each chunk.
fn seed(target: &mut Shard, source: &mut Region, nth: usize, budget: usize, meanwhile: &mut Vec<Action>) {
    let from = source.shards[nth].state.origin().clone();
    let begin = source.shards[nth].state.seed_begin();
    let SeedStep::Begin { at, .. } = begin else { panic!() };
    commit(target, &from, begin);
    let mut next = None;
    loop {
        let wanted = |point| target.state.owns(point);
        let SeedChunk { collections, points, next: after } = source.shards[nth].state.seed_chunk(next, budget, wanted);
        let read_at = stands_at(&source.shards[nth]);
        let outcome = commit(target, &from, SeedStep::Chunk { collections, points, read_at });
        assert!(matches!(outcome, Outcome::SeedMerged { .. }));
        if let Some(action) = meanwhile.pop() {
            source.act(&action);
        }
        next = after;
        if next.is_none() {
            break;
        }
    }
    let commit_step = SeedStep::Commit { position: at, origin_shards: source.shards.len() as u16 };
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
}

#[test]
fn a_restarted_seed_starts_without_the_ids_seen_before() {
    let us = origin("us", 1);
    let (mut source, mut target) = (Region::new("us", 1), Shard::new("eu", 1, 1));
    source.act(&Action::Create { name: 0 });
    source.act(&Action::Upsert { uid: 1, point: 1, x: 1, y: 1 });
    let begin = source.shards[0].state.seed_begin();
    let chunk = source.shards[0].state.seed_chunk(None, 1 << 20, |_| true);
    commit(&mut target, &us, begin);
    let read_at = stands_at(&source.shards[0]);
    commit(&mut target, &us, SeedStep::Chunk { collections: chunk.collections, points: chunk.points, read_at });
    assert!(target.state.is_seeding(&us));
    source.act(&Action::Delete { uid: 1, point: 1 });
    seed(&mut target, &mut source, 0, 1, &mut Vec::new());
    assert!(!target.state.is_seeding(&us));
    assert_eq!(target.state.digest(), source.digest());
    assert_eq!(target.state.collections().map(crate::Collection::points).sum::<u64>(), 0);
}

/// `x` in the payload of the point, if the point exists.
fn seen(target: &Shard, point: u64) -> Option<String> {
    let held = target.state.collections().next()?.point(meridian_model::PointId::Num(point))?;
    Some(held.payload.0.to_string())
}

#[test]
fn points_overwritten_or_deleted_between_two_pages_do_not_return() {
    let us = origin("us", 1);
    let (mut source, mut target) = (Region::new("us", 1), Region::new("eu", 1));
    source.act(&Action::Create { name: 0 });
    (0..4).for_each(|point| source.act(&Action::Upsert { uid: 1, point, x: 1, y: 1 }));
    target.follow(&source, 9);
    // Deleted before the seed begins: only the end of the seed removes it.
    source.act(&Action::Delete { uid: 1, point: 0 });
    let (source, target) = (&mut source, &mut target.shards[0]);
    let (begin, begun_at) = (source.shards[0].state.seed_begin(), stands_at(&source.shards[0]));
    let before = target.state.vv().position(&us);
    commit(target, &us, begin);
    let page = |source: &Region, after| source.shards[0].state.seed_chunk(after, 1, |_| true);
    let first = page(source, None);
    // Point 3 is overwritten and deleted during the seed: the last page lacks it.
    source.act(&Action::Upsert { uid: 1, point: 3, x: 9, y: 9 });
    source.act(&Action::Delete { uid: 1, point: 3 });
    let mut chunk = Some((first, begun_at));
    while let Some((SeedChunk { collections, points, next }, read_at)) = chunk {
        commit(target, &us, SeedStep::Chunk { collections, points, read_at });
        chunk = next.map(|next| (page(source, Some(next)), stands_at(&source.shards[0])));
    }
    let end = SeedStep::Commit { position: begun_at, origin_shards: 1 };
    assert_eq!(commit(target, &us, end), Outcome::Seeded { origin: us.clone(), removed: 0 });
    // Nothing is claimed or removed before the deltas up to the last page are applied.
    assert_eq!(target.state.vv().position(&us), before);
    assert!(!target.state.is_seeding(&us));
    assert!(seen(target, 0).is_some() && seen(target, 3).unwrap().contains("\"x\":1}"));
    let mut states = Vec::new();
    for _ in 0..2 {
        let from = target.state.tail_position(&us).seq.next();
        let batch = source.shards[0].batch(from, 1, &target.state);
        assert!(matches!(target.commit(Entry::RemoteBatch(batch)).outcome, Outcome::Merged(_)));
        states.push(seen(target, 3).is_some());
    }
    assert_eq!(states, [true, false], "overwritten, then deleted, and not the other way round");
    assert_eq!(seen(target, 0), None);
    assert_eq!(target.state.vv().position(&us), stands_at(&source.shards[0]));
    assert_eq!(target.state.digest(), source.digest());
}

#[test]
fn a_seed_from_a_replica_that_is_behind_is_refused() {
    let us = origin("us", 1);
    let (mut source, mut target) = (Region::new("us", 1), Region::new("eu", 1));
    source.act(&Action::Create { name: 0 });
    source.act(&Action::Upsert { uid: 1, point: 1, x: 1, y: 1 });
    let old = source.shards[0].state.seed_begin();
    source.act(&Action::Delete { uid: 1, point: 1 });
    target.follow(&source, 9);
    let outcome = commit(&mut target.shards[0], &us, old);
    assert!(matches!(outcome, Outcome::SeedRefused { .. }), "its deleted point would stay for ever");
}

#[test]
fn steps_out_of_place_are_refused() {
    let us = origin("us", 1);
    let mut target = Shard::new("eu", 1, 1);
    let at = |seq| Position { epoch: meridian_model::Epoch(1), seq: Seq(seq) };
    let chunk = SeedStep::Chunk { collections: Vec::new(), points: Vec::new(), read_at: at(5) };
    let end = |seq| SeedStep::Commit { position: at(seq), origin_shards: 1 };
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

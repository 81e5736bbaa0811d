use meridian_model::{CollectionUid, Epoch, Hlc};
use proptest::prelude::*;

use super::*;
use crate::fixture::{Action, Region, Shard, actions, create, drop_op, origin, upsert, write};
use crate::{Entry, SourcePosition};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_following_region_equals_its_origin_for_any_number_of_shards(
        actions in actions(120), from in 1u16..4, to in 1u16..4, entries in 1usize..5,
    ) {
        let (mut source, mut target) = (Region::new("us", from), Region::new("eu", to));
        let half = actions.len() / 2;
        source.run(&actions[..half]);
        target.follow(&source, entries);
        source.run(&actions[half..]);
        target.follow(&source, entries);
        prop_assert_eq!(target.contents(), source.contents());
        prop_assert_eq!(target.digest(), source.digest());
        for shard in &target.shards {
            for (names, followed) in source.names().iter().zip(std::iter::repeat(&target.names()[0])) {
                prop_assert_eq!(names, followed);
            }
            for source in &source.shards {
                let (own, there) = (source.state.origin(), &shard.state);
                prop_assert_eq!(there.vv().position(own).seq.next(), source.state.next_seq());
                prop_assert_eq!(there.origin_shards(&own.region), Some(from));
            }
        }
    }

    #[test]
    fn duplicates_and_any_order_of_batches_have_no_effect(
        actions in actions(80),
        picks in prop::collection::vec((0usize..3, any::<prop::sample::Index>(), 1usize..6), 0..60),
    ) {
        let mut source = Region::new("us", 3);
        source.run(&actions);
        let (mut target, mut plain) = (Region::new("eu", 1), Region::new("eu", 1));
        plain.follow(&source, 1);
        let shard = &mut target.shards[0];
        for (from, at, entries) in picks {
            let source = &source.shards[from];
            let held = shard.state.vv().position(source.state.origin()).seq;
            let at = Seq(at.index(source.state.next_seq().0 as usize) as u64 + 1);
            let batch = source.batch(at, entries, &shard.state);
            let (sum, to) = (shard.state.digest(), batch.to);
            let outcome = shard.commit(Entry::RemoteBatch(batch)).outcome;
            let now = shard.state.vv().position(source.state.origin()).seq;
            if at > held.next() {
                let Outcome::GapRefused { wanted, .. } = outcome else { panic!("{outcome:?}") };
                prop_assert_eq!(wanted.seq, held.next());
                prop_assert_eq!((now, shard.state.digest()), (held, sum));
            } else {
                let Outcome::Merged(merged) = outcome else { panic!() };
                prop_assert_eq!(now, held.max(to));
                prop_assert_eq!(merged.advanced, now.0 - held.0);
                prop_assert_eq!(merged.duplicates + merged.advanced, to.0 + 1 - at.0);
            }
        }
        target.follow(&source, 2);
        prop_assert_eq!(target.contents(), source.contents());
        prop_assert_eq!(target.digest(), plain.digest());
    }
}

fn batch(from: u64, ops: Vec<Op>) -> RemoteBatch {
    let (origin, epoch) = (origin("us", 1), Epoch(1));
    let to = from + ops.len() as u64 - 1;
    let delta = |(seq, op): (u64, Op)| {
        let (origin, seq, committed_at) = (origin.clone(), Seq(seq), Hlc(seq * 10));
        let write = meridian_model::WriteRef { id: meridian_model::WriteId(7), index: 0 };
        meridian_model::Delta { origin, epoch, seq, committed_at, op, write, trace: None }
    };
    let deltas = (from..).zip(ops).map(delta).collect();
    let source = SourcePosition::Kafka { partition: 0, offset: from.cast_signed() };
    RemoteBatch { origin: origin.clone(), epoch, from: Seq(from), to: Seq(to), deltas, origin_shards: 1, source }
}

fn commit(shard: &mut Shard, batch: RemoteBatch) -> Outcome {
    shard.commit(Entry::RemoteBatch(batch)).outcome
}

#[test]
fn a_refused_batch_changes_nothing_but_the_place_in_the_log() {
    let mut shard = Shard::new("eu", 1, 1);
    commit(&mut shard, batch(1, vec![create(1, "a"), upsert(1, 1, 1, 1)]));
    let core = shard.state.core.clone();
    let digest = shard.state.digest();
    let mut check = |batch: RemoteBatch, refused: fn(&Outcome) -> bool| {
        let outcome = commit(&mut shard, batch);
        assert!(refused(&outcome), "{outcome:?}");
        let unmoved = crate::state::Core { applied: core.applied, ..shard.state.core.clone() };
        assert_eq!((unmoved, shard.state.digest()), (core.clone(), digest));
    };
    let next = || batch(3, vec![upsert(1, 1, 2, 2)]);
    check(batch(4, vec![upsert(1, 1, 2, 2)]), |o| matches!(o, Outcome::GapRefused { wanted, .. } if wanted.seq.0 == 3));
    check(RemoteBatch { epoch: Epoch(0), ..next() }, |o| matches!(o, Outcome::Malformed { .. }));
    check(RemoteBatch { to: Seq(1), ..next() }, |o| matches!(o, Outcome::Malformed { .. }));
    check(RemoteBatch { to: Seq(2), ..next() }, |o| matches!(o, Outcome::Malformed { .. }));
    check(RemoteBatch { to: Seq(u64::MAX), ..next() }, |o| matches!(o, Outcome::Malformed { .. }));
    check(RemoteBatch { from: Seq(0), ..next() }, |o| matches!(o, Outcome::Malformed { .. }));
    check(RemoteBatch { origin: origin("eu", 1), ..next() }, |o| matches!(o, Outcome::Malformed { .. }));
    let mut twice = next();
    twice.deltas.push(twice.deltas[0].clone());
    check(twice, |o| matches!(o, Outcome::Malformed { .. }));
}

#[test]
fn a_new_epoch_starts_at_one_and_ends_the_old() {
    let mut shard = Shard::new("eu", 1, 1);
    commit(&mut shard, batch(1, vec![create(1, "a"), upsert(1, 1, 1, 1)]));
    let newer = |from| {
        let mut batch = batch(from, vec![upsert(1, 2, 2, 2)]);
        batch.epoch = Epoch(2);
        batch.deltas.iter_mut().for_each(|delta| delta.epoch = Epoch(2));
        batch
    };
    assert!(matches!(commit(&mut shard, newer(3)), Outcome::GapRefused { wanted, .. } if wanted.seq == Seq(1)));
    assert!(matches!(commit(&mut shard, newer(1)), Outcome::Merged(merged) if merged.advanced == 1));
    assert!(matches!(commit(&mut shard, batch(3, vec![upsert(1, 1, 9, 9)])), Outcome::EpochRefused { .. }));
}

#[test]
fn an_empty_batch_moves_the_source_and_a_repeat_does_not() {
    let mut shard = Shard::new("eu", 1, 1);
    commit(&mut shard, batch(1, vec![create(1, "a")]));
    let us = origin("us", 1);
    let mut idle = batch(2, vec![upsert(1, 1, 1, 1)]);
    idle.to = Seq(1);
    idle.deltas.clear();
    assert!(matches!(commit(&mut shard, idle), Outcome::Merged(merged) if merged.advanced == 0));
    let source = Some(SourcePosition::Kafka { partition: 0, offset: 2 });
    assert_eq!(shard.state.source_position(&us), source);
    commit(&mut shard, batch(1, vec![create(1, "a")]));
    assert_eq!(shard.state.source_position(&us), source);
}

/// Shard 2 is ahead and has repeated a drop; a create that shard 1 had refused before that drop must have no effect.
#[test]
fn a_refused_create_stays_refused_when_streams_are_interleaved() {
    let mut source = Region::new("us", 2);
    let uid = CollectionUid;
    source.act(&Action::Create { name: 0 });
    source.act(&Action::Create { name: 0 });
    source.act(&Action::Drop { uid: 1 });
    assert!(source.names().iter().all(Vec::is_empty));
    let mut target = Shard::new("eu", 1, 1);
    for shard in source.shards.iter().rev() {
        let batch = shard.batch(Seq(1), 9, &target.state);
        commit(&mut target, batch);
    }
    assert_eq!(target.state.collections().count(), 0);
    assert!(target.state.is_dropped(uid(1)) && target.state.is_dropped(uid(2)));
}

#[test]
fn a_dropped_collection_is_not_restored_by_a_late_stream() {
    let mut target = Shard::new("eu", 1, 1);
    commit(&mut target, batch(1, vec![create(1, "a"), drop_op(1)]));
    let mut late = batch(1, vec![create(1, "a"), upsert(1, 1, 1, 1)]);
    late.origin = origin("us", 2);
    late.deltas.iter_mut().for_each(|delta| delta.origin = origin("us", 2));
    assert!(matches!(commit(&mut target, late), Outcome::Merged(merged) if merged.advanced == 2));
    assert_eq!(target.state.collections().count(), 0);
}

#[test]
fn the_larger_stamp_wins_in_any_order() {
    let contents = |ours_first: bool| {
        let mut shard = Shard::new("eu", 1, 1);
        commit(&mut shard, batch(1, vec![create(1, "a")]));
        let remote = batch(2, vec![upsert(1, 1, 1, 1)]);
        let local = write(1, 15, vec![upsert(1, 1, 2, 2)]);
        if ours_first {
            shard.commit(local);
            commit(&mut shard, remote);
        } else {
            commit(&mut shard, remote);
            shard.commit(local);
        }
        shard.state.digest()
    };
    assert_eq!(contents(true), contents(false));
}

/// A region follows a log whose shard begins new epochs, one of them without a change.
#[test]
fn a_follower_continues_across_the_epochs_of_a_log() {
    let mut source = Region::new("us", 1);
    source.act(&Action::Create { name: 0 });
    source.act(&Action::Upsert { uid: 1, point: 1, x: 1, y: 1 });
    for epoch in [2, 3] {
        source.shards[0].commit(Entry::BeginEpoch { epoch: Epoch(epoch) });
    }
    source.act(&Action::Upsert { uid: 1, point: 2, x: 1, y: 1 });
    source.act(&Action::Delete { uid: 1, point: 1 });
    let mut target = Region::new("eu", 1);
    let us = origin("us", 1);
    for (epoch, to) in [(1, 2), (2, 0), (3, 2)] {
        let batch = source.shards[0].batch_of(Epoch(epoch), Seq(1), 9, &target.shards[0].state);
        assert_eq!((batch.epoch, batch.to), (Epoch(epoch), Seq(to)));
        let Outcome::Merged(merged) = commit(&mut target.shards[0], batch.clone()) else { panic!("{epoch}") };
        assert_eq!(merged.position, Position { epoch: Epoch(epoch), seq: Seq(to) });
        assert_eq!((merged.advanced, target.shards[0].state.vv().position(&us)), (to, merged.position));
        // The second application advances nothing.
        let Outcome::Merged(again) = commit(&mut target.shards[0], batch) else { panic!("{epoch}") };
        assert_eq!((again.advanced, again.position), (0, merged.position));
    }
    assert_eq!(target.digest(), source.digest());
    assert_eq!(target.contents(), source.contents());
    let restored = State::restore(&target.shards[0].state.snapshot()).unwrap();
    assert_eq!(restored.vv().position(&us), Position { epoch: Epoch(3), seq: Seq(2) });
    // A late delta of the first epoch has no effect.
    let late = source.shards[0].batch_of(Epoch(1), Seq(1), 9, &target.shards[0].state);
    assert!(
        matches!(commit(&mut target.shards[0], late), Outcome::EpochRefused { held, .. } if held.epoch == Epoch(3))
    );
}

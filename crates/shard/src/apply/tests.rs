use meridian_model::{
    BehaviorVersion, BucketTable, Delta, Link, PlayedRelease, PrimaryTerm, TableVersion, Transport, WriteId, WriteRef,
};
use proptest::prelude::*;

use super::*;
use crate::fixture::{
    Action, Region, Shard, actions, create, delete, delete_if, drop_op, region, state, tail, upsert, write,
    write_sent_at,
};

const NEXT: BehaviorVersion = BehaviorVersion(2);

fn written(applied: &Applied) -> (u64, u64, bool) {
    let Outcome::Written { first, last, repeated, .. } = applied.outcome else { panic!("{applied:?}") };
    (first.0, last.0, repeated)
}

fn became(applied: &Applied) -> CollectionChange {
    let Outcome::Written { collection: Some(change), .. } = &applied.outcome else { panic!("{applied:?}") };
    change.clone()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn replicas_that_applied_the_same_log_hold_the_same_state(actions in actions(150)) {
        let mut region = Region::new("us", 2);
        region.run(&actions);
        for shard in &region.shards {
            let me = shard.state.origin();
            let mut other = state("us", me.shard.number(), 2);
            for (i, entry) in shard.log.iter().enumerate() {
                other.apply(LogIndex(i as u64 + 1), entry);
                other.merge_index(usize::MAX);
            }
            prop_assert_eq!(other.checksum(), shard.state.checksum());
            prop_assert_eq!(other.digest(), shard.state.digest());
        }
    }

    #[test]
    fn the_digest_does_not_depend_on_the_number_of_shards(actions in actions(150)) {
        let regions: Vec<_> = [1, 2, 3].into_iter().map(|shards| {
            let mut region = Region::new("us", shards);
            region.run(&actions);
            region
        }).collect();
        for other in &regions[1..] {
            prop_assert_eq!(other.contents(), regions[0].contents());
            prop_assert_eq!(other.digest(), regions[0].digest());
        }
    }

    #[test]
    fn the_digest_tells_different_contents_apart(actions in actions(60), point in 0u64..24, x: i8) {
        let mut region = Region::new("us", 1);
        region.act(&Action::Create { name: 0 });
        region.run(&actions);
        let (digest, contents) = (region.digest(), region.contents());
        region.act(&Action::Upsert { uid: 1, point, x, y: 1 });
        prop_assert_eq!(region.digest() == digest, region.contents() == contents);
    }
}

#[test]
fn links_replace_those_they_expect_and_no_others() {
    let mut shard = Shard::new("eu", 1, 1);
    let link = |paused| Link { source: region("us"), transport: Transport::Direct, paused };
    let mut set = |expects, links: Vec<Link>| {
        let before = shard.state.checksum();
        let applied = shard.commit(Entry::Links(Links { expects: LogIndex(expects), links }));
        assert_ne!(shard.state.checksum(), before);
        (applied.outcome, shard.state.links().to_vec(), shard.state.links_version().0)
    };
    assert_eq!(set(0, vec![link(false)]), (Outcome::LinksChanged, vec![link(false)], 1));
    assert_eq!(set(0, vec![]), (Outcome::LinksRefused { held: LogIndex(1) }, vec![link(false)], 1));
    assert_eq!(set(1, vec![link(true)]), (Outcome::LinksChanged, vec![link(true)], 3));
    let restored = State::restore(&shard.state.snapshot()).unwrap();
    assert_eq!((restored.links(), restored.links_version()), ([link(true)].as_slice(), LogIndex(3)));
}

#[test]
fn sequences_are_dense_and_count_changes_without_effect() {
    let mut shard = Shard::new("us", 1, 1);
    assert_eq!(written(&shard.commit(write(1, 10, vec![create(1, "a"), upsert(1, 1, 0, 0)]))), (1, 2, false));
    let dead = shard.commit(write(2, 20, vec![upsert(7, 1, 0, 0), delete(1, 99), delete(1, 1)]));
    assert_eq!(written(&dead), (3, 5, false));
    assert_eq!((dead.ops_applied, dead.ops_idle), (1, 2));
    assert_eq!(shard.state.next_seq(), Seq(6));
    assert_eq!(shard.state.vv().position(shard.state.origin()).seq, Seq(5));
    assert_eq!(shard.state.last_hlc(), Hlc(22));
    let at = |seq| Position { epoch: Epoch(1), seq: Seq(seq) };
    assert_eq!(shard.state.locate(at(4)), Some(Located { index: LogIndex(2), epoch: Epoch(1), first: Seq(3) }));
    assert_eq!(shard.state.locate(at(6)), None);
}

#[test]
fn a_repeat_of_a_write_applies_nothing_and_gets_the_first_result() {
    let mut shard = Shard::new("us", 1, 1);
    shard.commit(write(1, 10, vec![create(1, "a"), upsert(1, 1, 1, 1)]));
    shard.commit(write(2, 20, vec![upsert(1, 1, 2, 2)]));
    let (digest, next) = (shard.state.digest(), shard.state.next_seq());
    let again = shard.commit(write(1, 30, vec![create(1, "a"), upsert(1, 1, 1, 1)]));
    assert_eq!((written(&again), again.ops_applied), ((1, 2, true), 0));
    assert_eq!(became(&again), CollectionChange::Created(CollectionUid(1)));
    assert_eq!((shard.state.digest(), shard.state.next_seq()), (digest, next));
    assert_eq!(shard.state.write_result(WriteId(1), 0).unwrap().hlc, Hlc(10));
    assert_eq!(shard.state.write_result(WriteId(1), 1), None);
}

/// The gateway repeats a write after so many others that its result is dropped.
#[test]
fn a_late_repeat_of_a_write_without_a_stored_result_does_nothing() {
    let mut shard = Shard::new("us", 1, 1);
    shard.commit(write(1, 10, vec![create(1, "a")]));
    let entry = write_sent_at(1, 2, 20, vec![upsert(1, 1, 1, 1)]);
    assert_eq!(written(&shard.commit(entry.clone())), (2, 2, false));
    let index = |nth: u64| LogIndex(2 + nth);
    for nth in 1..131_072 {
        shard.state.apply(index(nth), &write(u128::from(nth) << 64, 20 + nth, vec![delete(1, 1)]));
    }
    assert!(written(&shard.state.apply(index(131_072), &entry)).2, "known until the last");
    let mut moved = State::restore(&shard.state.snapshot()).unwrap();
    for state in [&mut shard.state, &mut moved] {
        state.apply(index(131_073), &write(3, 1 << 40, vec![delete(1, 1)]));
        let next = state.next_seq();
        let late = state.apply(index(131_074), &entry).outcome;
        assert_eq!(late, Outcome::ResultForgotten { id: WriteId(2), part: 0 });
        assert_eq!((state.next_seq(), state.collection_by_uid(CollectionUid(1)).unwrap().points()), (next, 0));
        assert!(state.may_have_forgotten(WriteId(2), 0, LogIndex(1)));
        // Writes first sent later are not affected.
        assert!(!state.may_have_forgotten(WriteId(4), 0, LogIndex(2)));
        let other = write_sent_at(2, 4, 1 << 41, vec![upsert(1, 1, 1, 1)]);
        assert!(!written(&state.apply(index(131_075), &other)).2);
    }
}

#[test]
fn an_entry_applied_before_changes_nothing() {
    let mut shard = Shard::new("us", 1, 1);
    shard.commit(write(1, 10, vec![create(1, "a")]));
    let sum = shard.state.checksum();
    assert_eq!(shard.state.apply(LogIndex(1), &write(5, 50, vec![drop_op(1)])).outcome, Outcome::Repeated);
    assert_eq!(shard.state.checksum(), sum);
}

#[test]
fn the_first_collection_of_a_name_has_it_and_a_dead_uid_stays_dead() {
    let mut shard = Shard::new("us", 1, 1);
    let mut next = 0;
    let mut check = |op: Op, expected: CollectionChange| {
        next += 1;
        assert_eq!(became(&shard.commit(write(next.into(), next * 10, vec![op]))), expected, "{next}");
    };
    let uid = CollectionUid;
    check(create(1, "a"), CollectionChange::Created(uid(1)));
    check(create(1, "a"), CollectionChange::Known(uid(1)));
    check(create(1, "b"), CollectionChange::Dead(uid(1)));
    check(create(2, "a"), CollectionChange::NameTaken { by: uid(1) });
    check(drop_op(1), CollectionChange::Dropped { existed: true });
    check(drop_op(1), CollectionChange::Dropped { existed: false });
    check(create(1, "a"), CollectionChange::Dead(uid(1)));
    check(create(2, "a"), CollectionChange::Dead(uid(2)));
    check(create(3, "a"), CollectionChange::Created(uid(3)));
    assert_eq!(shard.state.largest_uid(), uid(3));
}

#[test]
fn a_replicated_definition_gives_the_name_to_the_newer_uid() {
    let mut shard = Shard::new("us", 2, 2);
    shard.commit(write(1, 10, vec![create(1, "a")]));
    let newer = shard.commit(write(2, 20, vec![create(3, "a")]));
    assert_eq!(became(&newer), CollectionChange::Created(CollectionUid(3)));
    let late = shard.commit(write(3, 30, vec![create(2, "a")]));
    assert_eq!(became(&late), CollectionChange::Dead(CollectionUid(2)));
    assert_eq!(shard.state.collections().map(|held| held.uid().0).collect::<Vec<_>>(), [3]);
}

#[test]
fn a_write_under_another_bucket_table_takes_no_sequence() {
    let mut shard = Shard::new("us", 1, 1);
    let mut table = BucketTable::even(1).unwrap();
    table.version = TableVersion(2);
    let topology = |expects, term, primary| {
        let table = table.clone();
        Entry::Topology(Topology { expects: TableVersion(expects), table, term: PrimaryTerm(term), primary })
    };
    let refused = Outcome::TopologyRefused { held: TableVersion(1) };
    assert_eq!(shard.commit(topology(7, 1, region("us"))).outcome, refused);
    assert_eq!(shard.commit(topology(1, 1, region("eu"))).outcome, refused);
    assert_eq!(shard.commit(topology(1, 1, region("us"))).outcome, Outcome::TopologyChanged);
    let applied = shard.commit(write(1, 10, vec![create(1, "a")]));
    assert_eq!(applied.outcome, Outcome::TableChanged { id: WriteId(1), part: 0, held: TableVersion(2) });
    assert_eq!((shard.state.next_seq(), shard.state.write_result(WriteId(1), 0)), (Seq(1), None));
}

#[test]
fn a_diverged_replica_is_detected_by_the_checksum() {
    let (mut shard, mut other) = (Shard::new("us", 1, 1), Shard::new("us", 1, 1));
    shard.commit(write(1, 10, vec![create(1, "a"), upsert(1, 1, 1, 1)]));
    other.commit(write(1, 10, vec![create(1, "a"), upsert(1, 1, 1, 2)]));
    let mut due = None;
    for _ in 1..4096 {
        other.commit(Entry::Noop);
        due = due.or(shard.commit(Entry::Noop).checksum);
    }
    let (at, hash) = due.expect("one is due every 4,096 entries");
    assert_eq!(at, LogIndex(4096));
    assert_eq!(shard.commit(Entry::Checksum { at, hash }).outcome, Outcome::ChecksumHeld);
    assert_eq!(other.commit(Entry::Checksum { at, hash }).outcome, Outcome::ChecksumDiffers { at });
}

#[test]
fn an_unknown_behavior_version_stops_the_replica_before_the_entry() {
    let mut shard = Shard::new("us", 1, 1);
    assert_eq!(shard.commit(Entry::Version(BehaviorVersion(1))).outcome, Outcome::Nothing);
    let checksum = shard.state.checksum();
    let next = BehaviorVersion::newest().next();
    let unknown = VersionUnknown::check(next).unwrap_err();
    assert_eq!(shard.commit(Entry::Version(next)).outcome, Outcome::VersionUnknown(unknown));
    assert_eq!((shard.state.applied(), shard.state.checksum()), (LogIndex(1), checksum));
    assert_eq!(shard.state.behavior(), BehaviorVersion::FIRST);
}

#[test]
fn a_group_starts_with_the_version_of_its_identity_and_switches_by_an_entry() {
    let _next = PlayedRelease::knowing(NEXT);
    let primary = (PrimaryTerm(1), region("us"));
    for behavior in [BehaviorVersion::FIRST, NEXT] {
        let primary = primary.clone();
        let identity =
            crate::Identity { region: region("us"), shard: ShardNumber::FIRST, shards: 1, primary, behavior };
        let mut state = State::new(identity).unwrap();
        assert_eq!((state.behavior(), state.published()), (behavior, BehaviorVersion::FIRST));
        let switched = state.apply(LogIndex(1), &Entry::Version(NEXT)).outcome;
        let expected = if behavior == NEXT { Outcome::Nothing } else { Outcome::VersionSwitched(NEXT) };
        assert_eq!(switched, expected);
        assert_eq!(State::restore(&state.snapshot()).unwrap().behavior(), NEXT);
        assert_eq!(state.apply(LogIndex(2), &Entry::Version(BehaviorVersion(1))).outcome, Outcome::Nothing);
        assert_eq!(state.behavior(), NEXT);
    }
}

#[test]
fn a_version_is_published_after_it_is_finalized_and_never_taken_back() {
    let _next = PlayedRelease::knowing(NEXT);
    let mut shard = Shard::new("us", 1, 1);
    let held = BehaviorVersion::FIRST;
    assert_eq!(shard.commit(Entry::Publish(NEXT)).outcome, Outcome::PublishRefused { held });
    assert_eq!((shard.state.published(), shard.state.applied()), (held, LogIndex(1)));
    shard.commit(Entry::Version(NEXT));
    let before = shard.state.checksum();
    assert_eq!(shard.commit(Entry::Publish(NEXT)).outcome, Outcome::Published(NEXT));
    assert_eq!(shard.state.published(), NEXT);
    for again in [NEXT, BehaviorVersion::FIRST] {
        assert_eq!(shard.commit(Entry::Publish(again)).outcome, Outcome::Nothing);
        assert_eq!(shard.state.published(), NEXT);
    }
    assert_eq!(State::restore(&shard.state.snapshot()).unwrap().published(), NEXT);
    // The applied index alone makes another checksum, so the same log without the entry is compared.
    let mut other = Shard::new("us", 1, 1);
    for entry in [Entry::Noop, Entry::Version(NEXT), Entry::Noop, Entry::Noop, Entry::Noop] {
        other.commit(entry);
    }
    assert_eq!(other.state.applied(), shard.state.applied());
    assert_ne!(other.state.checksum(), shard.state.checksum());
    assert_ne!(before, shard.state.checksum());
}

#[test]
fn a_change_admitted_under_an_earlier_term_does_nothing() {
    let mut shard = Shard::new("us", 1, 1);
    let first = write(1, 10, vec![create(1, "a"), upsert(1, 1, 1, 1)]);
    shard.commit(first.clone());
    let seen = vec![(1, shard.seen(1, 1, false))];
    let table = BucketTable::even(1).unwrap();
    let topology = Topology { expects: table.version, table, term: PrimaryTerm(2), primary: region("eu") };
    assert_eq!(shard.commit(Entry::Topology(topology)).outcome, Outcome::TopologyChanged);
    assert_eq!(shard.state.primary(), (PrimaryTerm(2), &region("eu")));
    let (digest, next) = (shard.state.digest(), shard.state.next_seq());
    for (entry, id) in [(write(2, 20, vec![upsert(1, 2, 1, 1)]), 2), (delete_if(3, 30, 1, 1, seen), 3)] {
        let applied = shard.commit(entry);
        let ended = Outcome::TermEnded { id: WriteId(id), part: 0, held: PrimaryTerm(2) };
        assert_eq!((applied.outcome, applied.ops_applied), (ended, 0));
        assert_eq!(shard.state.write_result(WriteId(id), 0), None, "its client asks the next primary");
    }
    assert_eq!((shard.state.digest(), shard.state.next_seq()), (digest, next));
    // A write that was applied before the term ended has its result.
    assert!(written(&shard.commit(first)).2);
    let Entry::Write(mut current) = write(4, 40, vec![upsert(1, 2, 1, 1)]) else { panic!() };
    current.term = PrimaryTerm(2);
    assert_eq!(written(&shard.commit(Entry::Write(current))), (3, 3, false));
}

#[test]
fn a_delta_names_the_change_of_the_request() {
    let mut shard = Shard::new("us", 1, 1);
    let Entry::Write(mut part) = write(7, 10, vec![create(1, "a"), upsert(1, 1, 1, 1), upsert(1, 2, 1, 1)]) else {
        panic!()
    };
    part.indexes = meridian_model::RequestIndexes::new([0, 4, 5]).unwrap();
    shard.commit(Entry::Write(part));
    let seen = [1, 2].map(|point| (point, shard.seen(1, point, point == 1)));
    let Entry::ConditionalWrite(mut conditional) = delete_if(8, 100, 1, 1, seen.into()) else { panic!() };
    conditional.part = 3;
    shard.commit(Entry::ConditionalWrite(conditional));
    let refs: Vec<_> = tail(&shard.state, &shard.log).into_iter().map(|delta| delta.write).collect();
    let named = |id, index| WriteRef { id: WriteId(id), index };
    assert_eq!(refs, [named(7, 0), named(7, 4), named(7, 5), named(8, 3 * 1024), named(8, 3 * 1024 + 1)]);
}

#[test]
fn an_epoch_follows_the_one_before_it_and_counts_from_one() {
    let mut shard = Shard::new("us", 1, 1);
    let me = shard.state.origin().clone();
    shard.commit(write(1, 10, vec![create(1, "a"), upsert(1, 1, 1, 1)]));
    let refused = Outcome::BeginEpochRefused { held: Epoch(1) };
    for wrong in [0, 1, 3, u32::MAX] {
        assert_eq!(shard.commit(Entry::BeginEpoch { epoch: Epoch(wrong) }).outcome, refused, "{wrong}");
    }
    assert_eq!(shard.state.next_seq(), Seq(3));
    assert_eq!(shard.commit(Entry::BeginEpoch { epoch: Epoch(2) }).outcome, Outcome::EpochBegun(Epoch(2)));
    let at = |epoch, seq| Position { epoch: Epoch(epoch), seq: Seq(seq) };
    assert_eq!((shard.state.position(&me), shard.state.vv().position(&me)), (at(2, 0), at(2, 0)));
    assert_eq!(written(&shard.commit(write(2, 20, vec![upsert(1, 2, 1, 1)]))), (1, 1, false));
    assert_eq!((shard.state.position(&me), shard.state.vv().position(&me)), (at(2, 1), at(2, 1)));
    // Both epochs have the same sequence.
    let located = |index, epoch| Some(Located { index: LogIndex(index), epoch: Epoch(epoch), first: Seq(1) });
    assert_eq!((shard.state.locate(at(1, 1)), shard.state.locate(at(2, 1))), (located(1, 1), located(7, 2)));
    assert_eq!(
        (shard.state.locate(at(1, 3)), shard.state.locate(at(2, 2)), shard.state.locate(at(3, 1))),
        Default::default()
    );
    // A repeat gets the original position, regardless of the current epoch.
    let Outcome::Written { epoch, last, repeated: true, .. } = shard.commit(write(1, 30, vec![])).outcome else {
        panic!()
    };
    assert_eq!((epoch, last), (Epoch(1), Seq(2)));
    let positions: Vec<_> = tail(&shard.state, &shard.log).iter().map(Delta::position).collect();
    assert_eq!(positions, [at(1, 1), at(1, 2), at(2, 1)]);
}

#[test]
fn the_log_continues_from_every_position_and_from_no_other() {
    let mut shard = Shard::new("us", 1, 1);
    shard.commit(write(1, 10, vec![create(1, "a"), upsert(1, 1, 1, 1)]));
    shard.commit(Entry::BeginEpoch { epoch: Epoch(2) });
    shard.commit(Entry::BeginEpoch { epoch: Epoch(3) });
    shard.commit(write(2, 20, vec![upsert(1, 2, 1, 1)]));
    let at = |(epoch, seq)| Position { epoch: Epoch(epoch), seq: Seq(seq) };
    for (after, next) in [
        ((1, 0), Some((1, 1))),
        ((1, 1), Some((1, 2))),
        ((1, 2), Some((2, 0))),
        ((1, 3), None),
        ((2, 0), Some((3, 0))),
        ((2, 1), None),
        ((3, 0), Some((3, 1))),
        ((3, 1), None),
        ((4, 0), None),
        ((0, 0), None),
    ] {
        assert_eq!(shard.state.next_position(at(after)), next.map(at), "{after:?}");
    }
}

#[test]
fn a_change_that_does_not_fit_does_nothing() {
    let mut shard = Shard::new("us", 1, 1);
    shard.commit(write(1, 10, vec![create(1, "a")]));
    let vectors = |vector: Vec<f32>| [(String::new(), vector)].into_iter().collect();
    let op = |vector| Op::Upsert {
        collection: CollectionUid(1),
        point: meridian_model::PointId::Num(1),
        vectors: vectors(vector),
        payload: meridian_model::Payload::default(),
    };
    let applied = shard.commit(write(2, 20, vec![op(vec![1.0]), op(vec![f32::NAN, 1.0])]));
    assert_eq!((applied.ops_applied, applied.ops_idle, shard.state.next_seq()), (0, 2, Seq(4)));
}

#[test]
fn an_idle_shard_is_compared_at_its_newest_entry() {
    let (mut shard, mut other) = (Shard::new("us", 1, 1), Shard::new("us", 1, 1));
    shard.commit(write(1, 10, vec![create(1, "a"), upsert(1, 1, 1, 1)]));
    other.commit(write(1, 10, vec![create(1, "a"), upsert(1, 1, 1, 2)]));
    let named = Entry::Checksum { at: LogIndex(1), hash: shard.state.checksum() };
    assert_eq!(shard.commit(named.clone()).outcome, Outcome::ChecksumHeld);
    assert_eq!(other.commit(named.clone()).outcome, Outcome::ChecksumDiffers { at: LogIndex(1) });
    let mut late = Shard::new("us", 1, 1);
    late.commit(write(1, 10, vec![create(1, "a"), upsert(1, 1, 1, 2)]));
    late.commit(Entry::Noop);
    assert_eq!(late.commit(named).outcome, Outcome::ChecksumHeld, "what it was then is not known any more");
}

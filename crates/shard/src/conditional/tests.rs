use meridian_model::{CollectionUid, Condition, Filter, Op, Payload, PointId, Range, TableVersion};
use proptest::prelude::*;

use super::*;
use crate::fixture::{
    Region, Shard, actions, create, delete, delete_if, drop_op, stamp_of, state, tail, upsert, write,
};
use crate::{Entry, Topology};

/// A shard with a collection of uid 1 and these points.
fn shard_with(points: std::ops::Range<u64>) -> Shard {
    let mut shard = Shard::new("us", 1, 1);
    shard.commit(write(1, 10, vec![create(1, "a")]));
    shard.commit(write(2, 100, points.map(|point| upsert(1, point, 1, 1)).collect()));
    shard
}

fn held(shard: &Shard) -> Vec<u64> {
    let collection = shard.state.collection_by_uid(CollectionUid(1)).unwrap();
    (0..2_000).filter(|point| collection.point(PointId::Num(*point)).is_some()).collect()
}

/// First and last sequence of a write, and the changes to retry.
fn written(outcome: &Outcome) -> (u64, u64, Vec<u32>) {
    let Outcome::Written { first, last, retry, .. } = outcome else { panic!("{outcome:?}") };
    (first.0, last.0, retry.clone())
}

fn ops(shard: &Shard) -> Vec<Op> {
    tail(&shard.state, &shard.log).into_iter().map(|delta| delta.op).collect()
}

#[test]
fn a_point_written_since_it_was_read_is_kept() {
    let mut shard = shard_with(1..6);
    let seen: Vec<_> = (1..6).map(|point| (point, shard.seen(1, point, false))).collect();
    let read_at = shard.log.len() as u64;
    // 2 is overwritten, 3 is deleted, 4 is deleted and inserted again.
    shard.commit(write(3, 200, vec![upsert(1, 2, 7, 7), delete(1, 3), delete(1, 4), upsert(1, 4, 1, 1)]));
    let applied = shard.commit(delete_if(4, 300, 1, read_at, seen));
    assert_eq!(held(&shard), [2, 4]);
    assert_eq!((applied.ops_applied, applied.ops_idle), (2, 3));
    assert_eq!(written(&applied.outcome), (11, 15, vec![]), "each takes a sequence, and none is to be tried again");
    let nothing = Op::Nothing;
    assert_eq!(ops(&shard)[10..], [delete(1, 1), nothing.clone(), nothing.clone(), nothing, delete(1, 5)]);
}

#[test]
fn a_change_whose_stamp_is_not_the_larger_one_is_tried_again() {
    let mut shard = shard_with(1..3);
    let seen: Vec<_> = (1..3).map(|point| (point, shard.seen(1, point, false))).collect();
    // Point 1 has the stamp 100, point 2 has 101.
    let applied = shard.commit(delete_if(3, 90, 1, 2, seen));
    assert_eq!((held(&shard), written(&applied.outcome)), (vec![1, 2], (4, 5, vec![0, 1])));
    let seen = vec![(1, shard.seen(1, 1, false))];
    assert_eq!(written(&shard.commit(delete_if(4, 200, 1, 3, seen)).outcome), (6, 6, vec![]));
    assert_eq!(held(&shard), [2]);
}

#[test]
fn a_repeat_gets_the_first_result_and_a_changed_table_refuses() {
    let mut shard = shard_with(1..3);
    let seen = |shard: &Shard| vec![(1, shard.seen(1, 1, false)), (2, shard.seen(1, 2, true))];
    let first = delete_if(3, 200, 1, 2, seen(&shard));
    assert_eq!(written(&shard.commit(first.clone()).outcome), (4, 5, vec![]));
    shard.commit(write(4, 300, vec![upsert(1, 1, 1, 1)]));
    let again = shard.commit(first);
    assert!(matches!(again.outcome, Outcome::Written { repeated: true, .. }));
    assert_eq!((written(&again.outcome), again.ops_applied, held(&shard)), ((4, 5, vec![]), 0, vec![1, 2]));
    let mut table = meridian_model::BucketTable::even(1).unwrap();
    table.version = TableVersion(2);
    let primary = crate::fixture::region("us");
    let topology = Topology { expects: TableVersion(1), table, term: meridian_model::PrimaryTerm(1), primary };
    shard.commit(Entry::Topology(topology));
    let next = shard.state.next_seq();
    let late = shard.commit(delete_if(5, 400, 1, 5, seen(&shard)));
    assert_eq!(late.outcome, Outcome::TableChanged { id: WriteId(5), part: 0, held: TableVersion(2) });
    assert_eq!((shard.state.next_seq(), held(&shard)), (next, vec![1, 2]));
}

/// The write is repeated after other writes changed its points and displaced its result.
#[test]
fn a_late_repeat_without_a_stored_result_does_nothing() {
    let mut shard = shard_with(1..3);
    let seen: Vec<_> = (1..3).map(|point| (point, shard.seen(1, point, false))).collect();
    let read_at = shard.log.len() as u64;
    let entry = delete_if(3, 200, 1, read_at, seen);
    shard.commit(entry.clone());
    shard.commit(write(4, 300, vec![upsert(1, 1, 5, 5)]));
    let mut index = shard.state.applied();
    let mut forgets = |state: &mut State, writes: u128| {
        for nth in 0..writes {
            let (id, hlc) = (u128::from(index.0) << 64 | nth, 1_000 + index.0);
            index = LogIndex(index.0 + 1);
            state.apply(index, &write(id, hlc, vec![delete(1, 77)]));
        }
        index
    };
    let at = forgets(&mut shard.state, 131_069);
    assert!(matches!(shard.state.apply(LogIndex(at.0 + 1), &entry).outcome, Outcome::Written { repeated: true, .. }));
    let mut moved = State::restore(&shard.state.snapshot()).unwrap();
    let at = LogIndex(at.0 + 1);
    for state in [&mut shard.state, &mut moved] {
        for nth in 1..=2 {
            state.apply(LogIndex(at.0 + nth), &write(u128::from(nth) << 100, 1 << 40, vec![delete(1, 77)]));
        }
        let next = state.next_seq();
        let late = state.apply(LogIndex(at.0 + 3), &entry).outcome;
        assert_eq!(late, Outcome::ResultForgotten { id: WriteId(3), part: 0 });
        assert_eq!((state.next_seq(), state.write_result(WriteId(3), 0)), (next, None));
        // Reads made later are not affected.
        let other = delete_if(5, 1 << 41, 1, at.0 + 2, vec![(1, stamp_of(state, 1, 1).unwrap())]);
        assert_eq!(state.apply(LogIndex(at.0 + 4), &other).ops_applied, 1);
    }
    assert_eq!(shard.state.checksum(), moved.checksum());
}

#[test]
fn a_collection_created_again_under_its_name_is_not_touched() {
    let mut shard = shard_with(1..3);
    let seen = vec![(1, shard.seen(1, 1, false))];
    shard.commit(write(3, 200, vec![drop_op(1), create(2, "a"), upsert(2, 1, 1, 1)]));
    let applied = shard.commit(delete_if(4, 300, 1, 2, seen));
    assert_eq!((applied.ops_applied, written(&applied.outcome).2), (0, vec![]));
    assert_eq!(shard.state.collection_by_uid(CollectionUid(2)).unwrap().points(), 1);
    assert_eq!(ops(&shard).last(), Some(&Op::Nothing));
}

/// The read and the write of points are independent of the length of the points.
#[test]
fn a_page_of_long_points_is_short() {
    let mut shard = shard_with(0..0);
    let long = Payload(format!(r#"{{"n":1,"text":"{}"}}"#, "x".repeat(60_000)).into());
    let op = |point| {
        let Op::Upsert { collection, point, vectors, .. } = upsert(1, point, 1, 1) else { panic!() };
        Op::Upsert { collection, point, vectors, payload: long.clone() }
    };
    let entry = write(3, 1_000, (0..1_000).map(op).collect());
    shard.state.apply(LogIndex(3), &entry);
    shard.log.push(entry);
    let condition = Condition::Range { key: "n".parse().unwrap(), range: Range { gte: Some(1.0), ..Range::default() } };
    let filter = Filter { must: vec![condition], ..Filter::default() };
    let page =
        shard.state.view().matches(CollectionUid(1), (&filter, None), MAX_CONDITIONAL_CHANGES, &|| false).unwrap();
    assert_eq!((page.points.len(), page.next, page.read_at), (1_000, None, LogIndex(3)));
    let seen = page.points.into_iter().map(|(id, stamp)| (if let PointId::Num(id) = id { id } else { 0 }, stamp));
    let write = delete_if(4, 5_000, 1, 3, seen.collect());
    assert!(write.encode().len() < 200_000, "{}", write.encode().len());
    assert_eq!((shard.commit(write).ops_applied, held(&shard)), (1_000, vec![]));
}

#[test]
fn matches_come_in_pages_by_id() {
    let mut shard = shard_with(1..10);
    let all = Filter::default();
    let ids = |from: Option<u64>, limit| {
        let view = shard.state.view();
        let page = view.matches(CollectionUid(1), (&all, from.map(PointId::Num)), limit, &|| false).unwrap();
        let num = |id: PointId| if let PointId::Num(id) = id { id } else { 0 };
        (page.points.iter().map(|(id, _)| num(*id)).collect::<Vec<_>>(), page.next.map(num))
    };
    let mut ids = ids;
    assert_eq!(ids(None, 4), (vec![1, 2, 3, 4], Some(5)));
    assert_eq!(ids(Some(5), 4), (vec![5, 6, 7, 8], Some(9)));
    assert_eq!(ids(Some(9), 4), (vec![9], None));
    let unknown = shard.state.view().matches(CollectionUid(9), (&all, None), 4, &|| false).unwrap();
    assert_eq!((unknown.points.len(), unknown.next), (0, None));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Apply, snapshot, restart, and read the tail from the beginning: leader and follower publish the same sequences,
    /// and a region that follows either of them holds the same points.
    #[test]
    fn a_restart_publishes_the_same_sequences(
        actions in actions(120),
        restarts in prop::collection::vec(any::<prop::sample::Index>(), 1..4),
    ) {
        let mut region = Region::new("us", 2);
        region.run(&actions);
        for shard in &region.shards {
            let number = shard.state.origin().shard.number();
            let restarts: Vec<_> = restarts.iter().map(|at| at.index(shard.log.len() + 1)).collect();
            let mut follower = state("us", number, 2);
            for (i, entry) in shard.log.iter().enumerate() {
                if restarts.contains(&i) {
                    follower = State::restore(&follower.snapshot()).unwrap();
                }
                follower.apply(LogIndex(i as u64 + 1), entry);
            }
            follower = State::restore(&follower.snapshot()).unwrap();
            let (led, followed) = (tail(&shard.state, &shard.log), tail(&follower, &shard.log));
            prop_assert!(led.iter().map(|delta| delta.seq.0).eq(1..shard.state.next_seq().0));
            prop_assert_eq!(&led, &followed);
        }
        let mut target = Region::new("eu", 1);
        target.follow(&region, 3);
        prop_assert_eq!(target.digest(), region.digest());
        prop_assert_eq!(target.contents(), region.contents());
    }
}

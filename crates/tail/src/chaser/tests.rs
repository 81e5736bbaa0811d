use super::*;
use meridian_model::{CollectionUid, Hlc, Op, PointId, RegionName, ShardNumber, WriteId, WriteRef};
use proptest::prelude::*;

fn origin() -> OriginShard {
    OriginShard { region: RegionName::new("us-east").unwrap(), shard: ShardNumber::FIRST }
}

fn delta(epoch: u32, seq: u64) -> Record {
    let op = Op::Delete { collection: CollectionUid(1), point: PointId::Num(seq) };
    let committed_at = Hlc(1000 * u64::from(epoch) + seq);
    let (epoch, write) = (Epoch(epoch), WriteRef { id: WriteId(7), index: 0 });
    Record::Delta(Delta { origin: origin(), epoch, seq: Seq(seq), committed_at, op, write, trace: None })
}

fn mark(epoch: u32, seq: u64) -> Record {
    Record::Mark { at: Position { epoch: Epoch(epoch), seq: Seq(seq) }, complete: None }
}

fn chaser() -> Chaser {
    Chaser::new(origin(), Position { epoch: Epoch(1), seq: Seq(0) })
}

fn seqs(batch: &Batch) -> Vec<u64> {
    batch.deltas.iter().map(|delta| delta.seq.0).collect()
}

#[test]
fn a_delta_seen_twice_is_taken_once() {
    let mut chaser = chaser();
    assert_eq!(chaser.take(delta(1, 1)), Taken::Accepted);
    assert_eq!(chaser.take(delta(1, 1)), Taken::Duplicate);
    assert_eq!(seqs(&chaser.batch(10).unwrap()), [1]);
    assert_eq!(chaser.batch(10), None);
}

#[test]
fn a_gap_is_read_again_never_skipped() {
    let mut chaser = chaser();
    chaser.take(delta(1, 1));
    assert_eq!(chaser.take(delta(1, 3)), Taken::Gap { wanted: Seq(2) });
    assert_eq!(chaser.take(mark(1, 3)), Taken::Gap { wanted: Seq(2) });
    assert_eq!(chaser.take(delta(1, 2)), Taken::Accepted);
    assert_eq!(seqs(&chaser.batch(10).unwrap()), [1, 2]);
}

#[test]
fn a_mark_says_nothing_but_where_the_log_stands() {
    let mut chaser = chaser();
    assert_eq!(chaser.take(mark(1, 0)), Taken::Accepted);
    assert_eq!(chaser.batch(10), None, "silence is not logged");
    chaser.take(delta(1, 1));
    chaser.take(delta(1, 2));
    assert_eq!(chaser.take(mark(1, 1)), Taken::Accepted);
    assert_eq!(seqs(&chaser.batch(10).unwrap()), [1, 2]);
}

#[test]
fn a_log_met_for_the_first_time_is_announced_by_a_batch_without_deltas() {
    let mut chaser = Chaser::new(origin(), Position::default());
    assert_eq!(chaser.take(mark(1, 0)), Taken::Accepted);
    let batch = chaser.batch(10).unwrap();
    assert_eq!((batch.epoch, batch.from, batch.to), (Epoch(1), Seq(1), Seq(0)));
    assert_eq!(chaser.batch(10), None);
    chaser.announce();
    assert_eq!(chaser.batch(10), Some(batch));
}

#[test]
fn a_new_epoch_begins_at_its_first_delta() {
    let mut chaser = chaser();
    chaser.take(delta(1, 1));
    assert_eq!(chaser.take(delta(2, 2)), Taken::NewEpoch { epoch: Epoch(2) });
    assert_eq!(chaser.take(delta(2, 1)), Taken::Accepted);
    assert_eq!(seqs(&chaser.batch(10).unwrap()), [1]);
    assert_eq!(chaser.batch(10).unwrap().epoch, Epoch(2));
}

#[test]
fn a_rewind_forgets_what_was_not_applied() {
    let mut chaser = chaser();
    for seq in 1..=5 {
        chaser.take(delta(1, seq));
    }
    chaser.batch(3);
    chaser.rewind(Position { epoch: Epoch(1), seq: Seq(2) });
    assert_eq!(chaser.take(delta(1, 4)), Taken::Gap { wanted: Seq(3) });
    assert_eq!(chaser.take(delta(1, 3)), Taken::Accepted);
}

proptest! {
    /// Whatever is repeated, reordered or missing on the way, what comes out is 1, 2, 3, …
    #[test]
    fn what_comes_out_is_gapless(arrivals in prop::collection::vec((1u64..20, any::<bool>(), 1usize..4), 1..200)) {
        let mut chaser = chaser();
        let mut next = 1;
        for (seq, silent, most) in arrivals {
            let record = if silent { mark(1, seq) } else { delta(1, seq) };
            chaser.take(record);
            while let Some(batch) = chaser.batch(most) {
                for seq in seqs(&batch) {
                    prop_assert_eq!(seq, next);
                    next += 1;
                }
                prop_assert_eq!(batch.to, Seq(next - 1));
            }
        }
    }
}

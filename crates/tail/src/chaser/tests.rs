use super::*;
use meridian_model::{CollectionUid, Op, PointId, RegionName, ShardNumber};
use proptest::prelude::*;

fn origin() -> OriginShard {
    OriginShard { region: RegionName::new("us-east").unwrap(), shard: ShardNumber::FIRST }
}

fn delta(epoch: u32, seq: u64) -> Record {
    let op = Op::Delete { collection: CollectionUid(1), point: PointId::Num(seq) };
    let committed_at = Hlc(1000 * u64::from(epoch) + seq);
    let delta = Delta { origin: origin(), epoch: Epoch(epoch), seq: Seq(seq), committed_at, op, trace: None };
    Record::Delta { delta, closed: committed_at }
}

fn close(epoch: u32, seq: u64, closed: u64) -> Record {
    Record::Close { at: Position { epoch: Epoch(epoch), seq: Seq(seq) }, closed: Hlc(closed) }
}

fn chaser() -> Chaser {
    Chaser::new(origin(), Position { epoch: Epoch(1), seq: Seq(0) }, Hlc::ZERO)
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
    assert_eq!(chaser.take(close(1, 3, 5000)), Taken::Gap { wanted: Seq(2) });
    assert_eq!(chaser.take(delta(1, 2)), Taken::Accepted);
    assert_eq!(seqs(&chaser.batch(10).unwrap()), [1, 2]);
}

#[test]
fn a_promise_waits_for_the_deltas_it_speaks_of() {
    let mut chaser = chaser();
    chaser.take(delta(1, 1));
    chaser.take(delta(1, 2));
    chaser.take(close(1, 2, 9000));
    let first = chaser.batch(1).unwrap();
    assert_eq!((seqs(&first), first.closed), (vec![1], Hlc(1001)));
    let second = chaser.batch(1).unwrap();
    assert_eq!((seqs(&second), second.closed), (vec![2], Hlc(9000)));
}

#[test]
fn silence_is_a_batch_without_deltas() {
    let mut chaser = chaser();
    chaser.take(close(1, 0, 70));
    let batch = chaser.batch(10).unwrap();
    assert_eq!((batch.from, batch.to, batch.closed), (Seq(1), Seq(0), Hlc(70)));
    assert_eq!(chaser.batch(10), None);
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
    chaser.rewind(Position { epoch: Epoch(1), seq: Seq(2) }, Hlc(1002));
    assert_eq!(chaser.take(delta(1, 4)), Taken::Gap { wanted: Seq(3) });
    assert_eq!(chaser.take(delta(1, 3)), Taken::Accepted);
}

proptest! {
    /// Whatever is repeated, reordered or missing on the way, what comes out is 1, 2, 3, …, and no promise is claimed
    /// before the deltas it speaks of.
    #[test]
    fn what_comes_out_is_gapless(arrivals in prop::collection::vec((1u64..20, any::<bool>(), 1usize..4), 1..200)) {
        let mut chaser = chaser();
        let mut next = 1;
        for (seq, silent, most) in arrivals {
            let record = if silent { close(1, seq, 1000 + seq) } else { delta(1, seq) };
            chaser.take(record);
            while let Some(batch) = chaser.batch(most) {
                for seq in seqs(&batch) {
                    prop_assert_eq!(seq, next);
                    next += 1;
                }
                prop_assert_eq!(batch.to, Seq(next - 1));
                prop_assert!(batch.closed <= Hlc(1000 + next - 1));
            }
        }
    }
}

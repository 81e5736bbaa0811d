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

fn follower() -> LogFollower {
    LogFollower::new(origin(), Position { epoch: Epoch(1), seq: Seq(0) })
}

fn seqs(batch: &Batch) -> Vec<u64> {
    batch.deltas.iter().map(|delta| delta.seq.0).collect()
}

#[test]
fn a_delta_received_twice_is_applied_once() {
    let mut follower = follower();
    assert_eq!(follower.receive(delta(1, 1)), ReceiveOutcome::Accepted);
    assert_eq!(follower.receive(delta(1, 1)), ReceiveOutcome::Duplicate);
    assert_eq!(seqs(&follower.next_batch(10).unwrap()), [1]);
    assert_eq!(follower.next_batch(10), None);
}

#[test]
fn a_gap_is_reread_never_skipped() {
    let mut follower = follower();
    follower.receive(delta(1, 1));
    assert_eq!(follower.receive(delta(1, 3)), ReceiveOutcome::Gap { wanted: Seq(2) });
    assert_eq!(follower.receive(mark(1, 3)), ReceiveOutcome::Gap { wanted: Seq(2) });
    assert_eq!(follower.receive(delta(1, 2)), ReceiveOutcome::Accepted);
    assert_eq!(seqs(&follower.next_batch(10).unwrap()), [1, 2]);
}

#[test]
fn a_mark_is_not_put_into_a_batch() {
    let mut follower = follower();
    assert_eq!(follower.receive(mark(1, 0)), ReceiveOutcome::Accepted);
    assert_eq!(follower.next_batch(10), None, "a mark alone makes no batch");
    follower.receive(delta(1, 1));
    follower.receive(delta(1, 2));
    assert_eq!(follower.receive(mark(1, 1)), ReceiveOutcome::Accepted);
    assert_eq!(seqs(&follower.next_batch(10).unwrap()), [1, 2]);
}

#[test]
fn an_unknown_log_begins_with_an_empty_batch() {
    let mut follower = LogFollower::new(origin(), Position::default());
    assert_eq!(follower.receive(mark(1, 0)), ReceiveOutcome::Accepted);
    let batch = follower.next_batch(10).unwrap();
    assert_eq!((batch.epoch, batch.from, batch.to), (Epoch(1), Seq(1), Seq(0)));
    assert_eq!(follower.next_batch(10), None);
    follower.request_batch();
    assert_eq!(follower.next_batch(10), Some(batch));
}

#[test]
fn a_new_epoch_begins_at_its_first_delta() {
    let mut follower = follower();
    follower.receive(delta(1, 1));
    assert_eq!(follower.receive(delta(2, 2)), ReceiveOutcome::NewEpoch { epoch: Epoch(2) });
    assert_eq!(follower.receive(delta(2, 1)), ReceiveOutcome::Accepted);
    assert_eq!(seqs(&follower.next_batch(10).unwrap()), [1]);
    assert_eq!(follower.next_batch(10).unwrap().epoch, Epoch(2));
}

#[test]
fn a_rewind_discards_unapplied_deltas() {
    let mut follower = follower();
    for seq in 1..=5 {
        follower.receive(delta(1, seq));
    }
    follower.next_batch(3);
    follower.rewind(Position { epoch: Epoch(1), seq: Seq(2) });
    assert_eq!(follower.receive(delta(1, 4)), ReceiveOutcome::Gap { wanted: Seq(3) });
    assert_eq!(follower.receive(delta(1, 3)), ReceiveOutcome::Accepted);
}

proptest! {
    /// Duplicated, reordered or missing input still yields the sequences 1, 2, 3, …
    #[test]
    fn batches_are_gapless(arrivals in prop::collection::vec((1u64..20, any::<bool>(), 1usize..4), 1..200)) {
        let mut follower = follower();
        let mut next = 1;
        for (seq, is_mark, max_deltas) in arrivals {
            let record = if is_mark { mark(1, seq) } else { delta(1, seq) };
            follower.receive(record);
            while let Some(batch) = follower.next_batch(max_deltas) {
                for seq in seqs(&batch) {
                    prop_assert_eq!(seq, next);
                    next += 1;
                }
                prop_assert_eq!(batch.to, Seq(next - 1));
            }
        }
    }
}

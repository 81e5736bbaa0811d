use std::collections::BTreeMap;

use meridian_model::{
    CollectionDef, CollectionName, CollectionUid, Distance, Hlc, HnswParams, LogIndex, Op, Payload, PointId,
    TableVersion, VectorDef, WriteId,
};
use meridian_shard::{Entry, Write};

use super::*;
use crate::testing::{alone, identity};

const WORDS: CollectionUid = CollectionUid(1);

/// A replica with so many vectors, none of them merged yet.
fn with_vectors(count: u64) -> Replica {
    let replica = alone(identity(1, 1));
    let vector = VectorDef { dim: 2, distance: Distance::Euclid, hnsw: HnswParams::default() };
    let def = CollectionDef {
        name: CollectionName::new("words").unwrap(),
        vectors: BTreeMap::from([(String::new(), vector)]),
    };
    let upsert = |point: u64| Op::Upsert {
        collection: WORDS,
        point: PointId::Num(point),
        vectors: BTreeMap::from([(String::new(), vec![point as f32, 1.0])]),
        payload: Payload("{}".into()),
    };
    let ops = std::iter::once(Op::CreateCollection { uid: WORDS, def }).chain((0..count).map(upsert)).collect();
    let (id, table, hlc, closed) = (WriteId(7), TableVersion(1), Hlc(1_000), Hlc(1_000_000));
    let entry = Entry::Write(Write { id, part: 0, table, ops, hlc, closed, trace: None });
    let index = LogIndex(replica.state().applied().0 + 1);
    replica.state.write().apply(index, &entry);
    assert_eq!(replica.state().pending_index() as u64, count);
    replica
}

#[test]
fn a_step_is_taken_when_nobody_reads_and_waits_for_nobody() {
    let mut replica = with_vectors(256);
    let shared = replica.shared_state();
    let reading = shared.read();
    for _ in 0..3 {
        assert_eq!(replica.idle(), Backlog::Waiting);
        // Others may join.
        std::thread::scope(|scope| _ = scope.spawn(|| drop(shared.read())));
    }
    drop(reading);
    let mut steps = 0;
    while replica.idle() == Backlog::Short {
        steps += 1;
    }
    assert_eq!((replica.idle(), replica.state().pending_index()), (Backlog::None, 0));
    assert!(steps >= 2 * 256 - 1, "{steps}: a place is sought for each, and each is linked in");
}

/// Where so many wait that searches take notice, the step is waited for.
#[test]
fn a_long_backlog_does_not_wait_for_ever() {
    let mut replica = with_vectors(1_280);
    let shared = replica.shared_state();
    let reading = shared.read();
    std::thread::scope(|scope| {
        let merging = scope.spawn(|| replica.idle());
        while shared.gate().look() != (true, false, 0) {
            assert!(!merging.is_finished(), "the step was not waited for");
            std::thread::yield_now();
        }
        drop(reading);
        assert_eq!(merging.join().unwrap(), Backlog::Long);
    });
}

/// A place that was sought in the graph of another state is forgotten with it.
#[test]
fn a_place_is_forgotten_with_its_state() {
    let mut replica = with_vectors(256);
    let shared = replica.shared_state();
    let reading = shared.read();
    assert_eq!(replica.idle(), Backlog::Waiting);
    assert!(replica.place.is_some());
    drop(reading);
    let genesis = replica.identity.genesis.clone();
    let (region, shard, shards) = (genesis.region, genesis.shard, genesis.shards);
    let identity = meridian_shard::Identity { region, shard, shards, primary: (genesis.primary_term, genesis.primary) };
    replica.replace_state(State::new(identity).unwrap());
    assert!(replica.place.is_none());
    assert_eq!(replica.idle(), Backlog::None);
}

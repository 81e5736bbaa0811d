use meridian_model::{ClusterId, PrimaryTerm, RegionName, ReplicaId, ShardNumber};
use meridian_store::{MIN_SEGMENT_BYTES, SimDisk};
use meridian_wire::topology::Genesis;

use super::*;

fn identity() -> Identity {
    let region = RegionName::new("us-east").unwrap();
    let (cluster, shard) = (ClusterId(1), ShardNumber::FIRST);
    let genesis =
        Genesis { cluster, region: region.clone(), shard, shards: 1, primary: region, primary_term: PrimaryTerm(1) };
    Identity { genesis, replica: ReplicaId(7), founders: Vec::new(), group: None }
}

fn numbers(events: &[Event]) -> Vec<(u64, u64)> {
    let said = |event: &Event| match event {
        Event::Persisted { number, first } => (*number, *first),
        _ => panic!("a log says nothing else"),
    };
    events.iter().map(said).collect()
}

#[test]
fn what_a_full_disk_held_up_is_said_once_there_is_space() {
    let disk = SimDisk::new();
    initialize(&disk, &identity(), MIN_SEGMENT_BYTES).unwrap();
    let (mut log, _, found) = open(&disk, &identity(), MIN_SEGMENT_BYTES).unwrap();
    let born = found.records.len() as u64;
    disk.limit(0);
    let mut number = 0;
    let mut held_up = loop {
        number += 1;
        match log.persist(&[(number, vec![vec![0; 700], vec![1; 700]])]) {
            Ok(events) => assert_eq!(numbers(&events), [(number, born + 2 * number - 1)]),
            Err(CommitError::Full { .. }) => break vec![(number, born + 2 * number - 1)],
            Err(other) => panic!("{other}"),
        }
    };
    number += 1;
    held_up.push((number, born + 2 * number - 1));
    assert!(matches!(log.persist(&[(number, vec![vec![2], vec![3]])]), Err(CommitError::Full { .. })));
    disk.limit(u64::MAX);
    assert_eq!(numbers(&log.persist(&[]).unwrap()), held_up);
}

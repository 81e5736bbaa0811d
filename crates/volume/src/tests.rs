use meridian_model::{BehaviorVersion, ClusterId, PrimaryTerm, RegionName, ReplicaId, ShardNumber};
use meridian_proto::topology::Genesis;
use meridian_replica::{Command, Event, SnapshotMeta, shard_identity};
use meridian_shard::State;
use meridian_store::{CommitError, MIN_SEGMENT_BYTES, SimDisk};

use super::*;

pub(crate) fn identity() -> Identity {
    let region = RegionName::new("us-east").unwrap();
    let (cluster, shard) = (ClusterId(1), ShardNumber::FIRST);
    let genesis =
        Genesis { cluster, region: region.clone(), shard, shards: 1, primary: region, primary_term: PrimaryTerm(1) };
    Identity { genesis, replica: ReplicaId(7), founders: Vec::new(), group: None, behavior: BehaviorVersion::FIRST }
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
    initialize_volume(&disk, &identity(), MIN_SEGMENT_BYTES).unwrap();
    let (mut log, _, found) = open_volume(&disk, &identity(), MIN_SEGMENT_BYTES).unwrap();
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

pub(crate) fn meta() -> SnapshotMeta {
    SnapshotMeta {
        needs: BehaviorVersion::FIRST,
        index: 1,
        term: 1,
        voters: vec![7],
        learners: Vec::new(),
        addresses: std::collections::BTreeMap::new(),
        membership_version: meridian_model::LogIndex(0),
    }
}

/// A folder whose snapshot holds some points.
pub(crate) fn with_snapshot() -> SimDisk {
    let disk = SimDisk::new();
    initialize_volume(&disk, &identity(), MIN_SEGMENT_BYTES).unwrap();
    let (_, mut snapshots, _) = open_volume(&disk, &identity(), MIN_SEGMENT_BYTES).unwrap();
    let mut state = State::new(shard_identity(&identity())).unwrap();
    let vector = meridian_model::VectorDef {
        dim: 2,
        distance: meridian_model::Distance::Dot,
        hnsw: meridian_model::HnswParams::default(),
    };
    let def = meridian_model::CollectionDef {
        name: meridian_model::CollectionName::new("words").unwrap(),
        vectors: [(String::new(), vector)].into(),
    };
    let ops = vec![meridian_model::Op::CreateCollection { uid: meridian_model::CollectionUid(1), def }];
    let (id, table) = (meridian_model::WriteId(1), meridian_model::TableVersion(1));
    let write = meridian_shard::Write {
        id,
        part: 0,
        table,
        term: PrimaryTerm(1),
        sent_at: meridian_model::LogIndex(u64::MAX),
        ops,
        indexes: meridian_model::RequestIndexes::default(),
        hlc: meridian_model::Hlc(1 << 20),
        trace: None,
    };
    state.apply(meridian_model::LogIndex(1), &meridian_shard::Entry::Write(write));
    let command = Command::TakeSnapshot { id: 1, meta: meta().encode(), image: Box::new(state.image()) };
    let taken = snapshots.perform(command).unwrap();
    assert!(matches!(taken, Some(Event::SnapshotTaken { manifest: Some(_), .. })));
    disk
}

#[test]
fn a_disk_that_cannot_be_read_is_no_damage_and_is_named() {
    let mut named = std::collections::BTreeSet::new();
    for at in 1.. {
        let disk = with_snapshot();
        disk.fail_at(at, 1, std::io::ErrorKind::Other);
        match open_volume(&disk, &identity(), MIN_SEGMENT_BYTES) {
            Ok((_, _, found)) => {
                assert!(found.snapshot.is_some());
                break;
            }
            Err(fault) => {
                assert!(!fault.is_damage(), "operation {at}: {fault:?}");
                if let VolumeError::State { source, .. } = fault {
                    named.insert(source.to_string().split(':').next().unwrap().to_owned());
                }
            }
        }
    }
    let read = |name: &str| format!("read snapshot file {name}");
    assert_eq!(named, ["core", "points-1", "graph-1-0"].map(read).into());
}

#[test]
fn a_changed_file_of_the_snapshot_is_damage() {
    let files = with_snapshot().files();
    let held: Vec<_> = files.iter().filter(|(path, bytes)| path.starts_with(SNAPSHOTS) && *bytes > 0).collect();
    assert_eq!(held.len(), 4, "{files:?}");
    for (path, bytes) in held {
        for change in [|disk: &SimDisk, path: &str, at| disk.flip(path, at, 1), SimDisk::truncate] {
            let disk = with_snapshot();
            change(&disk, path, bytes / 2).unwrap();
            let fault = open_volume(&disk, &identity(), MIN_SEGMENT_BYTES).map(drop).unwrap_err();
            assert!(matches!(fault, VolumeError::SnapshotDamaged(1)), "{path}: {fault:?}");
        }
    }
}

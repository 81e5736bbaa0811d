use std::io::ErrorKind;

use meridian_model::{ClusterId, PlayedRelease, PrimaryTerm, RegionName, ShardNumber};
use meridian_store::{DiskFile, MIN_SEGMENT_BYTES, SimDisk};

use super::*;
use crate::open_volume;

const REPLICA: ReplicaId = ReplicaId(7);

fn identity(founders: &[u64]) -> Identity {
    let region = RegionName::new("us-east").unwrap();
    let (cluster, shard) = (ClusterId(1), ShardNumber::FIRST);
    let genesis =
        Genesis { cluster, region: region.clone(), shard, shards: 1, primary: region, primary_term: PrimaryTerm(1) };
    let founder = |id: &u64| Member { replica: ReplicaId(*id), address: format!("pod-{id}:8082") };
    Identity {
        genesis,
        replica: REPLICA,
        founders: founders.iter().map(founder).collect(),
        group: None,
        behavior: meridian_model::BehaviorVersion::FIRST,
    }
}

fn initialized() -> SimDisk {
    let disk = SimDisk::new();
    initialize_volume(&disk, &identity(&[7, 8, 9]), MIN_SEGMENT_BYTES).unwrap();
    disk
}

/// A folder whose replica has written something to its log.
fn used() -> SimDisk {
    let disk = initialized();
    let (mut log, _, _) = open_volume(&disk, &identity(&[7, 8, 9]), MIN_SEGMENT_BYTES).unwrap();
    let record = meridian_replica::LogRecord::Base { index: 9, term: 3 }.encode();
    log.persist(&[(1, vec![record])]).unwrap();
    disk
}

#[track_caller]
fn damaged(disk: &SimDisk, replica: Option<ReplicaId>, says: &str) {
    match inspect_volume(disk).unwrap() {
        Folder::Damaged { replica: found, reason } => {
            assert_eq!(found, replica);
            assert!(reason.contains(says), "{reason}");
        }
        other => panic!("{other:?}"),
    }
    let refused = initialize_volume(disk, &identity(&[7, 8, 9]), MIN_SEGMENT_BYTES).unwrap_err();
    assert!(refused.is_damage(), "{refused:?}");
}

#[test]
fn an_empty_folder_is_blank_and_a_replica_is_what_its_identity_says() {
    assert_eq!(inspect_volume(&SimDisk::new()).unwrap(), Folder::Blank);
    assert_eq!(inspect_volume(&initialized()).unwrap(), Folder::Replica(identity(&[7, 8, 9])));
}

/// The identity of a founder as version 1 has it: cluster, region, shard, shards, primary, its term, replica, founders.
const GOLDEN_1: &[u8] = b"\x01\x07us-east\x01\x01\x07us-east\x01\x07\x01\x07\x0apod-7:8082";

#[test]
fn every_version_of_the_identity_stays_as_it_is() {
    let _later = PlayedRelease::knowing(BehaviorVersion(0x81));
    let alone = identity(&[7]);
    let grouped = Identity { group: Some("g".into()), ..alone.clone() };
    let later = Identity { behavior: BehaviorVersion(0x81), ..grouped.clone() };
    for (identity, version, tail) in [
        (&alone, 1, &b""[..]),
        (&alone, 2, b"\x00"),
        (&grouped, 2, b"\x01\x01g"),
        (&alone, 3, b"\x00\x01"),
        (&grouped, 3, b"\x01\x01g\x01"),
        (&later, 3, b"\x01\x01g\x81\x01"),
    ] {
        let golden = [GOLDEN_1, tail].concat();
        if version == IDENTITY_VERSION {
            assert_eq!(encode(identity), golden);
        }
        let disk = SimDisk::new();
        write_atomic(&disk, IDENTITY, version, &golden).unwrap();
        assert_eq!(identity_of(&disk).unwrap().as_ref(), Some(identity));
        let disk = SimDisk::new();
        initialize_volume(&disk, identity, MIN_SEGMENT_BYTES).unwrap();
        assert_eq!(inspect_volume(&disk).unwrap(), Folder::Replica(identity.clone()));
    }
    for (version, tail) in [(1, &b"\x00"[..]), (2, b""), (2, b"\x00\x01"), (3, b"\x00"), (3, b"\x00\x01\x00")] {
        let disk = SimDisk::new();
        write_atomic(&disk, IDENTITY, version, &[GOLDEN_1, tail].concat()).unwrap();
        assert!(matches!(identity_of(&disk), Err(VolumeError::IdentityMalformed)), "version {version}, {tail:?}");
    }
}

#[test]
fn the_identity_of_a_group_whose_version_is_not_known_is_a_newer_file() {
    let disk = SimDisk::new();
    let later = Identity { behavior: BehaviorVersion(2), ..identity(&[7]) };
    {
        let _next = PlayedRelease::knowing(BehaviorVersion(2));
        initialize_volume(&disk, &later, MIN_SEGMENT_BYTES).unwrap();
        assert_eq!(inspect_volume(&disk).unwrap(), Folder::Replica(later));
    }
    let reason =
        "identity: written by a newer release: behavior version 2, this build knows up to 1; run the newer release";
    assert_eq!(inspect_volume(&disk).unwrap(), Folder::Newer { reason: reason.into() });
}

#[test]
fn a_used_folder_without_a_readable_identity_is_damaged() {
    let disk = used();
    disk.remove("identity").unwrap();
    damaged(&disk, Some(REPLICA), "there is no identity beside snapshots");

    let disk = used();
    disk.flip("identity", 30, 1).unwrap();
    damaged(&disk, Some(REPLICA), "the identity is damaged: checksum");

    let disk = used();
    disk.truncate("identity", 0).unwrap();
    damaged(&disk, Some(REPLICA), "the identity is damaged: kind must be");
}

#[test]
fn a_log_that_was_written_to_is_no_interrupted_initialization() {
    let disk = used();
    disk.remove("identity").unwrap();
    disk.remove_dir("snapshots").unwrap();
    damaged(&disk, Some(REPLICA), "the log is that of a replica which ran");
    disk.remove("log/slot-000001.wal").unwrap();
    damaged(&disk, None, "the log is damaged");
}

#[test]
fn anything_else_in_the_folder_is_damage() {
    let disk = SimDisk::new();
    disk.create("notes.txt", 1).unwrap();
    damaged(&disk, None, "there is no identity beside notes.txt");
}

#[test]
fn a_disk_that_cannot_be_read_and_a_newer_format_are_no_damage() {
    let disk = used();
    disk.fail_next(1, ErrorKind::Other);
    let fault = inspect_volume(&disk).unwrap_err();
    assert!(!fault.is_damage(), "{fault:?}");

    let disk = used();
    write_atomic(&disk, IDENTITY, IDENTITY_VERSION + 1, b"of tomorrow").unwrap();
    let reason = "identity: identity: written by a newer release: format version 4, this build reads up to 3; run the newer release";
    assert_eq!(inspect_volume(&disk).unwrap(), Folder::Newer { reason: reason.into() });
    let refused = initialize_volume(&disk, &identity(&[7]), MIN_SEGMENT_BYTES).unwrap_err();
    assert!(refused.is_newer() && !refused.is_damage(), "{refused:?}");
}

#[test]
fn every_read_of_an_inspection_that_fails_is_a_fault_of_the_disk() {
    for remove in [false, true] {
        let disk = used();
        if remove {
            disk.remove("identity").unwrap();
        }
        let whole = disk.operations();
        inspect_volume(&disk).unwrap();
        for at in 1..=disk.operations() - whole {
            disk.fail_at(at, 1, ErrorKind::Other);
            let fault = inspect_volume(&disk).unwrap_err();
            assert!(!fault.is_damage(), "operation {at}: {fault:?}");
        }
    }
}

#[test]
fn an_initialization_that_a_crash_interrupts_is_repeated() {
    for founders in [&[7, 8, 9][..], &[]] {
        for coin in [0, 1, 2] {
            for at in 1.. {
                let disk = SimDisk::new();
                disk.crash_at(at);
                let done = initialize_volume(&disk, &identity(founders), MIN_SEGMENT_BYTES).is_ok();
                disk.crash(&mut |n| coin % n);
                let found = inspect_volume(&disk).unwrap();
                let whole = Folder::Replica(identity(founders));
                assert!(found == whole || (!done && found == Folder::Blank), "operation {at}: {found:?}");
                // And so is its repetition.
                for again in 1..8 {
                    disk.crash_at(again);
                    let _ = initialize_volume(&disk, &identity(founders), MIN_SEGMENT_BYTES);
                    disk.crash(&mut |n| coin % n);
                    let found = inspect_volume(&disk).unwrap();
                    assert!(found == whole || found == Folder::Blank, "operation {at}, then {again}: {found:?}");
                }
                initialize_volume(&disk, &identity(founders), MIN_SEGMENT_BYTES).unwrap();
                assert_eq!(inspect_volume(&disk).unwrap(), whole);
                open_volume(&disk, &identity(founders), MIN_SEGMENT_BYTES).unwrap();
                if done {
                    break;
                }
            }
        }
    }
}

#[test]
fn a_snapshot_that_cannot_be_read_is_no_damage_and_one_that_changed_is() {
    let disk = used();
    let (_, mut snapshots, _) = open_volume(&disk, &identity(&[7, 8, 9]), MIN_SEGMENT_BYTES).unwrap();
    let mut state = meridian_shard::State::new(meridian_replica::shard_identity(&identity(&[7, 8, 9]))).unwrap();
    let command = meridian_replica::Command::TakeSnapshot { id: 5, meta: vec![1], image: Box::new(state.image()) };
    snapshots.perform(command).unwrap();
    let reopen = || open_volume(&disk, &identity(&[7, 8, 9]), MIN_SEGMENT_BYTES).map(drop);
    let (file, bytes) = disk.files().into_iter().find(|(path, _)| path.ends_with("/core")).unwrap();
    let before = disk.operations();
    reopen().unwrap();
    for at in 1..=disk.operations() - before {
        disk.fail_at(at, 1, ErrorKind::Other);
        match reopen() {
            Err(fault) => assert!(!fault.is_damage(), "operation {at}: {fault:?}"),
            Ok(()) => panic!("operation {at} was not needed"),
        }
    }
    let whole = disk.open(&file).and_then(|file| {
        let mut whole = vec![0; usize::try_from(bytes).unwrap()];
        file.read_at(0, &mut whole).map(|()| whole)
    });
    disk.flip(&file, bytes / 2, 1).unwrap();
    assert!(reopen().unwrap_err().is_damage());
    assert!(whole.is_ok());
}

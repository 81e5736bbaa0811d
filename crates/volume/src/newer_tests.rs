//! Files of a newer release, and damaged ones: each kind of file, with its version raised, and with a changed byte.

use meridian_replica::{Now, Replica, Settings, SnapshotMeta};
use meridian_store::{DiskFile, MIN_SEGMENT_BYTES, SimDisk, SnapshotId, write_atomic};

use super::tests::{identity, with_snapshot};
use super::*;

/// What a pod makes of its folder.
#[derive(Debug, PartialEq, Eq)]
enum Start {
    Runs,
    Newer(String),
    Damaged,
}

fn start(disk: &SimDisk) -> Start {
    let identity = match inspect_volume(disk).unwrap() {
        Folder::Replica(identity) => identity,
        Folder::Newer { reason } => return Start::Newer(reason),
        Folder::Damaged { .. } => return Start::Damaged,
        Folder::Blank => panic!("the folder was a replica's"),
    };
    let found = match open_volume(disk, &identity, MIN_SEGMENT_BYTES) {
        Ok((_, _, found)) => found,
        Err(fault) if fault.is_newer() && !fault.is_damage() => return Start::Newer(fault.describe()),
        Err(fault) if fault.is_damage() && !fault.is_newer() => return Start::Damaged,
        Err(fault) => panic!("{fault:?}"),
    };
    let now = Now { mono: std::time::Duration::ZERO, wall: std::time::Duration::from_secs(1) };
    Replica::restore(Settings::default(), identity, now, 1, found)
        .map_or_else(|fault| panic!("its versions were looked at before: {fault:?}"), |_| Start::Runs)
}

fn content(disk: &SimDisk, path: &str) -> Vec<u8> {
    let file = disk.open(path).unwrap();
    let mut bytes = vec![0; usize::try_from(file.bytes().unwrap()).unwrap()];
    file.read_at(0, &mut bytes).unwrap();
    bytes
}

fn contents(disk: &SimDisk) -> Vec<(String, Vec<u8>)> {
    disk.files().into_iter().map(|(path, _)| (path.clone(), content(disk, &path))).collect()
}

fn overwrite(disk: &SimDisk, path: &str, at: u64, bytes: &[u8]) {
    let file = disk.open(path).unwrap();
    file.write_at(at, bytes).unwrap();
    file.sync_data().unwrap();
}

/// CRC-32C, bit by bit.
fn crc32c(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
    !bytes.iter().fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
}

/// Raises the version of the envelope at `at`, which is sealed again: `kind | version | checksum | length | body`.
fn raise_envelope(disk: &SimDisk, path: &str, at: usize) {
    let file = content(disk, path);
    let length = u64::from_le_bytes(file[at + 16..at + 24].try_into().unwrap());
    let mut sealed = file[at..at + 24 + usize::try_from(length).unwrap()].to_vec();
    sealed[8] += 1;
    let crc = crc32c(&[&sealed[..12], &sealed[16..]].concat());
    sealed[12..16].copy_from_slice(&crc.to_le_bytes());
    overwrite(disk, path, at as u64, &sealed);
}

/// Appends a record to the log.
fn append(disk: &SimDisk, record: &[u8]) {
    let (mut log, _, _) = open_volume(disk, &identity(), MIN_SEGMENT_BYTES).unwrap();
    log.persist(&[(1, vec![record.to_vec()])]).unwrap();
}

/// Writes the snapshot again, changed, as its writer would have: its manifest holds.
fn rewrite_snapshot(disk: &SimDisk, change: impl Fn(&str, &mut Vec<u8>), meta: impl Fn(&mut Vec<u8>)) {
    let snapshots = Snapshots::open(disk, SNAPSHOTS).unwrap();
    let old = snapshots.snapshot(SnapshotId(1)).unwrap();
    let names: Vec<_> = old.manifest().files.iter().map(|entry| entry.name.clone()).collect();
    let mut files: Vec<_> = names.into_iter().map(|name| (old.read(&name).unwrap(), name)).collect();
    let mut meta_bytes = old.meta().to_vec();
    meta(&mut meta_bytes);
    snapshots.remove(SnapshotId(1)).unwrap();
    let mut writer = snapshots.write(SnapshotId(1)).unwrap();
    for (bytes, name) in &mut files {
        change(name, bytes);
        writer.add_file(name, bytes).unwrap();
    }
    writer.commit(meta_bytes).unwrap();
}

const MANIFEST: &str = "snapshots/00000000000000000001/MANIFEST";
const SEGMENT: &str = "log/slot-000001.wal";

type Change = fn(&SimDisk);

/// Each kind of file, its version raised, and what is said of it.
const RAISED: [(&str, Change, &str); 12] = [
    (
        "identity",
        |disk| raise_envelope(disk, "identity", 0),
        "identity: identity: written by a newer release: format version 4",
    ),
    ("identity, any content", |disk| write_atomic(disk, "identity", 9, b"?").unwrap(), "format version 9"),
    (
        "log segment",
        |disk| {
            raise_envelope(disk, SEGMENT, 0);
            raise_envelope(disk, SEGMENT, 4096);
        },
        "log: log/slot-000001.wal: written by a newer release: format version 2",
    ),
    ("one header of a log segment", |disk| raise_envelope(disk, SEGMENT, 4096), "log/slot-000001.wal"),
    ("mark", |disk| raise_envelope(disk, "log/mark", 0), "log: log/mark: written by a newer release: format version 2"),
    ("log record", |disk| append(disk, &[2, 9, 1]), "log record 3: written by a newer release: format version 2"),
    ("hard state", |disk| append(disk, &[1, 2, 2, 0]), "log record 3: written by a newer release: format version 2"),
    (
        "entry of the log",
        |disk| append(disk, &[1, 1, 2, 0]),
        "log record 3: written by a newer release: format version 2",
    ),
    ("manifest", |disk| raise_envelope(disk, MANIFEST, 0), "MANIFEST: manifest: written by a newer release"),
    (
        "meta bytes of a snapshot",
        |disk| rewrite_snapshot(disk, |_, _| (), |meta| meta[0] += 1),
        "snapshot 1: written by a newer release: format version 3, this build reads up to 2",
    ),
    (
        "behavior version of a snapshot",
        |disk| rewrite_snapshot(disk, |_, _| (), |meta| meta[1] += 1),
        "snapshot 1: written by a newer release: behavior version 2, this build knows up to 1",
    ),
    (
        "behavior version of a snapshot, before its content is looked at",
        |disk| rewrite_snapshot(disk, |_, bytes| bytes.clear(), |meta| *meta = [2, 2, 0, 77].to_vec()),
        "snapshot 1: written by a newer release: behavior version 2, this build knows up to 1",
    ),
];

#[track_caller]
fn is_newer_and_stays(disk: &SimDisk, what: &str, says: &str) {
    let before = contents(disk);
    match start(disk) {
        Start::Newer(reason) => assert!(reason.contains(says), "{what}: {reason}"),
        other => panic!("{what}: {other:?}"),
    }
    assert!(contents(disk) == before, "{what}: the disk was changed");
}

#[test]
fn every_file_of_a_newer_release_is_refused_by_name_and_stays() {
    assert_eq!(start(&with_snapshot()), Start::Runs);
    for (what, change, says) in RAISED {
        let disk = with_snapshot();
        change(&disk);
        is_newer_and_stays(&disk, what, says);
    }
}

#[test]
fn every_file_of_a_snapshot_of_a_newer_release_is_refused_by_name_and_stays() {
    for name in ["core", "points-1", "graph-1-0"] {
        let disk = with_snapshot();
        let raise = |file: &str, bytes: &mut Vec<u8>| bytes[0] += u8::from(file == name);
        rewrite_snapshot(&disk, raise, |_| ());
        let says = format!("snapshot 1: snapshot file {name}: written by a newer release: format version 4");
        is_newer_and_stays(&disk, name, &says);
    }
}

#[test]
fn a_changed_byte_is_damage_also_where_a_version_stands() {
    for (path, places) in [
        ("identity", &[8, 30][..]),
        (SEGMENT, &[8192 + 25]),
        (MANIFEST, &[8, 30]),
        ("snapshots/00000000000000000001/core", &[0, 1, 40]),
        ("snapshots/00000000000000000001/points-1", &[0, 2, 7]),
        ("snapshots/00000000000000000001/graph-1-0", &[0, 1, 40]),
    ] {
        for at in places {
            let disk = with_snapshot();
            disk.flip(path, *at, 4).unwrap();
            assert_eq!(start(&disk), Start::Damaged, "{path}, byte {at}");
        }
    }
    // Of the two headers of a segment one is enough, and a mark only ever adds suspicion.
    for (path, places, expected) in
        [(SEGMENT, &[8][..], Start::Runs), (SEGMENT, &[8, 4104], Start::Damaged), ("log/mark", &[8], Start::Runs)]
    {
        let disk = with_snapshot();
        places.iter().for_each(|at| disk.flip(path, *at, 4).unwrap());
        assert_eq!(start(&disk), expected, "{path}, bytes {places:?}");
    }
}

/// The meta bytes of a manifest, byte by byte.
#[test]
fn the_meta_bytes_of_a_snapshot_are_what_they_always_were() {
    let meta = super::tests::meta();
    let golden = [2, 1, 0, 1, 1, 1, 7, 0, 0, 0];
    assert_eq!(meta.encode(), golden);
    assert_eq!(SnapshotMeta::decode(&golden), Ok(meta));
    for cut in 0..golden.len() {
        assert!(SnapshotMeta::decode(&golden[..cut]).is_err(), "{cut}");
    }
}

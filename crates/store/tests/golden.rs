//! The files of format version 1, byte by byte: a change of them needs a new format version.
//!
//! `MERIDIAN_WRITE_GOLDEN=1` rewrites them.

use std::path::PathBuf;

use meridian_store::{
    Disk, DiskFile, Lsn, MIN_SEGMENT_BYTES, Manifest, SimDisk, SnapshotId, Snapshots, Wal, WalOptions, read_atomic,
    write_atomic,
};

const OPTIONS: WalOptions = WalOptions { owner: *b"0123456789abcdef", segment_bytes: MIN_SEGMENT_BYTES };
const RECORDS: [&[u8]; 3] = [b"first", b"", b"\x00\x01\x02\x03\x04\x05\x06\x07"];
const FILES: [(&str, &str); 4] = [
    ("wal/slot-000001.wal", "segment.v1"),
    ("wal/mark", "mark.v1"),
    ("snap/00000000000000000007/MANIFEST", "manifest.v1"),
    ("identity", "atomic.v1"),
];

fn golden(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

fn content(disk: &SimDisk, path: &str) -> Vec<u8> {
    let file = disk.open(path).expect("a file just written");
    let mut bytes = vec![0; file.bytes().expect("a file just written") as usize];
    file.read_at(0, &mut bytes).expect("a file just written");
    bytes
}

/// A file without its trailing zeros; its length determines their number.
fn trimmed(bytes: &[u8]) -> &[u8] {
    &bytes[..bytes.iter().rposition(|b| *b != 0).map_or(0, |last| last + 1)]
}

#[test]
fn what_is_written_is_what_was_always_written() {
    let disk = SimDisk::new();
    let (mut wal, _) = Wal::open(&disk, "wal", OPTIONS).unwrap();
    for record in RECORDS {
        wal.append(record).unwrap();
        wal.commit().unwrap();
    }
    let mut writer = Snapshots::open(&disk, "snap").unwrap().write(SnapshotId(7)).unwrap();
    writer.add_file("points.0", b"some bytes").unwrap();
    writer.add_file("empty", b"").unwrap();
    writer.commit(b"meta".to_vec()).unwrap();
    write_atomic(&disk, "identity", 1, b"who am I").unwrap();
    for (path, name) in FILES {
        let bytes = content(&disk, path);
        if std::env::var_os("MERIDIAN_WRITE_GOLDEN").is_some() {
            std::fs::write(golden(name), trimmed(&bytes)).unwrap();
        }
        assert!(trimmed(&bytes) == std::fs::read(golden(name)).unwrap(), "{path} differs from {name}");
    }
}

#[test]
fn files_of_version_1_are_still_read() {
    let read = |name| std::fs::read(golden(name)).unwrap();
    let disk = SimDisk::new();
    disk.create_dir("wal").unwrap();
    for (path, name, bytes) in [
        ("wal/slot-000001.wal", "segment.v1", MIN_SEGMENT_BYTES),
        ("wal/mark", "mark.v1", 512),
        ("identity", "atomic.v1", 0),
    ] {
        disk.create(path, bytes).unwrap().write_at(0, &read(name)).unwrap();
    }
    let (wal, recovered) = Wal::open(&disk, "wal", OPTIONS).unwrap();
    let expected: Vec<_> = (1..).map(Lsn).zip(RECORDS.map(<[u8]>::to_vec)).collect();
    assert_eq!((recovered.records, recovered.torn_bytes, wal.next_lsn()), (expected, 0, Lsn(4)));
    assert_eq!(read_atomic(&disk, "identity", 1).unwrap(), Some((1, b"who am I".to_vec())));
    let manifest = Manifest::decode(&read("manifest.v1")).unwrap();
    assert_eq!((manifest.id, manifest.meta.as_slice()), (SnapshotId(7), b"meta".as_slice()));
    let file = manifest.file("points.0").unwrap();
    assert_eq!((file.bytes, file.hash), (10, *blake3::hash(b"some bytes").as_bytes()));
    assert_eq!(manifest.total_bytes(), 10);
}

use super::*;
use crate::SimDisk;
use proptest::prelude::*;

fn snapshots(disk: &SimDisk) -> Snapshots<SimDisk> {
    Snapshots::open(disk, "snap").unwrap()
}

fn content(salt: u8) -> [(&'static str, Vec<u8>); 3] {
    [("points.0", vec![salt; 1300]), ("empty", vec![]), ("vv", (0..200).map(|n| n ^ salt).collect())]
}

fn write(snapshots: &Snapshots<SimDisk>, id: u64, salt: u8) -> Result<Snapshot<SimDisk>, SnapshotError> {
    let mut writer = snapshots.write(SnapshotId(id))?;
    for (name, bytes) in content(salt) {
        writer.add_file(name, &bytes)?;
    }
    writer.commit(vec![salt])
}

fn check(snapshot: &Snapshot<SimDisk>, salt: u8) {
    assert_eq!(snapshot.meta(), [salt]);
    for (name, bytes) in content(salt) {
        assert_eq!(snapshot.read(name).unwrap(), bytes, "{name}");
    }
}

fn coins() -> impl Iterator<Item = impl FnMut(u64) -> u64> {
    (0..12u64).map(|seed| {
        let mut state = seed;
        move |n: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407 * seed);
            (state >> 33) % n
        }
    })
}

#[test]
fn a_crash_at_any_operation_of_writing_leaves_the_old_snapshot_or_the_new() {
    for mut coin in coins() {
        for at in 1.. {
            let disk = SimDisk::new();
            write(&snapshots(&disk), 1, 1).unwrap();
            disk.crash_at(at);
            let work = || {
                let snapshots = Snapshots::open(&disk, "snap")?;
                write(&snapshots, 2, 2)?;
                snapshots.remove_older(SnapshotId(2))
            };
            let done = work().is_ok();
            disk.crash(&mut coin);
            let newest = snapshots(&disk).newest().unwrap();
            assert!(newest.refused.is_empty(), "{:?}", newest.refused);
            let snapshot = newest.snapshot.unwrap();
            assert!(!done || snapshot.id() == SnapshotId(2));
            check(&snapshot, snapshot.id().0 as u8);
            if done {
                break;
            }
        }
    }
}

/// Receives all that is missing of `source`, in chunks of 256 bytes; answers how many chunks came.
fn receive(disk: &SimDisk, source: &Snapshot<SimDisk>) -> Result<u64, InstallError> {
    let snapshots = Snapshots::open(disk, "snap")?;
    let mut install = match snapshots.install_with_chunk_bytes(&source.manifest().encode().unwrap(), 256) {
        Err(InstallError::Exists(_)) => return Ok(0),
        install => install?,
    };
    let mut came = 0;
    while let Some(chunk) = install.missing(1).pop() {
        let bytes = source.read_chunk(&chunk.file, chunk.offset, chunk.bytes)?;
        install.write_chunk(&chunk.file, chunk.offset, &bytes)?;
        install.sync()?;
        came += 1;
    }
    install.finish().map(|_| came)
}

#[test]
fn an_install_goes_on_after_a_crash_at_any_operation() {
    let source = write(&snapshots(&SimDisk::new()), 9, 9).unwrap();
    let whole = receive(&SimDisk::new(), &source).unwrap();
    assert_eq!(whole, 7);
    let mut resumed = 0;
    for mut coin in coins() {
        for at in 1.. {
            let disk = SimDisk::new();
            disk.crash_at(at);
            let done = receive(&disk, &source).is_ok();
            disk.crash(&mut coin);
            let newest = snapshots(&disk).newest().unwrap();
            assert!(newest.refused.is_empty(), "operation {at}: {:?}", newest.refused);
            assert!(!done || newest.snapshot.is_some());
            resumed += u64::from(receive(&disk, &source).unwrap() < whole);
            check(&snapshots(&disk).newest().unwrap().snapshot.unwrap(), 9);
            if done {
                break;
            }
        }
    }
    assert!(resumed > 100, "{resumed} installs did not start anew");
}

#[test]
fn invalid_chunks_are_refused_and_damaged_content_is_requested_again() {
    let source = write(&snapshots(&SimDisk::new()), 9, 9).unwrap();
    let disk = SimDisk::new();
    let snapshots = snapshots(&disk);
    let mut install = snapshots.install_with_chunk_bytes(&source.manifest().encode().unwrap(), 1024).unwrap();
    for (file, offset, bytes) in [("no", 0, 1), ("vv", 1, 199), ("vv", 0, 199), ("vv", 1024, 0), ("points.0", 0, 1025)]
    {
        let refused = install.write_chunk(file, offset, &vec![0; bytes]);
        assert!(matches!(refused, Err(InstallError::Chunk { .. })), "{file} {offset} {bytes}");
    }
    for chunk in install.missing(9) {
        let mut bytes = source.read_chunk(&chunk.file, chunk.offset, chunk.bytes).unwrap();
        bytes[0] ^= u8::from(chunk.file == "vv");
        install.write_chunk(&chunk.file, chunk.offset, &bytes).unwrap();
    }
    let Err(InstallError::Damaged(files)) = install.finish() else { panic!("taken for good") };
    assert_eq!(files, ["vv"]);
    assert_eq!(install.missing(9), [Chunk { file: "vv".into(), offset: 0, bytes: 200 }]);
    install.write_chunk("vv", 0, &source.read("vv").unwrap()).unwrap();
    check(&install.finish().unwrap(), 9);
    assert!(matches!(snapshots.install(&source.manifest().encode().unwrap()), Err(InstallError::Exists(_))));
}

#[test]
fn every_flipped_or_cut_byte_is_found_and_an_older_snapshot_stands_in() {
    let disk = SimDisk::new();
    write(&snapshots(&disk), 1, 1).unwrap();
    write(&snapshots(&disk), 2, 2).unwrap();
    let files: Vec<_> = disk.files().into_iter().filter(|(path, _)| path.contains("2/")).collect();
    assert_eq!(files.len(), 4);
    for (file, bytes) in files {
        for offset in 0..bytes {
            disk.flip(&file, offset, 1 << (offset % 8)).unwrap();
            let newest = snapshots(&disk).newest().unwrap();
            assert_eq!(newest.refused.len(), 1, "{file} {offset}");
            check(&newest.snapshot.unwrap(), 1);
            disk.flip(&file, offset, 1 << (offset % 8)).unwrap();
        }
        if bytes > 0 {
            disk.truncate(&file, bytes - 1).unwrap();
            assert!(snapshots(&disk).snapshot(SnapshotId(2)).is_err());
            snapshots(&disk).remove(SnapshotId(2)).unwrap();
            write(&snapshots(&disk), 2, 2).unwrap();
        }
    }
}

#[test]
fn names_outside_the_folder_are_refused() {
    let disk = SimDisk::new();
    let snapshots = snapshots(&disk);
    for name in ["", "../x", "a/b", "MANIFEST", "PROGRESS", "PROGRESS.tmp", ".x", "a b"] {
        let mut writer = snapshots.write(SnapshotId(1)).unwrap();
        assert!(matches!(writer.add_file(name, b""), Err(SnapshotError::Name(_))), "{name:?}");
    }
    let twice = FileEntry { name: "a".into(), bytes: 0, hash: [0; 32] };
    let manifest = Manifest { id: SnapshotId(1), meta: vec![], files: vec![twice.clone(), twice] };
    assert_eq!(manifest.encode(), Err(ManifestError::Name("a".into())));
}

proptest! {
    #[test]
    fn decode_undoes_encode(id: u64, meta: Vec<u8>, files in prop::collection::btree_map("[a-z0-9]{1,9}", any::<(u64, [u8; 32])>(), 0..5)) {
        let files = files.into_iter().map(|(name, (bytes, hash))| FileEntry { name, bytes, hash }).collect();
        let manifest = Manifest { id: SnapshotId(id), meta, files };
        let bytes = manifest.encode().unwrap();
        prop_assert_eq!(Manifest::decode(&bytes).unwrap(), manifest);
        prop_assert!(Manifest::decode(&bytes[..bytes.len() - 1]).is_err());
    }
}

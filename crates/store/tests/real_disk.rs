//! The log and the snapshots on a real file system.

use std::io::{self, Write};
use std::time::Instant;

use meridian_store::{Lsn, MIN_SEGMENT_BYTES, RealDisk, SnapshotId, Snapshots, Wal, WalOptions};

#[test]
fn a_log_comes_back_from_a_real_file_system() {
    let folder = tempfile::tempdir().unwrap();
    let options = WalOptions { owner: [1; 16], segment_bytes: 4 * MIN_SEGMENT_BYTES };
    let disk = RealDisk::open(folder.path()).unwrap();
    let mut expected = Vec::new();
    for run in 0..3u8 {
        let (mut wal, recovered) = Wal::open(&disk, "wal", options).unwrap();
        assert_eq!(recovered.records, expected);
        for part in 0..100usize {
            let record = vec![run; part * 10];
            expected.push((wal.append(&record).unwrap(), record));
            if part % 10 == 9 {
                wal.commit().unwrap();
            }
        }
        assert_eq!(wal.synced(), Lsn(100 * (u64::from(run) + 1)));
    }
}

#[test]
fn a_snapshot_comes_back_from_a_real_file_system() -> io::Result<()> {
    let folder = tempfile::tempdir()?;
    let disk = RealDisk::open(folder.path())?;
    let snapshots = Snapshots::open(&disk, "snap").unwrap();
    let mut writer = snapshots.write(SnapshotId(1)).unwrap();
    let mut file = writer.file("large").unwrap();
    for part in 0..100u8 {
        file.write_all(&vec![part; 10_000])?;
    }
    file.finish().unwrap();
    writer.commit(vec![]).unwrap();
    let snapshot = snapshots.newest().unwrap().snapshot.unwrap();
    assert_eq!(snapshot.read_chunk("large", 999_999, 100).unwrap(), [99]);
    let place = disk.locate(&snapshot.path("large").unwrap())?;
    assert_eq!(std::fs::metadata(place)?.len(), 1_000_000);
    Ok(())
}

/// Prints figures: `cargo test --release -p meridian-store --test real_disk -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
#[expect(clippy::disallowed_methods, reason = "this measures time")]
fn commit_latency() {
    let folder = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
    let disk = RealDisk::open(folder.path()).unwrap();
    let begun = Instant::now();
    let (mut wal, _) = Wal::open(&disk, "wal", WalOptions::default()).unwrap();
    println!("new log, 64 MiB segment: {:?}", begun.elapsed());
    let mut times: Vec<_> = (0..2000)
        .map(|_| {
            wal.append(&[7; 500]).unwrap();
            let begun = Instant::now();
            wal.commit().unwrap();
            begun.elapsed()
        })
        .collect();
    times.sort();
    println!("commit of 500 bytes: p50 {:?}, p99 {:?}, worst {:?}", times[1000], times[1980], times[1999]);
    drop(wal);
    let begun = Instant::now();
    let (_, recovered) = Wal::open(&disk, "wal", WalOptions::default()).unwrap();
    println!("reopened with {} records: {:?}", recovered.records.len(), begun.elapsed());
}

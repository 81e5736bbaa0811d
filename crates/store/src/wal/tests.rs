use super::*;
use crate::SimDisk;
use proptest::prelude::*;
use std::io::ErrorKind;

const OPTIONS: WalOptions = WalOptions { owner: *b"replica-of-tests", segment_bytes: MIN_SEGMENT_BYTES };
const DIR: &str = "wal";

fn open(disk: &SimDisk) -> (Wal<SimDisk>, Recovered) {
    Wal::open(disk, DIR, OPTIONS).unwrap()
}

/// A record that holds its index and the number of the run that wrote it.
fn record(lsn: u64, run: u8, bytes: usize) -> Vec<u8> {
    let mut out = lsn.to_le_bytes().to_vec();
    out.push(run);
    out.resize(9 + bytes, (lsn as u8) ^ run);
    out
}

fn append(wal: &mut Wal<SimDisk>, run: u8, bytes: usize) -> (Lsn, Vec<u8>) {
    let record = record(wal.next_lsn().0, run, bytes);
    (wal.append(&record).unwrap(), record)
}

/// Seeded random numbers: one seed reproduces one crash.
fn random_below(mut seed: u64) -> impl FnMut(u64) -> u64 {
    move |n| {
        seed = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (seed ^ (seed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        (mixed ^ (mixed >> 29)) % n
    }
}

/// What a run of the log committed, and the most that it can have written.
#[derive(Default, Clone)]
struct Expected {
    committed: Vec<(Lsn, Vec<u8>)>,
    appended: Vec<(Lsn, Vec<u8>)>,
    released: Lsn,
}

/// Several commits over several segments, with a release; ends at the first error.
fn workload(disk: &SimDisk, run: u8, expected_records: &mut Expected) -> Result<(), Box<dyn std::error::Error>> {
    let (mut wal, recovered) = Wal::open(disk, DIR, OPTIONS)?;
    check(expected_records, &recovered);
    expected_records
        .committed
        .retain(|(lsn, _)| *lsn < recovered.records.first().map_or(wal.next_lsn(), |first| first.0));
    expected_records.committed.extend(recovered.records);
    expected_records.appended = expected_records.committed.clone();
    for round in 0..7usize {
        for part in 0..=round % 3 {
            expected_records.appended.push(append(&mut wal, run, 40 + 700 * round + 300 * part));
        }
        wal.commit()?;
        expected_records.committed = expected_records.appended.clone();
        if round == 4 {
            expected_records.released = wal.synced();
            wal.release(wal.synced());
        }
        if round == 5 {
            wal.shrink()?;
        }
    }
    Ok(())
}

#[test]
fn released_segments_are_given_back_to_a_full_disk() {
    let disk = SimDisk::new();
    let (mut wal, _) = open(&disk);
    while wal.stats().segments < 5 {
        append(&mut wal, 1, 900);
        wal.commit().unwrap();
    }
    disk.limit(0);
    wal.release(wal.synced());
    let before = wal.stats();
    wal.shrink().unwrap();
    let after = wal.stats();
    assert_eq!((after.spares, after.segments), (0, 2));
    assert_eq!(after.disk_bytes, 2 * MIN_SEGMENT_BYTES);
    assert!(after.disk_bytes < before.disk_bytes);
    let (lsn, kept) = append(&mut wal, 1, 900);
    wal.commit().unwrap();
    drop(wal);
    let (_, recovered) = open(&disk);
    assert_eq!(recovered.records.last(), Some(&(lsn, kept)));
}

/// The log starts with all committed records and holds only appended ones.
fn check(expected_records: &Expected, recovered: &Recovered) {
    let found = &recovered.records;
    let first = found.first().map_or(Lsn(expected_records.appended.len() as u64 + 1), |(lsn, _)| *lsn);
    assert!(
        first <= expected_records.released.max(Lsn(1)) || expected_records.committed.is_empty(),
        "begins at {first}"
    );
    let skip = first.0 as usize - 1;
    assert!(skip + found.len() >= expected_records.committed.len(), "{} + {skip} found", found.len());
    for (found, wrote) in found.iter().zip(&expected_records.appended[skip.min(expected_records.appended.len())..]) {
        assert!(found == wrote, "record {} differs", found.0);
    }
    assert!(skip + found.len() <= expected_records.appended.len(), "invented records");
}

#[test]
fn a_crash_at_any_operation_loses_nothing_committed_and_invents_nothing() {
    let mut torn = 0;
    for seed in 0..60 {
        let mut finished = false;
        let mut at = 1;
        while !finished {
            let disk = SimDisk::new();
            let mut expected_records = Expected::default();
            disk.crash_at(at);
            finished = workload(&disk, 1, &mut expected_records).is_ok();
            let mut choose = random_below(seed);
            // Two more runs on the same disk meet recycled files and torn tails of earlier runs.
            for life in 2..4 {
                // Seed 0 loses all that was not synced, seed 1 keeps it all.
                disk.crash(&mut |n| if seed < 2 { seed } else { choose(n) });
                disk.crash_at(1 + (at * 7 + u64::from(life)) % 40);
                let _ = workload(&disk, life, &mut expected_records);
            }
            disk.crash(&mut |n| if seed < 2 { seed } else { choose(n) });
            let (_, recovered) = open(&disk);
            check(&expected_records, &recovered);
            torn += u64::from(recovered.torn_bytes > 0);
            at += 1;
        }
        assert!(at > 20, "the workload has {at} operations");
    }
    assert!(torn > 20, "{torn} torn tails");
}

#[test]
fn a_failure_of_any_operation_is_reported_and_survived() {
    for kind in [ErrorKind::Other, ErrorKind::StorageFull] {
        for at in 1..60 {
            let disk = SimDisk::new();
            let mut expected_records = Expected::default();
            disk.fail_at(at, 1, kind);
            let _ = workload(&disk, 1, &mut expected_records);
            // Data that is readable after a failed sync may not be durable; opening must sync it.
            disk.kill();
            let (_, first) = open(&disk);
            check(&expected_records, &first);
            disk.crash(&mut |_| 0);
            assert_eq!(open(&disk).1.records, first.records, "operation {at}");
        }
    }
}

/// Some committed batches in one segment; the file's path and where the last frame ends.
fn small(disk: &SimDisk) -> (Vec<(Lsn, Vec<u8>)>, String) {
    let (mut wal, _) = open(disk);
    let mut all = Vec::new();
    for bytes in [0, 13, 70] {
        all.push(append(&mut wal, 1, bytes));
        all.push(append(&mut wal, 1, bytes));
        wal.commit().unwrap();
    }
    (all, "wal/slot-000001.wal".into())
}

#[test]
fn a_flipped_byte_is_detected_or_harmless() {
    let (mut damaged, mut harmless) = (0, 0);
    let extent = small(&SimDisk::new()).1;
    for (file, with_mark) in [(extent.as_str(), true), (extent.as_str(), false), ("wal/mark", true)] {
        let bytes = if file == extent { 8192 + 600 } else { 48 };
        for offset in (0..bytes).filter(|offset| file != extent || offset % 4096 < 700 || *offset >= 8192) {
            for mask in [1, 0x80, 0xFF] {
                let disk = SimDisk::new();
                let (all, _) = small(&disk);
                if !with_mark {
                    disk.remove("wal/mark").unwrap();
                }
                disk.flip(file, offset, mask).unwrap();
                match Wal::open(&disk, DIR, OPTIONS) {
                    Err(e) => {
                        assert!(format!("{e}").contains(file), "{e}");
                        damaged += 1;
                    }
                    Ok((_, recovered)) => {
                        // Only the last batch may count as torn, and only without the mark.
                        let least = if with_mark { all.len() } else { all.len() - 2 };
                        assert!(recovered.records.len() >= least, "{file} {offset}");
                        assert_eq!(recovered.records, all[..recovered.records.len()]);
                        harmless += 1;
                    }
                }
            }
        }
    }
    assert!(damaged > 1000 && harmless > 1000, "{damaged} found, {harmless} harmless");
}

#[test]
fn a_tail_torn_at_any_byte_is_truncated_for_good() {
    let disk = SimDisk::new();
    let (all, file) = small(&disk);
    let length = 8192 + 2 * (40 + 48 + 104);
    let mut image = vec![0; length];
    disk.open(&file).unwrap().read_at(0, &mut image).unwrap();
    let last_batch = length - 2 * 104;
    assert_eq!(crate::envelope::u64_at(&image, last_batch + 8), 5);
    for fill in [0, 0xA5] {
        for cut in last_batch..length {
            disk.remove("wal/mark").unwrap();
            image[cut..].fill(fill);
            disk.open(&file).unwrap().write_at(0, &image).unwrap();
            let (mut wal, recovered) = open(&disk);
            let kept = recovered.records.len();
            assert!((4..6).contains(&kept) || cut >= length - 7, "cut at {cut}: {kept}");
            assert_eq!(recovered.records, all[..kept]);
            let into_frame = (cut - last_batch) % 104;
            // A frame whose number but not last byte is on the disk is torn.
            assert!(recovered.torn_bytes > 0 || !(16..103).contains(&into_frame), "cut at {cut}");
            let (lsn, new) = append(&mut wal, 2, 70);
            wal.commit().unwrap();
            let (_, again) = open(&disk);
            assert_eq!((again.records.len(), again.records.last()), (kept + 1, Some(&(lsn, new))));
            disk.open(&file).unwrap().write_at(0, &vec![0; 16384]).unwrap();
            disk.remove(&file).unwrap();
            disk.remove("wal/mark").unwrap();
            let (fresh, _) = small(&disk);
            assert_eq!(fresh, all);
            disk.open(&file).unwrap().read_at(0, &mut image).unwrap();
        }
    }
}

#[test]
fn a_torn_record_never_follows_a_new_one() {
    let disk = SimDisk::new();
    let (mut wal, _) = open(&disk);
    // Two frames of 1,024 bytes in one write; the crash keeps only the second.
    append(&mut wal, 1, 991);
    append(&mut wal, 1, 991);
    disk.crash_at(2);
    wal.commit().unwrap_err();
    let mut choices = [0, 2, 0, 0, 1, 1].into_iter();
    disk.crash(&mut |_| choices.next().unwrap());
    let (mut wal, recovered) = open(&disk);
    assert_eq!((recovered.records.len(), recovered.torn_bytes), (0, 2048));
    let new = append(&mut wal, 2, 991);
    wal.commit().unwrap();
    assert_eq!(open(&disk).1.records, [new]);
}

#[test]
fn frames_of_an_earlier_use_of_a_file_never_come_back() {
    let disk = SimDisk::new();
    let (mut wal, _) = open(&disk);
    let mut last = None;
    for _ in 0..60 {
        last = Some(append(&mut wal, 1, 1000));
        wal.commit().unwrap();
        wal.release(wal.synced());
    }
    assert!(wal.stats().disk_bytes <= 4 * MIN_SEGMENT_BYTES, "files are reused: {:?}", wal.stats());
    disk.kill();
    disk.remove("wal/mark").unwrap();
    let (wal, recovered) = open(&disk);
    assert_eq!(recovered.records.last(), last.as_ref());
    assert_eq!((wal.synced(), recovered.torn_bytes), (Lsn(60), 0));
}

#[test]
fn a_record_larger_than_a_segment_is_refused_and_the_largest_is_taken() {
    let disk = SimDisk::new();
    let (mut wal, _) = open(&disk);
    let max = wal.max_record_bytes();
    let bytes = max + 1;
    assert_eq!(wal.append(&vec![1; bytes as usize]), Err(AppendError::TooLarge { bytes, max }));
    wal.append(&vec![1; max as usize]).unwrap();
    wal.append(&vec![2; max as usize]).unwrap();
    wal.commit().unwrap();
    assert_eq!((open(&disk).1.records.len(), wal.stats().segments), (2, 2));
}

#[test]
fn a_failed_commit_poisons_and_a_full_disk_does_not() {
    let disk = SimDisk::new();
    let (mut wal, _) = open(&disk);
    disk.limit(MIN_SEGMENT_BYTES + 600);
    let (lsn, _) = append(&mut wal, 1, 7000);
    append(&mut wal, 1, 7000);
    assert!(matches!(wal.commit(), Err(CommitError::Full { .. })));
    assert_eq!((wal.synced(), wal.is_poisoned()), (lsn, false));
    disk.limit(u64::MAX);
    wal.commit().unwrap();
    append(&mut wal, 1, 1);
    disk.fail_at(2, 1, ErrorKind::Other);
    assert!(matches!(wal.commit(), Err(CommitError::Disk { .. })));
    assert!(matches!(wal.commit(), Err(CommitError::Poisoned)));
    assert_eq!(wal.append(b"x"), Err(AppendError::Poisoned));
    assert_eq!(wal.synced(), Lsn(2));
}

#[test]
fn lost_cut_and_foreign_files_are_named() {
    let filled = || {
        let disk = SimDisk::new();
        let (mut wal, _) = open(&disk);
        for _ in 0..4 {
            append(&mut wal, 1, 7000);
            wal.commit().unwrap();
        }
        disk
    };
    let message = |disk: &SimDisk, options| Wal::open(disk, DIR, options).unwrap_err();
    for slot in 1..=4 {
        let file = format!("wal/slot-00000{slot}.wal");
        let disk = filled();
        disk.remove(&file).unwrap();
        let error = message(&disk, OPTIONS);
        let found = matches!(error, OpenError::Missing { .. } | OpenError::Damaged { .. });
        assert!(found, "{file}: {error}");
        for bytes in [0, 100, 5000, 9000] {
            let disk = filled();
            disk.truncate(&file, bytes).unwrap();
            message(&disk, OPTIONS);
        }
    }
    let disk = filled();
    disk.rename("wal/slot-000002.wal", "wal/slot-000007.wal").unwrap();
    assert_eq!(open(&disk).1.records.len(), 4, "a file's name says nothing");
    disk.remove("wal/mark").unwrap();
    let error = message(&disk, WalOptions { owner: [9; 16], ..OPTIONS });
    assert!(matches!(error, OpenError::Foreign { found, .. } if found == OPTIONS.owner), "{error}");
}

#[test]
fn a_future_format_is_refused_by_name() {
    let disk = SimDisk::new();
    drop(open(&disk));
    let future = crate::envelope::encode_envelope(*b"MRDNWAL\0", 2, b"whatever it is");
    disk.open("wal/slot-000001.wal").unwrap().write_at(0, &future).unwrap();
    let error = Wal::open(&disk, DIR, OPTIONS).unwrap_err().to_string();
    assert_eq!(
        error,
        "wal/slot-000001.wal: written by a newer release: format version 2, this build reads up to 1; run the newer release"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn committed_records_are_read_back(batches in prop::collection::vec(prop::collection::vec(0usize..3000, 0..6), 0..12)) {
        let disk = SimDisk::new();
        let mut all = Vec::new();
        for batch in batches {
            let (mut wal, recovered) = open(&disk);
            prop_assert_eq!(&recovered.records, &all);
            all.extend(batch.into_iter().map(|bytes| append(&mut wal, 1, bytes)));
            wal.commit().unwrap();
            disk.crash(&mut |n| n / 2);
        }
        prop_assert_eq!(open(&disk).1.records, all);
    }
}

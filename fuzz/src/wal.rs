//! Bytes in place of a segment of the write-ahead log, or over a sound one, never give a record that was not written.
//!
//! Input: 1 byte (odd: over a sound segment), the offset as `u16` in little-endian order, then the bytes.

use meridian_store::{Disk, DiskFile, MIN_SEGMENT_BYTES, SimDisk, Wal, WalOptions};

use crate::take;

const FILE: &str = "wal/slot-000001.wal";

/// Runs the target; returns whether the log was opened.
#[must_use]
pub fn run(mut bytes: &[u8]) -> bool {
    let over_sound = take::<1>(&mut bytes)[0] % 2 == 1;
    let offset = u16::from_le_bytes(take(&mut bytes));
    let options = WalOptions { owner: *b"fuzz fuzz fuzz f", segment_bytes: MIN_SEGMENT_BYTES };
    let disk = SimDisk::new();
    let mut written = Vec::new();
    if over_sound {
        let (mut wal, _) = Wal::open(&disk, "wal", options).expect("an empty disk");
        for length in [0usize, 30, 200] {
            let record = vec![length as u8; length];
            written.push((wal.append(&record).expect("it fits"), record));
            wal.commit().expect("a sound disk");
        }
        disk.remove("wal/mark").expect("it is there");
        // Up to the end of the file, so that its length stays.
        let room = MIN_SEGMENT_BYTES - u64::from(offset) % MIN_SEGMENT_BYTES;
        let part = bytes.len().min(room as usize);
        let file = disk.open(FILE).expect("it is there");
        file.write_at(MIN_SEGMENT_BYTES - room, &bytes[..part]).expect("a sound disk");
    } else {
        disk.create_dir("wal").expect("a sound disk");
        disk.create(FILE, MIN_SEGMENT_BYTES).expect("a sound disk").write_at(0, bytes).expect("a sound disk");
    }
    let Ok((mut wal, recovered)) = Wal::open(&disk, "wal", options) else { return false };
    if over_sound {
        assert!(written.starts_with(&recovered.records), "a record that was never written");
    }
    let last = wal.append(b"new").expect("it fits");
    wal.commit().expect("a sound disk");
    let (_, again) = Wal::open(&disk, "wal", options).expect("what was just written");
    assert_eq!(again.records.len(), recovered.records.len() + 1);
    assert_eq!(again.records.last(), Some(&(last, b"new".to_vec())));
    true
}

/// A sound segment, one with a byte changed behind its records, and an empty one.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    vec![vec![1], vec![1, 0xff, 0x1f, 7], vec![0]]
}

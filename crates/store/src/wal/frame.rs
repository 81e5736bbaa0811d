//! Log frames: one record each.
//!
//! The checksum also covers the segment's salt, which changes with each reuse of the file, so that a frame of an
//! earlier use is never accepted.

use crate::envelope::{u32_at, u64_at};

/// `length u32 | checksum u32 | lsn u64 | synced u64`, then the record, then zeros up to a multiple of eight.
pub(super) const HEAD_BYTES: usize = 24;

/// Alignment of frames, which limits the offsets that a search must try.
const ALIGN: usize = 8;

/// Makes the checksums of each use of each segment unique.
pub(super) type Salt = [u8; 24];

/// Why there is no valid frame at an offset.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The checksum does not match.
    #[error("checksum {found:08x}, expected {expected:08x}")]
    Checksum {
        /// Checksum of the bytes.
        found: u32,
        /// Value in the frame.
        expected: u32,
    },
    /// The length exceeds the segment.
    #[error("length must be <= {room} (got {found})")]
    Length {
        /// Value in the frame.
        found: u64,
        /// Bytes left for a record.
        room: u64,
    },
    /// A frame of another record: a lost or misplaced write.
    #[error("record number must be {expected} (got {found})")]
    Order {
        /// Value in the frame.
        found: u64,
        /// Expected record.
        expected: u64,
    },
    /// End of the segment.
    #[error("end of the segment")]
    End,
}

/// A valid frame.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Frame<'a> {
    pub lsn: u64,
    /// Newest record known to be synced when this one was written (the mark).
    pub synced: u64,
    pub record: &'a [u8],
    /// Length including header and padding.
    pub bytes: usize,
}

/// Appends a frame without salt and mark; returns its length.
pub(super) fn encode(out: &mut Vec<u8>, lsn: u64, record: &[u8]) -> usize {
    let start = out.len();
    let length = u32::try_from(record.len()).expect("records are bounded by MAX_RECORD_BYTES");
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&unsalted_checksum(length, lsn, record).to_le_bytes());
    out.extend_from_slice(&lsn.to_le_bytes());
    out.extend_from_slice(&[0; 8]);
    out.extend_from_slice(record);
    let bytes = padded(record.len());
    out.resize(start + bytes, 0);
    bytes
}

/// Sets the mark and the final checksum of all frames in `frames`.
pub(super) fn finish(frames: &mut [u8], salt: &Salt, synced: u64) {
    let mut at = 0;
    while at < frames.len() {
        let frame = &mut frames[at..];
        frame[16..24].copy_from_slice(&synced.to_le_bytes());
        let crc = salted_checksum(u32_at(frame, 4), salt, synced);
        frame[4..8].copy_from_slice(&crc.to_le_bytes());
        at += padded(u32_at(frame, 0) as usize);
    }
}

/// Decodes the frame of record `expected` at offset `at`.
pub(super) fn decode<'a>(segment: &'a [u8], at: usize, salt: &Salt, expected: u64) -> Result<Frame<'a>, Fault> {
    let Some(left) = segment.get(at..).filter(|left| left.len() >= HEAD_BYTES) else { return Err(Fault::End) };
    let (length, stored, lsn, synced) = (u32_at(left, 0), u32_at(left, 4), u64_at(left, 8), u64_at(left, 16));
    let bytes = padded(length as usize);
    if bytes > left.len() {
        let room = (left.len() - HEAD_BYTES) as u64;
        return Err(Fault::Length { found: length.into(), room });
    }
    let record = &left[HEAD_BYTES..HEAD_BYTES + length as usize];
    let found = salted_checksum(unsalted_checksum(length, lsn, record), salt, synced);
    if found != stored {
        return Err(Fault::Checksum { found, expected: stored });
    }
    if lsn != expected || synced >= lsn {
        return Err(Fault::Order { found: lsn, expected });
    }
    Ok(Frame { lsn, synced, record, bytes })
}

/// Bytes after the last valid frame of a log.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Tail {
    /// Largest mark of a valid frame there: records up to it were synced.
    pub synced: u64,
    /// Bytes up to the end of the last trace of a newer frame.
    pub bytes: u64,
}

/// Searches after `at`, where record `expected` is missing, for traces of it and of later records.
pub(super) fn find_tail(segment: &[u8], at: usize, salt: &Salt, expected: u64) -> Tail {
    let mut tail = Tail::default();
    let Some(left) = segment.get(at..) else { return tail };
    if left.len() >= HEAD_BYTES && u64_at(left, 8) == expected {
        tail.bytes = padded(u32_at(left, 0) as usize).min(left.len()) as u64;
    }
    // A frame takes at least 24 bytes, which bounds later record numbers.
    let newest = expected + (left.len() / HEAD_BYTES) as u64;
    for start in (0..left.len().saturating_sub(HEAD_BYTES - 1)).step_by(ALIGN) {
        let lsn = u64_at(left, start + 8);
        if (expected..=newest).contains(&lsn)
            && let Ok(frame) = decode(left, start, salt, lsn)
        {
            tail.synced = tail.synced.max(frame.synced);
            tail.bytes = tail.bytes.max((start + frame.bytes) as u64);
        }
    }
    tail
}

fn padded(record: usize) -> usize {
    (HEAD_BYTES + record).next_multiple_of(ALIGN)
}

fn unsalted_checksum(length: u32, lsn: u64, record: &[u8]) -> u32 {
    let head = crc32c::crc32c_append(crc32c::crc32c(&length.to_le_bytes()), &lsn.to_le_bytes());
    crc32c::crc32c_append(head, record)
}

fn salted_checksum(own: u32, salt: &Salt, synced: u64) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c_append(own, &synced.to_le_bytes()), salt)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn decode_undoes_encode_and_sees_any_change(
            record in prop::collection::vec(any::<u8>(), 0..100),
            lsn in 1u64..,
            salt: Salt,
            at: prop::sample::Index,
            bit in 0u8..8,
        ) {
            let mut bytes = Vec::new();
            let length = encode(&mut bytes, lsn, &record);
            prop_assert_eq!(length, bytes.len());
            finish(&mut bytes, &salt, lsn - 1);
            let frame = decode(&bytes, 0, &salt, lsn).unwrap();
            prop_assert_eq!(frame, Frame { lsn, synced: lsn - 1, record: &record, bytes: length });
            let other = salt.map(|b| b ^ 1);
            prop_assert!(decode(&bytes, 0, &other, lsn).is_err());
            let at = at.index(HEAD_BYTES + record.len());
            bytes[at] ^= 1 << bit;
            prop_assert!(decode(&bytes, 0, &salt, lsn).is_err());
        }

        #[test]
        fn no_bytes_break_the_parser(bytes: Vec<u8>, salt: Salt, at in 0usize..64, lsn in 1u64..9) {
            let _ = decode(&bytes, at, &salt, lsn);
            prop_assert!(find_tail(&bytes, at, &salt, lsn).bytes <= bytes.len() as u64);
        }
    }
}

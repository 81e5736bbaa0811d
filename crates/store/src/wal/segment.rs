//! One file of the log and its header, kept twice.

use std::io;

use super::frame::Salt;
use crate::disk::{Disk, DiskFile};
use crate::seal::{Kind, SealError, seal, u64_at, unseal};

const KIND: Kind = *b"MRDNWAL\0";

/// Format of segments written here.
pub(super) const VERSION: u32 = 1;

/// Distance of the two copies of the header: apart even on disks that write 4 KiB at once.
const COPY_BYTES: usize = 4096;

/// Where frames start.
pub(super) const DATA_START: u64 = 2 * COPY_BYTES as u64;

const BODY_BYTES: usize = 48;

/// What the head of a segment file says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Header {
    pub owner: [u8; 16],
    /// Place of the segment in the log, from 1, without gaps: each use of any file has its own. Zero in a spare never
    /// used.
    pub seq: u64,
    /// The first record in it; all before were synced when this was written.
    pub first_lsn: u64,
    /// The oldest segment still needed when this was written.
    pub oldest_seq: u64,
    /// Length of the file.
    pub segment_bytes: u64,
}

impl Header {
    /// True when no log of ours could have written it.
    pub(super) fn is_absurd(&self) -> bool {
        self.first_lsn == 0 || !(1..=self.seq).contains(&self.oldest_seq) || self.segment_bytes < 2 * DATA_START
    }

    pub(super) fn salt(&self) -> Salt {
        let mut salt = [0; 24];
        salt[..16].copy_from_slice(&self.owner);
        salt[16..].copy_from_slice(&self.seq.to_le_bytes());
        salt
    }

    /// Both copies, as they stand at the start of the file.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut body = Vec::with_capacity(BODY_BYTES);
        body.extend_from_slice(&self.owner);
        for number in [self.seq, self.first_lsn, self.oldest_seq, self.segment_bytes] {
            body.extend_from_slice(&number.to_le_bytes());
        }
        let mut copy = seal(KIND, VERSION, &body);
        copy.resize(COPY_BYTES, 0);
        copy.repeat(2)
    }

    /// The newer sound copy; `None` when the file was never used.
    pub(super) fn decode(segment: &[u8]) -> Result<Option<Self>, SealError> {
        let head = &segment[..segment.len().min(2 * COPY_BYTES)];
        if head.iter().all(|b| *b == 0) {
            return Ok(None);
        }
        let (first, second) = head.split_at(COPY_BYTES.min(head.len()));
        match (Self::decode_copy(first), Self::decode_copy(second)) {
            // A newer release may have begun to use the file.
            (Err(e @ SealError::FutureVersion { .. }), _) | (_, Err(e @ SealError::FutureVersion { .. })) => Err(e),
            (Ok(a), Ok(b)) => Ok(Some(if a.seq >= b.seq { a } else { b })),
            (Ok(sound), Err(_)) | (Err(_), Ok(sound)) => Ok(Some(sound)),
            (Err(e), Err(_)) => Err(e),
        }
    }

    fn decode_copy(copy: &[u8]) -> Result<Self, SealError> {
        let (_, body) = unseal(KIND, VERSION, copy)?;
        if body.len() != BODY_BYTES {
            return Err(SealError::Length { found: body.len() as u64, expected: BODY_BYTES as u64 });
        }
        let mut owner = [0; 16];
        owner.copy_from_slice(&body[..16]);
        let number = |index: usize| u64_at(body, 16 + 8 * index);
        Ok(Self { owner, seq: number(0), first_lsn: number(1), oldest_seq: number(2), segment_bytes: number(3) })
    }
}

/// A segment file.
pub(super) struct Segment<F> {
    pub path: String,
    pub file: F,
    pub header: Header,
}

impl<F: DiskFile> Segment<F> {
    /// A new file of zeros, durable, its name included.
    pub(super) fn create<D: Disk<File = F>>(disk: &D, dir: &str, path: String, bytes: u64) -> io::Result<Self> {
        let file = disk.create(&path, bytes)?;
        file.sync_data()?;
        disk.sync_dir(dir)?;
        Ok(Self { path, file, header: Header { segment_bytes: bytes, ..Header::default() } })
    }

    /// Begins a new use of the file.
    pub(super) fn restart(&mut self, header: Header) -> io::Result<()> {
        self.file.write_at(0, &header.encode())?;
        self.file.sync_data()?;
        self.header = header;
        Ok(())
    }
}

/// Files keep their name for ever; which part of the log they hold stands in the header.
pub(super) fn file_name(slot: u64) -> String {
    format!("slot-{slot:06}.wal")
}

/// The slot of a file name.
pub(super) fn slot_of(name: &str) -> Option<u64> {
    name.strip_prefix("slot-")?.strip_suffix(".wal")?.parse().ok()
}

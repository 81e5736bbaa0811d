//! Segment files, and their header, which is stored twice.

use std::io;

use super::frame::Salt;
use crate::disk::{Disk, DiskFile};
use crate::envelope::{EnvelopeError, Kind, decode_envelope, encode_envelope, u64_at};

const KIND: Kind = *b"MRDNWAL\0";

/// Format version of new segments.
pub(super) const VERSION: u32 = 1;

/// Distance of the two header copies: in different sectors even on disks with 4 KiB sectors.
const COPY_BYTES: usize = 4096;

/// Offset of the first frame.
pub(super) const DATA_START: u64 = 2 * COPY_BYTES as u64;

const BODY_BYTES: usize = 48;

/// Header of a segment file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Header {
    pub owner: [u8; 16],
    /// Number of the segment in the log, from 1, without gaps; each use of a file has its own. Zero in a file that was
    /// never used.
    pub seq: u64,
    /// First record of the segment; all earlier records were synced when this was written.
    pub first_lsn: u64,
    /// Oldest live segment when this was written.
    pub oldest_seq: u64,
    /// Size of the file.
    pub segment_bytes: u64,
}

impl Header {
    /// Whether the header violates an invariant.
    pub(super) fn is_invalid(&self) -> bool {
        self.first_lsn == 0 || !(1..=self.seq).contains(&self.oldest_seq) || self.segment_bytes < 2 * DATA_START
    }

    pub(super) fn salt(&self) -> Salt {
        let mut salt = [0; 24];
        salt[..16].copy_from_slice(&self.owner);
        salt[16..].copy_from_slice(&self.seq.to_le_bytes());
        salt
    }

    /// Encodes both copies, the start of the file.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut body = Vec::with_capacity(BODY_BYTES);
        body.extend_from_slice(&self.owner);
        for number in [self.seq, self.first_lsn, self.oldest_seq, self.segment_bytes] {
            body.extend_from_slice(&number.to_le_bytes());
        }
        let mut copy = encode_envelope(KIND, VERSION, &body);
        copy.resize(COPY_BYTES, 0);
        copy.repeat(2)
    }

    /// Decodes the newer valid copy; `None` when the file was never used.
    pub(super) fn decode(segment: &[u8]) -> Result<Option<Self>, EnvelopeError> {
        let head = &segment[..segment.len().min(2 * COPY_BYTES)];
        if head.iter().all(|b| *b == 0) {
            return Ok(None);
        }
        let (first, second) = head.split_at(COPY_BYTES.min(head.len()));
        match (Self::decode_copy(first), Self::decode_copy(second)) {
            // A newer release may have reused the file.
            (Err(e @ EnvelopeError::FutureVersion { .. }), _) | (_, Err(e @ EnvelopeError::FutureVersion { .. })) => {
                Err(e)
            }
            (Ok(a), Ok(b)) => Ok(Some(if a.seq >= b.seq { a } else { b })),
            (Ok(sound), Err(_)) | (Err(_), Ok(sound)) => Ok(Some(sound)),
            (Err(e), Err(_)) => Err(e),
        }
    }

    fn decode_copy(copy: &[u8]) -> Result<Self, EnvelopeError> {
        let (_, body) = decode_envelope(KIND, VERSION, copy)?;
        if body.len() != BODY_BYTES {
            return Err(EnvelopeError::Length { found: body.len() as u64, expected: BODY_BYTES as u64 });
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
    /// Creates a durable file of zeros.
    pub(super) fn create<D: Disk<File = F>>(disk: &D, dir: &str, path: String, bytes: u64) -> io::Result<Self> {
        let file = disk.create(&path, bytes)?;
        file.sync_data()?;
        disk.sync_dir(dir)?;
        Ok(Self { path, file, header: Header { segment_bytes: bytes, ..Header::default() } })
    }

    /// Writes a new header, for the first use or reuse of the file.
    pub(super) fn restart(&mut self, header: Header) -> io::Result<()> {
        self.file.write_at(0, &header.encode())?;
        self.file.sync_data()?;
        self.header = header;
        Ok(())
    }
}

/// A file keeps its name for ever; its header determines its place in the log.
pub(super) fn file_name(slot: u64) -> String {
    format!("slot-{slot:06}.wal")
}

/// Parses the slot of a file name.
pub(super) fn slot_of(name: &str) -> Option<u64> {
    name.strip_prefix("slot-")?.strip_suffix(".wal")?.parse().ok()
}

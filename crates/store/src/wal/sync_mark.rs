//! The sync mark: the newest synced record, in a small file that is itself never synced. It survives process crashes
//! and most system crashes, and distinguishes damage in the last commit from a torn tail.

use std::io;

use super::OpenError;
use crate::disk::{Disk, DiskFile, read_whole};
use crate::envelope::{EnvelopeError, Kind, decode_envelope, encode_envelope, u64_at};

const KIND: Kind = *b"MRDNMARK";
const VERSION: u32 = 1;
const BODY_BYTES: usize = 24;
const FILE_BYTES: u64 = 512;

pub(super) struct SyncMark<F> {
    pub path: String,
    owner: [u8; 16],
    file: F,
}

impl<F: DiskFile> SyncMark<F> {
    /// Opens the file, or creates it.
    pub(super) fn open<D: Disk<File = F>>(disk: &D, path: String, owner: [u8; 16]) -> io::Result<Self> {
        let file = match disk.open(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => disk.create(&path, FILE_BYTES)?,
            other => other?,
        };
        Ok(Self { path, owner, file })
    }

    pub(super) fn write(&self, synced: u64) -> io::Result<()> {
        let mut body = [0; BODY_BYTES];
        body[..16].copy_from_slice(&self.owner);
        body[16..].copy_from_slice(&synced.to_le_bytes());
        self.file.write_at(0, &encode_envelope(KIND, VERSION, &body))
    }
}

/// Reads the mark; 0 when the file is missing or damaged, which is safe: a mark only adds proof of damage.
pub(super) fn read<D: Disk>(disk: &D, path: &str, owner: [u8; 16]) -> Result<u64, OpenError> {
    match read_any(disk, path)? {
        Some((found, _)) if found != owner => Err(OpenError::Foreign { file: path.into(), found, expected: owner }),
        mark => Ok(mark.map_or(0, |(_, synced)| synced)),
    }
}

/// Reads the mark and its owner; `None` when the file is missing or damaged.
pub(super) fn read_any<D: Disk>(disk: &D, path: &str) -> Result<Option<([u8; 16], u64)>, OpenError> {
    let failed = |source| OpenError::Disk { file: path.into(), source };
    let bytes = match disk.open(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => {
            let file = file.map_err(failed)?;
            if file.bytes().map_err(failed)? > FILE_BYTES {
                return Ok(None);
            }
            read_whole(&file, FILE_BYTES).map_err(failed)?
        }
    };
    match decode_envelope(KIND, VERSION, &bytes) {
        Ok((_, body)) if body.len() == BODY_BYTES => {
            let mut owner = [0; 16];
            owner.copy_from_slice(&body[..16]);
            Ok(Some((owner, u64_at(body, 16))))
        }
        Err(EnvelopeError::FutureVersion { found, supported }) => {
            Err(OpenError::FutureVersion { file: path.into(), found, supported })
        }
        _ => Ok(None),
    }
}

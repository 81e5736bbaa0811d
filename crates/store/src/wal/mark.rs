//! How far the log was synced, in a tiny file that is itself never synced: it survives the end of the process, and
//! mostly more. It lets a reader tell damage in the last commit from a torn tail.

use std::io;

use super::OpenError;
use crate::disk::{Disk, DiskFile, read_whole};
use crate::seal::{Kind, SealError, seal, u64_at, unseal};

const KIND: Kind = *b"MRDNMARK";
const VERSION: u32 = 1;
const BODY_BYTES: usize = 24;
const FILE_BYTES: u64 = 512;

pub(super) struct Mark<F> {
    pub path: String,
    owner: [u8; 16],
    file: F,
}

impl<F: DiskFile> Mark<F> {
    /// Opens the file, or makes it.
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
        self.file.write_at(0, &seal(KIND, VERSION, &body))
    }
}

/// The mark in the file; zero when there is none, or it is torn or damaged: it only ever adds suspicion.
pub(super) fn read<D: Disk>(disk: &D, path: &str, owner: [u8; 16]) -> Result<u64, OpenError> {
    match read_any(disk, path)? {
        Some((found, _)) if found != owner => Err(OpenError::Foreign { file: path.into(), found, expected: owner }),
        mark => Ok(mark.map_or(0, |(_, synced)| synced)),
    }
}

/// The mark in the file and whose it is; none when there is none, or it is torn or damaged.
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
    match unseal(KIND, VERSION, &bytes) {
        Ok((_, body)) if body.len() == BODY_BYTES => {
            let mut owner = [0; 16];
            owner.copy_from_slice(&body[..16]);
            Ok(Some((owner, u64_at(body, 16))))
        }
        Err(SealError::FutureVersion { found, supported }) => {
            Err(OpenError::FutureVersion { file: path.into(), found, supported })
        }
        _ => Ok(None),
    }
}

//! Small files that are replaced as a whole: after a crash the old content stands, or the new.

use std::io;

use crate::disk::{Disk, DiskFile, read_whole, split};
use crate::seal::{ENVELOPE_BYTES, Kind, SealError, seal, unseal};

const KIND: Kind = *b"MRDNFILE";

/// Largest content of a file written by [`write_atomic`]: it is held in memory twice. 64 MiB.
pub const MAX_ATOMIC_BYTES: u64 = 64 << 20;

/// Why a small file could not be read or replaced.
#[derive(Debug, thiserror::Error)]
pub enum AtomicError {
    /// The disk refused.
    #[error("{file}")]
    Disk {
        /// The file.
        file: String,
        /// What the disk said.
        source: io::Error,
    },
    /// The content is damaged, of another kind, or of a newer version.
    #[error("{file}")]
    Content {
        /// The file.
        file: String,
        /// What is wrong with it.
        source: SealError,
    },
}

/// Replaces the file `path` by `bytes`, whose meaning has format `version` (from 1). Durable when it returns.
///
/// # Errors
/// When the disk refuses; the old content or the new then stands.
pub fn write_atomic(disk: &impl Disk, path: &str, version: u32, bytes: &[u8]) -> Result<(), AtomicError> {
    let write = || {
        if bytes.len() as u64 > MAX_ATOMIC_BYTES {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let (folder, _) = split(path)?;
        let draft = format!("{path}.tmp");
        let file = disk.create(&draft, 0)?;
        file.write_at(0, &seal(KIND, version, bytes))?;
        file.sync_data()?;
        disk.rename(&draft, path)?;
        disk.sync_dir(folder)
    };
    write().map_err(|source| AtomicError::Disk { file: path.into(), source })
}

/// The content of a file written by [`write_atomic`] and its version, at most `supported`; `None` when there is none.
///
/// # Errors
/// When the disk refuses, or the content is damaged or newer than `supported`.
pub fn read_atomic(disk: &impl Disk, path: &str, supported: u32) -> Result<Option<(u32, Vec<u8>)>, AtomicError> {
    let file = match disk.open(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other,
    };
    let max = MAX_ATOMIC_BYTES + ENVELOPE_BYTES as u64;
    let sealed = file
        .and_then(|file| read_whole(&file, max))
        .map_err(|source| AtomicError::Disk { file: path.into(), source })?;
    match unseal(KIND, supported, &sealed) {
        Ok((version, bytes)) => Ok(Some((version, bytes.to_vec()))),
        Err(source) => Err(AtomicError::Content { file: path.into(), source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SimDisk;

    #[test]
    fn a_crash_at_any_operation_leaves_the_old_content_or_the_new() {
        for coin in [0, 1, 2] {
            for at in 1.. {
                let disk = SimDisk::new();
                write_atomic(&disk, "id", 1, b"old").unwrap();
                disk.crash_at(at);
                let done = write_atomic(&disk, "id", 1, b"new").is_ok();
                disk.crash(&mut |n| coin % n);
                let (_, found) = read_atomic(&disk, "id", 1).unwrap().unwrap();
                assert!(found == b"new" || (!done && found == b"old"), "operation {at}: {found:?}");
                if done {
                    break;
                }
            }
        }
    }

    #[test]
    fn damage_and_the_future_are_told_apart() {
        let disk = SimDisk::new();
        assert!(read_atomic(&disk, "id", 1).unwrap().is_none());
        write_atomic(&disk, "id", 3, b"x").unwrap();
        let check = |supported| match read_atomic(&disk, "id", supported) {
            Err(AtomicError::Content { source, .. }) => source,
            other => panic!("{other:?}"),
        };
        assert_eq!(check(2), SealError::FutureVersion { found: 3, supported: 2 });
        disk.flip("id", 24, 1).unwrap();
        assert!(matches!(check(3), SealError::Checksum { .. }));
    }
}

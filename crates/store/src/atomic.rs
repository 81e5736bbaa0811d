//! Small files that are replaced atomically: a crash leaves the old content or the new.

use std::io;

use crate::disk::{Disk, DiskFile, read_whole, split};
use crate::envelope::{ENVELOPE_BYTES, EnvelopeError, Kind, decode_envelope, encode_envelope};

const KIND: Kind = *b"MRDNFILE";

/// Size limit of the content, which is held in memory twice: 64 MiB.
pub const MAX_ATOMIC_BYTES: u64 = 64 << 20;

/// Why a small file could not be read or replaced.
#[derive(Debug, thiserror::Error)]
pub enum AtomicError {
    /// I/O error.
    #[error("{file}")]
    Disk {
        /// Path of the file.
        file: String,
        /// Cause.
        source: io::Error,
    },
    /// The content is damaged, of another kind, or of a newer version.
    #[error("{file}")]
    Content {
        /// Path of the file.
        file: String,
        /// Cause.
        source: EnvelopeError,
    },
}

/// Replaces the content of `path`; `version` (from 1) is the format version of `bytes`. Durable on return.
///
/// # Errors
/// On I/O errors; the file then has the old content or the new.
pub fn write_atomic(disk: &impl Disk, path: &str, version: u32, bytes: &[u8]) -> Result<(), AtomicError> {
    let write = || {
        if bytes.len() as u64 > MAX_ATOMIC_BYTES {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let (folder, _) = split(path)?;
        let draft = format!("{path}.tmp");
        let file = disk.create(&draft, 0)?;
        file.write_at(0, &encode_envelope(KIND, version, bytes))?;
        file.sync_data()?;
        disk.rename(&draft, path)?;
        disk.sync_dir(folder)
    };
    write().map_err(|source| AtomicError::Disk { file: path.into(), source })
}

/// Reads a file written by [`write_atomic`]: its version, at most `supported`, and content; `None` when it does not exist.
///
/// # Errors
/// On I/O errors, or when the content is damaged or newer than `supported`.
pub fn read_atomic(disk: &impl Disk, path: &str, supported: u32) -> Result<Option<(u32, Vec<u8>)>, AtomicError> {
    let file = match disk.open(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other,
    };
    let max = MAX_ATOMIC_BYTES + ENVELOPE_BYTES as u64;
    let sealed = file
        .and_then(|file| read_whole(&file, max))
        .map_err(|source| AtomicError::Disk { file: path.into(), source })?;
    match decode_envelope(KIND, supported, &sealed) {
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
    fn damage_and_newer_versions_are_distinguished() {
        let disk = SimDisk::new();
        assert!(read_atomic(&disk, "id", 1).unwrap().is_none());
        write_atomic(&disk, "id", 3, b"x").unwrap();
        let check = |supported| match read_atomic(&disk, "id", supported) {
            Err(AtomicError::Content { source, .. }) => source,
            other => panic!("{other:?}"),
        };
        assert_eq!(check(2), EnvelopeError::FutureVersion { found: 3, supported: 2 });
        disk.flip("id", 24, 1).unwrap();
        assert!(matches!(check(3), EnvelopeError::Checksum { .. }));
    }
}

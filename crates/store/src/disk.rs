//! The disk interface.

use std::io;

/// A folder of files that can be made durable.
///
/// Paths are relative; components are separated by `/`, consist of `A-Z a-z 0-9 . _ -` and do not start with `..`.
/// Others fail with [`io::ErrorKind::InvalidInput`]. The empty path is the folder itself. Clones share the folder.
///
/// **Durability**: contents by [`DiskFile::sync_data`]; names (create, rename, remove) by [`Disk::sync_dir`] of their folder.
/// A crash may lose everything else, in any part and any order.
pub trait Disk: Clone + Send + Sync + 'static {
    /// An open file.
    type File: DiskFile;

    /// Creates a file of `bytes` zeros, replacing any file of that name. A failure leaves no file.
    ///
    /// # Errors
    /// [`io::ErrorKind::StorageFull`] when the disk lacks the space.
    fn create(&self, path: &str, bytes: u64) -> io::Result<Self::File>;

    /// Opens a file for reading and writing.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] when it does not exist.
    fn open(&self, path: &str) -> io::Result<Self::File>;

    /// Renames a file or folder within its folder, atomically; replaces a file of the new name.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] when the folders differ.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] when it does not exist.
    fn remove(&self, path: &str) -> io::Result<()>;

    /// Creates a folder; succeeds if it exists.
    ///
    /// # Errors
    /// When the parent folder does not exist.
    fn create_dir(&self, path: &str) -> io::Result<()>;

    /// Removes an empty folder.
    ///
    /// # Errors
    /// When it does not exist or is not empty.
    fn remove_dir(&self, path: &str) -> io::Result<()>;

    /// Lists the names in a folder, sorted, including names that [`Disk`] could not create. Omits `lost+found`, which
    /// every new ext4 volume contains.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] when the folder does not exist.
    fn list(&self, path: &str) -> io::Result<Vec<String>>;

    /// Makes the names in a folder durable.
    ///
    /// # Errors
    /// I/O errors; the names may then be lost.
    fn sync_dir(&self, path: &str) -> io::Result<()>;

    /// Free bytes.
    ///
    /// # Errors
    /// I/O errors.
    fn free_bytes(&self) -> io::Result<u64>;
}

/// An open file of a [`Disk`].
pub trait DiskFile: Send + Sync + 'static {
    /// Fills `into` from `offset`.
    ///
    /// # Errors
    /// [`io::ErrorKind::UnexpectedEof`] when the file is shorter.
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()>;

    /// Writes all of `bytes` at `offset`; extends the file if necessary.
    ///
    /// # Errors
    /// I/O errors; any part may then be written.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Makes all earlier writes and the file length durable (`fdatasync`).
    ///
    /// # Errors
    /// I/O errors. A failed sync must not be retried: the system may have dropped the pages ("Can Applications
    /// Recover from fsync Failures?", ATC 2020).
    fn sync_data(&self) -> io::Result<()>;

    /// Length in bytes.
    ///
    /// # Errors
    /// I/O errors.
    fn bytes(&self) -> io::Result<u64>;
}

/// Reads a whole file of at most `max` bytes.
pub(crate) fn read_whole(file: &impl DiskFile, max: u64) -> io::Result<Vec<u8>> {
    let bytes = file.bytes()?;
    if bytes > max {
        let message = format!("file length must be <= {max} bytes (got {bytes})");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
    }
    let mut all = vec![0; usize::try_from(bytes).map_err(io::Error::other)?];
    file.read_at(0, &mut all)?;
    Ok(all)
}

/// Validates a path and splits it into folder and name.
pub(crate) fn split(path: &str) -> io::Result<(&str, &str)> {
    check(path)?;
    if path.is_empty() {
        return Err(refused(path));
    }
    Ok(path.rsplit_once('/').unwrap_or(("", path)))
}

/// Validates a path; an invalid one could leave the folder.
pub(crate) fn check(path: &str) -> io::Result<()> {
    let is_allowed_char = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let is_valid_part =
        |part: &str| !part.is_empty() && part != "." && !part.starts_with("..") && part.chars().all(is_allowed_char);
    if path.is_empty() || path.split('/').all(is_valid_part) { Ok(()) } else { Err(refused(path)) }
}

fn refused(path: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, format!("path must be relative and within the folder (got {path:?})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_path_leaves_the_folder() {
        for bad in ["/etc", "..", "a/../b", "a//b", "a/", ".", "a/./b", "a\\b", "a\0", "ä"] {
            assert_eq!(check(bad).unwrap_err().kind(), io::ErrorKind::InvalidInput, "{bad:?}");
        }
        for good in ["", "a", "snap/01.tmp/f-1_x"] {
            check(good).unwrap();
        }
        assert!(split("").is_err());
        assert_eq!(split("a/b/c").unwrap(), ("a/b", "c"));
    }
}

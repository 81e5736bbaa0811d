//! What a disk can do, and nothing more.

use std::io;

/// A folder of files that can be made durable.
///
/// Paths are relative, parts joined by `/`, each part from `A-Z a-z 0-9 . _ -` and not starting with `..`; anything
/// else is [`io::ErrorKind::InvalidInput`]. The empty path is the folder itself. Clones share the folder.
///
/// **Durability**: bytes by [`DiskFile::sync_data`]; names (create, rename, remove) by [`Disk::sync_dir`] of the folder
/// that holds them. What neither covered may be lost by a crash, in any part and any order.
pub trait Disk: Clone + Send + Sync + 'static {
    /// An open file.
    type File: DiskFile;

    /// Makes a file of `bytes` written zeros, in place of any file of that name. A failure leaves none.
    ///
    /// # Errors
    /// [`io::ErrorKind::StorageFull`] when the space is not there.
    fn create(&self, path: &str, bytes: u64) -> io::Result<Self::File>;

    /// Opens a file to read and write.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] when there is none.
    fn open(&self, path: &str) -> io::Result<Self::File>;

    /// Gives a file or folder another name in the same folder, in one step; replaces a file of that name.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] when the folders differ.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] when there is none.
    fn remove(&self, path: &str) -> io::Result<()>;

    /// Makes a folder; one that is there already is fine.
    ///
    /// # Errors
    /// When the folder above is missing.
    fn create_dir(&self, path: &str) -> io::Result<()>;

    /// Removes an empty folder.
    ///
    /// # Errors
    /// When it is missing or not empty.
    fn remove_dir(&self, path: &str) -> io::Result<()>;

    /// The names in a folder, sorted, those that no [`Disk`] could have made too. `lost+found`, which every new ext4 volume
    /// holds, is left out.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] when there is no such folder.
    fn list(&self, path: &str) -> io::Result<Vec<String>>;

    /// Makes the names in a folder durable.
    ///
    /// # Errors
    /// As the system reports; the names may then be lost.
    fn sync_dir(&self, path: &str) -> io::Result<()>;

    /// Bytes that can still be written.
    ///
    /// # Errors
    /// As the system reports.
    fn free_bytes(&self) -> io::Result<u64>;
}

/// An open file of a [`Disk`].
pub trait DiskFile: Send + Sync + 'static {
    /// Fills `into` from `offset`.
    ///
    /// # Errors
    /// [`io::ErrorKind::UnexpectedEof`] when the file is shorter.
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()>;

    /// Writes all of `bytes` at `offset`; writing past the end makes the file longer.
    ///
    /// # Errors
    /// As the system reports; any part may then be written.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Makes all writes before it durable (`fdatasync`), the length included.
    ///
    /// # Errors
    /// As the system reports. It must not be tried again: the system may have dropped the bytes ("Can Applications
    /// Recover from fsync Failures?", ATC 2020).
    fn sync_data(&self) -> io::Result<()>;

    /// Length in bytes.
    ///
    /// # Errors
    /// As the system reports.
    fn bytes(&self) -> io::Result<u64>;
}

/// Reads a whole file of at most `max` bytes.
pub(crate) fn read_whole(file: &impl DiskFile, max: u64) -> io::Result<Vec<u8>> {
    let bytes = file.bytes()?;
    if bytes > max {
        let told = format!("{bytes} bytes, at most {max} are possible");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, told));
    }
    let mut all = vec![0; usize::try_from(bytes).map_err(io::Error::other)?];
    file.read_at(0, &mut all)?;
    Ok(all)
}

/// Splits a checked path into the folder and the name in it.
pub(crate) fn split(path: &str) -> io::Result<(&str, &str)> {
    check(path)?;
    if path.is_empty() {
        return Err(refused(path));
    }
    Ok(path.rsplit_once('/').unwrap_or(("", path)))
}

/// Refuses a path that could leave the folder.
pub(crate) fn check(path: &str) -> io::Result<()> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let fine = |part: &str| !part.is_empty() && part != "." && !part.starts_with("..") && part.chars().all(plain);
    if path.is_empty() || path.split('/').all(fine) { Ok(()) } else { Err(refused(path)) }
}

fn refused(path: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, format!("{path:?} is no path inside the folder"))
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

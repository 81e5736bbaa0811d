//! The production disk: a folder of a file system.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::disk::{Disk, DiskFile, check, split};

/// Zeros per write when a file is created: large enough for full throughput, small enough for the cache.
const ZEROS: &[u8] = &[0; 256 * 1024];

/// Lock file; one process at a time may hold it.
const LOCK: &str = ".lock";

/// A folder that mkfs creates on every new ext4 volume.
const LOST_AND_FOUND: &str = "lost+found";

/// A folder, locked by this process.
#[derive(Debug, Clone)]
pub struct RealDisk(Arc<LockedFolder>);

#[derive(Debug)]
struct LockedFolder {
    root: PathBuf,
    /// Held while any clone exists.
    _lock: File,
}

/// An open file of a [`RealDisk`].
#[derive(Debug)]
pub struct RealFile(File);

impl RealDisk {
    /// Opens the folder `root`, creates it if missing, and locks it against other processes.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] when another process has locked it.
    pub fn open(root: &Path) -> io::Result<Self> {
        fs::create_dir_all(root)?;
        if let Some(parent) = root.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            File::open(parent)?.sync_all()?;
        }
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(root.join(LOCK))?;
        lock.try_lock().map_err(io::Error::from)?;
        Ok(Self(Arc::new(LockedFolder { root: root.into(), _lock: lock })))
    }

    /// Absolute path of `path` in the file system, for memory mapping.
    ///
    /// # Errors
    /// When `path` is invalid.
    pub fn locate(&self, path: &str) -> io::Result<PathBuf> {
        check(path)?;
        Ok(if path.is_empty() { self.0.root.clone() } else { self.0.root.join(path) })
    }
}

impl Disk for RealDisk {
    type File = RealFile;

    fn create(&self, path: &str, bytes: u64) -> io::Result<RealFile> {
        let full_path = self.locate(path)?;
        match fs::remove_file(&full_path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(&full_path)?;
        // Zeros are written, not only allocated: an fdatasync over unwritten extents must also update metadata.
        let mut at = 0;
        while at < bytes {
            let part = ZEROS.len().min(usize::try_from(bytes - at).unwrap_or(usize::MAX));
            if let Err(e) = file.write_all_at(&ZEROS[..part], at) {
                // Report the first error.
                let _ = fs::remove_file(&full_path);
                return Err(e);
            }
            at += part as u64;
        }
        Ok(RealFile(file))
    }

    fn open(&self, path: &str) -> io::Result<RealFile> {
        OpenOptions::new().read(true).write(true).open(self.locate(path)?).map(RealFile)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        same_folder(from, to)?;
        fs::rename(self.locate(from)?, self.locate(to)?)
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        fs::remove_file(self.locate(path)?)
    }

    fn create_dir(&self, path: &str) -> io::Result<()> {
        match fs::create_dir(self.locate(path)?) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            other => other,
        }
    }

    fn remove_dir(&self, path: &str) -> io::Result<()> {
        fs::remove_dir(self.locate(path)?)
    }

    fn list(&self, path: &str) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(self.locate(path)?)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if name != LOCK && name != LOST_AND_FOUND {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    fn sync_dir(&self, path: &str) -> io::Result<()> {
        File::open(self.locate(path)?)?.sync_all()
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let stat = rustix::fs::statvfs(&self.0.root)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }
}

impl DiskFile for RealFile {
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(into, offset)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn bytes(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }
}

/// Refuses renames across folders, which would need two syncs and could leave both names or none.
pub(crate) fn same_folder(from: &str, to: &str) -> io::Result<()> {
    if split(from)?.0 == split(to)?.0 {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::InvalidInput, format!("rename {from} to {to}: the folders must be equal")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_process_holds_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let held = RealDisk::open(folder.path()).unwrap();
        assert_eq!(RealDisk::open(folder.path()).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        drop(held);
        RealDisk::open(folder.path()).unwrap();
    }

    #[test]
    fn foreign_names_are_listed_and_lost_and_found_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let disk = RealDisk::open(folder.path()).unwrap();
        assert!(disk.list("").unwrap().is_empty());
        fs::create_dir(folder.path().join("lost+found")).unwrap();
        fs::write(folder.path().join("a b"), "").unwrap();
        assert_eq!(disk.list("").unwrap(), ["a b"]);
    }

    #[test]
    fn files_are_created_renamed_and_removed_in_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let disk = RealDisk::open(folder.path()).unwrap();
        disk.create_dir("d").unwrap();
        let file = disk.create("d/a", 5000).unwrap();
        file.write_at(4999, b"xy").unwrap();
        file.sync_data().unwrap();
        disk.rename("d/a", "d/b").unwrap();
        disk.sync_dir("d").unwrap();
        assert_eq!(disk.open("d/b").unwrap().bytes().unwrap(), 5001);
        assert_eq!((disk.list("").unwrap(), disk.list("d").unwrap()), (vec!["d".into()], vec!["b".into()]));
        assert!(disk.rename("d/b", "b").is_err());
        assert!(disk.open("../x").is_err());
        assert!(disk.free_bytes().unwrap() > 0);
        disk.remove("d/b").unwrap();
        disk.remove_dir("d").unwrap();
    }
}

//! Snapshots: immutable files with checksums, and a manifest that appears atomically.

mod install;
mod manifest;
mod writer;

use std::io;

use crate::disk::{Disk, DiskFile, read_whole};
pub use install::{CHUNK_BYTES, Chunk, Install, InstallError};
pub use manifest::{FileEntry, MAX_FILES, MAX_MANIFEST_BYTES, Manifest, ManifestError, SnapshotId};
pub use writer::{FileWriter, SnapshotWriter};

const MANIFEST_FILE: &str = "MANIFEST";
const PROGRESS_FILE: &str = "PROGRESS";

/// Suffixes of folders of snapshots being written, received and removed; none of them is a snapshot.
const DRAFT_SUFFIX: &str = ".draft";
const INSTALL_SUFFIX: &str = ".install";
const REMOVED_SUFFIX: &str = ".gone";

/// Why a snapshot could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// I/O error.
    #[error("{file}")]
    Disk {
        /// Path of the file or folder.
        file: String,
        /// Cause.
        source: io::Error,
    },
    /// The manifest is damaged, newer, or cannot be encoded.
    #[error("{file}")]
    Manifest {
        /// Path of the file.
        file: String,
        /// Cause.
        source: ManifestError,
    },
    /// A file does not match the manifest.
    #[error("{file}: {found_bytes} bytes with hash {found}, expected {expected_bytes} with {expected}")]
    Damaged {
        /// Path of the file.
        file: String,
        /// Length of the file.
        found_bytes: u64,
        /// BLAKE3 of its content; empty when the length differs already.
        found: String,
        /// Length in the manifest.
        expected_bytes: u64,
        /// Hash in the manifest.
        expected: String,
    },
    /// A snapshot of this id exists.
    #[error("snapshot {0} exists")]
    Exists(SnapshotId),
    /// The file name is invalid, a duplicate, or not in the snapshot.
    #[error("file name is invalid, a duplicate or unknown (got {0:?})")]
    Name(String),
}

/// The snapshots in one folder.
#[derive(Debug, Clone)]
pub struct Snapshots<D: Disk> {
    disk: D,
    dir: String,
}

/// Result of [`Snapshots::newest`].
#[derive(Debug)]
pub struct Newest<D: Disk> {
    /// Newest undamaged snapshot.
    pub snapshot: Option<Snapshot<D>>,
    /// Newer, damaged snapshots. A log that was released up to one of them does not continue an older snapshot.
    pub refused: Vec<(SnapshotId, SnapshotError)>,
}

/// One snapshot on disk.
#[derive(Debug, Clone)]
pub struct Snapshot<D: Disk> {
    disk: D,
    dir: String,
    manifest: Manifest,
}

impl<D: Disk> Snapshots<D> {
    /// Opens the folder `dir`, creates it if missing, and removes unfinished drafts. An unfinished install is kept.
    ///
    /// # Errors
    /// On I/O errors.
    pub fn open(disk: &D, dir: &str) -> Result<Self, SnapshotError> {
        let this = Self { disk: disk.clone(), dir: dir.into() };
        let parent = dir.rsplit_once('/').map_or("", |(parent, _)| parent);
        disk.create_dir(dir).and_then(|()| disk.sync_dir(parent)).map_err(disk_error(dir))?;
        for name in disk.list(dir).map_err(disk_error(dir))? {
            if name.ends_with(DRAFT_SUFFIX) || name.ends_with(REMOVED_SUFFIX) {
                this.remove_folder(&format!("{dir}/{name}"))?;
            }
        }
        Ok(this)
    }

    /// The snapshots in the folder `dir` as they are: nothing is made or removed, also when the folder is missing.
    #[must_use]
    pub fn as_they_are(disk: &D, dir: &str) -> Self {
        Self { disk: disk.clone(), dir: dir.into() }
    }

    /// Ids of all snapshots, ascending.
    ///
    /// # Errors
    /// On I/O errors.
    pub fn list(&self) -> Result<Vec<SnapshotId>, SnapshotError> {
        let names = match self.disk.list(&self.dir) {
            Err(fault) if fault.kind() == io::ErrorKind::NotFound => Vec::new(),
            names => names.map_err(disk_error(&self.dir))?,
        };
        let mut ids: Vec<_> = names.iter().filter_map(|name| id_of(name)).collect();
        ids.sort();
        Ok(ids)
    }

    /// Opens a snapshot: verifies the manifest, and the presence and length of its files. Contents: [`Snapshot::verify`].
    ///
    /// # Errors
    /// When that fails.
    pub fn snapshot(&self, id: SnapshotId) -> Result<Snapshot<D>, SnapshotError> {
        Snapshot::open(&self.disk, self.path(id, ""), id)
    }

    /// The newest snapshot whose files all match their hashes. Cost: reads all files.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn newest(&self) -> Result<Newest<D>, SnapshotError> {
        let mut refused = Vec::new();
        for id in self.list()?.into_iter().rev() {
            match self.snapshot(id).and_then(|snapshot| snapshot.verify().map(|()| snapshot)) {
                Ok(snapshot) => return Ok(Newest { snapshot: Some(snapshot), refused }),
                Err(e) => refused.push((id, e)),
            }
        }
        Ok(Newest { snapshot: None, refused })
    }

    /// Starts to write a snapshot.
    ///
    /// # Errors
    /// [`SnapshotError::Exists`] when the id is in use.
    pub fn write(&self, id: SnapshotId) -> Result<SnapshotWriter<D>, SnapshotError> {
        if self.list()?.contains(&id) {
            return Err(SnapshotError::Exists(id));
        }
        let draft = self.path(id, DRAFT_SUFFIX);
        self.remove_folder(&draft)?;
        self.disk.create_dir(&draft).map_err(disk_error(&draft))?;
        Ok(SnapshotWriter::new(self.clone(), id, draft))
    }

    /// Starts or resumes receiving a snapshot with this encoded manifest.
    ///
    /// # Errors
    /// When the manifest is invalid, the snapshot exists, or on I/O errors.
    pub fn install(&self, manifest: &[u8]) -> Result<Install<D>, InstallError> {
        Install::begin(self, manifest, CHUNK_BYTES)
    }

    /// As [`Snapshots::install`] with another chunk length, for tests.
    ///
    /// # Errors
    /// As [`Snapshots::install`].
    ///
    /// # Panics
    /// When `chunk_bytes` is zero.
    pub fn install_with_chunk_bytes(&self, manifest: &[u8], chunk_bytes: u64) -> Result<Install<D>, InstallError> {
        assert!(chunk_bytes > 0, "chunks hold something");
        Install::begin(self, manifest, chunk_bytes)
    }

    /// Removes all snapshots older than `before`, each atomically; returns their number.
    ///
    /// # Errors
    /// On I/O errors; the rest is removed by the next [`Snapshots::open`].
    pub fn remove_older(&self, before: SnapshotId) -> Result<usize, SnapshotError> {
        let old: Vec<_> = self.list()?.into_iter().filter(|id| *id < before).collect();
        for id in &old {
            self.remove(*id)?;
        }
        Ok(old.len())
    }

    /// Removes one snapshot, damaged or not.
    ///
    /// # Errors
    /// On I/O errors.
    pub fn remove(&self, id: SnapshotId) -> Result<(), SnapshotError> {
        let (path, gone) = (self.path(id, ""), self.path(id, REMOVED_SUFFIX));
        self.remove_folder(&gone)?;
        self.disk.rename(&path, &gone).and_then(|()| self.disk.sync_dir(&self.dir)).map_err(disk_error(&path))?;
        self.remove_folder(&gone)
    }

    /// Publishes the folder `draft` as snapshot `id`. Its files must be synced.
    fn publish(&self, draft: &str, id: SnapshotId) -> Result<(), SnapshotError> {
        let path = self.path(id, "");
        self.disk.sync_dir(draft).map_err(disk_error(draft))?;
        self.disk.rename(draft, &path).and_then(|()| self.disk.sync_dir(&self.dir)).map_err(disk_error(&path))
    }

    fn path(&self, id: SnapshotId, suffix: &str) -> String {
        format!("{}/{:020}{suffix}", self.dir, id.0)
    }

    /// Removes a folder and its files, if it exists.
    fn remove_folder(&self, folder: &str) -> Result<(), SnapshotError> {
        let names = match self.disk.list(folder) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            names => names.map_err(disk_error(folder))?,
        };
        for name in names {
            let file = format!("{folder}/{name}");
            self.disk.remove(&file).map_err(disk_error(&file))?;
        }
        self.disk.remove_dir(folder).map_err(disk_error(folder))
    }
}

impl<D: Disk> Snapshot<D> {
    fn open(disk: &D, dir: String, id: SnapshotId) -> Result<Self, SnapshotError> {
        let path = format!("{dir}/{MANIFEST_FILE}");
        let bytes =
            disk.open(&path).and_then(|file| read_whole(&file, MAX_MANIFEST_BYTES)).map_err(disk_error(&path))?;
        let manifest =
            Manifest::decode(&bytes).map_err(|source| SnapshotError::Manifest { file: path.clone(), source })?;
        if manifest.id != id {
            return Err(SnapshotError::Name(path));
        }
        let this = Self { disk: disk.clone(), dir, manifest };
        for entry in &this.manifest.files {
            this.open_file(entry)?;
        }
        Ok(this)
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> SnapshotId {
        self.manifest.id
    }

    /// Metadata of the caller.
    #[must_use]
    pub fn meta(&self) -> &[u8] {
        &self.manifest.meta
    }

    /// Its manifest.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Path of a file on the [`Disk`], for memory mapping.
    ///
    /// # Errors
    /// [`SnapshotError::Name`] when the snapshot has no such file.
    pub fn path(&self, name: &str) -> Result<String, SnapshotError> {
        self.entry(name).map(|entry| self.file_path(entry))
    }

    /// Reads a whole file and verifies its hash.
    ///
    /// # Errors
    /// [`SnapshotError::Damaged`] when it does not match the manifest.
    pub fn read(&self, name: &str) -> Result<Vec<u8>, SnapshotError> {
        let entry = self.entry(name)?;
        let bytes = read_whole(&self.open_file(entry)?, entry.bytes).map_err(disk_error(&self.file_path(entry)))?;
        self.check_hash(entry, blake3::hash(&bytes))?;
        Ok(bytes)
    }

    /// Opens a file for sequential reading; also returns its length. The read that reaches the end fails with
    /// [`io::ErrorKind::InvalidData`] when the hash does not match: until then, the content is unverified.
    ///
    /// # Errors
    /// When the file does not exist or has another length, or on I/O errors.
    pub fn reader(&self, name: &str) -> Result<(FileReader<D>, u64), SnapshotError> {
        let entry = self.entry(name)?;
        let file = self.open_file(entry)?;
        let (path, entry) = (self.file_path(entry), entry.clone());
        let bytes = entry.bytes;
        Ok((FileReader { file, path, entry, at: 0, hasher: blake3::Hasher::new() }, bytes))
    }

    /// Reads up to `bytes` of a file from `offset`, fewer at its end. Unverified: the receiver verifies.
    ///
    /// # Errors
    /// When the file does not exist, or on I/O errors.
    pub fn read_chunk(&self, name: &str, offset: u64, bytes: u64) -> Result<Vec<u8>, SnapshotError> {
        let entry = self.entry(name)?;
        let left = entry.bytes.saturating_sub(offset).min(bytes);
        let mut chunk = vec![0; usize::try_from(left).unwrap_or(usize::MAX)];
        self.open_file(entry)?
            .read_at(offset.min(entry.bytes), &mut chunk)
            .map_err(disk_error(&self.file_path(entry)))?;
        Ok(chunk)
    }

    /// Verifies the hashes of all files. Cost: reads all files.
    ///
    /// # Errors
    /// [`SnapshotError::Damaged`] names the first file that does not match.
    pub fn verify(&self) -> Result<(), SnapshotError> {
        for entry in &self.manifest.files {
            let file = self.open_file(entry)?;
            let hash = hash_file(&file, entry.bytes).map_err(disk_error(&self.file_path(entry)))?;
            self.check_hash(entry, hash)?;
        }
        Ok(())
    }

    fn entry(&self, name: &str) -> Result<&FileEntry, SnapshotError> {
        self.manifest.file(name).ok_or_else(|| SnapshotError::Name(name.into()))
    }

    fn file_path(&self, entry: &FileEntry) -> String {
        format!("{}/{}", self.dir, entry.name)
    }

    fn open_file(&self, entry: &FileEntry) -> Result<D::File, SnapshotError> {
        let path = self.file_path(entry);
        let file = self.disk.open(&path).map_err(disk_error(&path))?;
        let found_bytes = file.bytes().map_err(disk_error(&path))?;
        if found_bytes != entry.bytes {
            return Err(damaged(path, found_bytes, String::new(), entry));
        }
        Ok(file)
    }

    fn check_hash(&self, entry: &FileEntry, found: blake3::Hash) -> Result<(), SnapshotError> {
        if found == entry.hash {
            return Ok(());
        }
        Err(damaged(self.file_path(entry), entry.bytes, found.to_hex().to_string(), entry))
    }
}

/// Sequential reader of a snapshot file that verifies its hash at the end.
pub struct FileReader<D: Disk> {
    file: D::File,
    path: String,
    entry: FileEntry,
    at: u64,
    hasher: blake3::Hasher,
}

impl<D: Disk> io::Read for FileReader<D> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.entry.bytes - self.at).unwrap_or(usize::MAX);
        let count = left.min(into.len());
        if count > 0 {
            self.file.read_at(self.at, &mut into[..count])?;
            self.hasher.update(&into[..count]);
            self.at += count as u64;
        }
        if self.at < self.entry.bytes {
            return Ok(count);
        }
        let found = self.hasher.finalize();
        if found == self.entry.hash {
            return Ok(count);
        }
        let (path, found) = (self.path.clone(), found.to_hex().to_string());
        Err(io::Error::new(io::ErrorKind::InvalidData, damaged(path, self.at, found, &self.entry)))
    }
}

fn damaged(file: String, found_bytes: u64, found: String, entry: &FileEntry) -> SnapshotError {
    let expected = blake3::Hash::from_bytes(entry.hash).to_hex().to_string();
    SnapshotError::Damaged { file, found_bytes, found, expected_bytes: entry.bytes, expected }
}

/// BLAKE3 of the first `bytes` of a file.
fn hash_file(file: &impl DiskFile, bytes: u64) -> io::Result<blake3::Hash> {
    /// Bytes per read.
    const PIECE: usize = 1 << 20;
    let mut hasher = blake3::Hasher::new();
    let mut piece = vec![0; PIECE.min(usize::try_from(bytes).unwrap_or(PIECE))];
    let mut offset = 0;
    while offset < bytes {
        let part = piece.len().min(usize::try_from(bytes - offset).unwrap_or(PIECE));
        file.read_at(offset, &mut piece[..part])?;
        hasher.update(&piece[..part]);
        offset += part as u64;
    }
    Ok(hasher.finalize())
}

fn disk_error(file: &str) -> impl FnOnce(io::Error) -> SnapshotError {
    |source| SnapshotError::Disk { file: file.into(), source }
}

fn id_of(name: &str) -> Option<SnapshotId> {
    (name.len() == 20).then(|| name.parse().ok().map(SnapshotId)).flatten()
}

#[cfg(test)]
mod tests;

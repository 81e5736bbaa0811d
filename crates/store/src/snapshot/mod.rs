//! Snapshots: immutable, checksummed files under a manifest that appears in one step.

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

/// Folders of snapshots being written, received, and removed. None of them is a snapshot.
const DRAFT: &str = ".draft";
const INSTALL: &str = ".install";
const GONE: &str = ".gone";

/// Why a snapshot could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The disk refused.
    #[error("{file}")]
    Disk {
        /// File or folder.
        file: String,
        /// What the disk said.
        source: io::Error,
    },
    /// The manifest is damaged, newer, or cannot be written.
    #[error("{file}")]
    Manifest {
        /// The file.
        file: String,
        /// What is wrong with it.
        source: ManifestError,
    },
    /// A file is not what the manifest says.
    #[error("{file}: {found_bytes} bytes with hash {found}, expected {expected_bytes} with {expected}")]
    Damaged {
        /// The file.
        file: String,
        /// Its length.
        found_bytes: u64,
        /// BLAKE3 of its content; empty when the length tells enough.
        found: String,
        /// Length in the manifest.
        expected_bytes: u64,
        /// Hash in the manifest.
        expected: String,
    },
    /// There is a snapshot of this id already.
    #[error("snapshot {0} is there already")]
    Exists(SnapshotId),
    /// A name that a file cannot have, has twice, or does not have.
    #[error("no file {0:?} is possible here")]
    Name(String),
}

/// The snapshots in one folder.
#[derive(Debug, Clone)]
pub struct Snapshots<D: Disk> {
    disk: D,
    dir: String,
}

/// What [`Snapshots::newest`] found.
#[derive(Debug)]
pub struct Newest<D: Disk> {
    /// The newest sound snapshot.
    pub snapshot: Option<Snapshot<D>>,
    /// Newer ones that are damaged. A log released up to one of them no longer fits an older snapshot.
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
    /// Opens the folder `dir`, made if missing. Drafts that were never finished are removed; a begun install stays.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn open(disk: &D, dir: &str) -> Result<Self, SnapshotError> {
        let this = Self { disk: disk.clone(), dir: dir.into() };
        let above = dir.rsplit_once('/').map_or("", |(above, _)| above);
        disk.create_dir(dir).and_then(|()| disk.sync_dir(above)).map_err(at(dir))?;
        for name in disk.list(dir).map_err(at(dir))? {
            if name.ends_with(DRAFT) || name.ends_with(GONE) {
                this.clear(&format!("{dir}/{name}"))?;
            }
        }
        Ok(this)
    }

    /// The snapshots in the folder `dir` as they are: nothing is made or removed, also when the folder is missing.
    #[must_use]
    pub fn as_they_are(disk: &D, dir: &str) -> Self {
        Self { disk: disk.clone(), dir: dir.into() }
    }

    /// The ids of all snapshots, oldest first; none when the folder is missing.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn list(&self) -> Result<Vec<SnapshotId>, SnapshotError> {
        let names = match self.disk.list(&self.dir) {
            Err(fault) if fault.kind() == io::ErrorKind::NotFound => Vec::new(),
            names => names.map_err(at(&self.dir))?,
        };
        let mut ids: Vec<_> = names.iter().filter_map(|name| id_of(name)).collect();
        ids.sort();
        Ok(ids)
    }

    /// Opens one snapshot: manifest checked, files there and of the right length. Content: [`Snapshot::verify`].
    ///
    /// # Errors
    /// When anything of that is not so.
    pub fn snapshot(&self, id: SnapshotId) -> Result<Snapshot<D>, SnapshotError> {
        Snapshot::open(&self.disk, self.path(id, ""), id)
    }

    /// The newest snapshot whose files all have their right content. Cost: reads them all.
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

    /// Begins to write a snapshot.
    ///
    /// # Errors
    /// [`SnapshotError::Exists`] when there is one of this id.
    pub fn write(&self, id: SnapshotId) -> Result<SnapshotWriter<D>, SnapshotError> {
        if self.list()?.contains(&id) {
            return Err(SnapshotError::Exists(id));
        }
        let draft = self.path(id, DRAFT);
        self.clear(&draft)?;
        self.disk.create_dir(&draft).map_err(at(&draft))?;
        Ok(SnapshotWriter::new(self.clone(), id, draft))
    }

    /// Begins, or goes on with, receiving the snapshot of an encoded manifest from elsewhere.
    ///
    /// # Errors
    /// When the manifest is no manifest, the snapshot is there already, or the disk refuses.
    pub fn install(&self, manifest: &[u8]) -> Result<Install<D>, InstallError> {
        Install::begin(self, manifest, CHUNK_BYTES)
    }

    /// As [`Snapshots::install`] with another length of chunks, for tests.
    ///
    /// # Errors
    /// As [`Snapshots::install`].
    ///
    /// # Panics
    /// When `chunk_bytes` is zero.
    pub fn install_by(&self, manifest: &[u8], chunk_bytes: u64) -> Result<Install<D>, InstallError> {
        assert!(chunk_bytes > 0, "chunks hold something");
        Install::begin(self, manifest, chunk_bytes)
    }

    /// Removes all snapshots older than `before`. Each disappears in one step.
    ///
    /// # Errors
    /// When the disk refuses; the rest is removed at the next [`Snapshots::open`].
    pub fn remove_older(&self, before: SnapshotId) -> Result<usize, SnapshotError> {
        let old: Vec<_> = self.list()?.into_iter().filter(|id| *id < before).collect();
        for id in &old {
            self.remove(*id)?;
        }
        Ok(old.len())
    }

    /// Removes one snapshot, a damaged one too.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn remove(&self, id: SnapshotId) -> Result<(), SnapshotError> {
        let (path, gone) = (self.path(id, ""), self.path(id, GONE));
        self.clear(&gone)?;
        self.disk.rename(&path, &gone).and_then(|()| self.disk.sync_dir(&self.dir)).map_err(at(&path))?;
        self.clear(&gone)
    }

    /// Makes the finished folder `draft` the snapshot `id`. What is in it must be synced.
    fn publish(&self, draft: &str, id: SnapshotId) -> Result<(), SnapshotError> {
        let path = self.path(id, "");
        self.disk.sync_dir(draft).map_err(at(draft))?;
        self.disk.rename(draft, &path).and_then(|()| self.disk.sync_dir(&self.dir)).map_err(at(&path))
    }

    fn path(&self, id: SnapshotId, suffix: &str) -> String {
        format!("{}/{:020}{suffix}", self.dir, id.0)
    }

    /// Removes a folder of files, if it is there.
    fn clear(&self, folder: &str) -> Result<(), SnapshotError> {
        let names = match self.disk.list(folder) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            names => names.map_err(at(folder))?,
        };
        for name in names {
            let file = format!("{folder}/{name}");
            self.disk.remove(&file).map_err(at(&file))?;
        }
        self.disk.remove_dir(folder).map_err(at(folder))
    }
}

impl<D: Disk> Snapshot<D> {
    fn open(disk: &D, dir: String, id: SnapshotId) -> Result<Self, SnapshotError> {
        let path = format!("{dir}/{MANIFEST_FILE}");
        let bytes = disk.open(&path).and_then(|file| read_whole(&file, MAX_MANIFEST_BYTES)).map_err(at(&path))?;
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

    /// The caller's bytes.
    #[must_use]
    pub fn meta(&self) -> &[u8] {
        &self.manifest.meta
    }

    /// Its table of contents.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Where a file lies on the [`Disk`], for code that maps it.
    ///
    /// # Errors
    /// [`SnapshotError::Name`] when there is none of this name.
    pub fn path(&self, name: &str) -> Result<String, SnapshotError> {
        self.entry(name).map(|entry| self.place(entry))
    }

    /// A whole file, its content checked.
    ///
    /// # Errors
    /// [`SnapshotError::Damaged`] when it is not what the manifest says.
    pub fn read(&self, name: &str) -> Result<Vec<u8>, SnapshotError> {
        let entry = self.entry(name)?;
        let bytes = read_whole(&self.open_file(entry)?, entry.bytes).map_err(at(&self.place(entry)))?;
        self.compare(entry, blake3::hash(&bytes))?;
        Ok(bytes)
    }

    /// A file, to be read to its end, and its length. The read that reaches the end fails with [`io::ErrorKind::InvalidData`]
    /// when the content is not what the manifest says: what was read counts only after it.
    ///
    /// # Errors
    /// When there is no such file, it has another length, or the disk refuses.
    pub fn reader(&self, name: &str) -> Result<(FileReader<D>, u64), SnapshotError> {
        let entry = self.entry(name)?;
        let file = self.open_file(entry)?;
        let (place, entry) = (self.place(entry), entry.clone());
        let bytes = entry.bytes;
        Ok((FileReader { file, place, entry, at: 0, hasher: blake3::Hasher::new() }, bytes))
    }

    /// `bytes` of a file from `offset`, for sending it elsewhere; less at its end. Not checked: the receiver checks.
    ///
    /// # Errors
    /// When there is no such file, or the disk refuses.
    pub fn read_chunk(&self, name: &str, offset: u64, bytes: u64) -> Result<Vec<u8>, SnapshotError> {
        let entry = self.entry(name)?;
        let left = entry.bytes.saturating_sub(offset).min(bytes);
        let mut chunk = vec![0; usize::try_from(left).unwrap_or(usize::MAX)];
        self.open_file(entry)?.read_at(offset.min(entry.bytes), &mut chunk).map_err(at(&self.place(entry)))?;
        Ok(chunk)
    }

    /// Checks the content of all files. Cost: reads them all.
    ///
    /// # Errors
    /// [`SnapshotError::Damaged`] names the first that is not what the manifest says.
    pub fn verify(&self) -> Result<(), SnapshotError> {
        for entry in &self.manifest.files {
            let file = self.open_file(entry)?;
            let hash = hash_file(&file, entry.bytes).map_err(at(&self.place(entry)))?;
            self.compare(entry, hash)?;
        }
        Ok(())
    }

    fn entry(&self, name: &str) -> Result<&FileEntry, SnapshotError> {
        self.manifest.file(name).ok_or_else(|| SnapshotError::Name(name.into()))
    }

    fn place(&self, entry: &FileEntry) -> String {
        format!("{}/{}", self.dir, entry.name)
    }

    fn open_file(&self, entry: &FileEntry) -> Result<D::File, SnapshotError> {
        let place = self.place(entry);
        let file = self.disk.open(&place).map_err(at(&place))?;
        let found_bytes = file.bytes().map_err(at(&place))?;
        if found_bytes != entry.bytes {
            return Err(damaged(place, found_bytes, String::new(), entry));
        }
        Ok(file)
    }

    fn compare(&self, entry: &FileEntry, found: blake3::Hash) -> Result<(), SnapshotError> {
        if found == entry.hash {
            return Ok(());
        }
        Err(damaged(self.place(entry), entry.bytes, found.to_hex().to_string(), entry))
    }
}

/// A file of a snapshot that is read from its beginning to its end.
pub struct FileReader<D: Disk> {
    file: D::File,
    place: String,
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
        let (place, found) = (self.place.clone(), found.to_hex().to_string());
        Err(io::Error::new(io::ErrorKind::InvalidData, damaged(place, self.at, found, &self.entry)))
    }
}

fn damaged(file: String, found_bytes: u64, found: String, entry: &FileEntry) -> SnapshotError {
    let expected = blake3::Hash::from_bytes(entry.hash).to_hex().to_string();
    SnapshotError::Damaged { file, found_bytes, found, expected_bytes: entry.bytes, expected }
}

/// BLAKE3 of the first `bytes` of a file.
fn hash_file(file: &impl DiskFile, bytes: u64) -> io::Result<blake3::Hash> {
    /// Read at once: large enough for full speed.
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

fn at(file: &str) -> impl FnOnce(io::Error) -> SnapshotError {
    |source| SnapshotError::Disk { file: file.into(), source }
}

fn id_of(name: &str) -> Option<SnapshotId> {
    (name.len() == 20).then(|| name.parse().ok().map(SnapshotId)).flatten()
}

#[cfg(test)]
mod tests;

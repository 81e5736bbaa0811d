//! Receives a snapshot in chunks; resumes after crashes.

use super::{
    INSTALL_SUFFIX, MANIFEST_FILE, MAX_MANIFEST_BYTES, Manifest, ManifestError, PROGRESS_FILE, Snapshot, SnapshotError,
    SnapshotId, Snapshots, damaged, disk_error, hash_file,
};
use crate::atomic::{AtomicError, read_atomic, write_atomic};
use crate::disk::{Disk, DiskFile, read_whole};
use crate::envelope::u64_at;

/// Chunk length, except for a file's last chunk: hides a round trip and fits a peer frame.
pub const CHUNK_BYTES: u64 = 1 << 20;

/// Chunks between two syncs: at most so many are requested again after a crash.
const SYNC_EVERY: u64 = 32;

const PROGRESS_VERSION: u32 = 1;

/// A missing part of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// The file.
    pub file: String,
    /// Offset in the file; a multiple of the chunk length.
    pub offset: u64,
    /// Length in bytes.
    pub bytes: u64,
}

/// Why a snapshot could not be received.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// The received manifest is invalid or newer.
    #[error("received manifest")]
    Manifest(#[source] ManifestError),
    /// The snapshot exists.
    #[error("snapshot {0} exists")]
    Exists(SnapshotId),
    /// The received bytes are not a chunk of this snapshot.
    #[error("not a chunk of this snapshot: {bytes} bytes at {offset} of {file:?}")]
    Chunk {
        /// Name of the file.
        file: String,
        /// Offset in the file.
        offset: u64,
        /// Number of bytes.
        bytes: u64,
    },
    /// Chunks are missing.
    #[error("{0} chunks are missing")]
    Missing(u64),
    /// Files that do not match the manifest; all their chunks count as missing again.
    #[error("received files differ from the manifest: {0:?}")]
    Damaged(Vec<String>),
    /// I/O error, or the partial install is damaged.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
}

/// A snapshot being received; it exists only after [`Install::finish`].
pub struct Install<D: Disk> {
    snapshots: Snapshots<D>,
    folder: String,
    manifest: Manifest,
    chunk_bytes: u64,
    parts: Vec<FileProgress<D::File>>,
    unsynced: u64,
}

/// A file, and which of its chunks are received.
struct FileProgress<F> {
    file: F,
    received: Vec<bool>,
    dirty: bool,
}

impl<D: Disk> Install<D> {
    pub(super) fn begin(snapshots: &Snapshots<D>, sent: &[u8], chunk_bytes: u64) -> Result<Self, InstallError> {
        let manifest = Manifest::decode(sent).map_err(InstallError::Manifest)?;
        if snapshots.list()?.contains(&manifest.id) {
            return Err(InstallError::Exists(manifest.id));
        }
        let folder = snapshots.path(manifest.id, INSTALL_SUFFIX);
        let is_resumed = resumable_manifest(snapshots, &folder)?.is_some_and(|found| found == sent);
        // One install at a time: a newer snapshot supersedes a partial older one.
        for name in snapshots.disk.list(&snapshots.dir).map_err(disk_error(&snapshots.dir))? {
            let other = format!("{}/{name}", snapshots.dir);
            if name.ends_with(INSTALL_SUFFIX) && !(is_resumed && other == folder) {
                snapshots.remove_folder(&other)?;
            }
        }
        let (needed, free) = (manifest.total_bytes(), snapshots.disk.free_bytes().map_err(disk_error(&folder))?);
        if !is_resumed && needed > free {
            let message = format!("free bytes must be >= {needed} (got {free})");
            return Err(disk_error(&folder)(std::io::Error::new(std::io::ErrorKind::StorageFull, message)).into());
        }
        let mut this =
            Self { snapshots: snapshots.clone(), folder, manifest, chunk_bytes, parts: Vec::new(), unsynced: 0 };
        if is_resumed {
            this.reopen()?;
        } else {
            this.create_files(sent)?;
        }
        Ok(this)
    }

    /// Creates the files, then the manifest: a folder with a manifest has all its files.
    fn create_files(&mut self, sent: &[u8]) -> Result<(), SnapshotError> {
        let disk = &self.snapshots.disk;
        disk.create_dir(&self.folder).map_err(disk_error(&self.folder))?;
        for entry in &self.manifest.files {
            let path = format!("{}/{}", self.folder, entry.name);
            let file = disk.create(&path, 0).map_err(disk_error(&path))?;
            let received = vec![false; chunks(entry.bytes, self.chunk_bytes)];
            self.parts.push(FileProgress { file, received, dirty: true });
        }
        let path = format!("{}/{MANIFEST_FILE}", self.folder);
        let write = || {
            disk.sync_dir(&self.folder)?;
            let file = disk.create(&path, 0)?;
            file.write_at(0, sent)?;
            file.sync_data()?;
            disk.sync_dir(&self.folder)?;
            disk.sync_dir(&self.snapshots.dir)
        };
        write().map_err(disk_error(&path))
    }

    fn reopen(&mut self) -> Result<(), SnapshotError> {
        let path = self.progress_path();
        let progress_bytes = match read_atomic(&self.snapshots.disk, &path, PROGRESS_VERSION) {
            Ok(found) => found.map(|(_, bytes)| bytes).unwrap_or_default(),
            // Progress that is damaged, or of a newer release, is no progress: the chunks come again.
            Err(AtomicError::Content { .. }) => Vec::new(),
            Err(AtomicError::Disk { file, source }) => return Err(SnapshotError::Disk { file, source }),
        };
        let fits = progress_bytes.len() >= 8 && u64_at(&progress_bytes, 0) == self.chunk_bytes;
        let mut bits = if fits { progress_bytes[8..].iter() } else { [].iter() };
        for entry in &self.manifest.files {
            let path = format!("{}/{}", self.folder, entry.name);
            let file = self.snapshots.disk.open(&path).map_err(disk_error(&path))?;
            let count = chunks(entry.bytes, self.chunk_bytes);
            let received = (0..count).map(|_| bits.next() == Some(&1)).collect();
            self.parts.push(FileProgress { file, received, dirty: true });
        }
        Ok(())
    }

    /// Its manifest.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The first `max` missing chunks, in file and offset order.
    #[must_use]
    pub fn missing(&self, max: usize) -> Vec<Chunk> {
        let files = self.manifest.files.iter().zip(&self.parts);
        let absent = files.flat_map(|(entry, part)| {
            let open = part.received.iter().enumerate().filter(|(_, received)| !**received);
            open.map(move |(index, _)| self.chunk(&entry.name, entry.bytes, index))
        });
        absent.take(max).collect()
    }

    fn chunk(&self, file: &str, file_bytes: u64, index: usize) -> Chunk {
        let offset = index as u64 * self.chunk_bytes;
        Chunk { file: file.into(), offset, bytes: self.chunk_bytes.min(file_bytes - offset) }
    }

    /// Writes a received chunk at `offset` of its file; any order is allowed, and a duplicate changes nothing.
    ///
    /// # Errors
    /// When it is not a chunk of this snapshot, or on I/O errors.
    pub fn write_chunk(&mut self, file: &str, offset: u64, bytes: &[u8]) -> Result<(), InstallError> {
        let sent = bytes.len() as u64;
        let refused = || InstallError::Chunk { file: file.into(), offset, bytes: sent };
        let nth = self.manifest.files.iter().position(|entry| entry.name == file).ok_or_else(refused)?;
        let (entry, part) = (&self.manifest.files[nth], &mut self.parts[nth]);
        let index = usize::try_from(offset / self.chunk_bytes).map_err(|_| refused())?;
        let expected = self.chunk_bytes.min(entry.bytes.saturating_sub(offset));
        if !offset.is_multiple_of(self.chunk_bytes) || index >= part.received.len() || sent != expected {
            return Err(refused());
        }
        if part.received[index] {
            return Ok(());
        }
        part.file.write_at(offset, bytes).map_err(disk_error(file))?;
        (part.received[index], part.dirty) = (true, true);
        self.unsynced += 1;
        if self.unsynced >= SYNC_EVERY {
            self.sync()?;
        }
        Ok(())
    }

    /// Syncs all received chunks, then the progress file.
    ///
    /// # Errors
    /// On I/O errors; the install must then be resumed from disk.
    pub fn sync(&mut self) -> Result<(), SnapshotError> {
        for (entry, part) in self.manifest.files.iter().zip(&mut self.parts) {
            if part.dirty {
                part.file.sync_data().map_err(disk_error(&entry.name))?;
                part.dirty = false;
            }
        }
        let mut progress = self.chunk_bytes.to_le_bytes().to_vec();
        progress.extend(self.parts.iter().flat_map(|part| &part.received).map(|received| u8::from(*received)));
        self.unsynced = 0;
        write_atomic(&self.snapshots.disk, &self.progress_path(), PROGRESS_VERSION, &progress)
            .map_err(into_snapshot_error)
    }

    /// Verifies all files and publishes the snapshot atomically; durable on return.
    ///
    /// # Errors
    /// [`InstallError::Missing`] while chunks are missing. [`InstallError::Damaged`] when received content is wrong:
    /// continue with [`Install::missing`]. After success or any other error, this install is over.
    pub fn finish(&mut self) -> Result<Snapshot<D>, InstallError> {
        self.check()?;
        Ok(self.publish()?)
    }

    fn check(&mut self) -> Result<(), InstallError> {
        let missing = self.parts.iter().flat_map(|part| &part.received).filter(|received| !**received).count();
        if missing > 0 {
            return Err(InstallError::Missing(missing as u64));
        }
        self.sync()?;
        let mut wrong = Vec::new();
        for (entry, part) in self.manifest.files.iter().zip(&mut self.parts) {
            let hash = hash_file(&part.file, entry.bytes).map_err(disk_error(&entry.name))?;
            if hash != entry.hash {
                part.received.fill(false);
                wrong.push(entry.name.clone());
            }
        }
        if wrong.is_empty() {
            return Ok(());
        }
        self.sync()?;
        Err(InstallError::Damaged(wrong))
    }

    fn publish(&mut self) -> Result<Snapshot<D>, SnapshotError> {
        for entry in self.manifest.files.iter() {
            // An empty file has no chunk to verify, but may be longer on the disk.
            let path = format!("{}/{}", self.folder, entry.name);
            let bytes = self.snapshots.disk.open(&path).and_then(|file| file.bytes()).map_err(disk_error(&path))?;
            if bytes != entry.bytes {
                return Err(damaged(path, bytes, String::new(), entry));
            }
        }
        self.snapshots.publish(&self.folder, self.manifest.id)?;
        // The progress file is removed only after publication: a power loss in between would otherwise discard all chunks.
        let left = format!("{}/{PROGRESS_FILE}", self.snapshots.path(self.manifest.id, ""));
        self.snapshots.disk.remove(&left).map_err(disk_error(&left))?;
        self.snapshots.snapshot(self.manifest.id)
    }

    fn progress_path(&self) -> String {
        format!("{}/{PROGRESS_FILE}", self.folder)
    }
}

/// The manifest of a partial install, if it was written.
fn resumable_manifest<D: Disk>(snapshots: &Snapshots<D>, folder: &str) -> Result<Option<Vec<u8>>, SnapshotError> {
    let path = format!("{folder}/{MANIFEST_FILE}");
    match snapshots.disk.open(&path).and_then(|file| read_whole(&file, MAX_MANIFEST_BYTES)) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(disk_error(&path)(e)),
    }
}

fn into_snapshot_error(error: AtomicError) -> SnapshotError {
    match error {
        AtomicError::Disk { file, source } => SnapshotError::Disk { file, source },
        AtomicError::Content { file, source } => SnapshotError::Manifest { file, source: source.into() },
    }
}

fn chunks(bytes: u64, chunk_bytes: u64) -> usize {
    usize::try_from(bytes.div_ceil(chunk_bytes)).unwrap_or(usize::MAX)
}

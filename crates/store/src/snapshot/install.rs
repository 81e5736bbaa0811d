//! Receiving a snapshot from elsewhere, in chunks, across crashes.

use super::{
    INSTALL, MANIFEST_FILE, MAX_MANIFEST_BYTES, Manifest, ManifestError, PROGRESS_FILE, Snapshot, SnapshotError,
    SnapshotId, Snapshots, at, damaged, hash_file,
};
use crate::atomic::{AtomicError, read_atomic, write_atomic};
use crate::disk::{Disk, DiskFile, read_whole};
use crate::seal::u64_at;

/// Length of all chunks but a file's last: large enough to hide a round trip, small enough to be one peer frame.
pub const CHUNK_BYTES: u64 = 1 << 20;

/// Chunks received between two syncs: at most so many are asked for again after a crash.
const SYNC_EVERY: u64 = 32;

const PROGRESS_VERSION: u32 = 1;

/// A piece of a file that is still to be received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// The file.
    pub file: String,
    /// Where in it the chunk starts; a multiple of the chunk length.
    pub offset: u64,
    /// Its length.
    pub bytes: u64,
}

/// Why a snapshot could not be received.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// What was sent is no manifest, or of a newer version.
    #[error("received manifest")]
    Manifest(#[source] ManifestError),
    /// The snapshot is there already.
    #[error("snapshot {0} is there already")]
    Exists(SnapshotId),
    /// The bytes sent are no chunk of this snapshot.
    #[error("{bytes} bytes at {offset} of {file:?} are no chunk of this snapshot")]
    Chunk {
        /// The file named.
        file: String,
        /// The offset named.
        offset: u64,
        /// Bytes sent.
        bytes: u64,
    },
    /// Chunks are missing.
    #[error("{0} chunks are missing")]
    Missing(u64),
    /// Files whose content is not what the manifest says; all their chunks are missing again.
    #[error("received files differ from the manifest: {0:?}")]
    Damaged(Vec<String>),
    /// The disk refused, or what lies there is damaged.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
}

/// A snapshot being received; it does not exist before [`Install::finish`].
pub struct Install<D: Disk> {
    home: Snapshots<D>,
    folder: String,
    manifest: Manifest,
    chunk_bytes: u64,
    parts: Vec<Part<D::File>>,
    unsynced: u64,
}

/// One file, and which of its chunks are there.
struct Part<F> {
    file: F,
    there: Vec<bool>,
    dirty: bool,
}

impl<D: Disk> Install<D> {
    pub(super) fn begin(home: &Snapshots<D>, sent: &[u8], chunk_bytes: u64) -> Result<Self, InstallError> {
        let manifest = Manifest::decode(sent).map_err(InstallError::Manifest)?;
        if home.list()?.contains(&manifest.id) {
            return Err(InstallError::Exists(manifest.id));
        }
        let folder = home.path(manifest.id, INSTALL);
        let begun = begun_manifest(home, &folder)?.is_some_and(|begun| begun == sent);
        // Only one at a time: a newer snapshot makes an older, half-received one worthless.
        for name in home.disk.list(&home.dir).map_err(at(&home.dir))? {
            let other = format!("{}/{name}", home.dir);
            if name.ends_with(INSTALL) && !(begun && other == folder) {
                home.clear(&other)?;
            }
        }
        let (needed, free) = (manifest.total_bytes(), home.disk.free_bytes().map_err(at(&folder))?);
        if !begun && needed > free {
            let told = format!("{needed} bytes are needed, {free} are free");
            return Err(at(&folder)(std::io::Error::new(std::io::ErrorKind::StorageFull, told)).into());
        }
        let mut this = Self { home: home.clone(), folder, manifest, chunk_bytes, parts: Vec::new(), unsynced: 0 };
        if begun {
            this.reopen()?;
        } else {
            this.make(sent)?;
        }
        Ok(this)
    }

    /// Files first, the manifest last: a folder with a manifest has all its files.
    fn make(&mut self, sent: &[u8]) -> Result<(), SnapshotError> {
        let disk = &self.home.disk;
        disk.create_dir(&self.folder).map_err(at(&self.folder))?;
        for entry in &self.manifest.files {
            let path = format!("{}/{}", self.folder, entry.name);
            let file = disk.create(&path, 0).map_err(at(&path))?;
            let there = vec![false; chunks(entry.bytes, self.chunk_bytes)];
            self.parts.push(Part { file, there, dirty: true });
        }
        let path = format!("{}/{MANIFEST_FILE}", self.folder);
        let write = || {
            disk.sync_dir(&self.folder)?;
            let file = disk.create(&path, 0)?;
            file.write_at(0, sent)?;
            file.sync_data()?;
            disk.sync_dir(&self.folder)?;
            disk.sync_dir(&self.home.dir)
        };
        write().map_err(at(&path))
    }

    fn reopen(&mut self) -> Result<(), SnapshotError> {
        let path = self.progress_path();
        let known = match read_atomic(&self.home.disk, &path, PROGRESS_VERSION) {
            Ok(found) => found.map(|(_, bytes)| bytes).unwrap_or_default(),
            // Progress that is damaged, or of a newer release, is no progress: the chunks come again.
            Err(AtomicError::Content { .. }) => Vec::new(),
            Err(AtomicError::Disk { file, source }) => return Err(SnapshotError::Disk { file, source }),
        };
        let fits = known.len() >= 8 && u64_at(&known, 0) == self.chunk_bytes;
        let mut bits = if fits { known[8..].iter() } else { [].iter() };
        for entry in &self.manifest.files {
            let path = format!("{}/{}", self.folder, entry.name);
            let file = self.home.disk.open(&path).map_err(at(&path))?;
            let count = chunks(entry.bytes, self.chunk_bytes);
            let there = (0..count).map(|_| bits.next() == Some(&1)).collect();
            self.parts.push(Part { file, there, dirty: true });
        }
        Ok(())
    }

    /// Its table of contents.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The first `max` chunks still to be received, in order.
    #[must_use]
    pub fn missing(&self, max: usize) -> Vec<Chunk> {
        let files = self.manifest.files.iter().zip(&self.parts);
        let absent = files.flat_map(|(entry, part)| {
            let open = part.there.iter().enumerate().filter(|(_, there)| !**there);
            open.map(move |(index, _)| self.chunk(&entry.name, entry.bytes, index))
        });
        absent.take(max).collect()
    }

    fn chunk(&self, file: &str, file_bytes: u64, index: usize) -> Chunk {
        let offset = index as u64 * self.chunk_bytes;
        Chunk { file: file.into(), offset, bytes: self.chunk_bytes.min(file_bytes - offset) }
    }

    /// Takes in one chunk, in any order; one that is there already changes nothing.
    ///
    /// # Errors
    /// When it is no chunk of this snapshot, or the disk refuses.
    pub fn write_chunk(&mut self, file: &str, offset: u64, bytes: &[u8]) -> Result<(), InstallError> {
        let sent = bytes.len() as u64;
        let refused = || InstallError::Chunk { file: file.into(), offset, bytes: sent };
        let place = self.manifest.files.iter().position(|entry| entry.name == file).ok_or_else(refused)?;
        let (entry, part) = (&self.manifest.files[place], &mut self.parts[place]);
        let index = usize::try_from(offset / self.chunk_bytes).map_err(|_| refused())?;
        let wanted = self.chunk_bytes.min(entry.bytes.saturating_sub(offset));
        if !offset.is_multiple_of(self.chunk_bytes) || index >= part.there.len() || sent != wanted {
            return Err(refused());
        }
        if part.there[index] {
            return Ok(());
        }
        part.file.write_at(offset, bytes).map_err(at(file))?;
        (part.there[index], part.dirty) = (true, true);
        self.unsynced += 1;
        if self.unsynced >= SYNC_EVERY {
            self.sync()?;
        }
        Ok(())
    }

    /// Makes durable what was received, and the knowledge of it.
    ///
    /// # Errors
    /// When the disk refuses; begin the install again then.
    pub fn sync(&mut self) -> Result<(), SnapshotError> {
        for (entry, part) in self.manifest.files.iter().zip(&mut self.parts) {
            if part.dirty {
                part.file.sync_data().map_err(at(&entry.name))?;
                part.dirty = false;
            }
        }
        let mut progress = self.chunk_bytes.to_le_bytes().to_vec();
        progress.extend(self.parts.iter().flat_map(|part| &part.there).map(|there| u8::from(*there)));
        self.unsynced = 0;
        write_atomic(&self.home.disk, &self.progress_path(), PROGRESS_VERSION, &progress).map_err(into_snapshot_error)
    }

    /// Checks the content of all files and makes them a snapshot: durable when this returns, and never half there.
    ///
    /// # Errors
    /// [`InstallError::Missing`] while chunks are missing. [`InstallError::Damaged`] when received content is wrong:
    /// go on with [`Install::missing`]. After any other error, or success, this install is over.
    pub fn finish(&mut self) -> Result<Snapshot<D>, InstallError> {
        self.check()?;
        Ok(self.publish()?)
    }

    fn check(&mut self) -> Result<(), InstallError> {
        let missing = self.parts.iter().flat_map(|part| &part.there).filter(|there| !**there).count();
        if missing > 0 {
            return Err(InstallError::Missing(missing as u64));
        }
        self.sync()?;
        let mut wrong = Vec::new();
        for (entry, part) in self.manifest.files.iter().zip(&mut self.parts) {
            let hash = hash_file(&part.file, entry.bytes).map_err(at(&entry.name))?;
            if hash != entry.hash {
                part.there.fill(false);
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
            // An empty file has no chunk that could be wrong, but may have been left longer by someone.
            let path = format!("{}/{}", self.folder, entry.name);
            let bytes = self.home.disk.open(&path).and_then(|file| file.bytes()).map_err(at(&path))?;
            if bytes != entry.bytes {
                return Err(damaged(path, bytes, String::new(), entry));
            }
        }
        self.home.publish(&self.folder, self.manifest.id)?;
        // The progress file stays in the published folder until here: removing it first would forget the chunks if the
        // power failed in between.
        let left = format!("{}/{PROGRESS_FILE}", self.home.path(self.manifest.id, ""));
        self.home.disk.remove(&left).map_err(at(&left))?;
        self.home.snapshot(self.manifest.id)
    }

    fn progress_path(&self) -> String {
        format!("{}/{PROGRESS_FILE}", self.folder)
    }
}

/// The manifest of an install begun before, if it got that far.
fn begun_manifest<D: Disk>(home: &Snapshots<D>, folder: &str) -> Result<Option<Vec<u8>>, SnapshotError> {
    let path = format!("{folder}/{MANIFEST_FILE}");
    match home.disk.open(&path).and_then(|file| read_whole(&file, MAX_MANIFEST_BYTES)) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(at(&path)(e)),
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

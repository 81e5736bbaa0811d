//! Writes a local snapshot.

use std::io::{self, Write};

use super::manifest::is_allowed;
use super::{FileEntry, MANIFEST_FILE, Manifest, Snapshot, SnapshotError, SnapshotId, Snapshots, disk_error};
use crate::disk::{Disk, DiskFile};

/// Write buffer size.
const BUFFER_BYTES: usize = 256 * 1024;

/// A snapshot being written; it exists only after [`SnapshotWriter::commit`]. If dropped, it leaves a draft that the next
/// [`Snapshots::open`] removes.
pub struct SnapshotWriter<D: Disk> {
    snapshots: Snapshots<D>,
    draft: String,
    manifest: Manifest,
}

/// A file of a snapshot being written.
pub struct FileWriter<'a, D: Disk> {
    owner: &'a mut SnapshotWriter<D>,
    name: String,
    file: D::File,
    buffer: Vec<u8>,
    written: u64,
    hasher: blake3::Hasher,
}

impl<D: Disk> SnapshotWriter<D> {
    pub(super) fn new(snapshots: Snapshots<D>, id: SnapshotId, draft: String) -> Self {
        Self { snapshots, draft, manifest: Manifest { id, meta: Vec::new(), files: Vec::new() } }
    }

    /// Adds a file.
    ///
    /// # Errors
    /// When the name is invalid or in use, or on I/O errors.
    pub fn add_file(&mut self, name: &str, content: &[u8]) -> Result<(), SnapshotError> {
        let mut file = self.file(name)?;
        let path = file.path();
        file.write_all(content).map_err(disk_error(&path))?;
        file.finish()
    }

    /// Adds a file that is written in pieces; call [`FileWriter::finish`] at the end.
    ///
    /// # Errors
    /// As [`SnapshotWriter::add_file`].
    pub fn file(&mut self, name: &str) -> Result<FileWriter<'_, D>, SnapshotError> {
        if !is_allowed(name) || self.manifest.file(name).is_some() {
            return Err(SnapshotError::Name(name.into()));
        }
        let path = format!("{}/{name}", self.draft);
        let file = self.snapshots.disk.create(&path, 0).map_err(disk_error(&path))?;
        let name = name.into();
        Ok(FileWriter { owner: self, name, file, buffer: Vec::new(), written: 0, hasher: blake3::Hasher::new() })
    }

    /// Publishes the snapshot atomically; durable on return.
    ///
    /// # Errors
    /// On I/O errors, or when the manifest is too large.
    pub fn commit(mut self, meta: Vec<u8>) -> Result<Snapshot<D>, SnapshotError> {
        self.manifest.meta = meta;
        let id = self.manifest.id;
        let path = format!("{}/{MANIFEST_FILE}", self.draft);
        let bytes = self.manifest.encode().map_err(|source| SnapshotError::Manifest { file: path.clone(), source })?;
        let write = || {
            let file = self.snapshots.disk.create(&path, 0)?;
            file.write_at(0, &bytes)?;
            file.sync_data()
        };
        write().map_err(disk_error(&path))?;
        self.snapshots.publish(&self.draft, id)?;
        self.snapshots.snapshot(id)
    }
}

impl<D: Disk> FileWriter<'_, D> {
    /// Syncs the file and adds it to the manifest.
    ///
    /// # Errors
    /// On I/O errors.
    pub fn finish(mut self) -> Result<(), SnapshotError> {
        let path = self.path();
        self.flush().and_then(|()| self.file.sync_data()).map_err(disk_error(&path))?;
        let hash = *self.hasher.finalize().as_bytes();
        self.owner.manifest.files.push(FileEntry { name: self.name, bytes: self.written, hash });
        Ok(())
    }

    fn path(&self) -> String {
        format!("{}/{}", self.owner.draft, self.name)
    }
}

impl<D: Disk> Write for FileWriter<'_, D> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.hasher.update(bytes);
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= BUFFER_BYTES {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if !self.buffer.is_empty() {
            self.file.write_at(self.written, &self.buffer)?;
            self.written += self.buffer.len() as u64;
            self.buffer.clear();
        }
        Ok(())
    }
}

//! A disk in memory that does to us what disks do: lose what was not synced, tear, fill up, fail, rot.

mod node;

use std::io::{self, ErrorKind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::disk::{Disk, DiskFile, check, split};
use crate::real::same_folder;
use node::{Fate, Node, NodeId, State};

pub use node::SECTOR_BYTES;

/// A [`Disk`] in memory. Clones share it; it decides nothing by itself, so equal calls have equal outcomes.
///
/// Every call of [`Disk`] and [`DiskFile`] except `bytes` and `free_bytes` counts as one operation.
#[derive(Clone, Default)]
pub struct SimDisk(Arc<Mutex<State>>);

/// An open file of a [`SimDisk`]; useless after a crash.
pub struct SimFile {
    disk: SimDisk,
    node: NodeId,
    generation: u64,
}

impl SimDisk {
    /// An empty disk without a bound on its size.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Cuts the power and restores it: synced bytes and names stay; of all others `choose` decides.
    ///
    /// `choose(n)` answers a number below `n`. Each unsynced write is lost, kept, or torn into sectors of
    /// [`SECTOR_BYTES`] that are each lost or kept; each unsynced change of a folder is lost or kept. Zero always means
    /// lost. Open files, planned failures and a planned crash end.
    pub fn crash(&self, choose: &mut dyn FnMut(u64) -> u64) {
        self.state().crash(choose);
    }

    /// Ends the process but not the system: unsynced bytes stay readable and unsynced, open files become useless.
    pub fn kill(&self) {
        self.state().kill();
    }

    /// Plans a crash during the `n`-th operation from now (from 1): that one may or may not take effect, it and all
    /// later ones fail until [`SimDisk::crash`].
    pub fn crash_at(&self, n: u64) {
        self.state().plan_crash(n);
    }

    /// True once a planned crash has happened.
    #[must_use]
    pub fn is_down(&self) -> bool {
        self.state().is_down()
    }

    /// The next `n` operations fail. A failed write writes half; a failed sync drops what it should have synced,
    /// though it stays readable until a crash.
    pub fn fail_next(&self, n: u64, kind: ErrorKind) {
        self.fail_at(1, n, kind);
    }

    /// As [`SimDisk::fail_next`], but starting with the `first`-th operation from now (from 1).
    pub fn fail_at(&self, first: u64, n: u64, kind: ErrorKind) {
        self.state().plan_failure(first, n, kind);
    }

    /// Bounds the sum of all file lengths; a write over it fails with [`ErrorKind::StorageFull`].
    pub fn limit(&self, bytes: u64) {
        self.state().capacity = bytes;
    }

    /// Loses everything: an empty new disk in the same place. Open files become useless.
    pub fn wipe(&self) {
        self.state().wipe();
    }

    /// Inverts the bits of `mask` in one byte of a file, behind everyone's back.
    ///
    /// # Errors
    /// When there is no such file or byte.
    pub fn flip(&self, path: &str, offset: u64, mask: u8) -> io::Result<()> {
        let mut state = self.state();
        let node = state.find(path)?;
        state.file(node)?.flip(offset, mask)
    }

    /// Cuts a file to `bytes`, behind everyone's back.
    ///
    /// # Errors
    /// When there is no such file.
    pub fn truncate(&self, path: &str, bytes: u64) -> io::Result<()> {
        let mut state = self.state();
        let node = state.find(path)?;
        state.file(node)?.truncate(bytes);
        Ok(())
    }

    /// All files with their lengths, in order of their paths. No operation.
    #[must_use]
    pub fn files(&self) -> Vec<(String, u64)> {
        self.state().files()
    }

    /// Operations so far.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.state().operations
    }

    fn handle(&self, node: NodeId, generation: u64) -> SimFile {
        SimFile { disk: self.clone(), node, generation }
    }
}

impl std::fmt::Debug for SimDisk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SimDisk").field("files", &self.files()).finish_non_exhaustive()
    }
}

impl Disk for SimDisk {
    type File = SimFile;

    fn create(&self, path: &str, bytes: u64) -> io::Result<SimFile> {
        let (folder, name) = split(path)?;
        let mut state = self.state();
        let fate = state.enter()?;
        state.need(bytes)?;
        let folder = state.find(folder)?;
        let node = state.add(Node::new_file(bytes)?);
        state.dir(folder)?.change(vec![(name.into(), Some(node))]);
        fate.end().map(|()| self.handle(node, state.generation))
    }

    fn open(&self, path: &str) -> io::Result<SimFile> {
        split(path)?;
        let mut state = self.state();
        state.enter()?.end()?;
        let node = state.find(path)?;
        state.file(node)?;
        Ok(self.handle(node, state.generation))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        same_folder(from, to)?;
        let ((folder, old), (_, new)) = (split(from)?, split(to)?);
        let mut state = self.state();
        let fate = state.enter()?;
        let node = state.find(from)?;
        if let Ok(there) = state.find(to) {
            // Only a file may take the place of a file.
            if state.file(there).is_err() || state.file(node).is_err() {
                return Err(ErrorKind::AlreadyExists.into());
            }
        }
        let folder = state.find(folder)?;
        state.dir(folder)?.change(vec![(old.into(), None), (new.into(), Some(node))]);
        fate.end()
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        let (folder, name) = split(path)?;
        let mut state = self.state();
        let fate = state.enter()?;
        let node = state.find(path)?;
        state.file(node)?;
        let folder = state.find(folder)?;
        state.dir(folder)?.change(vec![(name.into(), None)]);
        fate.end()
    }

    fn create_dir(&self, path: &str) -> io::Result<()> {
        let (folder, name) = split(path)?;
        let mut state = self.state();
        let fate = state.enter()?;
        if let Ok(there) = state.find(path) {
            state.dir(there)?;
            return fate.end();
        }
        let folder = state.find(folder)?;
        let node = state.add(Node::new_dir());
        state.dir(folder)?.change(vec![(name.into(), Some(node))]);
        fate.end()
    }

    fn remove_dir(&self, path: &str) -> io::Result<()> {
        let (folder, name) = split(path)?;
        let mut state = self.state();
        let fate = state.enter()?;
        let node = state.find(path)?;
        if !state.dir(node)?.names().is_empty() {
            return Err(ErrorKind::DirectoryNotEmpty.into());
        }
        let folder = state.find(folder)?;
        state.dir(folder)?.change(vec![(name.into(), None)]);
        fate.end()
    }

    fn list(&self, path: &str) -> io::Result<Vec<String>> {
        check(path)?;
        let mut state = self.state();
        state.enter()?.end()?;
        let node = state.find(path)?;
        Ok(state.dir(node)?.names())
    }

    fn sync_dir(&self, path: &str) -> io::Result<()> {
        check(path)?;
        let mut state = self.state();
        let fate = state.enter()?;
        let node = state.find(path)?;
        if matches!(fate, Fate::Go) {
            state.dir(node)?.sync();
        }
        fate.end()
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let state = self.state();
        Ok(state.capacity.saturating_sub(state.used()))
    }
}

impl SimFile {
    fn state(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.disk.state();
        if state.generation == self.generation {
            return Ok(state);
        }
        Err(io::Error::other("a file opened before the crash"))
    }
}

impl DiskFile for SimFile {
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        let mut state = self.state()?;
        state.enter()?.end()?;
        state.file(self.node)?.read(offset, into)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.state()?;
        let fate = state.enter()?;
        let grows = state.file(self.node)?.grows_by(offset, bytes.len());
        state.need(grows)?;
        let part = if matches!(fate, Fate::Fail(_)) { bytes.len() / 2 } else { bytes.len() };
        state.file(self.node)?.write(offset, &bytes[..part])?;
        fate.end()
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.state()?;
        let fate = state.enter()?;
        let file = state.file(self.node)?;
        match fate {
            Fate::Go => file.sync(),
            Fate::Fail(_) => file.drop_unsynced(),
            Fate::Die => {}
        }
        fate.end()
    }

    fn bytes(&self) -> io::Result<u64> {
        Ok(self.state()?.file(self.node)?.bytes())
    }
}

#[cfg(test)]
mod tests;

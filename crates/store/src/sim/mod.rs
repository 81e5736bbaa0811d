//! An in-memory disk with the faults of real ones: loss of unsynced data, torn writes, full disk, I/O errors, bit flips.

mod node;

use std::io::{self, ErrorKind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::disk::{Disk, DiskFile, check, split};
use crate::real::same_folder;
use node::{Node, NodeId, Outcome, State};

pub use node::SECTOR_BYTES;

/// An in-memory [`Disk`]. Clones share it. It is deterministic: equal calls have equal results.
///
/// Every call of [`Disk`] and [`DiskFile`] except `bytes` and `free_bytes` counts as one operation.
#[derive(Clone, Default)]
pub struct SimDisk(Arc<Mutex<State>>);

/// An open file of a [`SimDisk`]; invalid after a crash.
pub struct SimFile {
    disk: SimDisk,
    node: NodeId,
    generation: u64,
}

impl SimDisk {
    /// An empty disk of unlimited size.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Simulates a power loss: synced contents and names survive, `choose` decides on all others.
    ///
    /// `choose(n)` returns a number below `n`; zero always means lost. Each unsynced write is lost, kept, or torn into
    /// sectors of [`SECTOR_BYTES`] that are each lost or kept; each unsynced folder change is lost or kept. Open files
    /// become invalid, planned failures and crashes are cancelled.
    pub fn crash(&self, choose: &mut dyn FnMut(u64) -> u64) {
        self.state().crash(choose);
    }

    /// Simulates a process crash: unsynced data stays visible and unsynced, open files become invalid.
    pub fn kill(&self) {
        self.state().kill();
    }

    /// Plans a crash during the `n`-th operation from now (from 1), which may or may not take effect. It and all later
    /// operations fail until [`SimDisk::crash`].
    pub fn crash_at(&self, n: u64) {
        self.state().plan_crash(n);
    }

    /// Whether a planned crash has happened.
    #[must_use]
    pub fn is_down(&self) -> bool {
        self.state().is_down()
    }

    /// Makes the next `n` operations fail. A failed write writes half; a failed sync drops the unsynced data, which
    /// stays visible until a crash.
    pub fn fail_next(&self, n: u64, kind: ErrorKind) {
        self.fail_at(1, n, kind);
    }

    /// As [`SimDisk::fail_next`], from the `first`-th operation from now (from 1).
    pub fn fail_at(&self, first: u64, n: u64, kind: ErrorKind) {
        self.state().plan_failure(first, n, kind);
    }

    /// Limits the sum of all file lengths to `bytes`; writes beyond fail with [`ErrorKind::StorageFull`].
    pub fn limit(&self, bytes: u64) {
        self.state().capacity = bytes;
    }

    /// Replaces the disk by an empty one. Open files become invalid.
    pub fn wipe(&self) {
        self.state().wipe();
    }

    /// Inverts the bits of `mask` in the byte at `offset` of a file, in both states.
    ///
    /// # Errors
    /// When the file or byte does not exist.
    pub fn flip(&self, path: &str, offset: u64, mask: u8) -> io::Result<()> {
        let mut state = self.state();
        let node = state.find(path)?;
        state.file(node)?.flip(offset, mask)
    }

    /// Truncates a file to `bytes`, in both states.
    ///
    /// # Errors
    /// When the file does not exist.
    pub fn truncate(&self, path: &str, bytes: u64) -> io::Result<()> {
        let mut state = self.state();
        let node = state.find(path)?;
        state.file(node)?.truncate(bytes);
        Ok(())
    }

    /// All files with their lengths, ordered by path. Not counted as an operation.
    #[must_use]
    pub fn files(&self) -> Vec<(String, u64)> {
        self.state().files()
    }

    /// Number of operations so far.
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
        let outcome = state.begin_operation()?;
        state.check_space(bytes)?;
        let folder = state.find(folder)?;
        let node = state.add(Node::new_file(bytes)?);
        state.dir(folder)?.change(vec![(name.into(), Some(node))]);
        outcome.into_result().map(|()| self.handle(node, state.generation))
    }

    fn open(&self, path: &str) -> io::Result<SimFile> {
        split(path)?;
        let mut state = self.state();
        state.begin_operation()?.into_result()?;
        let node = state.find(path)?;
        state.file(node)?;
        Ok(self.handle(node, state.generation))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        same_folder(from, to)?;
        let ((folder, old), (_, new)) = (split(from)?, split(to)?);
        let mut state = self.state();
        let outcome = state.begin_operation()?;
        let node = state.find(from)?;
        if let Ok(there) = state.find(to) {
            // Only a file may replace a file.
            if state.file(there).is_err() || state.file(node).is_err() {
                return Err(ErrorKind::AlreadyExists.into());
            }
        }
        let folder = state.find(folder)?;
        state.dir(folder)?.change(vec![(old.into(), None), (new.into(), Some(node))]);
        outcome.into_result()
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        let (folder, name) = split(path)?;
        let mut state = self.state();
        let outcome = state.begin_operation()?;
        let node = state.find(path)?;
        state.file(node)?;
        let folder = state.find(folder)?;
        state.dir(folder)?.change(vec![(name.into(), None)]);
        outcome.into_result()
    }

    fn create_dir(&self, path: &str) -> io::Result<()> {
        let (folder, name) = split(path)?;
        let mut state = self.state();
        let outcome = state.begin_operation()?;
        if let Ok(there) = state.find(path) {
            state.dir(there)?;
            return outcome.into_result();
        }
        let folder = state.find(folder)?;
        let node = state.add(Node::new_dir());
        state.dir(folder)?.change(vec![(name.into(), Some(node))]);
        outcome.into_result()
    }

    fn remove_dir(&self, path: &str) -> io::Result<()> {
        let (folder, name) = split(path)?;
        let mut state = self.state();
        let outcome = state.begin_operation()?;
        let node = state.find(path)?;
        if !state.dir(node)?.names().is_empty() {
            return Err(ErrorKind::DirectoryNotEmpty.into());
        }
        let folder = state.find(folder)?;
        state.dir(folder)?.change(vec![(name.into(), None)]);
        outcome.into_result()
    }

    fn list(&self, path: &str) -> io::Result<Vec<String>> {
        check(path)?;
        let mut state = self.state();
        state.begin_operation()?.into_result()?;
        let node = state.find(path)?;
        Ok(state.dir(node)?.names())
    }

    fn sync_dir(&self, path: &str) -> io::Result<()> {
        check(path)?;
        let mut state = self.state();
        let outcome = state.begin_operation()?;
        let node = state.find(path)?;
        if matches!(outcome, Outcome::Proceed) {
            state.dir(node)?.sync();
        }
        outcome.into_result()
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
        Err(io::Error::other("the file was opened before the crash"))
    }
}

impl DiskFile for SimFile {
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        let mut state = self.state()?;
        state.begin_operation()?.into_result()?;
        state.file(self.node)?.read(offset, into)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.state()?;
        let outcome = state.begin_operation()?;
        let grows = state.file(self.node)?.grows_by(offset, bytes.len());
        state.check_space(grows)?;
        let part = if matches!(outcome, Outcome::Fail(_)) { bytes.len() / 2 } else { bytes.len() };
        state.file(self.node)?.write(offset, &bytes[..part])?;
        outcome.into_result()
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.state()?;
        let outcome = state.begin_operation()?;
        let file = state.file(self.node)?;
        match outcome {
            Outcome::Proceed => file.sync(),
            Outcome::Fail(_) => file.drop_unsynced(),
            Outcome::Crash => {}
        }
        outcome.into_result()
    }

    fn bytes(&self) -> io::Result<u64> {
        Ok(self.state()?.file(self.node)?.bytes())
    }
}

#[cfg(test)]
mod tests;

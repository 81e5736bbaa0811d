//! The snapshots of a replica on a disk, and one that is being installed.

use meridian_replica::{Command, Event};
use meridian_shard::{Image, State};
use meridian_store::{Disk, Install, InstallError, SnapshotError, SnapshotId, Snapshots};

use crate::VolumeError;

/// Folder of the snapshots.
pub(crate) const SNAPSHOTS: &str = "snapshots";

/// The snapshots of a replica.
pub struct SnapshotVolume<D: Disk> {
    pub(crate) snapshots: Snapshots<D>,
    pub(crate) installing: Option<Install<D>>,
}

impl<D: Disk> SnapshotVolume<D> {
    /// Performs a command about snapshots; any other one is handed back.
    ///
    /// # Errors
    /// The command, if it is not about snapshots.
    pub fn perform(&mut self, command: Command) -> Result<Option<Event>, Box<Command>> {
        Ok(match command {
            Command::TakeSnapshot { id, meta, image } => {
                let manifest = self.take(id, meta, &image).ok();
                Some(Event::SnapshotTaken { id, manifest })
            }
            Command::ReadChunk { to, call, snapshot, file, offset, len } => {
                let read = |held: meridian_store::Snapshot<D>| held.read_chunk(&file, offset, u64::from(len));
                let bytes = self.snapshots.snapshot(SnapshotId(snapshot)).and_then(read).ok();
                Some(Event::ChunkRead { to, call, bytes })
            }
            Command::Install { manifest, .. } => Some(self.install(&manifest)),
            Command::InstallChunk { file, offset, bytes } => self.install_chunk(&file, offset, &bytes),
            other => return Err(Box::new(other)),
        })
    }

    fn take(&self, id: u64, meta: Vec<u8>, image: &Image) -> Result<Vec<u8>, SnapshotError> {
        let mut writer = self.snapshots.write(SnapshotId(id))?;
        for content in image.files() {
            let name = content.name();
            let mut file = writer.file(&name)?;
            content.write(&mut file).map_err(|source| SnapshotError::Disk { file: name, source })?;
            file.finish()?;
        }
        let snapshot = writer.commit(meta)?;
        self.snapshots.remove_older(SnapshotId(id))?;
        snapshot.manifest().encode().map_err(|_| SnapshotError::Name("manifest".into()))
    }

    fn install(&mut self, manifest: &[u8]) -> Event {
        match self.snapshots.install(manifest) {
            Ok(install) => {
                self.installing = Some(install);
                self.next_wanted()
            }
            // Installed before a crash, and not taken yet by the machine.
            Err(InstallError::Exists(id)) => match self.snapshots.snapshot(id) {
                Ok(snapshot) => installed(&snapshot),
                Err(fault) => Event::InstallFailed(fault.to_string()),
            },
            Err(fault) => Event::InstallFailed(fault.to_string()),
        }
    }

    fn install_chunk(&mut self, file: &str, offset: u64, bytes: &[u8]) -> Option<Event> {
        let install = self.installing.as_mut()?;
        match install.write_chunk(file, offset, bytes) {
            Ok(()) => Some(self.next_wanted()),
            Err(fault) => {
                self.installing = None;
                Some(Event::InstallFailed(fault.to_string()))
            }
        }
    }

    fn next_wanted(&mut self) -> Event {
        let Some(install) = self.installing.as_mut() else {
            return Event::InstallFailed("no snapshot is being installed".into());
        };
        if let Some(chunk) = install.missing(1).into_iter().next() {
            let len = u32::try_from(chunk.bytes).expect("a chunk is a mebibyte at most");
            return Event::InstallWants { file: chunk.file, offset: chunk.offset, len };
        }
        let finished = install.finish();
        self.installing = None;
        match finished {
            Ok(snapshot) => {
                // Older ones that stay cost only space.
                let _ = self.snapshots.remove_older(snapshot.id());
                installed(&snapshot)
            }
            Err(fault) => Event::InstallFailed(fault.to_string()),
        }
    }
}

fn installed<D: Disk>(snapshot: &meridian_store::Snapshot<D>) -> Event {
    match load(snapshot) {
        Ok(state) => Event::Installed { meta: snapshot.meta().to_vec(), state: Box::new(state) },
        Err(fault) => Event::InstallFailed(fault.to_string()),
    }
}

pub(crate) fn load<D: Disk>(snapshot: &meridian_store::Snapshot<D>) -> Result<State, VolumeError> {
    let open = |name: &str| match snapshot.reader(name) {
        Ok(file) => Ok(Some(file)),
        Err(SnapshotError::Name(_)) => Ok(None),
        Err(SnapshotError::Disk { source, .. }) => Err(source),
        Err(fault) => Err(std::io::Error::new(std::io::ErrorKind::InvalidData, fault)),
    };
    State::read(open).map_err(|source| VolumeError::State { id: snapshot.id().0, source })
}

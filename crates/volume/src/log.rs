//! The log of a replica on a disk.

use meridian_replica::Event;
use meridian_store::{CommitError, Disk, Lsn, Wal};

/// Folder of the log.
pub(crate) const LOG: &str = "log";

/// The log of a replica: commits are grouped.
pub struct LogVolume<D: Disk> {
    pub(crate) wal: Wal<D>,
    /// Appended, and not durable because the disk was full.
    pub(crate) waiting: Vec<Event>,
}

impl<D: Disk> LogVolume<D> {
    /// Makes all these batches durable by one commit; the events say so. When the disk is full the batches stay, and are
    /// made durable by a later call, also one without batches.
    ///
    /// # Errors
    /// [`CommitError::Full`] when the disk is full. After any other, what is on the disk is unknown: the replica must stop,
    /// and recover from the disk.
    pub fn persist(&mut self, batches: &[(u64, Vec<Vec<u8>>)]) -> Result<Vec<Event>, CommitError> {
        for (number, records) in batches {
            let first = self.wal.next_lsn().0;
            for record in records {
                self.wal.append(record).map_err(|fault| CommitError::Disk {
                    file: LOG.into(),
                    source: std::io::Error::other(fault.to_string()),
                })?;
            }
            self.waiting.push(Event::Persisted { number: *number, first });
        }
        self.wal.commit()?;
        Ok(std::mem::take(&mut self.waiting))
    }

    /// Length of the log's files.
    #[must_use]
    pub fn disk_bytes(&self) -> u64 {
        self.wal.stats().disk_bytes
    }

    /// Lets go of what stands before `lsn`; with `shrink`, gives the space back to the disk.
    ///
    /// # Errors
    /// As [`LogVolume::persist`].
    pub fn release(&mut self, lsn: u64, shrink: bool) -> Result<(), CommitError> {
        self.wal.release(Lsn(lsn));
        if shrink { self.wal.shrink() } else { Ok(()) }
    }

    /// Bytes that the log can take without asking the disk for space.
    #[must_use]
    pub fn reusable_bytes(&self) -> u64 {
        self.wal.reusable_bytes()
    }

    /// Makes a spare segment, when nothing else is to be done.
    ///
    /// # Errors
    /// As [`LogVolume::persist`].
    pub fn prepare(&mut self) -> Result<(), CommitError> {
        self.wal.prepare()
    }
}

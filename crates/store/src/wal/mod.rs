//! The write-ahead log: an ordered sequence of opaque records, durable after [`Wal::commit`].

mod error;
mod frame;
mod open;
mod segment;
mod sync_mark;

use std::collections::VecDeque;
use std::fmt;
use std::io;

use crate::disk::{Disk, DiskFile};
pub use error::{AppendError, CommitError, OpenError};
pub use frame::Fault;
pub use open::ReadWal;
use segment::{Header, Segment};
use sync_mark::SyncMark;

/// Log sequence number of a record: from 1, without gaps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Lsn(pub u64);

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Default segment size: creation takes about as long as 100 commits; holds some 10,000 points.
pub const SEGMENT_BYTES: u64 = 64 << 20;

/// Minimum segment size: two copies of the header, and as much for records.
pub const MIN_SEGMENT_BYTES: u64 = 2 * segment::DATA_START;

/// Record size limit: the largest HTTP body (32 MiB) in a wasteful encoding. It must also fit a segment.
pub const MAX_RECORD_BYTES: u64 = 48 << 20;

/// Released segments kept for reuse; more are removed.
pub const SPARE_SEGMENTS: usize = 2;

/// Options of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WalOptions {
    /// Owner, stored in every segment; a log of another owner is refused.
    pub owner: [u8; 16],
    /// Size of new segments, at least [`MIN_SEGMENT_BYTES`]; existing ones keep theirs.
    pub segment_bytes: u64,
}

impl Default for WalOptions {
    fn default() -> Self {
        Self { owner: [0; 16], segment_bytes: SEGMENT_BYTES }
    }
}

/// Content of a log when it was opened.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Recovered {
    /// Records in order, without gaps, all durable. The first ones may have been released before.
    pub records: Vec<(Lsn, Vec<u8>)>,
    /// Bytes of the truncated torn tail, whose records were never acknowledged; 0 when there was none.
    pub torn_bytes: u64,
}

/// Result of [`Wal::peek`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Peeked {
    /// Owner in the first readable header.
    pub owner: Option<[u8; 16]>,
    /// Records; `None` when the log has more than one segment, or its beginning was released.
    pub records: Option<Vec<Vec<u8>>>,
}

/// Counters and sizes of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WalStats {
    /// Segments with unreleased records, the current one included.
    pub segments: usize,
    /// Released segments kept for reuse.
    pub spares: usize,
    /// Size of all segment files.
    pub disk_bytes: u64,
    /// Non-empty commits since opening.
    pub commits: u64,
    /// Records made durable since opening.
    pub records: u64,
    /// Bytes of frames written since opening.
    pub written_bytes: u64,
}

/// A log of opaque records in preallocated, recycled segment files. Formats: `FORMAT.md`.
///
/// After a failed [`Wal::commit`] (other than a full disk) it refuses all work: what lies on the disk is unknown until
/// it is opened again.
///
/// ```
/// use meridian_store::{SimDisk, Wal, WalOptions};
///
/// let disk = SimDisk::new(); // `RealDisk` for files
/// let options = WalOptions { owner: *b"an example's log", ..WalOptions::default() };
/// let (mut wal, recovered) = Wal::open(&disk, "wal", options)?;
/// assert!(recovered.records.is_empty());
///
/// let lsn = wal.append(b"a record")?;
/// wal.commit()?; // durable from here on
/// drop(wal);
///
/// let (_, recovered) = Wal::open(&disk, "wal", options)?;
/// assert_eq!(recovered.records, [(lsn, b"a record".to_vec())]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Wal<D: Disk> {
    disk: D,
    dir: String,
    options: WalOptions,
    /// Segments with unreleased records, oldest first; the last one is current.
    live: VecDeque<Segment<D::File>>,
    /// Released segments. On disk they count as live until the next header is written.
    spare: Vec<Segment<D::File>>,
    next_slot: u64,
    /// Offset of the next frame in the current segment.
    at: u64,
    next: u64,
    synced: u64,
    mark: SyncMark<D::File>,
    /// Appended frames that are not written yet, and their lengths.
    buffer: Vec<u8>,
    frames: VecDeque<usize>,
    poisoned: bool,
    stats: WalStats,
}

impl<D: Disk> Wal<D> {
    /// Opens the log in the folder `dir`, or creates it. Nothing is written before the whole log is verified.
    ///
    /// # Errors
    /// [`OpenError::Damaged`] and [`OpenError::Missing`] when synced records are damaged or missing: the replica must
    /// not vote or lead until it is repaired from others.
    pub fn open(disk: &D, dir: &str, options: WalOptions) -> Result<(Self, Recovered), OpenError> {
        open::read(disk, dir, options)?.open()
    }

    /// The first half of [`Wal::open`]: reads the log in the folder `dir` and writes nothing, so that a caller can look
    /// at the records first.
    ///
    /// # Errors
    /// As [`Wal::open`].
    pub fn read(disk: &D, dir: &str, options: WalOptions) -> Result<ReadWal<D>, OpenError> {
        open::read(disk, dir, options)
    }

    /// Reads a log of any owner without writing. A log that was never begun has no owner and no records.
    ///
    /// # Errors
    /// As [`Wal::open`], except for foreign owners.
    pub fn peek(disk: &D, dir: &str) -> Result<Peeked, OpenError> {
        open::peek(disk, dir)
    }

    /// Appends a record; it is durable after the next [`Wal::commit`]. No I/O.
    ///
    /// # Errors
    /// When the record is too large or the log is poisoned.
    pub fn append(&mut self, record: &[u8]) -> Result<Lsn, AppendError> {
        if self.poisoned {
            return Err(AppendError::Poisoned);
        }
        let (bytes, max) = (record.len() as u64, self.max_record_bytes());
        if bytes > max {
            return Err(AppendError::TooLarge { bytes, max });
        }
        let lsn = self.next;
        self.frames.push_back(frame::encode(&mut self.buffer, lsn, record));
        self.next += 1;
        Ok(Lsn(lsn))
    }

    /// Makes all appended records durable: one write and one `fdatasync`, more only at the end of a segment.
    ///
    /// # Errors
    /// [`CommitError::Full`] keeps records that are not durable for the next commit; [`Wal::synced`] tells how far it
    /// came. Any other error poisons the log: whether the records are durable is unknown.
    pub fn commit(&mut self) -> Result<(), CommitError> {
        if self.poisoned {
            return Err(CommitError::Poisoned);
        }
        if self.frames.is_empty() {
            return Ok(());
        }
        self.poisoned = true;
        let done = self.write_out();
        self.poisoned = matches!(done, Err(CommitError::Disk { .. }));
        done
    }

    fn write_out(&mut self) -> Result<(), CommitError> {
        while !self.frames.is_empty() {
            let segment = self.live.back().expect("a log has a current segment");
            let (records, bytes) = self.frames_that_fit(segment.header.segment_bytes - self.at);
            if records == 0 {
                self.rotate()?;
                continue;
            }
            frame::finish(&mut self.buffer[..bytes], &segment.header.salt(), self.synced);
            let failed = |source| CommitError::Disk { file: segment.path.clone(), source };
            segment.file.write_at(self.at, &self.buffer[..bytes]).map_err(failed)?;
            segment.file.sync_data().map_err(failed)?;
            self.at += bytes as u64;
            self.synced += records as u64;
            self.buffer.drain(..bytes);
            self.frames.drain(..records);
            self.stats.records += records as u64;
            self.stats.written_bytes += bytes as u64;
        }
        self.stats.commits += 1;
        self.mark.write(self.synced).map_err(|source| CommitError::Disk { file: self.mark.path.clone(), source })
    }

    /// Number of buffered frames that fit into `free_bytes`, and their total length.
    fn frames_that_fit(&self, free_bytes: u64) -> (usize, usize) {
        let (mut records, mut bytes) = (0, 0);
        for frame in &self.frames {
            if (bytes + frame) as u64 > free_bytes {
                break;
            }
            records += 1;
            bytes += frame;
        }
        (records, bytes)
    }

    /// Starts the next segment. All earlier records are synced, which its header then proves.
    fn rotate(&mut self) -> Result<(), CommitError> {
        let current = self.live.back().expect("a log has a current segment");
        let oldest = self.live.front().map_or(current.header.seq, |segment| segment.header.seq);
        let header = Header {
            owner: self.options.owner,
            seq: current.header.seq + 1,
            first_lsn: self.synced + 1,
            oldest_seq: oldest,
            segment_bytes: self.options.segment_bytes,
        };
        self.prepare()?;
        let has_current_size = |spare: &Segment<D::File>| spare.header.segment_bytes == self.options.segment_bytes;
        let index = self.spare.iter().position(has_current_size).expect("a spare segment was just prepared");
        let mut segment = self.spare.swap_remove(index);
        segment.restart(header).map_err(|source| CommitError::Disk { file: segment.path.clone(), source })?;
        self.live.push_back(segment);
        self.at = segment::DATA_START;
        self.trim(SPARE_SEGMENTS)
    }

    /// Removes all released segments instead of keeping some for reuse. Cost: one `fdatasync` and the removals.
    ///
    /// # Errors
    /// As [`Wal::commit`].
    pub fn shrink(&mut self) -> Result<(), CommitError> {
        if self.poisoned {
            return Err(CommitError::Poisoned);
        }
        if self.spare.is_empty() || !self.frames.is_empty() {
            return Ok(());
        }
        self.poisoned = true;
        // The newest header on disk may still list them as live: rotate to write one that does not.
        let done = self.rotate().and_then(|()| self.trim(0));
        self.poisoned = matches!(done, Err(CommitError::Disk { .. }));
        done
    }

    /// Bytes that can be written without new disk space: the rest of the current segment, and released segments.
    #[must_use]
    pub fn reusable_bytes(&self) -> u64 {
        let rest = self.live.back().map_or(0, |current| current.header.segment_bytes.saturating_sub(self.at));
        self.spare.iter().map(|spare| spare.header.segment_bytes).sum::<u64>() + rest
    }

    /// Preallocates a segment, so that a later commit need not. Meant for idle moments.
    ///
    /// # Errors
    /// As [`Wal::commit`]; [`CommitError::Full`] is harmless.
    pub fn prepare(&mut self) -> Result<(), CommitError> {
        let bytes = self.options.segment_bytes;
        if self.spare.iter().any(|spare| spare.header.segment_bytes == bytes) {
            return Ok(());
        }
        let path = format!("{}/{}", self.dir, segment::file_name(self.next_slot));
        match Segment::create(&self.disk, &self.dir, path.clone(), bytes) {
            Ok(segment) => self.spare.push(segment),
            Err(e) if e.kind() == io::ErrorKind::StorageFull => return Err(CommitError::Full { needed: bytes }),
            Err(source) => {
                self.poisoned = true;
                return Err(CommitError::Disk { file: path, source });
            }
        }
        self.next_slot += 1;
        Ok(())
    }

    /// Removes released segments beyond `most`; the newest header on disk lists none of them.
    fn trim(&mut self, most: usize) -> Result<(), CommitError> {
        while self.spare.len() > most {
            let has_other_size = |spare: &Segment<D::File>| spare.header.segment_bytes != self.options.segment_bytes;
            let gone = self.spare.swap_remove(self.spare.iter().position(has_other_size).unwrap_or(0));
            self.disk.remove(&gone.path).map_err(|source| CommitError::Disk { file: gone.path, source })?;
        }
        Ok(())
    }

    /// Releases records before `before`: whole segments below it are reused. No I/O; a reopened log may contain them again.
    pub fn release(&mut self, before: Lsn) {
        while self.live.get(1).is_some_and(|second| second.header.first_lsn <= before.0) {
            self.spare.extend(self.live.pop_front());
        }
    }

    /// LSN of the next appended record.
    #[must_use]
    pub fn next_lsn(&self) -> Lsn {
        Lsn(self.next)
    }

    /// Newest durable record; zero when there is none.
    #[must_use]
    pub fn synced(&self) -> Lsn {
        Lsn(self.synced)
    }

    /// Oldest record in the log, or the next one when it is empty.
    #[must_use]
    pub fn first_lsn(&self) -> Lsn {
        Lsn(self.live.front().map_or(self.next, |segment| segment.header.first_lsn))
    }

    /// Whether a failed commit poisoned the log.
    #[must_use]
    pub fn is_poisoned(&self) -> bool {
        self.poisoned
    }

    /// Size limit of [`Wal::append`], in bytes.
    #[must_use]
    pub fn max_record_bytes(&self) -> u64 {
        MAX_RECORD_BYTES.min(self.options.segment_bytes - segment::DATA_START - frame::HEAD_BYTES as u64)
    }

    /// Counters and sizes.
    #[must_use]
    pub fn stats(&self) -> WalStats {
        let disk_bytes = self.live.iter().chain(&self.spare).map(|segment| segment.header.segment_bytes).sum();
        WalStats { segments: self.live.len(), spares: self.spare.len(), disk_bytes, ..self.stats }
    }
}

impl<D: Disk> fmt::Debug for Wal<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Wal");
        out.field("dir", &self.dir).field("next", &self.next).field("synced", &self.synced);
        out.field("poisoned", &self.poisoned).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;

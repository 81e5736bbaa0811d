//! Recovery of a log: all synced records must be valid; unsynced ones may be torn.

use std::collections::VecDeque;

use super::frame::{self, Fault};
use super::segment::{self, DATA_START, Header, Segment};
use super::sync_mark::{self, SyncMark};
use super::{Lsn, MIN_SEGMENT_BYTES, OpenError, Peeked, Recovered, Wal, WalOptions, WalStats};
use crate::disk::{Disk, DiskFile};
use crate::envelope::EnvelopeError;

const MARK_FILE: &str = "mark";

/// Result of one pass over the files, before anything is written.
struct ScannedSegments<F> {
    live: VecDeque<Segment<F>>,
    spare: Vec<Segment<F>>,
    /// Segment files whose creation was interrupted.
    unfinished: Vec<String>,
    next_slot: u64,
}

/// The end of the log in its newest segment.
struct End {
    at: usize,
    next: u64,
    /// Newest record that is proven synced; later frames may only be in the page cache.
    synced: u64,
    /// Offset of the first frame after `synced`.
    unsynced_at: usize,
    /// Those frames.
    unsynced: Vec<u8>,
    torn_bytes: u64,
}

/// A log that was read and is sound. Nothing was written to its files: a caller may look at the records, and drop it when
/// they are of a newer release.
pub struct ReadWal<D: Disk> {
    disk: D,
    dir: String,
    options: WalOptions,
    found: ScannedSegments<D::File>,
    end: End,
    recovered: Recovered,
}

pub(super) fn read<D: Disk>(disk: &D, dir: &str, options: WalOptions) -> Result<ReadWal<D>, OpenError> {
    let (found, min) = (options.segment_bytes, MIN_SEGMENT_BYTES);
    if found < min {
        return Err(OpenError::SegmentBytes { found, min });
    }
    let marked = sync_mark::read(disk, &format!("{dir}/{MARK_FILE}"), options.owner)?;
    let found = scan_segments(disk, dir, options.owner)?;
    let mut recovered = Recovered::default();
    let end = read_all(&found, dir, marked, &mut recovered)?;
    recovered.torn_bytes = end.torn_bytes;
    Ok(ReadWal { disk: disk.clone(), dir: dir.into(), options, found, end, recovered })
}

impl<D: Disk> ReadWal<D> {
    /// The records of the log, in order.
    #[must_use]
    pub fn records(&self) -> &[(Lsn, Vec<u8>)] {
        &self.recovered.records
    }

    /// Opens the log for writing. From here on the disk is written to.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn open(self) -> Result<(Wal<D>, Recovered), OpenError> {
        let Self { disk, dir, options, found, end, recovered } = self;
        let at_dir = |source| OpenError::Disk { file: dir.clone(), source };
        disk.create_dir(&dir).map_err(at_dir)?;
        let parent = dir.rsplit_once('/').map_or("", |(parent, _)| parent);
        disk.sync_dir(parent).map_err(at_dir)?;
        for path in &found.unfinished {
            disk.remove(path).map_err(|source| OpenError::Disk { file: path.clone(), source })?;
        }
        let mark_path = format!("{dir}/{MARK_FILE}");
        let mark = SyncMark::open(&disk, mark_path.clone(), options.owner)
            .map_err(|source| OpenError::Disk { file: mark_path, source })?;
        disk.sync_dir(&dir).map_err(at_dir)?;
        let mut wal = Wal {
            disk,
            dir: dir.clone(),
            options,
            live: found.live,
            spare: found.spare,
            next_slot: found.next_slot,
            at: end.at as u64,
            next: end.next,
            synced: end.next - 1,
            mark,
            buffer: Vec::new(),
            frames: VecDeque::new(),
            poisoned: false,
            stats: WalStats::default(),
        };
        wal.rewrite_tail(&end)?;
        Ok((wal, recovered))
    }
}

pub(super) fn peek<D: Disk>(disk: &D, dir: &str) -> Result<Peeked, OpenError> {
    let mark_path = format!("{dir}/{MARK_FILE}");
    let Some(owner) = owner(disk, dir)? else {
        return match sync_mark::read_any(disk, &mark_path)? {
            Some((_, synced)) if synced > 0 => Err(missing_segments(dir, synced)),
            // At most a first segment whose header was never synced: the log was not begun.
            _ => Ok(Peeked { owner: None, records: Some(Vec::new()) }),
        };
    };
    let marked = sync_mark::read(disk, &mark_path, owner)?;
    let found = scan_segments(disk, dir, owner)?;
    if found.live.len() > 1 || found.live.front().is_some_and(|first| first.header.first_lsn > 1) {
        return Ok(Peeked { owner: Some(owner), records: None });
    }
    let mut recovered = Recovered::default();
    read_all(&found, dir, marked, &mut recovered)?;
    let records = recovered.records.into_iter().map(|(_, record)| record).collect();
    Ok(Peeked { owner: Some(owner), records: Some(records) })
}

/// Owner in the first readable segment header; `None` when no segment was ever begun.
fn owner<D: Disk>(disk: &D, dir: &str) -> Result<Option<[u8; 16]>, OpenError> {
    let mut damaged = None;
    for name in disk.list(dir).map_err(|source| OpenError::Disk { file: dir.into(), source })? {
        if segment::slot_of(&name).is_none() {
            continue;
        }
        let path = format!("{dir}/{name}");
        let failed = |source| OpenError::Disk { file: path.clone(), source };
        let file = disk.open(&path).map_err(failed)?;
        let bytes = file.bytes().map_err(failed)?;
        let mut head = vec![0; to_usize(bytes.min(DATA_START))];
        file.read_at(0, &mut head).map_err(failed)?;
        match Header::decode(&head) {
            Ok(Some(header)) => return Ok(Some(header.owner)),
            Ok(None) => {}
            Err(EnvelopeError::FutureVersion { found, supported }) => {
                return Err(OpenError::FutureVersion { file: path, found, supported });
            }
            Err(source) => damaged = damaged.or(Some(OpenError::Header { segment: path, source })),
        }
    }
    damaged.map_or(Ok(None), Err)
}

impl<D: Disk> Wal<D> {
    /// Makes all recovered records durable, and ensures that no bytes after them can be read as a record.
    fn rewrite_tail(&mut self, end: &End) -> Result<(), OpenError> {
        let failed = |file: &str, source| OpenError::Disk { file: file.into(), source };
        let Some(last) = self.live.back_mut() else {
            return self.create_first_segment();
        };
        // Frames after the mark are rewritten, not only synced: after a failed sync, the page cache may contain clean
        // pages that never reached the disk. Zeros overwrite the torn tail, so that no new frame can end where an old
        // one begins.
        let mut tail = end.unsynced.clone();
        tail.resize(tail.len() + to_usize(end.torn_bytes), 0);
        last.file.write_at(end.unsynced_at as u64, &tail).map_err(|source| failed(&last.path, source))?;
        if last.header.first_lsn == self.next {
            // Its header may be unsynced as well.
            last.restart(last.header).map_err(|source| failed(&last.path, source))?;
        } else {
            last.file.sync_data().map_err(|source| failed(&last.path, source))?;
        }
        self.mark.write(self.synced).map_err(|source| failed(&self.mark.path, source))
    }

    /// Creates the first segment of a new log.
    fn create_first_segment(&mut self) -> Result<(), OpenError> {
        self.prepare().map_err(into_open_error)?;
        let mut segment = self.spare.pop().expect("a spare segment was just prepared");
        let header = Header {
            owner: self.options.owner,
            seq: 1,
            first_lsn: 1,
            oldest_seq: 1,
            segment_bytes: segment.header.segment_bytes,
        };
        segment.restart(header).map_err(|source| OpenError::Disk { file: segment.path.clone(), source })?;
        self.live.push_back(segment);
        Ok(())
    }
}

fn into_open_error(error: super::CommitError) -> OpenError {
    use super::CommitError::{Disk, Full, Poisoned};
    match error {
        Disk { file, source } => OpenError::Disk { file, source },
        full @ (Full { .. } | Poisoned) => {
            let source = std::io::Error::new(std::io::ErrorKind::StorageFull, full);
            OpenError::Disk { file: "segment".into(), source }
        }
    }
}

/// Classifies the segment files by their headers.
fn scan_segments<D: Disk>(disk: &D, dir: &str, owner: [u8; 16]) -> Result<ScannedSegments<D::File>, OpenError> {
    let at_dir = |source| OpenError::Disk { file: dir.into(), source };
    let (mut used, mut spare, mut unfinished) = (Vec::new(), Vec::new(), Vec::new());
    let mut next_slot = 1;
    let names = match disk.list(dir) {
        Err(fault) if fault.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        names => names.map_err(at_dir)?,
    };
    for name in names {
        let Some(slot) = segment::slot_of(&name) else { continue };
        next_slot = next_slot.max(slot + 1);
        let path = format!("{dir}/{name}");
        let failed = |source| OpenError::Disk { file: path.clone(), source };
        let file = disk.open(&path).map_err(failed)?;
        let bytes = file.bytes().map_err(failed)?;
        let mut head = vec![0; usize::try_from(bytes.min(DATA_START)).expect("a few KiB")];
        file.read_at(0, &mut head).map_err(failed)?;
        match Header::decode(&head) {
            Ok(Some(header)) if header.owner != owner => {
                return Err(OpenError::Foreign { file: path, found: header.owner, expected: owner });
            }
            Ok(Some(header)) => {
                if bytes != header.segment_bytes || header.is_invalid() {
                    let what = format!("in {path} has {bytes} bytes, expected {}", header.segment_bytes);
                    return Err(OpenError::Missing { dir: dir.into(), seq: header.seq, what });
                }
                used.push(Segment { path, file, header });
            }
            // An interrupted creation; its intended size is unknown.
            Ok(None) => unfinished.push(path),
            Err(EnvelopeError::FutureVersion { found, supported }) => {
                return Err(OpenError::FutureVersion { file: path, found, supported });
            }
            Err(source) => return Err(OpenError::Header { segment: path, source }),
        }
    }
    used.sort_by_key(|segment| segment.header.seq);
    let oldest = used.last().map_or(0, |newest| newest.header.oldest_seq);
    let first_live = used.partition_point(|segment| segment.header.seq < oldest);
    let live: VecDeque<_> = used.drain(first_live..).collect();
    spare.extend(used);
    for (segment, seq) in live.iter().zip(oldest..) {
        if segment.header.seq != seq {
            let what = if segment.header.seq < seq { "is duplicate" } else { "is missing" };
            let seq = seq.min(segment.header.seq);
            return Err(OpenError::Missing { dir: dir.into(), seq, what: what.into() });
        }
    }
    Ok(ScannedSegments { live, spare, unfinished, next_slot })
}

/// Error for a log without segments although records were synced.
fn missing_segments(dir: &str, synced: u64) -> OpenError {
    let what = format!("is missing, though records up to {synced} were synced");
    OpenError::Missing { dir: dir.into(), seq: 1, what }
}

/// Reads all records and finds the end of the log.
fn read_all<F: DiskFile>(
    found: &ScannedSegments<F>,
    dir: &str,
    marked: u64,
    recovered: &mut Recovered,
) -> Result<End, OpenError> {
    let mut end = End { at: to_usize(DATA_START), next: 1, synced: 0, unsynced_at: 0, unsynced: vec![], torn_bytes: 0 };
    if found.live.is_empty() && marked > 0 {
        return Err(missing_segments(dir, marked));
    }
    let mut bytes = Vec::new();
    for (index, segment) in found.live.iter().enumerate() {
        let failed = |source| OpenError::Disk { file: segment.path.clone(), source };
        bytes.resize(to_usize(segment.header.segment_bytes), 0);
        segment.file.read_at(0, &mut bytes).map_err(failed)?;
        let first = segment.header.first_lsn;
        if index > 0 && first != end.next {
            let what = format!("starts with record {first}, expected {}", end.next);
            return Err(OpenError::Missing { dir: dir.into(), seq: segment.header.seq, what });
        }
        // The next segment was begun after all earlier records were synced.
        let synced_before = found.live.get(index + 1).map(|next| next.header.first_lsn);
        read_segment(segment, &bytes, synced_before, marked, recovered, &mut end)?;
    }
    Ok(end)
}

/// Reads one segment up to record `until`, or to the end of the log when it is `None`.
fn read_segment<F>(
    segment: &Segment<F>,
    bytes: &[u8],
    until: Option<u64>,
    marked: u64,
    recovered: &mut Recovered,
    end: &mut End,
) -> Result<(), OpenError> {
    let salt = segment.header.salt();
    let (mut at, mut next) = (to_usize(DATA_START), segment.header.first_lsn);
    let mut synced = marked.max(until.unwrap_or(segment.header.first_lsn) - 1);
    let mut starts = Vec::new();
    let fault = loop {
        if until == Some(next) {
            break Fault::End;
        }
        match frame::decode(bytes, at, &salt, next) {
            Ok(frame) => {
                recovered.records.push((Lsn(frame.lsn), frame.record.to_vec()));
                synced = synced.max(frame.synced);
                starts.push((next, at));
                at += frame.bytes;
                next += 1;
            }
            Err(fault) => break fault,
        }
    };
    *end = End { at, next, synced, unsynced_at: at, unsynced: Vec::new(), torn_bytes: 0 };
    if until == Some(next) {
        return Ok(());
    }
    let tail = frame::find_tail(bytes, at, &salt, next);
    end.synced = synced.max(tail.synced);
    if end.synced >= next {
        let (segment, offset) = (segment.path.clone(), at as u64);
        return Err(OpenError::Damaged { segment, offset, lsn: Lsn(next), fault });
    }
    end.torn_bytes = tail.bytes;
    end.unsynced_at = starts.iter().find(|(lsn, _)| *lsn > end.synced).map_or(at, |(_, start)| *start);
    end.unsynced = bytes[end.unsynced_at..at].to_vec();
    Ok(())
}

fn to_usize(bytes: u64) -> usize {
    usize::try_from(bytes).expect("files are shorter than memory is wide")
}

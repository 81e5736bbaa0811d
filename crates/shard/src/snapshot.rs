//! Snapshots: the state as files, and back.
//!
//! ```text
//!   every file    byte 0             format version, 3
//!                 bytes 1..3         behavior version that a replica needs to read it, little-endian: that of the group
//!                 bytes 3..n-32      body
//!                 bytes n-32..n      BLAKE3 of all bytes before
//!   core          body: postcard of `CoreFile`; from behavior version 2 on, postcard of `CoreSince2` behind it
//!   points-<uid>  body: postcard of `PointsHead`, then of as many `Row`s as it says; one file for each collection
//!   graph-<uid>-<i>   body: the index of the collection's i-th vector, as `ann` writes it
//! ```
//! A snapshot is written in the form of its group's behavior version, so that a follower of the previous release can
//! install it. A snapshot of a newer version is refused ([`RestoreError::VersionUnknown`]); it is not damaged.

use std::collections::BTreeMap;
use std::io::{self, BufWriter, Read, Write};
use std::ops::Bound;
use std::sync::Arc;

use meridian_model::{
    BehaviorVersion, CollectionDef, CollectionUid, Epoch, Hlc, LogIndex, OriginShard, Payload, PointId, Seq,
    VersionUnknown, WriteId,
};
use serde::{Deserialize, Serialize};

use self::sealed::{Values, read_sealed};
use crate::collection::seed;
use crate::entry::is_whole;
use crate::outbox::{Outbox, TookPlace};
use crate::records::Records;
use crate::state::{Core, CoreSince2};
use crate::vectors::{IndexFault, VectorIndex};
use crate::write_ids::WriteIds;
use crate::{Collection, Located, Stamp, State, WriteResult};

mod sealed;

/// First byte of every file of a snapshot.
const SNAPSHOT_VERSION: u8 = 3;
const HASH_BYTES: usize = 32;

#[derive(Serialize, Deserialize)]
struct CoreFile {
    core: Core,
    collections: Vec<CollectionUid>,
    /// Oldest first, each with the entry that recorded it.
    write_ids: Vec<(WriteId, u32, LogIndex, WriteResult)>,
    /// The entry that recorded the newest dropped result.
    forgotten: LogIndex,
    outbox: Vec<(LogIndex, Epoch, Seq)>,
    /// For the conditional writes in the outbox, the changes that took effect.
    took_place: Vec<(LogIndex, TookPlace)>,
    checksums: Vec<(LogIndex, [u8; 32])>,
    /// Checksum of the whole state; the restored state must have it too.
    checksum: [u8; 32],
}

#[derive(Serialize, Deserialize)]
struct PointsHead {
    uid: CollectionUid,
    def: CollectionDef,
    /// Each origin once; rows refer to them.
    origins: Vec<OriginShard>,
    /// Slots without a point; together with those of the rows they are all slots from 0 on.
    free: Vec<u32>,
    /// Number of the following rows, which are sorted by id.
    rows: u64,
}

/// Smallest size of a row, in bytes: one for each number and for the length of the payload, two for the id.
const ROW_BYTES: u64 = 8;

#[derive(Serialize, Deserialize)]
struct Row {
    id: PointId,
    slot: u32,
    hlc: Hlc,
    origin: u32,
    epoch: Epoch,
    seq: Seq,
    payload: Payload,
}

/// Reason for which files are not a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// The file does not exist.
    #[error("snapshot file {0} is missing")]
    Missing(String),
    /// Written by a newer release.
    #[error("snapshot file {file}: {source}")]
    VersionUnknown {
        /// The file.
        file: String,
        /// Its version.
        source: VersionUnknown,
    },
    /// Written before 0.2.0, whose formats are not read.
    #[error("snapshot file {file} has format version {version}; this build reads version {SNAPSHOT_VERSION}")]
    Version {
        /// The file.
        file: String,
        /// Its version.
        version: u8,
    },
    /// The bytes differ from those that were written.
    #[error("snapshot file {0} is damaged")]
    Damaged(String),
    /// The disk returns an error.
    #[error("read snapshot file {file}: {reason}")]
    Unreadable {
        /// The file.
        file: String,
        /// The kind of error.
        kind: io::ErrorKind,
        /// The error of the disk.
        reason: String,
    },
    /// The hash is correct, but not the contents.
    #[error("snapshot file {file}: {reason}")]
    Malformed {
        /// The file.
        file: String,
        /// The violation.
        reason: String,
    },
    /// The files do not belong together.
    #[error("the restored state has another checksum than the saved one")]
    Checksum,
}

impl RestoreError {
    /// Returns true if files are lost or changed, as opposed to written by another release or unreadable.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Version { .. } | Self::VersionUnknown { .. } => false,
            // Missing, truncated, or bytes other than the manifest says.
            Self::Unreadable { kind, .. } => {
                matches!(kind, io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData)
            }
            Self::Missing(_) | Self::Damaged(_) | Self::Malformed { .. } | Self::Checksum => true,
        }
    }

    /// Returns true if a newer release wrote the files.
    #[must_use]
    pub fn is_newer(&self) -> bool {
        matches!(self, Self::VersionUnknown { .. })
    }

    fn unreadable(file: &str, fault: &io::Error) -> Self {
        Self::Unreadable { file: file.into(), kind: fault.kind(), reason: fault.to_string() }
    }
}

const CORE: &str = "core";

fn points_name(uid: CollectionUid) -> String {
    format!("points-{uid}")
}

fn graph_name(uid: CollectionUid, nth: usize) -> String {
    format!("graph-{uid}-{nth}")
}

impl State {
    /// The whole current state, to be written on another thread. Cost: a copy of a few bytes for each point, stored
    /// result and unpublished entry.
    #[must_use]
    pub fn image(&mut self) -> Image {
        Image {
            checksum: self.checksum(),
            core: self.core.clone(),
            write_ids: self.write_ids.clone(),
            outbox: self.outbox.clone(),
            checksums: self.checksums.iter().copied().collect(),
            collections: self.collections.iter_mut().map(|(_, collection)| CollectionImage::of(collection)).collect(),
        }
    }

    /// The whole state as files by name. Equal states need not have equal graph files.
    #[must_use]
    pub fn snapshot(&mut self) -> Vec<(String, Vec<u8>)> {
        let image = self.image();
        let content = |file: ImageFile<'_>| {
            let mut bytes = Vec::new();
            file.write(&mut bytes).expect("memory takes all bytes");
            (file.name(), bytes)
        };
        image.files().map(content).collect()
    }

    /// Like [`State::read`], for files in memory.
    ///
    /// # Errors
    /// As for [`State::read`].
    pub fn restore(files: &[(String, Vec<u8>)]) -> Result<Self, RestoreError> {
        let files: BTreeMap<&str, &[u8]> =
            files.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())).collect();
        Self::read(|name| Ok(files.get(name).map(|bytes| (*bytes, bytes.len() as u64))))
    }

    /// Reverses [`State::snapshot`]: same checksum, digest and answers. `open` returns a file and its length, or `None`
    /// if there is no file of that name. Files are read in pieces: memory is that of the state, and proportional to the
    /// files even for invalid contents. Every vector is hashed once.
    ///
    /// # Errors
    /// [`RestoreError`]: a file is missing, unreadable, damaged or of a newer format, or the files do not belong
    /// together.
    pub fn read<R: Read>(mut open: impl FnMut(&str) -> io::Result<Option<(R, u64)>>) -> Result<Self, RestoreError> {
        let (input, _) = open_file(&mut open, CORE)?;
        let saved = read_sealed(CORE, input, |body| read_core(&mut Values::of(body)))?;
        if !is_whole(&saved.core.table) {
            return Err(malformed(CORE, "a broken bucket table"));
        }
        if saved.core.epoch.0 == 0 || saved.core.next_seq.0 == 0 {
            return Err(malformed(CORE, "epochs and sequences count from 1"));
        }
        let mut state = Self::of(saved.core);
        for uid in saved.collections {
            let collection = read_collection(&mut open, uid)?;
            if Arc::make_mut(&mut state.names).insert(collection.def().name.clone(), uid).is_some() {
                return Err(malformed(CORE, "two collections of one name"));
            }
            state.collections.insert(uid, collection);
        }
        for (id, part, index, result) in saved.write_ids {
            state.write_ids.record(id, part, index, result);
        }
        state.write_ids.set_forgotten(saved.forgotten);
        let outbox = saved.outbox.into_iter().map(|(index, epoch, first)| Located { index, epoch, first });
        outbox.for_each(|located| state.outbox.push(located));
        saved.took_place.into_iter().for_each(|(index, bits)| state.outbox.put_back(index, bits));
        state.checksums = saved.checksums.into();
        if state.checksum() == saved.checksum { Ok(state) } else { Err(RestoreError::Checksum) }
    }
}

/// The state at one applied index, while further entries are applied. Any thread may write it.
pub struct Image {
    core: Core,
    write_ids: WriteIds,
    outbox: Outbox,
    checksums: Vec<(LogIndex, [u8; 32])>,
    checksum: [u8; 32],
    collections: Vec<CollectionImage>,
}

struct CollectionImage {
    uid: CollectionUid,
    def: Arc<CollectionDef>,
    records: Records,
    indexes: Vec<meridian_ann::Image>,
}

/// One file of a snapshot to be written.
pub struct ImageFile<'a> {
    image: &'a Image,
    content: Content<'a>,
}

enum Content<'a> {
    Core,
    Points(&'a CollectionImage),
    Graph(&'a CollectionImage, usize),
}

impl std::fmt::Debug for Image {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Image").field("applied", &self.core.applied).finish_non_exhaustive()
    }
}

impl Image {
    /// The last entry applied.
    #[must_use]
    pub fn applied(&self) -> LogIndex {
        self.core.applied
    }

    /// Behavior version that a replica needs to install it: that of its group.
    #[must_use]
    pub fn behavior(&self) -> BehaviorVersion {
        self.core.behavior
    }

    /// Its files, in the order of writing.
    pub fn files(&self) -> impl Iterator<Item = ImageFile<'_>> {
        let contents =
            std::iter::once(Content::Core).chain(self.collections.iter().flat_map(CollectionImage::contents));
        contents.map(|content| ImageFile { image: self, content })
    }

    fn core_file(&self) -> CoreFile {
        CoreFile {
            core: self.core.clone(),
            collections: self.collections.iter().map(|collection| collection.uid).collect(),
            write_ids: self.write_ids.iter().map(|(id, part, at, result)| (id, part, at, result.clone())).collect(),
            forgotten: self.write_ids.forgotten(),
            outbox: self.outbox.iter().map(|located| (located.index, located.epoch, located.first)).collect(),
            took_place: self.outbox.conditional().map(|(index, bits)| (index, bits.clone())).collect(),
            checksums: self.checksums.clone(),
            checksum: self.checksum,
        }
    }
}

impl CollectionImage {
    fn contents(&self) -> impl Iterator<Item = Content<'_>> {
        let graphs = (0..self.indexes.len()).map(move |nth| Content::Graph(self, nth));
        std::iter::once(Content::Points(self)).chain(graphs)
    }

    fn of(collection: &mut Collection) -> Self {
        Self {
            uid: collection.uid(),
            def: Arc::new(collection.def().clone()),
            records: collection.records.image(),
            indexes: collection.vectors.values_mut().map(VectorIndex::image).collect(),
        }
    }
}

impl ImageFile<'_> {
    /// The name of the file.
    #[must_use]
    pub fn name(&self) -> String {
        match self.content {
            Content::Core => CORE.into(),
            Content::Points(collection) => points_name(collection.uid),
            Content::Graph(collection, nth) => graph_name(collection.uid, nth),
        }
    }

    /// Writes the contents in pieces.
    ///
    /// # Errors
    /// An error of `out`.
    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let mut sealing = Sealing { out: BufWriter::with_capacity(PIECE_BYTES, Hashing::new(out)) };
        let [low, high] = self.image.behavior().0.to_le_bytes();
        sealing.out.write_all(&[SNAPSHOT_VERSION, low, high])?;
        match self.content {
            Content::Core => {
                sealing.postcard(&self.image.core_file())?;
                if let Some(since_2) = self.image.core.since_2() {
                    sealing.postcard(&since_2)?;
                }
            }
            Content::Points(collection) => write_points(collection, &mut sealing)?,
            Content::Graph(collection, nth) => collection.indexes[nth].write_to(&mut sealing.out)?,
        }
        sealing.finish()
    }
}

/// Bytes collected before they are hashed and written.
const PIECE_BYTES: usize = 64 << 10;

/// Appends the hash of everything written to it.
struct Sealing<'a, W: Write> {
    out: BufWriter<Hashing<'a, W>>,
}

struct Hashing<'a, W: Write> {
    out: &'a mut W,
    hasher: blake3::Hasher,
}

impl<'a, W: Write> Hashing<'a, W> {
    fn new(out: &'a mut W) -> Self {
        Self { out, hasher: blake3::Hasher::new() }
    }
}

impl<W: Write> Write for Hashing<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.write_all(bytes)?;
        self.hasher.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

impl<W: Write> Sealing<'_, W> {
    fn postcard<T: Serialize>(&mut self, body: &T) -> io::Result<()> {
        postcard::to_io(body, &mut self.out).map(drop).map_err(io::Error::other)
    }

    fn finish(self) -> io::Result<()> {
        let Hashing { out, hasher } = self.out.into_inner().map_err(io::IntoInnerError::into_error)?;
        out.write_all(hasher.finalize().as_bytes())
    }
}

/// Written row by row: all rows of a large collection would take a large part of its memory again.
fn write_points<W: Write>(collection: &CollectionImage, sealing: &mut Sealing<'_, W>) -> io::Result<()> {
    let points = || collection.records.range(Bound::Unbounded);
    let mut numbers = BTreeMap::new();
    let mut origins = Vec::new();
    for point in points() {
        if !numbers.contains_key(&point.stamp.origin) {
            numbers.insert(point.stamp.origin.clone(), origins.len() as u32);
            origins.push(point.stamp.origin.clone());
        }
    }
    sealing.postcard(&PointsHead {
        uid: collection.uid,
        def: (*collection.def).clone(),
        origins,
        free: collection.records.slots().iter_free().collect(),
        rows: collection.records.len() as u64,
    })?;
    for point in points() {
        sealing.postcard(&Row {
            id: point.id,
            slot: point.slot,
            hlc: point.stamp.hlc,
            origin: numbers[&point.stamp.origin],
            epoch: point.stamp.epoch,
            seq: point.stamp.seq,
            payload: point.payload.clone(),
        })?;
    }
    Ok(())
}

fn read_core<R: Read>(values: &mut Values<'_, R>) -> Result<CoreFile, RestoreError> {
    let mut saved: CoreFile = values.next().map_err(|e| malformed(CORE, &e))?;
    VersionUnknown::check(saved.core.behavior).map_err(|unknown| newer(CORE, unknown))?;
    if saved.core.has_since_2() {
        let CoreSince2 { published } = values.next().map_err(|e| malformed(CORE, &e))?;
        if !(BehaviorVersion::FIRST..=saved.core.behavior).contains(&published) {
            return Err(malformed(CORE, "a published version that the group has not finalized"));
        }
        saved.core.published = published;
    }
    values.end().map_err(|e| malformed(CORE, &e))?;
    Ok(saved)
}

fn read_collection<R: Read>(
    open: &mut impl FnMut(&str) -> io::Result<Option<(R, u64)>>,
    uid: CollectionUid,
) -> Result<Collection, RestoreError> {
    let file = points_name(uid);
    let (input, bytes) = open_file(open, &file)?;
    read_sealed(&file, input, |body| {
        let wrong = |reason: &str| malformed(&file, reason);
        let mut values = Values::of(body);
        let PointsHead { uid: written, def, origins, free, rows } = values.next().map_err(|e| wrong(&e))?;
        if written != uid {
            return Err(wrong("the points of another collection"));
        }
        // A forged number cannot allocate more memory than the file is long.
        let slots = Some(rows).filter(|rows| *rows <= bytes / ROW_BYTES);
        let slots = slots.and_then(|rows| u32::try_from(rows + free.len() as u64).ok());
        let slots = slots.ok_or_else(|| wrong("more points than the file has bytes for"))?;
        let mut vectors = BTreeMap::new();
        for (nth, (vector, def)) in def.vectors.iter().enumerate() {
            let file = graph_name(uid, nth);
            let (input, _) = open_file(open, &file)?;
            let index = read_sealed(&file, input, |body| {
                VectorIndex::read(*def, seed(uid, nth), body).map_err(|fault| match fault {
                    IndexFault::Newer(unknown) => newer(&file, unknown),
                    IndexFault::Malformed(reason) => malformed(&file, &reason),
                })
            })?;
            vectors.insert(vector.clone(), index);
        }
        let mut collection = Collection::with(uid, def, vectors, Records::new(slots));
        for _ in 0..rows {
            let Row { id, slot, hlc, origin, epoch, seq, payload } = values.next().map_err(|e| wrong(&e))?;
            let origin = origins.get(origin as usize).ok_or_else(|| wrong("a point of no origin"))?;
            let stamp = Stamp { hlc, origin: origin.clone(), epoch, seq };
            if !collection.put_back(id, slot, stamp, payload) {
                return Err(wrong("two points in one place"));
            }
        }
        values.end().map_err(|e| wrong(&e))?;
        if collection.is_whole() { Ok(collection) } else { Err(wrong("vectors without a point")) }
    })
}

fn open_file<R>(
    open: &mut impl FnMut(&str) -> io::Result<Option<(R, u64)>>,
    file: &str,
) -> Result<(R, u64), RestoreError> {
    let found = open(file).map_err(|fault| RestoreError::unreadable(file, &fault))?;
    found.ok_or_else(|| RestoreError::Missing(file.into()))
}

fn newer(file: &str, source: VersionUnknown) -> RestoreError {
    RestoreError::VersionUnknown { file: file.into(), source }
}

fn malformed(file: &str, reason: &str) -> RestoreError {
    RestoreError::Malformed { file: file.into(), reason: reason.into() }
}

#[cfg(test)]
mod tests;

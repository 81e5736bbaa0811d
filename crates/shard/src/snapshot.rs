//! The state as files, and back.
//!
//! ```text
//!   every file    byte 0             format version, 2
//!                 bytes 1..n-32      body
//!                 bytes n-32..n      BLAKE3 of all bytes before
//!   core          body: postcard of `CoreFile`
//!   points-<uid>  body: postcard of `PointsFile`, one for each collection
//!   graph-<uid>-<i>   body: the index of the collection's i-th vector, as `ann` writes it
//! ```

use std::collections::BTreeMap;
use std::io::{self, BufWriter, Write};
use std::ops::Bound;
use std::sync::Arc;

use meridian_model::{CollectionDef, CollectionUid, Epoch, Hlc, LogIndex, OriginShard, Payload, PointId, Seq, WriteId};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::collection::seed;
use crate::entry::is_whole;
use crate::outbox::{Outbox, TookPlace};
use crate::records::Records;
use crate::state::Core;
use crate::vectors::VectorIndex;
use crate::write_ids::WriteIds;
use crate::{BEHAVIOUR, Collection, Located, Stamp, State, WriteResult};

const SNAPSHOT_VERSION: u8 = 2;
const HASH_BYTES: usize = 32;

#[derive(Serialize, Deserialize)]
struct CoreFile {
    core: Core,
    collections: Vec<CollectionUid>,
    /// Oldest first, each with the entry that recorded it.
    write_ids: Vec<(WriteId, u32, LogIndex, WriteResult)>,
    /// The entry that recorded the newest result that is forgotten.
    forgotten: LogIndex,
    outbox: Vec<(LogIndex, Seq)>,
    /// Of the conditional writes in the outbox, which changes took place.
    took_place: Vec<(LogIndex, TookPlace)>,
    checksums: Vec<(LogIndex, [u8; 32])>,
    /// Of the state as a whole: what comes back must have it too.
    checksum: [u8; 32],
}

#[derive(Serialize, Deserialize)]
struct PointsFile {
    uid: CollectionUid,
    def: CollectionDef,
    /// Each named once; rows point here.
    origins: Vec<OriginShard>,
    /// Slots that hold no point; with those of the rows they are all slots from 0 on.
    free: Vec<u32>,
    /// By id.
    rows: Vec<Row>,
}

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

/// Why files are no snapshot.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// Not there.
    #[error("snapshot file {0} is missing")]
    Missing(String),
    /// Written by a build that knows more than this one.
    #[error("snapshot file {file} has format version {version}; this build reads version {SNAPSHOT_VERSION}")]
    Version {
        /// Which.
        file: String,
        /// Its version.
        version: u8,
    },
    /// Not the bytes that were written.
    #[error("snapshot file {0} is damaged")]
    Damaged(String),
    /// Its hash holds, but not its contents.
    #[error("snapshot file {file}: {reason}")]
    Malformed {
        /// Which.
        file: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The log had switched to a behaviour that this build does not know.
    #[error("the snapshot needs behaviour {0}; this build knows up to {BEHAVIOUR}")]
    Behaviour(u16),
    /// The files do not belong together.
    #[error("the restored state has another checksum than the saved one")]
    Checksum,
}

impl RestoreError {
    /// Whether the files are lost or wrong, rather than written by another release.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        !matches!(self, Self::Version { .. } | Self::Behaviour(_))
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
    /// All of the state as it is now, to be written on another thread. Cost: a copy of a few bytes a point, a write that is
    /// remembered, and an entry that is to be published.
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

    /// All of the state, as files by name. Equal states need not give equal graph files.
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

    /// Undoes [`State::snapshot`]: the same checksum and digest, the same answers. Memory stays in proportion to the
    /// files; every vector is hashed once.
    ///
    /// # Errors
    /// When a file is missing, damaged or of a future format, or the files do not belong together.
    pub fn restore(files: &[(String, Vec<u8>)]) -> Result<Self, RestoreError> {
        let files: BTreeMap<&str, &[u8]> =
            files.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())).collect();
        let saved: CoreFile = read(&files, CORE)?;
        if saved.core.behaviour > BEHAVIOUR {
            return Err(RestoreError::Behaviour(saved.core.behaviour));
        }
        if !is_whole(&saved.core.table) {
            return Err(malformed(CORE, "a broken bucket table"));
        }
        let mut state = Self::of(saved.core);
        for uid in saved.collections {
            let collection = read_collection(&files, uid)?;
            if Arc::make_mut(&mut state.names).insert(collection.def().name.clone(), uid).is_some() {
                return Err(malformed(CORE, "two collections of one name"));
            }
            state.collections.insert(uid, collection);
        }
        for (id, part, index, result) in saved.write_ids {
            state.write_ids.remember(id, part, index, result);
        }
        state.write_ids.set_forgotten(saved.forgotten);
        saved.outbox.into_iter().for_each(|(index, first)| state.outbox.push(Located { index, first }));
        saved.took_place.into_iter().for_each(|(index, bits)| state.outbox.put_back(index, bits));
        state.checksums = saved.checksums.into();
        if state.checksum() == saved.checksum { Ok(state) } else { Err(RestoreError::Checksum) }
    }
}

/// All of a state at one applied index, while entries are applied to the state. Any thread may write it.
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

/// One file of a snapshot that is yet to be written.
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

    /// Its files, in the order in which they are to be written.
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
            outbox: self.outbox.iter().map(|located| (located.index, located.first)).collect(),
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
    /// What it is called.
    #[must_use]
    pub fn name(&self) -> String {
        match self.content {
            Content::Core => CORE.into(),
            Content::Points(collection) => points_name(collection.uid),
            Content::Graph(collection, nth) => graph_name(collection.uid, nth),
        }
    }

    /// Writes its content, piece by piece.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let mut sealing = Sealing { out: BufWriter::with_capacity(PIECE_BYTES, Hashing::new(out)) };
        sealing.out.write_all(&[SNAPSHOT_VERSION])?;
        match self.content {
            Content::Core => sealing.postcard(&self.image.core_file())?,
            Content::Points(collection) => sealing.postcard(&points_file(collection))?,
            Content::Graph(collection, nth) => collection.indexes[nth].write_to(&mut sealing.out)?,
        }
        sealing.finish()
    }
}

/// Bytes gathered before they are hashed and handed on.
const PIECE_BYTES: usize = 64 << 10;

/// Ends what is written to it with the hash of it.
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

fn points_file(collection: &CollectionImage) -> PointsFile {
    let mut origins = BTreeMap::new();
    let mut names = Vec::new();
    let mut number = |origin: &OriginShard| match origins.get(origin) {
        Some(number) => *number,
        None => {
            let next = names.len() as u32;
            names.push(origin.clone());
            origins.insert(origin.clone(), next);
            next
        }
    };
    let row = |point: &crate::collection::Point| Row {
        id: point.id,
        slot: point.slot,
        hlc: point.stamp.hlc,
        origin: number(&point.stamp.origin),
        epoch: point.stamp.epoch,
        seq: point.stamp.seq,
        payload: point.payload.clone(),
    };
    let rows = collection.records.range(Bound::Unbounded).map(row).collect();
    let free = collection.records.slots().iter_free().collect();
    PointsFile { uid: collection.uid, def: (*collection.def).clone(), origins: names, free, rows }
}

fn read_collection(files: &BTreeMap<&str, &[u8]>, uid: CollectionUid) -> Result<Collection, RestoreError> {
    let name = points_name(uid);
    let PointsFile { uid: written, def, origins, free, rows } = read(files, &name)?;
    if written != uid {
        return Err(malformed(&name, "the points of another collection"));
    }
    let mut vectors = BTreeMap::new();
    for (nth, (vector, def)) in def.vectors.iter().enumerate() {
        let name = graph_name(uid, nth);
        let index = VectorIndex::read(*def, seed(uid, nth), open(files, &name)?).map_err(|e| malformed(&name, &e))?;
        vectors.insert(vector.clone(), index);
    }
    // As many slots as the file lists one by one: a hostile number cannot ask for memory.
    let slots = u32::try_from(rows.len() + free.len()).map_err(|_| malformed(&name, "too many points"))?;
    let mut collection = Collection::with(uid, def, vectors, Records::new(slots));
    for Row { id, slot, hlc, origin, epoch, seq, payload } in rows {
        let origin = origins.get(origin as usize).ok_or_else(|| malformed(&name, "a point of no origin"))?;
        let stamp = Stamp { hlc, origin: origin.clone(), epoch, seq };
        if !collection.put_back(id, slot, stamp, payload) {
            return Err(malformed(&name, "two points in one place"));
        }
    }
    if collection.is_whole() { Ok(collection) } else { Err(malformed(&name, "vectors without a point")) }
}

fn open<'a>(files: &BTreeMap<&str, &'a [u8]>, file: &str) -> Result<&'a [u8], RestoreError> {
    let bytes = files.get(file).ok_or_else(|| RestoreError::Missing(file.into()))?;
    let damaged = || RestoreError::Damaged(file.into());
    let (sealed, hash) = bytes.split_last_chunk::<HASH_BYTES>().ok_or_else(damaged)?;
    let (version, body) = sealed.split_first().ok_or_else(damaged)?;
    // The version first: a future format may be sealed in another way.
    if *version != SNAPSHOT_VERSION {
        return Err(RestoreError::Version { file: file.into(), version: *version });
    }
    if blake3::hash(sealed).as_bytes() == hash { Ok(body) } else { Err(damaged()) }
}

fn read<T: DeserializeOwned>(files: &BTreeMap<&str, &[u8]>, file: &str) -> Result<T, RestoreError> {
    match postcard::take_from_bytes(open(files, file)?) {
        Ok((body, [])) => Ok(body),
        Ok(_) => Err(malformed(file, "bytes behind its end")),
        Err(error) => Err(malformed(file, &error.to_string())),
    }
}

fn malformed(file: &str, reason: &str) -> RestoreError {
    RestoreError::Malformed { file: file.into(), reason: reason.into() }
}

#[cfg(test)]
mod tests;

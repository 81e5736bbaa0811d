use std::fs::File;
use std::io::Read;

use crate::buffered::BufferedIndex;
use crate::buffered::write_buffer::WriteBuffer;
use crate::flat::Flat;
use crate::hnsw::{Graph, Hnsw, InsertPlan, MAX_LEVEL, NO_NODE};
use crate::index::{Body, Index};
use crate::ivf::{CoarseQuantizer, Codebook, InvertedLists, Ivf, ListEntries, ListEntry};
use crate::metric::{Component, Metric, Space};
use crate::params::{Config, Kind, Profile};
use crate::recall_model::{RecallModel, RecallSample};
use crate::storage::datatype::Datatype;
use crate::storage::points::{NO_SLOT, Points};
use crate::storage::vector_store::{VectorStorage, VectorStore, VectorTable};

use super::ReadError;
use super::blocks::Source;

/// Location of vectors after reading.
pub(super) enum VectorSource {
    Storage(VectorStorage),
    /// Mapped from this file, which begins with the snapshot.
    AsTheyLie(File),
}

/// Reads an index. Everything is added one by one, so that a wrong count ends with the input and not with the memory.
pub(super) fn read(input: &mut impl Read, place: VectorSource) -> Result<Index, ReadError> {
    let mut source = Source::new(input)?;
    let config = config(&mut source)?;
    let points = points(&config, place, &mut source)?;
    let body = match config.kind {
        Kind::Flat => Body::Flat(Box::new(Flat { points })),
        Kind::Hnsw { m, ef_construct } => {
            let mut hnsw = Hnsw::new(&config, m, ef_construct);
            graph(&mut hnsw.graph, &points, &mut source)?;
            hnsw.restore(&points, Space::best(config.metric));
            let recall_model = recall_model(&points, &mut source)?;
            let buffer = buffer(&config, &mut source)?;
            let mut nth = 0;
            let insert_plans = insert_plans(&buffer, &mut source, |vector, source| {
                nth += 1;
                insert_plan(&hnsw, (vector, nth), Space::best(config.metric), source)
            })?;
            let queued = BufferedIndex::from_parts(points, hnsw, buffer, insert_plans).with_recall_model(recall_model);
            Body::Hnsw(Box::new(queued.with_missing_plans(Space::best(config.metric))))
        }
        Kind::IvfPq { nlist, .. } => {
            let parts = config.subquantizers();
            let lists = lists(&config, parts, &points, &mut source)?;
            let recall_model = recall_model(&points, &mut source)?;
            let buffer = buffer(&config, &mut source)?;
            let insert_plans = insert_plans(&buffer, &mut source, |_, source| entries(lists.as_ref(), parts, source))?;
            let ivf = Ivf::from_parts(nlist, parts, lists);
            let queued = BufferedIndex::from_parts(points, ivf, buffer, insert_plans).with_recall_model(recall_model);
            Body::IvfPq(Box::new(queued.with_missing_plans(Space::best(config.metric))))
        }
    };
    source.finish()?;
    Ok(Index::from_parts(config, body))
}

fn config(source: &mut Source<'_, impl Read>) -> Result<Config, ReadError> {
    let dim = source.u32()? as usize;
    let metric = match source.u8()? {
        0 => Metric::Cosine,
        1 => Metric::Dot,
        2 => Metric::Euclid,
        3 => Metric::Manhattan,
        _ => return Err(source.invalid("unknown metric")),
    };
    let seed = source.u64()?;
    let kind = match source.u8()? {
        0 => Kind::Flat,
        1 => Kind::Hnsw { m: source.u32()? as usize, ef_construct: source.u32()? as usize },
        2 => {
            let or_absent = |number: u32| Some(number as usize).filter(|number| *number != 0);
            Kind::IvfPq { nlist: or_absent(source.u32()?), subquantizers: or_absent(source.u32()?) }
        }
        _ => return Err(source.invalid("unknown kind of index")),
    };
    let profile = match if source.version() == 1 { 0 } else { source.u8()? } {
        0 => Profile::Balanced,
        1 => Profile::Speed,
        2 => Profile::Memory,
        _ => return Err(source.invalid("unknown profile")),
    };
    let datatype = match if source.version() < 5 { 0 } else { source.u8()? } {
        0 => Datatype::Float32,
        1 => Datatype::Bfloat16,
        _ => return Err(source.invalid("unknown datatype")),
    };
    let config = Config { dim, metric, kind, profile, datatype, seed };
    config.check().map_err(|_| source.invalid("a parameter is out of range"))?;
    Ok(config)
}

fn points(config: &Config, place: VectorSource, source: &mut Source<'_, impl Read>) -> Result<Points, ReadError> {
    let (storage, file) = match place {
        VectorSource::Storage(storage) => (storage, None),
        VectorSource::AsTheyLie(file) => (VectorStorage::Memory, Some(file)),
    };
    let mut points = Points::new(config.dim, config.datatype, storage);
    let mut vector = vec![0.0; config.dim];
    for _ in 0..source.u32()? {
        if !points.restore(source.u32()?) {
            return Err(source.invalid("a slot has two nodes"));
        }
        if source.version() < 3 {
            source.vector(&mut vector)?;
            points.vectors.put(points.nodes() - 1, &vector);
        }
    }
    let mut free = Vec::new();
    for _ in 0..source.u32()? {
        free.push(source.u32()?);
    }
    if source.version() >= 3 {
        match config.datatype {
            Datatype::Float32 => vectors(&mut points, file, VectorStore::Float32, source)?,
            Datatype::Bfloat16 => vectors(&mut points, file, VectorStore::Bfloat16, source)?,
        }
    }
    if points.set_free(free) {
        Ok(points)
    } else {
        Err(source.invalid("the list of free nodes differs from the free nodes"))
    }
}

/// Vectors of all nodes, in bare blocks: mapped from `file` if possible, else read.
fn vectors<T: Component>(
    points: &mut Points,
    file: Option<File>,
    originals: fn(VectorTable<T>) -> VectorStore,
    source: &mut Source<'_, impl Read>,
) -> Result<(), ReadError> {
    let dim = points.vectors.dim();
    let numbers = u64::from(points.nodes()) * dim as u64;
    if let Some(file) = file.filter(|_| cfg!(target_endian = "little")) {
        let start = source.bare::<T>(numbers, |_| {})?;
        points.vectors = originals(VectorTable::opened(dim, &file, start, points.nodes()).map_err(ReadError::Io)?);
        return Ok(());
    }
    let (mut node, mut row) = (0, Vec::with_capacity(dim));
    source.bare::<T>(numbers, |numbers| {
        for x in numbers {
            row.push(x.wide());
            if row.len() == dim {
                points.vectors.put(node, &row);
                node += 1;
                row.clear();
            }
        }
    })?;
    Ok(())
}

fn graph(graph: &mut Graph, points: &Points, source: &mut Source<'_, impl Read>) -> Result<(), ReadError> {
    graph.last_insert_seq = source.u64()?;
    graph.entry = Some(source.u32()?).filter(|entry| *entry != NO_NODE);
    for node in 0..points.nodes() {
        let insert_seq = source.u64()?;
        if (insert_seq != 0) != points.is_occupied(node) {
            return Err(source.invalid("a node is free in one table and in use in another"));
        }
        let (parent, level) = if insert_seq == 0 { (NO_NODE, 0) } else { (source.u32()?, usize::from(source.u8()?)) };
        if level > MAX_LEVEL {
            return Err(source.invalid("the level of a node is too high"));
        }
        graph.restore_node(insert_seq, parent, level);
    }
    let mut links = Vec::new();
    for node in 0..points.nodes() {
        if !points.is_occupied(node) {
            continue;
        }
        for level in 0..=graph.level(node) {
            links.clear();
            for _ in 0..source.u16()? {
                links.push(source.u32()?);
            }
            if !graph.restore_links(node, level, &links) {
                return Err(source.invalid("a link leads to no node of its level, or is repeated"));
            }
        }
    }
    if graph.finish_restore() {
        Ok(())
    } else {
        Err(source.invalid("entry point, insert sequence numbers or parents are inconsistent"))
    }
}

fn lists(
    config: &Config,
    parts: usize,
    points: &Points,
    source: &mut Source<'_, impl Read>,
) -> Result<Option<InvertedLists>, ReadError> {
    let count = source.u32()? as usize;
    if count == 0 {
        return Ok(None);
    }
    let trained_for = source.u32()? as usize;
    if trained_for == 0 {
        return Err(source.invalid("lists were trained on no points"));
    }
    let inserted_since = inserted_since(trained_for, points, source)?;
    let mut rows = Vec::new();
    let mut row = vec![0.0; config.dim];
    for _ in 0..count {
        source.vector(&mut row)?;
        rows.extend_from_slice(&row);
    }
    let mut codebook = Codebook::new(config.dim, parts);
    source.vector(codebook.values_mut())?;
    let space = Space::best(config.metric);
    let mut lists = InvertedLists::new(trained_for, CoarseQuantizer::new(config.dim, rows, space.kernels()), codebook);
    lists.inserted_since = inserted_since;
    for list in 0..count {
        for _ in 0..source.u32()? {
            let node = source.u32()?;
            let mut codes = Vec::with_capacity(parts);
            for part in (0..parts).step_by(2) {
                let two = source.u8()?;
                codes.extend([two & 15, two >> 4].into_iter().take(parts - part));
            }
            let is_point = node < points.nodes() && points.is_occupied(node);
            if !is_point || !lists.add(node, &ListEntry { list, codes }, space) {
                return Err(source.invalid("a node on a list is free, on the list twice, or on three lists"));
            }
        }
    }
    let listed = (0..points.nodes()).filter(|node| lists.contains(*node)).count();
    if listed == points.len() { Ok(Some(lists)) } else { Err(source.invalid("a point is on no list")) }
}

/// Points inserted since there were `since`. Versions 1 to 5 do not store them; the growth replaces them.
fn inserted_since(since: usize, points: &Points, source: &mut Source<'_, impl Read>) -> Result<u64, ReadError> {
    if source.version() < 6 { Ok(points.len().saturating_sub(since) as u64) } else { source.u64() }
}

fn recall_model(held: &Points, source: &mut Source<'_, impl Read>) -> Result<RecallModel, ReadError> {
    match source.version() {
        1 => Ok(RecallModel::new([], held.len() as u64)),
        2..7 => {
            let points = source.u32()?;
            let inserted_since = inserted_since(points as usize, held, source)?;
            let sample = sample(points, u64::from(points), source)?;
            Ok(RecallModel::new((points > 0).then_some(sample), inserted_since))
        }
        _ => {
            let inserted_since = source.u64()?;
            let mut samples = Vec::new();
            for _ in 0..source.u8()? {
                let (points, inserted_since) = (source.u32()?, source.u64()?);
                samples.push(sample(points, inserted_since, source)?);
            }
            Ok(RecallModel::new(samples, inserted_since))
        }
    }
}

fn sample(points: u32, inserted_since: u64, source: &mut Source<'_, impl Read>) -> Result<RecallSample, ReadError> {
    let mut sample = RecallSample { points, inserted_since, wanted: source.u32()?, found: Vec::new() };
    for _ in 0..source.u8()? {
        sample.found.push(source.u32()?);
    }
    let is_sound = sample.found.iter().all(|found| *found <= sample.wanted);
    if is_sound { Ok(sample) } else { Err(source.invalid("a recall sample found more neighbors than there are")) }
}

/// Insert plans of the remaining steps of a partly merged block.
fn insert_plans<T, R: Read>(
    buffer: &WriteBuffer,
    source: &mut Source<'_, R>,
    mut read: impl FnMut(&[f32], &mut Source<'_, R>) -> Result<T, ReadError>,
) -> Result<Vec<Option<T>>, ReadError> {
    let (taken, steps) = (buffer.taken(), buffer.steps().unwrap_or(0));
    if taken == 0 {
        return Ok(Vec::new());
    }
    let mut insert_plans: Vec<Option<T>> = (0..taken).map(|_| None).collect();
    // Version 1 stores no plans; they are made after reading.
    let steps_read = if source.version() == 1 { steps..steps } else { taken..steps };
    for step in steps_read {
        let plan = match (source.u8()?, buffer.step(step)) {
            (0, _) => None,
            (1, (_, Some(vector))) => Some(read(vector, source)?),
            _ => return Err(source.invalid("a step without a new vector has an insert plan")),
        };
        insert_plans.push(plan);
    }
    Ok(insert_plans)
}

fn insert_plan(
    hnsw: &Hnsw,
    point: (&[f32], u64),
    space: Space,
    source: &mut Source<'_, impl Read>,
) -> Result<InsertPlan, ReadError> {
    let snapshot_seq = source.u64()?;
    let mut neighbors = vec![Vec::new(); usize::from(source.u8()?)];
    for nodes in &mut neighbors {
        for _ in 0..source.u16()? {
            nodes.push(source.u32()?);
        }
    }
    let plan = hnsw.restore_insert_plan(point, snapshot_seq, neighbors, space);
    plan.ok_or_else(|| source.invalid("an insert plan is invalid"))
}

fn entries(
    lists: Option<&InvertedLists>,
    parts: usize,
    source: &mut Source<'_, impl Read>,
) -> Result<Option<ListEntries>, ReadError> {
    let first = source.u32()?;
    if first == u32::MAX && lists.is_none() {
        return Ok(None);
    }
    let mut lists_told = vec![first];
    if source.version() >= 4 {
        lists_told.extend(Some(source.u32()?).filter(|second| *second != u32::MAX));
    }
    let mut entries = ListEntries::new();
    for list in lists_told {
        let list = list as usize;
        let mut codes = Vec::new();
        for _ in 0..parts {
            codes.push(source.u8()?);
        }
        let is_there = lists.is_some_and(|lists| list < lists.coarse.len()) && codes.iter().all(|code| *code < 16);
        if !is_there || entries.iter().any(|entry: &ListEntry| entry.list == list) {
            return Err(source.invalid("an insert plan is invalid"));
        }
        entries.push(ListEntry { list, codes });
    }
    Ok(Some(entries))
}

fn buffer(config: &Config, source: &mut Source<'_, impl Read>) -> Result<WriteBuffer, ReadError> {
    let first = source.u64()?;
    let done = usize::from(source.u16()?);
    let in_order = match if source.version() < 7 { u8::from(done > 0) } else { source.u8()? } {
        0 => false,
        1 if done > 0 => true,
        _ => return Err(source.invalid("unknown order of steps")),
    };
    // Limits block numbers, which are multiplied by the length of a block.
    if first > u64::MAX >> 16 {
        return Err(source.invalid("the number of the first block is too large"));
    }
    let mut buffer = WriteBuffer::restore(first);
    let mut vector = vec![0.0; config.dim];
    for _ in 0..source.u32()? {
        let slot = source.u32()?;
        if slot == NO_SLOT {
            return Err(source.invalid("an operation on the reserved slot"));
        }
        match source.u8()? {
            0 => buffer.push(slot, None),
            1 => {
                source.vector(&mut vector)?;
                if *config.datatype.kept(&vector) != *vector {
                    return Err(source.invalid("a buffered vector is not rounded to the datatype"));
                }
                buffer.push(slot, Some(&vector));
            }
            _ => return Err(source.invalid("unknown kind of operation")),
        }
    }
    if buffer.skip(done, in_order) {
        Ok(buffer)
    } else {
        Err(source.invalid("more steps are applied than the block has"))
    }
}

use std::fs::File;
use std::io::Read;

use crate::config::{Config, Kind, Metric, Profile};
use crate::datatype::{Datatype, Number};
use crate::flat::Flat;
use crate::hnsw::{Graph, Hnsw, MAX_LEVEL, NO_NODE, Survey};
use crate::index::{Body, Index};
use crate::ivf::{Coarse, Codebook, Entry, Filing, Ivf, Lists};
use crate::originals::{Originals, Table, VectorStorage};
use crate::points::{NO_SLOT, Points};
use crate::queue::Queue;
use crate::queued::Queued;
use crate::space::Space;
use crate::tuning::{Curve, Tally};

use super::ReadError;
use super::blocks::Source;

/// Where vectors are after reading.
pub(super) enum Place {
    Storage(VectorStorage),
    /// Where they are: in this file, which begins with what is read.
    AsTheyLie(File),
}

/// Reads an index. Whatever is counted is taken in one by one, so a false count ends with the input and not with memory.
pub(super) fn read(input: &mut impl Read, place: Place) -> Result<Index, ReadError> {
    let mut source = Source::new(input)?;
    let config = config(&mut source)?;
    let points = points(&config, place, &mut source)?;
    let body = match config.kind {
        Kind::Flat => Body::Flat(Box::new(Flat { points })),
        Kind::Hnsw { m, ef_construct } => {
            let mut hnsw = Hnsw::new(&config, m, ef_construct);
            graph(&mut hnsw.graph, &points, &mut source)?;
            hnsw.restore(&points, Space::best(config.metric));
            let curve = curve(&points, &mut source)?;
            let queue = queue(&config, &mut source)?;
            let mut nth = 0;
            let surveys = surveys(&queue, &mut source, |vector, source| {
                nth += 1;
                survey(&hnsw, (vector, nth), Space::best(config.metric), source)
            })?;
            let queued = Queued::from_parts(points, hnsw, queue, surveys).with_curve(curve);
            Body::Hnsw(Box::new(queued.with_places(Space::best(config.metric))))
        }
        Kind::IvfPq { nlist, .. } => {
            let parts = config.subquantizers();
            let lists = lists(&config, parts, &points, &mut source)?;
            let curve = curve(&points, &mut source)?;
            let queue = queue(&config, &mut source)?;
            let surveys = surveys(&queue, &mut source, |_, source| filing(lists.as_ref(), parts, source))?;
            let ivf = Ivf::from_parts(nlist, parts, lists);
            let queued = Queued::from_parts(points, ivf, queue, surveys).with_curve(curve);
            Body::IvfPq(Box::new(queued.with_places(Space::best(config.metric))))
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
    config.check().map_err(|_| source.invalid("a parameter is out of its range"))?;
    Ok(config)
}

fn points(config: &Config, place: Place, source: &mut Source<'_, impl Read>) -> Result<Points, ReadError> {
    let (storage, file) = match place {
        Place::Storage(storage) => (storage, None),
        Place::AsTheyLie(file) => (VectorStorage::Memory, Some(file)),
    };
    let mut points = Points::new(config.dim, config.datatype, storage);
    let mut vector = vec![0.0; config.dim];
    for _ in 0..source.u32()? {
        if !points.restore(source.u32()?) {
            return Err(source.invalid("a slot stands on two nodes"));
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
            Datatype::Float32 => vectors(&mut points, file, Originals::Float32, source)?,
            Datatype::Bfloat16 => vectors(&mut points, file, Originals::Bfloat16, source)?,
        }
    }
    if points.set_free(free) {
        Ok(points)
    } else {
        Err(source.invalid("the list of free nodes is not that of free nodes"))
    }
}

/// Vectors of all nodes, which lie bare: mapped from the file, if one is given that can be, else read.
fn vectors<T: Number>(
    points: &mut Points,
    file: Option<File>,
    originals: fn(Table<T>) -> Originals,
    source: &mut Source<'_, impl Read>,
) -> Result<(), ReadError> {
    let dim = points.vectors.dim();
    let numbers = u64::from(points.nodes()) * dim as u64;
    if let Some(file) = file.filter(|_| cfg!(target_endian = "little")) {
        let start = source.bare::<T>(numbers, |_| {})?;
        points.vectors = originals(Table::opened(dim, &file, start, points.nodes()).map_err(ReadError::Io)?);
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
    graph.births = source.u64()?;
    graph.entry = Some(source.u32()?).filter(|entry| *entry != NO_NODE);
    for node in 0..points.nodes() {
        let birth = source.u64()?;
        if (birth != 0) != points.is_held(node) {
            return Err(source.invalid("a node is free in one table and used in another"));
        }
        let (parent, level) = if birth == 0 { (NO_NODE, 0) } else { (source.u32()?, usize::from(source.u8()?)) };
        if level > MAX_LEVEL {
            return Err(source.invalid("a node stands too high"));
        }
        graph.restore_node(birth, parent, level);
    }
    let mut links = Vec::new();
    for node in 0..points.nodes() {
        if !points.is_held(node) {
            continue;
        }
        for floor in 0..=graph.level(node) {
            links.clear();
            for _ in 0..source.u16()? {
                links.push(source.u32()?);
            }
            if !graph.restore_links(node, floor, &links) {
                return Err(source.invalid("a link leads to nowhere"));
            }
        }
    }
    if graph.restored() { Ok(()) } else { Err(source.invalid("entry, births or parents contradict each other")) }
}

fn lists(
    config: &Config,
    parts: usize,
    points: &Points,
    source: &mut Source<'_, impl Read>,
) -> Result<Option<Lists>, ReadError> {
    let count = source.u32()? as usize;
    if count == 0 {
        return Ok(None);
    }
    let trained_for = source.u32()? as usize;
    if trained_for == 0 {
        return Err(source.invalid("lists that were learnt from nothing"));
    }
    let come = come(trained_for, points, source)?;
    let mut rows = Vec::new();
    let mut row = vec![0.0; config.dim];
    for _ in 0..count {
        source.vector(&mut row)?;
        rows.extend_from_slice(&row);
    }
    let mut codebook = Codebook::new(config.dim, parts);
    source.vector(codebook.values_mut())?;
    let space = Space::best(config.metric);
    let mut lists = Lists::new(trained_for, Coarse::new(config.dim, rows, space.kernels()), codebook);
    lists.come = come;
    for list in 0..count {
        for _ in 0..source.u32()? {
            let node = source.u32()?;
            let mut codes = Vec::with_capacity(parts);
            for part in (0..parts).step_by(2) {
                let two = source.u8()?;
                codes.extend([two & 15, two >> 4].into_iter().take(parts - part));
            }
            let is_point = node < points.nodes() && points.is_held(node);
            if !is_point || !lists.file(node, &Entry { list, codes }, space) {
                return Err(source.invalid("a node on a list is free, twice there, or on three lists"));
            }
        }
    }
    let filed = (0..points.nodes()).filter(|node| lists.holds(*node)).count();
    if filed == points.len() { Ok(Some(lists)) } else { Err(source.invalid("a point is on no list")) }
}

/// How many points have come in since there were so many. Earlier versions did not count them: as many as there are more now.
fn come(since: usize, points: &Points, source: &mut Source<'_, impl Read>) -> Result<u64, ReadError> {
    if source.version() < 6 { Ok(points.len().saturating_sub(since) as u64) } else { source.u64() }
}

fn curve(held: &Points, source: &mut Source<'_, impl Read>) -> Result<Curve, ReadError> {
    match source.version() {
        1 => Ok(Curve::new([], held.len() as u64)),
        2..7 => {
            let points = source.u32()?;
            let come = come(points as usize, held, source)?;
            let tally = tally(points, u64::from(points), source)?;
            Ok(Curve::new((points > 0).then_some(tally), come))
        }
        _ => {
            let come = source.u64()?;
            let mut tallies = Vec::new();
            for _ in 0..source.u8()? {
                let (points, come) = (source.u32()?, source.u64()?);
                tallies.push(tally(points, come, source)?);
            }
            Ok(Curve::new(tallies, come))
        }
    }
}

fn tally(points: u32, come: u64, source: &mut Source<'_, impl Read>) -> Result<Tally, ReadError> {
    let mut tally = Tally { points, come, wanted: source.u32()?, found: Vec::new() };
    for _ in 0..source.u8()? {
        tally.found.push(source.u32()?);
    }
    let is_sound = tally.found.iter().all(|found| *found <= tally.wanted);
    if is_sound { Ok(tally) } else { Err(source.invalid("more was found than there was to find")) }
}

/// The steps that are left of a block which is half taken, and a place for each that it has.
fn surveys<T, R: Read>(
    queue: &Queue,
    source: &mut Source<'_, R>,
    mut read: impl FnMut(&[f32], &mut Source<'_, R>) -> Result<T, ReadError>,
) -> Result<Vec<Option<T>>, ReadError> {
    let (taken, steps) = (queue.taken(), queue.steps().unwrap_or(0));
    if taken == 0 {
        return Ok(Vec::new());
    }
    let mut surveys: Vec<Option<T>> = (0..taken).map(|_| None).collect();
    // The first version sought places one by one: those that are left are sought afterwards.
    let told = if source.version() == 1 { steps..steps } else { taken..steps };
    for step in told {
        let survey = match (source.u8()?, queue.step(step)) {
            (0, _) => None,
            (1, (_, Some(vector))) => Some(read(vector, source)?),
            _ => return Err(source.invalid("a place is told for what has none")),
        };
        surveys.push(survey);
    }
    Ok(surveys)
}

fn survey(
    hnsw: &Hnsw,
    point: (&[f32], u64),
    space: Space,
    source: &mut Source<'_, impl Read>,
) -> Result<Survey, ReadError> {
    let frozen = source.u64()?;
    let mut floors = vec![Vec::new(); usize::from(source.u8()?)];
    for floor in &mut floors {
        for _ in 0..source.u16()? {
            floor.push(source.u32()?);
        }
    }
    let survey = hnsw.restore_survey(point, frozen, floors, space);
    survey.ok_or_else(|| source.invalid("a place is told that is nowhere"))
}

fn filing(
    lists: Option<&Lists>,
    parts: usize,
    source: &mut Source<'_, impl Read>,
) -> Result<Option<Filing>, ReadError> {
    let first = source.u32()?;
    if first == u32::MAX && lists.is_none() {
        return Ok(None);
    }
    let mut lists_told = vec![first];
    if source.version() >= 4 {
        lists_told.extend(Some(source.u32()?).filter(|second| *second != u32::MAX));
    }
    let mut filing = Filing::new();
    for list in lists_told {
        let list = list as usize;
        let mut codes = Vec::new();
        for _ in 0..parts {
            codes.push(source.u8()?);
        }
        let is_there = lists.is_some_and(|lists| list < lists.coarse.len()) && codes.iter().all(|code| *code < 16);
        if !is_there || filing.iter().any(|entry: &Entry| entry.list == list) {
            return Err(source.invalid("a place is told that is nowhere"));
        }
        filing.push(Entry { list, codes });
    }
    Ok(Some(filing))
}

fn queue(config: &Config, source: &mut Source<'_, impl Read>) -> Result<Queue, ReadError> {
    let first = source.u64()?;
    let done = usize::from(source.u16()?);
    let in_order = match if source.version() < 7 { u8::from(done > 0) } else { source.u8()? } {
        0 => false,
        1 if done > 0 => true,
        _ => return Err(source.invalid("an unknown order of steps")),
    };
    // Leaves room to count on: block numbers are multiplied by the length of a block.
    if first > u64::MAX >> 16 {
        return Err(source.invalid("a block number beyond all bounds"));
    }
    let mut queue = Queue::restore(first);
    let mut vector = vec![0.0; config.dim];
    for _ in 0..source.u32()? {
        let slot = source.u32()?;
        if slot == NO_SLOT {
            return Err(source.invalid("an operation on the reserved slot"));
        }
        match source.u8()? {
            0 => queue.push(slot, None),
            1 => {
                source.vector(&mut vector)?;
                if *config.datatype.kept(&vector) != *vector {
                    return Err(source.invalid("a vector is queued that is not as it would be kept"));
                }
                queue.push(slot, Some(&vector));
            }
            _ => return Err(source.invalid("unknown kind of operation")),
        }
    }
    if queue.pass(done, in_order) { Ok(queue) } else { Err(source.invalid("more steps are taken than the block has")) }
}

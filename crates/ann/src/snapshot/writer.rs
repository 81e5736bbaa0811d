use std::io::{self, Write};

use crate::config::{Config, Kind, Metric, Profile};
use crate::datatype::{Datatype, Number};
use crate::hnsw::{Graph, NO_NODE};
use crate::index::{Body, Index};
use crate::ivf::Lists;
use crate::originals::{Originals, Table};
use crate::points::{NO_SLOT, Points};
use crate::queue::Queue;
use crate::tuning::Curve;

use super::blocks::Sink;

/// Writes an index.
pub(crate) fn write(index: &Index, out: &mut impl Write) -> io::Result<()> {
    let mut sink = Sink::new(out)?;
    config(index.config(), &mut sink)?;
    match index.body() {
        Body::Flat(flat) => points(&flat.points, &mut sink)?,
        Body::Hnsw(hnsw) => {
            points(&hnsw.points, &mut sink)?;
            graph(&hnsw.structure.graph, &mut sink)?;
            curve(&hnsw.curve, &mut sink)?;
            queue(&hnsw.queue, &mut sink)?;
            surveys(hnsw.surveys(), &mut sink, |survey, sink| {
                sink.u64(survey.frozen)?;
                sink.u8(survey.floors.len() as u8)?;
                survey.floors.iter().try_for_each(|floor| {
                    sink.u16(floor.len() as u16)?;
                    floor.iter().try_for_each(|node| sink.u32(*node))
                })
            })?;
        }
        Body::IvfPq(ivf) => {
            points(&ivf.points, &mut sink)?;
            lists(ivf.structure.lists(), &mut sink)?;
            curve(&ivf.curve, &mut sink)?;
            queue(&ivf.queue, &mut sink)?;
            surveys(ivf.surveys(), &mut sink, |survey, sink| {
                let Some(filing) = survey else { return sink.u32(u32::MAX) };
                sink.u32(filing[0].list as u32)?;
                sink.u32(filing.get(1).map_or(u32::MAX, |second| second.list as u32))?;
                filing.iter().flat_map(|entry| &entry.codes).try_for_each(|code| sink.u8(*code))
            })?;
        }
    }
    sink.finish()
}

fn config(config: &Config, sink: &mut Sink<'_, impl Write>) -> io::Result<()> {
    sink.u32(config.dim as u32)?;
    sink.u8(match config.metric {
        Metric::Cosine => 0,
        Metric::Dot => 1,
        Metric::Euclid => 2,
        Metric::Manhattan => 3,
    })?;
    sink.u64(config.seed)?;
    match config.kind {
        Kind::Flat => sink.u8(0)?,
        Kind::Hnsw { m, ef_construct } => {
            sink.u8(1)?;
            sink.u32(m as u32)?;
            sink.u32(ef_construct as u32)?;
        }
        Kind::IvfPq { nlist, subquantizers } => {
            sink.u8(2)?;
            sink.u32(nlist.unwrap_or(0) as u32)?;
            sink.u32(subquantizers.unwrap_or(0) as u32)?;
        }
    }
    sink.u8(match config.profile {
        Profile::Balanced => 0,
        Profile::Speed => 1,
        Profile::Memory => 2,
    })?;
    sink.u8(match config.datatype {
        Datatype::Float32 => 0,
        Datatype::Bfloat16 => 1,
    })
}

fn points(points: &Points, sink: &mut Sink<'_, impl Write>) -> io::Result<()> {
    sink.u32(points.nodes())?;
    (0..points.nodes()).try_for_each(|node| sink.u32(points.slot_of(node)))?;
    sink.u32(points.free().len() as u32)?;
    points.free().iter().try_for_each(|node| sink.u32(*node))?;
    sink.begin_bare()?;
    match &points.vectors {
        Originals::Float32(table) => vectors(points, table, sink)?,
        Originals::Bfloat16(table) => vectors(points, table, sink)?,
    }
    sink.end_bare()
}

fn vectors<T: Number>(points: &Points, table: &Table<T>, sink: &mut Sink<'_, impl Write>) -> io::Result<()> {
    let nothing = vec![T::zeroed(); points.vectors.dim()];
    (0..points.nodes()).try_for_each(|node| match points.slot_of(node) {
        // A free node weighs as much as any other, so that no short input can ask for much memory.
        NO_SLOT => sink.numbers(&nothing),
        _ => sink.numbers(&table.row(node)),
    })
}

fn graph(graph: &Graph, sink: &mut Sink<'_, impl Write>) -> io::Result<()> {
    sink.u64(graph.births)?;
    sink.u32(graph.entry.unwrap_or(NO_NODE))?;
    let in_use = |node: &u32| graph.ancestry(*node).0 != 0;
    for node in 0..graph.nodes() {
        let (birth, parent) = graph.ancestry(node);
        sink.u64(birth)?;
        if in_use(&node) {
            sink.u32(parent)?;
            sink.u8(graph.level(node) as u8)?;
        }
    }
    for node in (0..graph.nodes()).filter(in_use) {
        for floor in 0..=graph.level(node) {
            let links = graph.links(node, floor);
            sink.u16(links.len() as u16)?;
            links.iter().try_for_each(|link| sink.u32(*link))?;
        }
    }
    Ok(())
}

fn lists(lists: Option<&Lists>, sink: &mut Sink<'_, impl Write>) -> io::Result<()> {
    let Some(lists) = lists else { return sink.u32(0) };
    sink.u32(lists.coarse.len() as u32)?;
    sink.u32(lists.trained_for as u32)?;
    sink.u64(lists.come)?;
    sink.numbers(lists.coarse.rows())?;
    sink.numbers(lists.codebook.values())?;
    let (parts, padded) = (lists.codebook.parts(), lists.codebook.padded());
    for list in lists.lists.iter() {
        sink.u32(list.len() as u32)?;
        for (at, node) in list.nodes().iter().enumerate() {
            sink.u32(*node)?;
            for part in (0..parts).step_by(2) {
                let second = if part + 1 < parts { list.code(at, part + 1, padded) } else { 0 };
                sink.u8(list.code(at, part, padded) | second << 4)?;
            }
        }
    }
    Ok(())
}

fn curve(curve: &Curve, sink: &mut Sink<'_, impl Write>) -> io::Result<()> {
    sink.u64(curve.come())?;
    sink.u8(curve.tallies().len() as u8)?;
    for tally in curve.tallies() {
        sink.u32(tally.points)?;
        sink.u64(tally.come)?;
        sink.u32(tally.wanted)?;
        sink.u8(tally.found.len() as u8)?;
        tally.found.iter().try_for_each(|found| sink.u32(*found))?;
    }
    Ok(())
}

/// The steps that are left of a block which is half taken.
fn surveys<T, W: Write>(
    surveys: Option<&[Option<T>]>,
    sink: &mut Sink<'_, W>,
    mut write: impl FnMut(&T, &mut Sink<'_, W>) -> io::Result<()>,
) -> io::Result<()> {
    for survey in surveys.unwrap_or_default() {
        sink.u8(u8::from(survey.is_some()))?;
        survey.iter().try_for_each(|survey| write(survey, sink))?;
    }
    Ok(())
}

fn queue(queue: &Queue, sink: &mut Sink<'_, impl Write>) -> io::Result<()> {
    let (first, done) = queue.position();
    sink.u64(first)?;
    sink.u16(done as u16)?;
    sink.u8(u8::from(done > 0 && queue.is_in_order()))?;
    sink.u32(queue.operations().count() as u32)?;
    for (slot, vector) in queue.operations() {
        sink.u32(slot)?;
        sink.u8(u8::from(vector.is_some()))?;
        sink.numbers(vector.unwrap_or_default())?;
    }
    Ok(())
}

use std::io::{self, Write};

use crate::buffered::write_buffer::WriteBuffer;
use crate::hnsw::{Graph, NO_NODE};
use crate::index::{Body, Index};
use crate::ivf::InvertedLists;
use crate::metric::{Component, Metric};
use crate::params::{Config, Kind, Profile};
use crate::recall_model::RecallModel;
use crate::storage::datatype::Datatype;
use crate::storage::points::{NO_SLOT, Points};
use crate::storage::vector_store::{VectorStore, VectorTable};

use super::blocks::Sink;

/// Writes an index.
pub(crate) fn write(index: &Index, out: &mut impl Write) -> io::Result<()> {
    let mut sink = Sink::new(out)?;
    config(index.config(), &mut sink)?;
    match index.body() {
        Body::Flat(flat) => points(&flat.points, &mut sink)?,
        Body::Hnsw(hnsw) => {
            points(&hnsw.points, &mut sink)?;
            graph(&hnsw.index.graph, &mut sink)?;
            recall_model(&hnsw.recall_model, &mut sink)?;
            buffer(&hnsw.buffer, &mut sink)?;
            insert_plans(hnsw.insert_plans(), &mut sink, |plan, sink| {
                sink.u64(plan.snapshot_seq)?;
                sink.u8(plan.neighbors.len() as u8)?;
                plan.neighbors.iter().try_for_each(|nodes| {
                    sink.u16(nodes.len() as u16)?;
                    nodes.iter().try_for_each(|node| sink.u32(*node))
                })
            })?;
        }
        Body::IvfPq(ivf) => {
            points(&ivf.points, &mut sink)?;
            lists(ivf.index.lists(), &mut sink)?;
            recall_model(&ivf.recall_model, &mut sink)?;
            buffer(&ivf.buffer, &mut sink)?;
            insert_plans(ivf.insert_plans(), &mut sink, |plan, sink| {
                let Some(entries) = plan else { return sink.u32(u32::MAX) };
                sink.u32(entries[0].list as u32)?;
                sink.u32(entries.get(1).map_or(u32::MAX, |second| second.list as u32))?;
                entries.iter().flat_map(|entry| &entry.codes).try_for_each(|code| sink.u8(*code))
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
        VectorStore::Float32(table) => vectors(points, table, sink)?,
        VectorStore::Bfloat16(table) => vectors(points, table, sink)?,
    }
    sink.end_bare()
}

fn vectors<T: Component>(points: &Points, table: &VectorTable<T>, sink: &mut Sink<'_, impl Write>) -> io::Result<()> {
    let nothing = vec![T::zeroed(); points.vectors.dim()];
    (0..points.nodes()).try_for_each(|node| match points.slot_of(node) {
        // A free node takes as many bytes as any other, so that a short input cannot demand much memory.
        NO_SLOT => sink.numbers(&nothing),
        _ => sink.numbers(&table.row(node)),
    })
}

fn graph(graph: &Graph, sink: &mut Sink<'_, impl Write>) -> io::Result<()> {
    sink.u64(graph.last_insert_seq)?;
    sink.u32(graph.entry.unwrap_or(NO_NODE))?;
    let in_use = |node: &u32| graph.seq_and_parent(*node).0 != 0;
    for node in 0..graph.nodes() {
        let (insert_seq, parent) = graph.seq_and_parent(node);
        sink.u64(insert_seq)?;
        if in_use(&node) {
            sink.u32(parent)?;
            sink.u8(graph.level(node) as u8)?;
        }
    }
    for node in (0..graph.nodes()).filter(in_use) {
        for level in 0..=graph.level(node) {
            let links = graph.links(node, level);
            sink.u16(links.len() as u16)?;
            links.iter().try_for_each(|link| sink.u32(*link))?;
        }
    }
    Ok(())
}

fn lists(lists: Option<&InvertedLists>, sink: &mut Sink<'_, impl Write>) -> io::Result<()> {
    let Some(lists) = lists else { return sink.u32(0) };
    sink.u32(lists.coarse.len() as u32)?;
    sink.u32(lists.trained_for as u32)?;
    sink.u64(lists.inserted_since)?;
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

fn recall_model(recall_model: &RecallModel, sink: &mut Sink<'_, impl Write>) -> io::Result<()> {
    sink.u64(recall_model.inserted_since())?;
    sink.u8(recall_model.samples().len() as u8)?;
    for sample in recall_model.samples() {
        sink.u32(sample.points)?;
        sink.u64(sample.inserted_since)?;
        sink.u32(sample.wanted)?;
        sink.u8(sample.found.len() as u8)?;
        sample.found.iter().try_for_each(|found| sink.u32(*found))?;
    }
    Ok(())
}

/// Insert plans of the remaining steps of a partly merged block.
fn insert_plans<T, W: Write>(
    insert_plans: Option<&[Option<T>]>,
    sink: &mut Sink<'_, W>,
    mut write: impl FnMut(&T, &mut Sink<'_, W>) -> io::Result<()>,
) -> io::Result<()> {
    for plan in insert_plans.unwrap_or_default() {
        sink.u8(u8::from(plan.is_some()))?;
        plan.iter().try_for_each(|plan| write(plan, sink))?;
    }
    Ok(())
}

fn buffer(buffer: &WriteBuffer, sink: &mut Sink<'_, impl Write>) -> io::Result<()> {
    let (first, done) = buffer.position();
    sink.u64(first)?;
    sink.u16(done as u16)?;
    sink.u8(u8::from(done > 0 && buffer.is_in_order()))?;
    sink.u32(buffer.operations().count() as u32)?;
    for (slot, vector) in buffer.operations() {
        sink.u32(slot)?;
        sink.u8(u8::from(vector.is_some()))?;
        sink.numbers(vector.unwrap_or_default())?;
    }
    Ok(())
}

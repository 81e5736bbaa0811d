//! Packed codes of matching points, for many queries with one filter that few points match: every query compares all of
//! them.

use crate::kernels::fast_scan::BLOCK_POINTS;
use crate::metric::Space;
use crate::neighbor::Neighbor;
use crate::selection::{set_bits, smallest, within};
use crate::storage::vector_store::Vectors;

use super::distance_table::{DistanceTable, infinity_if_nan};
use super::inverted_list::InvertedList;
use super::inverted_lists::InvertedLists;
use super::masks::Masks;
use super::reservoir::Reservoir;

/// One entry per node: that on the list of its nearest centroid.
pub(super) struct PackedCodes {
    /// Ordered by list.
    entries: InvertedList,
    /// List of each entry.
    lists: Vec<u32>,
}

impl PackedCodes {
    pub fn new(lists: &InvertedLists, masks: &Masks) -> Self {
        let (parts, padded) = (lists.codebook.parts(), lists.codebook.padded());
        let mut packed = Self { entries: InvertedList::default(), lists: Vec::new() };
        let mut codes = Vec::with_capacity(parts);
        for (nth, list) in (0..).zip(lists.lists.iter()) {
            for at in masks.entries(nth as usize, list.len()) {
                let node = list.nodes()[at];
                if lists.lists_of(node).next() == Some(nth as usize) {
                    codes.clear();
                    codes.extend((0..parts).map(|part| list.code(at, part, padded)));
                    packed.entries.push(node, &codes, list.bias(at), padded);
                    packed.lists.push(nth);
                }
            }
        }
        packed
    }
}

impl InvertedLists {
    /// The nearest packed nodes of each query, with exact distances: the best `rerank` by code are compared by vector.
    pub(super) fn search_packed(
        &self,
        queries: &[&[f32]],
        rerank: usize,
        packed: &PackedCodes,
        vectors: Vectors<'_>,
    ) -> Vec<Vec<Neighbor>> {
        let search = |query: &&[f32]| {
            let mut neighbors = self.scan_packed(query, rerank, packed, vectors.space);
            vectors.rerank(query, &mut neighbors);
            neighbors
        };
        queries.iter().map(search).collect()
    }

    /// The nearest `count` by code.
    fn scan_packed(
        &self,
        query: &[f32],
        count: usize,
        PackedCodes { entries, lists }: &PackedCodes,
        space: Space,
    ) -> Vec<Neighbor> {
        let table = DistanceTable::new(&self.codebook, query, space.metric());
        let bases = self.bases(query, table.least, space);
        let fast_scan = space.kernels().fast_scan;
        let mut found = Reservoir::new(count);
        let mut sums = [0; BLOCK_POINTS];
        let blocks = entries.blocks(self.codebook.padded()).zip(entries.nodes().chunks(BLOCK_POINTS));
        for (block, ((codes, nodes), lists)) in blocks.zip(lists.chunks(BLOCK_POINTS)).enumerate() {
            let base = smallest(&bases[lists[0] as usize..=lists[lists.len() - 1] as usize]);
            let Some(limit) = table.limit(found.worst(), base + entries.min_bias(block)) else { continue };
            let all = u32::MAX >> (BLOCK_POINTS - nodes.len());
            if fast_scan(codes, &table.bytes, limit, &mut sums) & all == 0 {
                continue;
            }
            // The limit of the nearest of these lists admits many points that are not near, so a branch per point would
            // be mispredicted.
            let mut distances = [0.0; BLOCK_POINTS];
            distances.iter_mut().zip(lists).for_each(|(distance, list)| *distance = bases[*list as usize]);
            distances.iter_mut().zip(entries.biases(block)).for_each(|(distance, bias)| *distance += bias);
            for (distance, sum) in distances.iter_mut().zip(&sums) {
                *distance = infinity_if_nan(*distance + table.step * f32::from(*sum));
            }
            for i in set_bits(within(&distances, found.worst()) & all) {
                found.push(Neighbor::new(distances[i], nodes[i]));
            }
        }
        found.into_nearest()
    }
}

//! Codes of the few who match, one behind the other without a gap, for many queries with one filter: each looks at all of them.

use crate::kernels::fast_scan::BLOCK_POINTS;
use crate::near::{Near, places, smallest, within};
use crate::space::Space;
use crate::structure::Vectors;

use super::list::List;
use super::lists::Lists;
use super::masks::Masks;
use super::reservoir::Reservoir;
use super::table::{Table, far_if_nan};

/// An entry for each node: the one on the list of its nearest centroid.
pub(super) struct Packed {
    /// In the order of the lists that they are on.
    entries: List,
    /// By entry: that list.
    lists: Vec<u32>,
}

impl Packed {
    pub fn new(lists: &Lists, masks: &Masks) -> Self {
        let (parts, padded) = (lists.codebook.parts(), lists.codebook.padded());
        let mut packed = Self { entries: List::default(), lists: Vec::new() };
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

impl Lists {
    /// The nearest nodes of each query among those packed, with their true distances: `rerank` are compared by their vectors.
    pub(super) fn search_packed(
        &self,
        queries: &[&[f32]],
        rerank: usize,
        packed: &Packed,
        vectors: Vectors<'_>,
    ) -> Vec<Vec<Near>> {
        let search = |query: &&[f32]| {
            let mut nears = self.scan_packed(query, rerank, packed, vectors.space);
            vectors.compare_again(query, &mut nears);
            nears
        };
        queries.iter().map(search).collect()
    }

    /// The nearest `count` by their codes.
    fn scan_packed(&self, query: &[f32], count: usize, Packed { entries, lists }: &Packed, space: Space) -> Vec<Near> {
        let table = Table::new(&self.codebook, query, space.metric());
        let bases = self.bases(query, table.least, space);
        let fast_scan = space.kernels().fast_scan;
        let mut found = Reservoir::new(count);
        let mut sums = [0; BLOCK_POINTS];
        let blocks = entries.blocks(self.codebook.padded()).zip(entries.nodes().chunks(BLOCK_POINTS));
        for (block, ((codes, nodes), lists)) in blocks.zip(lists.chunks(BLOCK_POINTS)).enumerate() {
            let base = smallest(&bases[lists[0] as usize..=lists[lists.len() - 1] as usize]);
            let Some(limit) = table.limit(found.worst(), base + entries.least_bias(block)) else { continue };
            let all = u32::MAX >> (BLOCK_POINTS - nodes.len());
            if fast_scan(codes, &table.bytes, limit, &mut sums) & all == 0 {
                continue;
            }
            // By the limit of the nearest of these lists many are met that are not near, and no processor foresees which.
            let mut distances = [0.0; BLOCK_POINTS];
            distances.iter_mut().zip(lists).for_each(|(distance, list)| *distance = bases[*list as usize]);
            distances.iter_mut().zip(entries.biases(block)).for_each(|(distance, bias)| *distance += bias);
            for (distance, sum) in distances.iter_mut().zip(&sums) {
                *distance = far_if_nan(*distance + table.step * f32::from(*sum));
            }
            for i in places(within(&distances, found.worst()) & all) {
                found.push(Near::new(distances[i], nodes[i]));
            }
        }
        found.into_nearest()
    }
}

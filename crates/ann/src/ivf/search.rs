//! Execution of queries on the lists.

use crate::kernels::columns::ROWS;
use crate::kernels::fast_scan::BLOCK_POINTS;
use crate::kernels::prefetch;
use crate::metric::{Metric, Space};
use crate::neighbor::{Neighbor, rank};
use crate::selection::{retain_below, select_nth, set_bits, smallest};
use crate::storage::vector_store::Vectors;

use super::coarse_quantizer::CentroidDistances;
use super::distance_table::{DistanceTable, infinity_if_nan};
use super::inverted_lists::InvertedLists;
use super::masks::EntryFilter;
use super::reservoir::Reservoir;

/// Blocks between a prefetch and the scan, across lists. A prefetch per list would come in bursts that stall the
/// processor.
const BLOCK_PREFETCH_DISTANCE: usize = 4;

/// Lists between the prefetch of their nodes and the scan.
const LIST_PREFETCH_DISTANCE: usize = 2;

/// Queries of a batch that scan lists together: their tables and results fit in a core's cache.
const BATCH_SIZE: usize = 256;

/// Lists that each query of a batch scans before all scan the others together. The results exclude most blocks of the
/// others.
const LISTS_SCANNED_ALONE: usize = 4;

/// Extent of a search.
#[derive(Clone, Copy)]
pub(crate) struct ListSearch {
    /// Lists to scan; at most the number of lists.
    pub nprobe: usize,
    /// Nearest entries by code to rerank by vector; a node may have two entries.
    pub rerank: usize,
    /// With fewer accepted entries than this, further lists are scanned.
    pub least: usize,
}

impl InvertedLists {
    /// The nearest nodes of each query, with exact distances.
    pub(super) fn search(
        &self,
        queries: &[&[f32]],
        params: ListSearch,
        filter: &impl EntryFilter,
        vectors: Vectors<'_>,
    ) -> Vec<Vec<Neighbor>> {
        queries.chunks(BATCH_SIZE).flat_map(|queries| self.search_chunk(queries, params, filter, vectors)).collect()
    }

    fn search_chunk(
        &self,
        queries: &[&[f32]],
        ListSearch { nprobe, rerank, least }: ListSearch,
        filter: &impl EntryFilter,
        vectors: Vectors<'_>,
    ) -> Vec<Vec<Neighbor>> {
        let space = vectors.space;
        let alone = if queries.len() == 1 { nprobe } else { LISTS_SCANNED_ALONE.min(nprobe) };
        let mut probes = Vec::with_capacity(queries.len() * (nprobe - alone));
        let mut scans: Vec<_> = (0..)
            .zip(queries)
            .map(|(nth, query)| {
                let table = DistanceTable::new(&self.codebook, query, space.metric());
                let mut scan = ListScan { lists: self, query, table, space, filter, found: Reservoir::new(rerank) };
                let order = self.nearest_lists(query, nprobe, alone, space);
                scan.scan_lists(&order[..alone], usize::MAX);
                let lists = order[alone..].iter().map(|neighbor| neighbor.id());
                probes.extend(lists.filter(|list| filter.may_match(*list as usize)).map(|list| (list, nth)));
                scan
            })
            .collect();
        self.scan_together(&self.group_by_list(&probes), filter, &mut scans);
        let end = |mut scan: ListScan<'_, _>| {
            if scan.found.len() < least {
                let nlist = self.coarse.len();
                scan.scan_lists(&self.nearest_lists(scan.query, nlist, nlist, space)[nprobe..], least);
            }
            let mut neighbors = scan.found.into_nearest();
            neighbors.sort_unstable_by_key(|neighbor| neighbor.id());
            neighbors.dedup_by_key(|neighbor| neighbor.id());
            vectors.rerank(scan.query, &mut neighbors);
            neighbors
        };
        scans.into_iter().map(end).collect()
    }

    /// Sorts pairs of list and query by list.
    fn group_by_list(&self, probes: &[(u32, u32)]) -> Vec<(u32, u32)> {
        let mut ends = vec![0_u32; self.coarse.len()];
        probes.iter().for_each(|(list, _)| ends[*list as usize] += 1);
        let mut end = 0;
        for next in &mut ends {
            end += std::mem::replace(next, end);
        }
        let mut sorted = vec![(0, 0); probes.len()];
        for probe in probes {
            let at = &mut ends[probe.0 as usize];
            sorted[*at as usize] = *probe;
            *at += 1;
        }
        sorted
    }

    /// Scans lists for several queries. Pairs of one list are adjacent, so that its blocks are read from memory once.
    fn scan_together<C: EntryFilter>(&self, probes: &[(u32, u32)], filter: &C, scans: &mut [ListScan<'_, C>]) {
        let same_list = |(a, _): &(u32, u32), (b, _): &(u32, u32)| a == b;
        let blocks = |probes: &[(u32, u32)]| self.blocks(probes[0].0 as usize, filter);
        let mut ahead = probes.chunk_by(same_list).flat_map(blocks);
        ahead.by_ref().take(BLOCK_PREFETCH_DISTANCE).for_each(prefetch);
        let mut before = None;
        for (at, (list, query)) in probes.iter().enumerate() {
            if let Some((_, next)) = probes.get(at + 1) {
                prefetch(&scans[*next as usize].table.bytes);
            }
            let is_first = before.replace(*list) != Some(*list);
            if is_first {
                prefetch(self.lists[*list as usize].nodes());
            }
            scans[*query as usize].scan(*list as usize, || {
                if is_first {
                    ahead.next().into_iter().for_each(prefetch);
                }
            });
        }
    }

    /// Keeps `count` nodes by the distance of their nearest centroid, and those at the same distance. `count` must be
    /// less than the number of nodes.
    pub fn prefilter(&self, query: &[f32], nodes: &mut Vec<u32>, count: usize, space: Space) {
        let by_list: Vec<u32> = self.distances(query, space).by_list.iter().map(|distance| rank(*distance)).collect();
        // A node without a list is kept.
        let rank = |node: &u32| self.lists_of(*node).map(|list| by_list[list]).min().unwrap_or(0);
        let ranks: Vec<u32> = nodes.iter().map(rank).collect();
        retain_below(nodes, &ranks, select_nth(&ranks, count - 1));
    }

    /// Approximate distances of the centroids.
    fn distances(&self, query: &[f32], space: Space) -> CentroidDistances {
        let mut distances = CentroidDistances::default();
        match space.metric() {
            Metric::Cosine | Metric::Dot => self.coarse.negated_products(query, space.kernels(), &mut distances),
            Metric::Euclid | Metric::Manhattan => {
                self.coarse.squared_distances(query, space.kernels(), &mut distances);
            }
        }
        distances.by_list.iter_mut().for_each(|distance| *distance = infinity_if_nan(*distance));
        distances
    }

    /// Per list: approximate part of the distance that its entries share, plus `least` of the distance table.
    pub(super) fn bases(&self, query: &[f32], least: f32, space: Space) -> Vec<f32> {
        if space.metric() == Metric::Manhattan {
            return vec![least; self.coarse.len()];
        }
        let mut bases = self.distances(query, space).by_list;
        bases.iter_mut().for_each(|base| *base += least);
        bases
    }

    /// The `count` lists with the nearest centroids, approximately; the `first` of them come first and in order.
    fn nearest_lists(&self, query: &[f32], count: usize, first: usize, space: Space) -> Vec<Neighbor> {
        let distances = self.distances(query, space);
        // `count` groups have a centroid within `bound`, so no list beyond it is needed.
        let groups = distances.by_list.chunks(ROWS);
        let least: Vec<f32> = groups.clone().map(smallest).collect();
        let bound = if count < least.len() {
            let mut sorted = least.clone();
            *sorted.select_nth_unstable_by(count - 1, f32::total_cmp).1
        } else {
            f32::INFINITY
        };
        let mut order = Vec::new();
        for (at, group) in groups.enumerate().filter(|(at, _)| least[*at] <= bound) {
            for (i, distance) in group.iter().enumerate() {
                if *distance <= bound {
                    order.push(Neighbor::new(*distance, (at * ROWS + i) as u32));
                }
            }
        }
        if count < order.len() {
            order.select_nth_unstable(count);
            order.truncate(count);
        }
        if first < order.len() {
            order.select_nth_unstable(first);
        }
        let first = first.min(order.len());
        order[..first].sort_unstable();
        order
    }
}

/// A query that scans lists.
struct ListScan<'a, C> {
    lists: &'a InvertedLists,
    query: &'a [f32],
    table: DistanceTable,
    space: Space,
    filter: &'a C,
    found: Reservoir,
}

impl<C: EntryFilter> ListScan<'_, C> {
    /// Scans lists until `least` entries are found.
    fn scan_lists(&mut self, order: &[Neighbor], least: usize) {
        let lists = self.lists;
        let filter = self.filter;
        let mut ahead = order.iter().flat_map(|neighbor| lists.blocks(neighbor.id() as usize, filter));
        ahead.by_ref().take(BLOCK_PREFETCH_DISTANCE).for_each(prefetch);
        for (done, neighbor) in order.iter().enumerate() {
            if self.found.len() >= least {
                break;
            }
            if let Some(next) = order.get(done + LIST_PREFETCH_DISTANCE) {
                prefetch(lists.lists[next.id() as usize].nodes());
                prefetch(lists.coarse.row(next.id() as usize));
            }
            self.scan(neighbor.id() as usize, || ahead.next().into_iter().for_each(prefetch));
        }
    }

    fn scan(&mut self, list: usize, mut full_scan_points: impl FnMut()) {
        if !self.filter.may_match(list) {
            return;
        }
        let Self { lists, query, table, space, filter, found } = self;
        let centroid = match space.metric() {
            Metric::Manhattan => 0.0,
            Metric::Cosine | Metric::Dot | Metric::Euclid => space.distance(query, lists.coarse.row(list)),
        };
        let base = table.least + centroid;
        let (at, padded) = (list, lists.codebook.padded());
        let list = &lists.lists[list];
        let fast_scan = space.kernels().fast_scan;
        let mut sums = [0; BLOCK_POINTS];
        for (block, codes) in list.blocks(padded).enumerate() {
            let mask = filter.mask(at, block);
            if mask == 0 {
                continue;
            }
            full_scan_points();
            let Some(limit) = table.limit(found.worst(), base + list.min_bias(block)) else { continue };
            let mut within = fast_scan(codes, &table.bytes, limit, &mut sums) & mask;
            let first = block * BLOCK_POINTS;
            let points = list.len() - first;
            if points < BLOCK_POINTS {
                within &= (1 << points) - 1;
            }
            for i in set_bits(within) {
                let node = list.nodes()[first + i];
                let distance =
                    infinity_if_nan(base + table.step * f32::from(sums[i]) + list.bias(first + i).unwrap_or(0.0));
                if distance <= found.worst() && filter.accepts(node) {
                    found.push(Neighbor::new(distance, node));
                }
            }
        }
    }
}

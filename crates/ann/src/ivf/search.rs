//! What a query does with the lists.

use crate::config::Metric;
use crate::kernels::columns::ROWS;
use crate::kernels::fast_scan::BLOCK_POINTS;
use crate::kernels::prefetch;
use crate::near::{Near, keep_least, nth_least, rank};
use crate::space::Space;
use crate::structure::Vectors;

use super::coarse::Distances;
use super::lists::Lists;
use super::reservoir::Reservoir;
use super::table::Table;

/// Blocks asked for before the one that is scanned, over the borders of lists. Asked for list by list they come in a rush that the
/// processor has to wait for.
const BLOCKS_AHEAD: usize = 4;

/// Lists whose nodes are asked for before the one that is scanned.
const LISTS_AHEAD: usize = 2;

/// Queries of a batch that go through the lists together: their tables and what they have found fit in a core's cache.
const TOGETHER: usize = 256;

/// Lists that each query of a batch looks at before all look at the others together: what it finds there rules out most of those.
const LISTS_APART: usize = 4;

/// How far a query goes.
#[derive(Clone, Copy)]
pub(crate) struct Plan {
    /// Lists that are looked at; there are as many.
    pub nprobe: usize,
    /// The nearest entries by their codes, which are compared by their vectors; a node may have two entries.
    pub rerank: usize,
    /// If fewer entries are accepted, further lists are looked at.
    pub least: usize,
}

impl Lists {
    /// The nearest nodes of each query, with their true distances.
    pub fn search(
        &self,
        queries: &[&[f32]],
        plan: Plan,
        accepts: impl Fn(u32) -> bool,
        vectors: Vectors<'_>,
    ) -> Vec<Vec<Near>> {
        queries.chunks(TOGETHER).flat_map(|queries| self.search_together(queries, plan, &accepts, vectors)).collect()
    }

    fn search_together(
        &self,
        queries: &[&[f32]],
        Plan { nprobe, rerank, least }: Plan,
        accepts: &impl Fn(u32) -> bool,
        vectors: Vectors<'_>,
    ) -> Vec<Vec<Near>> {
        let space = vectors.space;
        let apart = if queries.len() == 1 { nprobe } else { LISTS_APART.min(nprobe) };
        let mut probes = Vec::with_capacity(queries.len() * (nprobe - apart));
        let mut scans: Vec<_> = (0..)
            .zip(queries)
            .map(|(nth, query)| {
                let table = Table::new(&self.codebook, query, space.metric());
                let mut scan = Scan { lists: self, query, table, space, accepts, found: Reservoir::new(rerank) };
                let order = self.order(query, nprobe, space);
                scan.look(&order[..apart], usize::MAX);
                probes.extend(order[apart..].iter().map(|near| (near.id(), nth)));
                scan
            })
            .collect();
        probes.sort_unstable();
        self.look_together(&probes, &mut scans);
        let end = |mut scan: Scan<'_, _>| {
            if scan.found.len() < least {
                scan.look(&self.order(scan.query, self.coarse.len(), space)[nprobe..], least);
            }
            let mut nears = scan.found.into_nearest();
            nears.sort_unstable_by_key(|near| near.id());
            nears.dedup_by_key(|near| near.id());
            vectors.compare_again(scan.query, &mut nears);
            nears
        };
        scans.into_iter().map(end).collect()
    }

    /// Scans lists for queries: those of one list stand one behind the other, so that its blocks come from memory once.
    fn look_together<F: Fn(u32) -> bool>(&self, probes: &[(u32, u32)], scans: &mut [Scan<'_, F>]) {
        let same_list = |(a, _): &(u32, u32), (b, _): &(u32, u32)| a == b;
        let blocks = |probes: &[(u32, u32)]| self.lists[probes[0].0 as usize].blocks(self.codebook.padded());
        let mut ahead = probes.chunk_by(same_list).flat_map(blocks);
        ahead.by_ref().take(BLOCKS_AHEAD).for_each(prefetch);
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

    /// Leaves `count` of more nodes, and those as near by their lists: who is on one with a near centroid.
    pub fn sift(&self, query: &[f32], nodes: &mut Vec<u32>, count: usize, space: Space) {
        let by_list: Vec<u32> = self.distances(query, space).by_list.iter().map(|distance| rank(*distance)).collect();
        // One that is on no list is looked at.
        let rank = |node: &u32| self.lists_of(*node).map(|list| by_list[list]).min().unwrap_or(0);
        let ranks: Vec<u32> = nodes.iter().map(rank).collect();
        keep_least(nodes, &ranks, nth_least(&ranks, count - 1));
    }

    /// About how far the centroids are.
    fn distances(&self, query: &[f32], space: Space) -> Distances {
        let mut distances = Distances::default();
        match space.metric() {
            Metric::Cosine | Metric::Dot => self.coarse.negated_products(query, space.kernels(), &mut distances),
            Metric::Euclid | Metric::Manhattan => {
                self.coarse.squared_distances(query, space.kernels(), &mut distances);
            }
        }
        for distance in &mut distances.by_list {
            *distance = if distance.is_nan() { f32::INFINITY } else { *distance };
        }
        distances
    }

    /// The `count` lists with the nearest centroids, about, in order.
    fn order(&self, query: &[f32], count: usize, space: Space) -> Vec<Near> {
        let distances = self.distances(query, space);
        // As many groups as lists are wanted have one no farther than `bound`, so no list beyond it is wanted.
        let groups = distances.by_list.chunks(ROWS);
        let least: Vec<f32> = groups.clone().map(|group| group.iter().copied().fold(f32::INFINITY, f32::min)).collect();
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
                    order.push(Near::new(*distance, (at * ROWS + i) as u32));
                }
            }
        }
        order.sort_unstable();
        order.truncate(count);
        order
    }
}

/// A query on its way through the lists.
struct Scan<'a, F> {
    lists: &'a Lists,
    query: &'a [f32],
    table: Table,
    space: Space,
    accepts: &'a F,
    found: Reservoir,
}

impl<F: Fn(u32) -> bool> Scan<'_, F> {
    /// Scans lists until there are `least` entries.
    fn look(&mut self, order: &[Near], least: usize) {
        let lists = self.lists;
        let mut ahead = order.iter().flat_map(|near| lists.lists[near.id() as usize].blocks(lists.codebook.padded()));
        ahead.by_ref().take(BLOCKS_AHEAD).for_each(prefetch);
        for (done, near) in order.iter().enumerate() {
            if self.found.len() >= least {
                break;
            }
            if let Some(next) = order.get(done + LISTS_AHEAD) {
                prefetch(lists.lists[next.id() as usize].nodes());
                prefetch(lists.coarse.row(next.id() as usize));
            }
            self.scan(near.id() as usize, || ahead.next().into_iter().for_each(prefetch));
        }
    }

    fn scan(&mut self, list: usize, mut scanned: impl FnMut()) {
        let Self { lists, query, table, space, accepts, found } = self;
        let centroid = match space.metric() {
            Metric::Manhattan => 0.0,
            Metric::Cosine | Metric::Dot | Metric::Euclid => space.distance(query, lists.coarse.row(list)),
        };
        let base = table.least + centroid;
        let (list, padded) = (&lists.lists[list], lists.codebook.padded());
        let fast_scan = space.kernels().fast_scan;
        let mut sums = [0; BLOCK_POINTS];
        for (block, codes) in list.blocks(padded).enumerate() {
            scanned();
            let limit = (found.worst() - base - list.least_bias(block)) / table.step;
            if limit < 0.0 {
                continue;
            }
            // Saturates; an infinite worst admits all.
            let mut met = fast_scan(codes, &table.bytes, limit as u16, &mut sums);
            let first = block * BLOCK_POINTS;
            let points = list.len() - first;
            if points < BLOCK_POINTS {
                met &= (1 << points) - 1;
            }
            while met != 0 {
                let i = met.trailing_zeros() as usize;
                met &= met - 1;
                let node = list.nodes()[first + i];
                let distance = base + table.step * f32::from(sums[i]) + list.bias(first + i);
                if distance <= found.worst() && accepts(node) {
                    found.push(Near::new(if distance.is_nan() { f32::INFINITY } else { distance }, node));
                }
            }
        }
    }
}

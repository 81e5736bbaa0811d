//! What a query does with the lists.

use crate::config::Metric;
use crate::kernels::columns::ROWS;
use crate::kernels::fast_scan::BLOCK_POINTS;
use crate::kernels::prefetch;
use crate::near::{Near, keep_least, nth_least, places, rank, smallest};
use crate::space::Space;
use crate::structure::Vectors;

use super::coarse::Distances;
use super::lists::Lists;
use super::masks::Condition;
use super::reservoir::Reservoir;
use super::table::{Table, far_if_nan};

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
    pub(super) fn search(
        &self,
        queries: &[&[f32]],
        plan: Plan,
        condition: &impl Condition,
        vectors: Vectors<'_>,
    ) -> Vec<Vec<Near>> {
        queries.chunks(TOGETHER).flat_map(|queries| self.search_together(queries, plan, condition, vectors)).collect()
    }

    fn search_together(
        &self,
        queries: &[&[f32]],
        Plan { nprobe, rerank, least }: Plan,
        condition: &impl Condition,
        vectors: Vectors<'_>,
    ) -> Vec<Vec<Near>> {
        let space = vectors.space;
        let apart = if queries.len() == 1 { nprobe } else { LISTS_APART.min(nprobe) };
        let mut probes = Vec::with_capacity(queries.len() * (nprobe - apart));
        let mut scans: Vec<_> = (0..)
            .zip(queries)
            .map(|(nth, query)| {
                let table = Table::new(&self.codebook, query, space.metric());
                let mut scan = Scan { lists: self, query, table, space, condition, found: Reservoir::new(rerank) };
                let order = self.order(query, nprobe, apart, space);
                scan.look(&order[..apart], usize::MAX);
                let lists = order[apart..].iter().map(|near| near.id());
                probes.extend(lists.filter(|list| condition.may_hold(*list as usize)).map(|list| (list, nth)));
                scan
            })
            .collect();
        self.look_together(&self.by_list(&probes), condition, &mut scans);
        let end = |mut scan: Scan<'_, _>| {
            if scan.found.len() < least {
                let nlist = self.coarse.len();
                scan.look(&self.order(scan.query, nlist, nlist, space)[nprobe..], least);
            }
            let mut nears = scan.found.into_nearest();
            nears.sort_unstable_by_key(|near| near.id());
            nears.dedup_by_key(|near| near.id());
            vectors.compare_again(scan.query, &mut nears);
            nears
        };
        scans.into_iter().map(end).collect()
    }

    /// Lists and who looks at them, list by list.
    fn by_list(&self, probes: &[(u32, u32)]) -> Vec<(u32, u32)> {
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

    /// Scans lists for queries: those of one list stand one behind the other, so that its blocks come from memory once.
    fn look_together<C: Condition>(&self, probes: &[(u32, u32)], condition: &C, scans: &mut [Scan<'_, C>]) {
        let same_list = |(a, _): &(u32, u32), (b, _): &(u32, u32)| a == b;
        let blocks = |probes: &[(u32, u32)]| self.blocks(probes[0].0 as usize, condition);
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
        distances.by_list.iter_mut().for_each(|distance| *distance = far_if_nan(*distance));
        distances
    }

    /// By list: what the entries there have alike in their distances, about, and `least` of the table.
    pub(super) fn bases(&self, query: &[f32], least: f32, space: Space) -> Vec<f32> {
        if space.metric() == Metric::Manhattan {
            return vec![least; self.coarse.len()];
        }
        let mut bases = self.distances(query, space).by_list;
        bases.iter_mut().for_each(|base| *base += least);
        bases
    }

    /// The `count` lists with the nearest centroids, about; the `first` of them in order, before the others.
    fn order(&self, query: &[f32], count: usize, first: usize, space: Space) -> Vec<Near> {
        let distances = self.distances(query, space);
        // As many groups as lists are wanted have one no farther than `bound`, so no list beyond it is wanted.
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
                    order.push(Near::new(*distance, (at * ROWS + i) as u32));
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

/// A query on its way through the lists.
struct Scan<'a, C> {
    lists: &'a Lists,
    query: &'a [f32],
    table: Table,
    space: Space,
    condition: &'a C,
    found: Reservoir,
}

impl<C: Condition> Scan<'_, C> {
    /// Scans lists until there are `least` entries.
    fn look(&mut self, order: &[Near], least: usize) {
        let lists = self.lists;
        let condition = self.condition;
        let mut ahead = order.iter().flat_map(|near| lists.blocks(near.id() as usize, condition));
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
        if !self.condition.may_hold(list) {
            return;
        }
        let Self { lists, query, table, space, condition, found } = self;
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
            let mask = condition.mask(at, block);
            if mask == 0 {
                continue;
            }
            scanned();
            let Some(limit) = table.limit(found.worst(), base + list.least_bias(block)) else { continue };
            let mut met = fast_scan(codes, &table.bytes, limit, &mut sums) & mask;
            let first = block * BLOCK_POINTS;
            let points = list.len() - first;
            if points < BLOCK_POINTS {
                met &= (1 << points) - 1;
            }
            for i in places(met) {
                let node = list.nodes()[first + i];
                let distance = far_if_nan(base + table.step * f32::from(sums[i]) + list.bias(first + i).unwrap_or(0.0));
                if distance <= found.worst() && condition.accepts(node) {
                    found.push(Near::new(distance, node));
                }
            }
        }
    }
}

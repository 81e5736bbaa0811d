//! What a query does with the lists.

use crate::config::Metric;
use crate::kernels::fast_scan::BLOCK_POINTS;
use crate::kernels::prefetch;
use crate::near::Near;
use crate::space::Space;
use crate::structure::Vectors;

use super::lists::Lists;
use super::table::Table;

/// Blocks asked for before the one that is scanned, over the borders of lists. Asked for list by list they come in a rush that the
/// processor has to wait for.
const BLOCKS_AHEAD: usize = 4;

/// Lists whose nodes are asked for before the one that is scanned.
const LISTS_AHEAD: usize = 2;

/// Keeps about the nearest `keep` of all it is offered, by estimates.
struct Reservoir {
    keep: usize,
    nears: Vec<Near>,
    /// An estimate beyond this is not among them.
    worst: f32,
}

impl Reservoir {
    fn new(keep: usize) -> Self {
        Self { keep, nears: Vec::new(), worst: f32::INFINITY }
    }

    fn push(&mut self, near: Near) {
        self.nears.push(near);
        if self.nears.len() / 2 >= self.keep {
            self.shrink();
        }
    }

    /// Forgets all but the nearest `keep`.
    fn shrink(&mut self) {
        if self.nears.len() > self.keep {
            let (_, last, _) = self.nears.select_nth_unstable(self.keep - 1);
            self.worst = last.distance();
            self.nears.truncate(self.keep);
        }
    }
}

impl Lists {
    /// The nearest nodes: of the `nprobe` nearest lists the `rerank` nearest by their codes, by their true distance. If fewer
    /// than `least` nodes are accepted there, further lists are looked at.
    pub fn search(
        &self,
        query: &[f32],
        nprobe: usize,
        rerank: usize,
        least: usize,
        accepts: impl Fn(u32) -> bool,
        vectors: Vectors<'_>,
    ) -> Vec<Near> {
        let space = vectors.space;
        let order = self.order(query, nprobe, space);
        let table = Table::new(&self.codebook, query, space.metric());
        let square = if space.metric() == Metric::Euclid { (space.kernels().dot)(query, query) } else { 0.0 };
        let mut reservoir = Reservoir::new(rerank);
        let blocks = |near: &Near| self.lists[near.id() as usize].blocks(self.codebook.padded());
        let mut ahead = order.iter().take(nprobe).flat_map(blocks);
        ahead.by_ref().take(BLOCKS_AHEAD).for_each(prefetch);
        for (done, near) in order.iter().enumerate() {
            if done >= nprobe && reservoir.nears.len() >= least {
                break;
            }
            if let Some(next) = order.get(done + LISTS_AHEAD) {
                prefetch(self.lists[next.id() as usize].nodes());
            }
            let scanned = || ahead.next().into_iter().for_each(prefetch);
            self.scan((near.id() as usize, near.distance() + square), scanned, &table, &accepts, &mut reservoir, space);
        }
        reservoir.shrink();
        let mut nears = reservoir.nears;
        vectors.compare_again(query, &mut nears);
        nears
    }

    /// Lists by the distance of their centroids, what every query adds alike left out; the nearest `nprobe` in order.
    fn order(&self, query: &[f32], nprobe: usize, space: Space) -> Vec<Near> {
        let mut products = Vec::new();
        self.coarse.products(query, space.kernels(), &mut products);
        let distance = |list: usize| match space.metric() {
            Metric::Cosine | Metric::Dot => -products[list],
            Metric::Euclid | Metric::Manhattan => self.coarse.square(list) - 2.0 * products[list],
        };
        let mut order: Vec<Near> = (0..self.coarse.len())
            .map(|list| {
                let distance = distance(list);
                Near::new(if distance.is_nan() { f32::INFINITY } else { distance }, list as u32)
            })
            .collect();
        if nprobe < order.len() {
            order.select_nth_unstable(nprobe);
            order[..nprobe].sort_unstable();
        } else {
            order.sort_unstable();
        }
        order
    }

    fn scan(
        &self,
        (list, centroid): (usize, f32),
        mut scanned: impl FnMut(),
        table: &Table,
        accepts: &impl Fn(u32) -> bool,
        reservoir: &mut Reservoir,
        space: Space,
    ) {
        let base = table.least + if space.metric() == Metric::Manhattan { 0.0 } else { centroid };
        let list = &self.lists[list];
        let fast_scan = space.kernels().fast_scan;
        let mut sums = [0; BLOCK_POINTS];
        for (block, codes) in list.blocks(self.codebook.padded()).enumerate() {
            scanned();
            let limit = (reservoir.worst - base - list.least_bias(block)) / table.step;
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
                if distance <= reservoir.worst && accepts(node) {
                    reservoir.push(Near::new(if distance.is_nan() { f32::INFINITY } else { distance }, node));
                }
            }
        }
    }
}

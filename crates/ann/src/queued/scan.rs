//! Queries compared with all who match, where that is cheaper than to look for the nearest.

use crate::codes::{Lot, PackedSigns};
use crate::comparison::Comparison;
use crate::near::Near;
use crate::once::Once;
use crate::structure::{Ask, Structure, Vectors};

use super::Queued;

/// Points from which on a scan by codes begins with sketches of them.
const MANY: usize = 512;

/// Queries for which codes are brought side by side, at least: for fewer that takes more than it spares.
pub(super) const FEWEST_TOGETHER: usize = 32;

/// The same at most: what they have found stays in a core's cache.
const MOST_TOGETHER: usize = 512;

impl<S: Structure> Queued<S> {
    /// Calls `meet` with the distance of each of some nodes that may be among the nearest, and which it is.
    pub(super) fn scan(
        &self,
        ask: &Ask<'_>,
        mut nodes: Vec<u32>,
        sketches: Option<&Once<PackedSigns>>,
        vectors: Vectors<'_>,
        mut meet: impl FnMut(f32, u32),
    ) {
        let Some(codes) = self.structure.codes() else {
            self.structure.sift(ask, &mut nodes, vectors.space);
            return vectors.each(ask.query, &nodes, meet);
        };
        let comparison = Comparison::new(codes, ask.query, vectors.space);
        let mut shortlist = comparison.shortlist(ask);
        if nodes.len() >= MANY {
            comparison.sift(&mut nodes, sketches, shortlist.k());
        }
        comparison.each(&nodes, |near| shortlist.offer(near));
        comparison.end(ask, shortlist, vectors).into_iter().for_each(|near| meet(near.distance(), near.id()));
    }

    /// Calls `meet` with the distance of each of some nodes that the `k` nearest of them are among, and which it is. Where there
    /// are codes, the vectors of those are read that the codes do not exclude for certain.
    pub(super) fn scan_exactly(
        &self,
        ask: &Ask<'_>,
        nodes: Vec<u32>,
        vectors: Vectors<'_>,
        meet: impl FnMut(f32, u32),
    ) {
        match self.structure.codes() {
            Some(codes) => {
                let comparison = Comparison::new(codes, ask.query, vectors.space);
                comparison.each_possible(ask.query, nodes, ask.k, vectors, meet);
            }
            None => vectors.each(ask.query, &nodes, meet),
        }
    }

    /// Scans by codes for the queries of which nothing is found yet, if there are enough of them.
    pub(super) fn scan_together(
        &self,
        ask: &Ask<'_>,
        queries: &[&[f32]],
        nodes: &[u32],
        vectors: Vectors<'_>,
        found: &mut [Option<Vec<Near>>],
    ) {
        let Some(codes) = self.structure.codes() else { return };
        let mut missing: Vec<_> = queries.iter().zip(found).filter(|(_, found)| found.is_none()).collect();
        if missing.len() < FEWEST_TOGETHER {
            return;
        }
        let mut lot = Lot::default();
        for missing in missing.chunks_mut(MOST_TOGETHER) {
            let begin = |(query, _): &(&&[f32], _)| {
                let comparison = Comparison::new(codes, query, vectors.space);
                let shortlist = comparison.shortlist(ask);
                (comparison, shortlist)
            };
            let mut begun: Vec<_> = missing.iter().map(begin).collect();
            for nodes in nodes.chunks(Lot::NODES) {
                codes.gather(nodes, &mut lot);
                begun.iter_mut().for_each(|(comparison, shortlist)| comparison.each_of(&mut lot, shortlist));
            }
            for ((query, found), (comparison, shortlist)) in missing.iter_mut().zip(begun) {
                **found = Some(comparison.end(&Ask { query, ..*ask }, shortlist, vectors));
            }
        }
    }
}

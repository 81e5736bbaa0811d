//! A query compared with single nodes by their codes.

use crate::codes::{Codes, Query, SignQuery};
use crate::near::{Near, distance, rank, reach};
use crate::space::Space;

/// Codes asked for before the one that is compared.
const CODES_AHEAD: usize = 8;

/// Ranks of which one is looked at to know about how large the least are.
const SAMPLED: usize = 16;
/// Ranks that are sorted for each that is wanted, and of the sample beyond: enough, but for ill luck.
const SORTED: usize = 2;
const BEYOND: usize = 8;

/// A query as the codes of nodes are compared with it.
pub(crate) struct Comparison<'a> {
    codes: &'a Codes,
    space: Space,
    rotated: Vec<f32>,
    query: Query,
}

impl<'a> Comparison<'a> {
    pub fn new(codes: &'a Codes, vector: &[f32], space: Space) -> Self {
        let (mut rotated, mut query) = (Vec::new(), Query::default());
        codes.rotate(vector, space.kernels(), &mut rotated);
        codes.aim(&rotated, space.kernels(), &mut query);
        Self { codes, space, rotated, query }
    }

    /// Leaves those nodes that may be among the `count` nearest, by a bit a number.
    pub fn sift(&self, nodes: &mut Vec<u32>, count: usize) {
        if nodes.len() <= count {
            return;
        }
        let mut signs = SignQuery::default();
        self.codes.aim_signs(&self.rotated, self.space.kernels(), &mut signs);
        let ranks = self.codes.sketches(&signs, nodes, self.space);
        let last = nth_least(&ranks, count - 1);
        let at = ranks.iter().position(|rank| *rank == last).expect("it is one of them");
        let node = nodes[at];
        let worst = rank(reach(distance(last), self.codes.sketch_slack(&signs, node, self.space)));
        // No processor foresees which will stay.
        let mut stay = 0;
        for (at, rank) in ranks.iter().enumerate() {
            nodes[stay] = nodes[at];
            stay += usize::from(*rank <= worst);
        }
        nodes.truncate(stay);
    }

    /// Calls `meet` with each of the nodes and its distance.
    pub fn each(&self, nodes: &[u32], mut meet: impl FnMut(Near)) {
        for (at, node) in nodes.iter().enumerate() {
            nodes.get(at + CODES_AHEAD).into_iter().for_each(|next| self.codes.prefetch(*next));
            meet(Near::new(self.codes.distance(&self.query, *node, self.space), *node));
        }
    }

    /// How many of the nearest are to be compared by their vectors for `k`, at most.
    pub fn shortlist(&self, k: usize) -> usize {
        self.codes.shortlist(k)
    }

    /// Of nodes that were sorted, how many of the first may be among the `k` nearest.
    pub fn plausible(&self, sorted: &[Near], k: usize) -> usize {
        self.codes.plausible(&self.query, sorted, k, self.space)
    }
}

/// The one that `nth` are before in ascending order; there must be more than `nth`.
fn nth_least(ranks: &[u32], nth: usize) -> u32 {
    let mut sample: Vec<u32> = ranks.iter().step_by(SAMPLED).copied().collect();
    let at = (SORTED * nth / SAMPLED + BEYOND).min(sample.len() - 1);
    let bound = *sample.select_nth_unstable(at).1;
    let mut least: Vec<u32> = ranks.iter().copied().filter(|rank| *rank <= bound).collect();
    if least.len() <= nth {
        least = ranks.to_vec();
    }
    *least.select_nth_unstable(nth).1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Rng;

    #[test]
    fn the_nth_least_is_that_of_a_sorted_list() {
        let mut rng = Rng::new(1);
        for len in (1..200).chain([512, 5_000]) {
            for most in [1, 10, 1 << 20] {
                // In no order, and with what a sample of every 16th would think of.
                let ranks: Vec<u32> =
                    (0..len).map(|i| rng.below(most) as u32 + if i % SAMPLED == 0 { 0 } else { 7 }).collect();
                let mut sorted = ranks.clone();
                sorted.sort_unstable();
                for nth in [0, len / 50, len / 2, len - 1] {
                    assert_eq!(nth_least(&ranks, nth), sorted[nth], "{nth} of {len}");
                }
            }
        }
    }
}

//! What a query does with the graph.

use std::sync::{Mutex, PoisonError};

use crate::near::Near;
use crate::structure::{Ask, Scanning, Vectors};

use super::Hnsw;
use super::beam::{BRIDGES, Scratch, Walked};
use super::measure::Target;
use super::neighbours::Neighbours;
use super::patience::Patience;

/// Distances that a walk computes for each place of its beam, about: what the plan weighs against a scan.
const COST_OF_A_PLACE: usize = 16;
/// Share of the points, one in so many, below which too few of them are behind the links of a node for a walk to go on.
const RARE: usize = 256;
/// Points that a scan may take in for each place of a beam that would have to look behind links.
const BEHIND: usize = 384;
/// Accepted nodes that a walk begins at, beside where one without a filter would: those that match may all be elsewhere.
const SEEDS: usize = 16;
/// Nodes that are asked for each of them.
const ASKED_A_SEED: usize = 64;
/// The same where those that match must hang together: if fewer do than that, they are not.
const ASKED_WITHIN: usize = 16;
/// Share of the points, one in so many, from which on a walk may take them all in and leave out what does not match at its end.
const COMMON: usize = 4;
/// Floor from which a walk by rows begins on the lowest: a row judges more nodes than a step of the floor between does.
const LANDING: usize = 2;
/// How much wider a beam is where only what matches leads on: some ways are missing.
const WIDER: usize = 3;
/// Widest beam that is kept as a sorted list: beyond, moving its entries would cost more than a heap does.
const WIDEST_POOL: usize = 1_024;

/// Points that a scan takes in while a walk computes one distance.
fn taken_in(scanning: Scanning) -> usize {
    match scanning {
        Scanning::Sketches => 3,
        Scanning::Packed => 7,
        Scanning::Together => 9,
    }
}

/// Memory of searches, lent to one at a time.
#[derive(Default)]
pub(super) struct Lent(Mutex<Vec<Scratch>>);

impl Lent {
    pub fn with<T>(&self, search: impl FnOnce(&mut Scratch) -> T) -> T {
        let lock = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut scratch = lock().pop().unwrap_or_default();
        let found = search(&mut scratch);
        lock().push(scratch);
        found
    }
}

/// How a walk by rows goes.
struct Course {
    /// Nodes that it begins at.
    from: Vec<Near>,
    /// Of the nodes that were met, the nearest that are followed.
    places: usize,
    /// What [`Patience`] is for.
    patience: usize,
}

/// What a walk came to.
struct Walk {
    looked: usize,
    /// Those of them that may be told.
    met: usize,
    found: Vec<Near>,
}

impl Walk {
    /// Whether less than half as many match as should: those that do are elsewhere, or many points wait to be removed.
    fn is_elsewhere(&self, ask: &Ask<'_>) -> bool {
        2 * self.met.saturating_mul(ask.points) < self.looked.saturating_mul(ask.matching)
    }
}

impl Hnsw {
    /// The nearest nodes; none where a scan is cheaper, by the estimate or by what the walk met.
    pub(super) fn search(
        &self,
        ask: &Ask<'_>,
        accepts: impl Fn(u32) -> bool,
        vectors: Vectors<'_>,
    ) -> Option<Vec<Near>> {
        let Ask { points, matching, k, .. } = *ask;
        let ef = ask.params.ef.unwrap_or(self.graph.ef_construct).max(k);
        // A walk costs `ef` places, and so many times more as there are nodes for one that is accepted; a scan costs `matching`.
        let cost = ef.saturating_mul(COST_OF_A_PLACE);
        let is_scan_cheaper = if ask.is_filtered {
            let walk = cost.saturating_mul(points).saturating_mul(taken_in(ask.scanning)) / matching.max(1);
            matching <= walk || matching.saturating_mul(RARE) <= points
        } else {
            points <= cost
        };
        if is_scan_cheaper {
            return None;
        }
        self.scratches.with(|scratch| {
            self.measure(vectors).aim_at_vector(ask.query, &mut scratch.target);
            let is_common = matching.saturating_mul(COMMON) >= points && ask.spread(ef) <= WIDEST_POOL;
            let is_enough = |walk: &Walk| walk.found.len() >= k.min(points);
            if let Some(rows) = &self.neighbours {
                rows.aim(scratch.target.rotated(), vectors.space.kernels(), &mut scratch.signs);
                scratch.shortlist.reset(0, vectors.space.kernels());
            }
            let walk = is_common.then(|| match &self.neighbours {
                Some(rows) => self.walk_anywhere(rows, ask, ef, &accepts, vectors, scratch),
                None => self.walk_links(ask, ef, &accepts, vectors, scratch),
            });
            walk.filter(|walk| is_enough(walk) && !(ask.is_filtered && walk.is_elsewhere(ask)))
                .or_else(|| {
                    let rows = self.neighbours.as_ref()?;
                    self.walk_within(rows, ask, ef, &accepts, vectors, scratch).filter(is_enough)
                })
                .map(|walk| walk.found)
                .or_else(|| self.walk_accepted(ask, ef, &accepts, vectors, scratch))
        })
    }

    /// Everything is accepted on the way, and what must not be told is left out at its end.
    fn walk_links(
        &self,
        ask: &Ask<'_>,
        ef: usize,
        accepts: &impl Fn(u32) -> bool,
        vectors: Vectors<'_>,
        scratch: &mut Scratch,
    ) -> Walk {
        let measure = self.measure(vectors);
        let from = self.graph.land(&scratch.target, 0, measure);
        // Of the nearest of all, those that hold as many that match as are wanted.
        let (head, places) = (ask.spread(ask.k), ask.spread(ef));
        scratch.seen.reset(self.graph.nodes());
        self.graph.scout(from.into_iter(), 0, (places, Patience::new(head, places)), measure, scratch);
        let mut looked = 0;
        let nears = scratch.pool.nears().inspect(|_| looked += 1);
        let found: Vec<Near> = nears.filter(|near| accepts(near.id())).collect();
        let met = found.len();
        Walk { looked, met, found: self.compare_again(found, ask, &scratch.target, vectors) }
    }

    /// As [`Self::walk_links`], by estimates of all links of a node at once; the nodes it follows are measured.
    fn walk_anywhere(
        &self,
        rows: &Neighbours,
        ask: &Ask<'_>,
        ef: usize,
        accepts: &impl Fn(u32) -> bool,
        vectors: Vectors<'_>,
        scratch: &mut Scratch,
    ) -> Walk {
        let from = self.graph.land(&scratch.target, LANDING, self.measure(vectors));
        // What does not match is no news, and no lack of them.
        let course = Course { from: from.into_iter().collect(), places: ask.spread(ef), patience: ef };
        self.walk_rows(rows, ask, course, |_| true, accepts, vectors, scratch)
    }

    /// Walks over those that match alone, and bridges between them; from those that were found, where a walk found that most are
    /// elsewhere. None where its beam would be too wide, or too few match.
    fn walk_within(
        &self,
        rows: &Neighbours,
        ask: &Ask<'_>,
        ef: usize,
        accepts: &impl Fn(u32) -> bool,
        vectors: Vectors<'_>,
        scratch: &mut Scratch,
    ) -> Option<Walk> {
        let places = ef.saturating_mul(WIDER);
        if places > WIDEST_POOL {
            return None;
        }
        let seeds = self.seeds(ASKED_WITHIN, accepts);
        if seeds.len() < SEEDS {
            return None;
        }
        let measure = self.measure(vectors);
        let mut from: Vec<Near> = scratch.shortlist.nears().collect();
        if from.is_empty() {
            from.extend(self.graph.land(&scratch.target, LANDING, measure));
            from.extend(seeds.into_iter().map(|node| measure.near(&scratch.target, node)));
        }
        let course = Course { from, places, patience: places };
        Some(self.walk_rows(rows, ask, course, accepts, accepts, vectors, scratch))
    }

    /// Follows the nearest of the nodes that may be walked over.
    #[expect(clippy::too_many_arguments, reason = "two walks that differ in three of them")]
    #[inline]
    fn walk_rows(
        &self,
        neighbours: &Neighbours,
        ask: &Ask<'_>,
        Course { from, places, patience }: Course,
        leads: impl Fn(u32) -> bool,
        accepts: impl Fn(u32) -> bool,
        vectors: Vectors<'_>,
        scratch: &mut Scratch,
    ) -> Walk {
        let measure = self.measure(vectors);
        let Scratch { target, signs, pool, shortlist, seen, .. } = scratch;
        let kernels = vectors.space.kernels();
        seen.reset(self.graph.nodes());
        pool.reset(places, kernels);
        let mut patience = Patience::new(ask.k, patience);
        // A walk measures little more than it has places.
        let measured = places.saturating_mul(2).max(ask.k);
        shortlist.reset(self.shortlist(ask).max(patience.head()).min(measured), kernels);
        let mut bridges: Vec<Near> = Vec::new();
        let (mut looked, mut met, mut ahead) = (0, 0, u32::MAX);
        from.into_iter().for_each(|near| _ = pool.offer(near));
        while let Some((_, near)) = pool.follow() {
            if !seen.see(near.id()) {
                continue;
            }
            // If it was met just now; by the time it is measured some of it is there.
            if ahead != near.id() {
                neighbours.prefetch(near.id());
            }
            let here = measure.near(target, near.id());
            // Whoever comes next, unless something nearer is met now, is fetched meanwhile.
            if let Some(next) = pool.peek() {
                ahead = next;
                measure.prefetch(next);
                neighbours.prefetch(next);
            }
            let is_accepted = accepts(near.id());
            (looked, met) = (looked + 1, met + usize::from(is_accepted));
            if is_accepted && !patience.step(shortlist.offer(here)) && met >= ask.k {
                break;
            }
            let worst = pool.worst();
            neighbours.judge(near.id(), here.distance(), worst, signs, kernels, |node, estimate| {
                if seen.has(node) {
                    return;
                }
                if leads(node) {
                    pool.offer(Near::new(estimate, node));
                } else if bridges.len() < BRIDGES {
                    neighbours.prefetch(node);
                    bridges.push(Near::new(estimate, node));
                }
            });
            for bridge in bridges.drain(..) {
                seen.see(bridge.id());
                neighbours.judge(bridge.id(), bridge.distance(), pool.worst(), signs, kernels, |node, estimate| {
                    if !seen.has(node) && leads(node) {
                        pool.offer(Near::new(estimate, node));
                    }
                });
            }
        }
        Walk { looked, met, found: self.compare_again(shortlist.nears().collect(), ask, target, vectors) }
    }

    /// Walks over everything and keeps what matches; where that turns out to be elsewhere, over what matches alone, from wherever
    /// it is. None where a scan is cheaper.
    fn walk_accepted(
        &self,
        ask: &Ask<'_>,
        ef: usize,
        accepts: &impl Fn(u32) -> bool,
        vectors: Vectors<'_>,
        scratch: &mut Scratch,
    ) -> Option<Vec<Near>> {
        let measure = self.measure(vectors);
        let landed = self.graph.land(&scratch.target, 0, measure)?;
        let one_in = if ef <= WIDEST_POOL { ask.points / ask.matching.max(1) } else { usize::MAX };
        // Every node can be reached, so a walk that ends within its budget is short of nothing that matches: it has seen
        // `ef` that match, or so many that a scan is cheaper and gave up.
        let most = (ef, one_in.max(1), ask.matching.clamp(1, ask.points / 2));
        let found = match self.graph.search_accepted(landed, most, accepts, measure, scratch) {
            Walked::Found(found) => found,
            Walked::TooFar => return None,
            Walked::Elsewhere if ask.matching <= ef.saturating_mul(BEHIND) => return None,
            Walked::Elsewhere => {
                let mut from = self.seeds(ASKED_A_SEED, accepts);
                from.push(landed.id());
                let is_complete = self.graph.scout_accepted(&from, (ef, ask.matching), accepts, measure, scratch);
                let found: Vec<Near> = scratch.pool.nears().collect();
                Some(found).filter(|found| is_complete && found.len() >= ask.k.min(ask.matching))?
            }
        };
        Some(self.compare_again(found, ask, &scratch.target, vectors))
    }

    /// Some accepted nodes, from all over the table, where `asked` nodes for each hold so many.
    fn seeds(&self, asked: usize, accepts: &impl Fn(u32) -> bool) -> Vec<u32> {
        let nodes = self.graph.nodes();
        // Multiples of an odd number, below a power of two, come to all numbers below it.
        let (mask, mut at) = (nodes.next_power_of_two() - 1, 0_u32);
        let asked = (0..SEEDS * asked).map(|_| {
            at = at.wrapping_add(0x9e37_79b1) & mask;
            at
        });
        let is_in_use = |node: u32| node < nodes && !self.graph.links(node, 0).is_empty();
        asked.filter(|node| is_in_use(*node) && accepts(*node)).take(SEEDS).collect()
    }

    /// How many of the nearest by codes are compared by their vectors, at most.
    fn shortlist(&self, ask: &Ask<'_>) -> usize {
        self.codes.as_ref().map_or(ask.k, |codes| ask.rerank(codes.shortlist(ask.k)))
    }

    /// The nearest of those that were found (nearest first), by their vectors in place of codes.
    fn compare_again(&self, mut found: Vec<Near>, ask: &Ask<'_>, target: &Target, vectors: Vectors<'_>) -> Vec<Near> {
        found.truncate(self.shortlist(ask));
        if self.codes.is_none() {
            return found;
        }
        ask.compare_again(found, |sorted| self.measure(vectors).plausible(target, sorted, ask.k), vectors)
    }
}

//! How much effort reaches which recall: the work on the curve that `tuning.rs` describes, on points. Their true neighbours are found for
//! some of them together: a node that many are compared with is read once.

use crate::codes::{Lot, Query};
use crate::mix::mix;
use crate::near::{Near, Nearest};
use crate::space::Space;
use crate::structure::{Ask, Scanning, Structure, Vectors, Without};
use crate::tuning::{ASKED, Curve};

use super::Queued;

/// Points that are asked for: what they tell of a recall of 0.9 is off by a third of a point, mostly.
const QUERIES: usize = 2_000;
/// As many where each comparison is one of vectors, which takes twice as long.
const QUERIES_BY_VECTORS: usize = 800;
/// Nodes that are tried for one to be asked for.
const TRIES: u64 = 256;
/// Points that find their neighbours together, at most, and at least.
const MOST_TOGETHER: usize = 256;
const FEWEST_TOGETHER: usize = 16;
/// Numbers of all of them, about: they stay in a core's cache.
const NUMBERS_TOGETHER: usize = 1 << 16;
/// Points that a piece of work makes queries of.
const A_PIECE: usize = 8;
/// Pairs that a piece of work compares by codes, about: it then takes a few times what an insert does, whatever the dimension.
const PAIRS_A_PIECE: usize = 1 << 15;
/// The same by vectors.
const PAIRS_BY_VECTORS: usize = 1 << 14;
/// Nearest by code that are compared by their vectors.
const SHORTLIST: usize = 4 * ASKED;

/// A curve that is being drawn.
pub(super) struct Drawing {
    pub curve: Curve,
    queries: usize,
    /// How many were begun.
    begun: usize,
    /// Those that find their neighbours together.
    asked: Vec<Asked>,
    phase: Phase,
    /// Memory that the work is done in.
    rotated: Vec<f32>,
    lot: Lot,
}

/// A point that is asked for.
struct Asked {
    node: u32,
    /// Its code, if there are codes.
    query: Query,
    nearest: Nearest,
}

enum Phase {
    /// More are to be asked for.
    Begin,
    /// They were compared with all nodes before this one.
    Compare(u32),
    /// The last of them is next.
    Rank,
    /// Searches are tried.
    Try(Trial),
}

/// Searches for a point as if it had never come.
struct Trial {
    without: Without,
    /// Its true neighbours.
    truth: Vec<u32>,
    /// Efforts that were tried.
    tried: usize,
}

impl Drawing {
    /// Whether the curve stands.
    pub fn is_done(&self) -> bool {
        self.begun >= self.queries && self.asked.is_empty() && !matches!(self.phase, Phase::Try(..))
    }
}

impl<S: Structure> Queued<S> {
    /// Whether another curve is to be drawn before the next block.
    pub(super) fn is_curve_due(&self) -> bool {
        self.queue.taken() == 0 && self.curve.is_due(self.points.len(), self.structure.come_since_learnt())
    }

    /// Begins to draw one.
    pub(super) fn drawing(&self) -> Drawing {
        Drawing {
            curve: Curve { points: self.points.len() as u32, ..Curve::default() },
            queries: if self.structure.codes().is_some() { QUERIES } else { QUERIES_BY_VECTORS },
            begun: 0,
            asked: Vec::new(),
            phase: Phase::Begin,
            rotated: Vec::new(),
            lot: Lot::default(),
        }
    }

    /// Does a piece of the work, which no search sees. What is hidden counts: that depends on when blocks are merged.
    pub(super) fn draw(&self, drawing: &mut Drawing, space: Space) {
        let vectors = Vectors { rows: &self.points.vectors, space };
        drawing.phase = match std::mem::replace(&mut drawing.phase, Phase::Begin) {
            Phase::Begin => self.begin(drawing, vectors),
            Phase::Compare(at) => self.compare(drawing, at, vectors),
            Phase::Rank => match drawing.asked.pop() {
                Some(asked) => self.rank(drawing, asked, vectors),
                None => Phase::Begin,
            },
            Phase::Try(trial) => self.attempt(drawing, trial, vectors),
        };
    }

    fn begin(&self, drawing: &mut Drawing, vectors: Vectors<'_>) -> Phase {
        let nodes = self.points.nodes();
        let together = (NUMBERS_TOGETHER / self.points.vectors.dim()).clamp(FEWEST_TOGETHER, MOST_TOGETHER);
        for _ in 0..A_PIECE {
            if drawing.begun >= drawing.queries || drawing.asked.len() >= together {
                return Phase::Compare(0);
            }
            // Spread over all of them, and not in the order in which they came.
            let seed = mix(drawing.begun as u64);
            drawing.begun += 1;
            let mut candidates = (0..TRIES).map(|nth| mix(seed.wrapping_add(nth)) as u32 % nodes);
            let Some(node) = candidates.find(|node| self.points.is_held(*node) && self.structure.does_without(*node))
            else {
                continue;
            };
            let mut query = Query::default();
            if let Some(codes) = self.structure.codes() {
                codes.aim_at_vector(&vectors.row(node), vectors.space.kernels(), &mut drawing.rotated, &mut query);
            }
            drawing.asked.push(Asked { node, query, nearest: Nearest::new(SHORTLIST) });
        }
        Phase::Begin
    }

    fn compare(&self, drawing: &mut Drawing, at: u32, vectors: Vectors<'_>) -> Phase {
        let Drawing { asked, lot, .. } = drawing;
        let codes = self.structure.codes();
        let pairs = if codes.is_some() { PAIRS_A_PIECE } else { PAIRS_BY_VECTORS };
        let lots = (pairs / Lot::NODES / asked.len().max(1)).max(1);
        let end = self.points.nodes().min(at.saturating_add((lots * Lot::NODES) as u32));
        let nodes: Vec<u32> = (at..end).filter(|node| self.points.is_held(*node)).collect();
        for nodes in nodes.chunks(Lot::NODES) {
            if let Some(codes) = codes {
                codes.gather(nodes, lot);
                for Asked { node, query, nearest } in &mut *asked {
                    codes.compare(query, lot, nearest.worst(), vectors.space, |near| offer(near, *node, nearest));
                }
                continue;
            }
            let rows: Vec<_> = nodes.iter().map(|node| (*node, vectors.row(*node))).collect();
            for Asked { node, nearest, .. } in &mut *asked {
                let query = vectors.row(*node);
                for (other, row) in &rows {
                    offer(Near::new(vectors.space.distance(&query, row), *other), *node, nearest);
                }
            }
        }
        if end == self.points.nodes() { Phase::Rank } else { Phase::Compare(end) }
    }

    fn rank(&self, drawing: &mut Drawing, Asked { node, nearest, .. }: Asked, vectors: Vectors<'_>) -> Phase {
        let mut nears = nearest.into_sorted();
        vectors.compare_again(&vectors.row(node), &mut nears);
        nears.sort_unstable();
        let truth: Vec<u32> = nears.iter().take(ASKED).map(|near| near.id()).collect();
        drawing.curve.wanted += truth.len() as u32;
        Phase::Try(Trial { without: self.structure.without(node, vectors), truth, tried: 0 })
    }

    fn attempt(&self, drawing: &mut Drawing, trial: Trial, vectors: Vectors<'_>) -> Phase {
        let Trial { without, truth, tried } = &trial;
        let points = self.points.len();
        let vector = vectors.row(without.node);
        let ask = Ask {
            query: &vector,
            k: ASKED,
            params: &S::with_effort(S::EFFORTS[*tried], ASKED),
            points,
            matching: points,
            is_filtered: false,
            scanning: Scanning::Sketches,
            without: Some(without),
        };
        let found = self.structure.find(&ask, |other| other != without.node && self.points.is_held(other), vectors);
        // None where so much effort would compare with all.
        let right = found.map_or(truth.len(), |mut found| {
            found.sort_unstable();
            found.iter().take(ASKED).filter(|near| truth.contains(&near.id())).count()
        });
        let all = drawing.curve.note(*tried, S::EFFORTS.len(), right, truth.len());
        let tried = tried + 1;
        if all || tried == S::EFFORTS.len() { Phase::Rank } else { Phase::Try(Trial { tried, ..trial }) }
    }
}

/// Offers a node, but to itself.
#[inline]
fn offer(near: Near, to: u32, nearest: &mut Nearest) {
    if near.id() != to {
        nearest.offer(near);
    }
}

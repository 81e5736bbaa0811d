//! How much effort reaches which recall: the work on the curve that `tuning.rs` describes, on points. True neighbours are found for some
//! queries together: a node that many are compared with is read once.

use crate::codes::{Lot, Query};
use crate::mix::mix;
use crate::near::{Near, Nearest};
use crate::space::Space;
use crate::structure::{Ask, Scanning, Structure, Vectors};
use crate::tuning::{ASKED, Tally};

use super::Queued;

/// Nodes that nothing was learnt from and that are asked for: each comparison is one of vectors, which takes longer than one of codes.
const HELD_OUT: u64 = 800;
/// Nodes that are tried for one to be asked for.
const TRIES: u64 = 256;
/// Queries that find their neighbours together, at most, and at least.
const MOST_TOGETHER: usize = 256;
const FEWEST_TOGETHER: usize = 16;
/// Numbers of all of them, about: they stay in a core's cache.
const NUMBERS_TOGETHER: usize = 1 << 16;
/// Queries that a piece of work begins.
const A_PIECE: usize = 8;
/// Pairs that a piece of work compares by codes, about: it then takes a few times what an insert does, whatever the dimension.
const PAIRS_A_PIECE: usize = 1 << 15;
/// The same by vectors.
const PAIRS_BY_VECTORS: usize = 1 << 14;
/// Nodes that it looks at, for each that holds a point if all do.
const LOOKED: usize = 16;
/// Nearest by code that are compared by their vectors.
const SHORTLIST: usize = 4 * ASKED;

/// Searches that are tried.
pub(super) struct Drawing {
    pub tally: Tally,
    /// What is to be asked for; the last is next.
    left: Vec<Stranger>,
    /// Those that find their neighbours together.
    asked: Vec<Asked>,
    phase: Phase,
    /// Memory that the work is done in.
    rotated: Vec<f32>,
    lot: Lot,
}

/// Where there is a vector that the structure does not go by.
#[derive(Clone, Copy)]
enum Stranger {
    /// At a node that nothing was learnt from.
    Node(u32),
    /// At a step of the front block.
    Step(usize),
}

struct Asked {
    vector: Vec<f32>,
    /// Where it is, or what it comes in place of: not one of its neighbours.
    own: Option<u32>,
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

/// Searches for a vector.
struct Trial {
    vector: Vec<f32>,
    own: Option<u32>,
    /// Its true neighbours.
    truth: Vec<u32>,
    /// Efforts that were tried.
    tried: usize,
}

impl Drawing {
    fn of(left: Vec<Stranger>) -> Self {
        let (tally, rotated, lot) = Default::default();
        Self { tally, left, asked: Vec::new(), phase: Phase::Begin, rotated, lot }
    }

    pub fn is_done(&self) -> bool {
        self.left.is_empty() && self.asked.is_empty() && !matches!(self.phase, Phase::Try(..))
    }
}

impl<S: Structure> Queued<S> {
    /// Whether searches are to be tried before the next step.
    pub(super) fn is_drawing_due(&self) -> bool {
        if S::HOLDS_OUT {
            return self.surveys.is_empty() && self.curve.is_due(self.points.len(), self.structure.come_since_learnt());
        }
        let owed = self.curve.owed(self.points.len());
        let are_next = owed > 0 && Some(self.queue.taken() + self.queue.strangers()) == self.queue.steps();
        are_next && (1..=owed).contains(&self.strangers().len())
    }

    /// Begins to.
    pub(super) fn drawing(&self) -> Drawing {
        Drawing::of(if S::HOLDS_OUT { self.held_out() } else { self.strangers() })
    }

    /// Tries searches for so many vectors that come in with the front block.
    pub(super) fn ask(&self, queries: usize, threads: usize, space: Space) -> Tally {
        let all = self.strangers();
        let queries = queries.min(all.len());
        let strangers: Vec<Stranger> = (0..queries).map(|nth| all[nth * all.len() / queries]).collect();
        let share = queries.div_ceil(threads.max(1)).max(FEWEST_TOGETHER);
        let answer = |strangers: &[Stranger]| {
            let mut drawing = Drawing::of(strangers.to_vec());
            while !drawing.is_done() {
                self.draw(&mut drawing, space);
            }
            drawing.tally
        };
        let mut tally = Tally::default();
        std::thread::scope(|scope| {
            let others: Vec<_> = strangers.chunks(share).map(|some| scope.spawn(move || answer(some))).collect();
            others.into_iter().for_each(|other| tally.add(&other.join().expect("searching does not panic")));
        });
        tally
    }

    /// Nodes spread over all of them, and not in the order in which they came.
    fn held_out(&self) -> Vec<Stranger> {
        let nodes = self.points.nodes();
        let found = (0..HELD_OUT).filter_map(|nth| {
            let seed = mix(nth);
            let mut candidates = (0..TRIES).map(|nth| mix(seed.wrapping_add(nth)) as u32 % nodes);
            candidates.find(|node| self.points.is_held(*node) && self.structure.is_held_out(*node))
        });
        found.map(Stranger::Node).collect()
    }

    /// New vectors that come in by steps of the front block that are left.
    fn strangers(&self) -> Vec<Stranger> {
        let steps = self.queue.taken()..self.queue.steps().unwrap_or(0);
        steps.filter(|step| self.new_vector(*step).is_some()).map(Stranger::Step).collect()
    }

    /// Does a piece of the work, which no search sees. What is hidden counts: that depends on when blocks are merged.
    pub(super) fn draw(&self, drawing: &mut Drawing, space: Space) {
        let vectors = Vectors { rows: &self.points.vectors, space };
        drawing.phase = match std::mem::replace(&mut drawing.phase, Phase::Begin) {
            Phase::Begin => self.begin(drawing, vectors),
            Phase::Compare(at) => self.compare(drawing, at, vectors),
            Phase::Rank => match drawing.asked.pop() {
                Some(asked) => rank(drawing, asked, vectors),
                None => Phase::Begin,
            },
            Phase::Try(trial) => self.attempt(drawing, trial, vectors),
        };
    }

    fn begin(&self, drawing: &mut Drawing, vectors: Vectors<'_>) -> Phase {
        let together = (NUMBERS_TOGETHER / self.points.vectors.dim()).clamp(FEWEST_TOGETHER, MOST_TOGETHER);
        for _ in 0..A_PIECE {
            if drawing.asked.len() >= together {
                return Phase::Compare(0);
            }
            let Some(stranger) = drawing.left.pop() else { return Phase::Compare(0) };
            let (vector, own) = match stranger {
                Stranger::Node(node) => (vectors.row(node).into_owned(), Some(node)),
                Stranger::Step(step) => {
                    let (slot, vector) = self.queue.step(step);
                    (vector.unwrap_or_default().to_vec(), self.points.node_of(slot))
                }
            };
            let mut query = Query::default();
            if let Some(codes) = self.structure.codes() {
                codes.aim_at_vector(&vector, vectors.space.kernels(), &mut drawing.rotated, &mut query);
            }
            drawing.asked.push(Asked { vector, own, query, nearest: Nearest::new(SHORTLIST) });
        }
        Phase::Begin
    }

    fn compare(&self, drawing: &mut Drawing, at: u32, vectors: Vectors<'_>) -> Phase {
        let Drawing { asked, lot, .. } = drawing;
        let codes = self.structure.codes();
        let pairs = if codes.is_some() { PAIRS_A_PIECE } else { PAIRS_BY_VECTORS };
        let most = (pairs / Lot::NODES / asked.len().max(FEWEST_TOGETHER)).max(1) * Lot::NODES;
        let last = self.points.nodes().min(at.saturating_add((most * LOOKED) as u32));
        let (mut nodes, mut end) = (Vec::with_capacity(most), at);
        while end < last && nodes.len() < most {
            nodes.extend(self.points.is_held(end).then_some(end));
            end += 1;
        }
        for nodes in nodes.chunks(Lot::NODES) {
            if let Some(codes) = codes {
                codes.gather(nodes, lot);
                for Asked { own, query, nearest, .. } in &mut *asked {
                    codes.compare(query, lot, nearest.worst(), vectors.space, |near| offer(near, *own, nearest));
                }
                continue;
            }
            let rows: Vec<_> = nodes.iter().map(|node| (*node, vectors.row(*node))).collect();
            for Asked { vector, own, nearest, .. } in &mut *asked {
                for (other, row) in &rows {
                    offer(Near::new(vectors.space.distance(vector, row), *other), *own, nearest);
                }
            }
        }
        if end == self.points.nodes() { Phase::Rank } else { Phase::Compare(end) }
    }

    fn attempt(&self, drawing: &mut Drawing, trial: Trial, vectors: Vectors<'_>) -> Phase {
        let Trial { vector, own, truth, tried } = &trial;
        let points = self.points.len();
        let ask = Ask {
            query: vector,
            k: ASKED,
            params: &S::with_effort(S::EFFORTS[*tried], ASKED),
            points,
            matching: points,
            is_filtered: false,
            scanning: Scanning::Sketches,
        };
        let found = self.structure.find(&ask, |node| Some(node) != *own && self.points.is_held(node), vectors);
        // None where so much effort would compare with all.
        let right = found.map_or(truth.len(), |mut found| {
            found.sort_unstable();
            found.iter().take(ASKED).filter(|near| truth.contains(&near.id())).count()
        });
        let all = drawing.tally.note(*tried, S::EFFORTS.len(), right, truth.len());
        let tried = tried + 1;
        if all || tried == S::EFFORTS.len() { Phase::Rank } else { Phase::Try(Trial { tried, ..trial }) }
    }
}

fn rank(drawing: &mut Drawing, Asked { vector, own, nearest, .. }: Asked, vectors: Vectors<'_>) -> Phase {
    let mut nears = nearest.into_sorted();
    vectors.compare_again(&vector, &mut nears);
    nears.sort_unstable();
    let truth: Vec<u32> = nears.iter().take(ASKED).map(|near| near.id()).collect();
    drawing.tally.wanted += truth.len() as u32;
    Phase::Try(Trial { vector, own, truth, tried: 0 })
}

/// Offers a node, but its own.
#[inline]
fn offer(near: Near, own: Option<u32>, nearest: &mut Nearest) {
    if Some(near.id()) != own {
        nearest.offer(near);
    }
}

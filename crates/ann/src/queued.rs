//! A structure of points, and the queue of writes in front of it.

use std::borrow::Cow;

use crate::filter::Filter;
use crate::index::SearchParams;
use crate::mix::mix;
use crate::near::{Near, Nearest};
use crate::originals::{Originals, VectorStorage};
use crate::points::{NO_SLOT, Points};
use crate::queue::{BLOCK, Queue};
use crate::space::Space;
use crate::tuning::{ASKED, Curve, Drawing, Piece};

/// Steps that a write takes then. An operation becomes two at most.
const STEPS_A_WRITE: usize = 4;

/// Queued operations from which on every write also merges, so that the queue stays bounded even if nobody calls
/// [`Queued::merge`]: 32 blocks, a scan of about 0.1 ms at 100 dimensions.
const QUEUE_LIMIT: usize = 32 * BLOCK;

/// Points that are compared by their vectors at once when all must be: codes would save nothing.
const FEW: usize = 256;

/// Points from which on a scan by codes begins with sketches of them.
const MANY: usize = 512;

/// Of how many points one is compared by its code after its sketch was.
const SKETCHED: usize = 32;

/// How many of these there are at least for each place of the beam that was asked for.
const SKETCHED_A_PLACE: usize = 8;

/// Nodes that are tried for one to be asked for.
const TRIES: u64 = 64;

/// Codes asked for before the one that is compared.
const CODES_AHEAD: usize = 8;

/// Vectors asked for before the one that is compared.
const ROWS_AHEAD: usize = 4;

/// Vectors of nodes with the distance between them.
#[derive(Clone, Copy)]
pub(crate) struct Vectors<'a> {
    pub rows: &'a Originals,
    pub space: Space,
}

impl<'a> Vectors<'a> {
    pub fn row(&self, node: u32) -> Cow<'a, [f32]> {
        self.rows.row(node)
    }

    #[inline]
    pub fn to(&self, query: &[f32], node: u32) -> f32 {
        self.space.distance(query, &self.rows.row(node))
    }

    /// Distances by vectors in place of others; the order stays.
    pub fn compare_again(&self, query: &[f32], nears: &mut [Near]) {
        let fetch = |near: &Near| self.rows.prefetch(near.id());
        nears.iter().take(ROWS_AHEAD).for_each(fetch);
        for at in 0..nears.len() {
            nears.get(at + ROWS_AHEAD).into_iter().for_each(fetch);
            let node = nears[at].id();
            nears[at] = Near::new(self.to(query, node), node);
        }
    }
}

/// What is asked of a structure.
pub(crate) struct Ask<'a> {
    pub query: &'a [f32],
    /// Nodes wanted, 1 at least.
    pub k: usize,
    pub params: &'a SearchParams,
    /// Points that the structure holds.
    pub points: usize,
    /// About how many of them the filter matches; all where there is none.
    pub matching: usize,
    pub is_filtered: bool,
    /// A node to do without, as if it were not there.
    pub except: Option<u32>,
}

/// A query compared with single nodes.
pub(crate) trait Comparison {
    fn distance(&self, node: u32) -> f32;

    /// Asks for what [`Self::distance`] will read.
    fn prefetch(&self, node: u32);

    /// How many of the nearest are to be compared by their vectors for `k`, at most.
    fn shortlist(&self, k: usize) -> usize;

    /// Of nodes that were sorted, how many of the first may be among the `k` nearest.
    fn plausible(&self, sorted: &[Near], k: usize) -> usize;

    /// About the distance, for a fraction of the reading.
    fn sketch(&self, node: u32) -> f32;

    /// Asks for what [`Self::sketch`] will read.
    fn prefetch_sketch(&self, node: u32);
}

/// Points arranged so that near ones are found without a look at all. A function of the blocks of writes it receives: a place
/// is sought for every point of a block before any of them comes in, so that many can be sought at once.
pub(crate) trait Structure: Sync {
    /// Where a point would go.
    type Survey: Send + Sync;

    /// Seeks a place for the `nth` point of a block that comes in, from 1.
    fn survey(&self, vector: &[f32], nth: u64, vectors: Vectors<'_>) -> Self::Survey;

    /// Takes in a node whose vector is in its row.
    fn insert(&mut self, node: u32, survey: &Self::Survey, vectors: Vectors<'_>);

    /// Lets a node go whose vector is still in its row.
    fn remove(&mut self, node: u32, vectors: Vectors<'_>);

    /// Brings up to date what searches alone look at, after any number of [`Self::insert`] and [`Self::remove`] and before the next
    /// search.
    fn settle(&mut self, vectors: Vectors<'_>);

    /// Whether searches can do without a node, as [`Ask::except`] asks.
    fn does_without(&self, node: u32) -> bool;

    /// Efforts of a search that are worth trying, the least first.
    const EFFORTS: &[usize];

    /// A search for `k` of this effort.
    fn with_effort(effort: usize, k: usize) -> SearchParams;

    /// Whether [`Self::work`] is due before the next block.
    fn has_work(&self, points: &Points) -> bool;

    /// Does a piece of the work that is due.
    fn work(&mut self, points: &Points, space: Space);

    /// Near nodes, of those accepted: `k` at least while there are as many. None where comparing with all is cheaper.
    fn find(&self, ask: &Ask<'_>, accepts: impl Fn(u32) -> bool, vectors: Vectors<'_>) -> Option<Vec<Near>>;

    /// What compares a query with single nodes, if it has something cheaper than their vectors for it.
    fn comparison<'a>(&'a self, query: &[f32], vectors: Vectors<'a>) -> Option<impl Comparison + 'a>;

    /// How many live nodes a search without bounds would find; `is_live` tells which are.
    fn reached(&self, points: &Points, is_live: impl Fn(u32) -> bool) -> usize;
}

/// A structure that is behind, and what it is behind by.
///
/// Two views of a slot exist: the structure's (`points`) and the newest (`queue`, where it knows the slot, else the
/// structure's). A node is hidden while the queue knows its slot: searches meet it, and return it never.
pub(crate) struct Queued<S: Structure> {
    pub points: Points,
    pub structure: S,
    pub queue: Queue,
    /// By step of the front block, as far as places were sought: none for what brings no new vector.
    surveys: Vec<Option<S::Survey>>,
    /// What searches find, by effort.
    pub curve: Curve,
    drawing: Option<Drawing>,
    /// By node; derived from `queue`. Building never looks at it: it depends on when merges happen.
    hidden: Vec<bool>,
    /// Slots that hold a point in the newest view.
    live: usize,
}

impl<S: Structure> Queued<S> {
    pub fn new(dim: usize, structure: S, storage: VectorStorage) -> Self {
        Self::from_parts(Points::new(dim, storage), structure, Queue::new(dim), Vec::new())
    }

    /// Puts the parts of a snapshot together and derives the rest. `surveys`: as [`Self::surveys`] told.
    pub fn from_parts(points: Points, structure: S, queue: Queue, surveys: Vec<Option<S::Survey>>) -> Self {
        let hidden: Vec<bool> = (0..points.nodes()).map(|node| queue.knows(points.slot_of(node))).collect();
        let hidden_points = hidden.iter().filter(|hidden| **hidden).count();
        let live = points.len() - hidden_points + queue.live();
        Self { points, structure, queue, surveys, curve: Curve::default(), drawing: None, hidden, live }
    }

    pub fn with_curve(self, curve: Curve) -> Self {
        Self { curve, ..self }
    }

    pub fn len(&self) -> usize {
        self.live
    }

    /// Points that searches meet and do not return.
    pub fn hidden(&self) -> usize {
        self.hidden.iter().filter(|hidden| **hidden).count()
    }

    pub fn vector(&self, slot: u32) -> Option<Cow<'_, [f32]>> {
        match self.queue.newest(slot) {
            Some(queued) => queued.map(Cow::Borrowed),
            None => self.points.vector(slot),
        }
    }

    /// Whether the slot holds a point in the newest view.
    pub fn holds(&self, slot: u32) -> bool {
        self.queue.newest(slot).map_or_else(|| self.points.node_of(slot).is_some(), |queued| queued.is_some())
    }

    pub fn upsert(&mut self, slot: u32, vector: &[f32], space: Space) {
        self.live += usize::from(!self.holds(slot));
        self.push(slot, Some(vector), space);
    }

    pub fn delete(&mut self, slot: u32, space: Space) -> bool {
        if !self.holds(slot) {
            return false;
        }
        self.live -= 1;
        self.push(slot, None, space);
        true
    }

    fn push(&mut self, slot: u32, vector: Option<&[f32]>, space: Space) {
        if let Some(node) = self.points.node_of(slot) {
            self.hidden[node as usize] = true;
        }
        self.queue.push(slot, vector);
        if self.queue.pending() > QUEUE_LIMIT {
            self.merge(STEPS_A_WRITE, space);
        }
    }

    pub fn can_merge(&self) -> bool {
        self.has_work() || self.queue.steps().is_some()
    }

    /// Work is done between two blocks.
    fn has_work(&self) -> bool {
        self.surveys.is_empty() && (self.structure.has_work(&self.points) || self.is_curve_due())
    }

    fn is_curve_due(&self) -> bool {
        self.queue.taken() == 0 && self.curve.is_due(self.points.len())
    }

    fn work(&mut self, space: Space) {
        if self.structure.has_work(&self.points) {
            self.structure.work(&self.points, space);
        } else {
            self.draw(space);
        }
    }

    /// Does a piece of the work on the next curve. What is hidden counts: that depends on when blocks are merged.
    fn draw(&mut self, space: Space) {
        let mut drawing = self.drawing.take().unwrap_or_else(|| Drawing::new(self.points.len()));
        if drawing.is_done() {
            self.curve = drawing.curve;
            return;
        }
        let vectors = Vectors { rows: &self.points.vectors, space };
        let nodes = self.points.nodes();
        // Spread over all of them, and not in the order in which they came.
        let candidates = (0..TRIES).map(|t| mix(mix(drawing.query as u64) + t) as u32 % nodes);
        let is_fit = |node: &u32| self.points.slot_of(*node) != NO_SLOT && self.structure.does_without(*node);
        let Some(query) = candidates.into_iter().find(is_fit) else {
            drawing.skip();
            self.drawing = Some(drawing);
            return;
        };
        let vector = &vectors.row(query);
        let is_held = |node: &u32| *node != query && self.points.slot_of(*node) != NO_SLOT;
        match drawing.next(nodes, S::EFFORTS.len()) {
            Piece::Compare(nodes) => {
                let nodes = nodes.filter(is_held);
                match self.structure.comparison(vector, vectors) {
                    Some(codes) => nodes.for_each(|node| drawing.compared(Near::new(codes.distance(node), node))),
                    None => nodes.for_each(|node| drawing.compared(Near::new(vectors.to(vector, node), node))),
                }
            }
            Piece::Rank(mut nears) => {
                vectors.compare_again(vector, &mut nears);
                nears.sort_unstable();
                drawing.ranked(nears.iter().map(|near| near.id()).collect());
            }
            Piece::Search(effort) => {
                let params = S::with_effort(S::EFFORTS[effort], ASKED);
                let points = self.points.len();
                let ask = Ask {
                    query: vector,
                    k: ASKED,
                    params: &params,
                    points,
                    matching: points,
                    is_filtered: false,
                    except: Some(query),
                };
                let mut found = self.structure.find(&ask, |node| is_held(&node), vectors);
                if let Some(found) = &mut found {
                    found.sort_unstable();
                    found.truncate(ASKED);
                }
                drawing.searched(effort, S::EFFORTS.len(), found.as_deref());
            }
            Piece::Another => {}
        }
        self.drawing = Some(drawing);
    }

    /// Takes up to `most` steps; returns how many were taken, less than `most` when only an open block is left.
    pub fn merge(&mut self, most: usize, space: Space) -> usize {
        (0..most).take_while(|_| self.merge_one(space)).count()
    }

    fn merge_one(&mut self, space: Space) -> bool {
        if self.has_work() {
            self.work(space);
            return true;
        }
        let Some(steps) = self.queue.steps() else { return false };
        if self.surveys.len() < steps {
            let survey = self.survey(self.surveys.len(), space);
            self.surveys.push(survey);
        } else {
            self.apply(space);
            self.settle(space);
        }
        true
    }

    fn settle(&mut self, space: Space) {
        self.structure.settle(Vectors { rows: &self.points.vectors, space });
    }

    /// Merges the front block, closing it if it is open; places are sought by so many threads. False if there is none.
    pub fn merge_block(&mut self, threads: usize, space: Space) -> bool {
        self.queue.close();
        while self.has_work() {
            self.work(space);
        }
        let Some(steps) = self.queue.steps() else { return false };
        let from = self.surveys.len();
        let share = (steps - from).div_ceil(threads.max(1)).max(1);
        let this = &*self;
        let found: Vec<Vec<Option<S::Survey>>> = std::thread::scope(|scope| {
            let seek = |at: usize| (at..steps.min(at + share)).map(|step| this.survey(step, space)).collect();
            let others: Vec<_> = (from + share..steps).step_by(share).map(|at| scope.spawn(move || seek(at))).collect();
            let mut found = vec![seek(from)];
            found.extend(others.into_iter().map(|other| other.join().expect("seeking does not panic")));
            found
        });
        self.surveys.extend(found.into_iter().flatten());
        while !self.surveys.is_empty() {
            self.apply(space);
        }
        self.settle(space);
        true
    }

    /// Seeks the place of a step's vector, if it is new to its slot.
    fn survey(&self, step: usize, space: Space) -> Option<S::Survey> {
        let vector = self.new_vector(step)?;
        let nth = 1 + (0..step).filter(|before| self.new_vector(*before).is_some()).count() as u64;
        Some(self.structure.survey(vector, nth, Vectors { rows: &self.points.vectors, space }))
    }

    /// The vector of a step, unless it is written again as it was (with a new payload, say): the structure has nothing to learn
    /// then.
    fn new_vector(&self, step: usize) -> Option<&[f32]> {
        let (slot, vector) = self.queue.step(step);
        vector.filter(|vector| self.points.vector(slot).is_none_or(|held| !equal_bits(&held, vector)))
    }

    /// Takes the next step of the front block, for all of which places were sought.
    fn apply(&mut self, space: Space) {
        let survey = self.surveys[self.queue.taken()].take();
        let step = self.queue.take().expect("a block whose steps were surveyed is full");
        if self.queue.taken() == 0 {
            self.surveys.clear();
        }
        let held = self.points.node_of(step.slot);
        let is_kept = step.vector.is_some() && survey.is_none();
        if let Some(node) = held {
            if is_kept {
                self.hidden[node as usize] = !step.is_newest;
                return;
            }
            self.structure.remove(node, Vectors { rows: &self.points.vectors, space });
            self.points.release(step.slot);
        }
        if let (Some(vector), Some(survey)) = (&step.vector, &survey) {
            let node = self.points.claim(step.slot, vector);
            if self.hidden.len() <= node as usize {
                self.hidden.push(false);
            }
            self.hidden[node as usize] = !step.is_newest;
            self.structure.insert(node, survey, Vectors { rows: &self.points.vectors, space });
        }
    }

    /// Places sought for the steps of the front block that are left, once one of its steps was taken: they cannot be sought
    /// again then, for the structure has changed.
    pub fn surveys(&self) -> Option<&[Option<S::Survey>]> {
        let taken = self.queue.taken();
        (taken > 0).then(|| &self.surveys[taken..])
    }

    /// The `k` nearest slots.
    pub fn search(
        &self,
        space: Space,
        query: &[f32],
        k: usize,
        params: &SearchParams,
        filter: Option<&Filter<'_>>,
    ) -> Vec<Near> {
        let by_recall = params.recall.filter(|_| params.ef.is_none() && params.nprobe.is_none());
        let effort = by_recall.and_then(|recall| self.curve.effort(recall, S::EFFORTS));
        let params = &effort.map_or(*params, |effort| SearchParams {
            exact: params.exact,
            rerank: params.rerank.or(S::with_effort(effort, k).rerank),
            ..S::with_effort(effort, k)
        });
        let mut nearest = Nearest::new(k);
        self.queue.scan(&space, query, filter, &mut nearest);
        let is_visible = |node: u32| !self.hidden[node as usize];
        let accepts =
            |node: u32| is_visible(node) && filter.is_none_or(|filter| filter.accepts(self.points.slot_of(node)));
        let points = self.points.len();
        let matching = filter.map_or(points, |filter| filter.expected().min(points));
        let found = if params.exact {
            None
        } else {
            let ask = Ask { query, k, params, points, matching, is_filtered: filter.is_some(), except: None };
            self.structure.find(&ask, accepts, Vectors { rows: &self.points.vectors, space })
        };
        match found {
            Some(found) => found.into_iter().for_each(|near| {
                nearest.offer(Near::new(near.distance(), self.points.slot_of(near.id())));
            }),
            None if params.exact || matching <= FEW => {
                self.points.scan(&space, query, filter, is_visible, &mut nearest);
            }
            None => self.scan(space, query, k, params, filter, &mut nearest),
        }
        nearest.into_sorted()
    }

    /// Compares with every point that matches: by codes, and the nearest by their vectors.
    fn scan(
        &self,
        space: Space,
        query: &[f32],
        k: usize,
        params: &SearchParams,
        filter: Option<&Filter<'_>>,
        nearest: &mut Nearest,
    ) {
        let vectors = Vectors { rows: &self.points.vectors, space };
        let is_visible = |node: u32| !self.hidden[node as usize];
        let Some(comparison) = self.structure.comparison(query, vectors) else {
            return self.points.scan(&space, query, filter, is_visible, nearest);
        };
        let rerank = params.rerank.unwrap_or(comparison.shortlist(k)).max(k);
        let mut nodes = Vec::new();
        self.points.each(filter, |_, node| {
            if is_visible(node) {
                nodes.push(node);
            }
        });
        if nodes.len() >= MANY {
            let wanted = SKETCHED_A_PLACE.saturating_mul(params.ef.unwrap_or(0).max(rerank));
            let keep = (nodes.len() / SKETCHED).max(wanted).min(nodes.len());
            let mut sketched = Vec::with_capacity(nodes.len());
            let fetch = |node| comparison.prefetch_sketch(node);
            each_fetched(&nodes, fetch, |node| sketched.push(Near::new(comparison.sketch(node), node)));
            sketched.select_nth_unstable(keep - 1);
            nodes.clear();
            nodes.extend(sketched[..keep].iter().map(|near| near.id()));
        }
        let mut shortlist = Nearest::new(rerank);
        let fetch = |node| comparison.prefetch(node);
        each_fetched(&nodes, fetch, |node| shortlist.offer(Near::new(comparison.distance(node), node)));
        let mut shortlist = shortlist.into_sorted();
        if params.rerank.is_none() {
            shortlist.truncate(comparison.plausible(&shortlist, k));
        }
        vectors.compare_again(query, &mut shortlist);
        for near in shortlist {
            nearest.offer(Near::new(near.distance(), self.points.slot_of(near.id())));
        }
    }

    /// Live points that a search without bounds would find; equals [`Self::len`] or the structure is broken. Cost: a look at
    /// all of it.
    pub fn reachable(&self) -> usize {
        let is_live = |node: u32| self.points.slot_of(node) != NO_SLOT && !self.hidden[node as usize];
        self.structure.reached(&self.points, is_live) + self.queue.live()
    }
}

/// Visits all of them, each some while after it was fetched.
fn each_fetched(nodes: &[u32], fetch: impl Fn(u32), mut visit: impl FnMut(u32)) {
    for (at, node) in nodes.iter().enumerate() {
        nodes.get(at + CODES_AHEAD).into_iter().for_each(|next| fetch(*next));
        visit(*node);
    }
}

fn equal_bits(a: &[f32], b: &[f32]) -> bool {
    a.iter().zip(b).all(|(x, y)| x.to_bits() == y.to_bits())
}

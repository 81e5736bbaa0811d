//! Probes: searches for vectors that the index does not contain, compared with their true neighbors. True neighbors are
//! computed for a batch of probes, so that each code or vector is read once for all of them.

use crate::approximate_index::RecallTunable;
use crate::buffered::write_buffer::WriteBuffer;
use crate::hash::splitmix64;
use crate::metric::Space;
use crate::neighbor::{Neighbor, TopK};
use crate::quantization::{CodeBatch, Query};
use crate::search_request::{ScanMode, SearchRequest};
use crate::storage::points::Points;
use crate::storage::vector_store::Vectors;

use super::{RECALL_K, RecallModel, RecallSample};

/// Probes from the hold-out set, per measurement. Fewer than [`super::PROBE_COUNT`], because comparing vectors takes
/// longer than comparing codes.
const HOLDOUT_PROBES: u64 = 800;
/// Nodes that are drawn to find one of the hold-out set, at most.
const HOLDOUT_TRIES: u64 = 256;
/// Probes whose true neighbors are computed together, at most and at least.
const MAX_PROBES_PER_BATCH: usize = 256;
const MIN_PROBES_PER_BATCH: usize = 16;
/// Components of the vectors of a batch, about: they stay in a core's cache.
const COMPONENTS_PER_BATCH: usize = 1 << 16;
/// Probes that one step adds to a batch.
const QUERIES_PER_STEP: usize = 8;
/// Pairs that one step compares by code, about: a few times the work of an insert, in any dimension.
const CODE_PAIRS_PER_STEP: usize = 1 << 15;
/// The same by vector.
const VECTOR_PAIRS_PER_STEP: usize = 1 << 14;
/// Nodes that one step visits for each expected point, at most.
const NODES_PER_POINT: usize = 16;
/// Candidates for true neighbors by code, which are then compared by vector.
const GROUND_TRUTH_SHORTLIST: usize = 4 * RECALL_K;

/// A set of probes in progress.
pub(crate) struct ProbeRun {
    pub sample: RecallSample,
    /// Probes to run; the last is next.
    left: Vec<Holdout>,
    /// The batch whose true neighbors are being computed.
    pending: Vec<PendingProbe>,
    phase: Phase,
    /// Reused memory.
    rotated: Vec<f32>,
    batch: CodeBatch,
}

/// Location of a vector that the index does not depend on.
#[derive(Clone, Copy)]
enum Holdout {
    /// A node of the hold-out set.
    Node(u32),
    /// A step of the front block that is not applied yet.
    Step(usize),
}

struct PendingProbe {
    vector: Vec<f32>,
    /// The node of the vector, or of the vector that it replaces; excluded from its neighbors.
    own: Option<u32>,
    /// The vector by its code, if the index has codes.
    query: Query,
    nearest: TopK,
}

enum Phase {
    /// The batch is being filled.
    Load,
    /// The batch was compared with all nodes before this one.
    Compare(u32),
    /// The true neighbors of the last probe of the batch are computed next.
    Rerank,
    /// Efforts are being tried.
    Search(Probe),
}

/// A probe with its true neighbors.
struct Probe {
    vector: Vec<f32>,
    own: Option<u32>,
    /// Nodes of the true neighbors.
    ground_truth: Vec<u32>,
    /// Efforts tried so far.
    tried: usize,
}

impl ProbeRun {
    fn of(left: Vec<Holdout>) -> Self {
        let (sample, rotated, batch) = Default::default();
        Self { sample, left, pending: Vec::new(), phase: Phase::Load, rotated, batch }
    }

    pub fn is_done(&self) -> bool {
        self.left.is_empty() && self.pending.is_empty() && !matches!(self.phase, Phase::Search(..))
    }
}

/// The parts of a buffered index that probes read.
pub(crate) struct ProbeSource<'a, S> {
    pub points: &'a Points,
    pub index: &'a S,
    pub buffer: &'a WriteBuffer,
}

impl<S: RecallTunable> ProbeSource<'_, S> {
    /// Whether probes must run before the next merge step.
    pub fn are_due(&self, model: &RecallModel, is_between_blocks: bool) -> bool {
        if S::HAS_HOLDOUT {
            return is_between_blocks && model.is_due(self.points.len(), self.index.inserted_since_training());
        }
        let pending_probes = model.pending_probes(self.points.len());
        let are_next = pending_probes > 0 && Some(self.buffer.taken() + self.buffer.holdouts()) == self.buffer.steps();
        are_next && (1..=pending_probes).contains(&self.holdouts().len())
    }

    /// Starts the probes that are due.
    pub fn begin(&self) -> ProbeRun {
        ProbeRun::of(if S::HAS_HOLDOUT { self.training_holdouts() } else { self.holdouts() })
    }

    /// Probes `queries` vectors of the front block at once.
    pub fn run(&self, queries: usize, threads: usize, space: Space) -> RecallSample {
        let all = self.holdouts();
        let queries = queries.min(all.len());
        let holdouts: Vec<Holdout> = (0..queries).map(|nth| all[nth * all.len() / queries]).collect();
        let share = queries.div_ceil(threads.max(1)).max(MIN_PROBES_PER_BATCH);
        let answer = |holdouts: &[Holdout]| {
            let mut run = ProbeRun::of(holdouts.to_vec());
            while !run.is_done() {
                self.step(&mut run, space);
            }
            run.sample
        };
        let mut sample = RecallSample::default();
        std::thread::scope(|scope| {
            let others: Vec<_> = holdouts.chunks(share).map(|some| scope.spawn(move || answer(some))).collect();
            others.into_iter().for_each(|other| sample.add(&other.join().expect("searching does not panic")));
        });
        sample
    }

    /// Nodes of the hold-out set, evenly drawn from all nodes.
    fn training_holdouts(&self) -> Vec<Holdout> {
        let nodes = self.points.nodes();
        let found = (0..HOLDOUT_PROBES).filter_map(|nth| {
            let seed = splitmix64(nth);
            let mut candidates = (0..HOLDOUT_TRIES).map(|nth| splitmix64(seed.wrapping_add(nth)) as u32 % nodes);
            candidates.find(|node| self.points.is_occupied(*node) && self.index.is_holdout(*node))
        });
        found.map(Holdout::Node).collect()
    }

    /// New vectors of the remaining steps of the front block.
    fn holdouts(&self) -> Vec<Holdout> {
        let steps = self.buffer.taken()..self.buffer.steps().unwrap_or(0);
        steps.filter(|step| self.buffer.new_vector(*step, self.points).is_some()).map(Holdout::Step).collect()
    }

    /// Runs one step, which no search sees. Hidden nodes count as neighbors: which nodes are hidden depends on the time
    /// of merges.
    pub fn step(&self, run: &mut ProbeRun, space: Space) {
        let vectors = Vectors { rows: &self.points.vectors, space };
        run.phase = match std::mem::replace(&mut run.phase, Phase::Load) {
            Phase::Load => self.load(run, vectors),
            Phase::Compare(at) => self.compare(run, at, vectors),
            Phase::Rerank => match run.pending.pop() {
                Some(pending) => finish_ground_truth(run, pending, vectors),
                None => Phase::Load,
            },
            Phase::Search(probe) => self.try_next_effort(run, probe, vectors),
        };
    }

    fn load(&self, run: &mut ProbeRun, vectors: Vectors<'_>) -> Phase {
        let together =
            (COMPONENTS_PER_BATCH / self.points.vectors.dim()).clamp(MIN_PROBES_PER_BATCH, MAX_PROBES_PER_BATCH);
        for _ in 0..QUERIES_PER_STEP {
            if run.pending.len() >= together {
                return Phase::Compare(0);
            }
            let Some(holdout) = run.left.pop() else { return Phase::Compare(0) };
            let (vector, own) = match holdout {
                Holdout::Node(node) => (vectors.row(node).into_owned(), Some(node)),
                Holdout::Step(step) => {
                    let (slot, vector) = self.buffer.step(step);
                    (vector.unwrap_or_default().to_vec(), self.points.node_of(slot))
                }
            };
            let mut query = Query::default();
            if let Some(codes) = self.index.codes() {
                codes.set_query_vector(&vector, vectors.space.kernels(), &mut run.rotated, &mut query);
            }
            run.pending.push(PendingProbe { vector, own, query, nearest: TopK::new(GROUND_TRUTH_SHORTLIST) });
        }
        Phase::Load
    }

    fn compare(&self, run: &mut ProbeRun, at: u32, vectors: Vectors<'_>) -> Phase {
        let ProbeRun { pending, batch, .. } = run;
        let codes = self.index.codes();
        let pairs = if codes.is_some() { CODE_PAIRS_PER_STEP } else { VECTOR_PAIRS_PER_STEP };
        let most = (pairs / CodeBatch::NODES / pending.len().max(MIN_PROBES_PER_BATCH)).max(1) * CodeBatch::NODES;
        let last = self.points.nodes().min(at.saturating_add((most * NODES_PER_POINT) as u32));
        let (mut nodes, mut end) = (Vec::with_capacity(most), at);
        while end < last && nodes.len() < most {
            nodes.extend(self.points.is_occupied(end).then_some(end));
            end += 1;
        }
        for nodes in nodes.chunks(CodeBatch::NODES) {
            if let Some(codes) = codes {
                codes.load_batch(nodes, batch);
                for PendingProbe { own, query, nearest, .. } in &mut *pending {
                    codes.compare_batch(query, batch, nearest.worst(), vectors.space, |neighbor| {
                        push(neighbor, *own, nearest)
                    });
                }
                continue;
            }
            let rows: Vec<_> = nodes.iter().map(|node| (*node, vectors.row(*node))).collect();
            for PendingProbe { vector, own, nearest, .. } in &mut *pending {
                for (other, row) in &rows {
                    push(Neighbor::new(vectors.space.distance(vector, row), *other), *own, nearest);
                }
            }
        }
        if end == self.points.nodes() { Phase::Rerank } else { Phase::Compare(end) }
    }

    fn try_next_effort(&self, run: &mut ProbeRun, probe: Probe, vectors: Vectors<'_>) -> Phase {
        let Probe { vector, own, ground_truth, tried } = &probe;
        let points = self.points.len();
        let request = SearchRequest {
            query: vector,
            k: RECALL_K,
            params: &S::params_for_effort(S::EFFORTS[*tried], RECALL_K),
            points,
            matching: points,
            is_filtered: false,
            scanning: ScanMode::Scattered,
        };
        let found =
            self.index.search_one(&request, |node| Some(node) != *own && self.points.is_occupied(node), vectors);
        // None: the planner prefers a scan at this effort, which finds all.
        let right = found.map_or(ground_truth.len(), |mut found| {
            found.sort_unstable();
            found.iter().take(RECALL_K).filter(|neighbor| ground_truth.contains(&neighbor.id())).count()
        });
        let all = run.sample.record(*tried, S::EFFORTS.len(), right, ground_truth.len());
        let tried = tried + 1;
        if all || tried == S::EFFORTS.len() { Phase::Rerank } else { Phase::Search(Probe { tried, ..probe }) }
    }
}

fn finish_ground_truth(
    run: &mut ProbeRun,
    PendingProbe { vector, own, nearest, .. }: PendingProbe,
    vectors: Vectors<'_>,
) -> Phase {
    let mut neighbors = nearest.into_sorted();
    vectors.rerank(&vector, &mut neighbors);
    neighbors.sort_unstable();
    let ground_truth: Vec<u32> = neighbors.iter().take(RECALL_K).map(|neighbor| neighbor.id()).collect();
    run.sample.wanted += ground_truth.len() as u32;
    Phase::Search(Probe { vector, own, ground_truth, tried: 0 })
}

/// Pushes a node unless it is the probe's own.
#[inline]
fn push(neighbor: Neighbor, own: Option<u32>, nearest: &mut TopK) {
    if Some(neighbor.id()) != own {
        nearest.push(neighbor);
    }
}

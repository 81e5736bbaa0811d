//! HNSW: hierarchical navigable small world graph.
//!
//! - `graph`: nodes and links per level; `spanning_tree`: links that pruning keeps;
//! - `scorer`: distances in the graph, by codes where it has them;
//! - `insert`, `delete`: updates; `beam`, `candidate_list`, `early_termination`: the search of a level, shared by
//!   queries and inserts;
//! - `packed_neighbors`: rows by which profile `speed` estimates the distances of all links of a node at once;
//! - `search`: execution of queries.

mod beam;
mod candidate_list;
mod delete;
mod early_termination;
mod graph;
mod insert;
mod packed_neighbors;
mod scorer;
mod search;
mod spanning_tree;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use crate::approximate_index::{ApproximateIndex, RecallTunable, Trainable};
use crate::metric::Space;
use crate::neighbor::Neighbor;
use crate::params::{Config, Profile, SearchParams};
use crate::quantization::Codes;
use crate::recall_model::RECALL_K;
use crate::search_request::SearchRequest;
use crate::storage::points::Points;
use crate::storage::vector_store::Vectors;

pub(crate) use graph::{Graph, MAX_LEVEL, NO_NODE};
pub(crate) use insert::InsertPlan;
use packed_neighbors::PackedNeighbors;
use scorer::{PreparedQuery, Scorer};
use search::ScratchPool;

/// The graph, with its codes.
pub(crate) struct Hnsw {
    pub graph: Graph,
    /// None: distances are computed by vector.
    codes: Option<Codes>,
    packed_neighbors: Option<PackedNeighbors>,
    scratches: Arc<ScratchPool>,
    query: PreparedQuery,
}

impl Hnsw {
    pub fn new(config: &Config, m: usize, ef_construct: usize) -> Self {
        let codes = config.has_codes().then(|| Codes::new(config.dim, config.seed, config.profile == Profile::Memory));
        let packed_neighbors = codes
            .as_ref()
            .filter(|_| config.has_packed_neighbors())
            .map(|codes| PackedNeighbors::new(codes.width(), 2 * m));
        let graph = Graph::new(m, ef_construct, config.seed);
        Self { graph, codes, packed_neighbors, scratches: Arc::default(), query: PreparedQuery::default() }
    }

    /// As [`crate::memory::Rows::patched_rows`].
    pub fn patched_rows(&self) -> usize {
        self.graph.patched_rows().max(self.packed_neighbors.as_ref().map_or(0, PackedNeighbors::patched_rows))
    }

    fn scorer<'a>(&'a self, vectors: Vectors<'a>) -> Scorer<'a> {
        Scorer { vectors, codes: self.codes.as_ref() }
    }

    pub fn bytes(&self) -> usize {
        let codes = self.codes.as_ref().map_or(0, Codes::size);
        self.graph.bytes() + codes + self.packed_neighbors.as_ref().map_or(0, PackedNeighbors::bytes)
    }

    /// Derives what a snapshot leaves out.
    pub fn restore(&mut self, points: &Points, space: Space) {
        if let Some(codes) = &mut self.codes {
            for node in 0..points.nodes() {
                codes.put(node, &codes.code_of(&points.vectors.row(node), space.kernels()));
            }
        }
        self.update_packed_neighbors(Vectors { rows: &points.vectors, space });
    }

    /// The plan that [`Graph::plan_insert`] made for a vector that will be the `nth` insert from now, from 1; none if
    /// it is invalid.
    pub fn restore_insert_plan(
        &self,
        (vector, nth): (&[f32], u64),
        snapshot_seq: u64,
        neighbors: Vec<Vec<u32>>,
        space: Space,
    ) -> Option<InsertPlan> {
        let graph = &self.graph;
        let level = graph.level_of(graph.last_insert_seq + nth);
        let was_there = |node: u32, level: usize| {
            let (insert_seq, _) = graph.seq_and_parent(node);
            insert_seq == 0 || insert_seq > snapshot_seq || graph.level(node) >= level
        };
        let stands = |(level, nodes): (usize, &Vec<u32>)| {
            nodes.iter().all(|node| *node < graph.nodes() && was_there(*node, level))
        };
        let code = self.codes.as_ref().map(|codes| codes.code_of(vector, space.kernels()));
        let is_sound = snapshot_seq <= graph.last_insert_seq
            && neighbors.len() <= level + 1
            && neighbors.iter().enumerate().all(stands);
        is_sound.then_some(InsertPlan { code, snapshot_seq, level, neighbors })
    }

    /// Updates the rows of nodes whose links have changed.
    fn update_packed_neighbors(&mut self, vectors: Vectors<'_>) {
        let (Some(packed_neighbors), Some(codes)) = (&mut self.packed_neighbors, &self.codes) else {
            return self.graph.clear_changed();
        };
        let scorer = Scorer { vectors, codes: Some(codes) };
        for node in self.graph.take_changed() {
            let surrounding = self.graph.surrounding(node, scorer, &mut self.query);
            packed_neighbors.update(node, &surrounding, codes, vectors.space);
        }
    }
}

impl ApproximateIndex for Hnsw {
    type InsertPlan = InsertPlan;

    fn plan_insert(&self, vector: &[f32], nth: u64, vectors: Vectors<'_>) -> InsertPlan {
        self.scratches.with(|scratch| self.graph.plan_insert(vector, nth, self.scorer(vectors), scratch))
    }

    fn insert(&mut self, node: u32, plan: &InsertPlan, vectors: Vectors<'_>) {
        if let (Some(codes), Some(code)) = (&mut self.codes, &plan.code) {
            codes.put(node, code);
        }
        if let Some(packed_neighbors) = &mut self.packed_neighbors {
            packed_neighbors.clear(node);
        }
        let scorer = Scorer { vectors, codes: self.codes.as_ref() };
        self.graph.insert(node, plan, scorer, &mut self.query);
    }

    fn remove(&mut self, node: u32, vectors: Vectors<'_>) {
        let scorer = Scorer { vectors, codes: self.codes.as_ref() };
        self.graph.delete(node, scorer, &mut self.query);
        // At once, because the node number may be reused, and a row must not describe the old node under it.
        self.update_packed_neighbors(vectors);
    }

    fn refresh(&mut self, vectors: Vectors<'_>) {
        self.update_packed_neighbors(vectors);
    }

    fn view(&mut self) -> Self {
        Self {
            graph: self.graph.view(),
            codes: self.codes.as_mut().map(Codes::view),
            packed_neighbors: self.packed_neighbors.as_mut().map(PackedNeighbors::view),
            scratches: Arc::clone(&self.scratches),
            query: PreparedQuery::default(),
        }
    }

    fn image(&mut self) -> Self {
        let graph = self.graph.image();
        Self { graph, ..self.view() }
    }

    /// Nothing is cached.
    type FilterCache = ();

    /// Interleaving the queries of a batch, to hide memory latency, was no faster.
    const BATCH_SIZE: usize = 1;

    fn search_all(
        &self,
        request: &SearchRequest<'_>,
        queries: &[&[f32]],
        accepts: impl Fn(u32) -> bool,
        _: Option<(&(), usize)>,
        vectors: Vectors<'_>,
    ) -> Vec<Option<Vec<Neighbor>>> {
        queries.iter().map(|query| self.search(&SearchRequest { query, ..*request }, &accepts, vectors)).collect()
    }

    fn codes(&self) -> Option<&Codes> {
        self.codes.as_ref()
    }

    fn count_reachable(&self, _: &Points, is_live: impl Fn(u32) -> bool) -> usize {
        self.graph.reachable_nodes().into_iter().filter(|node| is_live(*node)).count()
    }
}

impl Trainable for Hnsw {
    /// There is nothing to train.
    type Training = ();

    fn needs_training(&self, _: &Points) -> bool {
        false
    }

    fn begin_training(&self, _: &Points, _: Space) {}

    fn train_step(&self, _: &mut (), _: &Points, _: Space) -> bool {
        true
    }

    fn install(&mut self, (): ()) {}
}

impl RecallTunable for Hnsw {
    /// Every node is linked.
    const HAS_HOLDOUT: bool = false;

    const EFFORTS: &[usize] = &[10, 14, 20, 28, 40, 56, 80, 112, 160, 224, 320, 448, 640, 896];

    /// Beam entries per neighbor as for `k` of [`RECALL_K`].
    fn params_for_effort(effort: usize, k: usize) -> SearchParams {
        SearchParams { ef: Some(effort.saturating_mul(k).div_ceil(RECALL_K).max(effort)), ..SearchParams::default() }
    }
}

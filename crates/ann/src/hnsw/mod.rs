//! The navigable graph.
//!
//! - `graph`: who links to whom, on which floor; `tree`: the links that no pruning may cut;
//! - `measure`: distances as the graph sees them, by codes where it has them;
//! - `insert`, `remove`: how a node comes and goes; `beam`, `pool`, `patience`: the walk that finding and inserting
//!   share;
//! - `neighbours`: rows by which profile `speed` judges all links of a node at once;
//! - `search`: what a query does with all of it.

mod beam;
mod graph;
mod insert;
mod measure;
mod neighbours;
mod patience;
mod pool;
mod remove;
mod search;
#[cfg(test)]
mod tests;
mod tree;

use std::sync::Arc;

use crate::codes::Codes;
use crate::config::{Config, Profile};
use crate::index::SearchParams;
use crate::near::Near;
use crate::points::Points;
use crate::space::Space;
use crate::structure::{Ask, Structure, Vectors};
use crate::tuning::ASKED;

pub(crate) use graph::{Graph, MAX_LEVEL, NO_NODE};
pub(crate) use insert::Survey;
use measure::{Measure, Target};
use neighbours::Neighbours;
use search::Lent;

/// The graph, and what it compares by.
pub(crate) struct Hnsw {
    pub graph: Graph,
    /// None: by the vectors themselves.
    codes: Option<Codes>,
    neighbours: Option<Neighbours>,
    scratches: Arc<Lent>,
    target: Target,
}

impl Hnsw {
    pub fn new(config: &Config, m: usize, ef_construct: usize) -> Self {
        let codes = config.has_codes().then(|| Codes::new(config.dim, config.seed, config.profile == Profile::Memory));
        let neighbours =
            codes.as_ref().filter(|_| config.has_neighbours()).map(|codes| Neighbours::new(codes.width(), 2 * m));
        let graph = Graph::new(m, ef_construct, config.seed);
        Self { graph, codes, neighbours, scratches: Arc::default(), target: Target::default() }
    }

    /// As [`crate::memory::Rows::patched`].
    pub fn patched(&self) -> usize {
        self.graph.patched().max(self.neighbours.as_ref().map_or(0, Neighbours::patched))
    }

    fn measure<'a>(&'a self, vectors: Vectors<'a>) -> Measure<'a> {
        Measure { vectors, codes: self.codes.as_ref() }
    }

    pub fn bytes(&self) -> usize {
        let codes = self.codes.as_ref().map_or(0, Codes::size);
        self.graph.bytes() + codes + self.neighbours.as_ref().map_or(0, Neighbours::bytes)
    }

    /// Derives what a snapshot leaves out.
    pub fn restore(&mut self, points: &Points, space: Space) {
        if let Some(codes) = &mut self.codes {
            for node in 0..points.nodes() {
                codes.put(node, &codes.code_of(&points.vectors.row(node), space.kernels()));
            }
        }
        self.refresh(Vectors { rows: &points.vectors, space });
    }

    /// What [`Graph::survey`] found for a vector that will be the `nth` birth from now, from 1; none if it cannot have been that.
    pub fn restore_survey(
        &self,
        (vector, nth): (&[f32], u64),
        frozen: u64,
        floors: Vec<Vec<u32>>,
        space: Space,
    ) -> Option<Survey> {
        let graph = &self.graph;
        let level = graph.level_of_birth(graph.births + nth);
        let was_there = |node: u32, floor: usize| {
            let (birth, _) = graph.ancestry(node);
            birth == 0 || birth > frozen || graph.level(node) >= floor
        };
        let stands = |(floor, nodes): (usize, &Vec<u32>)| {
            nodes.iter().all(|node| *node < graph.nodes() && was_there(*node, floor))
        };
        let code = self.codes.as_ref().map(|codes| codes.code_of(vector, space.kernels()));
        let is_sound = frozen <= graph.births && floors.len() <= level + 1 && floors.iter().enumerate().all(stands);
        is_sound.then_some(Survey { code, frozen, level, floors })
    }

    /// Brings the rows up to the links.
    fn refresh(&mut self, vectors: Vectors<'_>) {
        let (Some(neighbours), Some(codes)) = (&mut self.neighbours, &self.codes) else {
            return self.graph.forget_changed();
        };
        let measure = Measure { vectors, codes: Some(codes) };
        for node in self.graph.take_changed() {
            let around = self.graph.around(node, measure, &mut self.target);
            neighbours.refresh(node, &around, codes, vectors.space);
        }
    }
}

impl Structure for Hnsw {
    type Survey = Survey;

    fn survey(&self, vector: &[f32], nth: u64, vectors: Vectors<'_>) -> Survey {
        self.scratches.with(|scratch| self.graph.survey(vector, nth, self.measure(vectors), scratch))
    }

    fn insert(&mut self, node: u32, survey: &Survey, vectors: Vectors<'_>) {
        if let (Some(codes), Some(code)) = (&mut self.codes, &survey.code) {
            codes.put(node, code);
        }
        if let Some(neighbours) = &mut self.neighbours {
            neighbours.forget(node);
        }
        let measure = Measure { vectors, codes: self.codes.as_ref() };
        self.graph.link_in(node, survey, measure, &mut self.target);
    }

    fn remove(&mut self, node: u32, vectors: Vectors<'_>) {
        let measure = Measure { vectors, codes: self.codes.as_ref() };
        self.graph.take_out(node, measure, &mut self.target);
        // At once: another point may come to have this number, and no row must say of it what was true of this one.
        self.refresh(vectors);
    }

    fn settle(&mut self, vectors: Vectors<'_>) {
        self.refresh(vectors);
    }

    fn view(&mut self) -> Self {
        Self {
            graph: self.graph.view(),
            codes: self.codes.as_mut().map(Codes::view),
            neighbours: self.neighbours.as_mut().map(Neighbours::view),
            scratches: Arc::clone(&self.scratches),
            target: Target::default(),
        }
    }

    fn image(&mut self) -> Self {
        let graph = self.graph.image();
        Self { graph, ..self.view() }
    }

    /// Every node is linked.
    const HOLDS_OUT: bool = false;

    const EFFORTS: &[usize] = &[10, 14, 20, 28, 40, 56, 80, 112, 160, 224, 320, 448, 640, 896];

    /// As many places for each neighbour as are for one of ten.
    fn with_effort(effort: usize, k: usize) -> SearchParams {
        SearchParams { ef: Some(effort.saturating_mul(k).div_ceil(ASKED).max(effort)), ..SearchParams::default() }
    }

    /// Nothing.
    type Learning = ();

    fn is_due(&self, _: &Points) -> bool {
        false
    }

    fn learning(&self, _: &Points, _: Space) {}

    fn learn(&self, _: &mut (), _: &Points, _: Space) -> bool {
        true
    }

    fn go_by(&mut self, (): ()) {}

    /// Nothing.
    type Noted = ();

    /// Queries that take turns while memory answers were no faster.
    const TOGETHER: usize = 1;

    fn find_all(
        &self,
        ask: &Ask<'_>,
        queries: &[&[f32]],
        accepts: impl Fn(u32) -> bool,
        _: Option<(&(), usize)>,
        vectors: Vectors<'_>,
    ) -> Vec<Option<Vec<Near>>> {
        queries.iter().map(|query| self.search(&Ask { query, ..*ask }, &accepts, vectors)).collect()
    }

    fn codes(&self) -> Option<&Codes> {
        self.codes.as_ref()
    }

    fn reached(&self, _: &Points, is_live: impl Fn(u32) -> bool) -> usize {
        self.graph.reached().into_iter().filter(|node| is_live(*node)).count()
    }
}

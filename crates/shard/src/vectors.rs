//! One named vector of a collection: an index of `ann` with the scores of Qdrant's API.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;
use std::io::Read;

use meridian_ann::{Config, ConfigError, Filter, Hit, Image, Index, Kind, Metric, Profile, SearchParams, View};
use meridian_model::{Distance, VectorDef, VersionUnknown};

/// The vectors of one name, by slot. Callers have checked length and finite numbers.
pub(crate) struct VectorIndex {
    def: VectorDef,
    index: Index,
}

/// A view of it.
pub(crate) struct VectorView {
    def: VectorDef,
    index: View,
}

/// The slots that a search may return.
pub(crate) enum Passing<'a> {
    /// Exactly these.
    Slots(Vec<u32>),
    /// Those that match the rule, with an estimate of their number.
    Rule(&'a (dyn Fn(u32) -> bool + Sync), Estimate),
}

/// Reason for which bytes are not an index of a vector.
#[derive(Debug)]
pub(crate) enum IndexFault {
    /// A newer release wrote them.
    Newer(VersionUnknown),
    /// They are not an index, or one of another definition.
    Malformed(String),
}

/// Estimated number of points that match a filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Estimate {
    /// The expected number.
    pub(crate) expected: usize,
    /// A lower bound with high probability.
    pub(crate) fewest: usize,
}

/// Bytes of a kilobyte of [`meridian_model::HnswParams::full_scan_threshold`].
const KILOBYTE: usize = 1_024;

impl VectorIndex {
    /// # Errors
    /// A parameter is outside its range. The leader has checked it, but a log may contain anything.
    pub(crate) fn new(def: VectorDef, seed: u64) -> Result<Self, ConfigError> {
        Ok(Self { def, index: Index::new(config(&def, seed))? })
    }

    pub(crate) fn view(&mut self) -> VectorView {
        VectorView { def: self.def, index: self.index.view() }
    }

    /// See [`Index::copied`].
    pub(crate) fn copied(&self) -> usize {
        self.index.copied()
    }

    pub(crate) fn upsert(&mut self, slot: u32, vector: &[f32]) {
        self.index
            .upsert(slot, vector)
            .expect("lengths and numbers were checked, and slots stay far below the largest");
    }

    pub(crate) fn delete(&mut self, slot: u32) {
        self.index.delete(slot);
    }

    pub(crate) fn vector(&self, slot: u32) -> Option<Cow<'_, [f32]>> {
        self.index.vector(slot)
    }

    pub(crate) fn contains(&self, slot: u32) -> bool {
        self.index.contains(slot)
    }

    /// Number of vectors.
    pub(crate) fn len(&self) -> usize {
        self.index.len()
    }

    pub(crate) fn pending(&self) -> usize {
        self.index.pending()
    }

    pub(crate) fn can_merge(&self) -> bool {
        self.index.can_merge()
    }

    pub(crate) fn merge(&mut self, most: usize) -> usize {
        self.index.merge(most)
    }

    /// See [`Index::image`].
    pub(crate) fn image(&mut self) -> Image {
        self.index.image()
    }

    /// See [`Index::defer_merging`].
    pub(crate) fn defer_merging(&mut self, defer: bool) {
        self.index.defer_merging(defer);
    }

    /// # Errors
    /// The bytes are not an index, or one of another definition.
    pub(crate) fn read(def: VectorDef, seed: u64, input: &mut impl Read) -> Result<Self, IndexFault> {
        let index = Index::read_from(input).map_err(|error| match error.newer_version() {
            Some((found, knows)) => IndexFault::Newer(VersionUnknown::format(found, knows)),
            None => IndexFault::Malformed(error.to_string()),
        })?;
        if *index.config() != config(&def, seed) {
            return Err(IndexFault::Malformed("the index of another vector".into()));
        }
        Ok(Self { def, index })
    }
}

impl VectorView {
    pub(crate) fn def(&self) -> &VectorDef {
        &self.def
    }

    pub(crate) fn vector(&self, slot: u32) -> Option<Cow<'_, [f32]>> {
        self.index.vector(slot)
    }

    /// Number of vectors in the graph, up to pending deletes.
    pub(crate) fn indexed(&self) -> u64 {
        self.index.len().saturating_sub(self.index.pending()) as u64
    }

    /// The `limit` nearest as (slot, score), nearest first. `query` must have passed [`check_numbers`].
    pub(crate) fn search(
        &self,
        query: &[f32],
        limit: usize,
        params: SearchParams,
        passing: Option<Passing<'_>>,
    ) -> Vec<(u32, f32)> {
        let filter = passing.map(|passing| match passing {
            Passing::Slots(slots) => Filter::slots(slots),
            Passing::Rule(rule, Estimate { expected, fewest }) => Filter::predicate(rule, expected).at_least(fewest),
        });
        let params = SearchParams { full_scan_bytes: self.def.hnsw.full_scan_threshold as usize * KILOBYTE, ..params };
        let hits = self.index.search(query, limit, &params, filter.as_ref()).expect("length and numbers were checked");
        hits.into_iter().map(|hit| (hit.slot, self.score(hit))).collect()
    }

    fn score(&self, hit: Hit) -> f32 {
        match self.def.distance {
            // Subtracted from zero instead of negated, so that no score is minus zero.
            Distance::Cosine | Distance::Dot => 0.0 - hit.distance,
            Distance::Euclid | Distance::Manhattan => hit.distance,
        }
    }
}

fn config(def: &VectorDef, seed: u64) -> Config {
    let metric = match def.distance {
        Distance::Cosine => Metric::Cosine,
        Distance::Dot => Metric::Dot,
        Distance::Euclid => Metric::Euclid,
        Distance::Manhattan => Metric::Manhattan,
    };
    let kind = Kind::Hnsw { m: def.hnsw.m.into(), ef_construct: def.hnsw.ef_construct.into() };
    let profile = if def.hnsw.inline_storage { Profile::Speed } else { Profile::Balanced };
    Config { profile, seed, ..Config::new(def.dim as usize, metric, kind) }
}

/// Largest squared length of a vector or query. Of any two of them `‖a − b‖² <= f32::MAX / 2`, `|⟨a, b⟩| <= f32::MAX / 8` and, in
/// 65,536 dimensions, `Σ|aᵢ − bᵢ| <= 256 ‖a − b‖`: every score is a finite `f32`, with room for rounding.
const MAX_SQUARED_LENGTH: f64 = f32::MAX as f64 / 8.0;

/// Reason for which numbers are not a vector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NumberError {
    /// The element, from 0, is NaN or infinite.
    NotFinite(usize),
    /// The sum of the squares is above the limit; both as text.
    TooLong(TooLong),
}

/// A squared length above the limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TooLong {
    got: String,
}

impl fmt::Display for TooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the sum of the squares of its elements must be <= {MAX_SQUARED_LENGTH:.4e} (got {})", self.got)
    }
}

/// Checks the numbers of a vector or a query, for every distance.
pub(crate) fn check_numbers(vector: &[f32]) -> Result<(), NumberError> {
    if let Some(element) = vector.iter().position(|x| !x.is_finite()) {
        return Err(NumberError::NotFinite(element));
    }
    // In f64: squares of f32 do not overflow there.
    let squared: f64 = vector.iter().map(|x| f64::from(*x) * f64::from(*x)).sum();
    if squared > MAX_SQUARED_LENGTH {
        return Err(NumberError::TooLong(TooLong { got: format!("{squared:.4e}") }));
    }
    Ok(())
}

/// Order of two scores, the nearer one first.
pub(crate) fn nearer(distance: Distance, a: f32, b: f32) -> Ordering {
    match distance {
        Distance::Cosine | Distance::Dot => b.total_cmp(&a),
        Distance::Euclid | Distance::Manhattan => a.total_cmp(&b),
    }
}

/// Scales a vector to length 1; the zero vector stays. The sum is computed in order in `f64`, so every machine gets the
/// same bits.
pub(crate) fn normalize(vector: &mut [f32]) {
    let length = vector.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>().sqrt();
    if length > 0.0 {
        vector.iter_mut().for_each(|x| *x = (f64::from(*x) / length) as f32);
    }
}

//! Inverted lists with product codes of 4 bits, and exact distances for the best of them.
//!
//! - `coarse`: the centroids of the lists; `list`, `lists`: who is filed where, on two lists each, and by which codes;
//! - `codebook`: what codes stand for; `table`: what they are worth to one query;
//! - `training`: how centroids and codebook are learnt; `search`, `reservoir`: what a query does with all of it;
//! - `masks`, `packed`: what queries with one filter share, where many match and where few do.
//!
//! Lists are learnt anew when there are twice as many points as the last time. Until they are first learnt, searches compare
//! with every point.

mod coarse;
mod codebook;
mod list;
mod lists;
mod masks;
mod packed;
mod reservoir;
mod search;
mod table;
#[cfg(test)]
mod tests;
mod training;

use crate::codes::Codes;
use crate::index::SearchParams;
use crate::near::Near;
use crate::once::Once;
use crate::points::Points;
use crate::space::Space;
use crate::structure::{Ask, Structure, Vectors};
use crate::tuning::ASKED;

pub(crate) use coarse::Coarse;
pub(crate) use codebook::Codebook;
pub(crate) use lists::{Entry, Filing, Lists};
use masks::{Asked, Masks};
use packed::Packed;
use search::Plan;
use training::{Training, is_held_out};

/// Points from which on lists are worth learning: comparing with fewer takes less than a tenth of a millisecond.
const FEWEST: usize = 2_048;

/// Points of a list, below which it is not worth having.
const FEWEST_A_LIST: usize = 16;

/// Lists for the square root of the number of points.
const LISTS_A_ROOT: usize = 8;

/// Lists that a point is on, at most.
const ENTRIES: usize = 2;

/// Codes that are looked at in the time of one exact distance, about: what the plan weighs against a scan.
const CODES_A_DISTANCE: usize = 8;

/// Centroids that are looked at in that time.
const CENTROIDS_A_DISTANCE: usize = 8;

/// Points of which it is found in that time how near their lists are.
const SIFTED_A_DISTANCE: usize = 3;

/// Codes of those who match, packed without gaps, that are looked at in that time.
const PACKED_A_DISTANCE: usize = 10;

/// What packing one costs, in distances.
const DISTANCES_A_PACKING: usize = 10;

/// How far a query goes.
struct Way {
    /// Lists that are looked at.
    nprobe: usize,
    /// The nearest by their codes, which are compared by their vectors.
    rerank: usize,
    /// The share of all lists that this is.
    share: f32,
    /// What finding the lists costs, in distances.
    order: usize,
}

impl Way {
    fn new(lists: &Lists, ask: &Ask<'_>) -> Self {
        let nlist = lists.coarse.len();
        let nprobe = ask.params.nprobe.unwrap_or(nlist.isqrt()).clamp(1, nlist);
        let rerank = ask.params.rerank.unwrap_or(ask.k.saturating_mul(6).saturating_add(100));
        let rerank = rerank.clamp(ask.k, ask.points.max(ask.k));
        // The nearest that match lie further apart the fewer they are.
        let matching = ask.matching as f32 / ask.points as f32;
        let nprobe = ((nprobe as f32 / matching.sqrt()) as usize).clamp(nprobe, nlist);
        Self { nprobe, rerank, share: nprobe as f32 / nlist as f32, order: nlist / CENTROIDS_A_DISTANCE }
    }

    /// What looking at the lists costs, if blocks of so many codes in all hold one who matches.
    fn cost(&self, codes: f32) -> usize {
        (self.order + (codes * self.share) as usize / CODES_A_DISTANCE).saturating_add(self.rerank)
    }

    /// What packing the codes of so many who match costs each of some queries, and looking at all of them.
    fn packed(&self, matching: usize, queries: usize) -> usize {
        let packing = (matching * DISTANCES_A_PACKING).div_ceil(queries);
        (self.order + packing + matching / PACKED_A_DISTANCE).saturating_add(self.rerank)
    }

    /// How many of so many points that match are worth comparing, and what finding and comparing them costs; none where comparing all
    /// is cheaper.
    fn sifted(&self, matching: usize) -> Option<(usize, usize)> {
        let worth = self.rerank.max((matching as f32 * self.share) as usize * ENTRIES);
        let cost = (self.order + matching / SIFTED_A_DISTANCE).saturating_add(worth);
        (cost < matching).then_some((worth, cost))
    }
}

/// What is noted of those who match, when somebody first needs it.
#[derive(Default)]
pub(crate) struct Noted {
    masks: Once<Masks>,
    packed: Once<Packed>,
}

/// The lists, once there are enough points to learn them from.
pub(crate) struct Ivf {
    nlist: Option<usize>,
    parts: usize,
    lists: Option<Box<Lists>>,
}

/// Lists on their way.
#[derive(Default)]
pub(crate) enum Learning {
    Training(Box<Training>),
    Learnt(Box<Lists>),
    /// While a piece is done.
    #[default]
    Away,
}

impl Ivf {
    /// `nlist`: how many lists, by the number of points when absent; `parts`: how many codes a vector has.
    pub fn from_parts(nlist: Option<usize>, parts: usize, lists: Option<Lists>) -> Self {
        Self { nlist, parts, lists: lists.map(Box::new) }
    }

    pub fn lists(&self) -> Option<&Lists> {
        self.lists.as_deref()
    }

    /// How many lists `points` points are filed on.
    fn lists_for(&self, points: usize) -> usize {
        self.nlist.unwrap_or_else(|| LISTS_A_ROOT * points.isqrt()).clamp(1, points.div_ceil(FEWEST_A_LIST))
    }

    pub fn bytes(&self) -> usize {
        self.lists.as_ref().map_or(0, |lists| lists.bytes())
    }
}

impl Structure for Ivf {
    /// None until lists are learnt.
    type Survey = Option<Filing>;

    fn survey(&self, vector: &[f32], _: u64, vectors: Vectors<'_>) -> Option<Filing> {
        self.lists.as_ref().map(|lists| lists.survey(vector, vectors.space))
    }

    fn insert(&mut self, node: u32, survey: &Option<Filing>, vectors: Vectors<'_>) {
        if let (Some(lists), Some(filing)) = (&mut self.lists, survey) {
            filing.iter().for_each(|entry| {
                lists.file(node, entry, vectors.space);
            });
            lists.come = lists.come.saturating_add(1);
        }
    }

    fn remove(&mut self, node: u32, _: Vectors<'_>) {
        if let Some(lists) = &mut self.lists {
            lists.remove(node);
        }
    }

    fn settle(&mut self, _: Vectors<'_>) {}

    fn view(&mut self) -> Self {
        Self::from_parts(self.nlist, self.parts, self.lists.as_ref().map(|lists| lists.view()))
    }

    fn image(&mut self) -> Self {
        self.view()
    }

    const HOLDS_OUT: bool = true;

    fn is_held_out(&self, node: u32) -> bool {
        is_held_out(node)
    }

    const EFFORTS: &[usize] = &[4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512];

    /// The more lists, the more that must be compared again.
    fn with_effort(effort: usize, k: usize) -> SearchParams {
        let rerank = k.saturating_mul(4).saturating_add(effort.saturating_mul(k).div_ceil(ASKED));
        SearchParams { nprobe: Some(effort), rerank: Some(rerank), ..SearchParams::default() }
    }

    type Learning = Learning;

    fn is_due(&self, points: &Points) -> bool {
        let first = self.nlist.map_or(FEWEST, |nlist| FEWEST.min(nlist * FEWEST_A_LIST));
        points.len() >= first && self.lists.as_ref().is_none_or(|lists| lists.come >= lists.trained_for as u64)
    }

    fn learning(&self, points: &Points, space: Space) -> Learning {
        let training = Training::new(points, self.lists_for(points.len()), self.parts, space);
        Learning::Training(Box::new(training))
    }

    fn learn(&self, learning: &mut Learning, points: &Points, space: Space) -> bool {
        if let Learning::Training(training) = std::mem::take(learning) {
            *learning = match training.step(points, space) {
                Ok(lists) => Learning::Learnt(Box::new(lists)),
                Err(training) => Learning::Training(training),
            };
        }
        !matches!(learning, Learning::Training(_))
    }

    fn go_by(&mut self, learning: Learning) {
        if let Learning::Learnt(lists) = learning {
            self.lists = Some(lists);
        }
    }

    type Noted = Noted;

    /// A list that many look at is read once.
    const TOGETHER: usize = usize::MAX;

    fn find_all(
        &self,
        ask: &Ask<'_>,
        queries: &[&[f32]],
        accepts: impl Fn(u32) -> bool,
        noted: Option<(&Noted, usize)>,
        vectors: Vectors<'_>,
    ) -> Vec<Option<Vec<Near>>> {
        let none = vec![None; queries.len()];
        let Some(lists) = &self.lists else { return none };
        let way = Way::new(lists, ask);
        let scan = way.sifted(ask.matching).map_or(ask.matching, |(_, cost)| cost);
        // Where fewer match than was thought, the lists looked at held few of them.
        let enough = ask.k.saturating_mul(ENTRIES);
        let (nprobe, rerank) = (way.nprobe, way.rerank.max(enough));
        let least = if ask.is_filtered { rerank } else { enough };
        let plan = Plan { nprobe, rerank, least };
        let known = noted.filter(|_| scan > way.cost(0.0));
        let found = if let Some((noted, sharing)) = known {
            let masks = noted.masks.of(|| Masks::new(lists, accepts));
            let (masked, packed) = (way.cost(masks.reach()), way.packed(ask.matching, sharing));
            if scan <= masked.min(packed) {
                return none;
            } else if packed < masked {
                lists.search_packed(queries, rerank, noted.packed.of(|| Packed::new(lists, masks)), vectors)
            } else {
                lists.search(queries, plan, masks, vectors)
            }
        } else if scan <= way.cost((ask.points * ENTRIES) as f32) {
            return none;
        } else {
            lists.search(queries, plan, &Asked(accepts), vectors)
        };
        found.into_iter().map(Some).collect()
    }

    fn sift(&self, ask: &Ask<'_>, nodes: &mut Vec<u32>, space: Space) {
        let Some(lists) = &self.lists else { return };
        let way = Way::new(lists, &Ask { matching: nodes.len(), ..*ask });
        if let Some((worth, _)) = way.sifted(nodes.len()) {
            lists.sift(ask.query, nodes, worth, space);
        }
    }

    /// Those of single points are not read: they lie in blocks.
    fn codes(&self) -> Option<&Codes> {
        None
    }

    fn come_since_learnt(&self) -> Option<u64> {
        self.lists.as_ref().map(|lists| lists.come)
    }

    fn reached(&self, points: &Points, is_live: impl Fn(u32) -> bool) -> usize {
        match &self.lists {
            Some(lists) => (0..points.nodes()).filter(|node| lists.holds(*node) && is_live(*node)).count(),
            None => (0..points.nodes()).filter(|node| is_live(*node)).count(),
        }
    }
}

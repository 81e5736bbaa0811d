//! How a filtered search is executed: every threshold and cost that decides between scan, graph and lists.
//!
//! Let `n` be the number of merged points, and `m` the number of them that match: the caller's estimate `expected`, or the size of the
//! matching set once it is computed. `ef`, `nprobe` and `rerank` are parameters of the search. The first row that applies decides.
//! Writes that are not merged yet are compared exactly in all of them.
//!
//! | condition                                                          | execution                                              |
//! |--------------------------------------------------------------------|--------------------------------------------------------|
//! | `exact`, or `expected <= 256`                                      | compare all matches by vector                          |
//! | `fewest <= max(ef if given, full_scan_bytes / bytes of a vector)`  | exact scan: codes with a proven bound, then vectors    |
//! | graph, filtered: `m <= 16 ef (n / m) S`, or `256 m <= n`           | approximate scan by codes                              |
//! | graph, no filter: `n <= 16 ef`                                     | approximate scan by codes                              |
//! | graph: `4 m >= n` and `ef n / m <= 1,024`                          | search everything, filter at the end                   |
//! | graph with packed neighbors: `3 ef <= 1,024`                       | search the matches alone, two-hop                      |
//! | graph, otherwise                                                   | search everything, keep matches; budget `min(m, n / 2)`|
//! | … which meets too few matches, and `m <= 384 ef`                   | approximate scan by codes                              |
//! | … which meets too few matches, otherwise                           | two-hop search over matches; budget `m`                |
//! | lists                                                              | the cheapest of [`CostModel`]                          |
//!
//! A result that is unusable (short, or with fewer than half of the matches that `m / n` predicts) passes the search to the next row;
//! an exceeded budget ends in a scan. `docs/design/filter-planner.md` has the reasons, the measurements and the limits.

use crate::params::{LISTS_PER_POINT, SearchParams};
use crate::search_request::{ScanMode, SearchRequest};

/// Matches up to which all are compared by vector: codes would save nothing.
const SMALL_SCAN_POINTS: usize = 256;

/// Matches from which on an approximate scan ranks by binary codes first.
pub(crate) const BINARY_SCAN_MIN_POINTS: usize = 512;

/// Queries of a batch from which on codes are transposed for all of them: for fewer, transposing takes longer than it saves.
pub(crate) const MIN_BATCH_QUERIES: usize = 32;

/// Queries for which transposed codes are scanned at once, at most: their results stay in a core's cache.
pub(crate) const MAX_BATCH_QUERIES: usize = 512;

/// Queries that share a matching set, at least. A filter that is used once computes none.
const MIN_SHARING_QUERIES: usize = 32;

/// Points per sharing query, at most, for which listed slots are resolved: some microseconds per query.
const LISTED_POINTS_PER_QUERY: usize = 8_192;

/// The same for a predicate, which is called for every point: a search calls it about as often.
const PREDICATE_POINTS_PER_QUERY: usize = 1_024;

/// Distances that a graph search computes for each entry of its beam, about.
const DISTANCES_PER_BEAM_ENTRY: usize = 16;

/// Points per match above which a graph search finds too few matches behind the links of a node to continue.
const MAX_SPARSITY: usize = 256;

/// Points per match up to which a graph search may ignore the filter and apply it to its result.
const MAX_POSTFILTER_SPARSITY: usize = 4;

/// Factor of the beam where only matches are expanded, which lack some links.
const MATCHING_BEAM_FACTOR: usize = 3;

/// Capacity of a sorted candidate list, at most: beyond, moving its entries costs more than a heap.
pub(crate) const MAX_LIST_CAPACITY: usize = 1_024;

/// Matches per entry of the beam up to which a scan is preferred to a two-hop search.
const SCAN_POINTS_PER_BEAM_ENTRY: usize = 384;

/// `S`: points that a scan compares in the time of one distance of a graph search.
fn scan_points_per_distance(scanning: ScanMode) -> usize {
    match scanning {
        ScanMode::Scattered => 3,
        ScanMode::Packed => 7,
        ScanMode::Batched => 9,
    }
}

/// Product codes that a list scan compares in the time of one exact distance, about.
const CODES_PER_DISTANCE: usize = 8;

/// Centroids that are compared in that time.
const CENTROIDS_PER_DISTANCE: usize = 8;

/// Matches that are ranked by the centroids of their lists in that time.
const PREFILTERED_PER_DISTANCE: usize = 3;

/// Packed product codes, which have no gaps, that are compared in that time.
const PACKED_CODES_PER_DISTANCE: usize = 10;

/// Cost of packing the codes of one match, in distances.
const PACK_COST_IN_DISTANCES: usize = 10;

/// The first decision: it needs neither the index nor the matching set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Execution {
    /// All matches are compared by vector.
    CompareVectors,
    /// All matches are compared; codes exclude only points that a proven bound excludes.
    ScanExactly,
    /// Graph or lists search, or decide for an approximate scan.
    Search,
}

/// Chooses by the number of points expected to match, and by the `fewest` that do for certain (all live points without a filter).
pub(crate) fn execution(params: &SearchParams, expected: usize, fewest: usize, row_bytes: usize) -> Execution {
    if params.exact || expected <= SMALL_SCAN_POINTS {
        Execution::CompareVectors
    } else if fewest <= params.ef.unwrap_or(0).max(params.full_scan_bytes / row_bytes) {
        Execution::ScanExactly
    } else {
        Execution::Search
    }
}

/// Whether a matching set pays for itself when so many queries share it.
pub(crate) fn is_worth_sharing(points: usize, is_listed: bool, queries: usize) -> bool {
    let most = if is_listed { LISTED_POINTS_PER_QUERY } else { PREDICATE_POINTS_PER_QUERY };
    queries >= MIN_SHARING_QUERIES && points <= queries.saturating_mul(most)
}

/// How an approximate scan for a batch of so many queries reads codes.
pub(crate) fn scan_mode(has_matching_set: bool, queries: usize) -> ScanMode {
    if !has_matching_set {
        ScanMode::Scattered
    } else if queries < MIN_BATCH_QUERIES {
        ScanMode::Packed
    } else {
        ScanMode::Batched
    }
}

/// How a graph is searched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct GraphPlan {
    pub ef: usize,
    /// The first form: everything is searched and the filter applied to the result.
    pub is_postfiltered: bool,
    /// Beam of the second form, over matches alone; none where it exceeds a sorted list.
    pub matching_beam: Option<usize>,
    /// Points per match that the third form expects, 1 at least; `usize::MAX` disables its check for low selectivity.
    pub sparsity: usize,
    /// Distances that the third form may compute.
    pub budget: usize,
    /// Whether a scan follows when the third form meets too few matches; else a two-hop search over matches.
    pub is_scan_fallback: bool,
}

impl GraphPlan {
    /// The plan for a beam of `ef`; none where a scan is cheaper.
    pub fn new(request: &SearchRequest<'_>, ef: usize) -> Option<Self> {
        let SearchRequest { points, matching, .. } = *request;
        // A graph search costs `ef` entries, and so many times more as there are points per match; a scan costs `matching`.
        let cost = ef.saturating_mul(DISTANCES_PER_BEAM_ENTRY);
        let is_scan_cheaper = if request.is_filtered {
            let scan = scan_points_per_distance(request.scanning);
            let search = cost.saturating_mul(points).saturating_mul(scan) / matching.max(1);
            matching <= search || matching.saturating_mul(MAX_SPARSITY) <= points
        } else {
            points <= cost
        };
        if is_scan_cheaper {
            return None;
        }
        let is_common = matching.saturating_mul(MAX_POSTFILTER_SPARSITY) >= points;
        let sparsity = if ef <= MAX_LIST_CAPACITY { points / matching.max(1) } else { usize::MAX };
        Some(Self {
            ef,
            is_postfiltered: is_common && request.spread(ef) <= MAX_LIST_CAPACITY,
            matching_beam: Some(ef.saturating_mul(MATCHING_BEAM_FACTOR)).filter(|beam| *beam <= MAX_LIST_CAPACITY),
            sparsity: sparsity.max(1),
            budget: matching.clamp(1, (points / 2).max(1)),
            is_scan_fallback: matching <= ef.saturating_mul(SCAN_POINTS_PER_BEAM_ENTRY),
        })
    }
}

/// Costs of the four executions on inverted lists, in distances.
///
/// ```text
///   order   = nlist / 8                    comparing the centroids
///   nprobe' = nprobe / sqrt(m / n)         at most nlist: the fewer match, the further apart they are
///   share   = nprobe' / nlist
///
///   compare all                            m
///   rank by centroid, compare the best     order + m / 3 + worth        worth = max(rerank, 2 floor(m share))
///   scan lists                             order + codes share / 8 + rerank
///   pack all codes, compare them           order + ceil(10 m / q) + m / 10 + rerank
/// ```
///
/// `codes` is `2 n`, or the codes in blocks that hold a match where the matching set is known; `q` is the number of queries that share
/// the packed codes.
pub(crate) struct CostModel {
    points: usize,
    matching: usize,
    /// Lists that are scanned.
    pub nprobe: usize,
    /// Nearest entries by code that are compared by vector.
    pub rerank: usize,
    /// Share of all lists that `nprobe` is.
    share: f32,
    /// Cost of ordering the lists.
    order: usize,
}

/// An execution that uses a matching set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SharedExecution {
    /// Compare the matches, ranked by centroid where that is cheaper.
    Scan,
    /// Scan lists, only blocks that hold a match.
    Lists,
    /// Compare all matches by packed codes.
    Packed,
}

impl CostModel {
    pub fn new(nlist: usize, request: &SearchRequest<'_>) -> Self {
        let SearchRequest { points, matching, k, params, .. } = *request;
        let nprobe = params.nprobe.unwrap_or(nlist.isqrt()).clamp(1, nlist);
        let rerank = params.rerank.unwrap_or(k.saturating_mul(6).saturating_add(100));
        let rerank = rerank.clamp(k, points.max(k));
        let selectivity = matching as f32 / points as f32;
        let nprobe = ((nprobe as f32 / selectivity.sqrt()) as usize).clamp(nprobe, nlist);
        let (share, order) = (nprobe as f32 / nlist as f32, nlist / CENTROIDS_PER_DISTANCE);
        Self { points, matching, nprobe, rerank, share, order }
    }

    /// Scanning lists, if blocks with so many codes in all hold a match.
    pub fn list_scan(&self, codes: f32) -> usize {
        (self.order + (codes * self.share) as usize / CODES_PER_DISTANCE).saturating_add(self.rerank)
    }

    /// Packing the codes of all matches for so many queries, and comparing all of them with one.
    pub fn packed_scan(&self, queries: usize) -> usize {
        let packing = (self.matching * PACK_COST_IN_DISTANCES).div_ceil(queries);
        (self.order + packing + self.matching / PACKED_CODES_PER_DISTANCE).saturating_add(self.rerank)
    }

    /// How many matches are worth comparing after a ranking by centroid, and the cost of both; none where comparing all is cheaper.
    pub fn prefilter(&self) -> Option<(usize, usize)> {
        let worth = self.rerank.max((self.matching as f32 * self.share) as usize * LISTS_PER_POINT);
        let cost = (self.order + self.matching / PREFILTERED_PER_DISTANCE).saturating_add(worth);
        (cost < self.matching).then_some((worth, cost))
    }

    /// Comparing the matches, ranked by centroid where that is cheaper.
    fn scan(&self) -> usize {
        self.prefilter().map_or(self.matching, |(_, cost)| cost)
    }

    /// Whether masks over the lists may pay: a scan costs more than lists without any code.
    pub fn may_use_masks(&self) -> bool {
        self.scan() > self.list_scan(0.0)
    }

    /// Whether a scan is cheaper than lists where nothing is known of the matches.
    pub fn is_scan_cheaper(&self) -> bool {
        self.scan() <= self.list_scan((self.points * LISTS_PER_POINT) as f32)
    }

    /// The cheapest execution for `queries` that share masks which reach so many codes.
    pub fn shared_execution(&self, reachable_codes: f32, queries: usize) -> SharedExecution {
        let (lists, packed) = (self.list_scan(reachable_codes), self.packed_scan(queries));
        if self.scan() <= lists.min(packed) {
            SharedExecution::Scan
        } else if packed < lists {
            SharedExecution::Packed
        } else {
            SharedExecution::Lists
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(params: &SearchParams, points: usize, matching: usize, scanning: ScanMode) -> SearchRequest<'_> {
        SearchRequest { query: &[], k: 10, params, points, matching, is_filtered: true, scanning }
    }

    #[test]
    fn the_first_row_that_applies_decides() {
        let default = SearchParams::default();
        let exact = SearchParams { exact: true, ..default };
        let by_ef = SearchParams { ef: Some(1_000), ..default };
        let by_bytes = SearchParams { full_scan_bytes: 400_000, ..default };
        assert_eq!(execution(&exact, 1_000_000, 1_000_000, 400), Execution::CompareVectors);
        assert_eq!(execution(&default, 256, 256, 400), Execution::CompareVectors);
        assert_eq!(execution(&default, 257, 1, 400), Execution::Search);
        for params in [by_ef, by_bytes] {
            assert_eq!(execution(&params, 1_000_000, 1_000, 400), Execution::ScanExactly);
            assert_eq!(execution(&params, 1_000_000, 1_001, 400), Execution::Search);
        }
        assert!(is_worth_sharing(262_144, true, 32) && !is_worth_sharing(262_145, true, 32));
        assert!(is_worth_sharing(32_768, false, 32) && !is_worth_sharing(32_769, false, 32));
        assert!(!is_worth_sharing(1, true, 31));
    }

    /// `m <= sqrt(16 S ef n)`, as the design record has it.
    #[test]
    fn a_graph_is_scanned_while_that_is_cheaper() {
        let params = SearchParams::default();
        for (scanning, most) in
            [(ScanMode::Scattered, 69_282), (ScanMode::Packed, 105_830), (ScanMode::Batched, 120_000)]
        {
            let plan = |matching| GraphPlan::new(&request(&params, 1_000_000, matching, scanning), 100);
            assert_eq!(plan(most), None, "{scanning:?}");
            assert!(plan(most + 1).is_some(), "{scanning:?}");
        }
        let all =
            |points| SearchRequest { is_filtered: false, ..request(&params, points, points, ScanMode::Scattered) };
        assert_eq!(GraphPlan::new(&all(1_600), 100), None);
        assert!(GraphPlan::new(&all(1_601), 100).is_some_and(|plan| plan.is_postfiltered));
    }

    #[test]
    fn forms_of_a_graph_search_have_their_bounds() {
        let params = SearchParams::default();
        let plan = |matching, ef| GraphPlan::new(&request(&params, 1_000_000, matching, ScanMode::Scattered), ef);
        let common = plan(250_000, 100).expect("a graph search");
        assert!(common.is_postfiltered && common.matching_beam == Some(300) && common.sparsity == 4);
        assert!(!plan(249_999, 100).expect("a graph search").is_postfiltered, "fewer than one in four");
        assert!(!plan(250_000, 257).expect("a graph search").is_postfiltered, "a beam beyond the sorted list");
        assert_eq!(plan(250_000, 342).expect("a graph search").matching_beam, None);
        assert_eq!(plan(900_000, 100).expect("a graph search").budget, 500_000);
        assert!(!common.is_scan_fallback && plan(250_000, 652).expect("a graph search").is_scan_fallback);
    }

    /// Comparing all matches is given up where it costs more, and only there.
    #[test]
    fn few_are_all_compared() {
        let nlist = 800;
        let prefilter = |matching, nprobe| {
            let params = SearchParams { nprobe: Some(nprobe), ..SearchParams::default() };
            CostModel::new(nlist, &request(&params, 100_000, matching, ScanMode::Scattered)).prefilter()
        };
        assert_eq!(prefilter(300, 8), None, "ordering the lists takes longer");
        let (worth, cost) = prefilter(10_000, 8).expect("too many for all of them");
        // Eight lists become 25 as one in ten matches, and each point is on two.
        assert!(
            (600..650).contains(&worth) && cost > worth && cost < 10_000,
            "{worth} are worth it, at a cost of {cost}"
        );
        assert_eq!(prefilter(10_000, nlist), None, "all lists hold all points");
        assert_eq!(prefilter(0, 8), None, "an estimate may be wrong");
    }
}

//! Filtered searches.

use super::super::search::ListSearch;
use super::*;
use crate::storage::datatype::Datatype;
use crate::storage::vector_store::VectorStorage;

const METRICS: [Metric; 4] = [Metric::Cosine, Metric::Dot, Metric::Euclid, Metric::Manhattan];

const DIM: usize = 24;

fn trained(metric: Metric, vectors: &[Vec<f32>]) -> (Points, Box<InvertedLists>) {
    let mut points = Points::new(DIM, Datatype::Float32, VectorStorage::Memory);
    (0..).zip(vectors).for_each(|(slot, vector)| _ = points.insert(slot, vector));
    let space = Space::best(metric);
    let mut training = Box::new(Training::new(&points, 60, 12, space));
    loop {
        match training.step(&points, space) {
            Ok(lists) => return (points, Box::new(lists)),
            Err(again) => training = again,
        }
    }
}

/// Masks agree with the predicate on every entry, and so do the results.
#[test]
fn masks_find_what_a_predicate_finds() {
    for metric in METRICS {
        let vectors = clustered(3, 3_000, DIM, 40);
        let (points, lists) = trained(metric, &vectors);
        let vectors = Vectors { rows: &points.vectors, space: Space::best(metric) };
        let queries: Vec<Vec<f32>> = (0..300).map(|at| points.vectors.row(at * 10).into_owned()).collect();
        let queries: Vec<&[f32]> = queries.iter().map(Vec::as_slice).collect();
        let in_ten = |node: u32| node.is_multiple_of(10);
        // All of few lists, none of the others.
        let on_some = |node: u32| lists.lists_of(node).any(|list| list < 9);
        for accepts in [&in_ten as &dyn Fn(u32) -> bool, &on_some, &|_| true, &|_| false] {
            let masks = Masks::new(&lists, accepts);
            for (nth, list) in lists.lists.iter().enumerate() {
                let entries = (0..list.len()).filter(|at| accepts(list.nodes()[*at]));
                assert!(masks.entries(nth, list.len()).eq(entries));
            }
            for least in [0, 30] {
                let params = ListSearch { nprobe: 12, rerank: 30, least };
                let shared = lists.search(&queries, params, &masks, vectors);
                assert_eq!(shared, lists.search(&queries, params, &PredicateFilter(accepts), vectors), "{metric:?}");
            }
        }
    }
}

/// All matches are packed once, and their codes tell the nearest of them.
#[test]
fn packed_codes_find_the_nearest() {
    for metric in METRICS {
        let space = Space::best(metric);
        let vectors = clustered(4, 3_000, DIM, 40);
        let (points, lists) = trained(metric, &vectors);
        let vectors = Vectors { rows: &points.vectors, space };
        // The last block is not full.
        let accepts = |node: u32| node.is_multiple_of(4) && node > 30;
        let packed = PackedCodes::new(&lists, &Masks::new(&lists, accepts));
        let matching: Vec<u32> = (0..3_000).filter(|node| accepts(*node)).collect();
        let mut found = 0;
        for query in (0..3_000).step_by(30) {
            let query = points.vectors.row(query);
            let mut right: Vec<Neighbor> =
                matching.iter().map(|node| Neighbor::new(vectors.to(&query, *node), *node)).collect();
            right.sort_unstable();
            let search = |rerank| {
                let mut neighbors = lists.search_packed(&[&query], rerank, &packed, vectors).remove(0);
                neighbors.sort_unstable();
                neighbors
            };
            assert_eq!(search(2_000), right, "{metric:?}");
            let nearest = search(40);
            assert_eq!(nearest.len(), 40);
            found += right[..10].iter().filter(|neighbor| nearest.contains(neighbor)).count();
        }
        assert!(found > 970, "{metric:?}: {found} of 1,000");
    }
}

/// The cheapest execution is chosen: few matches are all compared, some are packed, and for many the blocks that
/// contain one are scanned.
#[test]
fn executions_cost_what_they_scan() {
    let (points, lists) = trained(Metric::Euclid, &clustered(5, 3_000, DIM, 40));
    assert_eq!(points.len(), 3_000);
    let costs = |matching: usize| {
        let params = SearchParams { nprobe: Some(4), rerank: Some(20), ..SearchParams::default() };
        let request = SearchRequest {
            query: &[0.0; DIM],
            k: 10,
            params: &params,
            points: 3_000,
            matching,
            is_filtered: true,
            scanning: crate::search_request::ScanMode::Batched,
        };
        CostModel::new(lists.coarse.len(), &request)
    };
    let masked = |every: u32| {
        let masks = Masks::new(&lists, |node: u32| node.is_multiple_of(every));
        costs(3_000 / every as usize).list_scan(masks.reachable_codes())
    };
    // The fewer match, the more lists are scanned, until most blocks contain no match.
    assert!(masked(2) > masked(1) && masked(300) < masked(100), "{:?}", [1, 2, 100, 300].map(masked));
    let packed = |every: usize, queries| costs(3_000 / every).packed_scan(queries);
    assert!(packed(1, 1_000) > masked(1), "packing all costs more than scanning few lists");
    assert!(packed(20, 1_000) < masked(20) && packed(20, 2) > masked(20), "many queries share the cost of packing");
}

/// Overflowing distances are within every limit, larger ones are not.
#[test]
fn limits_exclude_larger_distances() {
    let mut codebook = Codebook::new(2, 1);
    codebook.values_mut().iter_mut().zip(0_u8..).for_each(|(x, i)| *x = f32::from(i % 7));
    let table = distance_table::DistanceTable::new(&codebook, &[1.0, 0.5], Metric::Euclid);
    let sums = table.bytes.iter().map(|byte| u16::from(*byte));
    let limit = table.limit(4.0, 1.0).expect("some are within the limit");
    for sum in sums {
        let distance = 1.0 + table.step * f32::from(sum);
        assert!((sum <= limit) == (distance <= 4.0), "{sum} at {distance}, limit {limit}");
    }
    assert_eq!((table.limit(1.0, 1.1), table.limit(f32::INFINITY, 5.0)), (None, Some(u16::MAX)));
    assert_eq!(table.limit(f32::INFINITY, f32::INFINITY), Some(u16::MAX), "the distance is unknown");
}

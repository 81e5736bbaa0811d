use super::*;
use crate::kernels::InstructionSet;
use crate::neighbor::{Neighbor, distance};
use crate::testing::Rng;

fn space(metric: Metric) -> Space {
    Space::new(metric, &InstructionSet::best().kernels().expect("supported"))
}

/// Distances by code of vectors from the first of them.
fn distances(metric: Metric, is_short: bool, vectors: &[Vec<f32>]) -> Vec<f32> {
    let space = space(metric);
    let mut codes = Codes::new(vectors[0].len(), 5, is_short);
    for (node, vector) in (0..).zip(vectors) {
        codes.put(node, &codes.code_of(vector, space.kernels()));
    }
    let mut query = Query::default();
    codes.set_query_node(0, &mut query);
    (0..vectors.len() as u32).map(|node| codes.distance(&query, node, space)).collect()
}

#[test]
fn distances_by_codes_are_near_those_by_vectors() {
    for dim in [1, 2, 3, 31, 32, 33, 100, 127, 384, 1_000] {
        let mut rng = Rng::new(dim as u64);
        // One dominant component, which the rotation distributes.
        let mut vector = || (0..dim).map(|i| rng.normal() * if i == 0 { 20.0 } else { 1.0 }).collect::<Vec<_>>();
        let vectors: Vec<Vec<f32>> = (0..20).map(|_| vector()).collect();
        let length = |v: &[f32]| v.iter().map(|x| x * x).sum::<f32>().sqrt();
        for metric in [Metric::Dot, Metric::Euclid] {
            for (vector, found) in vectors.iter().zip(distances(metric, false, &vectors)) {
                let right = space(metric).distance(&vectors[0], vector);
                let unit = length(&vectors[0]) * length(vector) + length(&vectors[0]).powi(2) + length(vector).powi(2);
                assert!((found - right).abs() < 0.01 * unit, "{dim}, {metric:?}: {found} beside {right}");
            }
        }
    }
}

#[test]
fn extreme_vectors_have_codes() {
    let dim = 40;
    let all = |x: f32| vec![x; dim];
    let vectors = [all(0.0), all(1e-45), all(1e-30), all(3e38), all(-3e38), all(1.0)];
    for metric in [Metric::Cosine, Metric::Dot, Metric::Euclid] {
        let found = [false, true].map(|is_short| distances(metric, is_short, &vectors)).concat();
        assert!(found.iter().all(|x| !x.is_nan()), "{metric:?}: {found:?}");
        assert_eq!(found[0], 0.0, "{metric:?}: from itself");
    }
    // Overflowing vectors are far from all.
    for is_short in [false, true] {
        let found = distances(Metric::Euclid, is_short, &[all(3e38), all(3e38), all(1.0)]);
        assert_eq!(found, [f32::INFINITY; 3]);
    }
}

#[test]
fn binary_codes_estimate_the_distance() {
    for dim in [33, 100, 384] {
        let space = space(Metric::Euclid);
        let mut rng = Rng::new(9);
        let vectors: Vec<Vec<f32>> = (0..200).map(|_| (0..dim).map(|_| rng.normal()).collect()).collect();
        let mut codes = Codes::new(dim, 5, false);
        for (node, vector) in (0..).zip(&vectors) {
            codes.put(node, &codes.code_of(vector, space.kernels()));
        }
        let (mut query, mut rotated) = (BinaryQuery::default(), Vec::new());
        codes.rotate(&vectors[0], space.kernels(), &mut rotated);
        codes.set_binary_query(&rotated, space.kernels(), &mut query);
        // In the standard deviations that are claimed.
        let error = |neighbor: Neighbor| {
            let error = neighbor.distance() - space.distance(&vectors[0], &vectors[neighbor.id() as usize]);
            error / (codes.binary_slack(&query, neighbor.id(), space) / DEVIATIONS)
        };
        let others: Vec<u32> = (1..200).collect();
        let binary_distances = codes.binary_distances(&query, &others, space);
        assert_eq!(binary_distances.len(), others.len());
        // Packed codes give the same distances, however many fill the last group.
        for some in [&others[..], &others[..8], &others[..1], &[]] {
            assert_eq!(
                codes.packed_binary_distances(&query, &codes.pack_binary(some), space),
                binary_distances[..some.len()]
            );
        }
        let binary_distances =
            others.iter().zip(binary_distances).map(|(node, rank)| Neighbor::new(distance(rank), *node));
        let (sum, squares) =
            binary_distances.map(error).fold((0.0, 0.0), |(sum, squares), x| (sum + x, squares + x * x));
        let (mean, deviation): (f32, f32) = (sum / 199.0, (squares / 199.0_f32).sqrt());
        assert!(mean.abs() < 0.3 && (0.7..1.3).contains(&deviation), "{dim}: {mean} and {deviation}");
    }
}

/// With Euclid, the squared length of 8-bit codes is that of the decoded vector: a slightly larger error, and a bias.
#[test]
fn errors_are_normal_with_the_claimed_deviation() {
    for (is_short, dim) in [(false, 200), (true, 33), (true, 100), (true, 384)] {
        let mut rng = Rng::new(dim as u64);
        let mut draw = || (0..dim).map(|i| rng.normal() + f32::from(i < 5)).collect::<Vec<f32>>();
        let vectors: Vec<Vec<f32>> = (0..300).map(|_| draw()).collect();
        let mut codes = Codes::new(dim, 3, is_short);
        for metric in [Metric::Dot, Metric::Euclid] {
            let space = space(metric);
            for (node, vector) in (0..).zip(&vectors) {
                codes.put(node, &codes.code_of(vector, space.kernels()));
            }
            let (mut sum, mut squares, mut count) = (0.0, 0.0, 0.0);
            let (mut query, mut rotated) = (Query::default(), Vec::new());
            for _ in 0..20 {
                let vector_of_query = draw();
                codes.rotate(&vector_of_query, space.kernels(), &mut rotated);
                codes.set_query(&rotated, space.kernels(), &mut query);
                for (node, vector) in (0..).zip(&vectors) {
                    let error = codes.distance(&query, node, space) - space.distance(&vector_of_query, vector);
                    // In the standard deviations that are claimed.
                    let error = error / (codes.slack(&query, node, space) / DEVIATIONS);
                    (sum, squares, count) = (sum + error, squares + error * error, count + 1.0);
                }
            }
            let (mean, deviation) = (sum / count, (squares / count).sqrt());
            let what = format!("{dim} dimensions, {metric:?}, {is_short}: {mean} and {deviation}");
            assert!(mean.abs() < 0.3 && (0.7..1.3).contains(&deviation), "{what}");
        }
    }
}

/// Batches give the same distances as single nodes, whatever an earlier batch left.
#[test]
fn batches_are_compared_as_single_nodes_are() {
    for (dim, is_short) in [(33, false), (33, true), (129, false), (129, true), (384, true)] {
        let mut rng = Rng::new(4);
        let vectors: Vec<Vec<f32>> = (0..300).map(|_| (0..dim).map(|_| rng.normal()).collect()).collect();
        for set in InstructionSet::ALL.into_iter().filter(|set| set.is_supported()) {
            let kernels = set.kernels().expect("supported");
            for metric in [Metric::Cosine, Metric::Dot, Metric::Euclid] {
                let space = Space::new(metric, &kernels);
                let mut codes = Codes::new(dim, 5, is_short);
                (0..).zip(&vectors).for_each(|(node, vector)| codes.put(node, &codes.code_of(vector, &kernels)));
                let (mut query, mut rotated, mut batch) = (Query::default(), Vec::new(), CodeBatch::default());
                codes.rotate(&vectors[7], &kernels, &mut rotated);
                codes.set_query(&rotated, &kernels, &mut query);
                for len in [CodeBatch::NODES, 1, 16, 17, 40] {
                    let nodes: Vec<u32> = (0..len).map(|_| rng.below(300) as u32).collect();
                    let neighbor = |node: &u32| Neighbor::new(codes.distance(&query, *node, space), *node);
                    let mut right: Vec<Neighbor> = nodes.iter().map(neighbor).collect();
                    let worst = right[len / 2].distance();
                    right.retain(|neighbor| neighbor.distance() <= worst);
                    codes.load_batch(&nodes, &mut batch);
                    let mut found = Vec::new();
                    codes.compare_batch(&query, &mut batch, worst, space, |neighbor| found.push(neighbor));
                    assert_eq!(found, right, "{dim}, {set:?}, {metric:?}, {len}");
                }
            }
        }
    }
}

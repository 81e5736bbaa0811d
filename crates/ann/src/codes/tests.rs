use super::*;
use crate::kernels::InstructionSet;
use crate::testing::Rng;

fn space(metric: Metric) -> Space {
    Space::new(metric, &InstructionSet::best().kernels().expect("supported"))
}

/// Vectors as codes, and their distances by codes from the first of them.
fn distances(metric: Metric, vectors: &[Vec<f32>]) -> Vec<f32> {
    let space = space(metric);
    let mut codes = Codes::new(vectors[0].len(), 5);
    for (node, vector) in (0..).zip(vectors) {
        codes.put(node, &codes.code_of(vector, space.kernels()));
    }
    let mut query = Query::default();
    codes.aim_at(0, &mut query);
    (0..vectors.len() as u32).map(|node| codes.distance(&query, node, space)).collect()
}

#[test]
fn distances_by_codes_are_near_those_by_vectors() {
    for dim in [1, 2, 3, 31, 32, 33, 100, 127, 384, 1_000] {
        let mut rng = Rng::new(dim as u64);
        // One number that outweighs all others: turning spreads it.
        let mut vector = || (0..dim).map(|i| rng.normal() * if i == 0 { 20.0 } else { 1.0 }).collect::<Vec<_>>();
        let vectors: Vec<Vec<f32>> = (0..20).map(|_| vector()).collect();
        let length = |v: &[f32]| v.iter().map(|x| x * x).sum::<f32>().sqrt();
        for metric in [Metric::Dot, Metric::Euclid] {
            for (vector, found) in vectors.iter().zip(distances(metric, &vectors)) {
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
        let found = distances(metric, &vectors);
        assert!(found.iter().all(|x| !x.is_nan()), "{metric:?}: {found:?}");
        assert_eq!(found[0], 0.0, "{metric:?}: from itself");
    }
    // What overflows is far from all.
    let found = distances(Metric::Euclid, &[all(3e38), all(3e38), all(1.0)]);
    assert_eq!(found, [f32::INFINITY; 3]);
}

#[test]
fn half_of_a_code_tells_about_the_distance() {
    let (dim, space) = (384, space(Metric::Euclid));
    let mut rng = Rng::new(9);
    let vectors: Vec<Vec<f32>> = (0..200).map(|_| (0..dim).map(|_| rng.normal()).collect()).collect();
    let mut codes = Codes::new(dim, 5);
    for (node, vector) in (0..).zip(&vectors) {
        codes.put(node, &codes.code_of(vector, space.kernels()));
    }
    assert!(codes.sketch_lines() > 0 && Codes::new(100, 5).sketch_lines() == 0);
    let mut query = Query::default();
    codes.aim_at(0, &mut query);
    let off = |node| codes.sketched(&query, node, space) / codes.distance(&query, node, space) - 1.0;
    let off = (1..200).map(|node| off(node).abs()).sum::<f32>() / 199.0;
    assert!(off < 0.06, "sketches are off by {off}");
}

mod filtered;

use super::*;
use crate::kernels::InstructionSet;
use crate::metric::Metric;
use crate::testing::{Rng, clustered, normalized};

fn vector(rng: &mut Rng, dim: usize) -> Vec<f32> {
    (0..dim).map(|_| rng.normal()).collect()
}

#[test]
fn a_list_gives_back_the_codes_it_was_given() {
    let (parts, padded) = (7, 8 * 16);
    let mut rng = Rng::new(1);
    let mut list = inverted_list::InvertedList::default();
    let mut model: Vec<(u32, Vec<u8>)> = Vec::new();
    for node in 0..3_000 {
        if rng.below(3) > 0 || model.is_empty() {
            let codes: Vec<u8> = (0..parts).map(|_| rng.below(16) as u8).collect();
            assert_eq!(list.push(node, &codes, Some(node as f32), padded), model.len());
            model.push((node, codes));
        } else {
            let at = rng.below(model.len());
            let moved = list.swap_remove(at, parts, padded);
            model.swap_remove(at);
            assert_eq!(moved, model.get(at).map(|(node, _)| *node));
        }
        assert_eq!(list.len(), model.len());
        assert_eq!(list.blocks(padded).count(), model.len().div_ceil(32));
    }
    for (at, (node, codes)) in model.iter().enumerate() {
        assert_eq!((list.nodes()[at], list.bias(at)), (*node, Some(*node as f32)));
        assert_eq!((0..parts).map(|part| list.code(at, part, padded)).collect::<Vec<_>>(), *codes);
        assert!(list.min_bias(at / 32) <= *node as f32);
    }
}

/// Approximate distances of centroids agree with exact ones.
#[test]
fn centroids_as_bytes_are_about_as_far_as_they_are() {
    let dim = 10;
    let mut rng = Rng::new(5);
    for set in InstructionSet::ALL.into_iter().filter(|set| set.is_supported()) {
        let kernels = set.kernels().expect("supported");
        // All far from the origin, and one component much larger than the others.
        let mut neighbor =
            || -> Vec<f32> { (0..dim).map(|i| 1_000.0 + rng.normal() * if i == 3 { 50.0 } else { 1.0 }).collect() };
        let rows: Vec<f32> = (0..37).flat_map(|_| neighbor()).collect();
        let coarse = CoarseQuantizer::new(dim, rows, &kernels);
        for _ in 0..50 {
            let x = neighbor();
            let mut distances = coarse_quantizer::CentroidDistances::default();
            coarse.squared_distances(&x, &kernels, &mut distances);
            let exact: Vec<f32> = (0..37).map(|list| (kernels.squared_euclid)(&x, coarse.row(list))).collect();
            let alike = exact[0] - distances.by_list[0];
            for (as_op, exact) in distances.by_list.iter().zip(&exact) {
                assert!((as_op + alike - exact).abs() < 100.0, "{as_op} + {alike} beside {exact}");
            }
            let least = exact.iter().copied().fold(f32::INFINITY, f32::min);
            let first = coarse.nearest(&x, &kernels, &mut distances);
            assert!(exact[first] < least + 50.0, "{} beside {least}", exact[first]);
            let away: Vec<f32> = x.iter().zip(coarse.row(first)).map(|(x, c)| x - c).collect();
            let loss = |list: usize| {
                let along: f32 = x.iter().zip(coarse.row(list)).zip(&away).map(|((x, c), away)| (x - c) * away).sum();
                exact[list] + along * along / away.iter().map(|x| x * x).sum::<f32>()
            };
            let least = (0..37).filter(|list| *list != first).map(loss).fold(f32::INFINITY, f32::min);
            let second = coarse.second(&x, first, &kernels, &mut distances).expect("there are others");
            assert!(second != first && loss(second) < least + 100.0, "{} beside {least}", loss(second));
        }
        let centroid = coarse.row(7).to_vec();
        let mut distances = coarse_quantizer::CentroidDistances::default();
        assert_eq!(coarse.nearest(&centroid, &kernels, &mut distances), 7);
        assert_eq!(coarse.second(&centroid, 7, &kernels, &mut distances), None, "nothing is far from its centroid");
    }
}

/// After any sequence of updates every node is at its positions, once per list and on at most two lists.
#[test]
fn nodes_are_at_their_positions() {
    let (dim, space) = (6, Space::best(Metric::Euclid));
    let mut rng = Rng::new(6);
    let rows = (0..9 * dim).map(|_| rng.normal()).collect();
    let mut lists = InvertedLists::new(0, CoarseQuantizer::new(dim, rows, space.kernels()), Codebook::new(dim, 3));
    let mut held = vec![false; 300];
    for _ in 0..4_000 {
        let node = rng.below(300) as u32;
        if std::mem::replace(&mut held[node as usize], rng.below(2) == 0) {
            lists.remove(node);
        }
        if held[node as usize] {
            let entries = lists.assign(&vector(&mut rng, dim), space);
            assert_eq!(entries.len(), LISTS_PER_POINT);
            assert!(entries.iter().all(|entry| lists.add(node, entry, space)));
            assert!(!lists.add(node, &entries[0], space), "it is on that list");
        }
    }
    assert!((0..300).all(|node| lists.contains(node) == held[node as usize]));
    let mut entries: Vec<(u32, usize)> = lists
        .lists
        .iter()
        .enumerate()
        .flat_map(|(at, list)| list.nodes().iter().map(move |node| (*node, at)))
        .collect();
    entries.sort_unstable();
    let count = entries.len();
    entries.dedup();
    assert_eq!((entries.len(), count), (count, LISTS_PER_POINT * held.iter().filter(|held| **held).count()));
    // A removal finds the entry by its position, and removes no other.
    for node in (0..300).filter(|node| held[*node as usize]) {
        lists.remove(node);
        assert!(lists.lists.iter().all(|list| !list.nodes().contains(&node)));
    }
    assert!(lists.lists.iter().all(|list| list.len() == 0));
}

/// Distances from the table equal distances to the decoded vector, up to rounding to bytes.
#[test]
fn tables_measure_the_distance_to_decoded_vectors() {
    let dim = 21;
    let mut rng = Rng::new(2);
    let mut codebook = Codebook::new(dim, 6);
    codebook.values_mut().iter_mut().for_each(|x| *x = rng.normal());
    for metric in [Metric::Dot, Metric::Euclid, Metric::Manhattan] {
        for _ in 0..200 {
            let (query, other) = (vector(&mut rng, dim), vector(&mut rng, dim));
            let (mut codes, mut decoded) = (Vec::new(), Vec::new());
            codebook.encode(&other, &mut codes);
            codebook.decode(&codes, &mut decoded);
            let pairs = || query.iter().zip(&decoded);
            let right: f32 = match metric {
                Metric::Euclid => pairs().map(|(q, x)| -2.0 * q * x).sum(),
                Metric::Manhattan => pairs().map(|(q, x)| (q - x).abs()).sum(),
                Metric::Dot | Metric::Cosine => pairs().map(|(q, x)| -q * x).sum(),
            };
            let table = distance_table::DistanceTable::new(&codebook, &query, metric);
            let byte = |(part, code): (usize, &u8)| f32::from(table.bytes[part * 16 + usize::from(*code)]);
            let as_op = table.least + table.step * codes.iter().enumerate().map(byte).sum::<f32>();
            let rounding = table.step * codes.len() as f32;
            assert!((as_op - right).abs() <= rounding, "{metric:?}: {as_op} beside {right}, step {}", table.step);
        }
    }
}

/// Coordinate descent ends where no other code of a single part has a smaller weighted error.
#[test]
fn codes_for_inner_products_are_a_local_optimum() {
    let (dim, weight) = (16, 5.0);
    let mut rng = Rng::new(3);
    let mut codebook = Codebook::new(dim, 8);
    codebook.values_mut().iter_mut().for_each(|x| *x = rng.normal());
    let loss = |codes: &[u8], vector: &[f32], direction: &[f32]| {
        let mut decoded = Vec::new();
        codebook.decode(codes, &mut decoded);
        let error: Vec<f32> = vector.iter().zip(&decoded).map(|(x, y)| x - y).collect();
        let along: f32 = error.iter().zip(direction).map(|(e, d)| e * d).sum();
        error.iter().map(|e| e * e).sum::<f32>() + (weight - 1.0) * along * along
    };
    let (mut better, mut stuck) = (0, 0);
    for _ in 0..100 {
        let x = vector(&mut rng, dim);
        let direction = normalized(x.clone());
        let (mut plain, mut codes) = (Vec::new(), Vec::new());
        codebook.encode(&x, &mut plain);
        codebook.encode_along(&x, &direction, weight, &mut codes);
        let reachable_nodes = loss(&codes, &x, &direction);
        assert!(reachable_nodes <= loss(&plain, &x, &direction) * 1.0001);
        better += usize::from(reachable_nodes < loss(&plain, &x, &direction));
        let packed_neighbors = (0..codes.len()).flat_map(|part| (0..16).map(move |code| (part, code)));
        let improves = |(part, code): (usize, u8)| {
            let mut other = codes.clone();
            other[part] = code;
            loss(&other, &x, &direction) < reachable_nodes * 0.9999
        };
        stuck += usize::from(!packed_neighbors.into_iter().any(improves));
    }
    assert!(better > 80 && stuck > 90, "{better} better than without weight, {stuck} at their optimum, of 100");
}

/// Lists trained and filled by any instruction set, at once or step by step, have the same bytes.
#[test]
fn lists_do_not_depend_on_the_instruction_set_nor_on_when_work_is_done() {
    let vectors = clustered(4, 1_500, 11, 9);
    let made = |set: InstructionSet, metric, most: usize| {
        let kind = crate::Kind::IvfPq { nlist: Some(30), subquantizers: None };
        let mut index =
            crate::Index::new(crate::Config { seed: 1, ..crate::Config::new(11, metric, kind) }).expect("valid");
        index.use_instruction_set(set).expect("supported");
        for (slot, vector) in (0..).zip(&vectors) {
            index.upsert(slot % 1_100, vector).expect("valid");
            index.merge(most);
        }
        index.merge(usize::MAX);
        let mut bytes = Vec::new();
        index.write_to(&mut bytes).expect("memory");
        bytes
    };
    for metric in [Metric::Cosine, Metric::Euclid, Metric::Manhattan] {
        let expected = made(InstructionSet::Scalar, metric, 0);
        for set in InstructionSet::ALL.into_iter().filter(|set| set.is_supported()) {
            for most in [1, 7, 10_000] {
                assert!(made(set, metric, most) == expected, "{set:?}, {metric:?}, {most} steps a time");
            }
        }
    }
}

/// Nodes on the nearest lists are kept, and so is a node without a list.
#[test]
fn nodes_are_prefiltered_by_their_lists() {
    let dim = 6;
    let mut rng = Rng::new(9);
    let rows: Vec<f32> = (0..64 * dim).map(|_| rng.normal()).collect();
    for metric in [Metric::Cosine, Metric::Dot, Metric::Euclid, Metric::Manhattan] {
        let space = Space::best(metric);
        let coarse = CoarseQuantizer::new(dim, rows.clone(), space.kernels());
        let mut lists = InvertedLists::new(0, coarse, Codebook::new(dim, 3));
        for node in 0..3_000 {
            lists.assign(&vector(&mut rng, dim), space).iter().for_each(|entry| _ = lists.add(node, entry, space));
        }
        for count in [1, 40, 700] {
            let query = vector(&mut rng, dim);
            // The last one has no list.
            let all: Vec<u32> = (0..=3_000).step_by(3).collect();
            let mut left = all.clone();
            lists.prefilter(&query, &mut left, count, space);
            assert!(left.len() >= count && left.len() < all.len() && left.is_sorted(), "{metric:?}, {}", left.len());
            assert!(left.contains(&3_000) && left.iter().all(|node| all.contains(node)));
            let to_list = |list: usize| match metric {
                Metric::Cosine | Metric::Dot => -(space.kernels().dot)(&query, lists.coarse.row(list)),
                _ => Space::best(Metric::Euclid).distance(&query, lists.coarse.row(list)),
            };
            let far = |node: &u32| lists.lists_of(*node).map(to_list).fold(f32::INFINITY, f32::min);
            let kept = left.iter().filter(|node| **node < 3_000).map(far).fold(f32::NEG_INFINITY, f32::max);
            let gone = all.iter().filter(|node| !left.contains(node)).map(far).fold(f32::INFINITY, f32::min);
            // Centroids are compared as bytes.
            assert!(kept <= gone + 0.15, "{metric:?}: one {kept} away stayed, one {gone} away did not");
        }
    }
}

use super::graph::NO_NODE;
use super::*;
use crate::config::Metric;
use crate::kernels::InstructionSet;
use crate::queue::{BLOCK, Queue};
use crate::queued::Queued;
use crate::testing::{Rng, clustered};
use crate::{Config, Index, Kind};

impl Queued<Graph> {
    /// Everything that must hold of a graph at any time.
    fn check(&self) {
        let graph = &self.structure;
        let used: Vec<u32> = (0..graph.nodes()).filter(|node| graph.ancestry(*node).0 != 0).collect();
        assert_eq!(used.len(), self.points.len());
        let mut reached = graph.reached();
        reached.sort_unstable();
        assert_eq!(reached, used, "every node can be reached");
        let mut roots = 0;
        for &node in &used {
            let (birth, parent) = graph.ancestry(node);
            if parent == NO_NODE {
                roots += 1;
            } else {
                assert!(graph.ancestry(parent).0 < birth, "parents are older");
                assert!(graph.links(parent, 0).contains(&node) && graph.links(node, 0).contains(&parent));
            }
            let children = used.iter().filter(|x| graph.ancestry(**x).1 == node).count();
            assert_eq!(children, usize::from(graph.children[node as usize]));
            assert!(children <= graph.m);
            for floor in 0..=graph.level(node) {
                let links = graph.links(node, floor);
                assert!(links.len() <= graph.room(floor) && !links.contains(&node));
                for x in links {
                    assert!(
                        graph.level(*x) >= floor && graph.incoming(*x, floor).contains(&node),
                        "reverse lists are true"
                    );
                }
                for x in graph.incoming(node, floor) {
                    assert!(graph.links(x, floor).contains(&node), "reverse lists are true");
                }
            }
        }
        assert_eq!(roots, usize::from(!used.is_empty()));
        let highest = used.iter().map(|node| graph.level(*node)).max();
        assert_eq!(graph.entry.map(|entry| graph.level(entry)), highest);
    }
}

fn space() -> Space {
    Space::new(Metric::Euclid, &InstructionSet::best().kernels().expect("supported"))
}

/// Churns with `m` small, so that links are scarce and the tree has to work.
fn churn(seed: u64, vectors: &[Vec<f32>], keep: f32) {
    let mut rng = Rng::new(seed);
    let mut subject = Queued::new(vectors[0].len(), Graph::new(2 + rng.below(4), 10, seed));
    for round in 0..6_000 {
        let slot = rng.below(400) as u32;
        if rng.unit() < keep {
            subject.upsert(slot, &vectors[rng.below(vectors.len())], space());
        } else {
            subject.delete(slot, space());
        }
        subject.merge(rng.below(4), space());
        if round % 500 == 0 {
            subject.check();
        }
        assert!(round % 100 != 0 || subject.reachable() == subject.len(), "seed {seed}, round {round}");
    }
    for slot in 0..400 {
        subject.delete(slot, space());
    }
    for slot in 0..BLOCK as u32 {
        subject.upsert(500 + slot, &vectors[0], space());
    }
    subject.merge(usize::MAX, space());
    subject.check();
    assert_eq!(subject.reachable(), subject.len(), "seed {seed}");
}

#[test]
fn every_live_point_is_reachable_whatever_comes_and_goes() {
    for seed in 0..6 {
        churn(seed, &clustered(seed, 2_000, 6, 8), 0.6);
        churn(seed, &clustered(seed, 2_000, 6, 8), 0.35);
        // Few places, many points on each.
        churn(seed, &clustered(seed, 5, 2, 2), 0.6);
    }
}

#[test]
fn children_of_a_crowded_root_find_parents_when_it_leaves() {
    // A star: all are nearest to the first, none to each other.
    for dim in [40, 200] {
        let mut graph = Graph::new(2, 50, 1);
        let mut points = Points::new(dim);
        for slot in 0..dim {
            let mut vector = vec![0.0; dim];
            if slot > 0 {
                vector[slot] = 1.0;
            }
            let node = points.claim(slot as u32, &vector);
            graph.link_in(node, Vectors { rows: &points.vectors, space: space() });
        }
        // Oldest first, youngest first, and from the middle.
        let order: Vec<u32> = (0..dim as u32 / 2).chain((dim as u32 / 2 + 5..dim as u32).rev()).collect();
        let mut subject = Queued::from_parts(points, graph, Queue::new(dim));
        subject.check();
        for slot in order {
            let node = subject.points.node_of(slot).expect("held");
            subject.structure.take_out(node, Vectors { rows: &subject.points.vectors, space: space() });
            subject.points.release(slot);
            subject.check();
        }
    }
}

/// The bytes after some thousand operations, merged in portions that `portion` draws.
fn bytes_of(set: InstructionSet, mut portion: impl FnMut(usize) -> usize) -> Vec<u8> {
    let config = Config { dim: 19, metric: Metric::Cosine, kind: Kind::Hnsw { m: 6, ef_construct: 30 }, seed: 99 };
    let vectors = clustered(5, 4_000, 19, 12);
    let mut rng = Rng::new(17);
    let mut index = Index::new(config).expect("valid");
    index.use_instruction_set(set).expect("supported");
    for i in 0..5_000 {
        let slot = rng.below(900) as u32;
        if rng.below(4) == 0 {
            index.delete(slot);
        } else {
            // Now and then the vector it has already.
            let same = index.vector(slot).filter(|_| slot.is_multiple_of(7)).map(<[f32]>::to_vec);
            index.upsert(slot, same.as_ref().unwrap_or(&vectors[rng.below(4_000)])).expect("valid");
        }
        index.merge(portion(i));
        if i == 2_500 {
            let mut bytes = Vec::new();
            index.write_to(&mut bytes).expect("memory");
            index = Index::read_from(&mut bytes.as_slice()).expect("our own bytes");
            index.use_instruction_set(set).expect("supported");
        }
    }
    index.merge(usize::MAX);
    let mut bytes = Vec::new();
    index.write_to(&mut bytes).expect("memory");
    bytes
}

#[test]
fn the_graph_depends_on_operations_alone() {
    let expected = bytes_of(InstructionSet::Scalar, |_| 1);
    for set in InstructionSet::ALL.into_iter().filter(|set| set.is_supported()) {
        assert!(bytes_of(set, |_| usize::MAX) == expected, "merged at once, {set:?}");
        assert!(bytes_of(set, |_| 0) == expected, "merged at the end, {set:?}");
        let mut rng = Rng::new(4);
        assert!(bytes_of(set, |i| if i % 700 == 0 { rng.below(900) } else { rng.below(2) }) == expected, "{set:?}");
    }
}

#[test]
fn a_block_nets_to_the_last_operation_of_each_slot() {
    let mut queue = Queue::new(1);
    for i in 0..BLOCK as u32 {
        queue.push(i % 3, (i != 254).then_some([i as f32].as_slice()));
    }
    // A later block overwrites slot 0; the first still needs its own vector.
    queue.push(0, Some(&[1_000.0]));
    let mut steps = Vec::new();
    while let Some(step) = queue.take() {
        steps.push((step.slot, step.vector, step.is_newest));
    }
    assert_eq!(steps, [(1, Some(vec![253.0]), true), (2, None, true), (0, Some(vec![255.0]), false)]);
    assert_eq!(queue.pending(), 1);
}

use super::graph::NO_NODE;
use super::*;
use crate::buffered::BufferedIndex;
use crate::buffered::write_buffer::WriteBuffer;
use crate::kernels::InstructionSet;
use crate::metric::Metric;
use crate::params::BLOCK;
use crate::testing::{Rng, clustered};
use crate::{Config, Datatype, Index, Kind, VectorStorage};

impl BufferedIndex<Hnsw> {
    /// Checks all invariants of the graph.
    fn check(&self) {
        let graph = &self.index.graph;
        let used: Vec<u32> = (0..graph.nodes()).filter(|node| graph.seq_and_parent(*node).0 != 0).collect();
        assert_eq!(used.len(), self.points.len());
        let mut reachable_nodes = graph.reachable_nodes();
        reachable_nodes.sort_unstable();
        assert_eq!(reachable_nodes, used, "every node can be reached");
        let mut roots = 0;
        for &node in &used {
            let (insert_seq, parent) = graph.seq_and_parent(node);
            if parent == NO_NODE {
                roots += 1;
            } else {
                assert!(graph.seq_and_parent(parent).0 < insert_seq, "parents are older");
                assert!(graph.links(parent, 0).contains(&node) && graph.links(node, 0).contains(&parent));
            }
            let children = used.iter().filter(|x| graph.seq_and_parent(**x).1 == node).count();
            assert_eq!(children, usize::from(graph.children[node as usize]));
            assert!(children <= graph.m);
            for level in 0..=graph.level(node) {
                let links = graph.links(node, level);
                assert!(links.len() <= graph.max_links(level) && !links.contains(&node));
                for x in links {
                    assert!(
                        graph.level(*x) >= level && graph.incoming(*x, level).contains(&node),
                        "incoming links are known"
                    );
                }
                for x in graph.incoming(node, level) {
                    assert!(graph.links(x, level).contains(&node), "incoming links are known");
                }
            }
        }
        assert_eq!(roots, usize::from(!used.is_empty()));
        let highest = used.iter().map(|node| graph.level(*node)).max();
        assert_eq!(graph.entry.map(|entry| graph.level(entry)), highest);
    }
}

fn hnsw(dim: usize, m: usize, ef_construct: usize, seed: u64) -> Hnsw {
    let kind = Kind::Hnsw { m, ef_construct };
    Hnsw::new(&Config { profile: Profile::Speed, seed, ..Config::new(dim, Metric::Euclid, kind) }, m, ef_construct)
}

fn points(dim: usize) -> Points {
    Points::new(dim, Datatype::Float32, VectorStorage::Memory)
}

fn space() -> Space {
    Space::new(Metric::Euclid, &InstructionSet::best().kernels().expect("supported"))
}

/// Random inserts and deletes with a small `m`, so that links are scarce and the tree is needed.
fn churn(seed: u64, vectors: &[Vec<f32>], keep: f32) {
    let mut rng = Rng::new(seed);
    let dim = vectors[0].len();
    let mut subject = BufferedIndex::new(points(dim), hnsw(dim, 2 + rng.below(4), 10, seed));
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
fn every_live_point_is_reachable_after_inserts_and_deletes() {
    for seed in 0..6 {
        churn(seed, &clustered(seed, 2_000, 6, 8), 0.6);
        churn(seed, &clustered(seed, 2_000, 6, 8), 0.35);
        // With codes, and with packed neighbors.
        churn(seed, &clustered(seed, 2_000, 40, 8), 0.5);
        churn(seed, &clustered(seed, 500, 200, 8), 0.6);
        // Few distinct vectors, with many points each.
        churn(seed, &clustered(seed, 5, 2, 2), 0.6);
    }
}

#[test]
fn children_of_a_deleted_root_get_parents() {
    // A star: all nodes are nearest to the first one, none to another.
    for dim in [40, 200] {
        let mut graph = hnsw(dim, 2, 50, 1);
        let mut points = points(dim);
        for slot in 0..dim {
            let mut vector = vec![0.0; dim];
            if slot > 0 {
                vector[slot] = 1.0;
            }
            let node = points.insert(slot as u32, &vector);
            let vectors = Vectors { rows: &points.vectors, space: space() };
            let plan = graph.plan_insert(&vector, 1, vectors);
            graph.insert(node, &plan, vectors);
        }
        // Oldest first, youngest first, and from the middle.
        let order: Vec<u32> = (0..dim as u32 / 2).chain((dim as u32 / 2 + 5..dim as u32).rev()).collect();
        let mut subject = BufferedIndex::from_parts(points, graph, WriteBuffer::default(), Vec::new());
        subject.check();
        for slot in order {
            let node = subject.points.node_of(slot).expect("held");
            subject.index.remove(node, Vectors { rows: &subject.points.vectors, space: space() });
            subject.points.remove(slot);
            subject.check();
        }
    }
}

/// Snapshot after some thousand operations, merged in portions that `portion` draws.
fn bytes_of((dim, profile): (usize, Profile), set: InstructionSet, mut portion: impl FnMut(usize) -> usize) -> Vec<u8> {
    let kind = Kind::Hnsw { m: 6, ef_construct: 30 };
    let config = Config { profile, seed: 99, ..Config::new(dim, Metric::Cosine, kind) };
    let vectors = clustered(5, 4_000, dim, 12);
    let mut rng = Rng::new(17);
    let mut index = Index::new(config).expect("valid");
    index.use_instruction_set(set).expect("supported");
    for i in 0..5_000 {
        let slot = rng.below(900) as u32;
        if rng.below(4) == 0 {
            index.delete(slot);
        } else {
            // Some writes repeat the stored vector.
            let same = index.vector(slot).filter(|_| slot.is_multiple_of(7)).map(std::borrow::Cow::into_owned);
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
    for subject in [(19, Profile::Speed), (200, Profile::Speed), (75, Profile::Memory)] {
        let expected = bytes_of(subject, InstructionSet::Scalar, |_| 1);
        for set in InstructionSet::ALL.into_iter().filter(|set| set.is_supported()) {
            assert!(bytes_of(subject, set, |_| usize::MAX) == expected, "merged at once, {set:?}");
            assert!(bytes_of(subject, set, |_| 0) == expected, "merged at the end, {set:?}");
            let mut rng = Rng::new(4);
            let portion = |i| if i % 700 == 0 { rng.below(900) } else { rng.below(3) };
            assert!(bytes_of(subject, set, portion) == expected, "{set:?}");
        }
    }
}

/// Updated rows equal rows that are built anew.
#[test]
fn packed_neighbors_are_a_function_of_links_and_codes() {
    let dim = 200;
    let vectors = clustered(3, 1_000, dim, 8);
    let mut rng = Rng::new(8);
    let mut subject = BufferedIndex::new(points(dim), hnsw(dim, 4, 20, 1));
    for _ in 0..3_000 {
        let slot = rng.below(600) as u32;
        if rng.below(3) == 0 {
            subject.delete(slot, space());
        } else {
            subject.upsert(slot, &vectors[rng.below(1_000)], space());
        }
        subject.merge(3, space());
    }
    let BufferedIndex { points, index, .. } = &subject;
    let (kept, codes) = (index.packed_neighbors.as_ref().expect("rows"), index.codes.as_ref().expect("codes"));
    let mut anew = PackedNeighbors::new(codes.width(), 8);
    let vectors = Vectors { rows: &points.vectors, space: space() };
    let query: Vec<f32> = (0..dim).map(|_| rng.normal()).collect();
    let (mut packed_query, mut prepared) = (packed_neighbors::PackedQuery::default(), PreparedQuery::default());
    let scorer = index.scorer(vectors);
    scorer.set_query_vector(&query, &mut prepared);
    kept.set_query(prepared.rotated(), space().kernels(), &mut packed_query);
    let (mut input, mut off) = (0, 0.0);
    for node in (0..points.nodes()).filter(|node| points.is_occupied(*node)) {
        let surrounding = index.graph.surrounding(node, scorer, &mut PreparedQuery::default());
        anew.update(node, &surrounding, codes, space());
        let here = scorer.neighbor(&prepared, node).distance();
        let estimates = |rows: &PackedNeighbors| {
            let mut as_op = Vec::new();
            rows.estimate_distances(node, here, f32::INFINITY, &packed_query, space().kernels(), |link, estimate| {
                as_op.push((link, estimate.to_bits()));
            });
            as_op.sort_unstable();
            as_op
        };
        let as_op = estimates(kept);
        assert_eq!(as_op, estimates(&anew));
        assert!(index.graph.links(node, 0).iter().all(|link| surrounding.contains(link)));
        let mut surrounding = surrounding;
        surrounding.sort_unstable();
        assert_eq!(as_op.iter().map(|(link, _)| *link).collect::<Vec<_>>(), surrounding);
        for (link, estimate) in as_op {
            let right = scorer.neighbor(&prepared, link).distance();
            off += f64::from((f32::from_bits(estimate) - right).abs() / right);
            input += 1;
        }
    }
    let off = off / f64::from(input);
    assert!(off < 0.12, "{input} estimates are off by {off:.3} on average");
}

/// Format version 1 stores no plans.
#[test]
fn missing_plans_are_made() {
    let mut subject = BufferedIndex::new(points(2), hnsw(2, 4, 20, 1));
    for slot in 0..2 * BLOCK as u32 {
        subject.upsert(slot, &[slot as f32, 0.0], space());
    }
    subject.merge(BLOCK + BLOCK + BLOCK + 100, space());
    let BufferedIndex { points, index, buffer, .. } = subject;
    assert_eq!(buffer.taken(), 100);
    let read = BufferedIndex::from_parts(points, index, buffer, (0..100).map(|_| None).collect());
    assert_eq!(read.insert_plans().map(<[_]>::len), Some(0));
    let mut read = read.with_missing_plans(space());
    assert_eq!(read.insert_plans().map(<[_]>::len), Some(BLOCK - 100));
    read.merge(usize::MAX, space());
    assert_eq!((read.len(), read.reachable()), (2 * BLOCK, 2 * BLOCK));
}

#[test]
fn threads_change_no_graph() {
    let bytes = |dim, threads| {
        let kind = Kind::Hnsw { m: 6, ef_construct: 30 };
        let config = Config { profile: Profile::Speed, seed: 5, ..Config::new(dim, Metric::Dot, kind) };
        let vectors = clustered(6, 1_500, dim, 12);
        let mut index = Index::new(config).expect("valid");
        let points = || (0..).zip(&vectors).map(|(slot, vector): (u32, &Vec<f32>)| (slot % 1_200, vector.as_slice()));
        index.extend(points(), threads, |_| ()).expect("valid");
        assert_eq!((index.pending(), index.reachable()), (0, 1_200));
        let mut bytes = Vec::new();
        index.write_to(&mut bytes).expect("memory");
        bytes
    };
    for dim in [12, 196] {
        let expected = bytes(dim, 1);
        assert!([2, 3, 300].into_iter().all(|threads| bytes(dim, threads) == expected));
    }
}

#[test]
fn a_block_nets_to_the_last_operation_of_each_slot() {
    let mut buffer = WriteBuffer::default();
    for i in 0..BLOCK as u32 {
        buffer.push(i % 3, (i != 254).then_some([i as f32].as_slice()));
    }
    // A later block overwrites slot 0; the first still needs its own vector.
    buffer.push(0, Some(&[1_000.0]));
    let mut steps = Vec::new();
    while let Some(step) = buffer.take() {
        steps.push((step.slot, step.vector.map(|vector| vector[0]), step.is_newest));
    }
    assert_eq!(steps, [(1, Some(253.0), true), (2, None, true), (0, Some(255.0), false)]);
    assert_eq!(buffer.pending(), 1);
}

use super::graph::NO_NODE;
use super::*;
use crate::config::Metric;
use crate::kernels::InstructionSet;
use crate::queue::{BLOCK, Queue};
use crate::queued::Queued;
use crate::testing::{Rng, clustered};
use crate::{Config, Datatype, Index, Kind, VectorStorage};

impl Queued<Hnsw> {
    /// Everything that must hold of a graph at any time.
    fn check(&self) {
        let graph = &self.structure.graph;
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
                        "who links to a node is known"
                    );
                }
                for x in graph.incoming(node, floor) {
                    assert!(graph.links(x, floor).contains(&node), "who links to a node is known");
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

/// Churns with `m` small, so that links are scarce and the tree has to work.
fn churn(seed: u64, vectors: &[Vec<f32>], keep: f32) {
    let mut rng = Rng::new(seed);
    let dim = vectors[0].len();
    let mut subject = Queued::new(points(dim), hnsw(dim, 2 + rng.below(4), 10, seed));
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
        // With codes, and rows of neighbours.
        churn(seed, &clustered(seed, 2_000, 40, 8), 0.5);
        churn(seed, &clustered(seed, 500, 200, 8), 0.6);
        // Few places, many points on each.
        churn(seed, &clustered(seed, 5, 2, 2), 0.6);
    }
}

#[test]
fn children_of_a_crowded_root_find_parents_when_it_leaves() {
    // A star: all are nearest to the first, none to each other.
    for dim in [40, 200] {
        let mut graph = hnsw(dim, 2, 50, 1);
        let mut points = points(dim);
        for slot in 0..dim {
            let mut vector = vec![0.0; dim];
            if slot > 0 {
                vector[slot] = 1.0;
            }
            let node = points.claim(slot as u32, &vector);
            let vectors = Vectors { rows: &points.vectors, space: space() };
            let survey = graph.survey(&vector, 1, vectors);
            graph.insert(node, &survey, vectors);
        }
        // Oldest first, youngest first, and from the middle.
        let order: Vec<u32> = (0..dim as u32 / 2).chain((dim as u32 / 2 + 5..dim as u32).rev()).collect();
        let mut subject = Queued::from_parts(points, graph, Queue::default(), Vec::new());
        subject.check();
        for slot in order {
            let node = subject.points.node_of(slot).expect("held");
            subject.structure.remove(node, Vectors { rows: &subject.points.vectors, space: space() });
            subject.points.release(slot);
            subject.check();
        }
    }
}

/// The bytes after some thousand operations, merged in portions that `portion` draws.
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
            // Now and then the vector it has already.
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

/// What rows say of links is what they would say if they were made anew.
#[test]
fn rows_of_neighbours_are_a_function_of_links_and_codes() {
    let dim = 200;
    let vectors = clustered(3, 1_000, dim, 8);
    let mut rng = Rng::new(8);
    let mut subject = Queued::new(points(dim), hnsw(dim, 4, 20, 1));
    for _ in 0..3_000 {
        let slot = rng.below(600) as u32;
        if rng.below(3) == 0 {
            subject.delete(slot, space());
        } else {
            subject.upsert(slot, &vectors[rng.below(1_000)], space());
        }
        subject.merge(3, space());
    }
    let Queued { points, structure, .. } = &subject;
    let (kept, codes) = (structure.neighbours.as_ref().expect("rows"), structure.codes.as_ref().expect("codes"));
    let mut anew = Neighbours::new(codes.width(), 8);
    let vectors = Vectors { rows: &points.vectors, space: space() };
    let query: Vec<f32> = (0..dim).map(|_| rng.normal()).collect();
    let (mut signs, mut target) = (neighbours::Signs::default(), Target::default());
    let measure = structure.measure(vectors);
    measure.aim_at_vector(&query, &mut target);
    kept.aim(target.rotated(), space().kernels(), &mut signs);
    let (mut judged, mut off) = (0, 0.0);
    for node in (0..points.nodes()).filter(|node| points.is_held(*node)) {
        let around = structure.graph.around(node, measure, &mut Target::default());
        anew.refresh(node, &around, codes, space());
        let here = measure.near(&target, node).distance();
        let tell = |rows: &Neighbours| {
            let mut told = Vec::new();
            rows.judge(node, here, f32::INFINITY, &signs, space().kernels(), |link, estimate| {
                told.push((link, estimate.to_bits()));
            });
            told.sort_unstable();
            told
        };
        let told = tell(kept);
        assert_eq!(told, tell(&anew));
        assert!(structure.graph.links(node, 0).iter().all(|link| around.contains(link)));
        let mut around = around;
        around.sort_unstable();
        assert_eq!(told.iter().map(|(link, _)| *link).collect::<Vec<_>>(), around);
        for (link, estimate) in told {
            let right = measure.near(&target, link).distance();
            off += f64::from((f32::from_bits(estimate) - right).abs() / right);
            judged += 1;
        }
    }
    let off = off / f64::from(judged);
    assert!(off < 0.12, "{judged} estimates are off by {off:.3} on average");
}

/// As the first format left them, which sought places one by one.
#[test]
fn places_that_are_missing_are_sought() {
    let mut subject = Queued::new(points(2), hnsw(2, 4, 20, 1));
    for slot in 0..2 * BLOCK as u32 {
        subject.upsert(slot, &[slot as f32, 0.0], space());
    }
    subject.merge(BLOCK + BLOCK + BLOCK + 100, space());
    let Queued { points, structure, queue, .. } = subject;
    assert_eq!(queue.taken(), 100);
    let read = Queued::from_parts(points, structure, queue, (0..100).map(|_| None).collect());
    assert_eq!(read.surveys().map(<[_]>::len), Some(0));
    let mut read = read.with_places(space());
    assert_eq!(read.surveys().map(<[_]>::len), Some(BLOCK - 100));
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
    let mut queue = Queue::default();
    for i in 0..BLOCK as u32 {
        queue.push(i % 3, (i != 254).then_some([i as f32].as_slice()));
    }
    // A later block overwrites slot 0; the first still needs its own vector.
    queue.push(0, Some(&[1_000.0]));
    let mut steps = Vec::new();
    while let Some(step) = queue.take() {
        steps.push((step.slot, step.vector.map(|vector| vector[0]), step.is_newest));
    }
    assert_eq!(steps, [(1, Some(253.0), true), (2, None, true), (0, Some(255.0), false)]);
    assert_eq!(queue.pending(), 1);
}

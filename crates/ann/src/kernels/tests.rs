use super::*;
use crate::testing::Rng;

/// The definition and every supported twin give one result, bit by bit.
fn check(a: &[f32], b: &[f32], what: &str) {
    for set in InstructionSet::ALL.into_iter().filter(|set| set.is_supported()) {
        let twin = set.kernels().expect("supported");
        for (name, twin, definition) in [
            ("dot", twin.dot, scalar::KERNELS.dot),
            ("squared_euclid", twin.squared_euclid, scalar::KERNELS.squared_euclid),
            ("manhattan", twin.manhattan, scalar::KERNELS.manhattan),
        ] {
            let (found, expected) = (twin(a, b), definition(a, b));
            let equal = found.to_bits() == expected.to_bits() || (found.is_nan() && expected.is_nan());
            assert!(equal, "{name} on {set:?}, {what}: {found:e}, defined as {expected:e}");
        }
    }
}

#[test]
fn twins_equal_the_definition_at_every_length_and_alignment() {
    let mut rng = Rng::new(1);
    let a: Vec<f32> = (0..1_200).map(|_| rng.normal()).collect();
    let b: Vec<f32> = (0..1_200).map(|_| rng.normal()).collect();
    for len in 0..=1_100 {
        for (i, j) in [(0, 0), (1, 0), (0, 3), (5, 2), (8, 8), (15, 7)] {
            check(&a[i..i + len], &b[j..j + len], &format!("length {len}, starts {i} and {j}"));
        }
    }
}

#[test]
fn twins_equal_the_definition_where_numbers_are_extreme() {
    let odd = [0.0, -0.0, 1e-45, -1e-45, 1e-30, -1e-30, 1.0, -1.0, 3e38, -3e38, f32::MIN_POSITIVE];
    for seed in 0..2_000 {
        let mut rng = Rng::new(seed);
        let len = 1 + rng.below(130);
        let mut draw = || (0..len).map(|_| odd[rng.below(odd.len())]).collect::<Vec<_>>();
        check(&draw(), &draw(), &format!("seed {seed}"));
    }
}

#[test]
fn the_definition_computes_what_its_names_say() {
    let mut rng = Rng::new(2);
    for len in [1, 2, 63, 64, 65, 100, 1_000] {
        let a: Vec<f32> = (0..len).map(|_| rng.normal()).collect();
        let b: Vec<f32> = (0..len).map(|_| rng.normal()).collect();
        let sum = |f: fn(f64, f64) -> f64| -> f64 { a.iter().zip(&b).map(|(x, y)| f((*x).into(), (*y).into())).sum() };
        let close = |x: f32, y: f64| assert!((f64::from(x) - y).abs() < 1e-4 * (1.0 + y.abs()), "{x} beside {y}");
        close(scalar::dot(&a, &b), sum(|x, y| x * y));
        close(scalar::squared_euclid(&a, &b), sum(|x, y| (x - y) * (x - y)));
        close(scalar::manhattan(&a, &b), sum(|x, y| (x - y).abs()));
    }
}

#[test]
fn the_environment_may_rule_out_the_faster_sets() {
    assert_eq!(InstructionSet::best_up_to(Some("scalar")), InstructionSet::Scalar);
    assert!(InstructionSet::best_up_to(Some("avx2")) <= InstructionSet::Avx2);
    assert_eq!(InstructionSet::best_up_to(None), InstructionSet::best_up_to(Some("nonsense")));
    assert!(InstructionSet::best().is_supported());
}

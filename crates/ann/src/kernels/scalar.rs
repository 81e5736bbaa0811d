//! Reference implementation of all kernels.

use crate::storage::datatype::Number;

use super::{Kernels, binary, binary_columns, columns, estimates, fast_scan, insert, int4, int8, lanes};

/// Independent sums: four AVX-512 registers, eight AVX2 registers.
const LANES: usize = 64;

pub(super) const KERNELS: Kernels = Kernels {
    dot,
    squared_euclid,
    manhattan,
    dot_bf16: dot,
    squared_euclid_bf16: squared_euclid,
    manhattan_bf16: manhattan,
    columns: columns::scalar,
    fast_scan: fast_scan::scalar,
    binary_differences: |rows, words, planes| binary::scalar(rows, words, planes),
    binary_columns: |columns, words, planes, sums| binary_columns::scalar(columns, words, planes, sums),
    int8_dot: int8::scalar,
    int8_dots: |codes, query| codes.map(|code| int8::scalar(code, query)),
    int4_dot: int4::scalar,
    hadamard: |window, signs| lanes::hadamard(window, signs),
    largest: |numbers| lanes::largest(numbers),
    to_bytes: |numbers, inverse, bytes| lanes::to_bytes(numbers, inverse, bytes),
    sign_sums: |numbers, inverse, largest, table| lanes::sign_sums(numbers, inverse, largest, table),
    code_difference: |from, to, positive| lanes::code_difference(from, to, positive),
    estimates: estimates::scalar,
    insert: insert::scalar,
};

/// Inner product.
pub(super) fn dot<T: Number>(a: &[f32], b: &[T]) -> f32 {
    fold(a, b, |sum, x, y| x.mul_add(y, sum))
}

/// Sum of squared differences.
pub(super) fn squared_euclid<T: Number>(a: &[f32], b: &[T]) -> f32 {
    fold(a, b, |sum, x, y| {
        let difference = x - y;
        difference.mul_add(difference, sum)
    })
}

/// Sum of absolute differences.
pub(super) fn manhattan<T: Number>(a: &[f32], b: &[T]) -> f32 {
    fold(a, b, |sum, x, y| sum + (x - y).abs())
}

/// Sums element `i` into lane `i % 64`, then the lanes.
#[inline(always)]
fn fold<T: Number>(a: &[f32], b: &[T], step: impl Fn(f32, f32, f32) -> f32) -> f32 {
    debug_assert_eq!(a.len(), b.len());
    let mut lanes = [0.0; LANES];
    for (a, b) in a.chunks(LANES).zip(b.chunks(LANES)) {
        for ((lane, x), y) in lanes.iter_mut().zip(a).zip(b) {
            *lane = step(*lane, *x, y.wide());
        }
    }
    reduce(&mut lanes)
}

/// The tree: quarters of 16 lanes as (0 + 1) + (2 + 3), then halves, from 16 lanes down to one.
///
/// The last `+ 0.0` turns negative zero into positive zero. A twin adds the zeros of a padded register where this code
/// adds nothing, which changes signs of zeros only.
fn reduce(lanes: &mut [f32; LANES]) -> f32 {
    for i in 0..16 {
        lanes[i] = (lanes[i] + lanes[i + 16]) + (lanes[i + 32] + lanes[i + 48]);
    }
    for half in [8, 4, 2, 1] {
        for i in 0..half {
            lanes[i] += lanes[i + half];
        }
    }
    lanes[0] + 0.0
}

//! Twins of [`super::scalar`] in NEON: sixteen registers are the 64 lanes.
#![expect(unsafe_code, reason = "vector loads take raw pointers")]

use std::arch::aarch64::*;

use half::bf16;

use crate::storage::datatype::Number;

/// `f32` in a register.
const WIDTH: usize = 4;
/// Registers.
const SUMS: usize = 16;

macro_rules! kernel {
    ($name:ident, $number:ty, $load:ident, $step:ident) => {
        #[target_feature(enable = "neon")]
        pub(super) fn $name(a: &[f32], b: &[$number]) -> f32 {
            debug_assert_eq!(a.len(), b.len());
            let (a_blocks, a_rest) = a.as_chunks::<{ SUMS * WIDTH }>();
            let (b_blocks, b_rest) = b.as_chunks::<{ SUMS * WIDTH }>();
            let mut sums = [vdupq_n_f32(0.0); SUMS];
            for (a, b) in a_blocks.iter().zip(b_blocks) {
                for ((sum, x), y) in sums.iter_mut().zip(a.as_chunks().0).zip(b.as_chunks().0) {
                    *sum = $step(*sum, load(x), $load(y));
                }
            }
            if a_rest.is_empty() {
                return reduce(sums);
            }
            // A copy to index into: sums with an address would not stay in registers.
            let mut indexed = sums;
            let (a, a_last) = a_rest.as_chunks();
            let (b, b_last) = b_rest.as_chunks();
            for ((sum, x), y) in indexed.iter_mut().zip(a).zip(b) {
                *sum = $step(*sum, load(x), $load(y));
            }
            if !a_last.is_empty() {
                let sum = &mut indexed[a.len()];
                *sum = $step(*sum, load(&padded(a_last)), $load(&padded(b_last)));
            }
            reduce(indexed)
        }
    };
}

kernel!(dot, f32, load, dot_step);
kernel!(squared_euclid, f32, load, squared_euclid_step);
kernel!(manhattan, f32, load, manhattan_step);
kernel!(dot_bf16, bf16, load_bf16, dot_step);
kernel!(squared_euclid_bf16, bf16, load_bf16, squared_euclid_step);
kernel!(manhattan_bf16, bf16, load_bf16, manhattan_step);

#[inline]
#[target_feature(enable = "neon")]
fn dot_step(sum: float32x4_t, x: float32x4_t, y: float32x4_t) -> float32x4_t {
    vfmaq_f32(sum, x, y)
}

#[inline]
#[target_feature(enable = "neon")]
fn squared_euclid_step(sum: float32x4_t, x: float32x4_t, y: float32x4_t) -> float32x4_t {
    let difference = vsubq_f32(x, y);
    vfmaq_f32(sum, difference, difference)
}

#[inline]
#[target_feature(enable = "neon")]
fn manhattan_step(sum: float32x4_t, x: float32x4_t, y: float32x4_t) -> float32x4_t {
    vaddq_f32(sum, vabdq_f32(x, y))
}

#[inline]
#[target_feature(enable = "neon")]
fn load(x: &[f32; WIDTH]) -> float32x4_t {
    // SAFETY: the array has the four values that are read.
    unsafe { vld1q_f32(x.as_ptr()) }
}

#[inline]
#[target_feature(enable = "neon")]
fn load_bf16(x: &[bf16; WIDTH]) -> float32x4_t {
    // SAFETY: the array has the four values that are read.
    let numbers = unsafe { vld1_u16(x.as_ptr().cast()) };
    vreinterpretq_f32_u32(vshll_n_u16::<16>(numbers))
}

/// Fewer values than a register holds, padded with zeros.
#[inline]
fn padded<T: Number>(values: &[T]) -> [T; WIDTH] {
    std::array::from_fn(|i| values.get(i).copied().unwrap_or_else(T::zeroed))
}

/// The tree of the reference: four registers are a quarter of 16 lanes.
#[inline]
#[target_feature(enable = "neon")]
fn reduce(sums: [float32x4_t; SUMS]) -> f32 {
    let [a, b, c, d] =
        [0, 1, 2, 3].map(|i| vaddq_f32(vaddq_f32(sums[i], sums[i + 4]), vaddq_f32(sums[i + 8], sums[i + 12])));
    let four = vaddq_f32(vaddq_f32(a, c), vaddq_f32(b, d));
    let two = vadd_f32(vget_low_f32(four), vget_high_f32(four));
    vpadds_f32(two) + 0.0
}

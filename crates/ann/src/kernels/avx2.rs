//! Twins of [`super::scalar`] in AVX2 and FMA: eight registers are the 64 lanes.
#![expect(unsafe_code, reason = "vector loads take raw pointers")]

use std::arch::x86_64::*;

use half::bf16;

/// `f32` in a register.
const WIDTH: usize = 8;

/// From `WIDTH - n` on: the mask of the first `n` lanes.
const MASKS: [i32; 2 * WIDTH] = [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0];

macro_rules! kernel {
    ($name:ident, $number:ty, $load:ident, $load_some:ident, $step:ident) => {
        #[target_feature(enable = "avx2,fma")]
        pub(super) fn $name(a: &[f32], b: &[$number]) -> f32 {
            debug_assert_eq!(a.len(), b.len());
            let len = a.len().min(b.len());
            let (a, b) = (a.as_ptr(), b.as_ptr());
            let mut sums = [_mm256_setzero_ps(); 8];
            let whole = len - len % (8 * WIDTH);
            for block in (0..whole).step_by(8 * WIDTH) {
                for (i, sum) in sums.iter_mut().enumerate() {
                    let at = block + i * WIDTH;
                    // SAFETY: `at + WIDTH <= whole <= len`, and both slices hold `len` values.
                    let (x, y) = unsafe { (_mm256_loadu_ps(a.add(at)), $load(b.add(at))) };
                    *sum = $step(*sum, x, y);
                }
            }
            for (i, sum) in sums.iter_mut().enumerate() {
                let at = whole + i * WIDTH;
                if at >= len {
                    break;
                }
                let some = WIDTH.min(len - at);
                // SAFETY: `0 < some`, and both slices hold `some` values more from `at` on.
                let (x, y) = unsafe { (load_some(a.add(at), some), $load_some(b.add(at), some)) };
                *sum = $step(*sum, x, y);
            }
            reduce(sums)
        }
    };
}

kernel!(dot, f32, _mm256_loadu_ps, load_some, dot_step);
kernel!(squared_euclid, f32, _mm256_loadu_ps, load_some, squared_euclid_step);
kernel!(manhattan, f32, _mm256_loadu_ps, load_some, manhattan_step);
kernel!(dot_bf16, bf16, load_bf16, load_some_bf16, dot_step);
kernel!(squared_euclid_bf16, bf16, load_bf16, load_some_bf16, squared_euclid_step);
kernel!(manhattan_bf16, bf16, load_bf16, load_some_bf16, manhattan_step);

/// # Safety
/// `some` numbers lie there, 1 to `WIDTH`; what is behind them becomes zeros.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn load_some(at: *const f32, some: usize) -> __m256 {
    // SAFETY: eight masks from there are inside the table, and they keep the load from touching memory after the
    // numbers.
    unsafe { _mm256_maskload_ps(at, _mm256_loadu_si256(MASKS.as_ptr().add(WIDTH - some).cast())) }
}

/// # Safety
/// `WIDTH` numbers lie there.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn load_bf16(at: *const bf16) -> __m256 {
    // SAFETY: as the caller promises.
    let numbers = unsafe { _mm_loadu_si128(at.cast()) };
    _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(numbers)))
}

/// # Safety
/// As of [`load_some`].
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn load_some_bf16(at: *const bf16, some: usize) -> __m256 {
    let mut numbers = [bf16::ZERO; WIDTH];
    // SAFETY: `some` numbers lie there, and there is room for `WIDTH`.
    unsafe {
        numbers.as_mut_ptr().copy_from_nonoverlapping(at, some);
        load_bf16(numbers.as_ptr())
    }
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn dot_step(sum: __m256, x: __m256, y: __m256) -> __m256 {
    _mm256_fmadd_ps(x, y, sum)
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn squared_euclid_step(sum: __m256, x: __m256, y: __m256) -> __m256 {
    let difference = _mm256_sub_ps(x, y);
    _mm256_fmadd_ps(difference, difference, sum)
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn manhattan_step(sum: __m256, x: __m256, y: __m256) -> __m256 {
    let magnitude = _mm256_andnot_ps(_mm256_set1_ps(-0.0), _mm256_sub_ps(x, y));
    _mm256_add_ps(sum, magnitude)
}

/// The tree of the reference: registers 0, 2, 4, 6 hold the lower halves of the quarters of 16 lanes.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn reduce(sums: [__m256; 8]) -> f32 {
    let lower = _mm256_add_ps(_mm256_add_ps(sums[0], sums[2]), _mm256_add_ps(sums[4], sums[6]));
    let upper = _mm256_add_ps(_mm256_add_ps(sums[1], sums[3]), _mm256_add_ps(sums[5], sums[7]));
    reduce_register(_mm256_add_ps(lower, upper))
}

/// From 8 lanes to one.
#[inline]
#[target_feature(enable = "avx")]
pub(super) fn reduce_register(sum: __m256) -> f32 {
    let four = _mm_add_ps(_mm256_castps256_ps128(sum), _mm256_extractf128_ps::<1>(sum));
    let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    let one = _mm_add_ss(two, _mm_shuffle_ps::<1>(two, two));
    _mm_cvtss_f32(one) + 0.0
}

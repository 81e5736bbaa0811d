//! Twins of [`super::scalar`] in AVX-512 F: four registers are the 64 lanes.
#![expect(unsafe_code, reason = "vector loads take raw pointers")]

use std::arch::x86_64::*;

use half::bf16;

/// `f32` in a register.
const WIDTH: usize = 16;

macro_rules! kernel {
    ($name:ident, $number:ty, $load:ident, $load_some:ident, $step:ident) => {
        #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
        pub(super) fn $name(a: &[f32], b: &[$number]) -> f32 {
            debug_assert_eq!(a.len(), b.len());
            let len = a.len().min(b.len());
            let (a, b) = (a.as_ptr(), b.as_ptr());
            let mut sums = [_mm512_setzero_ps(); 4];
            let whole = len - len % (4 * WIDTH);
            for block in (0..whole).step_by(4 * WIDTH) {
                for (i, sum) in sums.iter_mut().enumerate() {
                    let at = block + i * WIDTH;
                    // SAFETY: `at + WIDTH <= whole <= len`, and both slices hold `len` values.
                    let (x, y) = unsafe { (_mm512_loadu_ps(a.add(at)), $load(b.add(at))) };
                    *sum = $step(*sum, x, y);
                }
            }
            for (i, sum) in sums.iter_mut().enumerate() {
                let at = whole + i * WIDTH;
                if at >= len {
                    break;
                }
                let mask = u16::MAX >> WIDTH.saturating_sub(len - at);
                // SAFETY: `at < len`, and the mask keeps the load from touching values from `len` on.
                let x = unsafe { _mm512_maskz_loadu_ps(mask, a.add(at)) };
                // SAFETY: as above, `b` being as long as `a`.
                let y = unsafe { $load_some(mask, b.add(at)) };
                *sum = $step(*sum, x, y);
            }
            reduce(sums)
        }
    };
}

kernel!(dot, f32, _mm512_loadu_ps, _mm512_maskz_loadu_ps, dot_step);
kernel!(squared_euclid, f32, _mm512_loadu_ps, _mm512_maskz_loadu_ps, squared_euclid_step);
kernel!(manhattan, f32, _mm512_loadu_ps, _mm512_maskz_loadu_ps, manhattan_step);
kernel!(dot_bf16, bf16, load_bf16, load_some_bf16, dot_step);
kernel!(squared_euclid_bf16, bf16, load_bf16, load_some_bf16, squared_euclid_step);
kernel!(manhattan_bf16, bf16, load_bf16, load_some_bf16, manhattan_step);

/// # Safety
/// `WIDTH` numbers lie there.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn load_bf16(at: *const bf16) -> __m512 {
    // SAFETY: as the caller promises.
    widened(unsafe { _mm256_loadu_si256(at.cast()) })
}

/// # Safety
/// Numbers lie there as far as the mask is on; the others become zeros.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
unsafe fn load_some_bf16(mask: u16, at: *const bf16) -> __m512 {
    // SAFETY: as the caller promises.
    widened(unsafe { _mm256_maskz_loadu_epi16(mask, at.cast()) })
}

#[inline]
#[target_feature(enable = "avx512f")]
fn widened(numbers: __m256i) -> __m512 {
    _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(numbers)))
}

#[inline]
#[target_feature(enable = "avx512f")]
fn dot_step(sum: __m512, x: __m512, y: __m512) -> __m512 {
    _mm512_fmadd_ps(x, y, sum)
}

#[inline]
#[target_feature(enable = "avx512f")]
fn squared_euclid_step(sum: __m512, x: __m512, y: __m512) -> __m512 {
    let difference = _mm512_sub_ps(x, y);
    _mm512_fmadd_ps(difference, difference, sum)
}

#[inline]
#[target_feature(enable = "avx512f")]
fn manhattan_step(sum: __m512, x: __m512, y: __m512) -> __m512 {
    _mm512_add_ps(sum, _mm512_abs_ps(_mm512_sub_ps(x, y)))
}

/// The tree of the reference.
#[inline]
#[target_feature(enable = "avx512f")]
fn reduce([a, b, c, d]: [__m512; 4]) -> f32 {
    let sum = _mm512_add_ps(_mm512_add_ps(a, b), _mm512_add_ps(c, d));
    let upper = _mm256_castpd_ps(_mm512_extractf64x4_pd::<1>(_mm512_castps_pd(sum)));
    super::avx2::reduce_register(_mm256_add_ps(_mm512_castps512_ps256(sum), upper))
}

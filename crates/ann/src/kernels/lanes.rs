//! Loops over lanes that the compiler vectorizes for each instruction set. No sum depends on the width of a register,
//! so results are the same bits.

/// Independent sums.
pub(crate) const LANES: usize = 16;

/// One round of a rotation in place: each component of the window times its sign, then the Walsh-Hadamard transform of
/// the window, scaled to preserve lengths. `signs.len() == window.len()`, a power of two.
pub(crate) type Hadamard = fn(window: &mut [f32], signs: &[f32]);

/// The largest magnitude; infinite if a number is not finite.
pub(crate) type Largest = fn(numbers: &[f32]) -> f32;

/// Each component times `inverse`, rounded, with 128 added; products must be between -127 and 127. Returns the sum of
/// squares, without the 128.
pub(crate) type ToBytes = fn(numbers: &[f32], inverse: f32, bytes: &mut [u8]) -> u64;

/// For every four components 16 bytes: let the components be multiplied by `inverse`, rounded, and at most `largest`.
/// Byte `i` is their sum with the signs of the bits of `i` (1: plus), with `4 largest` added. `table.len() == 4 *
/// numbers.len()`.
pub(crate) type SignSums = fn(numbers: &[f32], inverse: f32, largest: f32, table: &mut [u8]);

/// Per component: whether the difference of two codes is positive; returns sums over the difference.
pub(crate) type CodeDifference = fn(from: (&[u8], f32), to: (&[u8], f32), positive: &mut [u8]) -> DifferenceSums;

/// Sums over the components of a difference `to - from`.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct DifferenceSums {
    /// Squares.
    pub square: f32,
    /// Magnitudes.
    pub magnitude: f32,
    /// Products with the component of `from`.
    pub along: f32,
    /// Components of `from`, each with the sign of the difference.
    pub signed: f32,
}

#[inline(always)]
pub(super) fn hadamard(window: &mut [f32], signs: &[f32]) {
    window.iter_mut().zip(signs).for_each(|(x, sign)| *x *= sign);
    let mut half = window.len() / 2;
    // First between registers, then within them.
    while half >= LANES || (half > 0 && window.len() < LANES) {
        for block in window.chunks_exact_mut(2 * half) {
            let (a, b) = block.split_at_mut(half);
            for (a, b) in a.iter_mut().zip(b) {
                (*a, *b) = (*a + *b, *a - *b);
            }
        }
        half /= 2;
    }
    let (chunks, _) = window.as_chunks_mut::<LANES>();
    for chunk in chunks {
        *chunk = butterfly::<1>(butterfly::<2>(butterfly::<4>(butterfly::<8>(*chunk))));
    }
    let scale = 1.0 / (window.len() as f32).sqrt();
    window.iter_mut().for_each(|x| *x *= scale);
}

/// Sums and differences of components at distance `HALF`.
#[inline(always)]
fn butterfly<const HALF: usize>(x: [f32; LANES]) -> [f32; LANES] {
    let mut sums = [0.0; LANES];
    for i in 0..LANES {
        sums[i] = x[i ^ HALF] + if i & HALF == 0 { x[i] } else { -x[i] };
    }
    sums
}

/// The nearest integer, ties to even, in the lowest 22 bits: the addition leaves no room for a fraction. NaN becomes
/// zero there. A cast is not vectorized.
#[inline(always)]
pub(crate) fn nearest(x: f32) -> u32 {
    const NO_FRACTION: f32 = 1.5 * (1 << 23) as f32;
    (x + NO_FRACTION).to_bits()
}

/// The rest of a slice, padded to a chunk.
#[inline(always)]
fn filled<T: Copy>(rest: &[T], with: T) -> [T; LANES] {
    let mut chunk = [with; LANES];
    chunk[..rest.len()].copy_from_slice(rest);
    chunk
}

#[inline(always)]
pub(super) fn largest(numbers: &[f32]) -> f32 {
    let mut lanes = [0_u32; LANES];
    let (chunks, rest) = numbers.as_chunks();
    for chunk in chunks.iter().chain([&filled(rest, 0.0)]) {
        for (lane, x) in lanes.iter_mut().zip(chunk) {
            // Magnitudes have the order of their bits, and NaN comes last.
            *lane = (*lane).max(x.abs().to_bits());
        }
    }
    let most = lanes.into_iter().fold(0, u32::max);
    f32::from_bits(most.min(f32::INFINITY.to_bits()))
}

#[inline(always)]
pub(super) fn to_bytes(numbers: &[f32], inverse: f32, bytes: &mut [u8]) -> u64 {
    // 65,536 components make 4,096 squares per lane.
    let mut squares = [0; LANES];
    let (chunks, rest) = numbers.as_chunks();
    let (into, last) = bytes[..numbers.len()].as_chunks_mut();
    for (into, chunk) in into.iter_mut().zip(chunks) {
        *into = chunk_to_bytes(chunk, inverse, &mut squares);
    }
    last.copy_from_slice(&chunk_to_bytes(&filled(rest, 0.0), inverse, &mut squares)[..rest.len()]);
    squares.into_iter().map(u64::from).sum()
}

#[inline(always)]
fn chunk_to_bytes(numbers: &[f32; LANES], inverse: f32, squares: &mut [u32; LANES]) -> [u8; LANES] {
    let mut bytes = [0; LANES];
    for (lane, byte) in bytes.iter_mut().enumerate() {
        let whole = nearest(numbers[lane] * inverse) as i8;
        *byte = whole.cast_unsigned() ^ 128;
        squares[lane] += (i32::from(whole) * i32::from(whole)).cast_unsigned();
    }
    bytes
}

#[inline(always)]
pub(super) fn sign_sums(numbers: &[f32], inverse: f32, largest: f32, table: &mut [u8]) {
    let (fours, _) = numbers.as_chunks::<4>();
    let (lanes, _) = table.as_chunks_mut::<16>();
    for (four, lane) in fours.iter().zip(lanes) {
        let [a, b, c, d] = four.map(|x| nearest(x * inverse) as i16);
        let above = 4 * largest as i16;
        for (code, byte) in lane.iter_mut().enumerate() {
            let sign = |i: usize, x: i16| if code >> i & 1 == 1 { x } else { -x };
            *byte = (above + sign(0, a) + sign(1, b) + sign(2, c) + sign(3, d)) as u8;
        }
    }
}

#[inline(always)]
pub(super) fn code_difference(from: (&[u8], f32), to: (&[u8], f32), positive: &mut [u8]) -> DifferenceSums {
    let mut sums = [[0.0; LANES]; 4];
    let scales = (from.1, to.1);
    let ((a, a_rest), (b, b_rest)) = (from.0.as_chunks(), to.0.as_chunks());
    let (into, last) = positive[..from.0.len()].as_chunks_mut();
    for (into, (a, b)) in into.iter_mut().zip(a.iter().zip(b)) {
        *into = chunk_difference((a, b), scales, &mut sums);
    }
    // The difference of the padding is zero.
    let rest = chunk_difference((&filled(a_rest, 128), &filled(b_rest, 128)), scales, &mut sums);
    last.copy_from_slice(&rest[..a_rest.len()]);
    let [square, magnitude, along, signed] = sums.map(|lanes| lanes.iter().sum());
    DifferenceSums { square, magnitude, along, signed }
}

#[inline(always)]
fn chunk_difference(
    (a, b): (&[u8; LANES], &[u8; LANES]),
    scales: (f32, f32),
    sums: &mut [[f32; LANES]; 4],
) -> [u8; LANES] {
    let mut positive = [0; LANES];
    for lane in 0..LANES {
        let here = (f32::from(a[lane]) - 128.0) * scales.0;
        let difference = (f32::from(b[lane]) - 128.0) * scales.1 - here;
        positive[lane] = u8::from(difference > 0.0);
        sums[0][lane] += difference * difference;
        sums[1][lane] += difference.abs();
        sums[2][lane] += difference * here;
        sums[3][lane] += if difference > 0.0 { here } else { -here };
    }
    positive
}

#[cfg(target_arch = "x86_64")]
pub(super) mod x86 {
    macro_rules! twins {
        ($set:ident, $features:literal) => {
            pub mod $set {
                use super::super::DifferenceSums;

                #[target_feature(enable = $features)]
                pub fn hadamard(window: &mut [f32], signs: &[f32]) {
                    super::super::hadamard(window, signs);
                }

                #[target_feature(enable = $features)]
                pub fn largest(numbers: &[f32]) -> f32 {
                    super::super::largest(numbers)
                }

                #[target_feature(enable = $features)]
                pub fn to_bytes(numbers: &[f32], inverse: f32, bytes: &mut [u8]) -> u64 {
                    super::super::to_bytes(numbers, inverse, bytes)
                }

                #[target_feature(enable = $features)]
                pub fn sign_sums(numbers: &[f32], inverse: f32, largest: f32, table: &mut [u8]) {
                    super::super::sign_sums(numbers, inverse, largest, table);
                }

                #[target_feature(enable = $features)]
                pub fn code_difference(from: (&[u8], f32), to: (&[u8], f32), positive: &mut [u8]) -> DifferenceSums {
                    super::super::code_difference(from, to, positive)
                }
            }
        };
    }

    twins!(avx2, "avx2");
    twins!(avx512, "avx512f,avx512bw,avx512vl,avx512dq");
}

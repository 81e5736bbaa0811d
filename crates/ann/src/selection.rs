//! Selection of the smallest of many numbers without sorting.

/// Independent minima, for vector instructions.
const LANES: usize = 8;

/// The smallest distance; infinite if none is a number.
#[inline]
pub(crate) fn smallest(distances: &[f32]) -> f32 {
    let (groups, rest) = distances.as_chunks::<LANES>();
    let lesser = |a: f32, b: f32| if b < a { b } else { a };
    let mut lanes = [f32::INFINITY; LANES];
    for group in groups {
        lanes.iter_mut().zip(group).for_each(|(least, x)| *least = lesser(*least, *x));
    }
    lanes.iter().chain(rest).fold(f32::INFINITY, |least, x| lesser(least, *x))
}

/// Bit mask of the distances or ranks, at most 32, that are no larger than `worst`.
#[inline]
pub(crate) fn within<T: PartialOrd>(distances: &[T], worst: T) -> u32 {
    (0..).zip(distances).fold(0, |met, (i, distance)| met | u32::from(*distance <= worst) << i)
}

/// Positions of the set bits, ascending.
#[inline]
pub(crate) fn set_bits(mut bits: u32) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let at = bits.trailing_zeros() as usize;
        let is_there = bits != 0;
        bits &= bits.wrapping_sub(1);
        is_there.then_some(at)
    })
}

/// One of so many ranks is sampled, to estimate the bound of the smallest.
const SAMPLE_STRIDE: usize = 16;
/// Ranks to select from, per rank wanted; with [`SAMPLE_SLACK`] sampled ranks more it is almost always enough.
const OVERSAMPLING: usize = 2;
const SAMPLE_SLACK: usize = 8;

/// The `nth` smallest rank, from 0; `nth < ranks.len()`.
pub(crate) fn select_nth(ranks: &[u32], nth: usize) -> u32 {
    let mut sample: Vec<u32> = ranks.iter().step_by(SAMPLE_STRIDE).copied().collect();
    let at = (OVERSAMPLING * nth / SAMPLE_STRIDE + SAMPLE_SLACK).min(sample.len() - 1);
    let bound = *sample.select_nth_unstable(at).1;
    let mut least = Vec::new();
    for_each_within(ranks, bound, |at| least.push(ranks[at]));
    if least.len() <= nth {
        least = ranks.to_vec();
    }
    *least.select_nth_unstable(nth).1
}

/// Keeps the nodes whose rank, at the same position, is at most `worst`.
pub(crate) fn retain_below(nodes: &mut Vec<u32>, ranks: &[u32], worst: u32) {
    let mut stay = 0;
    for_each_within(ranks, worst, |at| {
        nodes[stay] = nodes[at];
        stay += 1;
    });
    nodes.truncate(stay);
}

/// Calls `visit` with the position of each rank that is at most `worst`. These are rare, so one mask per group skips
/// most groups.
#[inline]
pub(crate) fn for_each_within(ranks: &[u32], worst: u32, mut visit: impl FnMut(usize)) {
    const GROUP: usize = 16;
    for (nth, group) in ranks.chunks(GROUP).enumerate() {
        set_bits(within(group, worst)).for_each(|i| visit(nth * GROUP + i));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Rng;

    #[test]
    fn masks_select_small_distances() {
        let distances = [3.0, f32::INFINITY, -1.0, 3.5, f32::NEG_INFINITY, 0.0];
        assert_eq!(set_bits(within(&distances, 3.0)).collect::<Vec<_>>(), [0, 2, 4, 5]);
        assert_eq!(set_bits(u32::MAX).collect::<Vec<_>>(), (0..32).collect::<Vec<_>>());
        assert_eq!((set_bits(0).count(), smallest(&distances[..4]), smallest(&[])), (0, -1.0, f32::INFINITY));
        assert_eq!(smallest(&[[5.0; 9], [2.0; 9]].concat()), 2.0);
    }

    #[test]
    fn the_nth_smallest_is_that_of_a_sorted_list() {
        let mut rng = Rng::new(1);
        for len in (1..200).chain([512, 5_000]) {
            for most in [1, 10, 1 << 20] {
                // In no order, with larger ranks between the sampled ones, which mislead the estimate.
                let ranks: Vec<u32> =
                    (0..len).map(|i| rng.below(most) as u32 + if i % SAMPLE_STRIDE == 0 { 0 } else { 7 }).collect();
                let mut sorted = ranks.clone();
                sorted.sort_unstable();
                for nth in [0, len / 50, len / 2, len - 1] {
                    assert_eq!(select_nth(&ranks, nth), sorted[nth], "{nth} of {len}");
                }
            }
        }
    }
}

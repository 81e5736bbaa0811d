//! Insertion into a sorted list. Entries are integers, so all twins agree.

/// A bit of an entry that comparisons ignore.
pub(crate) const MARK: u64 = 1 << 31;

/// Inserts an entry into a sorted list, before the first that is not smaller, and drops the last. Returns the position;
/// if all are smaller, that is the length, and nothing changes. Marks are ignored; the entry has none.
pub(crate) type Insert = fn(sorted: &mut [u64], entry: u64) -> usize;

/// The reference.
pub(super) fn scalar(sorted: &mut [u64], entry: u64) -> usize {
    let place = sorted.partition_point(|other| other & !MARK < entry);
    put(sorted, place, entry);
    place
}

/// Inserts an entry at a position, unless that is the length.
#[inline]
fn put(sorted: &mut [u64], place: usize, entry: u64) {
    if let Some(tail) = sorted.get_mut(place..).filter(|tail| !tail.is_empty()) {
        tail.copy_within(..tail.len() - 1, 1);
        tail[0] = entry;
    }
}

#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "vector loads and stores take raw pointers")]
pub(super) mod x86 {
    use std::arch::x86_64::*;

    use super::MARK;

    /// Entries per register.
    const WIDTH: usize = 8;
    /// Length from which on a list is long.
    const LONG: usize = 64;

    /// AVX2 has no unsigned comparison; binary search is as fast.
    #[target_feature(enable = "avx2")]
    pub fn avx2(sorted: &mut [u64], entry: u64) -> usize {
        super::scalar(sorted, entry)
    }

    #[target_feature(enable = "avx512f,popcnt")]
    pub fn avx512(sorted: &mut [u64], entry: u64) -> usize {
        if sorted.len() > LONG { long(sorted, entry) } else { short(sorted, entry) }
    }

    /// Decides for every entry whether it stays, moves or is replaced, without branches: neither the position nor the
    /// number of moves is predictable.
    #[target_feature(enable = "avx512f,popcnt")]
    fn short(sorted: &mut [u64], entry: u64) -> usize {
        let (len, start) = (sorted.len(), sorted.as_mut_ptr());
        let (marks, entries) = (_mm512_set1_epi64(MARK.cast_signed()), _mm512_set1_epi64(entry.cast_signed()));
        // Before the first entry there is a smaller one.
        let (mut place, mut before, mut is_less) = (0, entries, 1);
        for at in (0..len).step_by(WIDTH) {
            let there = u8::MAX >> WIDTH.saturating_sub(len - at);
            // SAFETY: the mask keeps the load inside the entries.
            let others = unsafe { _mm512_maskz_loadu_epi64(there, start.add(at).cast()) };
            let less = _mm512_mask_cmplt_epu64_mask(there, _mm512_andnot_si512(marks, others), entries);
            let moved = _mm512_alignr_epi64::<{ WIDTH as i32 - 1 }>(others, before);
            let here = !less & (less << 1 | is_less);
            let new = _mm512_mask_mov_epi64(_mm512_mask_mov_epi64(moved, less, others), here, entries);
            // SAFETY: as above.
            unsafe { _mm512_mask_storeu_epi64(start.add(at).cast(), there, new) };
            place += less.count_ones() as usize;
            (before, is_less) = (others, less >> (WIDTH - 1));
        }
        place
    }

    /// Searches from the front and moves the rest: in a long list two mispredictions cost less than writing all
    /// entries.
    #[target_feature(enable = "avx512f,popcnt")]
    fn long(sorted: &mut [u64], entry: u64) -> usize {
        let (marks, entries) = (_mm512_set1_epi64(MARK.cast_signed()), _mm512_set1_epi64(entry.cast_signed()));
        let mut place = 0;
        for others in sorted.chunks(WIDTH) {
            let there = u8::MAX >> (WIDTH - others.len());
            // SAFETY: the mask keeps the load inside the entries.
            let others = unsafe { _mm512_maskz_loadu_epi64(there, others.as_ptr().cast()) };
            let less = _mm512_mask_cmplt_epu64_mask(there, _mm512_andnot_si512(marks, others), entries);
            place += less.count_ones() as usize;
            if less != u8::MAX {
                break;
            }
        }
        super::put(sorted, place, entry);
        place
    }
}

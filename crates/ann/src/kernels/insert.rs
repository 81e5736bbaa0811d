//! Keeping the nearest in order. Entries are integers, so all twins agree.

/// A bit of an entry that its order does not depend on.
pub(crate) const MARK: u64 = 1 << 31;

/// Puts an entry in its place among sorted ones, before the first that is not less; the last one is dropped. Returns the place,
/// which is behind the last where all are less, and then nothing has changed. Marks do not count; the entry has none.
pub(crate) type Insert = fn(sorted: &mut [u64], entry: u64) -> usize;

/// The definition.
pub(super) fn scalar(sorted: &mut [u64], entry: u64) -> usize {
    let at = sorted.partition_point(|other| other & !MARK < entry);
    if let Some(tail) = sorted.get_mut(at..).filter(|tail| !tail.is_empty()) {
        tail.copy_within(..tail.len() - 1, 1);
        tail[0] = entry;
    }
    at
}

#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "vector loads and stores take raw pointers")]
pub(super) mod x86 {
    use std::arch::x86_64::*;

    use super::MARK;

    /// Entries in a register.
    const WIDTH: usize = 8;

    /// AVX2 does not compare unsigned integers; halving is as good.
    #[target_feature(enable = "avx2")]
    pub fn avx2(sorted: &mut [u64], entry: u64) -> usize {
        super::scalar(sorted, entry)
    }

    /// Counts from the front instead of halving, of which a processor foresees no step, and moves what is behind by registers.
    #[target_feature(enable = "avx512f,popcnt")]
    pub fn avx512(sorted: &mut [u64], entry: u64) -> usize {
        let (len, start) = (sorted.len(), sorted.as_mut_ptr());
        let (marks, entries) = (_mm512_set1_epi64(MARK.cast_signed()), _mm512_set1_epi64(entry.cast_signed()));
        let mut place = 0;
        for at in (0..len).step_by(WIDTH) {
            let there = u8::MAX >> WIDTH.saturating_sub(len - at);
            // SAFETY: the mask keeps the load inside the entries.
            let others = unsafe { _mm512_maskz_loadu_epi64(there, start.add(at).cast()) };
            let less = _mm512_mask_cmplt_epu64_mask(there, _mm512_andnot_si512(marks, others), entries);
            place += less.count_ones() as usize;
            if less != u8::MAX {
                break;
            }
        }
        if place == len {
            return place;
        }
        let mut end = len - 1;
        while end >= place + WIDTH {
            // SAFETY: `place <= end - WIDTH`, and `end` is a place there is.
            unsafe {
                let others = _mm512_loadu_si512(start.add(end - WIDTH).cast());
                _mm512_storeu_si512(start.add(end - WIDTH + 1).cast(), others);
            }
            end -= WIDTH;
        }
        let some = (1_u8 << (end - place)) - 1;
        // SAFETY: the mask keeps both to the `end - place` entries from `place` and one further, `end` at most.
        unsafe {
            let others = _mm512_maskz_loadu_epi64(some, start.add(place).cast());
            _mm512_mask_storeu_epi64(start.add(place + 1).cast(), some, others);
        }
        sorted[place] = entry;
        place
    }
}

//! Sets of small numbers, one bit each.

/// Word index and bit of a number.
#[inline]
pub(crate) fn word_and_bit(number: u32) -> (usize, u64) {
    (number as usize / u64::BITS as usize, 1 << (number % u64::BITS))
}

/// A set of numbers below an end.
#[derive(Default)]
pub(crate) struct BitSet(Vec<u64>);

impl BitSet {
    /// The set of these numbers, all below `end`.
    pub fn of(numbers: &[u32], end: usize) -> Self {
        let mut set = Self::default();
        set.reset(end);
        numbers.iter().for_each(|number| _ = set.insert(*number));
        set
    }

    /// Empties the set and sets its end.
    pub fn reset(&mut self, end: usize) {
        self.0.clear();
        self.0.resize(end.div_ceil(u64::BITS as usize), 0);
    }

    /// Adds a number below the end; false if it was in the set.
    #[inline]
    pub fn insert(&mut self, number: u32) -> bool {
        let (word, bit) = word_and_bit(number);
        let word = &mut self.0[word];
        let is_first = *word & bit == 0;
        *word |= bit;
        is_first
    }

    /// Whether a number is in the set; false from the end on.
    #[inline]
    pub fn contains(&self, number: u32) -> bool {
        let (word, bit) = word_and_bit(number);
        self.0.get(word).is_some_and(|word| word & bit != 0)
    }
}

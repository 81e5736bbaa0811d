//! The set of hidden nodes, one bit each, for random lookups.

use meridian_pages::Pages;

use crate::bitset::word_and_bit;

/// Nodes that searches visit and never return.
#[derive(Default, Clone)]
pub(super) struct HiddenSet {
    words: Pages<u64>,
    count: usize,
}

impl HiddenSet {
    #[inline]
    pub fn contains(&self, node: u32) -> bool {
        let (word, bit) = word_and_bit(node);
        self.count > 0 && self.words.get(word).is_some_and(|word| word & bit != 0)
    }

    pub fn set(&mut self, node: u32, is_marked: bool) {
        let (word, bit) = word_and_bit(node);
        self.words.grow(word + 1);
        let had = self.contains(node);
        if had != is_marked {
            *self.words.get_mut(word).expect("it has just grown") ^= bit;
            self.count = if had { self.count - 1 } else { self.count + 1 };
        }
    }

    pub fn count(&self) -> usize {
        self.count
    }
}

//! Filters on entries of the lists.

use crate::kernels::fast_scan::BLOCK_POINTS;
use crate::selection::set_bits;

use super::inverted_lists::InvertedLists;

/// A condition on list entries.
pub(super) trait EntryFilter {
    /// Whether a list may contain an accepted entry.
    fn may_match(&self, list: usize) -> bool;

    /// Bit mask of the entries of a block that may be accepted.
    fn mask(&self, list: usize, block: usize) -> u32;

    /// Whether an entry in the mask is accepted.
    fn accepts(&self, node: u32) -> bool;
}

/// Evaluates a predicate for each entry that is near enough.
pub(super) struct PredicateFilter<F>(pub F);

impl<F: Fn(u32) -> bool> EntryFilter for PredicateFilter<F> {
    #[inline]
    fn may_match(&self, _: usize) -> bool {
        true
    }

    #[inline]
    fn mask(&self, _: usize, _: usize) -> u32 {
        u32::MAX
    }

    #[inline]
    fn accepts(&self, node: u32) -> bool {
        self.0(node)
    }
}

/// A list without a match.
const NO_MATCH: u32 = u32::MAX;

/// All accepted entries, computed once for many queries: a bit per entry of the lists that contain one.
pub(super) struct Masks {
    /// Per list: position of its first block.
    starts: Vec<u32>,
    /// Per block.
    words: Vec<u32>,
    /// Blocks that contain a match.
    matching_blocks: usize,
}

impl Masks {
    pub fn new(lists: &InvertedLists, accepts: impl Fn(u32) -> bool) -> Self {
        let mut masks = Self { starts: Vec::with_capacity(lists.lists.len()), words: Vec::new(), matching_blocks: 0 };
        let mask = |nodes: &[u32]| (0..).zip(nodes).fold(0, |mask, (i, node)| mask | u32::from(accepts(*node)) << i);
        for list in lists.lists.iter() {
            let start = masks.words.len();
            masks.words.extend(list.nodes().chunks(BLOCK_POINTS).map(mask));
            let holds = masks.words[start..].iter().any(|mask| *mask != 0);
            masks.starts.push(if holds { start as u32 } else { NO_MATCH });
            masks.words.truncate(if holds { masks.words.len() } else { start });
        }
        masks.matching_blocks = masks.words.iter().filter(|mask| **mask != 0).count();
        masks
    }

    /// Positions of the accepted entries of a list.
    pub fn entries(&self, list: usize, len: usize) -> impl Iterator<Item = usize> {
        let of_block = move |block| set_bits(self.mask(list, block)).map(move |i| block * BLOCK_POINTS + i);
        (0..len.div_ceil(BLOCK_POINTS)).flat_map(of_block)
    }

    /// Upper limit of the number of codes in blocks that contain a match.
    pub fn reachable_codes(&self) -> f32 {
        (self.matching_blocks * BLOCK_POINTS) as f32
    }
}

impl EntryFilter for Masks {
    #[inline]
    fn may_match(&self, list: usize) -> bool {
        self.starts[list] != NO_MATCH
    }

    #[inline]
    fn mask(&self, list: usize, block: usize) -> u32 {
        self.words.get(self.starts[list] as usize + block).copied().unwrap_or(0)
    }

    #[inline]
    fn accepts(&self, _: u32) -> bool {
        true
    }
}

impl InvertedLists {
    /// Blocks of a list that may contain an accepted entry.
    #[inline]
    pub(super) fn blocks(&self, list: usize, filter: &impl EntryFilter) -> impl Iterator<Item = &[u8]> {
        let blocks = self.lists[list].blocks(self.codebook.padded()).enumerate();
        blocks.filter(move |(block, _)| filter.mask(list, *block) != 0).map(|(_, codes)| codes)
    }
}

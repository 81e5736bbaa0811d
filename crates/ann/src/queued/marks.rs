//! Marks on nodes, a bit each: searches look at them at random.

/// Which nodes are marked, and how many.
#[derive(Default)]
pub(super) struct Marks {
    words: Vec<u64>,
    count: usize,
}

fn place(node: u32) -> (usize, u64) {
    (node as usize / u64::BITS as usize, 1 << (node % u64::BITS))
}

impl Marks {
    #[inline]
    pub fn has(&self, node: u32) -> bool {
        let (word, bit) = place(node);
        self.words.get(word).is_some_and(|word| word & bit != 0)
    }

    pub fn set(&mut self, node: u32, is_marked: bool) {
        let (word, bit) = place(node);
        if self.words.len() <= word {
            self.words.resize(word + 1, 0);
        }
        let had = self.words[word] & bit != 0;
        if had != is_marked {
            self.words[word] ^= bit;
            self.count = if had { self.count - 1 } else { self.count + 1 };
        }
    }

    pub fn count(&self) -> usize {
        self.count
    }
}

//! Platform-independent random numbers and hashing.

use std::hash::{BuildHasherDefault, Hasher};

/// One step of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014): a bijection that spreads neighboring inputs.
pub(crate) const fn splitmix64(x: u64) -> u64 {
    let x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// A map keyed by slots or nodes. Its iteration order never affects a result.
pub(crate) type SlotMap<T> = std::collections::HashMap<u32, T, BuildHasherDefault<SlotHasher>>;

/// Hashes one `u32` by [`splitmix64`]. Keys are assigned by the shard, so clients cannot force collisions.
#[derive(Default)]
pub(crate) struct SlotHasher(u64);

impl Hasher for SlotHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u32(u32::from(*byte));
        }
    }

    fn write_u32(&mut self, slot: u32) {
        self.0 = splitmix64(self.0 ^ u64::from(slot));
    }
}

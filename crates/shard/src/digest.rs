//! Sums of hashes, independent of order and of the division into shards.

use std::fmt;
use std::ops::{AddAssign, SubAssign};

use serde::{Deserialize, Serialize};

/// Sum of 256-bit hashes modulo 2^256. The digests of a region's shards add up to the region's digest.
///
/// It compares honest replicas, and is no protection against chosen contents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Digest([u64; 4]);

impl Digest {
    /// The digest of one item.
    #[must_use]
    pub(crate) fn of(hash: [u8; 32]) -> Self {
        let mut limbs = [0; 4];
        for (limb, bytes) in limbs.iter_mut().zip(hash.chunks_exact(8)) {
            *limb = u64::from_le_bytes(bytes.try_into().expect("chunks of 8 bytes"));
        }
        Self(limbs)
    }

    /// Little-endian bytes.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 32] {
        let mut bytes = [0; 32];
        for (limb, out) in self.0.iter().zip(bytes.chunks_exact_mut(8)) {
            out.copy_from_slice(&limb.to_le_bytes());
        }
        bytes
    }
}

impl AddAssign for Digest {
    fn add_assign(&mut self, other: Self) {
        let mut carry = false;
        for (a, b) in self.0.iter_mut().zip(other.0) {
            (*a, carry) = {
                let (sum, first) = a.overflowing_add(b);
                let (sum, second) = sum.overflowing_add(u64::from(carry));
                (sum, first || second)
            };
        }
    }
}

impl SubAssign for Digest {
    fn sub_assign(&mut self, other: Self) {
        let mut borrow = false;
        for (a, b) in self.0.iter_mut().zip(other.0) {
            (*a, borrow) = {
                let (rest, first) = a.overflowing_sub(b);
                let (rest, second) = rest.overflowing_sub(u64::from(borrow));
                (rest, first || second)
            };
        }
    }
}

impl std::iter::Sum for Digest {
    fn sum<I: Iterator<Item = Self>>(digests: I) -> Self {
        digests.fold(Self::default(), |mut sum, digest| {
            sum += digest;
            sum
        })
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_bytes().iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn order_does_not_matter_and_taking_away_undoes_adding(a: [u8; 32], b: [u8; 32], c: [u8; 32]) {
            let [a, b, c] = [a, b, c].map(Digest::of);
            let sum: Digest = [a, b, c].into_iter().sum();
            prop_assert_eq!(sum, [c, a, b].into_iter().sum());
            let mut rest = sum;
            rest -= b;
            prop_assert_eq!(rest, [a, c].into_iter().sum());
            prop_assert_eq!(Digest::of(a.to_bytes()), a);
        }
    }

    #[test]
    fn a_carry_runs_through_all_limbs() {
        let mut all_ones = Digest::of([0xff; 32]);
        let mut one = [0; 32];
        one[0] = 1;
        all_ones += Digest::of(one);
        assert_eq!(all_ones, Digest::default());
        all_ones -= Digest::of(one);
        assert_eq!(all_ones.to_string(), "ff".repeat(32));
    }
}

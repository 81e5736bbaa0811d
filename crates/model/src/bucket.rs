//! Hash buckets, and the table that says which shard owns each.

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use crate::{PointId, ShardNumber, TableVersion};

/// How many hash ranges all ids fall into. Fixed for ever: it is part of where data lies.
pub const BUCKETS: u16 = 16_384;

/// One of [`BUCKETS`] hash ranges of ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Bucket(u16);

impl Bucket {
    /// The number, below [`BUCKETS`].
    #[must_use]
    pub fn number(self) -> u16 {
        self.0
    }
}

/// The bucket of an id: XXH3-64 (seed 0) of its canonical bytes, modulo [`BUCKETS`].
#[must_use]
pub fn bucket_of(point: PointId) -> Bucket {
    let hash = point.with_canonical_bytes(xxh3_64);
    Bucket(u16::try_from(hash % u64::from(BUCKETS)).expect("below 16,384"))
}

/// Which shard owns each bucket, under a version that grows with every change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BucketTable {
    /// Grows with every change; forwards carry it.
    pub version: TableVersion,
    shards: u16,
    /// Runs of buckets in order: (first bucket of the run, its shard).
    runs: Vec<(u16, ShardNumber)>,
}

/// A bucket table that does not cover the buckets.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BucketTableError {
    /// No shards, or more than [`ShardNumber::MAX`].
    #[error("shards must be between 1 and {max} (got {0})", max = ShardNumber::MAX)]
    ShardCount(u16),
}

impl BucketTable {
    /// Spreads the buckets evenly, in runs, over `shards` shards.
    ///
    /// # Errors
    /// When `shards` is 0 or above [`ShardNumber::MAX`].
    pub fn even(shards: u16) -> Result<Self, BucketTableError> {
        if shards == 0 || shards > ShardNumber::MAX {
            return Err(BucketTableError::ShardCount(shards));
        }
        let first = |shard: ShardNumber| {
            let before = u32::from(shard.number() - 1) * u32::from(BUCKETS);
            u16::try_from(before.div_ceil(u32::from(shards))).expect("at most 16,384")
        };
        let runs = ShardNumber::all(shards).map(|shard| (first(shard), shard)).collect();
        Ok(Self { version: TableVersion(1), shards, runs })
    }

    /// How many shards the table names.
    #[must_use]
    pub fn shards(&self) -> u16 {
        self.shards
    }

    /// The shard that owns `bucket`.
    #[must_use]
    pub fn owner(&self, bucket: Bucket) -> ShardNumber {
        let run = self.runs.partition_point(|(first, _)| *first <= bucket.0);
        self.runs[run - 1].1
    }

    /// The shard that owns `point`.
    #[must_use]
    pub fn shard_of(&self, point: PointId) -> ShardNumber {
        self.owner(bucket_of(point))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Golden: where data lies must never change. Checked against the reference XXH3 of the Python package `xxhash`.
    #[test]
    fn buckets_are_what_they_always_were() {
        let uuid = |text: &str| text.parse::<PointId>().unwrap();
        let golden = [
            (PointId::Num(0), GOLDEN[0]),
            (PointId::Num(1), GOLDEN[1]),
            (PointId::Num(u64::MAX), GOLDEN[2]),
            (uuid("00000000-0000-0000-0000-000000000000"), GOLDEN[3]),
            (uuid("f47ac10b-58cc-4372-a567-0e02b2c3d479"), GOLDEN[4]),
        ];
        for (point, bucket) in golden {
            assert_eq!(bucket_of(point).number(), bucket, "{point}");
        }
    }

    const GOLDEN: [u16; 5] = [6231, 15234, 6011, 4488, 10297];

    #[test]
    fn every_bucket_has_one_owner_and_shares_are_even() {
        for shards in [1, 2, 3, 7, 1000, ShardNumber::MAX] {
            let table = BucketTable::even(shards).unwrap();
            let mut owned = vec![0u16; usize::from(shards)];
            for bucket in (0..BUCKETS).map(Bucket) {
                owned[usize::from(table.owner(bucket).number() - 1)] += 1;
            }
            let (least, most) = (owned.iter().min().unwrap(), owned.iter().max().unwrap());
            assert!(most - least <= 1, "{shards} shards: {least}..{most}");
        }
        assert!(BucketTable::even(0).is_err());
    }
}

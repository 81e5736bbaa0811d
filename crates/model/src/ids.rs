//! Ids and names. Each is its own type, so that a sequence never passes for an index.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl $name {
            /// The one after this.
            ///
            /// # Panics
            /// On overflow, which no cluster lives long enough to reach.
            #[must_use]
            pub fn next(self) -> Self {
                Self(self.0.checked_add(1).expect("a counter of this width does not run out"))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number!(
    /// Gapless position in one origin shard's delta log. The first delta has 1; 0 means "nothing yet".
    Seq(u64)
);
number!(
    /// Incarnation of an origin shard's delta log; each restarts [`Seq`]. The first is 1.
    Epoch(u32)
);
number!(
    /// Counts which region is primary; grows at each switchover or failover.
    PrimaryTerm(u64)
);
number!(
    /// Version of the table that maps buckets to shards.
    TableVersion(u64)
);
number!(
    /// Raft term.
    Term(u64)
);
number!(
    /// Position in a shard's Raft log, from 1.
    LogIndex(u64)
);
number!(
    /// One copy of a shard inside a region. Minted by the operator, never reused, never 0.
    ReplicaId(u64)
);
number!(
    /// Names one incarnation of a collection: a collection dropped and created again has a new uid.
    CollectionUid(u64)
);

number!(
    /// Version of the rules by which log entries are applied, deltas are merged and requests are executed. A group raises it
    /// by a log entry, once all of its members know the new one; a volume that names none has [`BehaviorVersion::FIRST`].
    BehaviorVersion(u16)
);

impl BehaviorVersion {
    /// The rules of the first release with versioned formats.
    pub const FIRST: Self = Self(1);
    /// The newest version that release builds know.
    pub(crate) const RELEASED: Self = Self(1);

    /// The newest version that this build knows. In builds with debug assertions, tests can raise it.
    #[must_use]
    pub fn newest() -> Self {
        #[cfg(debug_assertions)]
        {
            crate::artificial::newest()
        }
        #[cfg(not(debug_assertions))]
        {
            Self::RELEASED
        }
    }
}

/// 128 bits that a gateway gives to each write, so that a repeat is recognized.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct WriteId(pub u128);

/// As a UUID.
impl fmt::Display for WriteId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        uuid::Uuid::from_u128(self.0).fmt(f)
    }
}

impl std::str::FromStr for WriteId {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        uuid::Uuid::parse_str(text).map(|id| Self(id.as_u128())).map_err(|_| NameError {
            kind: "write id",
            name: text.into(),
            rule: "a UUID",
        })
    }
}

/// 128 bits that name one `VectorCluster`; a data directory of another cluster is refused by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ClusterId(pub u128);

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        uuid::Uuid::from_u128(self.0).fmt(f)
    }
}

impl std::str::FromStr for ClusterId {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        uuid::Uuid::parse_str(text).map(|id| Self(id.as_u128())).map_err(|_| NameError {
            kind: "cluster id",
            name: text.into(),
            rule: "a UUID",
        })
    }
}

/// Number of a shard, from 1, as it stands in names (`-s1`) and in the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u16", into = "u16")]
pub struct ShardNumber(u16);

/// A shard number outside 1..=[`ShardNumber::MAX`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("shard number {0}: shards are numbered from 1 to {max}", max = ShardNumber::MAX)]
pub struct ShardNumberError(pub u16);

impl ShardNumber {
    /// The largest number; one bucket is the least a shard can hold, and 1,024 keeps 16 buckets for each.
    pub const MAX: u16 = 1024;
    /// The first shard, whose group decides on collections.
    pub const FIRST: Self = Self(1);

    /// # Errors
    /// When `number` is 0 or above [`ShardNumber::MAX`].
    pub fn new(number: u16) -> Result<Self, ShardNumberError> {
        if (1..=Self::MAX).contains(&number) { Ok(Self(number)) } else { Err(ShardNumberError(number)) }
    }

    /// As it is written in names, from 1.
    #[must_use]
    pub fn number(self) -> u16 {
        self.0
    }

    /// The Kafka partition that carries this shard: one less.
    #[must_use]
    pub fn partition(self) -> i32 {
        i32::from(self.0) - 1
    }

    /// Shards 1 to `count`, in order.
    pub fn all(count: u16) -> impl Iterator<Item = Self> {
        (1..=count.min(Self::MAX)).map(Self)
    }
}

impl TryFrom<u16> for ShardNumber {
    type Error = ShardNumberError;

    fn try_from(number: u16) -> Result<Self, ShardNumberError> {
        Self::new(number)
    }
}

impl From<ShardNumber> for u16 {
    fn from(shard: ShardNumber) -> u16 {
        shard.0
    }
}

impl fmt::Display for ShardNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A name that breaks its rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind} {name:?}: must be {rule}")]
pub struct NameError {
    /// What was being named.
    pub kind: &'static str,
    /// What stood there.
    pub name: String,
    /// What would have been right.
    pub rule: &'static str,
}

/// Name of a region: a DNS label, lower case, as it stands in headers, topics and Kubernetes names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RegionName(Arc<str>);

impl RegionName {
    /// # Errors
    /// When `name` is not a DNS label of at most 63 bytes.
    pub fn new(name: &str) -> Result<Self, NameError> {
        let inner = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-';
        let edge = |b: Option<&u8>| b.is_some_and(|b| *b != b'-');
        let bytes = name.as_bytes();
        if bytes.len() <= 63 && bytes.iter().all(inner) && edge(bytes.first()) && edge(bytes.last()) {
            Ok(Self(name.into()))
        } else {
            Err(NameError { kind: "region", name: name.into(), rule: "a lower-case DNS label of 1 to 63 bytes" })
        }
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for RegionName {
    type Error = NameError;

    fn try_from(name: String) -> Result<Self, NameError> {
        Self::new(&name)
    }
}

impl From<RegionName> for String {
    fn from(region: RegionName) -> String {
        region.0.as_ref().into()
    }
}

impl std::str::FromStr for RegionName {
    type Err = NameError;

    fn from_str(name: &str) -> Result<Self, NameError> {
        Self::new(name)
    }
}

impl fmt::Display for RegionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One shard of the region that accepted a write: the source of one delta log.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct OriginShard {
    /// The region that accepted the write.
    pub region: RegionName,
    /// Its shard.
    pub shard: ShardNumber,
}

impl fmt::Display for OriginShard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/s{}", self.region, self.shard)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_region_is_a_dns_label() {
        for good in ["us-east", "a", "eu-west-1", &"x".repeat(63)] {
            assert!(RegionName::new(good).is_ok(), "{good}");
        }
        for bad in ["", "US", "-a", "a-", "a.b", "a_b", "ü", &"x".repeat(64)] {
            assert!(RegionName::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn shards_count_from_one() {
        assert!(ShardNumber::new(0).is_err());
        assert!(ShardNumber::new(ShardNumber::MAX + 1).is_err());
        assert_eq!(ShardNumber::new(3).map(ShardNumber::partition), Ok(2));
        assert_eq!(ShardNumber::all(3).map(ShardNumber::number).collect::<Vec<_>>(), [1, 2, 3]);
    }

    #[test]
    fn a_name_read_from_outside_is_checked() {
        assert!(serde_json::from_str::<RegionName>("\"No\"").is_err());
        assert!(serde_json::from_str::<ShardNumber>("0").is_err());
    }
}

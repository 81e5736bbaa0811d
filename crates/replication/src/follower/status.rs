//! Status of the links, for people.

use std::time::Duration;

use meridian_model::OriginShard;
use meridian_proto::topology::PoisonSeen;

use super::Follower;
use super::link::{Link, Path, Phase};
use crate::Poison;

/// Retention of a poison record in the status. Its gap has been read from the origin by then.
const POISON_REPORTED_FOR: Duration = Duration::from_secs(600);

/// Status of one followed origin shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkStatus {
    /// The origin shard.
    pub origin: OriginShard,
    /// Number of deltas received and not applied.
    pub in_flight: u64,
    /// `closed`, `streaming` from the origin, `reading` from a broker, or `seeding`.
    pub phase: &'static str,
    /// Time since the last message; `None` if none was received since this replica became leader.
    pub silent: Option<Duration>,
    /// The origin is read because the broker lacks records.
    pub origin_fallback: bool,
    /// The newest record that could not be applied since this replica became leader.
    pub poison: Option<Poison>,
}

impl Follower {
    /// Returns the newest poison record of each origin shard within the last 10 minutes.
    #[must_use]
    pub fn poisons(&self, now: Duration) -> Vec<PoisonSeen> {
        let poison = |link: &Link| {
            let (met, poison) = link.poison.as_ref()?;
            let (origin, fault) = (link.origin().clone(), poison.describe(link.topic.as_ref()));
            (now.saturating_sub(*met) < POISON_REPORTED_FOR).then_some(PoisonSeen { origin, fault })
        };
        self.links.values().filter_map(poison).collect()
    }

    /// Returns the status of each followed origin shard.
    #[must_use]
    pub fn statuses(&self, now: Duration) -> Vec<LinkStatus> {
        self.links.values().map(|link| link.status(now)).collect()
    }
}

impl Link {
    fn status(&self, now: Duration) -> LinkStatus {
        LinkStatus {
            origin: self.origin().clone(),
            in_flight: self.log.in_flight(),
            phase: match &self.phase {
                Phase::Closed { .. } => "closed",
                Phase::Streaming { path: Path::Direct, .. } => "streaming",
                Phase::Streaming { path: Path::Broker, .. } => "reading",
                Phase::Seeding(_) => "seeding",
            },
            silent: self.last_received.map(|last_received| now.saturating_sub(last_received)),
            origin_fallback: self.fallback.is_some(),
            poison: self.poison.as_ref().map(|(_, poison)| poison.clone()),
        }
    }
}

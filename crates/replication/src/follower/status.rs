//! How links are followed just now, for people.

use std::time::Duration;

use meridian_model::OriginShard;
use meridian_proto::topology::PoisonSeen;

use super::Follower;
use super::link::{Link, Path, Phase};
use crate::Poison;

/// For so long the operator hears of a record that could not be taken: what it hid is read elsewhere by then.
const POISON_TOLD_FOR: Duration = Duration::from_secs(600);

/// How an origin shard is followed just now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkStatus {
    /// The origin shard.
    pub origin: OriginShard,
    /// Deltas taken in and not applied.
    pub in_flight: u64,
    /// What is done: `closed`, `streaming` from the origin, `reading` from a broker, `seeding`.
    pub phase: &'static str,
    /// How long nothing was heard; `None` when nothing was since this replica leads.
    pub silent: Option<Duration>,
    /// The origin is read because the broker lacks something.
    pub detour: bool,
    /// The newest record that could not be taken since this replica leads.
    pub poison: Option<Poison>,
}

impl Follower {
    /// The newest record of each origin shard that could not be taken, unless that was long ago.
    #[must_use]
    pub fn poisons(&self, now: Duration) -> Vec<PoisonSeen> {
        let poison = |link: &Link| {
            let (met, poison) = link.poison.as_ref()?;
            let (origin, fault) = (link.origin().clone(), poison.describe(link.topic.as_ref()));
            (now.saturating_sub(*met) < POISON_TOLD_FOR).then_some(PoisonSeen { origin, fault })
        };
        self.links.values().filter_map(poison).collect()
    }

    /// How each origin shard is followed.
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
            silent: self.heard.map(|heard| now.saturating_sub(heard)),
            detour: self.fallback.is_some(),
            poison: self.poison.as_ref().map(|(_, poison)| poison.clone()),
        }
    }
}

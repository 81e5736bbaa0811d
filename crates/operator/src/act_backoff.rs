//! What pods and the API server refused, so that an act is repeated after a growing wait and the wait is explained.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use meridian_plan::{Act, RefusedAct};

/// The first wait after a refusal; it doubles with each further one of the same act.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// The longest wait: how long an act that has become possible may go untried.
const LAST_WAIT: Duration = Duration::from_secs(30);
/// A refusal that was not repeated for this long after its wait is over is forgotten: the act is no longer wanted.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(60);
/// ActBackoff kept for one cluster, the newest: far more than it has shards with something to do at once.
const KEPT: usize = 256;

/// The backoff of all clusters, by cluster.
#[derive(Default)]
pub struct ActBackoff(HashMap<String, Vec<Entry>>);

struct Entry {
    act: Act,
    message: String,
    wait: Duration,
    until: Instant,
}

impl ActBackoff {
    /// What was refused to this cluster, for its next step.
    pub fn of(&mut self, cluster: &str, now: Instant) -> Vec<RefusedAct> {
        let Some(entries) = self.0.get_mut(cluster) else { return Vec::new() };
        entries.retain(|entry| now.saturating_duration_since(entry.until) < FORGOTTEN_AFTER);
        let refused = |entry: &Entry| RefusedAct {
            act: entry.act.clone(),
            message: entry.message.clone(),
            due: entry.until <= now,
        };
        entries.iter().map(refused).collect()
    }

    /// An act was refused. Returns whether that is news: another act, or another reason.
    pub fn refused(&mut self, cluster: &str, act: &Act, message: &str, now: Instant) -> bool {
        let entries = self.0.entry(cluster.to_owned()).or_default();
        let before = entries.iter().position(|entry| act.repeats(&entry.act)).map(|at| entries.remove(at));
        let wait = before.as_ref().map_or(FIRST_WAIT, |before| before.wait.saturating_mul(2).min(LAST_WAIT));
        entries.push(Entry { act: act.clone(), message: message.to_owned(), wait, until: now + wait });
        entries.drain(..entries.len().saturating_sub(KEPT));
        before.is_none_or(|before| before.message != message)
    }

    /// An act was carried out.
    pub fn accepted(&mut self, cluster: &str, act: &Act) {
        if let Some(entries) = self.0.get_mut(cluster) {
            entries.retain(|entry| !act.repeats(&entry.act));
        }
    }

    /// The cluster is gone.
    pub fn remove(&mut self, cluster: &str) {
        self.0.remove(cluster);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use meridian_model::{LogIndex, ReplicaId, ShardNumber};

    fn promote(expected: u64) -> Act {
        Act::Promote { shard: ShardNumber::FIRST, leader: 0, replica: ReplicaId(4), expected: LogIndex(expected) }
    }

    #[test]
    fn a_refused_act_waits_twice_as_long_each_time_and_is_told_of_once() {
        let (mut backoff, mut now) = (ActBackoff::default(), Instant::now());
        let mut waits = Vec::new();
        for attempt in 0..8 {
            assert_eq!(backoff.refused("ns/a", &promote(7), "silent", now), attempt == 0);
            assert!(!backoff.of("ns/a", now)[0].due);
            let wait = backoff.0["ns/a"][0].wait;
            waits.push(wait.as_secs());
            now += wait;
            assert!(backoff.of("ns/a", now)[0].due);
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30, 30]);
        assert!(backoff.refused("ns/a", &promote(7), "behind", now), "another reason is told of");
        assert!(backoff.of("ns/b", now).is_empty());
        now += LAST_WAIT + FORGOTTEN_AFTER;
        assert!(backoff.of("ns/a", now).is_empty(), "nobody wants it any more");
    }

    #[test]
    fn an_act_on_another_membership_is_tried_at_once() {
        let (mut backoff, now) = (ActBackoff::default(), Instant::now());
        backoff.refused("ns/a", &promote(7), "behind", now);
        assert!(backoff.refused("ns/a", &promote(8), "behind", now));
        assert_eq!(backoff.0["ns/a"][1].wait, FIRST_WAIT);
        backoff.accepted("ns/a", &promote(8));
        assert_eq!(backoff.of("ns/a", now).len(), 1);
        backoff.remove("ns/a");
        assert!(backoff.of("ns/a", now).is_empty());
    }
}

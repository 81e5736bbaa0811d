//! Backoff of refused acts: an act is repeated after a growing wait, and the status explains the wait.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use meridian_plan::{Act, RefusedAct};

/// The first wait after a refusal; it doubles with each further one of the same act.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// The longest wait: an act that has become possible may stay untried for so long.
const LAST_WAIT: Duration = Duration::from_secs(30);
/// A refusal that is not repeated for this long after its wait is dropped: the act is no longer wanted.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(60);
/// Refusals kept for one cluster, the newest: far more than it has shards with an act at the same time.
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
    /// Refused acts of this cluster, for its next step.
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

    /// Records a refusal. Returns true for a new one: another act, or another reason.
    pub fn refused(&mut self, cluster: &str, act: &Act, message: &str, now: Instant) -> bool {
        let entries = self.0.entry(cluster.to_owned()).or_default();
        let before = entries.iter().position(|entry| act.repeats(&entry.act)).map(|at| entries.remove(at));
        let wait = before.as_ref().map_or(FIRST_WAIT, |before| before.wait.saturating_mul(2).min(LAST_WAIT));
        entries.push(Entry { act: act.clone(), message: message.to_owned(), wait, until: now + wait });
        entries.drain(..entries.len().saturating_sub(KEPT));
        before.is_none_or(|before| before.message != message)
    }

    /// Records an act that was carried out.
    pub fn accepted(&mut self, cluster: &str, act: &Act) {
        if let Some(entries) = self.0.get_mut(cluster) {
            entries.retain(|entry| !act.repeats(&entry.act));
        }
    }

    /// Removes a deleted cluster.
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
    fn the_wait_of_a_refused_act_doubles_and_its_event_is_published_once() {
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
        assert!(backoff.refused("ns/a", &promote(7), "behind", now), "another reason is an event");
        assert!(backoff.of("ns/b", now).is_empty());
        now += LAST_WAIT + FORGOTTEN_AFTER;
        assert!(backoff.of("ns/a", now).is_empty(), "the act is no longer wanted");
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

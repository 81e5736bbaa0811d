//! `KeysDiffer`: all pods should accept the keys of the Secrets.

use std::collections::BTreeMap;

use meridian_crd::conditions::{reason, type_ as c};
use meridian_proto::topology::KeysDigest;

use super::{Finding, cut};
use crate::observed::ExpectedKeys;
use crate::{Observed, ValidCluster};

/// Compares the pods that report. Unreported keys count as equal, so the condition is never unknown.
pub(super) fn differ(cluster: &ValidCluster, observed: &Observed) -> Finding {
    let found = |holds, why, message: String| Finding(c::KEYS_DIFFER, Some(holds), why, cut(&message));
    let reported: Vec<(String, KeysDigest)> = observed
        .shards
        .iter()
        .flat_map(|(shard, seen)| seen.pods.iter().map(|(ordinal, pod)| (cluster.pod_name(*shard, *ordinal), pod)))
        .filter(|(_, pod)| !pod.deleting)
        .filter_map(|(name, pod)| Some((name, pod.keys?)))
        .collect();
    let expected = match &observed.keys {
        ExpectedKeys::Digest(digest) => Some(*digest),
        ExpectedKeys::Missing => most_common(&reported),
        ExpectedKeys::Unusable(why) if reported.is_empty() => {
            return found(false, reason::AS_EXPECTED, format!("no pod reports its keys yet; {why}"));
        }
        ExpectedKeys::Unusable(why) => {
            let pods: Vec<&str> = reported.iter().map(|(name, _)| name.as_str()).collect();
            let message =
                format!("{why}: correct it; until then these pods keep the keys that they have: {}", pods.join(", "));
            return found(true, reason::INVALID_KEYS, message);
        }
    };
    let others: Vec<&str> =
        reported.iter().filter(|(_, digest)| Some(*digest) != expected).map(|(name, _)| name.as_str()).collect();
    match (&observed.keys, others.is_empty()) {
        (_, true) if reported.is_empty() => found(false, reason::AS_EXPECTED, "no pod reports its keys yet".into()),
        (ExpectedKeys::Missing, true) => found(false, reason::SECRET_MISSING, "all pods accept the same keys".into()),
        (_, true) => found(false, reason::AS_EXPECTED, "all pods accept the keys of the Secrets".into()),
        (ExpectedKeys::Missing, false) => found(
            true,
            reason::KEYS_DIFFER,
            format!("these pods accept keys that differ from those of most pods: {}", others.join(", ")),
        ),
        (_, false) => found(
            true,
            reason::KEYS_DIFFER,
            format!(
                "waiting, usually up to two minutes, for these pods to read the keys of the Secrets: {}",
                others.join(", ")
            ),
        ),
    }
}

fn most_common(reported: &[(String, KeysDigest)]) -> Option<KeysDigest> {
    let mut counts = BTreeMap::new();
    for (_, digest) in reported {
        *counts.entry(*digest).or_insert(0) += 1;
    }
    counts.into_iter().max_by_key(|(_, count)| *count).map(|(digest, _)| digest)
}

#[cfg(test)]
mod tests {
    use meridian_model::ShardNumber;

    use super::*;
    use crate::fixtures::{ALONE, valid};
    use crate::{ObservedPod, ObservedShard};

    /// Condition, reason and message of a shard whose pods report these digests; `None` for a pod that does not answer.
    fn found(expected: ExpectedKeys, reported: &[Option<u8>]) -> (Option<bool>, &'static str, String) {
        let pod = |keys: &Option<u8>| ObservedPod {
            uid: "u".into(),
            deleting: false,
            ready: true,
            outdated: false,
            answer: None,
            keys: keys.map(digest),
            failure_reason: None,
            ..ObservedPod::default()
        };
        let pods = (0..).zip(reported.iter().map(pod)).collect();
        let shards = [(ShardNumber::FIRST, ObservedShard { pods, ..ObservedShard::default() })].into();
        let observed = Observed { shards, keys: expected, ..Observed::default() };
        let Finding(type_, holds, why, message) = differ(&valid(ALONE, &[]), &observed);
        assert_eq!(type_, c::KEYS_DIFFER);
        (holds, why.as_str(), message)
    }

    fn digest(byte: u8) -> KeysDigest {
        KeysDigest([byte; 32])
    }

    #[test]
    fn pods_that_differ_from_the_secrets_are_named() {
        let of = |reported: &[Option<u8>]| found(ExpectedKeys::Digest(digest(1)), reported);
        assert_eq!(of(&[Some(1), Some(1), None]).0, Some(false));
        let (holds, why, message) = of(&[Some(1), Some(2), Some(1)]);
        assert_eq!((holds, why), (Some(true), "KeysDiffer"));
        assert!(message.ends_with(": vector-search-s1-1"), "{message}");
        let (holds, _, message) = of(&[Some(2), Some(2), Some(2)]);
        assert!(holds == Some(true) && message.contains("vector-search-s1-0, vector-search-s1-1"), "{message}");
    }

    #[test]
    fn without_a_secret_pods_are_compared_with_each_other() {
        assert_eq!(found(ExpectedKeys::Missing, &[Some(2), Some(2), None]).0, Some(false));
        let (holds, _, message) = found(ExpectedKeys::Missing, &[Some(3), Some(2), Some(3)]);
        assert!(holds == Some(true) && message.ends_with(": vector-search-s1-1"), "{message}");
    }

    #[test]
    fn an_invalid_secret_is_reported() {
        let unusable = || ExpectedKeys::Unusable("Secret vector-search-api-key, api-key: no key".into());
        let (holds, why, message) = found(unusable(), &[Some(1), None]);
        assert_eq!((holds, why), (Some(true), "InvalidKeys"));
        assert!(message.contains("api-key: no key") && message.contains("vector-search-s1-0"), "{message}");
        assert_eq!(found(unusable(), &[None]).0, Some(false));
    }

    #[test]
    fn the_condition_is_never_unknown() {
        for expected in [ExpectedKeys::Missing, ExpectedKeys::Digest(digest(1))] {
            assert_eq!(found(expected, &[None, None, None]).0, Some(false));
        }
    }
}

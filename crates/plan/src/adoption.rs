//! Cluster ids: the id in the identity on a cluster's volumes, and the adoption of volumes under a new resource.
//!
//! Volumes outlive their resource and their namespace. A resource with another UID that finds them adopts them by the
//! annotation `meridiandb.io/adopt: <cluster id>`.

use meridian_crd::{ShardStatus, VectorCluster, VectorClusterStatus};
use meridian_model::{ClusterId, ShardNumber};
use meridian_proto::topology::{Genesis, Identity, PodStatus};
use serde_json::Value;

use crate::names::{ADOPT_ANNOTATION, CLUSTER_ID_LABEL};
use crate::render::Object;
use crate::{Observed, ObservedPod, Placement, Refusal, ValidCluster};

/// The id of `cluster`, from the first of: its status, its annotation, the labels of its claims (`label_id`), its UID.
///
/// While no shard was bootstrapped under the id in the status, no volume can carry it, and the annotation replaces it.
///
/// # Errors
/// The annotation is not an id, or another of `clusters` has that id: two clusters would serve the volumes of one.
pub fn cluster_id(
    cluster: &VectorCluster,
    label_id: Option<ClusterId>,
    clusters: &[VectorCluster],
) -> Result<ClusterId, Refusal> {
    let own = cluster.metadata.uid.as_ref().and_then(|uid| uid.parse().ok());
    let status = cluster.status.as_ref();
    let known = status.and_then(|status| status.cluster_id.as_ref()?.parse().ok());
    if let Some(known) = known.filter(|_| status.is_some_and(has_bootstrapped)) {
        return Ok(known);
    }
    match cluster.metadata.annotations.as_ref().and_then(|annotations| annotations.get(ADOPT_ANNOTATION)) {
        Some(text) => adopted(cluster, text, clusters),
        // Every object of an API server has a UID, and every UID is a UUID.
        None => Ok(known.or(label_id).or(own).unwrap_or(ClusterId(0))),
    }
}

fn adopted(cluster: &VectorCluster, text: &str, clusters: &[VectorCluster]) -> Result<ClusterId, Refusal> {
    let refuse = |fault: String| Err(Refusal { field: "metadata.annotations[meridiandb.io/adopt]", fault });
    let Ok(id) = text.trim().parse::<ClusterId>() else {
        return refuse(format!("must be a cluster id as status.clusterId shows it (got {text:?})"));
    };
    let has_it = |other: &&VectorCluster| {
        let status = other.status.as_ref().and_then(|status| status.cluster_id.as_ref()?.parse().ok());
        other.metadata.uid != cluster.metadata.uid && status == Some(id)
    };
    match clusters.iter().find(has_it) {
        Some(other) => {
            let meta = &other.metadata;
            let name = |text: &Option<String>| text.clone().unwrap_or_default();
            refuse(format!("cluster {id} is VectorCluster {}/{}", name(&meta.namespace), name(&meta.name)))
        }
        None => Ok(id),
    }
}

/// Pods with a volume of another cluster, and the advice to the user; `None` if there are none.
#[must_use]
pub fn foreign_volumes(cluster: &ValidCluster, observed: &Observed, status: &VectorClusterStatus) -> Option<String> {
    let pods = || observed.shards.iter().flat_map(|(shard, seen)| seen.pods.iter().map(|(o, pod)| (*shard, *o, pod)));
    let foreign: Vec<(ShardNumber, u16, &Identity)> = pods()
        .filter(|(.., pod)| !pod.deleting)
        .filter_map(|(shard, ordinal, pod)| Some((shard, ordinal, pod.foreign()?)))
        .collect();
    let (_, _, first) = foreign.first()?;
    let id = first.genesis.cluster;
    // An adoption changes nothing but the id.
    let is_in_place = |(shard, _, found): &(ShardNumber, u16, &Identity)| {
        let genesis = Genesis { cluster: id, ..found.genesis.clone() };
        let here = Genesis { cluster: id, ..cluster.genesis(*shard) };
        let same = (&genesis.region, genesis.shard, genesis.shards) == (&here.region, here.shard, here.shards);
        same && (found.group.is_none() || found.group == cluster.group())
    };
    let is_ours = |(_, _, pod): (ShardNumber, u16, &ObservedPod)| has_cluster_id(pod, cluster.id);
    let agree = foreign.iter().all(|(.., found)| found.genesis.cluster == id) && !pods().any(is_ours);
    let advice = if !foreign.iter().all(is_in_place) {
        "give every pod a volume that was made for its region, shard and replication group".to_owned()
    } else if id == cluster.id {
        "give every pod its own volume".to_owned()
    } else if has_bootstrapped(status) {
        format!(
            "volumes of this cluster already carry {}, so it cannot adopt another: give every pod its own volume",
            cluster.id
        )
    } else if !agree {
        "the volumes are of different clusters: give all pods volumes of one cluster".to_owned()
    } else {
        format!("to adopt them, set the annotation {ADOPT_ANNOTATION}: {id} on the VectorCluster")
    };
    let messages: Vec<String> = foreign
        .iter()
        .map(|(shard, ordinal, found)| format!("{} has a volume of {found}", cluster.pod_name(*shard, *ordinal)))
        .collect();
    // The advice comes first, so that a long list of pods does not push it out of the message.
    Some(format!("{advice}; {}", messages.join("; ")))
}

/// Returns true if the replica that runs on the pod reports this cluster id.
#[must_use]
pub fn has_cluster_id(pod: &ObservedPod, id: ClusterId) -> bool {
    matches!(&pod.answer, Some(PodStatus::Running(status)) if status.identity.genesis.cluster == id)
}

/// Claims whose volume carries the id of the cluster and whose label names another id: those of an adopted cluster.
///
/// `claims`: name and label of each claim. The label lets a resource that is deleted and applied again find the id.
#[must_use]
pub fn claims_to_label<'a>(
    cluster: &ValidCluster,
    observed: &Observed,
    claims: impl IntoIterator<Item = (&'a str, Option<&'a str>)>,
) -> Vec<&'a str> {
    let id = cluster.id.to_string();
    let is_ours = |name: &str| {
        observed.shards.iter().any(|(shard, seen)| {
            let prefix = format!("data-{}-", cluster.shard_name(*shard));
            let ordinal = name.strip_prefix(&prefix).and_then(|ordinal| ordinal.parse().ok());
            ordinal.and_then(|ordinal: u16| seen.pods.get(&ordinal)).is_some_and(|pod| has_cluster_id(pod, cluster.id))
        })
    };
    let claims = claims.into_iter();
    claims.filter(|(name, label)| *label != Some(id.as_str()) && is_ours(name)).map(|(name, _)| name).collect()
}

/// Returns true if a pod may have received the id, from which time on a volume may carry it.
fn has_bootstrapped(status: &VectorClusterStatus) -> bool {
    let allocated = |shard: &ShardStatus| {
        shard.bootstrapped || !shard.bootstrap_replica_ids.is_empty() || shard.joining_replica_id.is_some()
    };
    status.shards.iter().any(allocated)
}

/// `object` with the labels of the claim templates of `live`. Claim templates of a StatefulSet are immutable, so one
/// that was created before an adoption keeps the former id.
#[must_use]
pub fn with_live_claim_labels(object: Object, live: Option<&Value>) -> Object {
    let label =
        |object: &Value| object["spec"]["volumeClaimTemplates"][0]["metadata"]["labels"][CLUSTER_ID_LABEL].clone();
    match live.map(label).filter(|existing| !existing.is_null() && *existing != label(object.as_json())) {
        Some(existing) if object.as_json()["kind"] == "StatefulSet" => {
            let mut json = object.as_json().clone();
            json["spec"]["volumeClaimTemplates"][0]["metadata"]["labels"][CLUSTER_ID_LABEL] = existing;
            Object::from_json(json)
        }
        _ => object,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use meridian_model::ReplicaId;

    use super::*;
    use crate::fixtures::{ALONE, resource, valid};
    use crate::{Apis, ObservedShard, render};

    const UID: u128 = 0x5f0b_7a52_6c1f_4d53_9d0a_0d7f_4a9c_1e11;

    fn annotated(text: &str) -> VectorCluster {
        let mut cluster = resource(ALONE);
        cluster.metadata.annotations = Some(BTreeMap::from([(ADOPT_ANNOTATION.to_owned(), text.to_owned())]));
        cluster
    }

    fn with_status(mut cluster: VectorCluster, id: u128, shard: ShardStatus) -> VectorCluster {
        let cluster_id = Some(ClusterId(id).to_string());
        cluster.status =
            Some(VectorClusterStatus { cluster_id, shards: vec![shard], ..VectorClusterStatus::default() });
        cluster
    }

    fn id_of(cluster: &VectorCluster, label_id: Option<u128>) -> u128 {
        cluster_id(cluster, label_id.map(ClusterId), &[]).unwrap().0
    }

    #[test]
    fn the_id_comes_from_status_annotation_label_uid_in_this_order() {
        let adopting = annotated(&ClusterId(7).to_string());
        assert_eq!(id_of(&resource(ALONE), None), UID);
        assert_eq!(id_of(&resource(ALONE), Some(5)), 5);
        assert_eq!(id_of(&adopting, Some(5)), 7);
        assert_eq!(id_of(&with_status(resource(ALONE), 3, ShardStatus::default()), Some(5)), 3);
    }

    #[test]
    fn an_annotation_replaces_only_an_id_that_no_volume_carries() {
        let adopting = || annotated(&ClusterId(7).to_string());
        assert_eq!(id_of(&with_status(adopting(), 3, ShardStatus::default()), None), 7);
        let allocated = [
            ShardStatus { bootstrapped: true, ..ShardStatus::default() },
            ShardStatus { bootstrap_replica_ids: vec![1], ..ShardStatus::default() },
            ShardStatus { joining_replica_id: Some(1), ..ShardStatus::default() },
        ];
        for shard in allocated {
            assert_eq!(id_of(&with_status(adopting(), 3, shard.clone()), None), 3, "{shard:?}");
        }
    }

    #[test]
    fn an_annotation_that_is_no_id_or_the_id_of_another_cluster_is_refused() {
        let refused = |cluster: &VectorCluster, others: &[VectorCluster]| {
            cluster_id(cluster, None, others).unwrap_err().to_string()
        };
        assert!(refused(&annotated("mine"), &[]).contains("must be a cluster id"));
        let mut other = with_status(resource(ALONE), 7, ShardStatus::default());
        other.metadata.uid = Some("another".into());
        let message = refused(&annotated(&ClusterId(7).to_string()), &[other]);
        assert!(message.contains("is VectorCluster us-east/vector-search"), "{message}");
    }

    /// A pod of the first shard with this answer.
    fn pod(answer: PodStatus) -> ObservedPod {
        let uid = "u".into();
        ObservedPod {
            uid,
            deleting: false,
            ready: true,
            outdated: false,
            answer: Some(answer),
            keys: None,
            failure_reason: None,
            ..ObservedPod::default()
        }
    }

    fn observed(pods: Vec<PodStatus>) -> Observed {
        let shard = ObservedShard { pods: (0..).zip(pods.into_iter().map(pod)).collect(), ..ObservedShard::default() };
        Observed { shards: [(ShardNumber::FIRST, shard)].into(), ..Observed::default() }
    }

    /// A volume of the earlier cluster `id`, changed in one respect.
    fn foreign(id: u128, change: impl Fn(&mut Identity)) -> PodStatus {
        let genesis = Genesis { cluster: ClusterId(id), ..valid(ALONE, &[]).genesis(ShardNumber::FIRST) };
        let mut identity = Identity {
            genesis,
            replica: ReplicaId(3),
            founders: Vec::new(),
            group: None,
            behavior: meridian_model::BehaviorVersion::FIRST,
        };
        change(&mut identity);
        PodStatus::Foreign { identity }
    }

    fn advice(pods: Vec<PodStatus>, status: &VectorClusterStatus) -> String {
        foreign_volumes(&valid(ALONE, &[]), &observed(pods), status).unwrap_or_default()
    }

    #[test]
    fn volumes_of_one_earlier_cluster_are_named_with_the_annotation_that_adopts_them() {
        let status = VectorClusterStatus::default();
        assert_eq!(advice(vec![PodStatus::Blank], &status), "");
        let id = ClusterId(7);
        let message = advice(vec![PodStatus::Blank, foreign(7, |_| ())], &status);
        let named = format!("vector-search-s1-1 has a volume of cluster {id}, region us-east, shard 1 of 2, replica 3");
        assert_eq!(
            message,
            format!("to adopt them, set the annotation meridiandb.io/adopt: {id} on the VectorCluster; {named}")
        );
    }

    #[test]
    fn volumes_that_cannot_be_adopted_get_another_advice() {
        let status = VectorClusterStatus::default();
        let own = valid(ALONE, &[]).id.0;
        let founded = ShardStatus { bootstrapped: true, ..ShardStatus::default() };
        let founded = VectorClusterStatus { shards: vec![founded], ..VectorClusterStatus::default() };
        let check = |pods: Vec<PodStatus>, status: &VectorClusterStatus, says: &str| {
            let message = advice(pods, status);
            assert!(message.contains(says) && !message.contains("annotation"), "{message}");
        };
        check(vec![foreign(7, |_| ()), foreign(8, |_| ())], &status, "are of different clusters");
        check(vec![foreign(7, |_| ())], &founded, "cannot adopt another");
        let elsewhere = "made for its region, shard and replication group";
        check(vec![foreign(own, |identity| identity.genesis.shard = ShardNumber::new(2).unwrap())], &status, elsewhere);
        check(vec![foreign(7, |identity| identity.genesis.shards = 9)], &status, elsewhere);
        check(vec![foreign(7, |identity| identity.group = Some("another".into()))], &status, elsewhere);
    }

    #[test]
    fn only_claims_of_volumes_with_the_adopted_id_get_its_label() {
        let cluster = crate::ValidCluster { id: ClusterId(7), ..valid(ALONE, &[]) };
        let (id, former) = (ClusterId(7).to_string(), ClusterId(UID).to_string());
        let running = PodStatus::Running(Box::new(crate::fixtures::running(cluster.genesis(ShardNumber::FIRST))));
        let observed = observed(vec![running.clone(), running.clone(), foreign(9, |_| ()), PodStatus::Blank, running]);
        let claims = [
            ("data-vector-search-s1-0", Some(former.as_str())),
            ("data-vector-search-s1-1", Some(id.as_str())),
            ("data-vector-search-s1-2", Some(former.as_str())),
            ("data-vector-search-s1-3", Some(former.as_str())),
            ("data-vector-search-s1-4", None),
            ("data-vector-search-s1-5", Some(former.as_str())),
            ("shop", Some(former.as_str())),
        ];
        let labeled = claims_to_label(&cluster, &observed, claims);
        assert_eq!(labeled, ["data-vector-search-s1-0", "data-vector-search-s1-4"]);
    }

    #[test]
    fn an_existing_stateful_set_keeps_the_label_of_its_claims() {
        let cluster = valid(ALONE, &[]);
        let sets = |cluster: &crate::ValidCluster| {
            let objects = render::cluster(cluster, &render::as_declared(cluster), Apis::default());
            objects.into_iter().find(|object| object.reference().kind == "StatefulSet").unwrap()
        };
        let before = sets(&cluster);
        let adopting = crate::ValidCluster { id: ClusterId(7), ..cluster };
        let claims = |object: &Object| object.as_json()["spec"]["volumeClaimTemplates"].clone();
        assert_ne!(claims(&sets(&adopting)), claims(&before));
        assert_eq!(claims(&with_live_claim_labels(sets(&adopting), Some(before.as_json()))), claims(&before));
        assert_eq!(with_live_claim_labels(sets(&adopting), None), sets(&adopting));
    }
}

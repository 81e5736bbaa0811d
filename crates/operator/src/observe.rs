//! Observations of a turn. Every read of the API server is a quorum read, so a turn observes the writes of its
//! predecessor.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use futures::future::join_all;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, ContainerState, PersistentVolumeClaim, Pod, Secret};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, DynamicObject, ListParams};
use kube::{Client, ResourceExt};
use meridian_crd::{ReplicationLink, VectorCluster};
use meridian_model::{BehaviorVersion, ClusterId, ShardNumber};
use meridian_plan::adoption;
use meridian_plan::names::{ADOPT_ANNOTATION, CLUSTER_ID_LABEL, CLUSTER_LABEL, SHARD_LABEL};
use meridian_plan::ownership::{self, Claim, Owners};
use meridian_plan::render::{AcceptedSpec, ObjectRef, accepted_name};
use meridian_plan::report::is_image_fault;
use meridian_plan::{
    Apis, Observed, ObservedPod, ObservedShard, ObservedStatefulSet, Refusal, ReplicaIdAllocator, Secrets, Settings,
    ValidCluster,
};
use meridian_proto::topology::{KeysDigest, PodStatus, ReplicaStatus, TopologyAnswer, TopologyCall};
use serde_json::Value;

use crate::certificates::{Authority, CertificateSecrets, PodCertificates, PodTrust};
use crate::context::Context;
use crate::keys::{KeySecret, KeySecrets};
use crate::kinds;
use crate::peers::Peers;
use crate::upgrade;

/// Objects read before the spec is parsed.
pub struct Prerequisites {
    pub links: Vec<ReplicationLink>,
    pub volumes: Vec<PersistentVolumeClaim>,
    /// The cluster id, or the refusal of an invalid annotation.
    pub id: Result<ClusterId, Refusal>,
    /// The owners of our objects.
    pub owners: Owners,
    /// The last accepted spec, if `status` names one.
    pub accepted: Option<AcceptedSpec>,
}

impl Prerequisites {
    /// Parses the spec. If it is refused, the last accepted spec is parsed instead, and the refusal is returned with
    /// it.
    ///
    /// # Errors
    /// The spec is refused, and there is no valid accepted one.
    pub fn parse(
        &self,
        resource: &VectorCluster,
        settings: &Settings,
    ) -> Result<(ValidCluster, Option<Refusal>), Refusal> {
        let id = self.id.clone()?;
        let parse = |resource: &VectorCluster| ValidCluster::parse(resource, &self.links, id, settings);
        let refusal = match parse(resource) {
            Ok(cluster) => return Ok((cluster, None)),
            Err(refusal) => refusal,
        };
        let Some(spec) = self.accepted.as_ref().and_then(AcceptedSpec::spec) else { return Err(refusal) };
        match parse(&VectorCluster { spec, ..resource.clone() }) {
            Ok(cluster) => Ok((cluster, Some(refusal))),
            Err(_) => Err(refusal),
        }
    }
}

/// The observations of a turn.
pub struct ClusterView {
    pub observed: Observed,
    /// Existing objects with our label, except those of other owners.
    pub live_objects: BTreeMap<ObjectRef, Value>,
    /// The owners of our objects.
    pub owners: Owners,
    /// ConfigMaps mounted by pods or by live templates: a held template may start a pod at any time.
    pub mounted: BTreeSet<String>,
    /// Addresses of pods.
    pub addresses: BTreeMap<(ShardNumber, u16), IpAddr>,
    /// The connection to the pods; `None` without a certificate authority.
    pub peers: Option<Peers>,
    /// The Secrets with certificates.
    pub certificates: CertificateSecrets,
    /// The Secrets with keys.
    pub keys: KeySecrets,
}

fn of_cluster(name: &str) -> ListParams {
    ListParams::default().labels(&format!("{CLUSTER_LABEL}={name}"))
}

/// Reads the objects that parsing needs.
pub async fn load_prerequisites(context: &Context, cluster: &VectorCluster) -> kube::Result<Prerequisites> {
    let client = &context.client;
    let (name, namespace) = (cluster.name_any(), cluster.namespace().unwrap_or_default());
    let links =
        Api::<ReplicationLink>::namespaced(client.clone(), &namespace).list(&ListParams::default()).await?.items;
    let volumes =
        Api::<PersistentVolumeClaim>::namespaced(client.clone(), &namespace).list(&of_cluster(&name)).await?.items;
    let borne = volumes.iter().find_map(|volume| volume.labels().get(CLUSTER_ID_LABEL)?.parse().ok());
    let adopts = cluster.annotations().contains_key(ADOPT_ANNOTATION);
    let others = if adopts { context.clusters().await? } else { Vec::new() };
    let id = adoption::cluster_id(cluster, borne, &others);
    let owners = Owners::of(cluster, &links);
    let accepted = accepted(client, cluster, &owners).await?;
    Ok(Prerequisites { links, volumes, id, owners, accepted })
}

async fn accepted(client: &Client, cluster: &VectorCluster, owners: &Owners) -> kube::Result<Option<AcceptedSpec>> {
    let Some(hash) = cluster.status.as_ref().and_then(|status| status.accepted_spec_hash.as_ref()) else {
        return Ok(None);
    };
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), &cluster.namespace().unwrap_or_default());
    let Some(map) = maps.get_opt(&accepted_name(&cluster.name_any())).await? else { return Ok(None) };
    let map = serde_json::to_value(map).map_err(kube::Error::SerdeError)?;
    Ok(AcceptedSpec::read(&map, owners, hash))
}

/// Observes a cluster.
pub async fn observe(
    context: &Context,
    resource: &VectorCluster,
    cluster: &ValidCluster,
    prerequisites: &Prerequisites,
) -> anyhow::Result<ClusterView> {
    let client = &context.client;
    let apis = kinds::served(client, context.apis).await?;
    let live_objects = live_objects(client, cluster, &prerequisites.owners, apis).await?;
    let SecretContents { certificates, keys } = secrets(client, cluster).await?;
    let secrets =
        Secrets { api_key: keys.api.bytes("api-key").is_some(), group_key: keys.group.bytes("group-key").is_some() };
    let peers = Peers::new(certificates.connectors(cluster)?, cluster.id, cluster.region.clone());
    let pods = Api::<Pod>::namespaced(client.clone(), &cluster.namespace).list(&of_cluster(&cluster.name)).await?.items;
    let of_templates: Vec<String> = live_objects
        .values()
        .flat_map(ownership::mounts)
        .filter_map(|mounted| (mounted.kind == "ConfigMap").then_some(mounted.name))
        .collect();
    let mut view = ClusterView {
        observed: Observed {
            secrets,
            apis,
            certificates: certificates.seen(),
            keys: keys.expected(cluster),
            upgrade: upgrade::of_resource(resource),
            ..Observed::default()
        },
        live_objects,
        owners: prerequisites.owners.clone(),
        mounted: mounted(&pods).chain(of_templates).collect(),
        addresses: BTreeMap::new(),
        peers,
        certificates,
        keys,
    };
    let allocators = resource.status.as_ref().map(|status| status.shards.as_slice()).unwrap_or_default();
    let mut revisions = BTreeMap::new();
    for shard in ShardNumber::all(cluster.shards) {
        let allocator = allocators.iter().find(|allocator| allocator.shard == i32::from(shard.number()));
        let mut seen = ObservedShard {
            allocator: allocator.map(ReplicaIdAllocator::from_status).unwrap_or_default(),
            ..ObservedShard::default()
        };
        if let Some((set, revision)) = stateful_set(&view, &cluster.shard_name(shard))? {
            seen.stateful_set = Some(set);
            revisions.insert(shard, revision);
        }
        let prefix = format!("data-{}-", cluster.shard_name(shard));
        seen.volumes =
            prerequisites.volumes.iter().filter_map(|v| v.name_any().strip_prefix(&prefix)?.parse().ok()).collect();
        view.observed.shards.insert(shard, seen);
    }
    for pod in &pods {
        let Some((shard, ordinal)) = place(cluster, pod) else { continue };
        let Some(seen) = view.observed.shards.get_mut(&shard) else { continue };
        let settled = seen.stateful_set.is_some_and(|set| set.settled);
        let own = pod.labels().get("controller-revision-hash");
        let wanted = revisions.get(&shard).and_then(Option::as_ref);
        let ready = pod.status.as_ref().and_then(|s| s.conditions.as_ref()).into_iter().flatten();
        let is_newest = settled && wanted.is_some() && own == wanted;
        let template = stateful_set_ref(&cluster.shard_name(shard));
        let template = view.live_objects.get(&template).filter(|_| is_newest);
        let seen_pod = ObservedPod {
            uid: pod.uid().unwrap_or_default(),
            deleting: pod.metadata.deletion_timestamp.is_some(),
            ready: ready.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True"),
            outdated: settled && wanted.is_some() && own != wanted,
            answer: None,
            keys: None,
            failure_reason: failure_reason(pod),
            known: None,
            image: upgrade::image_of(pod, template),
        };
        seen.pods.insert(ordinal, seen_pod);
    }
    view.addresses = addresses(cluster, &pods);
    if let Some(peers) = &view.peers {
        let answers = statuses(cluster, peers, &view.addresses).await;
        let trust = |place: &(ShardNumber, u16)| {
            answers.iter().find(|answer| answer.place == *place).map(|answer| answer.trust)
        };
        // A pod without an address reads the newest files when it starts.
        let asked = || pods.iter().filter(|pod| !has_been_down_for_a_day(pod)).filter_map(|pod| place(cluster, pod));
        let asked = || asked().filter(|place| view.addresses.contains_key(place));
        view.observed.certificates.all_show = asked().all(|place| trust(&place) == Some(PodTrust::ShowsAuthority));
        view.observed.certificates.all_trust =
            asked().all(|place| matches!(trust(&place), Some(PodTrust::ShowsAuthority | PodTrust::TrustsAuthority)));
        for PodAnswer { place: (shard, ordinal), pod: status, keys, known, .. } in answers {
            let pod = view.observed.shards.get_mut(&shard).and_then(|seen| seen.pods.get_mut(&ordinal));
            if let Some(pod) = pod {
                pod.answer = Some(status);
                pod.keys = keys;
                pod.known = Some(known);
            }
        }
    }
    Ok(view)
}

/// Statuses of the replicas of a cluster that run and answer.
pub async fn replicas(context: &Context, cluster: &ValidCluster) -> anyhow::Result<Vec<ReplicaStatus>> {
    let certificates = secrets(&context.client, cluster).await?.certificates;
    let peers = Peers::new(certificates.connectors(cluster)?, cluster.id, cluster.region.clone());
    let Some(peers) = peers else { return Ok(Vec::new()) };
    let pods = Api::<Pod>::namespaced(context.client.clone(), &cluster.namespace);
    let pods = pods.list(&of_cluster(&cluster.name)).await?.items;
    let answers = statuses(cluster, &peers, &addresses(cluster, &pods)).await;
    let running = answers.into_iter().filter_map(|answer| match answer.pod {
        PodStatus::Running(status) => Some(*status),
        PodStatus::Blank | PodStatus::Damaged { .. } => None,
        PodStatus::Foreign { .. } | PodStatus::Newer { .. } => None,
    });
    Ok(running.collect())
}

/// Addresses of the pods that are not being deleted.
fn addresses(cluster: &ValidCluster, pods: &[Pod]) -> BTreeMap<(ShardNumber, u16), IpAddr> {
    let address = |pod: &Pod| {
        let stays = pod.metadata.deletion_timestamp.is_none();
        let address = pod.status.as_ref()?.pod_ip.as_ref()?.parse().ok();
        Some((place(cluster, pod)?, address.filter(|_| stays)?))
    };
    pods.iter().filter_map(address).collect()
}

/// The reason for which a pod does not run; `None` for a pod that runs or is just starting.
fn failure_reason(pod: &Pod) -> Option<String> {
    let status = pod.status.as_ref()?;
    let unscheduled = status.conditions.iter().flatten().find(|c| c.type_ == "PodScheduled" && c.status == "False");
    if let Some(condition) = unscheduled {
        return condition.message.clone();
    }
    let container = status.container_statuses.iter().flatten().find(|container| !container.ready)?;
    let last = |state: &Option<ContainerState>| state.as_ref()?.terminated.as_ref()?.message.as_deref().map(last_line);
    // The last output of the process says more than the kubelet's backoff.
    let words = last(&container.state).or_else(|| last(&container.last_state));
    let waiting = container.state.as_ref().and_then(|state| state.waiting.as_ref());
    let reason = waiting.and_then(|waiting| waiting.reason.as_deref());
    let reason = reason.filter(|reason| *reason != "ContainerCreating" && *reason != "PodInitializing");
    // For an unavailable image the reason comes first; the output of an earlier image no longer counts.
    let of_image =
        waiting.filter(|_| reason.is_some_and(is_image_fault)).and_then(|waiting| waiting.message.as_deref());
    match (reason, of_image) {
        (Some(reason), Some(message)) => Some(format!("{reason}: {}", last_line(message))),
        _ => words.or(reason.map(ToOwned::to_owned)),
    }
}

/// The last line that is not empty, limited to 300 characters.
fn last_line(text: &str) -> String {
    let line = text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
    line.trim().chars().take(300).collect()
}

/// The answer of a pod to a status call.
struct PodAnswer {
    place: (ShardNumber, u16),
    pod: PodStatus,
    keys: Option<KeysDigest>,
    known: BehaviorVersion,
    trust: PodTrust,
}

/// Calls every pod concurrently; returns the answers.
async fn statuses(
    cluster: &ValidCluster,
    peers: &Peers,
    addresses: &BTreeMap<(ShardNumber, u16), IpAddr>,
) -> Vec<PodAnswer> {
    let calls = addresses.iter().map(|((shard, ordinal), address)| async move {
        let host = host(cluster, *shard, *ordinal);
        (*shard, *ordinal, peers.call_with_trust(*address, &host, TopologyCall::Status).await)
    });
    let mut statuses = Vec::new();
    for (shard, ordinal, answer) in join_all(calls).await {
        match answer {
            Ok((TopologyAnswer::Status { pod, keys, build }, trust)) => {
                let known = build.map_or(BehaviorVersion::FIRST, |build| build.behavior);
                statuses.push(PodAnswer { place: (shard, ordinal), pod, keys, known, trust });
            }
            Ok((other, _)) => tracing::warn!(%shard, ordinal, ?other, "unexpected answer to a status call"),
            Err(error) => {
                tracing::debug!(%shard, ordinal, error = &error as &dyn std::error::Error, "a pod did not answer");
            }
        }
    }
    statuses
}

/// The DNS name of a pod, which is in its certificate.
pub fn host(cluster: &ValidCluster, shard: ShardNumber, ordinal: u16) -> String {
    format!("{}.{}", cluster.pod_name(shard, ordinal), cluster.peers_domain())
}

fn place(cluster: &ValidCluster, pod: &Pod) -> Option<(ShardNumber, u16)> {
    let shard = ShardNumber::new(pod.labels().get(SHARD_LABEL)?.parse().ok()?).ok()?;
    let ordinal = pod.name_any().strip_prefix(&format!("{}-", cluster.shard_name(shard)))?.parse().ok()?;
    Some((shard, ordinal))
}

fn mounted(pods: &[Pod]) -> impl Iterator<Item = String> {
    let volumes = pods.iter().filter_map(|pod| pod.spec.as_ref()?.volumes.as_ref()).flatten();
    volumes.filter_map(|volume| Some(volume.config_map.as_ref()?.name.clone()))
}

async fn live_objects(
    client: &Client,
    cluster: &ValidCluster,
    owners: &Owners,
    apis: Apis,
) -> kube::Result<BTreeMap<ObjectRef, Value>> {
    let labels = of_cluster(&cluster.name);
    let mut live_objects = BTreeMap::new();
    for resource in kinds::rendered(apis) {
        let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), &cluster.namespace, &resource);
        for object in api.list(&labels).await? {
            let reference = ObjectRef {
                api_version: resource.api_version.clone(),
                kind: resource.kind.clone(),
                name: object.name_any(),
            };
            let mut value = serde_json::to_value(&object).map_err(kube::Error::SerdeError)?;
            // Items of a list lack these two fields.
            value["apiVersion"] = resource.api_version.as_str().into();
            value["kind"] = resource.kind.as_str().into();
            if !matches!(owners.claim(&value), Claim::Foreign(_)) {
                live_objects.insert(reference, value);
            }
        }
    }
    Ok(live_objects)
}

fn stateful_set_ref(name: &str) -> ObjectRef {
    ObjectRef { api_version: "apps/v1".into(), kind: "StatefulSet".into(), name: name.into() }
}

/// The StatefulSet of that name, and the newest revision of its pods.
fn stateful_set(view: &ClusterView, name: &str) -> anyhow::Result<Option<(ObservedStatefulSet, Option<String>)>> {
    let Some(value) = view.live_objects.get(&stateful_set_ref(name)) else { return Ok(None) };
    let set: StatefulSet = serde_json::from_value(value.clone())?;
    let status = set.status.as_ref();
    let seen = ObservedStatefulSet {
        replicas: set.spec.as_ref().and_then(|spec| u16::try_from(spec.replicas?).ok()).unwrap_or(1),
        settled: status.and_then(|status| status.observed_generation) == set.metadata.generation,
        deleting: view.owners.claim(value) == Claim::Leaving,
    };
    Ok(Some((seen, status.and_then(|status| status.update_revision.clone()))))
}

/// The Secrets of a cluster.
struct SecretContents {
    certificates: CertificateSecrets,
    keys: KeySecrets,
}

async fn secrets(client: &Client, cluster: &ValidCluster) -> anyhow::Result<SecretContents> {
    let api = Api::<Secret>::namespaced(client.clone(), &cluster.namespace);
    let mut keys = KeySecrets::default();
    if let Some(key) = &cluster.api_key {
        keys.api = KeySecret::of(api.get_opt(&key.secret).await?);
    }
    if let Some(group) = &cluster.group {
        keys.group = KeySecret::of(api.get_opt(&group.secret).await?);
    }
    let ca = api.get_opt(&cluster.peer_ca_name()).await?;
    let authority = text(ca.as_ref(), "ca.crt").zip(text(ca.as_ref(), "ca.key"));
    let tls = api.get_opt(&cluster.peer_tls_name()).await?;
    // The certificate contains the id: after an adoption another one is signed.
    let of_us =
        tls.as_ref().and_then(|tls| tls.labels().get(CLUSTER_ID_LABEL)).is_none_or(|id| *id == cluster.id.to_string());
    let tls = |key| text(tls.as_ref().filter(|_| of_us), key);
    let pod_certificates = tls("ca.crt").zip(tls("tls.crt")).zip(tls("tls.key"));
    let certificates = CertificateSecrets {
        authority: authority.map(|(cert, key)| Authority { cert, key }),
        pod_certificates: pod_certificates.map(|((ca, cert), key)| PodCertificates { ca, cert, key }),
    };
    Ok(SecretContents { certificates, keys })
}

/// A pod that is down for a day does not delay the replacement of certificates; when it returns, it reads the newest
/// files.
fn has_been_down_for_a_day(pod: &Pod) -> bool {
    const DAY_S: i64 = 86_400;
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref()).into_iter().flatten();
    let mut down = conditions.filter(|condition| condition.type_ == "Ready" && condition.status == "False");
    let since = down.find_map(|condition| Some(condition.last_transition_time.as_ref()?.0.as_second()));
    since.is_some_and(|since| Timestamp::now().as_second() - since > DAY_S)
}

fn text(secret: Option<&Secret>, key: &str) -> Option<String> {
    String::from_utf8(secret?.data.as_ref()?.get(key)?.0.clone()).ok()
}

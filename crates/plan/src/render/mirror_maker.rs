//! MirrorMaker 2: the mirrored topics, and its properties file.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy};
use k8s_openapi::api::core::v1::{
    Container, EmptyDirVolumeSource, EnvVar, ExecAction, PodSpec, PodTemplateSpec, Probe, Volume,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use meridian_crd::MirrorMaker2Mode;
use meridian_model::RegionName;
use meridian_proto::record::RECORD_BYTES;

use super::{Object, config_map, pod, strimzi};
use crate::{Apis, ValidCluster, ValidLink};

/// Tasks that copy. Tasks beyond the number of partitions stay idle.
pub(super) const TASKS: u32 = 4;
/// The properties file in its ConfigMap.
const FILE: &str = "mm2.properties";
/// Mount point of the file.
const FOLDER: &str = "/etc/mirror-maker";
/// Starts MirrorMaker 2 with a properties file (`$0`) for a target cluster (`$1`). The log of a former container is
/// removed, since the probe would read it again.
const START: &str = "rm -rf /tmp/logs && exec /opt/kafka/bin/connect-mirror-maker.sh \"$0\" --clusters \"$1\"";
/// Fails when a task has failed permanently. The worker then logs this line (`connect-log4j2.yaml` of the image) and
/// continues without the task; dedicated mode has no interface that reports or restarts it.
const PROBE: &str = "! grep -qs 'will not recover until manually restarted' /tmp/logs/connect.log*";

/// Mirroring of one topic from one region to another.
pub(super) struct Flow<'a> {
    pub source: &'a RegionName,
    pub target: &'a RegionName,
    pub from: &'a str,
    pub to: &'a str,
    pub topic: &'a str,
    pub running: bool,
    pub group_id: String,
}

fn flow<'a>(cluster: &'a ValidCluster, link: &'a ValidLink) -> Option<(MirrorMaker2Mode, Flow<'a>)> {
    let (mirror, kafka) = (link.mirror.as_ref()?, link.kafka.as_ref()?);
    let flow = Flow {
        source: &link.source,
        target: &cluster.region,
        from: kafka.bootstrap_servers.as_str(),
        to: mirror.copy.bootstrap_servers.as_str(),
        topic: kafka.topic.as_str(),
        running: link.running,
        group_id: format!("meridian-{}-{}-{}", cluster.namespace, cluster.name, link.name),
    };
    Some((mirror.mode, flow))
}

/// The objects that run MirrorMaker 2 for a link; none if the link reads directly or the mode is `External`.
pub(super) fn objects(cluster: &ValidCluster, link: &ValidLink, meta: &ObjectMeta, apis: Apis) -> Vec<Object> {
    match flow(cluster, link) {
        Some((MirrorMaker2Mode::Strimzi, flow)) if apis.strimzi => {
            vec![Object::from_json(strimzi::kafka_mirror_maker2(meta, &flow))]
        }
        Some((MirrorMaker2Mode::Deployment, flow)) => {
            let named = ObjectMeta { name: Some(format!("{}-mm2", link.name)), ..meta.clone() };
            let config = config_map::named_by_content(named.clone(), FILE, text(&flow));
            let deployment = deployment(cluster, &flow, named, config_map::name(&config));
            vec![Object::new(deployment), Object::new(config)]
        }
        _ => Vec::new(),
    }
}

/// The properties file of a link with a mirrored topic, in every mode.
#[must_use]
pub fn properties(cluster: &ValidCluster, link: &ValidLink) -> Option<String> {
    flow(cluster, link).map(|(_, flow)| text(&flow))
}

/// The file for `connect-mirror-maker`. Dedicated mode refuses `exactly.once.support` (the checkpoint connector cannot
/// guarantee it) and `emit.offset-syncs.enabled`, so both are omitted. A replication factor of `-1` selects the
/// broker's default.
fn text(flow: &Flow<'_>) -> String {
    let Flow { source, target, from, to, topic, .. } = flow;
    // MirrorMaker 2 reads topics as regular expressions; in properties files `\\` stands for a backslash.
    let topic = topic.replace('.', "\\\\.");
    format!(
        "clusters = {source}, {target}
{source}.bootstrap.servers = {from}
{target}.bootstrap.servers = {to}
{source}->{target}.enabled = true
{source}->{target}.topics = {topic}
{target}->{source}.enabled = false
emit.heartbeats.enabled = false
{source}.exactly.once.source.support = enabled
{target}.exactly.once.source.support = enabled
dedicated.mode.enable.internal.rest = true
listeners = http://127.0.0.1:8083
consumer.isolation.level = read_committed
{source}.consumer.isolation.level = read_committed
{source}.consumer.fetch.max.wait.ms = 20
consumer.poll.timeout.ms = 20
{target}.producer.acks = all
{target}.producer.linger.ms = 0
producer.override.acks = all
producer.override.linger.ms = 0
producer.override.max.request.size = {RECORD_BYTES}
replication.policy.class = org.apache.kafka.connect.mirror.DefaultReplicationPolicy
replication.policy.separator = .
replication.factor = -1
offset-syncs.topic.replication.factor = -1
checkpoints.topic.replication.factor = -1
heartbeats.topic.replication.factor = -1
offset.storage.replication.factor = -1
status.storage.replication.factor = -1
config.storage.replication.factor = -1
offset-syncs.topic.location = target
refresh.topics.interval.seconds = 5
sync.topic.acls.enabled = false
scheduled.rebalance.max.delay.ms = 10000
tasks.max = {TASKS}
"
    )
}

/// One worker: two would fence each other during a replacement. A paused link has none.
fn deployment(cluster: &ValidCluster, flow: &Flow<'_>, meta: ObjectMeta, config: String) -> Deployment {
    let selector = BTreeMap::from([
        ("app.kubernetes.io/name".to_owned(), "meridian-mirror-maker".to_owned()),
        (
            crate::names::LINK_LABEL.to_owned(),
            meta.labels.as_ref().and_then(|l| l.get(crate::names::LINK_LABEL)).cloned().unwrap_or_default(),
        ),
    ]);
    let scratch = |name: &str| Volume {
        name: name.into(),
        empty_dir: Some(EmptyDirVolumeSource { size_limit: Some(Quantity("256Mi".into())), medium: None }),
        ..Volume::default()
    };
    let container = Container {
        name: "mirror-maker".into(),
        image: Some(cluster.kafka_image.clone()),
        image_pull_policy: Some("IfNotPresent".into()),
        command: Some(vec![
            "/bin/sh".into(),
            "-c".into(),
            START.into(),
            format!("{FOLDER}/{FILE}"),
            flow.target.to_string(),
        ]),
        liveness_probe: Some(Probe {
            exec: Some(ExecAction { command: Some(vec!["/bin/sh".into(), "-c".into(), PROBE.into()]) }),
            initial_delay_seconds: Some(30),
            period_seconds: Some(10),
            timeout_seconds: Some(5),
            failure_threshold: Some(1),
            ..Probe::default()
        }),
        env: Some(vec![
            EnvVar { name: "KAFKA_HEAP_OPTS".into(), value: Some("-Xms256m -Xmx512m".into()), value_from: None },
            EnvVar { name: "LOG_DIR".into(), value: Some("/tmp/logs".into()), value_from: None },
        ]),
        security_context: Some(pod::confined()),
        volume_mounts: Some(vec![pod::mount("config", FOLDER), {
            let mut tmp = pod::mount("tmp", "/tmp");
            tmp.read_only = None;
            tmp
        }]),
        ..Container::default()
    };
    Deployment {
        metadata: meta,
        spec: Some(DeploymentSpec {
            replicas: Some(i32::from(flow.running)),
            strategy: Some(DeploymentStrategy { type_: Some("Recreate".into()), rolling_update: None }),
            selector: LabelSelector { match_labels: Some(selector.clone()), ..LabelSelector::default() },
            template: PodTemplateSpec {
                metadata: Some(ObjectMeta { labels: Some(selector), ..ObjectMeta::default() }),
                spec: Some(PodSpec {
                    automount_service_account_token: Some(false),
                    enable_service_links: Some(false),
                    security_context: Some(pod::restricted()),
                    containers: vec![container],
                    volumes: Some(vec![pod::config_volume("config", config), scratch("tmp")]),
                    ..PodSpec::default()
                }),
            },
            ..DeploymentSpec::default()
        }),
        ..Deployment::default()
    }
}

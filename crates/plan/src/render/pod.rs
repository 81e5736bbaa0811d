//! The pod of one replica, under Pod Security `restricted`.

use k8s_openapi::api::core::v1::{
    Affinity, Capabilities, ConfigMapVolumeSource, Container, ContainerPort, EnvVar, EnvVarSource, HTTPGetAction,
    ObjectFieldSelector, PodAffinityTerm, PodAntiAffinity, PodSecurityContext, PodSpec, PodTemplateSpec, Probe,
    SeccompProfile, SecretVolumeSource, SecurityContext, Volume, VolumeMount, WeightedPodAffinityTerm,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use meridian_model::ShardNumber;

use crate::ValidCluster;
use crate::names::{ADMIN_PORT, API_PORT, PEER_PORT, SHARD_LABEL};

/// Paths of a node's files.
pub(super) mod paths {
    pub const DATA: &str = "/var/lib/meridian";
    pub const CONFIG_DIR: &str = "/etc/meridian/config";
    pub const CONFIG_FILE: &str = "node.yaml";
    pub const CONFIG: &str = "/etc/meridian/config/node.yaml";
    pub const TLS_DIR: &str = "/etc/meridian/tls";
    pub const TLS_CA: &str = "/etc/meridian/tls/ca.crt";
    pub const TLS_CERT: &str = "/etc/meridian/tls/tls.crt";
    pub const TLS_KEY: &str = "/etc/meridian/tls/tls.key";
    pub const API_KEY_DIR: &str = "/etc/meridian/api-key";
    pub const API_KEY: &str = "/etc/meridian/api-key/api-key";
    pub const GROUP_KEY_DIR: &str = "/etc/meridian/group-key";
    pub const GROUP_KEY: &str = "/etc/meridian/group-key/group-key";
}

/// Name of the claim that holds the data.
pub(super) const DATA_VOLUME: &str = "data";
/// User and group of the process: those of `nonroot` in common base images.
const USER: i64 = 65532;
/// Termination grace period in seconds. A node transfers leadership, completes open requests and writes a last snapshot
/// within [`meridian_config::Limits::shutdown_timeout_ms`]; the kubelet waits a little longer.
pub(super) const STOP_SECONDS: i64 = 40;

/// Security context of a pod: an unprivileged user.
pub(super) fn restricted() -> PodSecurityContext {
    PodSecurityContext {
        run_as_non_root: Some(true),
        run_as_user: Some(USER),
        run_as_group: Some(USER),
        fs_group: Some(USER),
        fs_group_change_policy: Some("OnRootMismatch".into()),
        seccomp_profile: Some(SeccompProfile { type_: "RuntimeDefault".into(), localhost_profile: None }),
        ..PodSecurityContext::default()
    }
}

/// Security context of a container: no privileges, a read-only file system.
pub(super) fn confined() -> SecurityContext {
    SecurityContext {
        allow_privilege_escalation: Some(false),
        read_only_root_filesystem: Some(true),
        capabilities: Some(Capabilities { drop: Some(vec!["ALL".into()]), add: None }),
        ..SecurityContext::default()
    }
}

pub(super) fn secret_volume(name: &str, secret: &str) -> Volume {
    let source = SecretVolumeSource {
        secret_name: Some(secret.into()),
        default_mode: Some(0o440),
        ..SecretVolumeSource::default()
    };
    Volume { name: name.into(), secret: Some(source), ..Volume::default() }
}

pub(super) fn config_volume(name: &str, config_map: String) -> Volume {
    let source = ConfigMapVolumeSource { name: config_map, ..ConfigMapVolumeSource::default() };
    Volume { name: name.into(), config_map: Some(source), ..Volume::default() }
}

pub(super) fn mount(name: &str, path: &str) -> VolumeMount {
    let read_only = (name != DATA_VOLUME).then_some(true);
    VolumeMount { name: name.into(), mount_path: path.into(), read_only, ..VolumeMount::default() }
}

/// The pod of one replica.
pub(super) fn replica(cluster: &ValidCluster, shard: ShardNumber, config: String) -> PodTemplateSpec {
    let mut labels = cluster.labels();
    labels.insert(SHARD_LABEL.into(), shard.to_string());
    let mut volumes = vec![config_volume("config", config), secret_volume("tls", &cluster.peer_tls_name())];
    let mut mounts =
        vec![mount(DATA_VOLUME, paths::DATA), mount("config", paths::CONFIG_DIR), mount("tls", paths::TLS_DIR)];
    if let Some(key) = &cluster.api_key {
        volumes.push(secret_volume("api-key", &key.secret));
        mounts.push(mount("api-key", paths::API_KEY_DIR));
    }
    if let Some(group) = &cluster.group {
        volumes.push(secret_volume("group-key", &group.secret));
        mounts.push(mount("group-key", paths::GROUP_KEY_DIR));
    }
    PodTemplateSpec {
        metadata: Some(ObjectMeta { labels: Some(labels), ..ObjectMeta::default() }),
        spec: Some(PodSpec {
            affinity: Some(apart(cluster, shard)),
            automount_service_account_token: Some(false),
            enable_service_links: Some(false),
            security_context: Some(restricted()),
            termination_grace_period_seconds: Some(STOP_SECONDS),
            containers: vec![node(cluster, mounts)],
            volumes: Some(volumes),
            ..PodSpec::default()
        }),
    }
}

fn node(cluster: &ValidCluster, mounts: Vec<VolumeMount>) -> Container {
    let port = |name: &str, port: u16| ContainerPort {
        name: Some(name.into()),
        container_port: port.into(),
        protocol: Some("TCP".into()),
        ..ContainerPort::default()
    };
    Container {
        name: "node".into(),
        image: Some(cluster.image.clone()),
        image_pull_policy: Some("IfNotPresent".into()),
        args: Some(vec!["--config".into(), paths::CONFIG.into()]),
        env: Some(own_address(cluster)),
        ports: Some(vec![port("http", API_PORT), port("admin", ADMIN_PORT), port("peers", PEER_PORT)]),
        resources: Some(cluster.resources.clone()),
        security_context: Some(confined()),
        // The last line of a node that refuses to start is its reason; the operator shows it in the status.
        termination_message_policy: Some("FallbackToLogsOnError".into()),
        volume_mounts: Some(mounts),
        // A large volume takes long to load: liveness counts only after the first answer.
        startup_probe: Some(probe("/livez", 2, 300)),
        liveness_probe: Some(probe("/livez", 10, 6)),
        readiness_probe: Some(probe("/readyz", 2, 2)),
        ..Container::default()
    }
}

/// Environment of a node's own address, by which the operator adds it to a group.
fn own_address(cluster: &ValidCluster) -> Vec<EnvVar> {
    let field = ObjectFieldSelector { field_path: "metadata.name".into(), ..ObjectFieldSelector::default() };
    let source = EnvVarSource { field_ref: Some(field), ..EnvVarSource::default() };
    vec![
        EnvVar { name: "POD_NAME".into(), value_from: Some(source), ..EnvVar::default() },
        EnvVar {
            name: "MERIDIAN_ADVERTISE".into(),
            value: Some(cluster.peer_address_of("$(POD_NAME)")),
            ..EnvVar::default()
        },
    ]
}

fn probe(path: &str, period_seconds: i32, failure_threshold: i32) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.into()),
            port: IntOrString::String("admin".into()),
            ..HTTPGetAction::default()
        }),
        period_seconds: Some(period_seconds),
        timeout_seconds: Some(2),
        failure_threshold: Some(failure_threshold),
        ..Probe::default()
    }
}

/// Replicas of one shard on different hosts and zones, where there are enough.
fn apart(cluster: &ValidCluster, shard: ShardNumber) -> Affinity {
    let away = |topology_key: &str, weight: i32| WeightedPodAffinityTerm {
        weight,
        pod_affinity_term: PodAffinityTerm {
            label_selector: Some(LabelSelector {
                match_labels: Some(cluster.shard_selector(shard)),
                ..LabelSelector::default()
            }),
            topology_key: topology_key.into(),
            ..PodAffinityTerm::default()
        },
    };
    Affinity {
        pod_anti_affinity: Some(PodAntiAffinity {
            preferred_during_scheduling_ignored_during_execution: Some(vec![
                away("kubernetes.io/hostname", 100),
                away("topology.kubernetes.io/zone", 50),
            ]),
            ..PodAntiAffinity::default()
        }),
        ..Affinity::default()
    }
}

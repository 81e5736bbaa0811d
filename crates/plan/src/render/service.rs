//! Services: the public one, the headless one that names the pods, the one for other regions.

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::metadata;
use crate::ValidCluster;
use crate::names::{ADMIN_PORT, API_PORT, PEER_PORT};

fn port(name: &str, port: u16) -> ServicePort {
    ServicePort {
        name: Some(name.into()),
        port: port.into(),
        protocol: Some("TCP".into()),
        target_port: Some(IntOrString::String(name.into())),
        ..ServicePort::default()
    }
}

/// The Service for clients: every pod accepts every request.
pub(super) fn public(cluster: &ValidCluster) -> Service {
    Service {
        metadata: metadata(cluster, cluster.name.clone()),
        spec: Some(ServiceSpec {
            selector: Some(cluster.selector()),
            ports: Some(vec![port("http", API_PORT)]),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    }
}

/// The headless Service that gives each replica a stable name, `<pod>.<service>`.
///
/// Unready pods are published: replicas must find each other to elect a leader, and only then become ready.
pub(super) fn peers(cluster: &ValidCluster) -> Service {
    Service {
        metadata: metadata(cluster, cluster.peers_name()),
        spec: Some(ServiceSpec {
            cluster_ip: Some("None".into()),
            publish_not_ready_addresses: Some(true),
            selector: Some(cluster.selector()),
            ports: Some(vec![port("peers", PEER_PORT), port("admin", ADMIN_PORT)]),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    }
}

/// The Service for other regions: the peer port of any ready pod, which relays to the right shard.
pub(super) fn region(cluster: &ValidCluster) -> Service {
    Service {
        metadata: metadata(cluster, cluster.region_name()),
        spec: Some(ServiceSpec {
            selector: Some(cluster.selector()),
            ports: Some(vec![port("peers", PEER_PORT)]),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    }
}

//! Access to the pods.

use std::collections::BTreeMap;

use k8s_openapi::api::networking::v1::{
    NetworkPolicy, NetworkPolicyIngressRule, NetworkPolicyPeer, NetworkPolicyPort, NetworkPolicySpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::metadata;
use crate::ValidCluster;
use crate::names::{ADMIN_PORT, API_PORT, OPERATOR_NAME, PEER_PORT};

/// The API is open to all sources (API keys protect it), metrics to the Kubernetes cluster, the peer port to peers and
/// the operator. Other regions connect from outside and authenticate with the group key.
pub(super) fn ingress(cluster: &ValidCluster) -> NetworkPolicy {
    let select =
        |labels: BTreeMap<String, String>| LabelSelector { match_labels: Some(labels), ..LabelSelector::default() };
    let rule = |port: u16, from: Option<Vec<NetworkPolicyPeer>>| NetworkPolicyIngressRule {
        from,
        ports: Some(vec![NetworkPolicyPort {
            port: Some(IntOrString::Int(port.into())),
            protocol: Some("TCP".into()),
            end_port: None,
        }]),
    };
    let anywhere_inside =
        NetworkPolicyPeer { namespace_selector: Some(LabelSelector::default()), ..NetworkPolicyPeer::default() };
    let own_pods = NetworkPolicyPeer { pod_selector: Some(select(cluster.selector())), ..NetworkPolicyPeer::default() };
    let operator = NetworkPolicyPeer {
        namespace_selector: Some(LabelSelector::default()),
        pod_selector: Some(select(BTreeMap::from([("app.kubernetes.io/name".into(), OPERATOR_NAME.into())]))),
        ..NetworkPolicyPeer::default()
    };
    let peers = if cluster.group.is_some() { None } else { Some(vec![own_pods, operator]) };
    NetworkPolicy {
        metadata: metadata(cluster, cluster.name.clone()),
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(select(cluster.selector())),
            policy_types: Some(vec!["Ingress".into()]),
            ingress: Some(vec![
                rule(API_PORT, None),
                rule(ADMIN_PORT, Some(vec![anywhere_inside])),
                rule(PEER_PORT, peers),
            ]),
            egress: None,
        }),
    }
}

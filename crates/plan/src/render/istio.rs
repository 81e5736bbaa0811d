//! Routes of Istio (`networking.istio.io/v1`).

use serde_json::{Value, json};

use super::metadata;
use crate::names::{API_PORT, CLUSTER_DOMAIN};
use crate::{ValidCluster, ValidIstio};

/// One route for each known region by the header `x-region`; all other requests go to this region.
///
/// The Service of a region is `<cluster>.<region>`: by convention the namespace has the name of the region.
pub(super) fn virtual_service(cluster: &ValidCluster, istio: &ValidIstio) -> Value {
    let to = |host: String| json!([{ "destination": { "host": host, "port": { "number": API_PORT } } }]);
    let regions = cluster.group.iter().flat_map(|group| &group.regions).map(|region| &region.name);
    let alone = cluster.group.is_none().then_some(&cluster.region);
    let mut routes: Vec<Value> = regions
        .chain(alone)
        .map(|region| {
            let host = if *region == cluster.region {
                cluster.service_host()
            } else {
                format!("{}.{region}.{CLUSTER_DOMAIN}", cluster.name)
            };
            // No retries: a proxy that repeats a write gives it a second id.
            json!({
                "name": format!("region-{region}"),
                "match": [{ "headers": { "x-region": { "exact": region } } }],
                "route": to(host),
                "retries": { "attempts": 0 },
            })
        })
        .collect();
    routes.push(json!({ "name": "default", "route": to(cluster.service_host()), "retries": { "attempts": 0 } }));
    json!({
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": metadata(cluster, cluster.name.clone()),
        "spec": { "hosts": istio.hosts, "gateways": istio.gateways, "exportTo": istio.export_to, "http": routes },
    })
}

/// Load balancing of the Service: by open requests, without pods that refuse connections.
///
/// A pod may answer 503 for its whole shard, so only failures to connect eject it.
pub(super) fn destination_rule(cluster: &ValidCluster, istio: &ValidIstio) -> Value {
    json!({
        "apiVersion": "networking.istio.io/v1",
        "kind": "DestinationRule",
        "metadata": metadata(cluster, cluster.name.clone()),
        "spec": {
            "host": cluster.service_host(),
            "exportTo": istio.export_to,
            "trafficPolicy": {
                "loadBalancer": { "simple": "LEAST_REQUEST" },
                "connectionPool": { "tcp": { "connectTimeout": "1s" } },
                "outlierDetection": {
                    "splitExternalLocalOriginErrors": true,
                    "consecutiveLocalOriginFailures": 3,
                    "consecutive5xxErrors": 0,
                    "consecutiveGatewayErrors": 0,
                    "interval": "5s",
                    "baseEjectionTime": "15s",
                    "maxEjectionPercent": 50,
                },
            },
        },
    })
}

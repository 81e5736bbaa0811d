//! Volumes, resources, freshness, graph, access and routes of a cluster.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::patterns::{BYTES, DNS_NAME, GATEWAY, HOST, LABEL};

/// A Secret in the same namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretRef {
    /// Its name.
    #[schemars(length(min = 1, max = 253), regex(pattern = DNS_NAME))]
    pub name: String,
}

/// The volume of each replica.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Storage {
    /// Size of the volume, for example `20Gi`.
    #[schemars(length(max = 20), regex(pattern = BYTES))]
    #[x_kube(validation = Rule::new("quantity(self).isGreaterThan(quantity('0'))").message("storage.size must be above 0"))]
    pub size: String,

    /// Storage class. Default: that of the Kubernetes cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = DNS_NAME))]
    pub storage_class_name: Option<String>,
}

/// CPU and memory of a pod.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.requests) || !has(self.requests.cpu) || !has(self.limits) || !has(self.limits.cpu) || quantity(string(self.requests.cpu)).compareTo(quantity(string(self.limits.cpu))) <= 0")
        .message("resources.requests.cpu must be at most resources.limits.cpu"),
    validation = Rule::new("!has(self.requests) || !has(self.requests.memory) || !has(self.limits) || !has(self.limits.memory) || quantity(string(self.requests.memory)).compareTo(quantity(string(self.limits.memory))) <= 0")
        .message("resources.requests.memory must be at most resources.limits.memory")
)]
pub struct Resources {
    /// Amounts reserved for the pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<Amounts>,
    /// Upper bounds for the pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Amounts>,
}

/// Amounts of CPU and memory as Kubernetes quantities.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new(r"!has(self.cpu) || string(self.cpu).matches('^[0-9]+(\\.[0-9]+)?m?$')")
        .message("cpu must be cores such as 2, 0.5 or 500m, not negative"),
    validation = Rule::new(r"!has(self.memory) || string(self.memory).matches('^[0-9]+(\\.[0-9]+)?(Ki|Mi|Gi|Ti|Pi|k|M|G|T|P)?$')")
        .message("memory must be bytes such as 4Gi, not negative")
)]
pub struct Amounts {
    /// Cores, for example `2` or `500m`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<IntOrString>,
    /// Bytes, for example `4Gi`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<IntOrString>,
}

/// Freshness of requests that do not demand any.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct FreshnessSpec {
    /// Freshness of reads without `X-Required-Freshness`, in its form: `100ms`. Default: a read sees every write that
    /// its own region acknowledged before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16), regex(pattern = r"^[0-9]+(us|ms|s|m)$"))]
    #[x_kube(validation = Rule::new("duration(self) > duration('0s') && duration(self) <= duration('10m')").message("freshness.default must be above 0 and at most 10m"))]
    pub default: Option<String>,

    /// Fallbacks when the region is staler than demanded, in this order. Default `Wait, Redirect, Serve`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 3), extend("x-kubernetes-list-type" = "set"))]
    #[x_kube(validation = Rule::new("!self.exists(x, x in ['Serve', 'Fail']) || self[size(self) - 1] in ['Serve', 'Fail']").message("freshness.onStale: nothing can follow Serve or Fail"),
             validation = Rule::new("!('Serve' in self && 'Fail' in self)").message("freshness.onStale: Serve and Fail exclude each other"))]
    pub on_stale: Option<Vec<OnStale>>,

    /// Longest duration of `Wait`, at most `30s`. Default `500ms`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16), regex(pattern = r"^[0-9]+(us|ms|s|m)$"))]
    #[x_kube(validation = Rule::new("duration(self) <= duration('30s')").message("freshness.maxWait must be at most 30s"))]
    pub max_wait: Option<String>,

    /// Largest difference between the clocks of two machines; part of every reported staleness. Default `10ms`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16), regex(pattern = r"^[0-9]+(us|ms|s|m)$"))]
    #[x_kube(validation = Rule::new("duration(self) >= duration('1ms') && duration(self) <= duration('1s')").message("freshness.clockBound must be from 1ms to 1s"))]
    pub clock_bound: Option<String>,
}

/// Fallback when the region is staler than demanded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OnStale {
    /// Wait until it is fresh enough, if that can succeed within `maxWait`.
    Wait,
    /// Forward the read to the primary region.
    Redirect,
    /// Serve the stale answer, marked `Stale-Result: true`.
    Serve,
    /// Refuse.
    Fail,
}

/// Parameters of collections that are created without them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CollectionDefaults {
    /// Parameters of the graph, as in Qdrant's `hnsw_config`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hnsw_config: Option<HnswConfig>,
}

/// Parameters of the graph.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("(has(self.efConstruct) ? self.efConstruct : 100) >= (has(self.m) ? self.m : 16)").message("collectionDefaults.hnswConfig.efConstruct must be at least m (defaults 100 and 16): a beam narrower than the links it must find builds a broken graph"))]
pub struct HnswConfig {
    /// Links per node, 4 to 128. Default 16.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 4, max = 128))]
    pub m: Option<i32>,
    /// Beam width while building, 8 to 4096. Default 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 8, max = 4096))]
    pub ef_construct: Option<i32>,
}

/// Access to the API.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.mode == 'ApiKey' || !has(self.secretRef)").message("auth.secretRef has no meaning when auth.mode is Disabled"))]
pub struct Auth {
    /// `ApiKey`: every request carries the key. `Disabled`: everyone with network access has full access.
    pub mode: AuthMode,
    /// Secret with the key under `api-key`. Default: one that the operator creates, `<name>-api-key`. A change restarts
    /// the pods one at a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretRef>,
}

/// Authentication of clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum AuthMode {
    /// By a key in the header `api-key`.
    ApiKey,
    /// None.
    Disabled,
}

/// Cross-origin requests of browsers (CORS).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.allowOrigins.size() == 1 || !self.allowOrigins.exists(o, o == '*')").message("cors.allowOrigins must be ['*'] or a list without '*'"))]
pub struct Cors {
    /// Origins as browsers send them, `https://app.example.com` or `http://localhost:3000`; or only `*` for all. Pages
    /// send the API key themselves; cookies are not used.
    #[schemars(
        length(min = 1, max = 32),
        inner(length(max = 280), regex(pattern = r"^(\*|[a-z][a-z0-9+.-]*://(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(:[0-9]{1,5})?)$")),
        extend("x-kubernetes-list-type" = "set")
    )]
    pub allow_origins: Vec<String>,
}

/// Routes of a service mesh.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Traffic {
    /// A VirtualService and a DestinationRule: requests with `x-region` go to that region, all others to this cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub istio: Option<Istio>,
}

/// Routes of Istio.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Istio {
    /// Host names that are routed. Default: the cluster-internal name of the Service. The operator's setting
    /// `allowedHosts` must list all others except public names: single labels, wildcards, names of Services of other
    /// namespaces; and also public names if a gateway or `clientNamespaces` is in another namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16), inner(length(min = 1, max = 253), regex(pattern = HOST)), extend("x-kubernetes-list-type" = "set"))]
    pub hosts: Option<Vec<String>>,
    /// Gateways for requests from outside, `namespace/name`; `mesh` stands for the sidecars. Default: `mesh` only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16), inner(length(min = 1, max = 253), regex(pattern = GATEWAY)), extend("x-kubernetes-list-type" = "set"))]
    pub gateways: Option<Vec<String>>,
    /// Other namespaces whose sidecars get the routes, in addition to the own one and those of the gateways. A gateway
    /// whose pods run in another namespace than the `Gateway` needs that namespace here. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16), inner(length(min = 1, max = 63), regex(pattern = LABEL)), extend("x-kubernetes-list-type" = "set"))]
    pub client_namespaces: Option<Vec<String>>,
}

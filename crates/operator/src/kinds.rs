//! The kinds of rendered objects, and their API resources.

use kube::Client;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind};
use meridian_plan::Apis;
use meridian_plan::render::ObjectRef;

/// Group, version, kind and plural of a rendered kind.
struct Kind(&'static str, &'static str, &'static str, &'static str);

const CORE: [Kind; 6] = [
    Kind("", "v1", "Service", "services"),
    Kind("", "v1", "ConfigMap", "configmaps"),
    Kind("apps", "v1", "StatefulSet", "statefulsets"),
    Kind("apps", "v1", "Deployment", "deployments"),
    Kind("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets"),
    Kind("networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies"),
];
const ISTIO: [Kind; 2] = [
    Kind("networking.istio.io", "v1", "VirtualService", "virtualservices"),
    Kind("networking.istio.io", "v1", "DestinationRule", "destinationrules"),
];
const STRIMZI: [Kind; 1] = [Kind("kafka.strimzi.io", "v1", "KafkaMirrorMaker2", "kafkamirrormaker2s")];

impl Kind {
    fn resource(&self) -> ApiResource {
        ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(self.0, self.1, self.2), self.3)
    }
}

/// The kinds that may exist, given the optional APIs that are served.
pub fn rendered(apis: Apis) -> Vec<ApiResource> {
    let istio = ISTIO.iter().filter(|_| apis.istio);
    let strimzi = STRIMZI.iter().filter(|_| apis.strimzi);
    CORE.iter().chain(istio).chain(strimzi).map(Kind::resource).collect()
}

/// The API of an object; `None` for a kind that is never rendered.
pub fn api(client: &Client, namespace: &str, object: &ObjectRef) -> Option<Api<DynamicObject>> {
    let secret = [Kind("", "v1", "Secret", "secrets")];
    let resource = CORE.iter().chain(&ISTIO).chain(&STRIMZI).chain(&secret).map(Kind::resource);
    let resource = resource.into_iter().find(|r| r.kind == object.kind && r.api_version == object.api_version)?;
    Some(Api::namespaced_with(client.clone(), namespace, &resource))
}

/// Optional APIs that may be written and are served. They are discovered in each turn, so that a later installation is
/// noticed.
pub async fn served(client: &Client, may: Apis) -> kube::Result<Apis> {
    Ok(Apis {
        istio: may.istio && is_served(client, "networking.istio.io/v1", "VirtualService").await?,
        strimzi: may.strimzi && is_served(client, "kafka.strimzi.io/v1", "KafkaMirrorMaker2").await?,
    })
}

async fn is_served(client: &Client, group_version: &str, kind: &str) -> kube::Result<bool> {
    match client.list_api_group_resources(group_version).await {
        Ok(list) => Ok(list.resources.iter().any(|resource| resource.kind == kind)),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(false),
        Err(error) => Err(error),
    }
}

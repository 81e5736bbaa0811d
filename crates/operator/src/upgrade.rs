//! Behavior versions: what a turn reads of them, and the images of pods.

use k8s_openapi::api::core::v1::{Pod, PodSpec};
use kube::ResourceExt;
use meridian_crd::VectorCluster;
use meridian_model::BehaviorVersion;
use meridian_plan::names::FINALIZE_ANNOTATION;
use meridian_plan::upgrade::{ObservedUpgrade, Request};
use meridian_plan::{Act, Step};
use serde_json::Value;

use crate::cluster::now;
use crate::observe::ClusterView;

/// Container of the data plane in a pod.
const CONTAINER: &str = "node";

/// The upgrade as the resource holds it.
pub fn of_resource(resource: &VectorCluster) -> ObservedUpgrade {
    let before = resource.status.as_ref().and_then(|status| status.upgrade.clone()).unwrap_or_default();
    let requested = Request::parse(resource.annotations().get(FINALIZE_ANNOTATION).map(String::as_str));
    ObservedUpgrade { before, requested, newest: BehaviorVersion::newest(), now: now() }
}

/// The image of a pod: that of the template that it was made from, since admission may write another one into pods.
///
/// `template`: of the StatefulSet, if the pod is of its newest revision.
pub fn image_of(pod: &Pod, template: Option<&Value>) -> Option<String> {
    let of_template = template.and_then(image_of_template);
    of_template.or_else(|| image_of_pod(pod.spec.as_ref()?))
}

fn image_of_pod(spec: &PodSpec) -> Option<String> {
    spec.containers.iter().find(|container| container.name == CONTAINER)?.image.clone()
}

fn image_of_template(set: &Value) -> Option<String> {
    let containers = set["spec"]["template"]["spec"]["containers"].as_array()?;
    let node = containers.iter().find(|container| container["name"] == CONTAINER)?;
    node["image"].as_str().map(ToOwned::to_owned)
}

/// Text of the event about an act.
pub fn note(step: &Step, act: &Act) -> String {
    let mut operations = step.operations.iter().chain(&step.upgrade.operations);
    let operation = operations.next().map(|it| format!("{} {}", it.type_, it.target)).unwrap_or_default();
    match act {
        Act::Finalize { version, .. } | Act::Publish { version, .. } => {
            format!("{operation}: behavior version {version}")
        }
        _ => operation,
    }
}

/// Returns true if a StatefulSet has the refused image. Its revert is a repair, and does not wait for a rollout slot.
pub fn takes_image_back(view: &ClusterView, step: &Step) -> bool {
    let Some(refused) = step.upgrade.refused_image.as_ref().filter(|refused| refused.accepted.is_some()) else {
        return false;
    };
    let sets = view.live_objects.iter().filter(|(reference, _)| reference.kind == "StatefulSet");
    sets.filter_map(|(_, set)| image_of_template(set)).any(|image| image == refused.image)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(image: &str) -> Pod {
        serde_json::from_value(json!({"spec": {"containers": [{"name": "sidecar", "image": "proxy:1"}, {"name": "node", "image": image}]}}))
            .unwrap()
    }

    #[test]
    fn the_image_is_that_of_the_template_and_else_that_of_the_pod() {
        let set = json!({"spec": {"template": {"spec": {"containers": [{"name": "node", "image": "node:2"}]}}}});
        assert_eq!(image_of(&pod("mirror.example.com/node:2"), Some(&set)).as_deref(), Some("node:2"));
        assert_eq!(image_of(&pod("node:1"), None).as_deref(), Some("node:1"));
        assert_eq!(image_of(&Pod::default(), None), None);
    }
}

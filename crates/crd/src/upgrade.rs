//! Behavior versions: when they take effect, and what was seen of them.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// When the region adopts the behavior version of a new release for good.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Upgrade {
    /// How long all pods must have run a release that knows a new behavior version before the region finalizes it, such as
    /// `30m` or `24h`, at most `720h`. Until then the release can be rolled back; afterwards older images are refused. `Never`
    /// waits for `meridian upgrade finalize`. Default `24h`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16), regex(pattern = r"^(Never|[0-9]+(s|m|h))$"))]
    #[x_kube(validation = Rule::new("self == 'Never' || duration(self) <= duration('720h')").message("upgrade.finalizeAfter must be at most 720h, or Never"))]
    pub finalize_after: Option<String>,
}

/// Behavior versions of the shards and of the pods, and the images that pods ran.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UpgradeStatus {
    /// The behavior version that every shard has finalized.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub behavior_version: Option<i32>,
    /// The newest behavior version that writes of every shard may need in other regions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub published_version: Option<i32>,
    /// The newest behavior version that all pods and the operator know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub known_version: Option<i32>,
    /// Since when all pods have known `knownVersion`; present while that is newer than `behaviorVersion`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub known_since: Option<Time>,
    /// The newest behavior version that the operator has begun to finalize: written before the first shard is called. Images
    /// that do not know it are refused from then on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proposed_version: Option<i32>,
    /// The image of the spec, or the operator's default, that was last found to know what the shards use. It stays in use while
    /// another image is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepted_image: Option<String>,
    /// Images with the behavior version that pods with them reported: the last 8.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["image"]))]
    pub images: Vec<ImageStatus>,
}

/// An image that pods ran.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ImageStatus {
    /// The image, as the pods name it.
    pub image: String,
    /// The newest behavior version that it knows.
    pub known_version: i32,
}

//! The last accepted spec in a ConfigMap: while a newer spec is refused, turns continue with it.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;
use meridian_crd::VectorClusterSpec;
use serde_json::Value;

use super::{Object, metadata};
use crate::ValidCluster;
use crate::ownership::{Claim, Owners};

/// A stored spec: its text, and the hash that `status.acceptedSpecHash` holds. The ConfigMap counts only with that
/// hash, so write access to ConfigMaps does not give write access to clusters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcceptedSpec {
    /// BLAKE3 of the text, in hexadecimal digits.
    pub hash: String,
    text: String,
}

impl AcceptedSpec {
    /// The stored form of `spec`.
    #[must_use]
    pub fn of(spec: &VectorClusterSpec) -> Self {
        Self::of_text(serde_json::to_string(spec).expect("specs have text keys only"))
    }

    fn of_text(text: String) -> Self {
        Self { hash: blake3::hash(text.as_bytes()).to_hex().to_string(), text }
    }

    /// The spec of this hash in the ConfigMap `live`; `None` if the ConfigMap is not ours or was edited.
    #[must_use]
    pub fn read(live: &Value, owners: &Owners, hash: &str) -> Option<Self> {
        let kept = Self::of_text(live["data"][file(hash)].as_str()?.to_owned());
        (owners.claim(live) == Claim::Ours && kept.hash == hash).then_some(kept)
    }

    /// The spec; `None` if this release cannot read it.
    #[must_use]
    pub fn spec(&self) -> Option<VectorClusterSpec> {
        serde_json::from_str(&self.text).ok()
    }
}

fn file(hash: &str) -> String {
    format!("spec-{hash}.json")
}

/// Name of the ConfigMap.
#[must_use]
pub fn name(cluster: &str) -> String {
    format!("{cluster}-accepted")
}

/// The ConfigMap with the newly accepted spec and, until `status` holds its hash, the former one.
#[must_use]
pub fn accepted(cluster: &ValidCluster, newest: &AcceptedSpec, former: Option<&AcceptedSpec>) -> Object {
    let kept = former.into_iter().chain([newest]);
    Object::new(ConfigMap {
        metadata: metadata(cluster, name(&cluster.name)),
        data: Some(kept.map(|spec| (file(&spec.hash), spec.text.clone())).collect::<BTreeMap<_, _>>()),
        ..ConfigMap::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{ALONE, resource, valid};

    #[test]
    fn a_kept_spec_counts_with_our_uid_and_its_hash_only() {
        let (resource, cluster) = (resource(ALONE), valid(ALONE, &[]));
        let owners = Owners::of(&resource, &[]);
        let spec = AcceptedSpec::of(&resource.spec);
        let map = accepted(&cluster, &spec, None).as_json().clone();
        let read = |live: &Value| AcceptedSpec::read(live, &owners, &spec.hash);
        assert_eq!(read(&map).and_then(|kept| kept.spec()), Some(resource.spec.clone()));
        let mut edited = map.clone();
        edited["data"][file(&spec.hash)] = serde_json::to_string(&resource.spec).unwrap().replace("1Gi", "2Gi").into();
        assert_eq!(read(&edited), None);
        let mut foreign = map.clone();
        foreign["metadata"]["ownerReferences"] = Value::Null;
        assert_eq!(read(&foreign), None);
        assert_eq!(AcceptedSpec::read(&map, &owners, "another"), None);
    }

    #[test]
    fn the_predecessor_stays_until_the_status_bears_the_new_hash() {
        let (resource, cluster) = (resource(ALONE), valid(ALONE, &[]));
        let owners = Owners::of(&resource, &[]);
        let former = AcceptedSpec::of(&resource.spec);
        let mut edited = resource.spec.clone();
        edited.replicas_per_shard = 5;
        let newest = AcceptedSpec::of(&edited);
        let map = accepted(&cluster, &newest, Some(&former));
        for spec in [&former, &newest] {
            assert_eq!(AcceptedSpec::read(map.as_json(), &owners, &spec.hash).as_ref(), Some(spec));
        }
    }
}

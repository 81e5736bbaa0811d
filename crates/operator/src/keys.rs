//! The Secrets with keys, and the digest that pods should report.

use k8s_openapi::api::core::v1::Secret;
use meridian_peer::{GroupKey, keys_digest, read_api_keys};
use meridian_plan::ownership::Owners;
use meridian_plan::{ExpectedKeys, ValidCluster};
use serde_json::Value;

/// Group keys that nodes accept; a node connects with the first one.
const GROUP_KEYS: [&str; 3] = ["group-key", "group-key-next", "group-key-previous"];
/// Files of API keys that nodes read.
const API_KEYS: [&str; 2] = ["api-key", "api-key-previous"];

/// The Secrets with the keys of a cluster.
#[derive(Default)]
pub struct KeySecrets {
    pub api: KeySecret,
    pub group: KeySecret,
}

/// A Secret with keys as it was read; empty if it does not exist.
#[derive(Default)]
pub struct KeySecret(Option<Secret>);

impl KeySecret {
    pub fn of(secret: Option<Secret>) -> Self {
        Self(secret)
    }

    /// The bytes of `key`.
    pub fn bytes(&self, key: &str) -> Option<&[u8]> {
        self.0.as_ref()?.data.as_ref()?.get(key).map(|bytes| bytes.0.as_slice())
    }

    /// The text of `key`; `None` unless it is UTF-8.
    pub fn text(&self, key: &str) -> Option<&str> {
        std::str::from_utf8(self.bytes(key)?).ok()
    }

    /// The Secret, if it is a kept one of the cluster; others are never written.
    pub fn kept(&self, owners: &Owners) -> kube::Result<Option<Value>> {
        let Some(secret) = &self.0 else { return Ok(None) };
        let secret = serde_json::to_value(secret).map_err(kube::Error::SerdeError)?;
        Ok(owners.keeps(&secret).then_some(secret))
    }
}

impl KeySecrets {
    /// The digest of pods that have read these Secrets, computed as nodes compute it from the mounted files.
    pub fn expected(&self, cluster: &ValidCluster) -> ExpectedKeys {
        let group = cluster.group.as_ref();
        let is_missing = group.is_some() && self.group.bytes("group-key").is_none()
            || cluster.api_key.is_some() && self.api.bytes("api-key").is_none();
        if is_missing {
            return ExpectedKeys::Missing;
        }
        let unusable = |secret: &str, key: &str, why: String| Err(format!("Secret {secret}, {key}: {why}"));
        let read = || -> Result<_, String> {
            let mut group_keys = Vec::new();
            for key in group.iter().flat_map(|_| GROUP_KEYS) {
                let Some(bytes) = self.group.bytes(key) else { continue };
                match GroupKey::new(bytes) {
                    Ok(key) => group_keys.push(key),
                    Err(found) => {
                        let secret = group.map(|group| group.secret.as_str()).unwrap_or_default();
                        return unusable(secret, key, format!("{found} bytes are too few for a group key"));
                    }
                }
            }
            let mut api_keys = Vec::new();
            let Some(secret) = &cluster.api_key else { return Ok((api_keys, group_keys)) };
            for key in API_KEYS.into_iter().filter(|key| self.api.bytes(key).is_some()) {
                match self.api.text(key).map(read_api_keys) {
                    Some(Ok(keys)) => api_keys.extend(keys),
                    Some(Err(fault)) => return unusable(&secret.secret, key, fault.to_string()),
                    None => return unusable(&secret.secret, key, "not UTF-8".into()),
                }
            }
            // A Secret named by the user holds all keys that the user wants.
            let derived = group.filter(|_| secret.secret_is_ours).map(|group| &group.name);
            let derive = |name: &String| group_keys.iter().map(|key| key.api_key(name)).collect::<Vec<_>>();
            let derived = derived.map(derive).unwrap_or_default();
            api_keys.extend(derived.iter().map(|key| blake3::hash(key.as_bytes())));
            Ok((api_keys, group_keys))
        };
        match read() {
            Ok((api_keys, group_keys)) => ExpectedKeys::Digest(keys_digest(cluster.id, &api_keys, &group_keys)),
            Err(why) => ExpectedKeys::Unusable(why),
        }
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::ByteString;
    use meridian_model::ClusterId;
    use meridian_plan::Settings;
    use serde_json::json;

    use super::*;

    const GROUP_KEY: &str = "the-key-of-the-group-0123456789-abcdef";
    const CLUSTER: ClusterId = ClusterId(7);

    fn cluster(auth: Value, group: bool) -> ValidCluster {
        let mut spec =
            json!({"region": "us", "shards": 1, "replicasPerShard": 1, "storage": {"size": "1Gi"}, "auth": auth});
        if group {
            spec["replicationGroup"] = json!({"name": "g", "primary": {"region": "us"}, "secretRef": {"name": "group-key"},
                "regions": [{"name": "us", "endpoint": "a.us:8082"}]});
        }
        let resource = json!({"apiVersion": "meridiandb.io/v1alpha1", "kind": "VectorCluster",
            "metadata": {"name": "search", "namespace": "us"}, "spec": spec});
        let resource = serde_json::from_value(resource).unwrap();
        ValidCluster::parse(&resource, &[], CLUSTER, &Settings::default()).unwrap()
    }

    fn secret(keys: &[(&str, &[u8])]) -> KeySecret {
        let data = keys.iter().map(|(key, bytes)| ((*key).to_owned(), ByteString(bytes.to_vec()))).collect();
        KeySecret::of(Some(Secret { data: Some(data), ..Secret::default() }))
    }

    fn digest(api_keys: &[&str], group_keys: &[&str]) -> ExpectedKeys {
        let api_keys: Vec<_> = api_keys.iter().map(|key| blake3::hash(key.as_bytes())).collect();
        let key = |text: &&str| GroupKey::new(text.as_bytes()).unwrap_or_else(|_| panic!("long enough"));
        let group_keys: Vec<_> = group_keys.iter().map(key).collect();
        ExpectedKeys::Digest(keys_digest(CLUSTER, &api_keys, &group_keys))
    }

    #[test]
    fn expected_keys_are_those_in_the_mounted_files() {
        let derived = GroupKey::new(GROUP_KEY.as_bytes()).unwrap_or_else(|_| panic!("long enough")).api_key("g");
        let key_mode = || json!({"mode": "ApiKey"});
        let keys = |api, group| KeySecrets { api, group };
        let api = || secret(&[("api-key", b"key-number-1\n"), ("api-key-previous", b"key-number-0"), ("notes", b"x")]);
        let group = || secret(&[("group-key", format!("{GROUP_KEY}\n").as_bytes())]);
        let alone = keys(api(), KeySecret::default()).expected(&cluster(key_mode(), false));
        assert_eq!(alone, digest(&["key-number-0", "key-number-1"], &[]));
        let grouped = keys(api(), group()).expected(&cluster(key_mode(), true));
        assert_eq!(grouped, digest(&["key-number-0", "key-number-1", &derived], &[GROUP_KEY]));
        let named = json!({"mode": "ApiKey", "secretRef": {"name": "mine"}});
        let named = keys(api(), group()).expected(&cluster(named, true));
        assert_eq!(named, digest(&["key-number-0", "key-number-1"], &[GROUP_KEY]));
        let open = KeySecrets::default().expected(&cluster(json!({"mode": "Disabled"}), false));
        assert_eq!(open, digest(&[], &[]));
    }

    #[test]
    fn missing_and_invalid_keys_are_distinguished() {
        let expected = |api, group| KeySecrets { api, group }.expected(&cluster(json!({"mode": "ApiKey"}), true));
        let (api, group) =
            (|| secret(&[("api-key", b"key-number-1")]), || secret(&[("group-key", GROUP_KEY.as_bytes())]));
        assert_eq!(expected(KeySecret::default(), group()), ExpectedKeys::Missing);
        assert_eq!(expected(api(), secret(&[("other", b"x")])), ExpectedKeys::Missing);
        for (api, group, says) in [
            (secret(&[("api-key", b"")]), group(), "Secret search-api-key, api-key: no key"),
            (secret(&[("api-key", &[0xff, 0xfe])]), group(), "Secret search-api-key, api-key: not UTF-8"),
            (api(), secret(&[("group-key", b"short")]), "Secret group-key, group-key: 5 bytes"),
        ] {
            let result = expected(api, group);
            assert!(matches!(&result, ExpectedKeys::Unusable(why) if why.starts_with(says)), "{result:?}");
        }
    }
}

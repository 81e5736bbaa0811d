//! An object in the form in which it is sent to the API server.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Serialize;
use serde_json::{Value, json};

use super::content_hash;
use crate::names::APPLIED_ANNOTATION;

/// One object. The operator owns exactly its fields.
#[derive(Debug, Clone, PartialEq)]
pub struct Object(Value);

/// Reference to an object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ObjectRef {
    /// For example `apps/v1`.
    pub api_version: String,
    /// For example `StatefulSet`.
    pub kind: String,
    /// Its name.
    pub name: String,
}

impl Object {
    /// An object of a built-in Kubernetes type.
    pub(super) fn new(object: impl Serialize + k8s_openapi::Metadata<Ty = ObjectMeta>) -> Self {
        Self::from_json(serde_json::to_value(object).expect("Kubernetes objects have text keys only"))
    }

    /// An object of another type. An annotation stores the hash of its content.
    pub(crate) fn from_json(mut object: Value) -> Self {
        let hash = content_hash(&object.to_string());
        let annotations = &mut object["metadata"]["annotations"];
        if annotations.is_null() {
            *annotations = json!({});
        }
        annotations[APPLIED_ANNOTATION] = hash.into();
        Self(object)
    }

    #[cfg(test)]
    pub(crate) fn from_json_for_tests(object: Value) -> Self {
        Self::from_json(object)
    }

    /// The object as JSON.
    #[must_use]
    pub fn as_json(&self) -> &Value {
        &self.0
    }

    /// Returns true if it outlives its cluster: a Secret without an owner. It is created and completed, never applied.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        self.0["kind"] == "Secret" && self.0["metadata"]["ownerReferences"].is_null()
    }

    /// The reference to this object.
    #[must_use]
    pub fn reference(&self) -> ObjectRef {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        ObjectRef {
            api_version: text(&self.0["apiVersion"]),
            kind: text(&self.0["kind"]),
            name: text(&self.0["metadata"]["name"]),
        }
    }
}

//! Ownership of objects: the operator writes and deletes only its own.
//!
//! An object is ours if its controller is the cluster or one of its links, by UID. A name alone proves nothing, since a
//! user may have taken it first.

use std::collections::BTreeSet;

use meridian_crd::{ReplicationLink, VectorCluster};
use serde_json::{Map, Value, json};

use crate::Refusal;
use crate::names::{APPLIED_ANNOTATION, CLUSTER_LABEL, FIELD_MANAGER};
use crate::render::ObjectRef;

/// The resources that own our objects.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Owners {
    /// Name of the cluster, the value of its label.
    pub cluster: String,
    /// UID of the cluster and of each of its links.
    pub uids: BTreeSet<String>,
}

/// The owner of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claim {
    /// The cluster or one of its links. The object is applied and pruned.
    Ours,
    /// No owner, but our label and annotation (`--cascade=orphan`, a restored backup). Applying takes it over.
    Orphaned,
    /// It is being deleted, or will be: its owner was an earlier resource of the same name.
    Leaving,
    /// Another owner, named in the text. The object is never written.
    Foreign(String),
}

/// Reason for which an object was not applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// An object of another owner has its name.
    NameConflict,
    /// The API server refused it.
    Rejected,
    /// An earlier object of that name is still being deleted.
    Leaving,
    /// Another object that it needs is blocked.
    Needs,
}

/// An object that was not applied. Only it and the templates that mount it wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blocked {
    /// The object.
    pub object: ObjectRef,
    /// The reason.
    pub cause: Cause,
    /// The reason for users: the other owner, or the message of the API server.
    pub message: String,
}

impl Owners {
    /// The owners for a cluster and those of `links` that point to it.
    #[must_use]
    pub fn of(cluster: &VectorCluster, links: &[ReplicationLink]) -> Self {
        let name = cluster.metadata.name.clone().unwrap_or_default();
        let of_links = links.iter().filter(|link| link.spec.cluster_ref.name == name);
        let uids = of_links.filter_map(|link| link.metadata.uid.clone()).chain(cluster.metadata.uid.clone()).collect();
        Self { cluster: name, uids }
    }

    /// The owner of `live`.
    #[must_use]
    pub fn claim(&self, live: &Value) -> Claim {
        let meta = &live["metadata"];
        let controller =
            meta["ownerReferences"].as_array().into_iter().flatten().find(|owner| owner["controller"] == true);
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let leaving = !meta["deletionTimestamp"].is_null();
        match controller {
            Some(owner) if self.uids.contains(&text(&owner["uid"])) => {
                if leaving {
                    Claim::Leaving
                } else {
                    Claim::Ours
                }
            }
            Some(owner) if self.is_earlier_owner(meta, owner) => Claim::Leaving,
            Some(owner) => Claim::Foreign(format!("{} {}", text(&owner["kind"]), text(&owner["name"]))),
            None if self.bears_our_marks(meta) => {
                if leaving {
                    Claim::Leaving
                } else {
                    Claim::Orphaned
                }
            }
            None => Claim::Foreign("somebody else".into()),
        }
    }

    /// Returns true if `live` is a kept Secret of the cluster: it has our label and deliberately no owner. It is read
    /// and completed, never overwritten or pruned. One that a user created or restored may lack our annotation.
    #[must_use]
    pub fn keeps(&self, live: &Value) -> bool {
        let meta = &live["metadata"];
        let owners = meta["ownerReferences"].as_array();
        live["kind"] == "Secret"
            && meta["labels"][CLUSTER_LABEL] == self.cluster
            && owners.is_none_or(Vec::is_empty)
            && meta["deletionTimestamp"].is_null()
    }

    fn bears_our_marks(&self, meta: &Value) -> bool {
        meta["labels"][CLUSTER_LABEL] == self.cluster && meta["annotations"][APPLIED_ANNOTATION].is_string()
    }

    /// Returns true if an earlier resource of ours created the object: the garbage collector will delete it.
    fn is_earlier_owner(&self, meta: &Value, owner: &Value) -> bool {
        let version = owner["apiVersion"].as_str().unwrap_or_default();
        let ours = version.split('/').next() == Some(meridian_crd::GROUP);
        let same = owner["kind"] != "VectorCluster" || owner["name"] == self.cluster;
        ours && same && self.bears_our_marks(meta)
    }
}

/// `object` with `uid` and `resourceVersion` of `live`, so that the API server refuses the write if `live` has changed.
#[must_use]
pub fn with_preconditions(mut object: Value, live: &Value) -> Value {
    for field in ["uid", "resourceVersion"] {
        object["metadata"][field] = live["metadata"][field].clone();
    }
    object
}

/// `metadata.managedFields` of `live` with our `Update` entries merged into our `Apply` entry; `None` if there are no
/// `Update` entries.
///
/// A `POST` or a merge patch leaves an `Update` entry. Server-side apply does not remove a field that another entry
/// still owns, so fields that are no longer wanted would stay for ever.
#[must_use]
pub fn managed_fields_as_applied(live: &Value) -> Option<Value> {
    let entries = live["metadata"]["managedFields"].as_array()?;
    let is_ours = |entry: &Value| {
        let subresource = entry["subresource"].as_str().unwrap_or_default();
        entry["manager"] == FIELD_MANAGER && subresource.is_empty()
    };
    let mut updates = entries.iter().filter(|entry| is_ours(entry) && entry["operation"] == "Update");
    let mut applied = updates.next()?.clone();
    let same_version = |entry: &Value| entry["apiVersion"] == applied["apiVersion"];
    let ours: Vec<&Value> = entries.iter().filter(|entry| is_ours(entry)).collect();
    if !ours.iter().all(|entry| same_version(entry)) {
        return None; // field sets of two versions cannot be united
    }
    let mut fields = Value::Object(Map::new());
    ours.iter().for_each(|entry| unite(&mut fields, &entry["fieldsV1"]));
    applied["operation"] = json!("Apply");
    applied["fieldsV1"] = fields;
    let others = entries.iter().filter(|entry| !is_ours(entry)).cloned();
    Some(others.chain([applied]).collect())
}

fn unite(into: &mut Value, fields: &Value) {
    let (Value::Object(into), Value::Object(fields)) = (into, fields) else { return };
    for (key, inner) in fields {
        unite(into.entry(key.clone()).or_insert_with(|| json!({})), inner);
    }
}

/// ConfigMaps and Secrets that the pods of `object` mount.
#[must_use]
pub fn mounts(object: &Value) -> Vec<ObjectRef> {
    let volumes = object["spec"]["template"]["spec"]["volumes"].as_array().into_iter().flatten();
    let named = |kind: &str, name: &Value| {
        Some(ObjectRef { api_version: "v1".into(), kind: kind.into(), name: name.as_str()?.into() })
    };
    volumes
        .filter_map(|volume| {
            named("ConfigMap", &volume["configMap"]["name"])
                .or_else(|| named("Secret", &volume["secret"]["secretName"]))
        })
        .collect()
}

/// Refuses a cluster whose objects would have the names of another cluster's: `a` has the Services `a-peers` and
/// `a-region`, which a cluster of that name has too. The older of the two is not refused. `namespace`: all clusters of the
/// namespace, in any order.
#[must_use]
pub fn name_collision(cluster: &VectorCluster, namespace: &[VectorCluster]) -> Option<Refusal> {
    let name = cluster.metadata.name.as_deref()?;
    let collides = |a: &str, b: &str| ["-peers", "-region"].iter().any(|suffix| a.strip_suffix(suffix) == Some(b));
    // RFC 3339 in UTC sorts by time; the name decides between two of one second.
    let age = |cluster: &VectorCluster| {
        (cluster.metadata.creation_timestamp.clone().map(|at| at.0), cluster.metadata.name.clone())
    };
    let older = namespace.iter().filter(|other| age(other) < age(cluster));
    let other =
        older.filter_map(|other| other.metadata.name.as_deref()).find(|o| collides(name, o) || collides(o, name))?;
    let fault =
        format!("its Services would have the names of those of the older VectorCluster {other}: choose another name");
    Some(Refusal { field: "metadata.name", fault })
}

#[cfg(test)]
mod tests;

//! Writes one object, only if it is ours, and only in the state on which the decision was made.

use kube::api::{Api, DynamicObject, Patch, PatchParams, PostParams};
use meridian_plan::difference;
use meridian_plan::names::FIELD_MANAGER;
use meridian_plan::ownership::{self, Cause, Claim, Owners};
use meridian_plan::render::Object;
use serde_json::{Map, Value, json};

use crate::context::Context;

/// Attempts to write an object in one turn after conflicts: the status of a StatefulSet changes with each of its pods.
const ATTEMPTS: usize = 4;

/// Result of writing an object.
pub enum Put {
    /// It already equals the wanted object.
    Stands,
    /// It was written, or changed concurrently: the observation is out of date.
    Written,
    /// It was not written, with the reason.
    Blocked(Cause, String),
}

/// The destination of one object.
pub struct Target<'a> {
    pub context: &'a Context,
    pub api: Api<DynamicObject>,
    pub owners: &'a Owners,
}

/// The message of a refusal by the API server. Other errors are returned: the turn fails and is repeated.
fn refused(error: kube::Error) -> kube::Result<String> {
    match error {
        // The server is busy or unavailable; this is no statement about the object.
        kube::Error::Api(status) if [401, 429, 503, 504].contains(&status.code) => Err(kube::Error::Api(status)),
        kube::Error::Api(status) => Ok(status.message),
        error => Err(error),
    }
}

fn is_conflict(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 409)
}

fn value(object: &DynamicObject) -> kube::Result<Value> {
    serde_json::to_value(object).map_err(kube::Error::SerdeError)
}

impl Target<'_> {
    /// Writes `object` unless it is up to date. `live`: the object of its name, if it was observed.
    ///
    /// An absent object is created by POST, which takes over nothing. An object of ours is applied with force, `uid`
    /// and `resourceVersion`; a kept Secret is only completed. After a conflict the object is read again at once.
    pub async fn put(&self, object: &Object, live: Option<Value>) -> kube::Result<Put> {
        let reference = object.reference();
        let mut live = match live {
            Some(live) => Some(live),
            None => self.read(&reference.name).await?,
        };
        for _ in 0..ATTEMPTS {
            let written = match &live {
                None => self.create(object).await,
                Some(live) => match self.owners.claim(live) {
                    Claim::Ours | Claim::Orphaned if object.is_kept() => self.complete(object, live).await,
                    Claim::Foreign(_) if object.is_kept() && self.owners.keeps(live) => {
                        self.complete(object, live).await
                    }
                    Claim::Foreign(holder) => {
                        let message = format!("the name is taken by an object of {holder}, which stays as it is");
                        return Ok(Put::Blocked(Cause::NameConflict, message));
                    }
                    Claim::Leaving => return Ok(Put::Blocked(Cause::Leaving, "is being deleted".into())),
                    Claim::Ours | Claim::Orphaned if difference::is_applied(live, object) => return Ok(Put::Stands),
                    Claim::Ours | Claim::Orphaned => self.apply(object, live).await,
                },
            };
            match written {
                Ok(put) => return Ok(put),
                Err(error) if is_conflict(&error) => live = self.read(&reference.name).await?,
                Err(error) => return Ok(Put::Blocked(Cause::Rejected, refused(error)?)),
            }
        }
        Ok(Put::Written)
    }

    /// Keeps the template of a workload and sets its replicas.
    pub async fn hold(&self, object: &Object, live: &Value) -> kube::Result<Put> {
        let replicas = &object.as_json()["spec"]["replicas"];
        let ours = matches!(self.owners.claim(live), Claim::Ours | Claim::Orphaned);
        if !ours || replicas.is_null() || live["spec"]["replicas"] == *replicas {
            return Ok(Put::Stands);
        }
        let change = ownership::with_preconditions(json!({"metadata": {}, "spec": {"replicas": replicas}}), live);
        match self.merge(object, &change).await {
            Ok(_) => Ok(Put::Written),
            Err(error) if is_conflict(&error) => Ok(Put::Written),
            Err(error) => Ok(Put::Blocked(Cause::Rejected, refused(error)?)),
        }
    }

    async fn read(&self, name: &str) -> kube::Result<Option<Value>> {
        self.api.get_opt(name).await?.as_ref().map(value).transpose()
    }

    async fn create(&self, object: &Object) -> kube::Result<Put> {
        let body = serde_json::from_value(object.as_json().clone()).map_err(kube::Error::SerdeError)?;
        let post = PostParams { field_manager: Some(FIELD_MANAGER.into()), ..PostParams::default() };
        let created = self.api.create(&post, &body).await;
        self.context.metrics.wrote(&object.reference().kind);
        // If this fails, the next turn finds our `Update` entry and converts it then.
        self.own(object, value(&created?)?).await?;
        Ok(Put::Written)
    }

    async fn apply(&self, object: &Object, live: &Value) -> kube::Result<Put> {
        let live = &self.own(object, live.clone()).await?;
        let wanted = ownership::with_preconditions(object.as_json().clone(), live);
        let patch = PatchParams::apply(FIELD_MANAGER).force();
        let applied = self.api.patch(&object.reference().name, &patch, &Patch::Apply(&wanted)).await;
        self.context.metrics.wrote(&object.reference().kind);
        let applied = match applied {
            Ok(applied) => value(&applied)?,
            // Items that others added to a keyed list may conflict with ours. If the refusal has another cause, the
            // merge patch is refused too.
            Err(kube::Error::Api(status)) if status.code == 422 => {
                return match self.merge(object, &wanted).await {
                    Ok(merged) => self.own(object, merged).await.map(|_| Put::Written),
                    Err(error) if is_conflict(&error) => Err(error),
                    Err(_) => Err(kube::Error::Api(status)),
                };
            }
            Err(error) => return Err(error),
        };
        if !difference::is_applied(&applied, object) {
            // Server-side apply cannot remove items that others added to a keyed list, such as ports: a merge patch
            // replaces the list.
            let merged = self.merge(object, &ownership::with_preconditions(object.as_json().clone(), &applied)).await?;
            self.own(object, merged).await?;
        } else if applied["metadata"]["resourceVersion"] == live["metadata"]["resourceVersion"] {
            return Ok(Put::Stands);
        }
        Ok(Put::Written)
    }

    /// Adds the keys of a kept Secret that `live` lacks. Its existing keys and the annotation stay.
    async fn complete(&self, object: &Object, live: &Value) -> kube::Result<Put> {
        let wanted = object.as_json()["data"].as_object().into_iter().flatten();
        let missing: Map<String, Value> = wanted
            .filter(|(key, _)| live["data"][key.as_str()].is_null())
            .map(|(key, text)| (key.clone(), text.clone()))
            .collect();
        if missing.is_empty() {
            return Ok(Put::Stands);
        }
        self.merge(object, &ownership::with_preconditions(json!({"metadata": {}, "data": missing}), live)).await?;
        Ok(Put::Written)
    }

    async fn merge(&self, object: &Object, change: &Value) -> kube::Result<Value> {
        let patch = PatchParams { field_manager: Some(FIELD_MANAGER.into()), ..PatchParams::default() };
        let merged = self.api.patch(&object.reference().name, &patch, &Patch::Merge(change)).await;
        self.context.metrics.wrote(&object.reference().kind);
        value(&merged?)
    }

    /// `live`, with all fields that we wrote owned by our `Apply` entry.
    async fn own(&self, object: &Object, live: Value) -> kube::Result<Value> {
        match ownership::managed_fields_as_applied(&live) {
            None => Ok(live),
            Some(fields) => {
                let change = json!({"metadata": {"managedFields": fields}});
                self.merge(object, &ownership::with_preconditions(change, &live)).await
            }
        }
    }
}

//! Objects that could not be written, each with the time of its next attempt. They are kept in memory: after a restart
//! all are attempted at once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use meridian_plan::names::APPLIED_ANNOTATION;
use meridian_plan::ownership::Blocked;
use meridian_plan::render::{Object, ObjectRef};

/// Time between two attempts to write an object whose name is taken, or that the API server refused: the longest wait
/// of a user who freed the name.
const RETRY: Duration = Duration::from_secs(60);

/// Namespace and name of a cluster.
pub type ClusterKey = (String, String);

/// Blocked objects, by cluster.
#[derive(Default)]
pub struct Refusals(Mutex<BTreeMap<ClusterKey, BTreeMap<ObjectRef, Refused>>>);

struct Refused {
    content: String,
    blocked: Blocked,
    again: Instant,
}

/// The hash that makes an object a new one. It is empty for Secrets, since their random bytes change with each
/// rendering.
fn content(object: &Object) -> String {
    let hash = &object.as_json()["metadata"]["annotations"][APPLIED_ANNOTATION];
    if object.reference().kind == "Secret" { String::new() } else { hash.as_str().unwrap_or_default().to_owned() }
}

impl Refusals {
    fn all(&self) -> MutexGuard<'_, BTreeMap<ClusterKey, BTreeMap<ObjectRef, Refused>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The reason for which `object` is not attempted now; `None` if it was not refused, has changed since, or its wait
    /// is over.
    pub fn active(&self, cluster: &ClusterKey, object: &Object, now: Instant) -> Option<Blocked> {
        let all = self.all();
        let refused = all.get(cluster)?.get(&object.reference())?;
        (now < refused.again && refused.content == content(object)).then(|| refused.blocked.clone())
    }

    /// Records a refusal. Returns true for a new one.
    pub fn refused(&self, cluster: &ClusterKey, object: &Object, blocked: &Blocked, now: Instant) -> bool {
        let refused = Refused { content: content(object), blocked: blocked.clone(), again: now + RETRY };
        let before = self.all().entry(cluster.clone()).or_default().insert(object.reference(), refused);
        before.is_none_or(|before| before.blocked != *blocked)
    }

    /// Records that `object` is up to date.
    pub fn written(&self, cluster: &ClusterKey, object: &ObjectRef) {
        if let Some(of_cluster) = self.all().get_mut(cluster) {
            of_cluster.remove(object);
        }
    }

    /// Removes all but these objects of a cluster.
    pub fn retain(&self, cluster: &ClusterKey, objects: &BTreeSet<ObjectRef>) {
        let mut all = self.all();
        if let Some(of_cluster) = all.get_mut(cluster) {
            of_cluster.retain(|object, _| objects.contains(object));
            if of_cluster.is_empty() {
                all.remove(cluster);
            }
        }
    }
}

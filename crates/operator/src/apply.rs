//! Applies every wanted object, then prunes unwanted ones. Objects that equal the wanted ones are not written; an
//! object that cannot be written blocks only itself and the templates that mount it.

use std::collections::BTreeSet;
use std::time::Instant;

use kube::api::{DeleteParams, Preconditions};
use meridian_plan::ownership::{Blocked, Cause, Claim, mounts};
use meridian_plan::render::{Object, ObjectRef};
use meridian_plan::rolls::{self, Change};
use meridian_plan::{ValidCluster, difference};

use crate::context::Context;
use crate::kinds;
use crate::observe::ClusterView;
use crate::put::{Put, Target};
use crate::refusals::ClusterKey;

/// Results of applying.
#[derive(Default)]
pub struct Applied {
    /// An object was written.
    pub changed: bool,
    /// Objects that were not applied.
    pub blocked: Vec<Blocked>,
    /// Those of them that were not blocked before: an event reports each once.
    pub news: Vec<Blocked>,
}

struct Work<'a> {
    context: &'a Context,
    cluster: &'a ValidCluster,
    key: ClusterKey,
    view: &'a ClusterView,
    held: bool,
    applied: Applied,
}

/// Applies `wanted` and prunes. `held`: pod templates that the operator itself changed are not applied.
pub async fn apply(
    context: &Context,
    cluster: &ValidCluster,
    view: &ClusterView,
    wanted: &[Object],
    held: bool,
) -> kube::Result<Applied> {
    let key = (cluster.namespace.clone(), cluster.name.clone());
    let mut work = Work { context, cluster, key, view, held, applied: Applied::default() };
    // Objects that mount others follow them, so that blocked ones are known.
    let (mounting, plain): (Vec<&Object>, Vec<&Object>) =
        wanted.iter().partition(|object| !mounts(object.as_json()).is_empty());
    for object in plain.into_iter().chain(mounting) {
        work.place(object).await?;
    }
    work.prune(wanted).await?;
    context.refusals.retain(&work.key, &wanted.iter().map(Object::reference).collect());
    Ok(work.applied)
}

impl<'a> Work<'a> {
    fn target(&self, object: &ObjectRef) -> Option<Target<'a>> {
        let api = kinds::api(&self.context.client, &self.cluster.namespace, object)?;
        Some(Target { context: self.context, api, owners: &self.view.owners })
    }

    /// The Secret of the authority that a certificate needs: without it the certificate would be useless.
    fn authority_of(&self, object: &ObjectRef) -> Option<ObjectRef> {
        let signed = object.kind == "Secret" && object.name == self.cluster.peer_tls_name();
        signed.then(|| ObjectRef { name: self.cluster.peer_ca_name(), ..object.clone() })
    }

    async fn place(&mut self, object: &Object) -> kube::Result<()> {
        let reference = object.reference();
        let view = self.view;
        let live = view.live_objects.get(&reference);
        if self.held && rolls::change(live, object) == Change::Own {
            return self.hold(object).await;
        }
        let now = Instant::now();
        let blocked: BTreeSet<&ObjectRef> = self.applied.blocked.iter().map(|blocked| &blocked.object).collect();
        let needed =
            mounts(object.as_json()).into_iter().chain(self.authority_of(&reference)).find(|it| blocked.contains(it));
        let why = match needed {
            Some(needed) => {
                let message = format!("it needs {} {}", needed.kind, needed.name);
                Some(Blocked { object: reference.clone(), cause: Cause::Needs, message })
            }
            None if live.is_some_and(|live| difference::is_applied(live, object)) => None,
            None => self.context.refusals.active(&self.key, object, now),
        };
        if let Some(why) = why {
            self.applied.blocked.push(why);
            return self.hold(object).await;
        }
        let Some(target) = self.target(&reference) else { return Ok(()) };
        match target.put(object, live.cloned()).await? {
            Put::Stands => self.context.refusals.written(&self.key, &reference),
            Put::Written => {
                tracing::info!(kind = reference.kind, name = reference.name, "applied");
                self.context.refusals.written(&self.key, &reference);
                self.applied.changed = true;
            }
            Put::Blocked(cause, message) => {
                let why = Blocked { object: reference, cause, message };
                // An object that is being deleted is awaited over several turns.
                if cause != Cause::Leaving && self.context.refusals.refused(&self.key, object, &why, now) {
                    self.applied.news.push(why.clone());
                }
                self.applied.blocked.push(why);
                self.hold(object).await?;
            }
        }
        Ok(())
    }

    /// The live template stays; only the number of replicas is updated.
    async fn hold(&mut self, object: &Object) -> kube::Result<()> {
        let reference = object.reference();
        let view = self.view;
        let (Some(live), Some(target)) = (view.live_objects.get(&reference), self.target(&reference)) else {
            return Ok(());
        };
        if let Put::Written = target.hold(object, live).await? {
            self.applied.changed = true;
        }
        Ok(())
    }

    async fn prune(&mut self, wanted: &[Object]) -> kube::Result<()> {
        let view = self.view;
        let live_objects = &view.live_objects;
        let ours = live_objects.iter().filter(|(_, live)| view.owners.claim(live) == Claim::Ours);
        let ours: Vec<ObjectRef> = ours.map(|(reference, _)| reference.clone()).collect();
        for object in difference::to_prune(&ours, wanted, &self.view.mounted) {
            let Some(target) = self.target(&object) else { continue };
            let meta = &live_objects[&object]["metadata"];
            let preconditions = Preconditions {
                uid: meta["uid"].as_str().map(Into::into),
                resource_version: meta["resourceVersion"].as_str().map(Into::into),
            };
            let delete = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::background() };
            match target.api.delete(&object.name, &delete).await {
                // Deleted, or changed since the decision: the next turn reads it again.
                Err(kube::Error::Api(status)) if [404, 409].contains(&status.code) => {}
                Err(kube::Error::Api(status)) => {
                    let message = format!("delete: {}", status.message);
                    self.applied.blocked.push(Blocked { object: object.clone(), cause: Cause::Rejected, message });
                    continue;
                }
                deleted => drop(deleted?),
            }
            self.context.metrics.wrote(&object.kind);
            tracing::info!(kind = object.kind, name = object.name, "pruned");
            self.applied.changed = true;
        }
        Ok(())
    }
}

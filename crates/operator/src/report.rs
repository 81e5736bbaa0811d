//! Statuses and events. An unchanged status is not written.

use kube::api::{Api, PostParams};
use kube::runtime::events::{Event, EventType};
use kube::{Resource, ResourceExt};
use meridian_crd::conditions::Reason;
use meridian_crd::{ReplicationLink, ReplicationLinkStatus, VectorCluster, VectorClusterStatus};
use meridian_plan::Act;

use crate::context::Context;

/// Writes the status of a cluster if it differs. The API server refuses the write if the resource changed since it was
/// read.
pub async fn cluster(context: &Context, resource: &mut VectorCluster, status: VectorClusterStatus) -> kube::Result<()> {
    if resource.status.as_ref() == Some(&status) {
        return Ok(());
    }
    resource.status = Some(status);
    let api: Api<VectorCluster> = Api::namespaced(context.client.clone(), &resource.namespace().unwrap_or_default());
    *resource = api.replace_status(&resource.name_any(), &PostParams::default(), resource).await?;
    context.metrics.wrote("VectorCluster/status");
    Ok(())
}

/// Writes the status of a link if it differs.
pub async fn link(
    context: &Context,
    resource: &mut ReplicationLink,
    status: ReplicationLinkStatus,
) -> kube::Result<()> {
    if resource.status.as_ref() == Some(&status) {
        return Ok(());
    }
    resource.status = Some(status);
    let api: Api<ReplicationLink> = Api::namespaced(context.client.clone(), &resource.namespace().unwrap_or_default());
    *resource = api.replace_status(&resource.name_any(), &PostParams::default(), resource).await?;
    context.metrics.wrote("ReplicationLink/status");
    Ok(())
}

/// Type, reason and action of an event.
pub struct EventKind {
    type_: EventType,
    reason: &'static str,
    action: &'static str,
}

impl EventKind {
    /// A condition that needs a user.
    pub fn of(reason: Reason) -> Self {
        Self { type_: EventType::Warning, reason: reason.as_str(), action: "Reconcile" }
    }

    /// An act that was carried out.
    pub fn done(act: &Act) -> Self {
        Self { type_: EventType::Normal, reason: act.event().as_str(), action: act.name() }
    }

    /// An act that a pod or the API server refused.
    pub fn refused(act: &Act) -> Self {
        Self { type_: EventType::Warning, reason: act.refused_event().as_str(), action: act.name() }
    }
}

/// Publishes an event about a resource. A failure is only logged.
pub async fn event<K: Resource<DynamicType = ()>>(context: &Context, of: &K, kind: EventKind, note: String) {
    let EventKind { type_, reason, action } = kind;
    let event = Event { type_, reason: reason.into(), note: Some(note), action: action.into(), secondary: None };
    if let Err(error) = context.recorder.publish(&event, &of.object_ref(&())).await {
        tracing::warn!(error = &error as &dyn std::error::Error, reason, "an event was not published");
    }
    context.metrics.wrote("Event");
}

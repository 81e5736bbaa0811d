//! Status and events. A status that says what stands is not written.

use kube::api::{Api, PostParams};
use kube::runtime::events::{Event, EventType};
use kube::{Resource, ResourceExt};
use meridian_crd::{ReplicationLink, ReplicationLinkStatus, VectorCluster, VectorClusterStatus};

use crate::context::Context;

/// Writes the status of a cluster if it differs. The write is refused when the resource changed since it was read.
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

/// Tells the user of something that happened. That an event is lost is no failure.
pub async fn event<K: Resource<DynamicType = ()>>(
    context: &Context,
    of: &K,
    warning: bool,
    reason: &str,
    note: String,
) {
    let event = Event {
        type_: if warning { EventType::Warning } else { EventType::Normal },
        reason: reason.into(),
        note: Some(note),
        action: reason.into(),
        secondary: None,
    };
    if let Err(error) = context.recorder.publish(&event, &of.object_ref(&())).await {
        tracing::warn!(error = &error as &dyn std::error::Error, reason, "an event was not published");
    }
    context.metrics.wrote("Event");
}

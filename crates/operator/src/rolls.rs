//! Slots for rolls caused by the operator's own change.

use kube::Resource;
use meridian_crd::{Operation, VectorCluster};
use meridian_plan::ValidCluster;
use meridian_plan::render::Object;
use meridian_plan::rolls::{self, Change};

use crate::cluster::now;
use crate::context::Context;
use crate::observe::ClusterView;
use crate::report;

/// Returns true if a template of `wanted` differs from the live one because of the operator itself.
pub fn is_pending(view: &ClusterView, wanted: &[Object]) -> bool {
    wanted.iter().any(|object| rolls::change(view.live_objects.get(&object.reference()), object) == Change::Own)
}

/// Takes a slot and writes it to the status. Returns the operation that waits if no slot is free.
pub async fn take_slot(
    context: &Context,
    resource: &mut VectorCluster,
    cluster: &ValidCluster,
) -> kube::Result<Option<Operation>> {
    if resource.status.as_ref().is_some_and(|status| status.rollout.is_some()) {
        return Ok(None);
    }
    let _one_at_a_time = context.rolls.lock().await;
    let clusters = context.clusters().await?;
    let (image, most) = (&context.settings.default_image, context.max_concurrent_rollouts);
    if let Err(why) = rolls::may_roll(resource, &clusters, most, image, &now()) {
        return Ok(Some(rolls::waiting_for_slot(cluster, why)));
    }
    let mut status = resource.status.clone().unwrap_or_default();
    status.rollout = Some(rolls::begun(resource.status.as_ref(), image, &now()));
    tracing::info!(cluster = resource.meta().name, namespace = resource.meta().namespace, image, "rolls");
    report::cluster(context, resource, status).await?;
    Ok(None)
}

//! Images that know too little for what the shards use.

use std::collections::BTreeMap;

use meridian_crd::{ImageStatus, UpgradeStatus};
use meridian_model::{BehaviorVersion, ShardNumber};

use super::versions::{newest_in_use, number, version};
use crate::{ObservedShard, ValidCluster};

/// Images that `status` keeps: enough to roll back and forth several times.
const KEPT_IMAGES: usize = 8;

/// The image of the spec, where pods were seen to know too little with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedImage {
    /// The image.
    pub image: String,
    /// The newest behavior version that it knows.
    pub known: BehaviorVersion,
    /// The version that a shard uses, or that was proposed to one.
    pub needed: BehaviorVersion,
    /// The image that stays in use; none when no other was seen that knows enough.
    pub accepted: Option<String>,
}

impl std::fmt::Display for RefusedImage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { image, known, needed, accepted } = self;
        write!(f, "image {image} knows behavior version {known}, and the shards use {needed}: ")?;
        if let Some(accepted) = accepted {
            write!(f, "{accepted} stays in use; ")?;
        }
        write!(f, "set spec.image to a release that knows {needed}")
    }
}

/// Notes the images that pods run in `status`, and refuses the image of the spec if it knows too little.
///
/// An image that no pod has run is not refused: a roll tries it on one pod, and that pod reports what it knows.
pub(crate) fn images(
    cluster: &ValidCluster,
    shards: &BTreeMap<ShardNumber, &ObservedShard>,
    status: &mut UpgradeStatus,
) -> Option<RefusedImage> {
    let running = running_images(shards);
    for (image, known) in &running {
        match status.images.iter_mut().find(|noted| noted.image == *image) {
            Some(noted) => noted.known_version = number(*known),
            None => status.images.push(ImageStatus { image: (*image).to_owned(), known_version: number(*known) }),
        }
    }
    let is_needed = |status: &UpgradeStatus, image: &str| {
        running.contains_key(image) || cluster.image == image || status.accepted_image.as_deref() == Some(image)
    };
    while status.images.len() > KEPT_IMAGES {
        let oldest = status.images.iter().position(|noted| !is_needed(status, &noted.image)).unwrap_or(0);
        status.images.remove(oldest);
    }
    let from_status = status.proposed_version.max(status.behavior_version).map(version);
    let needed = from_status.max(newest_in_use(shards.values().copied()))?;
    let known =
        |image: &str| status.images.iter().find(|noted| noted.image == image).map(|it| version(it.known_version));
    let knows_enough = |image: &str| known(image).is_some_and(|known| known >= needed);
    let own = known(&cluster.image)?;
    if own >= needed {
        status.accepted_image = Some(cluster.image.clone());
        return None;
    }
    let last = || status.images.iter().rev().map(|noted| &noted.image).find(|image| knows_enough(image));
    let accepted = status.accepted_image.as_ref().filter(|image| knows_enough(image)).or_else(last).cloned();
    Some(RefusedImage { image: cluster.image.clone(), known: own, needed, accepted })
}

/// Images of the pods that answer. Where pods of one image know different versions, its tag was moved, and a pod that starts
/// gets the newest.
fn running_images<'a>(shards: &BTreeMap<ShardNumber, &'a ObservedShard>) -> BTreeMap<&'a str, BehaviorVersion> {
    let mut images = BTreeMap::new();
    let pods = shards.values().flat_map(|seen| seen.pods.values()).filter(|pod| !pod.deleting);
    for (image, known) in pods.filter_map(|pod| Some((pod.image.as_deref()?, pod.known?))) {
        let noted = images.entry(image).or_insert(known);
        *noted = known.max(*noted);
    }
    images
}

//! Behavior versions, and the image that is refused.

use meridian_crd::UpgradeStatus;
use meridian_crd::conditions::{Reason, reason, type_ as c};

use super::{Finding, cut};
use crate::Step;
use crate::upgrade::Verdict;

/// The condition `Finalized`.
pub(super) fn finalized(step: &Step) -> Finding {
    let Verdict { holds, reason, message } = &step.upgrade.finalized;
    Finding(c::FINALIZED, *holds, *reason, cut(message))
}

/// Reason and message of `Progressing` and `Ready` while the image of the spec is refused.
pub(super) fn refused_image(step: &Step) -> Option<(Reason, String)> {
    step.upgrade.refused_image.as_ref().map(|refused| (reason::IMAGE_TOO_OLD, cut(&refused.to_string())))
}

/// `status.upgrade`; absent until a pod has reported.
pub(super) fn status(step: &Step) -> Option<UpgradeStatus> {
    let status = &step.upgrade.status;
    (*status != UpgradeStatus::default()).then(|| status.clone())
}

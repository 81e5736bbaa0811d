//! Refused acts: reported in `blockedBy` and retried after a wait, so that they block no other shard.

use meridian_crd::conditions::{operation as operation_type, reason};
use meridian_crd::{BlockedBy, Operation};

use super::{Act, ShardMove};
use crate::ReplicaIdAllocator;
use crate::upgrade::{UpgradeStep, Verdict};

/// Longest text of a refusal in a status, in characters.
const MESSAGE_CHARS: usize = 300;

/// An act that a pod or the API server refused at the last attempt.
#[derive(Debug, Clone, PartialEq)]
pub struct RefusedAct {
    /// The act.
    pub act: Act,
    /// The answer.
    pub message: String,
    /// The wait is over: it may be tried again.
    pub due: bool,
}

impl Act {
    /// Returns true if this repeats `earlier` under the same conditions: same leader, same membership to replace.
    ///
    /// Each attempt of a join takes another replica id, so only its target is compared.
    #[must_use]
    pub fn repeats(&self, earlier: &Self) -> bool {
        match (self, earlier) {
            (Self::Join { shard, ordinal, .. }, Self::Join { shard: other, ordinal: place, .. }) => {
                (shard, ordinal) == (other, place)
            }
            _ => self == earlier,
        }
    }
}

/// Holds back an act that was refused and is not due again.
pub(super) fn held_back(wanted: ShardMove, refused: &[RefusedAct], stored: &ReplicaIdAllocator) -> ShardMove {
    let Some(refusal) = last(wanted.act.as_ref(), refused) else { return wanted };
    let operation = wanted.operation.map(|operation| blocked(operation, refusal));
    if refusal.due {
        return ShardMove { operation, ..wanted };
    }
    // Ids allocated for the act are released with it.
    ShardMove { allocator: stored.clone(), act: None, operation, ..wanted }
}

/// Holds back a restart that was refused and is not due again.
pub(super) fn roll_held_back(
    act: Option<Act>,
    operations: Vec<Operation>,
    refused: &[RefusedAct],
) -> (Option<Act>, Vec<Operation>) {
    let Some(refusal) = last(act.as_ref(), refused) else { return (act, operations) };
    let explain = |operation: Operation| match operation.blocked_by {
        None => blocked(operation, refusal),
        Some(_) => operation,
    };
    (act.filter(|_| refusal.due), operations.into_iter().map(explain).collect())
}

/// Holds back a finalization or a publication that was refused and is not due again.
pub(super) fn upgrade_held_back(step: UpgradeStep, refused: &[RefusedAct]) -> UpgradeStep {
    let Some(refusal) = last(step.act.as_ref(), refused) else { return step };
    let is_finalization = matches!(refusal.act, Act::Finalize { .. });
    let of_act = if is_finalization { operation_type::FINALIZE } else { operation_type::PUBLISH };
    let explain =
        |operation: Operation| if of_act == *operation.type_ { blocked(operation, refusal) } else { operation };
    let UpgradeStep { act, operations, mut finalized, .. } = step;
    if is_finalization {
        finalized =
            Verdict { holds: Some(false), reason: reason::FINALIZE_REFUSED, message: shortened(&refusal.message) };
    }
    let operations = operations.into_iter().map(explain).collect();
    UpgradeStep { act: act.filter(|_| refusal.due), operations, finalized, ..step }
}

fn shortened(message: &str) -> String {
    message.chars().take(MESSAGE_CHARS).collect()
}

fn last<'a>(act: Option<&Act>, refused: &'a [RefusedAct]) -> Option<&'a RefusedAct> {
    let act = act?;
    refused.iter().find(|refusal| act.repeats(&refusal.act))
}

fn blocked(operation: Operation, refusal: &RefusedAct) -> Operation {
    let message = shortened(&refusal.message);
    let blocked_by = Some(BlockedBy { predicate: refusal.act.acceptance().to_string(), message });
    Operation { blocked_by, ..operation }
}

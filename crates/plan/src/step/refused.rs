//! Acts that were refused: explained in `blockedBy` and repeated only after a wait, so that they hold up no other shard.

use meridian_crd::{BlockedBy, Operation};

use super::{Act, ShardMove};
use crate::ReplicaIdAllocator;

/// The longest text of a refusal that a status bears.
const MESSAGE_CHARS: usize = 300;

/// An act that a pod or the API server refused when it was tried last.
#[derive(Debug, Clone, PartialEq)]
pub struct RefusedAct {
    /// The act.
    pub act: Act,
    /// What was answered.
    pub message: String,
    /// The wait is over: it may be tried again.
    pub due: bool,
}

impl Act {
    /// Whether this repeats `earlier` in the same circumstances: the same leader, the same membership to replace.
    ///
    /// Each try of a join takes another replica id, so only its target counts.
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

/// Holds back what was refused and is not due again.
pub(super) fn held_back(wanted: ShardMove, refused: &[RefusedAct], stored: &ReplicaIdAllocator) -> ShardMove {
    let Some(refusal) = last(wanted.act.as_ref(), refused) else { return wanted };
    let operation = wanted.operation.map(|operation| blocked(operation, refusal));
    if refusal.due {
        return ShardMove { operation, ..wanted };
    }
    // An id that was taken for an act belongs to that act.
    ShardMove { allocator: stored.clone(), act: None, operation, ..wanted }
}

/// The same for the restart of a pod.
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

fn last<'a>(act: Option<&Act>, refused: &'a [RefusedAct]) -> Option<&'a RefusedAct> {
    let act = act?;
    refused.iter().find(|refusal| act.repeats(&refusal.act))
}

fn blocked(operation: Operation, refusal: &RefusedAct) -> Operation {
    let message = refusal.message.chars().take(MESSAGE_CHARS).collect();
    let blocked_by = Some(BlockedBy { predicate: refusal.act.acceptance().to_string(), message });
    Operation { blocked_by, ..operation }
}

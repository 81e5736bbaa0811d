//! Handles writes on the leader: check, admit, stamp, propose, and answer once applied.
//!
//! ```text
//!   Call ──► known result? ──► checked ──► admitted ──► stamped and proposed ──► applied ──► answers
//!                │                │            └ not primary, no space, draining, too many: refused
//!                └ answered again └ wrong: refused
//!   leadership lost ──► all that wait: stepped down
//! ```

mod collections;
mod points;
mod proposal;

use std::collections::BTreeMap;

use meridian_model::{CollectionDef, CollectionUid, Hlc, Position, VersionVector, WriteId};
use meridian_proto::frame::{ShardAnswer, ShardCall};
use meridian_shard::{CollectionChange, Outcome, State, WriteResult};

use self::proposal::Changes;
use crate::context::Ctx;
use crate::effect::Requester;

/// Requester of internal writes; answers to it are dropped.
const INTERNAL: Requester = Requester::Own(0);

/// Pending writes of the leader.
#[derive(Debug, Default)]
pub(crate) struct Writes {
    /// The newest assigned stamp, committed or not.
    hlc: Hlc,
    /// Requesters of each write that is proposed and not applied, by write id and part.
    waiting: BTreeMap<(WriteId, u32), Vec<(Requester, Kind)>>,
}

/// Input of [`Writes::handle`].
#[expect(clippy::large_enum_variant, reason = "one at a time, and most of them are of the large kind")]
pub(crate) enum Event {
    /// A gateway calls this leader.
    Call { from: Requester, call: ShardCall, admission: Admission },
    /// Shard 1 has created this collection.
    Learn { uid: CollectionUid, def: CollectionDef, admission: Admission },
    /// Shard 1 has dropped this collection.
    Forget { uid: CollectionUid, admission: Admission },
    /// An entry is applied.
    Applied(Outcome),
    /// The first entry of this leader's term is applied: its stamps continue those of the state.
    TermBegun,
    /// This replica lost the leadership.
    LeadershipLost,
}

/// Admission by disk space and memory of the group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Admission {
    /// Writes that make the state grow are admitted.
    pub(crate) growth: bool,
    /// Writes that are not admitted are redirected to the next leader.
    pub(crate) elsewhere: bool,
}

/// Form of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Written,
    Created,
    Dropped(CollectionUid),
    Conditional,
}

impl Writes {
    pub(crate) fn handle(&mut self, cx: &mut Ctx<'_>, event: Event) {
        match event {
            Event::Call { from, call, admission } => self.call(cx, from, call, admission),
            Event::Learn { uid, def, admission } => self.learn(cx, INTERNAL, (uid, def), admission),
            Event::Forget { uid, admission } => self.remove(cx, uid, admission),
            Event::Applied(outcome) => self.applied(cx, &outcome),
            Event::TermBegun => self.hlc = cx.state.last_hlc(),
            Event::LeadershipLost => self.leadership_lost(cx),
        }
    }

    fn call(&mut self, cx: &mut Ctx<'_>, from: Requester, call: ShardCall, admission: Admission) {
        match call {
            ShardCall::Resolve(name) => {
                let found = cx.state.collection(&name).map(|held| (held.uid(), held.def().clone()));
                cx.answer(from, ShardAnswer::Resolved(found));
            }
            ShardCall::Definitions => {
                let standing = cx.state.collections().map(|held| (held.uid(), held.def().clone())).collect();
                let largest = cx.state.largest_uid();
                cx.answer(from, ShardAnswer::Definitions { largest, standing });
            }
            ShardCall::Write { id, table, sent_at, collection, ops, indexes, trace } => {
                self.write(cx, from, (id, trace), (table, sent_at), &collection, (ops, indexes), admission);
            }
            ShardCall::ConditionalWrite { id, part, table, collection, read_at, changes, trace } => {
                let changes = Changes::Conditional { collection, read_at, changes };
                self.conditional_write(cx, from, ((id, part), trace), table, changes, admission);
            }
            ShardCall::Create { id, sent_at, .. } | ShardCall::Drop { id, sent_at, .. }
                if cx.state.may_have_forgotten(id, 0, sent_at) =>
            {
                cx.answer(from, ShardAnswer::Forgotten);
            }
            ShardCall::Create { id, sent_at, def } => self.create(cx, from, (id, sent_at), def, admission),
            ShardCall::Learn { uid, def } => self.learn(cx, from, (uid, def), admission),
            ShardCall::Drop { id, sent_at, name, upto } => {
                self.drop_collection(cx, from, (id, sent_at), (&name, upto), admission);
            }
            // Handled by other parts.
            ShardCall::Read { .. }
            | ShardCall::Match(..)
            | ShardCall::List(_)
            | ShardCall::Describe(..)
            | ShardCall::Await(_) => {}
        }
    }

    /// Sends the outcome of an entry to its requesters.
    fn applied(&mut self, cx: &mut Ctx<'_>, outcome: &Outcome) {
        let (id, part, refusal) = match outcome {
            Outcome::Written { id, part, first, last, repeated, .. } => {
                if *repeated {
                    cx.counters.writes_repeated += 1;
                } else {
                    cx.counters.ops_committed += last.0 + 1 - first.0;
                }
                (id, part, None)
            }
            Outcome::ResultForgotten { id, part } => (id, part, Some(ShardAnswer::Forgotten)),
            Outcome::TableChanged { id, part, held } => (id, part, Some(ShardAnswer::NotOwner(*held))),
            Outcome::TermEnded { id, part, held } => {
                let fault = format!("the primary term ended before the write was committed; term {held} is in place");
                (id, part, Some(ShardAnswer::Busy(fault)))
            }
            _ => return,
        };
        let Some(waiting) = self.waiting.remove(&(*id, *part)) else { return };
        for (to, kind) in waiting {
            match (&refusal, cx.state.write_result(*id, *part)) {
                (Some(refusal), _) => cx.answer(to, refusal.clone()),
                (None, Some(done)) => cx.answer(to, kind.answer(done, position_of(cx.state, done))),
                (None, None) => {}
            }
        }
    }

    /// Returns pending writes: the outcome is unknown to a former leader, so gateways retry at the next one.
    fn leadership_lost(&mut self, cx: &mut Ctx<'_>) {
        for (to, _) in std::mem::take(&mut self.waiting).into_values().flatten() {
            cx.answer(to, ShardAnswer::SteppedDown);
        }
    }
}

impl Kind {
    fn answer(self, done: &WriteResult, covers: VersionVector) -> ShardAnswer {
        let last = done.last;
        match (self, &done.collection) {
            (Self::Created, Some(CollectionChange::Created(uid) | CollectionChange::Known(uid))) => {
                ShardAnswer::Created(*uid, covers)
            }
            // An earlier create of the same name took effect.
            (Self::Created, _) => ShardAnswer::Exists,
            (Self::Dropped(upto), change) => {
                let existed = !matches!(change, Some(CollectionChange::Dropped { existed: false }));
                ShardAnswer::Dropped { existed, upto, covers }
            }
            (Self::Written, _) => ShardAnswer::Written(last, covers),
            (Self::Conditional, _) => ShardAnswer::Conditional { last, covers, retry: done.retry.clone() },
        }
    }
}

/// Position of a write's changes in this shard's log.
fn position_of(state: &State, done: &WriteResult) -> VersionVector {
    [(state.origin().clone(), Position { epoch: done.epoch, seq: done.last })].into_iter().collect()
}

#[cfg(test)]
mod tests;

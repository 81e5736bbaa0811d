//! Admits, stamps and proposes the changes of one write.

use meridian_model::{
    CollectionUid, ConditionalChange, Hlc, LogIndex, Op, PointChange, PointId, ReplicaId, RequestIndexes, Traceparent,
    WriteId,
};
use meridian_proto::frame::ShardAnswer;
use meridian_raft::ProposeError;
use meridian_shard::{ConditionalWrite, Entry, Write};

use super::{Admission, Kind, Writes};
use crate::context::Ctx;
use crate::effect::Requester;
use crate::proposal::{ProposalError, propose};

/// Maximum number of writes waiting for their commit at one leader; further writes are refused.
const WRITES_WAITING: usize = 4096;

/// Changes proposed as one write.
pub(super) enum Changes {
    /// Unconditional changes. The entry at `sent_at` was applied before the request was first sent.
    Plain { sent_at: LogIndex, ops: Vec<Op>, indexes: RequestIndexes },
    /// Each change applies only if its point is unchanged since `read_at`.
    Conditional { collection: CollectionUid, read_at: LogIndex, changes: Vec<ConditionalChange> },
}

impl Changes {
    /// Creates the changes of a request that belongs to this shard alone.
    pub(super) fn whole(sent_at: LogIndex, ops: Vec<Op>) -> Self {
        Self::Plain { sent_at, ops, indexes: RequestIndexes::default() }
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::Plain { ops, .. } => ops.len(),
            Self::Conditional { changes, .. } => changes.len(),
        }
    }

    pub(super) fn points(&self) -> impl Iterator<Item = PointId> {
        let changes = if let Self::Conditional { changes, .. } = self { changes.as_slice() } else { &[] };
        changes.iter().map(|change| change.point)
    }

    /// Returns `true` if the state does not grow: deletes and drops may use the log's reserve.
    fn shrink(&self) -> bool {
        match self {
            Self::Plain { ops, .. } => ops.iter().all(|op| matches!(op, Op::Delete { .. } | Op::DropCollection { .. })),
            Self::Conditional { changes, .. } => {
                changes.iter().all(|change| matches!(change.change, PointChange::Delete))
            }
        }
    }
}

impl Writes {
    /// Stamps the changes and proposes them as one entry; the requester is answered when it is applied.
    pub(super) fn propose(
        &mut self,
        cx: &mut Ctx<'_>,
        (from, kind): (Requester, Kind),
        ((id, part), trace): ((WriteId, u32), Option<Traceparent>),
        changes: Changes,
        admission: Admission,
    ) {
        if let Some(refusal) = refusal(cx, &changes, admission) {
            return cx.answer(from, refusal);
        }
        let waiting = self.waiting.len();
        if let Some(waiters) = self.waiting.get_mut(&(id, part)) {
            if !waiters.contains(&(from, kind)) {
                waiters.push((from, kind));
            }
            return;
        }
        if waiting >= WRITES_WAITING {
            return cx.answer(from, ShardAnswer::Overloaded(format!("{waiting} writes are waiting for their commit")));
        }
        let hlc = self.next_stamp(cx);
        let last = Hlc(hlc.0 + changes.len() as u64 - 1);
        let (table, (term, _)) = (cx.state.table().version, cx.state.primary());
        let entry = match changes {
            Changes::Plain { sent_at, ops, indexes } => {
                Entry::Write(Write { id, part, table, term, sent_at, ops, indexes, hlc, trace })
            }
            Changes::Conditional { collection, read_at, changes } => {
                let write = ConditionalWrite { id, part, table, term, collection, read_at, changes, hlc, trace };
                Entry::ConditionalWrite(write)
            }
        };
        match propose(cx.raft, cx.state, cx.settings, &entry) {
            Ok(_) => {
                self.hlc = last;
                self.waiting.insert((id, part), vec![(from, kind)]);
            }
            Err(fault) => cx.answer(from, refused_proposal(&fault)),
        }
    }

    pub(super) fn next_stamp(&self, cx: &Ctx<'_>) -> Hlc {
        self.hlc.max(cx.state.last_hlc()).tick(cx.now.wall_millis())
    }
}

/// Returns the refusal of a write, if any.
fn refusal(cx: &Ctx<'_>, changes: &Changes, admission: Admission) -> Option<ShardAnswer> {
    if !cx.state.is_primary() {
        let (own, primary) = (&cx.identity.genesis.region, cx.state.primary().1);
        return Some(ShardAnswer::Busy(format!(
            "region {own} does not accept writes: {primary} is the primary region"
        )));
    }
    let admitted = if changes.shrink() { cx.facts.admits_small } else { admission.growth };
    match admitted {
        false if admission.elsewhere => Some(ShardAnswer::NotLeader(None)),
        false => Some(ShardAnswer::Full),
        true => cx.facts.draining.then_some(ShardAnswer::NotLeader(None)),
    }
}

fn refused_proposal(fault: &ProposalError) -> ShardAnswer {
    match fault {
        ProposalError::Raft(ProposeError::NotLeader { leader }) => ShardAnswer::NotLeader(leader.map(ReplicaId)),
        ProposalError::Raft(ProposeError::Size(bytes)) => {
            ShardAnswer::Wrong(format!("a write of {bytes} bytes is too large for the log"))
        }
        ProposalError::Raft(other) => ShardAnswer::Busy(other.to_string()),
        ProposalError::NotFinalized { .. } | ProposalError::NotPublished { .. } => {
            ShardAnswer::Unsupported(fault.to_string())
        }
    }
}

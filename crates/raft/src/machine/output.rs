//! Output of the machine: messages, durable state and committed entries.

use super::Raft;
use crate::entry::{Entry, EntryKind};
use crate::hard_state::HardState;
use crate::message::{self, ReadContext};
use crate::snapshot::Snapshot;
use raft::StateRole;
use raft::eraftpb::Message;

/// Work for the caller, in this order: send `messages`; write `snapshot`, `entries` and `hard_state` together and call
/// [`Raft::persisted`]; then send `messages_after_persist`. `committed` and `reads` need not wait for the disk.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Output {
    /// Number, growing by one; persisting one implies all earlier ones.
    pub number: u64,
    /// Whether the write must be synced before it counts as persisted. Otherwise it may be written lazily; `persisted`
    /// is called all the same.
    pub must_sync: bool,
    /// Messages to send at once.
    pub messages: Vec<Envelope>,
    /// Messages to send only after this output is persisted: they promise its content.
    pub messages_after_persist: Vec<Envelope>,
    /// Hard state to persist, if changed.
    pub hard_state: Option<HardState>,
    /// A snapshot accepted by [`Raft::accept_snapshot`]: it replaces the state and the log; committed entries not yet
    /// applied are void.
    pub snapshot: Option<Snapshot>,
    /// Entries to append after `snapshot`, in order; they replace existing ones from the first index on.
    pub entries: Vec<Entry>,
    /// Committed entries to apply, in order; durable here.
    pub committed: Vec<Entry>,
    /// Results of [`Raft::read_index`]: context, and the index that must be applied before the read.
    pub reads: Vec<(u64, u64)>,
    /// Set when role or leader changed.
    pub role: Option<RoleChange>,
}

/// A message to another replica.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// Receiver.
    pub to: u64,
    /// Bytes for the receiver's [`Raft::step`].
    pub message: Vec<u8>,
}

/// A change of role or leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RoleChange {
    /// New role.
    pub role: Role,
    /// Known leader.
    pub leader: Option<u64>,
    /// Current term.
    pub term: u64,
}

/// Raft role. A learner is a follower; see [`Raft::is_learner`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Role {
    /// Follows a leader or waits for one.
    #[default]
    Follower,
    /// Runs a pre-vote.
    PreCandidate,
    /// Runs an election.
    Candidate,
    /// Leads the group.
    Leader,
}

impl From<StateRole> for Role {
    fn from(role: StateRole) -> Self {
        match role {
            StateRole::Follower => Self::Follower,
            StateRole::PreCandidate => Self::PreCandidate,
            StateRole::Candidate => Self::Candidate,
            StateRole::Leader => Self::Leader,
        }
    }
}

impl Raft {
    /// Takes the next output. Call until it returns `None`.
    pub fn output(&mut self) -> Option<Output> {
        if !self.node.has_ready() {
            return None;
        }
        let term = self.node.raft.term;
        let mut ready = self.node.ready();
        let role = ready.ss().map(|soft| RoleChange {
            role: soft.raft_state.into(),
            leader: Some(soft.leader_id).filter(|id| *id != 0),
            term,
        });
        let snapshot = Some(ready.snapshot()).filter(|snapshot| !snapshot.is_empty()).map(Snapshot::from_raft);
        if let Some(snapshot) = &snapshot {
            self.node.mut_store().reset_to(snapshot.index, snapshot.term);
            self.installing = Some((ready.number(), snapshot.index));
            self.memberships.clear();
            self.output_commit = snapshot.index;
        }
        let entries = ready.take_entries();
        self.node.mut_store().append(&entries);
        let committed = from_raft(ready.take_committed_entries());
        for entry in &committed {
            self.output_commit = entry.index;
            if matches!(entry.kind, EntryKind::Membership(_)) {
                self.memberships.push_back(entry.index);
            }
        }
        let output = Output {
            number: ready.number(),
            must_sync: ready.must_sync(),
            messages: envelopes(ready.take_messages()),
            messages_after_persist: envelopes(ready.take_persisted_messages()),
            hard_state: ready.hs().map(HardState::from_raft),
            snapshot,
            entries: from_raft(entries),
            committed,
            reads: ready.take_read_states().iter().filter_map(|read| self.own_read(read)).collect(),
            role,
        };
        self.node.advance_append_async(ready);
        if output.must_sync {
            self.must_sync = output.number;
        }
        if let Some(state) = output.hard_state {
            self.output_vote = (state.term, state.vote);
        }
        Some(output)
    }

    /// Reports that output `number` and all earlier ones are durable.
    pub fn persisted(&mut self, number: u64) {
        self.persisted = self.persisted.max(number);
        self.node.on_persist_ready(number);
        if let Some((_, index)) = self.installing.take_if(|(at, _)| *at <= number) {
            // The caller installed the state before it accepted the snapshot.
            self.node.advance_apply_to(index);
        }
    }

    /// Reports that the state machine has applied all committed entries up to `index`.
    ///
    /// # Panics
    /// If `index` was never output, or a membership entry up to it was not passed to [`Raft::apply_membership`].
    pub fn applied(&mut self, index: u64) {
        if index <= self.node.raft.raft_log.applied || self.installing.is_some() {
            // Superseded by a snapshot.
            return;
        }
        assert!(
            index <= self.output_commit,
            "applied index must be <= {}, the newest output (got {index})",
            self.output_commit
        );
        assert!(
            self.memberships.front().is_none_or(|next| *next > index),
            "a membership entry up to {index} was skipped"
        );
        self.node.advance_apply_to(index);
    }

    /// Filters out results for an earlier incarnation.
    fn own_read(&self, read: &raft::ReadState) -> Option<(u64, u64)> {
        let context = ReadContext::decode(&read.request_ctx)?;
        let own = context.id == self.config.id && context.incarnation == self.config.incarnation;
        own.then_some((context.context, read.index))
    }
}

fn from_raft(entries: Vec<raft::eraftpb::Entry>) -> Vec<Entry> {
    entries.into_iter().map(Entry::from_raft).collect()
}

fn envelopes(messages: Vec<Message>) -> Vec<Envelope> {
    let envelope =
        |message: Message| message::encode(&message).map(|bytes| Envelope { to: message.to, message: bytes });
    messages.into_iter().filter_map(envelope).collect()
}

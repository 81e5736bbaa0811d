//! What this replica must do.

use super::Raft;
use crate::entry::{Entry, EntryKind};
use crate::hard_state::HardState;
use crate::message::{self, ReadContext};
use crate::snapshot::Snapshot;
use raft::StateRole;
use raft::eraftpb::Message;

/// Everything to do now, in this order: send `messages`; write `snapshot`, `entries`, `hard_state` in one go and call
/// [`Raft::persisted`]; then send `messages_after_persist`. `committed` and `reads` need not wait for the disk.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Output {
    /// Numbers grow by one; to persist one is to persist all before it.
    pub number: u64,
    /// Whether the write must be synced before it counts as persisted. If not, it may be written lazily, but
    /// `persisted` is called all the same.
    pub must_sync: bool,
    /// Send at once.
    pub messages: Vec<Envelope>,
    /// Send once this output is persisted, never before: they promise what it holds.
    pub messages_after_persist: Vec<Envelope>,
    /// To remember.
    pub hard_state: Option<HardState>,
    /// A snapshot accepted by [`Raft::accept_snapshot`]: the state becomes it, the log begins anew behind it, and
    /// committed entries not yet applied are void.
    pub snapshot: Option<Snapshot>,
    /// To append, in order; the first one's index says what it replaces. They come after `snapshot`.
    pub entries: Vec<Entry>,
    /// To apply, in order. All of them are durable here.
    pub committed: Vec<Entry>,
    /// Answers to [`Raft::read_index`]: context, and the index to be applied before the read.
    pub reads: Vec<(u64, u64)>,
    /// If role or leader changed.
    pub role: Option<RoleChange>,
}

/// A message for another replica.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// The replica.
    pub to: u64,
    /// What its [`Raft::step`] takes.
    pub message: Vec<u8>,
}

/// Who this replica is now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RoleChange {
    /// Its role.
    pub role: Role,
    /// The leader it knows.
    pub leader: Option<u64>,
    /// The term.
    pub term: u64,
}

/// What a replica is to its group. A learner is a follower; see [`Raft::is_learner`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Role {
    /// It follows, or waits for someone to follow.
    #[default]
    Follower,
    /// It asks whether an election could be won.
    PreCandidate,
    /// It stands for election.
    Candidate,
    /// It leads.
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
    /// Takes what is to be done, or nothing if nothing is. Call until it returns nothing.
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
            self.node.mut_store().restart_at(snapshot.index, snapshot.term);
            self.installing = Some((ready.number(), snapshot.index));
            self.memberships.clear();
            self.handed_commit = snapshot.index;
        }
        let entries = ready.take_entries();
        self.node.mut_store().append(&entries);
        let committed = from_raft(ready.take_committed_entries());
        for entry in &committed {
            self.handed_commit = entry.index;
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
            self.handed_vote = (state.term, state.vote);
        }
        Some(output)
    }

    /// Output `number` and all before it are on disk.
    pub fn persisted(&mut self, number: u64) {
        self.persisted = self.persisted.max(number);
        self.node.on_persist_ready(number);
        if let Some((_, index)) = self.installing.take_if(|(at, _)| *at <= number) {
            // The state was installed before the snapshot was accepted.
            self.node.advance_apply_to(index);
        }
    }

    /// The state machine has applied all committed entries up to `index`.
    ///
    /// # Panics
    /// If `index` was never handed out, or a membership entry up to it was not given to [`Raft::apply_membership`].
    pub fn applied(&mut self, index: u64) {
        if index <= self.node.raft.raft_log.applied || self.installing.is_some() {
            // Superseded by a snapshot.
            return;
        }
        assert!(index <= self.handed_commit, "applied {index}, but only {} was handed out", self.handed_commit);
        assert!(
            self.memberships.front().is_none_or(|next| *next > index),
            "a membership entry up to {index} was skipped"
        );
        self.node.advance_apply_to(index);
    }

    /// Answers meant for an earlier incarnation are not ours.
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

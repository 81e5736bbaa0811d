//! Topology calls of the operator, committed in the log: members (one voter at a time, learners first) and links.

use std::collections::BTreeMap;

use meridian_model::{Link, LogIndex, ReplicaId, check_links};
use meridian_proto::frame::NodeId;
use meridian_proto::topology::{Identity, Member, MembersAt, PROMOTE_LAG, TopologyAnswer, TopologyCall};
use meridian_raft::{Change, ChangeError, Entry as RaftEntry, EntryKind, ProposeError};
use meridian_shard::{Entry, Links};

use crate::context::Ctx;
use crate::effect::Effect;
use crate::proposal::{ProposalError, propose};
use crate::waiting::{DISK_FULL, WaitingCalls};
use crate::{Command, SnapshotMeta};

/// Membership of the group, up to the applied index.
#[derive(Debug, Default)]
pub(crate) struct Membership {
    addresses: BTreeMap<ReplicaId, String>,
    version: LogIndex,
    /// This replica was removed permanently, by an entry that it has applied.
    removed: bool,
    /// Calls waiting for their change.
    waiting: WaitingCalls,
}

impl Membership {
    pub(crate) fn of(founders: &[Member]) -> Self {
        let addresses = founders.iter().map(|member| (member.replica, member.address.clone())).collect();
        Self { addresses, version: LogIndex(1), ..Self::default() }
    }

    pub(crate) fn replace(&mut self, meta: &SnapshotMeta) {
        self.addresses = meta.addresses.clone();
        self.version = meta.membership_version;
    }

    pub(crate) fn members(&self) -> impl Iterator<Item = Member> {
        self.addresses.iter().map(|(replica, address)| Member { replica: *replica, address: address.clone() })
    }
}

/// Events about membership.
pub(crate) enum Event {
    /// A call of the operator, except for the status and for versions.
    Call { ticket: u64, call: TopologyCall },
    /// A membership change was committed.
    Committed(RaftEntry),
    /// A membership change was applied.
    Applied(LogIndex),
    /// Links were applied: they changed, or another call came first.
    LinksApplied { changed: bool },
    /// This replica lost leadership.
    LeadershipLost,
    /// Time has passed.
    Tick,
}

impl Membership {
    pub(crate) fn handle(&mut self, cx: &mut Ctx<'_>, event: Event) {
        match event {
            Event::Call { ticket, call } => self.call(cx, ticket, call),
            Event::Committed(entry) => self.committed(cx, &entry),
            Event::Applied(index) => {
                let answer = TopologyAnswer::Done { version: index };
                self.waiting.answer(cx, index, answer);
            }
            Event::LinksApplied { changed } => self.links_applied(cx, changed),
            Event::LeadershipLost => self.waiting.leadership_lost(cx),
            Event::Tick => self.waiting.give_up_late(cx),
        }
    }

    /// Address of each member.
    pub(crate) fn addresses(&self) -> &BTreeMap<ReplicaId, String> {
        &self.addresses
    }

    /// Index of the newest membership change.
    pub(crate) fn version(&self) -> LogIndex {
        self.version
    }

    /// Returns true if no call waits.
    pub(crate) fn is_idle(&self) -> bool {
        self.waiting.is_empty()
    }

    fn call(&mut self, cx: &mut Ctx<'_>, ticket: u64, call: TopologyCall) {
        let answer = match call {
            TopologyCall::Status | TopologyCall::Finalize { .. } | TopologyCall::Publish { .. } => None,
            TopologyCall::Bootstrap(identity) | TopologyCall::Join { identity, .. } if identity == *cx.identity => {
                Some(TopologyAnswer::Done { version: self.version })
            }
            TopologyCall::Bootstrap(_) => Some(TopologyAnswer::Refused(who(cx))),
            TopologyCall::Join { identity, group } => Some(self.give_up(cx, &identity, &group)),
            _ if !cx.facts.leading => Some(cx.not_leader()),
            TopologyCall::AddLearner { member, expected } => {
                let there = cx.raft.members().contains(member.replica.0);
                let context = postcard::to_stdvec(&member).expect("a member can be encoded");
                self.change(cx, ticket, Change::AddLearner(member.replica.0), expected, there, context)
            }
            TopologyCall::Promote { replica, expected } => self.promote(cx, ticket, replica, expected),
            TopologyCall::Remove { replica, expected } => {
                let gone = !cx.raft.members().contains(replica.0);
                self.change(cx, ticket, Change::Remove(replica.0), expected, gone, Vec::new())
            }
            TopologyCall::TransferLeader { to } => Some(match cx.raft.transfer_leader(to.0) {
                Ok(()) => TopologyAnswer::Started,
                Err(fault) => TopologyAnswer::Refused(fault.to_string()),
            }),
            TopologyCall::SetLinks { links, expected } => self.set_links(cx, ticket, links, expected),
        };
        if let Some(answer) = answer {
            cx.command(Command::TopologyReply { ticket, answer });
        }
    }

    /// Ends this replica permanently, so that its pod can become `wanted`, if the group provably does not need its
    /// data. Not hearing a leader proves nothing, since that holds for every member of a group without quorum.
    fn give_up(&mut self, cx: &mut Ctx<'_>, wanted: &Identity, group: &MembersAt) -> TopologyAnswer {
        let last = LogIndex(cx.raft.status().last_index);
        let own = cx.identity.replica;
        let of_other_group = cx.identity.group.is_some() && wanted.group != cx.identity.group;
        let is_other = wanted.genesis != cx.identity.genesis || of_other_group;
        if wanted.replica <= own || is_other || !wanted.founders.is_empty() {
            return TopologyAnswer::Refused(who(cx));
        }
        if !self.removed && !group.can_do_without(own, last) {
            let why = if group.members.contains(&own) { "it is a member" } else { "that is not agreed on yet" };
            return TopologyAnswer::Refused(format!(
                "{}, with a log up to {last}; the group shown is of {}: {why}",
                who(cx),
                group.applied
            ));
        }
        // From here on it neither votes nor accepts entries, so the proof stays valid.
        cx.leave_service(format!("given up to become replica {}", wanted.replica));
        TopologyAnswer::Started
    }

    fn promote(
        &mut self,
        cx: &mut Ctx<'_>,
        ticket: u64,
        replica: ReplicaId,
        expected: LogIndex,
    ) -> Option<TopologyAnswer> {
        let voter = cx.raft.members().voters.contains(&replica.0);
        let status = cx.raft.status();
        let learner = status.peers.iter().find(|peer| peer.id == replica.0);
        let refusal = learner.filter(|_| !voter).and_then(|peer| {
            let behind = status.last_index.saturating_sub(peer.matched);
            // An empty replica would count towards the quorum without being able to vote.
            if !peer.follows(status.last_index) || peer.matched < status.first_index.saturating_sub(1) {
                let (matched, last) = (peer.matched, status.last_index);
                Some(format!("replica {replica} does not follow the log yet (matched {matched}, last {last})"))
            } else if !peer.recently_active {
                Some(format!("replica {replica} is silent"))
            } else if behind > PROMOTE_LAG {
                Some(format!("replica {replica} is {behind} entries behind"))
            } else {
                None
            }
        });
        match refusal {
            Some(refusal) => Some(TopologyAnswer::Refused(refusal)),
            None => self.change(cx, ticket, Change::Promote(replica.0), expected, voter, Vec::new()),
        }
    }

    fn change(
        &mut self,
        cx: &mut Ctx<'_>,
        ticket: u64,
        change: Change,
        expected: LogIndex,
        done_already: bool,
        context: Vec<u8>,
    ) -> Option<TopologyAnswer> {
        let version = self.version;
        if done_already {
            return Some(TopologyAnswer::Done { version });
        }
        if version != expected {
            return Some(TopologyAnswer::Conflict { version });
        }
        if !cx.facts.admits_small {
            return Some(TopologyAnswer::Refused(DISK_FULL.into()));
        }
        match cx.raft.change_members(change, context) {
            Ok(proposed) => {
                self.waiting.add(cx, ticket, proposed.index);
                None
            }
            Err(ChangeError::Propose(ProposeError::NotLeader { .. })) => Some(cx.not_leader()),
            Err(fault) => Some(TopologyAnswer::Refused(fault.to_string())),
        }
    }

    /// Proposes links, after validating them.
    fn set_links(
        &mut self,
        cx: &mut Ctx<'_>,
        ticket: u64,
        links: Vec<Link>,
        expected: LogIndex,
    ) -> Option<TopologyAnswer> {
        if let Err(fault) = check_links(&cx.identity.genesis.region, &links) {
            return Some(TopologyAnswer::Refused(fault.to_string()));
        }
        let state = cx.state;
        let (version, same) = (state.links_version(), state.links() == links.as_slice());
        if same {
            return Some(TopologyAnswer::Done { version });
        }
        if version != expected {
            return Some(TopologyAnswer::Conflict { version });
        }
        if !cx.facts.admits_small {
            return Some(TopologyAnswer::Refused(DISK_FULL.into()));
        }
        match propose(cx.raft, state, cx.settings, &Entry::Links(Links { expects: expected, links })) {
            Ok(proposed) => {
                self.waiting.add(cx, ticket, proposed.index);
                None
            }
            Err(ProposalError::Raft(ProposeError::NotLeader { .. })) => Some(cx.not_leader()),
            Err(fault) => Some(TopologyAnswer::Refused(fault.to_string())),
        }
    }

    /// A leader follows new links immediately.
    fn links_applied(&mut self, cx: &mut Ctx<'_>, changed: bool) {
        let version = cx.state.links_version();
        let answer = if changed { TopologyAnswer::Done { version } } else { TopologyAnswer::Conflict { version } };
        self.waiting.answer(cx, cx.state.applied(), answer);
        if changed && cx.facts.leading {
            cx.effects.push(Effect::FollowLinks);
        }
    }

    fn committed(&mut self, cx: &mut Ctx<'_>, entry: &RaftEntry) {
        let index = LogIndex(entry.index);
        if let Err(fault) = cx.raft.apply_membership(entry) {
            return cx.leave_service(format!("membership entry {index}: {fault}"));
        }
        cx.effects.push(Effect::SkipEntry(index));
        cx.counters.membership_changes += 1;
        self.version = index;
        if let Ok(member) = postcard::from_bytes::<Member>(&entry.payload) {
            let node = NodeId { replica: member.replica, ..cx.me() };
            if node != cx.me() {
                cx.command(Command::Dial(node, member.address.clone()));
            }
            self.addresses.insert(member.replica, member.address);
        }
        if let EntryKind::Membership(Change::Remove(id)) = entry.kind {
            self.addresses.remove(&ReplicaId(id));
            cx.effects.push(Effect::ForgetNode(NodeId { replica: ReplicaId(id), ..cx.me() }));
            if id == cx.me().replica.0 {
                self.removed = true;
                cx.leave_service("removed from its group".into());
            }
        }
        cx.effects.push(Effect::MembersChanged(index));
    }
}

fn who(cx: &Ctx<'_>) -> String {
    let Identity { replica, genesis, .. } = cx.identity;
    format!("this is replica {replica} of shard {} in cluster {} already", genesis.shard, genesis.cluster)
}

#[cfg(test)]
mod tests;

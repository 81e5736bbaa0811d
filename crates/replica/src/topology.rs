//! The operator's calls, committed in the log: who belongs to the group, one voter at a time, learners first; and whom it
//! follows.

use std::collections::BTreeMap;
use std::time::Duration;

use meridian_model::{Link, LogIndex, ReplicaId, Term, check_links};
use meridian_proto::topology::{
    FollowerStatus, Identity, Member, MembersAt, PROMOTE_LAG, PodStatus, ReplicaStatus, Role, TopologyAnswer,
    TopologyCall,
};
use meridian_raft::{Change, ChangeError, Entry as RaftEntry, PeerState, ProposeError, Proposed, Role as RaftRole};
use meridian_shard::{Entry, Links, Outcome};

use crate::{Command, Replica, SnapshotMeta};

/// A topology call that is not committed in this time is given up; the operator looks and asks again.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why nothing is proposed any more.
const DISK_FULL: &str = "the leader's disk is full, and so is the log's reserve on it";

/// Who belongs to the group, as far as the log is applied.
#[derive(Debug, Default)]
pub(crate) struct Membership {
    pub(crate) addresses: BTreeMap<ReplicaId, String>,
    pub(crate) version: LogIndex,
    /// This replica was taken out for ever, as it has itself applied.
    pub(crate) removed: bool,
    /// Calls that wait for their change, by its place in the log.
    waiting: BTreeMap<u64, (u64, Duration)>,
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

impl Replica {
    pub(crate) fn is_member(&self) -> bool {
        self.raft.members().contains(self.me().replica.0)
    }

    pub(crate) fn topology_call(&mut self, ticket: u64, call: TopologyCall) {
        let answer = match call {
            TopologyCall::Status => {
                let pod = PodStatus::Running(Box::new(self.replica_status()));
                Some(TopologyAnswer::Status { pod, keys: None })
            }
            TopologyCall::Bootstrap(identity) | TopologyCall::Join { identity, .. } if identity == self.identity => {
                Some(TopologyAnswer::Done { version: self.membership.version })
            }
            TopologyCall::Bootstrap(_) => Some(TopologyAnswer::Refused(self.who())),
            TopologyCall::Join { identity, group } => Some(self.give_up(&identity, &group)),
            _ if !self.is_leading() => {
                let leader = self.raft.status().leader.map(ReplicaId).filter(|id| *id != self.me().replica);
                Some(TopologyAnswer::NotLeader { leader })
            }
            TopologyCall::AddLearner { member, expected } => {
                let there = self.raft.members().contains(member.replica.0);
                let context = postcard::to_stdvec(&member).expect("a member can be encoded");
                self.change(ticket, Change::AddLearner(member.replica.0), expected, there, context)
            }
            TopologyCall::Promote { replica, expected } => self.promote(ticket, replica, expected),
            TopologyCall::Remove { replica, expected } => {
                let gone = !self.raft.members().contains(replica.0);
                self.change(ticket, Change::Remove(replica.0), expected, gone, Vec::new())
            }
            TopologyCall::TransferLeader { to } => Some(match self.raft.transfer_leader(to.0) {
                Ok(()) => TopologyAnswer::Started,
                Err(fault) => TopologyAnswer::Refused(fault.to_string()),
            }),
            TopologyCall::SetLinks { links, expected } => self.set_links(ticket, links, expected),
        };
        if let Some(answer) = answer {
            self.out.push(Command::TopologyReply { ticket, answer });
        }
    }

    fn who(&self) -> String {
        let Identity { replica, genesis, .. } = &self.identity;
        format!("this is replica {replica} of shard {} in cluster {} already", genesis.shard, genesis.cluster)
    }

    /// Ends this replica for good, so that its pod can become `wanted`, if it is certain that nobody needs what it holds. Not
    /// to hear a leader proves nothing: so it is for every member of a group that has lost its quorum.
    fn give_up(&mut self, wanted: &Identity, group: &MembersAt) -> TopologyAnswer {
        let last = LogIndex(self.raft.status().last_index);
        let own = self.identity.replica;
        let of_other_group = self.identity.group.is_some() && wanted.group != self.identity.group;
        let is_other = wanted.genesis != self.identity.genesis || of_other_group;
        if wanted.replica <= own || is_other || !wanted.founders.is_empty() {
            return TopologyAnswer::Refused(self.who());
        }
        if !self.membership.removed && !group.can_do_without(own, last) {
            let why = if group.members.contains(&own) { "it is a member" } else { "that is not agreed on yet" };
            return TopologyAnswer::Refused(format!(
                "{}, with a log up to {last}; the group shown is of {}: {why}",
                self.who(),
                group.applied
            ));
        }
        // From here on it neither votes nor takes anything in: what was judged stays true.
        self.leave_service(format!("given up to become replica {}", wanted.replica));
        TopologyAnswer::Started
    }

    fn promote(&mut self, ticket: u64, replica: ReplicaId, expected: LogIndex) -> Option<TopologyAnswer> {
        let voter = self.raft.members().voters.contains(&replica.0);
        let status = self.raft.status();
        let learner = status.peers.iter().find(|peer| peer.id == replica.0);
        let refusal = learner.filter(|_| !voter).and_then(|peer| {
            let behind = status.last_index.saturating_sub(peer.matched);
            // One that holds nothing yet would count for the quorum and could not vote.
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
            None => self.change(ticket, Change::Promote(replica.0), expected, voter, Vec::new()),
        }
    }

    fn change(
        &mut self,
        ticket: u64,
        change: Change,
        expected: LogIndex,
        done_already: bool,
        context: Vec<u8>,
    ) -> Option<TopologyAnswer> {
        let version = self.membership.version;
        if done_already {
            return Some(TopologyAnswer::Done { version });
        }
        if version != expected {
            return Some(TopologyAnswer::Conflict { version });
        }
        if !self.admits_small() {
            return Some(TopologyAnswer::Refused(DISK_FULL.into()));
        }
        let proposed = self.raft.change_members(change, context);
        self.wait_for(ticket, proposed)
    }

    /// The call is answered when what it proposed is applied; at once when it could not be proposed.
    fn wait_for(&mut self, ticket: u64, proposed: Result<Proposed, ChangeError>) -> Option<TopologyAnswer> {
        match proposed {
            Ok(proposed) => {
                self.membership.waiting.insert(proposed.index, (ticket, self.now.mono));
                None
            }
            Err(ChangeError::Propose(ProposeError::NotLeader { leader })) => {
                Some(TopologyAnswer::NotLeader { leader: leader.map(ReplicaId) })
            }
            Err(fault) => Some(TopologyAnswer::Refused(fault.to_string())),
        }
    }

    /// Proposes which regions are followed; what they are is checked here, at the door.
    fn set_links(&mut self, ticket: u64, links: Vec<Link>, expected: LogIndex) -> Option<TopologyAnswer> {
        if let Err(fault) = check_links(&self.identity.genesis.region, &links) {
            return Some(TopologyAnswer::Refused(fault.to_string()));
        }
        let state = &self.state;
        let (version, same) = (state.links_version(), state.links() == links.as_slice());
        if same {
            return Some(TopologyAnswer::Done { version });
        }
        if version != expected {
            return Some(TopologyAnswer::Conflict { version });
        }
        if !self.admits_small() {
            return Some(TopologyAnswer::Refused(DISK_FULL.into()));
        }
        let proposed = self.raft.propose(Entry::Links(Links { expects: expected, links }).encode());
        self.wait_for(ticket, proposed.map_err(ChangeError::Propose))
    }

    /// The links changed, or another call was faster; a leader follows the new ones at once.
    pub(crate) fn links_applied(&mut self, outcome: &Outcome) {
        let (at, version) = {
            let state = &self.state;
            (state.applied(), state.links_version())
        };
        let answer = match outcome {
            Outcome::LinksChanged => TopologyAnswer::Done { version },
            _ => TopologyAnswer::Conflict { version },
        };
        if let Some((ticket, _)) = self.membership.waiting.remove(&at.0) {
            self.out.push(Command::TopologyReply { ticket, answer });
        }
        if *outcome == Outcome::LinksChanged && self.is_leading() {
            self.start_links();
        }
    }

    pub(crate) fn apply_membership(&mut self, entry: &RaftEntry) {
        let index = LogIndex(entry.index);
        if let Err(fault) = self.raft.apply_membership(entry) {
            return self.leave_service(format!("membership entry {index}: {fault}"));
        }
        self.state.change().apply(index, &Entry::Noop);
        self.counters.membership_changes += 1;
        self.membership.version = index;
        if let Ok(member) = postcard::from_bytes::<Member>(&entry.payload) {
            let node = meridian_proto::frame::NodeId { replica: member.replica, ..self.me() };
            if node != self.me() {
                self.out.push(Command::Dial(node, member.address.clone()));
            }
            self.membership.addresses.insert(member.replica, member.address);
        }
        if let meridian_raft::EntryKind::Membership(Change::Remove(id)) = entry.kind {
            self.membership.addresses.remove(&ReplicaId(id));
            self.nodes.forget(meridian_proto::frame::NodeId { replica: ReplicaId(id), ..self.me() });
            if id == self.me().replica.0 {
                self.membership.removed = true;
                self.leave_service("removed from its group".into());
            }
        }
        if let Some((ticket, _)) = self.membership.waiting.remove(&entry.index) {
            let answer = TopologyAnswer::Done { version: index };
            self.out.push(Command::TopologyReply { ticket, answer });
        }
        self.announce();
    }

    pub(crate) fn fail_topology_waiters(&mut self) {
        for (ticket, _) in std::mem::take(&mut self.membership.waiting).into_values() {
            let answer = TopologyAnswer::NotLeader { leader: None };
            self.out.push(Command::TopologyReply { ticket, answer });
        }
    }

    pub(crate) fn tick_topology(&mut self) {
        let now = self.now.mono;
        let late = |at: &Duration| now.saturating_sub(*at) >= PATIENCE;
        let (late, stay) = std::mem::take(&mut self.membership.waiting).into_iter().partition(|(_, (_, at))| late(at));
        self.membership.waiting = stay;
        let late: BTreeMap<u64, (u64, Duration)> = late;
        for (ticket, _) in late.into_values() {
            let answer = TopologyAnswer::Refused("not committed in time; look at the status".into());
            self.out.push(Command::TopologyReply { ticket, answer });
        }
    }

    pub(crate) fn replica_status(&self) -> ReplicaStatus {
        let status = self.raft.status();
        let state = &self.state;
        let of = |ids: &std::collections::BTreeSet<u64>| -> Vec<Member> {
            let address = |id: &ReplicaId| self.membership.addresses.get(id).cloned().unwrap_or_default();
            ids.iter().map(|id| ReplicaId(*id)).map(|replica| Member { replica, address: address(&replica) }).collect()
        };
        let role = match status.role {
            RaftRole::Leader => Role::Leader,
            RaftRole::Candidate | RaftRole::PreCandidate => Role::Candidate,
            RaftRole::Follower if self.raft.is_learner() || !self.is_member() => Role::Learner,
            RaftRole::Follower => Role::Follower,
        };
        let followers = (status.peers.iter())
            .map(|peer| FollowerStatus {
                replica: ReplicaId(peer.id),
                matched: LogIndex(peer.matched),
                active: peer.recently_active && peer.state != PeerState::Snapshot,
            })
            .collect();
        ReplicaStatus {
            identity: self.identity.clone(),
            role,
            term: Term(status.term),
            leader: status.leader.map(ReplicaId),
            voters: of(&status.members.voters),
            learners: of(&status.members.learners),
            membership_version: self.membership.version,
            commit: LogIndex(status.commit),
            applied: state.applied(),
            ready: self.is_ready(),
            draining: self.draining.is_some(),
            fault: self.out_of_service.clone(),
            followers,
            points: state.collections().map(|collection| collection.points()).sum(),
            links: state.links().to_vec(),
            links_version: state.links_version(),
            poisons: self.poisons(),
            disk: self.disk_level(),
            memory: self.memory.seen(),
        }
    }
}

#[cfg(test)]
mod tests;

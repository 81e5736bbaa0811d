//! Reports the status of this replica and its group.

use meridian_model::{LogIndex, ReplicaId, Term};
use meridian_proto::topology::{FollowerStatus, Member, ReplicaStatus, Role};
use meridian_raft::{PeerState, Role as RaftRole};

use super::Replica;

impl Replica {
    pub(super) fn replica_status(&self) -> ReplicaStatus {
        let status = self.raft.status();
        let state = &self.state;
        let of = |ids: &std::collections::BTreeSet<u64>| -> Vec<Member> {
            let address = |id: &ReplicaId| self.membership.addresses().get(id).cloned().unwrap_or_default();
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
            membership_version: self.membership.version(),
            commit: LogIndex(status.commit),
            applied: state.applied(),
            ready: self.is_ready(),
            draining: self.drain.is_draining(),
            fault: self.out_of_service.clone(),
            followers,
            points: state.collections().map(|collection| collection.points()).sum(),
            links: state.links().to_vec(),
            links_version: state.links_version(),
            poisons: self.follower.poisons(self.now.mono),
            disk: self.space.disk_level(),
            memory: self.memory.seen(),
            behavior: state.behavior(),
            published: state.published(),
            regions: self.versions.regions(),
        }
    }
}

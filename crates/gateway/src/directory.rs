//! Known replicas of the region, and the leader of each shard.

use std::collections::{BTreeMap, BTreeSet};

use meridian_model::{BehaviorVersion, LogIndex, ReplicaId, ShardNumber, Term};
use meridian_proto::frame::{Lead, NodeId};

/// Known replicas of the region.
#[derive(Debug, Default)]
pub struct Directory {
    addresses: BTreeMap<NodeId, String>,
    connected: BTreeSet<NodeId>,
    leaders: BTreeMap<ShardNumber, (Term, ReplicaId)>,
    /// Members of each shard as its leader last reported.
    members: BTreeMap<ShardNumber, BTreeSet<ReplicaId>>,
    /// The newest applied entry that any leader of a shard reported.
    applied: BTreeMap<ShardNumber, LogIndex>,
    /// The newest behavior version that any leader of a shard said to have finalized.
    behavior: BTreeMap<ShardNumber, BehaviorVersion>,
}

impl Directory {
    /// Records that a replica is connected, with its address.
    pub fn met(&mut self, node: NodeId, address: String) {
        self.connected.insert(node);
        if !address.is_empty() {
            self.addresses.insert(node, address);
        }
    }

    /// Records a message of a replica, which is therefore connected.
    pub fn heard(&mut self, node: NodeId) {
        self.connected.insert(node);
    }

    /// Records the address of a replica.
    pub fn learn(&mut self, node: NodeId, address: String) {
        self.addresses.insert(node, address);
    }

    /// Records that a replica is no longer connected.
    pub fn lost(&mut self, node: NodeId) {
        self.connected.remove(&node);
    }

    /// Removes a replica.
    pub fn remove(&mut self, node: NodeId) {
        self.addresses.remove(&node);
        self.connected.remove(&node);
    }

    /// Whether a replica is connected.
    #[must_use]
    pub fn is_connected(&self, node: NodeId) -> bool {
        self.connected.contains(&node)
    }

    /// Records a leader's report on its group; returns the members with a new address.
    pub fn led_by(&mut self, leader: NodeId, lead: &Lead) -> Vec<(NodeId, String)> {
        let applied = self.applied.entry(leader.shard).or_default();
        *applied = (*applied).max(lead.applied);
        let behavior = self.behavior.entry(leader.shard).or_insert(lead.behavior);
        *behavior = (*behavior).max(lead.behavior);
        let known = self.leaders.get(&leader.shard).map(|(term, _)| *term);
        if known.is_none_or(|term| term <= lead.term) {
            self.leaders.insert(leader.shard, (lead.term, leader.replica));
            let members: BTreeSet<ReplicaId> = lead.members.iter().map(|member| member.replica).collect();
            self.addresses.retain(|node, _| node.shard != leader.shard || members.contains(&node.replica));
            self.members.insert(leader.shard, members);
        }
        let mut new = Vec::new();
        for member in &lead.members {
            let node = NodeId { shard: leader.shard, replica: member.replica };
            if self.addresses.get(&node) != Some(&member.address) {
                self.addresses.insert(node, member.address.clone());
                new.push((node, member.address.clone()));
            }
        }
        new
    }

    /// Records a redirection by a replica of a shard.
    pub fn hint(&mut self, shard: ShardNumber, leader: Option<ReplicaId>) {
        match (leader, self.leaders.get_mut(&shard)) {
            (Some(replica), Some((_, known))) => *known = replica,
            (Some(replica), None) => drop(self.leaders.insert(shard, (Term(0), replica))),
            (None, _) => {}
        }
    }

    /// The leader of a shard, if known.
    #[must_use]
    pub fn leader(&self, shard: ShardNumber) -> Option<NodeId> {
        let (_, replica) = self.leaders.get(&shard)?;
        Some(NodeId { shard, replica: *replica })
    }

    /// An applied entry of a shard, about a second old; `None` before the first report of a leader.
    #[must_use]
    pub fn applied(&self, shard: ShardNumber) -> Option<LogIndex> {
        self.applied.get(&shard).copied()
    }

    /// The behavior version that a shard has finalized; the first one while no leader of the shard was heard.
    #[must_use]
    pub fn behavior(&self, shard: ShardNumber) -> BehaviorVersion {
        self.behavior.get(&shard).copied().unwrap_or(BehaviorVersion::FIRST)
    }

    /// The replicas of a shard to which calls can be sent: connected members, or all known replicas if no member is
    /// connected. A call to a removed replica, or to one that has not joined yet, would only waste time.
    #[must_use]
    pub fn of_shard(&self, shard: ShardNumber) -> Vec<NodeId> {
        let of_shard = |node: &&NodeId| node.shard == shard;
        let members = self.members.get(&shard);
        let is_member = |node: &&NodeId| members.is_none_or(|members| members.contains(&node.replica));
        let can_be_asked: Vec<NodeId> = self.connected.iter().filter(of_shard).filter(is_member).copied().collect();
        if can_be_asked.is_empty() {
            return self.connected.iter().chain(self.addresses.keys()).filter(of_shard).copied().collect();
        }
        can_be_asked
    }

    /// All connected replicas.
    pub fn connected(&self) -> impl Iterator<Item = NodeId> {
        self.connected.iter().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use meridian_proto::topology::Member;

    fn node(replica: u64) -> NodeId {
        NodeId { shard: ShardNumber::FIRST, replica: ReplicaId(replica) }
    }

    fn lead(term: u64, members: &[u64]) -> Lead {
        let member = |id: &u64| Member { replica: ReplicaId(*id), address: format!("pod-{id}:8082") };
        Lead {
            term: Term(term),
            members: members.iter().map(member).collect(),
            applied: LogIndex(term),
            behavior: meridian_model::BehaviorVersion::FIRST,
        }
    }

    #[test]
    fn the_version_of_a_shard_is_the_newest_that_a_leader_of_it_has_stated() {
        let mut directory = Directory::default();
        let shard = node(1).shard;
        assert_eq!(directory.behavior(shard), BehaviorVersion::FIRST, "nobody was heard");
        let next = BehaviorVersion(2);
        directory.led_by(node(1), &Lead { behavior: next, ..lead(2, &[1, 2]) });
        directory.led_by(node(2), &lead(1, &[1, 2]));
        assert_eq!(directory.behavior(shard), next, "finalized versions are not taken back");
    }

    #[test]
    fn entries_applied_by_a_leader_stay_applied() {
        let mut directory = Directory::default();
        assert_eq!(directory.applied(ShardNumber::FIRST), None);
        for term in [7, 2] {
            directory.led_by(node(1), &lead(term, &[1]));
            assert_eq!(directory.applied(ShardNumber::FIRST), Some(LogIndex(7)));
        }
    }

    fn asked(directory: &Directory) -> Vec<u64> {
        directory.of_shard(ShardNumber::FIRST).iter().map(|node| node.replica.0).collect()
    }

    #[test]
    fn removed_or_disconnected_replicas_are_not_called() {
        let mut directory = Directory::default();
        directory.led_by(node(1), &lead(2, &[1, 2, 3, 4]));
        assert_eq!(asked(&directory), [1, 2, 3, 4], "nobody is connected: anyone may be");
        for id in [1, 2, 4, 5] {
            directory.met(node(id), format!("pod-{id}:8082"));
        }
        assert_eq!(asked(&directory), [1, 2, 4], "5 waits to be added");
        directory.led_by(node(1), &lead(2, &[1, 2, 3]));
        assert_eq!(asked(&directory), [1, 2]);
        directory.led_by(node(4), &lead(1, &[4]));
        assert_eq!(asked(&directory), [1, 2], "an old leader is not believed");
        for id in [1, 2] {
            directory.lost(node(id));
        }
        assert!(!asked(&directory).is_empty());
    }
}

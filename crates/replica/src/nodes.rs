//! Which replicas of the region are known, and who leads each shard.

use std::collections::{BTreeMap, BTreeSet};

use meridian_model::{ReplicaId, ShardNumber, Term};
use meridian_wire::frame::{Lead, NodeId};

/// What is known of the region's replicas.
#[derive(Debug, Default)]
pub(crate) struct Nodes {
    addresses: BTreeMap<NodeId, String>,
    connected: BTreeSet<NodeId>,
    leaders: BTreeMap<ShardNumber, (Term, ReplicaId)>,
}

impl Nodes {
    pub(crate) fn met(&mut self, node: NodeId, address: String) {
        self.connected.insert(node);
        if !address.is_empty() {
            self.addresses.insert(node, address);
        }
    }

    pub(crate) fn heard(&mut self, node: NodeId) {
        self.connected.insert(node);
    }

    pub(crate) fn learn(&mut self, node: NodeId, address: String) {
        self.addresses.insert(node, address);
    }

    pub(crate) fn lost(&mut self, node: NodeId) {
        self.connected.remove(&node);
    }

    pub(crate) fn forget(&mut self, node: NodeId) {
        self.addresses.remove(&node);
        self.connected.remove(&node);
    }

    pub(crate) fn is_connected(&self, node: NodeId) -> bool {
        self.connected.contains(&node)
    }

    /// Takes in what a leader says of its group; returns the members whose address is new.
    pub(crate) fn led_by(&mut self, leader: NodeId, lead: &Lead) -> Vec<(NodeId, String)> {
        let known = self.leaders.get(&leader.shard).map(|(term, _)| *term);
        if known.is_none_or(|term| term <= lead.term) {
            self.leaders.insert(leader.shard, (lead.term, leader.replica));
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

    /// A shard's replica pointed to another one.
    pub(crate) fn hint(&mut self, shard: ShardNumber, leader: Option<ReplicaId>) {
        match (leader, self.leaders.get_mut(&shard)) {
            (Some(replica), Some((_, known))) => *known = replica,
            (Some(replica), None) => drop(self.leaders.insert(shard, (Term(0), replica))),
            (None, _) => {}
        }
    }

    pub(crate) fn leader(&self, shard: ShardNumber) -> Option<NodeId> {
        let (_, replica) = self.leaders.get(&shard)?;
        Some(NodeId { shard, replica: *replica })
    }

    /// The replicas of a shard, those that are connected first.
    pub(crate) fn of_shard(&self, shard: ShardNumber) -> Vec<NodeId> {
        let of_shard = |node: &&NodeId| node.shard == shard;
        let connected = self.connected.iter().filter(of_shard).copied();
        let others = self.addresses.keys().filter(of_shard).filter(|node| !self.connected.contains(node)).copied();
        connected.chain(others).collect()
    }

    /// Everybody who is connected.
    pub(crate) fn connected(&self) -> impl Iterator<Item = NodeId> {
        self.connected.iter().copied()
    }
}

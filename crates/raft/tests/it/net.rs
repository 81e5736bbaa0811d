//! A simulated network and disks, and the invariants checked after every step.

use meridian_raft::{
    Config, Entry, EntryKind, HardState, Installation, Members, Output, Proposed, Raft, Restored, Role, Snapshot,
    StepOutcome,
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// SplitMix64: one seed decides all.
#[derive(Clone)]
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

/// Durable state.
#[derive(Clone, Default)]
pub struct Disk {
    pub hard_state: HardState,
    pub base: (u64, u64),
    pub base_members: Members,
    pub entries: Vec<Entry>,
}

impl Disk {
    fn write(&mut self, output: &Output) {
        if let Some(snapshot) = &output.snapshot {
            self.base = (snapshot.index, snapshot.term);
            self.base_members = snapshot.members.clone();
            self.entries.clear();
        }
        if let Some(first) = output.entries.first() {
            self.entries.retain(|entry| entry.index < first.index);
            self.entries.extend(output.entries.iter().map(|entry| Entry::decode(&entry.encode()).unwrap()));
        }
        if let Some(state) = output.hard_state {
            self.hard_state = HardState::decode(&state.encode()).unwrap();
        }
    }

    pub fn restored(&self) -> Restored {
        Restored {
            hard_state: self.hard_state,
            members: self.base_members.clone(),
            snapshot: self.base,
            entries: self.entries.clone(),
            applied: self.base.0,
        }
    }
}

pub struct Node {
    pub raft: Raft,
    pub disk: Disk,
    pub unsynced: VecDeque<Output>,
    pub applied: Vec<Entry>,
    pub members: Members,
    pub offered: Option<Snapshot>,
    pub reads: Vec<(u64, u64)>,
    pub installs: usize,
}

pub struct Net {
    pub nodes: BTreeMap<u64, Node>,
    pub down: BTreeMap<u64, Disk>,
    pub in_flight: Vec<(u64, u64, Vec<u8>)>,
    /// Directed links that drop all messages.
    pub cut: BTreeSet<(u64, u64)>,
    pub random: Random,
    /// Leader by term.
    pub leaders: BTreeMap<u64, u64>,
    pub committed: BTreeMap<u64, Entry>,
    pub incarnations: u64,
    pub dropped: usize,
    pub elections: usize,
    pub configure: fn(&mut Config),
    /// Injected bug: messages are sent before the state that they promise is durable.
    pub sends_before_persist: bool,
}

impl Net {
    pub fn of(voters: &[u64], seed: u64) -> Self {
        Self::with_config(voters, seed, |_| {})
    }

    pub fn with_config(voters: &[u64], seed: u64, configure: fn(&mut Config)) -> Self {
        let mut net = Self {
            nodes: BTreeMap::new(),
            down: BTreeMap::new(),
            in_flight: Vec::new(),
            cut: BTreeSet::new(),
            random: Random(seed),
            leaders: BTreeMap::new(),
            committed: BTreeMap::new(),
            incarnations: 0,
            dropped: 0,
            elections: 0,
            configure,
            sends_before_persist: false,
        };
        for id in voters {
            net.start(*id, Restored::bootstrap(voters.iter().copied()));
        }
        net
    }

    pub fn start(&mut self, id: u64, restored: Restored) {
        self.incarnations += 1;
        let mut config = Config::new(id, self.incarnations);
        (self.configure)(&mut config);
        let disk = Disk {
            hard_state: restored.hard_state,
            base: restored.snapshot,
            base_members: restored.members.clone(),
            entries: restored.entries.clone(),
        };
        let members = restored.members.clone();
        let raft = Raft::new(config, restored).unwrap();
        let (unsynced, applied, reads) = Default::default();
        self.nodes.insert(id, Node { raft, disk, unsynced, applied, members, offered: None, reads, installs: 0 });
    }

    pub fn crash(&mut self, id: u64) {
        let node = self.nodes.remove(&id).unwrap();
        self.down.insert(id, node.disk);
    }

    pub fn restart(&mut self, id: u64) {
        let disk = self.down.remove(&id).unwrap();
        self.start(id, disk.restored());
    }

    pub fn raft(&mut self, id: u64) -> &mut Raft {
        &mut self.nodes.get_mut(&id).unwrap().raft
    }

    /// Processes outputs as far as possible without a sync.
    pub fn drain(&mut self, id: u64) {
        while let Some(mut output) = self.raft(id).output() {
            if self.sends_before_persist {
                output.messages.append(&mut output.messages_after_persist);
            }
            if let Some(change) = output.role.filter(|change| change.role == Role::Leader) {
                self.leads(id, change.term);
            }
            let node = self.nodes.get_mut(&id).unwrap();
            for envelope in &output.messages {
                self.in_flight.push((id, envelope.to, envelope.message.clone()));
            }
            if let Some(snapshot) = &output.snapshot {
                node.members = snapshot.members.clone();
                node.applied.clear();
                node.installs += 1;
            }
            node.reads.extend(&output.reads);
            for entry in &output.committed {
                if matches!(entry.kind, EntryKind::Membership(_)) {
                    node.members = node.raft.apply_membership(entry).unwrap();
                }
                node.applied.push(entry.clone());
                node.raft.applied(entry.index);
                let first = self.committed.entry(entry.index).or_insert_with(|| entry.clone());
                assert_eq!(first, entry, "replica {id} committed something else");
            }
            node.unsynced.push_back(output);
        }
    }

    /// Election safety and leader completeness.
    fn leads(&mut self, id: u64, term: u64) {
        self.elections += 1;
        let first = *self.leaders.entry(term).or_insert(id);
        assert_eq!(first, id, "two leaders in term {term}");
        let raft = &self.nodes[&id].raft;
        let begin = raft.status().first_index;
        for (index, entry) in self.committed.range(begin..) {
            assert_eq!(raft.term_of(*index), Some(entry.term), "leader {id} of term {term} lacks committed {index}");
        }
    }

    /// Syncs the oldest unsynced output.
    pub fn sync_one(&mut self, id: u64) -> bool {
        let node = self.nodes.get_mut(&id).unwrap();
        let Some(output) = node.unsynced.pop_front() else { return false };
        node.disk.write(&output);
        node.raft.persisted(output.number);
        for envelope in output.messages_after_persist {
            self.in_flight.push((id, envelope.to, envelope.message));
        }
        self.drain(id);
        true
    }

    pub fn deliver(&mut self, nth: usize) {
        let (from, to, message) = self.in_flight.swap_remove(nth);
        if self.cut.contains(&(from, to)) || !self.nodes.contains_key(&to) {
            self.dropped += 1;
            return;
        }
        self.step(to, &message);
    }

    pub fn step(&mut self, to: u64, message: &[u8]) -> StepOutcome {
        let stepped = self.raft(to).step(message).unwrap();
        if let StepOutcome::Snapshot(snapshot) = &stepped {
            self.nodes.get_mut(&to).unwrap().offered = Some(snapshot.clone());
        }
        self.drain(to);
        stepped
    }

    pub fn accept(&mut self, id: u64) -> Option<Installation> {
        let node = self.nodes.get_mut(&id).unwrap();
        let snapshot = node.offered.clone()?;
        let how = node.raft.accept_snapshot(&snapshot);
        if how != Installation::Busy {
            node.offered = None;
        }
        self.drain(id);
        Some(how)
    }

    pub fn take_snapshot(&mut self, id: u64) {
        let node = self.nodes.get_mut(&id).unwrap();
        let applied = node.raft.status().applied;
        let installing = node.unsynced.iter().any(|output| output.snapshot.is_some());
        if applied > 0 && !installing {
            node.raft.snapshot_taken(applied, node.members.clone(), applied.to_le_bytes().to_vec()).unwrap();
        }
    }

    /// Compacts log and disk up to the applied index.
    pub fn compact(&mut self, id: u64) {
        let node = self.nodes.get_mut(&id).unwrap();
        // Only when no write is in flight.
        if node.unsynced.is_empty() && node.members.contains(id) {
            let applied = node.raft.status().applied;
            let term = node.raft.term_of(applied).unwrap();
            let first = node.raft.compact(applied + 1);
            assert_eq!(first, applied + 1);
            node.disk.base = (applied, term);
            node.disk.base_members = node.members.clone();
            node.disk.entries.retain(|entry| entry.index > applied);
        }
    }

    /// Delivers and syncs until nothing is in flight.
    pub fn settle(&mut self) {
        for _ in 0..10_000 {
            let ids: Vec<u64> = self.nodes.keys().copied().collect();
            for id in &ids {
                self.drain(*id);
                while self.sync_one(*id) {}
            }
            if self.in_flight.is_empty() {
                return;
            }
            for (from, to, message) in std::mem::take(&mut self.in_flight) {
                if !self.cut.contains(&(from, to)) && self.nodes.contains_key(&to) {
                    self.step(to, &message);
                }
            }
        }
        panic!("did not settle");
    }

    pub fn tick_all(&mut self, times: usize) {
        for _ in 0..times {
            for id in self.nodes.keys().copied().collect::<Vec<_>>() {
                let random = self.random.next();
                self.raft(id).tick(random);
            }
            self.settle();
        }
    }

    pub fn elect(&mut self, id: u64) {
        self.raft(id).campaign();
        self.settle();
        assert_eq!(self.role(id), Role::Leader);
    }

    pub fn role(&self, id: u64) -> Role {
        self.nodes[&id].raft.status().role
    }

    /// The replica that is leader in the newest term, by its own status.
    pub fn leader(&self) -> Option<u64> {
        let leads = |id: &&u64| self.role(**id) == Role::Leader;
        self.nodes.keys().filter(leads).max_by_key(|id| self.nodes[id].raft.status().term).copied()
    }

    pub fn propose(&mut self, id: u64, payload: &[u8]) -> Proposed {
        let proposed = self.raft(id).propose(payload.to_vec()).unwrap();
        self.drain(id);
        proposed
    }

    pub fn isolate(&mut self, id: u64) {
        for other in self.nodes.keys().chain(self.down.keys()).copied().collect::<Vec<_>>() {
            self.cut.insert((id, other));
            self.cut.insert((other, id));
        }
    }

    /// Payloads applied by a replica.
    pub fn payloads(&self, id: u64) -> Vec<Vec<u8>> {
        let applied = self.nodes[&id].applied.iter();
        applied.filter(|entry| entry.kind == EntryKind::Payload).map(|entry| entry.payload.to_vec()).collect()
    }
}

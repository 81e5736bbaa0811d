//! Replicas for tests.

use std::collections::BTreeMap;
use std::time::Duration;

use meridian_model::{
    ClusterId, CollectionDef, CollectionName, CollectionUid, Distance, Hlc, HnswParams, LogIndex, Op, PrimaryTerm,
    RegionName, ReplicaId, RequestIndexes, ShardNumber, VectorDef, WriteId,
};
use meridian_proto::frame::CallNumbers;
use meridian_proto::topology::{Genesis, Identity, Member};
use meridian_raft::{Config, EntryKind, Envelope, Raft, Restored, Role};
use meridian_shard::{Entry, State, Write};

use crate::context::{Ctx, Facts};
use crate::effect::Effect;
use crate::log_bytes::LogBytes;
use crate::restore::{Found, shard_identity};
use crate::time::Time;
use crate::{Counters, Now, Replica, Settings};

pub(crate) fn identity(replica: u64, founders: u64) -> Identity {
    let region = RegionName::new("us-east").unwrap();
    let genesis = Genesis {
        cluster: ClusterId(1),
        region: region.clone(),
        shard: ShardNumber::FIRST,
        shards: 1,
        primary: region,
        primary_term: PrimaryTerm(1),
    };
    let member = |id| Member { replica: ReplicaId(id), address: format!("pod-{id}:8082") };
    Identity {
        genesis,
        replica: ReplicaId(replica),
        founders: (1..=founders).map(member).collect(),
        group: None,
        behavior: meridian_model::BehaviorVersion::FIRST,
    }
}

/// A replica that nobody speaks to.
pub(crate) fn alone(identity: Identity) -> Replica {
    let records = Replica::bootstrap_records(!identity.founders.is_empty());
    let found = Found { records: (0..).zip(records).collect(), ..Found::default() };
    let now = Now { mono: Duration::ZERO, wall: Duration::from_millis(1) };
    Replica::restore(Settings::default(), identity, now, 1, found).unwrap()
}

/// What a part is lent, without a machine: replica 1 of a group.
pub(crate) struct Bench {
    pub(crate) now: Time,
    pub(crate) settings: Settings,
    pub(crate) identity: Identity,
    pub(crate) raft: Raft,
    pub(crate) state: State,
    pub(crate) facts: Facts,
    pub(crate) log_bytes: LogBytes,
    pub(crate) counters: Counters,
    numbers: CallNumbers,
}

impl Bench {
    /// Of a group of one.
    pub(crate) fn new() -> Self {
        Self::of(1)
    }

    /// Of a group of so many.
    pub(crate) fn of(voters: u64) -> Self {
        let identity = identity(1, voters);
        let now = Now { mono: Duration::from_secs(100), wall: Duration::from_secs(1_000) };
        let mut state = State::new(shard_identity(&identity)).unwrap();
        let restored = Restored::bootstrap(1..=voters);
        state.apply(LogIndex(restored.snapshot.0), &Entry::Noop);
        Self {
            now: Time::new(now),
            settings: Settings::default(),
            identity,
            raft: Raft::new(Config::new(1, 1), restored).unwrap(),
            state,
            facts: Facts { has_space: true, ..Facts::default() },
            log_bytes: LogBytes::default(),
            counters: Counters::default(),
            numbers: CallNumbers::behind(0),
        }
    }

    /// So much time passes.
    pub(crate) fn pass(&mut self, time: Duration) {
        self.now.mono += time;
        self.now.age += time;
        self.now.wall += time;
    }

    /// Hands the context to a part; what that wants done.
    pub(crate) fn lend(&mut self, handle: impl FnOnce(&mut Ctx<'_>)) -> Vec<Effect> {
        let (mut out, mut effects) = (Vec::new(), Vec::new());
        let mut cx = Ctx {
            now: self.now,
            settings: &self.settings,
            identity: &self.identity,
            raft: &mut self.raft,
            state: &self.state,
            log_bytes: &mut self.log_bytes,
            numbers: &mut self.numbers,
            counters: &mut self.counters,
            facts: self.facts,
            out: &mut out,
            effects: &mut effects,
        };
        handle(&mut cx);
        out.into_iter().map(Effect::Command).chain(effects).collect()
    }

    /// This replica is elected, and has applied the first entry of its term.
    pub(crate) fn lead(&mut self) {
        for tick in 0.. {
            assert!(tick < 1_000, "it is not elected");
            self.raft.tick(7);
            self.drive();
            if self.raft.status().role == Role::Leader && self.raft.status().commit == self.state.applied().0 {
                return;
            }
        }
    }

    /// The other replicas of its group elect this one, and hold what it has.
    pub(crate) fn be_elected(&mut self) {
        let voters: Vec<u64> = self.raft.members().voters.into_iter().collect();
        let restored = || Restored::bootstrap(voters.iter().copied());
        let other = |id: &u64| (*id, Raft::new(Config::new(*id, 1), restored()).unwrap());
        let mut others: BTreeMap<u64, Raft> = voters.iter().filter(|id| **id != 1).map(other).collect();
        self.raft.campaign();
        loop {
            let mut sent = Vec::new();
            for raft in std::iter::once(&mut self.raft).chain(others.values_mut()) {
                while let Some(output) = raft.output() {
                    raft.persisted(output.number);
                    sent.extend(output.messages.into_iter().chain(output.messages_after_persist));
                    if let Some(last) = output.committed.last() {
                        raft.applied(last.index);
                    }
                }
            }
            if sent.is_empty() {
                break;
            }
            for Envelope { to, message } in sent {
                let raft = if to == 1 { &mut self.raft } else { others.get_mut(&to).unwrap() };
                raft.step(&message).unwrap();
            }
        }
        let status = self.raft.status();
        assert_eq!(status.role, Role::Leader);
        (self.state.applied().0 + 1..=status.applied)
            .for_each(|index| drop(self.state.apply(LogIndex(index), &Entry::Noop)));
    }

    /// The consensus library gets all that it wants at once; the reads that it confirmed.
    pub(crate) fn drive(&mut self) -> Vec<(u64, LogIndex)> {
        let mut reads = Vec::new();
        while let Some(output) = self.raft.output() {
            self.raft.persisted(output.number);
            for entry in output.committed {
                if matches!(entry.kind, EntryKind::Membership(_)) {
                    self.raft.apply_membership(&entry).unwrap();
                }
                self.state.apply(LogIndex(entry.index), &crate::log_entry::decode(&entry).unwrap());
                self.raft.applied(entry.index);
            }
            reads.extend(output.reads.into_iter().map(|(context, index)| (context, LogIndex(index))));
        }
        reads
    }

    /// Applies the creation of a collection behind what is applied.
    pub(crate) fn create_collection(&mut self, name: &str) {
        let hnsw = HnswParams::default();
        let vector = VectorDef { dim: 2, distance: Distance::Dot, hnsw };
        let vectors = BTreeMap::from([(String::new(), vector)]);
        let def = CollectionDef { name: CollectionName::new(name).unwrap(), vectors };
        let hlc = Hlc::default().tick(self.now.wall_millis());
        let ops = vec![Op::CreateCollection { uid: CollectionUid(hlc.0), def }];
        let (sent_at, table) = (self.state.applied(), self.state.table().version);
        let (id, (term, _), indexes) = (WriteId(hlc.0.into()), self.state.primary(), RequestIndexes::default());
        let write = Write { id, part: 0, table, term, sent_at, ops, indexes, hlc, trace: None };
        self.state.apply(LogIndex(self.state.applied().0 + 1), &Entry::Write(write));
    }

    /// Commits and applies so many entries that change nothing.
    pub(crate) fn commit(&mut self, entries: u64) {
        for _ in 0..entries {
            self.raft.propose(Entry::Noop.encode()).unwrap();
            self.drive();
        }
    }
}

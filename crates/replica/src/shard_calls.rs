//! What a replica answers about its own shard: the leader stamps, proposes and acknowledges; any replica reads.

use std::collections::BTreeMap;

use meridian_model::client::PointOp;
use meridian_model::{
    CollectionDef, CollectionName, CollectionUid, ConditionalChange, Hlc, LogIndex, MAX_CONDITIONAL_PART, Op,
    PointChange, PointId, Position, RequestIndexes, Seq, TableVersion, Traceparent, VersionVector, WriteId,
};
use meridian_proto::frame::{CallAnswer, PeerMessage, ShardAnswer, ShardCall};
use meridian_raft::ProposeError;
use meridian_shard::{
    CollectionChange, ConditionalWrite, Entry, MAX_CONDITIONAL_CHANGES, Outcome, RemoteBatch, Write, WriteResult,
};

use crate::effect::Requester;
use crate::reads::ReadCall;
use crate::{Command, ReadWhat, Replica, Traced};

/// Writes that may wait for their commit at one leader; more are refused until some are done.
const WRITES_WAITING: usize = 4096;
/// Part number of definitions that a shard takes over from shard 1.
const PART_LEARNT: u32 = 1 << 16;
/// Part number of drops that a shard takes over from shard 1.
const PART_FORGOTTEN: u32 = (1 << 16) + 1;
/// Nobody waits for the answer.
pub(crate) const NOBODY: Requester = Requester::Own(0);

/// The leader's writes under way.
#[derive(Debug, Default)]
pub(crate) struct Writes {
    /// The newest stamp given, committed or not.
    pub(crate) hlc: Hlc,
    waiting: BTreeMap<(WriteId, u32), Vec<(Requester, Kind)>>,
}

/// What the requester wants to hear.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Written,
    Created,
    Dropped(CollectionUid),
    Conditional,
}

impl Kind {
    fn answer(self, done: &WriteResult, covers: VersionVector) -> ShardAnswer {
        let last = done.last;
        match (self, &done.collection) {
            (Self::Created, Some(CollectionChange::Created(uid) | CollectionChange::Known(uid))) => {
                ShardAnswer::Created(*uid, covers)
            }
            // Another create of that name came first.
            (Self::Created, _) => ShardAnswer::Exists,
            (Self::Dropped(upto), change) => {
                let existed = !matches!(change, Some(CollectionChange::Dropped { existed: false }));
                ShardAnswer::Dropped { existed, upto, covers }
            }
            (Self::Written, _) => ShardAnswer::Written(last, covers),
            (Self::Conditional, _) => ShardAnswer::Conditional { last, covers, retry: done.retry.clone() },
        }
    }
}

/// What is proposed as one write.
enum Changes {
    /// Whatever stands there. The entry was applied before they were first sent.
    Plain { sent_at: LogIndex, ops: Vec<Op>, indexes: RequestIndexes },
    /// Each if its point is as it was read.
    Conditional { collection: CollectionUid, read_at: LogIndex, changes: Vec<ConditionalChange> },
}

impl Changes {
    /// Changes of a request that this shard gets whole.
    fn whole(sent_at: LogIndex, ops: Vec<Op>) -> Self {
        Self::Plain { sent_at, ops, indexes: RequestIndexes::default() }
    }

    fn len(&self) -> usize {
        match self {
            Self::Plain { ops, .. } => ops.len(),
            Self::Conditional { changes, .. } => changes.len(),
        }
    }

    fn points(&self) -> impl Iterator<Item = PointId> {
        let changes = if let Self::Conditional { changes, .. } = self { changes.as_slice() } else { &[] };
        changes.iter().map(|change| change.point)
    }
}

impl Replica {
    pub(crate) fn shard_call(&mut self, from: Requester, call: ShardCall) {
        let fault = match &self.out_of_service {
            Some(reason) => Some(reason.as_str()),
            None if self.is_in_doubt() => Some(crate::context::DOUBT),
            None => None,
        };
        if let Some(fault) = fault {
            let answer =
                ShardAnswer::Busy(format!("replica {} is out of service: {fault}", self.identity.node().replica));
            return self.answer(from, answer);
        }
        match call {
            _ if call.is_read() && !self.consensus.is_caught_up() => {
                // What it holds may be older than what was acknowledged, or known to be wrong by what it has yet to apply.
                self.answer(
                    from,
                    ShardAnswer::Busy(format!("replica {} is catching up", self.identity.node().replica)),
                );
            }
            ShardCall::Read { collection, query, demand } => {
                self.read(ReadCall::new(from, ReadWhat::Points(collection, query), demand, self.now));
            }
            ShardCall::Match(query, demand) => {
                self.read(ReadCall::new(from, ReadWhat::Match(query), demand, self.now));
            }
            ShardCall::List(demand) => self.read(ReadCall::new(from, ReadWhat::List, demand, self.now)),
            ShardCall::Describe(name, demand) => {
                self.read(ReadCall::new(from, ReadWhat::Describe(name), demand, self.now));
            }
            _ if !self.is_leading() => {
                let leader = self.raft.status().leader.map(meridian_model::ReplicaId);
                self.answer(from, ShardAnswer::NotLeader(leader.filter(|id| *id != self.identity.node().replica)));
            }
            ShardCall::Resolve(name) => {
                let found = self.state.collection(&name).map(|held| (held.uid(), held.def().clone()));
                self.answer(from, ShardAnswer::Resolved(found));
            }
            ShardCall::Definitions => {
                let state = &self.state;
                let standing = state.collections().map(|held| (held.uid(), held.def().clone())).collect();
                let largest = state.largest_uid();
                self.answer(from, ShardAnswer::Definitions { largest, standing });
            }
            ShardCall::Write { id, table, sent_at, collection, ops, indexes, trace } => {
                self.write(from, (id, trace), (table, sent_at), &collection, (ops, indexes));
            }
            ShardCall::Await(positions) => self.await_positions(from, positions),
            ShardCall::ConditionalWrite { id, part, table, collection, read_at, changes, trace } => {
                let changes = Changes::Conditional { collection, read_at, changes };
                self.conditional_write(from, (id, part), table, changes, trace);
            }
            ShardCall::Create { id, sent_at, .. } | ShardCall::Drop { id, sent_at, .. }
                if self.state.may_have_forgotten(id, 0, sent_at) =>
            {
                self.answer(from, ShardAnswer::Forgotten);
            }
            ShardCall::Create { id, sent_at, def } => self.create(from, (id, sent_at), def),
            ShardCall::Learn { uid, def } => self.learn(from, uid, def),
            ShardCall::Drop { id, sent_at, name, upto } => self.drop_collection(from, (id, sent_at), &name, upto),
        }
    }

    pub(crate) fn answer(&mut self, to: Requester, answer: ShardAnswer) {
        match to {
            Requester::Own(call) => self.answered(None, call, answer),
            Requester::Node(node, call) => {
                self.out.push(Command::Send(node, PeerMessage::Answer(call, CallAnswer::Shard(answer))));
            }
        }
    }

    fn write(
        &mut self,
        from: Requester,
        (id, trace): (WriteId, Option<Traceparent>),
        (table, sent_at): (TableVersion, LogIndex),
        collection: &CollectionName,
        (ops, indexes): (Vec<PointOp>, RequestIndexes),
    ) {
        let part = u32::from(self.identity.node().shard.number());
        let state = &self.state;
        let mut repeated = false;
        let refusal = if let Some(done) = state.write_result(id, part) {
            repeated = true;
            Some(self.written(done))
        } else if table != state.table().version
            || ops.iter().any(|op| state.table().shard_of(op.point()) != self.identity.node().shard)
        {
            Some(ShardAnswer::NotOwner(state.table().version))
        } else if !indexes.fits(ops.len()) {
            Some(ShardAnswer::Wrong(format!("indexes must be those of {} changes", ops.len())))
        } else {
            None
        };
        if let Some(answer) = refusal {
            self.counters.writes_repeated += u64::from(repeated);
            return self.answer(from, answer);
        }
        let Some(uid) = state.collection(collection).map(|held| held.uid()) else {
            return self.answer(from, ShardAnswer::NoCollection);
        };
        let mut ops: Vec<Op> = ops.into_iter().map(|op| op_of(uid, op)).collect();
        let checked = state.check_write(&ops);
        if checked.is_ok() {
            state.normalize(&mut ops);
        }
        match checked {
            Ok(()) => {
                self.propose_traced(from, Kind::Written, (id, part), Changes::Plain { sent_at, ops, indexes }, trace)
            }
            Err(fault) => self.answer(from, ShardAnswer::Wrong(fault.to_string())),
        }
    }

    fn conditional_write(
        &mut self,
        from: Requester,
        (id, part): (WriteId, u32),
        table: TableVersion,
        changes: Changes,
        trace: Option<Traceparent>,
    ) {
        let (state, own) = (&self.state, self.identity.node().shard);
        if let Some(done) = state.write_result(id, part) {
            let answer = Kind::Conditional.answer(done, self.position_of(done));
            self.counters.writes_repeated += 1;
            return self.answer(from, answer);
        }
        let held = state.table().version;
        if table != held || changes.points().any(|point| state.table().shard_of(point) != own) {
            return self.answer(from, ShardAnswer::NotOwner(held));
        }
        if part > MAX_CONDITIONAL_PART {
            let fault = format!("part must be at most {MAX_CONDITIONAL_PART} (got {part})");
            return self.answer(from, ShardAnswer::Wrong(fault));
        }
        if !(1..=MAX_CONDITIONAL_CHANGES).contains(&changes.len()) {
            let fault = format!("changes must be from 1 to {MAX_CONDITIONAL_CHANGES} (got {})", changes.len());
            return self.answer(from, ShardAnswer::Wrong(fault));
        }
        self.propose_traced(from, Kind::Conditional, (id, part), changes, trace);
    }

    fn create(&mut self, from: Requester, (id, sent_at): (WriteId, LogIndex), def: CollectionDef) {
        let state = &self.state;
        let covers = state.vv().clone();
        // The answer of a repeated create names the uid that the first one got.
        let known = state.write_result(id, 0).map(|done| Kind::Created.answer(done, covers));
        let taken = state.collection(&def.name).is_some();
        match known {
            Some(answer) => self.answer(from, answer),
            None if taken => self.answer(from, ShardAnswer::Exists),
            None if self.collections_to_be() >= self.settings.collections => {
                let most = self.settings.collections;
                let fault = format!(
                    "collections must be at most {most} (got {most} already); drop one, or raise limits.collections"
                );
                self.answer(from, ShardAnswer::Wrong(fault));
            }
            None => {
                let uid = CollectionUid(self.next_stamp().0);
                let changes = Changes::whole(sent_at, vec![Op::CreateCollection { uid, def }]);
                self.propose_traced(from, Kind::Created, (id, 0), changes, None);
            }
        }
    }

    /// Collections that there are, and those that wait for their commit.
    fn collections_to_be(&self) -> usize {
        let waiting =
            self.writes.waiting.values().filter(|waiters| waiters.iter().any(|(_, kind)| *kind == Kind::Created));
        self.state.collections().count() + waiting.count()
    }

    pub(crate) fn learn(&mut self, from: Requester, uid: CollectionUid, def: CollectionDef) {
        let state = &self.state;
        let known = state.collection_by_uid(uid).is_some() || state.is_dropped(uid);
        let (last, covers) = (Seq(state.next_seq().0 - 1), state.vv().clone());
        if known {
            return self.answer(from, ShardAnswer::Written(last, covers));
        }
        let id = WriteId(u128::from(uid.0));
        self.propose_ops(from, Kind::Written, id, PART_LEARNT, vec![Op::CreateCollection { uid, def }]);
    }

    /// Drops a collection that shard 1 has dropped.
    pub(crate) fn forget_collection(&mut self, uid: CollectionUid) {
        let (id, ops) = (WriteId(u128::from(uid.0)), vec![Op::DropCollection { uid }]);
        self.propose_ops(NOBODY, Kind::Dropped(uid), id, PART_FORGOTTEN, ops);
    }

    /// Shard 1 decides which collection is meant, so that every repeat and every other shard means the same one, and not
    /// one that was created meanwhile. The other shards bury it even if they never had it: its definition may still be on
    /// its way to them.
    fn drop_collection(
        &mut self,
        from: Requester,
        (id, sent_at): (WriteId, LogIndex),
        name: &CollectionName,
        upto: Option<CollectionUid>,
    ) {
        let state = &self.state;
        let done = state.write_result(id, 0).map(|done| done.collection.clone());
        let standing = state.collection(name).map(|held| held.uid());
        let covers = state.vv().clone();
        let (gone, upto) = match (upto, &done) {
            // What a repeat means was dropped by its first copy: the newest one then.
            (None, Some(_)) => (Vec::new(), state.newest_dropped(name)),
            (None, None) => (Vec::from_iter(standing), standing.or_else(|| state.newest_dropped(name))),
            (Some(upto), _) => {
                let older = standing.filter(|uid| *uid < upto);
                let meant = Some(upto).filter(|uid| *uid > CollectionUid(0) && !state.is_dropped(*uid));
                (older.into_iter().chain(meant).collect(), Some(upto))
            }
        };
        let upto = upto.unwrap_or(CollectionUid(0));
        if gone.is_empty() || done.is_some() {
            let existed = matches!(done, Some(Some(CollectionChange::Dropped { existed: true })));
            return self.answer(from, ShardAnswer::Dropped { existed, upto, covers });
        }
        let ops = gone.into_iter().map(|uid| Op::DropCollection { uid }).collect();
        self.propose_traced(from, Kind::Dropped(upto), (id, 0), Changes::whole(sent_at, ops), None);
    }

    fn next_stamp(&self) -> Hlc {
        self.writes.hlc.max(self.state.last_hlc()).tick(self.now.wall_millis())
    }

    /// Proposes what follows from what is applied here: a repeat would follow from that too.
    fn propose_ops(&mut self, from: Requester, kind: Kind, id: WriteId, part: u32, ops: Vec<Op>) {
        let sent_at = self.state.applied();
        self.propose_traced(from, kind, (id, part), Changes::whole(sent_at, ops), None);
    }

    /// Stamps the changes and proposes them as one entry; the requester hears when it is applied.
    fn propose_traced(
        &mut self,
        from: Requester,
        kind: Kind,
        (id, part): (WriteId, u32),
        changes: Changes,
        trace: Option<Traceparent>,
    ) {
        let waiting = self.writes.waiting.len();
        let admitted = match &changes {
            Changes::Plain { ops, .. } => self.admits(ops),
            Changes::Conditional { changes, .. } => {
                let shrinks = changes.iter().all(|change| matches!(change.change, PointChange::Delete));
                if shrinks { self.admits_small() } else { self.admits_growth() }
            }
        };
        if !admitted {
            let elsewhere = self.is_handing_over_for_space();
            return self.answer(from, if elsewhere { ShardAnswer::NotLeader(None) } else { ShardAnswer::Full });
        }
        if self.drain.is_draining() {
            return self.answer(from, ShardAnswer::NotLeader(None));
        }
        if let Some(waiters) = self.writes.waiting.get_mut(&(id, part)) {
            if !waiters.contains(&(from, kind)) {
                waiters.push((from, kind));
            }
            return;
        }
        if waiting >= WRITES_WAITING {
            return self.answer(from, ShardAnswer::Overloaded(format!("{waiting} writes wait for their commit")));
        }
        let hlc = self.next_stamp();
        let last = Hlc(hlc.0 + changes.len() as u64 - 1);
        let (table, (term, _)) = (self.state.table().version, self.state.primary());
        let entry = match changes {
            Changes::Plain { sent_at, ops, indexes } => {
                Entry::Write(Write { id, part, table, term, sent_at, ops, indexes, hlc, trace })
            }
            Changes::Conditional { collection, read_at, changes } => {
                let write = ConditionalWrite { id, part, table, term, collection, read_at, changes, hlc, trace };
                Entry::ConditionalWrite(write)
            }
        };
        match self.raft.propose(entry.encode()) {
            Ok(_) => {
                self.writes.hlc = last;
                self.writes.waiting.insert((id, part), vec![(from, kind)]);
            }
            Err(fault) => self.answer(from, refused_proposal(&fault)),
        }
    }

    /// Tells those who wait for `entry` what became of it.
    pub(crate) fn fulfil(&mut self, entry: &Entry, outcome: Outcome) {
        match (entry, &outcome) {
            (_, Outcome::Written { id, part, first, last, repeated, .. }) => {
                if *repeated {
                    self.counters.writes_repeated += 1;
                } else {
                    self.counters.ops_committed += last.0 + 1 - first.0;
                }
                let Some(waiting) = self.writes.waiting.remove(&(*id, *part)) else { return };
                let Some(done) = self.state.write_result(*id, *part).cloned() else { return };
                for (to, kind) in waiting {
                    self.answer(to, kind.answer(&done, self.position_of(&done)));
                }
            }
            (_, Outcome::ResultForgotten { id, part }) => {
                for (to, _) in self.writes.waiting.remove(&(*id, *part)).unwrap_or_default() {
                    self.answer(to, ShardAnswer::Forgotten);
                }
            }
            (_, Outcome::TableChanged { id, part, held }) => {
                for (to, _) in self.writes.waiting.remove(&(*id, *part)).unwrap_or_default() {
                    self.answer(to, ShardAnswer::NotOwner(*held));
                }
            }
            (_, Outcome::TermEnded { id, part, held }) => {
                for (to, _) in self.writes.waiting.remove(&(*id, *part)).unwrap_or_default() {
                    let fault =
                        format!("the primary term ended before the write was committed; term {held} is in place");
                    self.answer(to, ShardAnswer::Busy(fault));
                }
            }
            (Entry::RemoteBatch(batch), outcome) => {
                self.tell_merged(batch, outcome);
                self.batch_applied(&batch.origin, outcome);
            }
            (Entry::Seed { origin, .. }, outcome) => self.seed_applied(origin, outcome),
            (Entry::Links(_), outcome) => self.links_applied(outcome),
            _ => {}
        }
    }

    /// Says what of another region took effect here; which requests it goes back to, one replica of the shard says.
    fn tell_merged(&mut self, batch: &RemoteBatch, outcome: &Outcome) {
        let Outcome::Merged(merged) = outcome else { return };
        let known = merged.position.seq.0.saturating_sub(merged.advanced);
        let new = batch.deltas.iter().filter(|delta| delta.seq.0 > known);
        let committed_at: Vec<Hlc> = new.clone().map(|delta| delta.committed_at).collect();
        if !committed_at.is_empty() {
            self.out.push(Command::Merged { origin: batch.origin.clone(), committed_at });
        }
        let traced: Vec<Traced> = new
            .filter_map(|delta| {
                let (trace, committed_at) = (delta.trace?, delta.committed_at);
                Some(Traced { trace, origin: batch.origin.clone(), seq: delta.seq, committed_at })
            })
            .collect();
        if self.is_leading() && !traced.is_empty() {
            self.out.push(Command::Traced(traced));
        }
    }

    fn written(&self, done: &WriteResult) -> ShardAnswer {
        ShardAnswer::Written(done.last, self.position_of(done))
    }

    fn position_of(&self, done: &WriteResult) -> VersionVector {
        [(self.state.origin().clone(), Position { epoch: done.epoch, seq: done.last })].into_iter().collect()
    }

    /// A leader that no longer leads cannot say what became of its writes; their gateways ask the next one.
    pub(crate) fn fail_waiting_writes(&mut self) {
        for (to, _) in std::mem::take(&mut self.writes.waiting).into_values().flatten() {
            self.answer(to, ShardAnswer::SteppedDown);
        }
    }
}

fn op_of(collection: CollectionUid, op: PointOp) -> Op {
    match op {
        PointOp::Upsert { point, vectors, payload } => Op::Upsert { collection, point, vectors, payload },
        PointOp::Delete { point } => Op::Delete { collection, point },
    }
}

fn refused_proposal(fault: &ProposeError) -> ShardAnswer {
    match fault {
        ProposeError::NotLeader { leader } => ShardAnswer::NotLeader(leader.map(meridian_model::ReplicaId)),
        ProposeError::Size(bytes) => ShardAnswer::Wrong(format!("a write of {bytes} bytes is too large for the log")),
        other => ShardAnswer::Busy(other.to_string()),
    }
}

//! Small regions for tests: shards, their logs, and actions on them.

use std::collections::BTreeMap;

use meridian_model::{
    BehaviorVersion, CollectionDef, CollectionName, CollectionUid, ConditionalChange, Delta, Distance, Epoch, Hlc,
    HnswParams, LogIndex, Op, OriginShard, Payload, PointChange, PointId, Position, PrimaryTerm, RegionName,
    RequestIndexes, Seq, ShardNumber, TableVersion, VectorDef, Vectors, WriteId,
};
use proptest::prelude::*;

use crate::{
    Applied, CollectionChange, ConditionalWrite, Digest, Entry, Identity, Outcome, RemoteBatch, SourcePosition, Stamp,
    State, Write,
};

pub(crate) fn region(name: &str) -> RegionName {
    RegionName::new(name).unwrap()
}

pub(crate) fn origin(name: &str, shard: u16) -> OriginShard {
    OriginShard { region: region(name), shard: ShardNumber::new(shard).unwrap() }
}

pub(crate) fn state(name: &str, shard: u16, shards: u16) -> State {
    let shard = ShardNumber::new(shard).unwrap();
    let primary = (PrimaryTerm(1), region("us"));
    let behavior = BehaviorVersion::FIRST;
    State::new(Identity { region: region(name), shard, shards, primary, behavior }).unwrap()
}

/// A definition with two dimensions in the unnamed vector and three in `other`.
pub(crate) fn def(name: &str, distance: Distance) -> CollectionDef {
    let vector = |dim| VectorDef { dim, distance, hnsw: HnswParams::default() };
    let vectors = BTreeMap::from([(String::new(), vector(2)), ("other".into(), vector(3))]);
    CollectionDef { name: CollectionName::new(name).unwrap(), vectors }
}

pub(crate) fn create(uid: u64, name: &str) -> Op {
    Op::CreateCollection { uid: CollectionUid(uid), def: def(name, Distance::Euclid) }
}

pub(crate) fn drop_op(uid: u64) -> Op {
    Op::DropCollection { uid: CollectionUid(uid) }
}

pub(crate) fn upsert(uid: u64, point: u64, x: i8, y: i8) -> Op {
    let mut vectors = Vectors::unnamed(vec![f32::from(x), f32::from(y)]);
    if x % 2 == 0 {
        vectors.insert("other".into(), vec![f32::from(y), 1.0, f32::from(x)]);
    }
    let payload = Payload(format!(r#"{{"tags":["t{}","all"],"x":{x}}}"#, y.rem_euclid(3)).into());
    Op::Upsert { collection: CollectionUid(uid), point: PointId::Num(point), vectors, payload }
}

pub(crate) fn delete(uid: u64, point: u64) -> Op {
    Op::Delete { collection: CollectionUid(uid), point: PointId::Num(point) }
}

/// A write whose first copy is this entry.
pub(crate) fn write(id: u128, hlc: u64, ops: Vec<Op>) -> Entry {
    write_sent_at(u64::MAX, id, hlc, ops)
}

pub(crate) fn write_sent_at(sent_at: u64, id: u128, hlc: u64, ops: Vec<Op>) -> Entry {
    Entry::Write(Write {
        id: WriteId(id),
        part: 0,
        table: TableVersion(1),
        term: PrimaryTerm(1),
        sent_at: LogIndex(sent_at),
        ops,
        indexes: RequestIndexes::default(),
        hlc: Hlc(hlc),
        trace: None,
    })
}

/// Deletes each of these points if it still has the given stamp.
pub(crate) fn delete_if(id: u128, hlc: u64, uid: u64, read_at: u64, seen: Vec<(u64, Stamp)>) -> Entry {
    let delete = |(point, seen)| ConditionalChange { point: PointId::Num(point), seen, change: PointChange::Delete };
    let changes: Vec<_> = seen.into_iter().map(delete).collect();
    Entry::ConditionalWrite(ConditionalWrite {
        id: WriteId(id),
        part: 0,
        table: TableVersion(1),
        term: PrimaryTerm(1),
        collection: CollectionUid(uid),
        read_at: LogIndex(read_at),
        hlc: Hlc(hlc),
        changes,
        trace: None,
    })
}

/// The stamp of a point.
pub(crate) fn stamp_of(state: &State, uid: u64, point: u64) -> Option<Stamp> {
    Some(state.collection_by_uid(CollectionUid(uid))?.point(PointId::Num(point))?.stamp.clone())
}

/// All deltas of a log from its beginning, as a replica with this state serves them.
pub(crate) fn tail(state: &State, log: &[Entry]) -> Vec<Delta> {
    let mut deltas: Vec<Delta> = Vec::new();
    let mut at = Position { epoch: Epoch(1), seq: Seq(0) };
    while let Some(next) = state.next_position(at) {
        at = next;
        if next.seq > Seq(0) {
            let located = state.locate(next).expect("all of the log is known");
            deltas.extend(state.deltas_of(located, &log[located.index.0 as usize - 1]));
            at = deltas[deltas.len() - 1].position();
            assert!(at >= next, "{located:?} has no delta of {next}");
        }
    }
    deltas
}

/// A shard and its log.
pub(crate) struct Shard {
    pub(crate) state: State,
    pub(crate) log: Vec<Entry>,
}

impl Shard {
    pub(crate) fn new(name: &str, shard: u16, shards: u16) -> Self {
        Self { state: state(name, shard, shards), log: Vec::new() }
    }

    pub(crate) fn commit(&mut self, entry: Entry) -> Applied {
        let entry = Entry::decode(&entry.encode()).unwrap();
        self.log.push(entry);
        self.state.apply(LogIndex(self.log.len() as u64), &self.log[self.log.len() - 1])
    }

    /// The stamp of a point, or that of another version of it.
    pub(crate) fn seen(&self, uid: u64, point: u64, other: bool) -> Stamp {
        let none = Stamp { hlc: Hlc(1), origin: self.state.origin().clone(), epoch: Epoch(1), seq: Seq(0) };
        if other { none } else { stamp_of(&self.state, uid, point).unwrap_or(none) }
    }

    /// The deltas of at most `entries` log entries from sequence `from` on, without points that `target` does not own.
    pub(crate) fn batch(&self, from: Seq, entries: usize, target: &State) -> RemoteBatch {
        self.batch_of(self.state.epoch(), from, entries, target)
    }

    /// Like [`Shard::batch`], for one epoch of the log.
    pub(crate) fn batch_of(&self, epoch: Epoch, from: Seq, entries: usize, target: &State) -> RemoteBatch {
        let me = self.state.origin();
        let mut next = from;
        let mut deltas = Vec::new();
        for _ in 0..entries {
            let Some(located) = self.state.locate(Position { epoch, seq: next }) else { break };
            let entry = &self.log[located.index.0 as usize - 1];
            assert!(matches!(entry, Entry::Write(_) | Entry::ConditionalWrite(_)), "{entry:?}");
            let all = self.state.deltas_of(located, entry);
            let last = all[all.len() - 1].seq;
            deltas.extend(all.into_iter().filter(|delta| delta.seq >= next));
            next = last.next();
        }
        deltas.retain(|delta| match &delta.op {
            Op::Upsert { point, .. } | Op::Delete { point, .. } => target.owns(*point),
            _ => true,
        });
        let (origin, to) = (me.clone(), Seq(next.0 - 1));
        let source = SourcePosition::Kafka { partition: me.shard.partition(), offset: next.0.cast_signed() };
        RemoteBatch { origin, epoch, from, to, deltas, origin_shards: self.state.table().shards(), source }
    }
}

/// An action on a region.
#[derive(Debug, Clone)]
pub(crate) enum Action {
    Upsert {
        uid: u64,
        point: u64,
        x: i8,
        y: i8,
    },
    Delete {
        uid: u64,
        point: u64,
    },
    /// Deletes these points if they are unchanged since the read; some were read in another version.
    DeleteIf {
        uid: u64,
        points: Vec<(u64, bool)>,
    },
    Create {
        name: u8,
    },
    Drop {
        uid: u64,
    },
    /// The last write is repeated.
    Repeat,
    Noop,
}

pub(crate) fn actions(most: usize) -> impl Strategy<Value = Vec<Action>> {
    let action = prop_oneof![
        12 => (1u64..4, 0u64..24, any::<i8>(), any::<i8>())
            .prop_map(|(uid, point, x, y)| Action::Upsert { uid, point, x, y }),
        4 => (1u64..4, 0u64..24).prop_map(|(uid, point)| Action::Delete { uid, point }),
        4 => (1u64..4, prop::collection::vec((0u64..24, any::<bool>()), 1..6))
            .prop_map(|(uid, points)| Action::DeleteIf { uid, points }),
        2 => (0u8..2).prop_map(|name| Action::Create { name }),
        1 => (1u64..4).prop_map(|uid| Action::Drop { uid }),
        1 => Just(Action::Repeat),
        1 => Just(Action::Noop),
    ];
    prop::collection::vec(action, 0..most)
}

/// The shards of one region, with proposals as a leader makes them.
pub(crate) struct Region {
    pub(crate) shards: Vec<Shard>,
    pub(crate) hlc: u64,
}

impl Region {
    pub(crate) fn new(name: &str, shards: u16) -> Self {
        Self { shards: (1..=shards).map(|shard| Shard::new(name, shard, shards)).collect(), hlc: 0 }
    }

    pub(crate) fn digest(&self) -> Digest {
        self.shards.iter().map(|shard| shard.state.digest()).sum()
    }

    pub(crate) fn run(&mut self, actions: &[Action]) {
        actions.iter().for_each(|action| self.act(action));
    }

    pub(crate) fn act(&mut self, action: &Action) {
        self.hlc += 10;
        let (hlc, id) = (self.hlc, self.hlc.into());
        let at = |shards: &[Shard], point| {
            let table = shards[0].state.table();
            usize::from(table.shard_of(PointId::Num(point)).number()) - 1
        };
        // Like a leader, which refuses an unknown uid; a write in flight may name a dropped one.
        let unknown = |shard: &Shard, uid| {
            shard.state.collection_by_uid(CollectionUid(uid)).is_none() && !shard.state.is_dropped(CollectionUid(uid))
        };
        match *action {
            Action::Upsert { uid, .. } | Action::Delete { uid, .. } | Action::DeleteIf { uid, .. }
                if unknown(&self.shards[0], uid) => {}
            Action::DeleteIf { uid, ref points } => {
                for shard in &mut self.shards {
                    let own = points.iter().filter(|(point, _)| shard.state.owns(PointId::Num(*point)));
                    let seen: Vec<_> = own.map(|(point, other)| (*point, shard.seen(uid, *point, *other))).collect();
                    let read_at = shard.log.len() as u64;
                    if !seen.is_empty() {
                        shard.commit(delete_if(id, hlc, uid, read_at, seen));
                    }
                }
            }
            Action::Upsert { uid, point, x, y } => {
                let shard = at(&self.shards, point);
                self.shards[shard].commit(write(id, hlc, vec![upsert(uid, point, x, y)]));
            }
            Action::Delete { uid, point } => {
                let shard = at(&self.shards, point);
                self.shards[shard].commit(write(id, hlc, vec![delete(uid, point)]));
            }
            Action::Create { name } => {
                let uid = self.shards[0].state.largest_uid().0 + 1;
                self.decide(id, hlc, create(uid, &format!("c{name}")));
            }
            Action::Drop { uid } => self.decide(id, hlc, drop_op(uid)),
            Action::Repeat => self.shards.iter_mut().for_each(|shard| {
                let writes = |entry: &&Entry| matches!(entry, Entry::Write(_) | Entry::ConditionalWrite(_));
                let last = shard.log.iter().rev().find(writes).cloned();
                if let Some(entry) = last {
                    let Outcome::Written { repeated, .. } = shard.commit(entry).outcome else { panic!() };
                    assert!(repeated);
                }
            }),
            Action::Noop => self.shards.iter_mut().for_each(|shard| {
                shard.commit(Entry::Noop);
            }),
        }
    }

    /// Shard 1 decides, the other shards follow.
    fn decide(&mut self, id: u128, hlc: u64, op: Op) {
        let (first, others) = self.shards.split_first_mut().unwrap();
        let Outcome::Written { collection, .. } = first.commit(write(id, hlc, vec![op.clone()])).outcome else {
            panic!()
        };
        match collection.unwrap() {
            CollectionChange::NameTaken { .. } | CollectionChange::Dead(_) => {}
            _ => others.iter_mut().for_each(|shard| {
                shard.commit(write(id, hlc, vec![op.clone()]));
            }),
        }
    }

    /// Applies everything new in `source`, in batches of `entries` log entries.
    pub(crate) fn follow(&mut self, source: &Region, entries: usize) {
        for target in &mut self.shards {
            for shard in &source.shards {
                loop {
                    let from = target.state.tail_position(shard.state.origin()).seq.next();
                    let batch = shard.batch(from, entries, &target.state);
                    let done = batch.to < batch.from;
                    let outcome = target.commit(Entry::RemoteBatch(batch)).outcome;
                    assert!(matches!(outcome, Outcome::Merged(_)), "{outcome:?}");
                    if done {
                        break;
                    }
                }
            }
        }
    }

    /// The contents visible to users: the collections of shard 1, and the payload of each point.
    pub(crate) fn contents(&self) -> BTreeMap<(CollectionUid, PointId), String> {
        let collections = self.shards.iter().flat_map(|shard| shard.state.collections.values());
        let points = collections.flat_map(|held| {
            held.range(std::ops::Bound::Unbounded)
                .map(|point| ((held.uid(), point.id), format!("{:?} {:?}", point.stamp.hlc, point.payload)))
        });
        points.collect()
    }

    pub(crate) fn names(&self) -> Vec<Vec<(String, u64)>> {
        let names = |shard: &Shard| {
            shard.state.collections().map(|held| (held.def().name.as_str().to_owned(), held.uid().0)).collect()
        };
        self.shards.iter().map(names).collect()
    }
}

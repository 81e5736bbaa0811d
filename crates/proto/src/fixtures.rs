//! Values of messages for tests, with every field set.

use std::time::Duration;

use meridian_model::client::{Body, Demand, Freshness, OnStale, Outcome, PointOp, Refusal, Reply, ReplyBody, Request};
use meridian_model::{
    BehaviorVersion, ClusterId, CollectionDef, CollectionName, CollectionUid, Condition, Consistency, Delta, Distance,
    Epoch, Fields, Filter, Hlc, HnswParams, Link, Names, Op, OriginShard, Payload, PointId, Position, PrimaryTerm,
    Query, Range, Record, RegionName, ReplicaId, RequiredFreshness, Scalar, Search, Select, Seq, ShardNumber, Stamp,
    Statement, Term, Topic, Traceparent, Transport, VectorDef, Vectors, VersionVector, WallMillis, WriteId, WriteRef,
};

use crate::delta_bytes::DeltaBytes;
use crate::frame::ReadDemand;
use crate::topology::{Genesis, Identity, Member};

pub fn region(name: &str) -> RegionName {
    RegionName::new(name).unwrap()
}

pub fn shard(number: u16) -> ShardNumber {
    ShardNumber::new(number).unwrap()
}

pub fn name() -> CollectionName {
    CollectionName::new("words").unwrap()
}

pub fn origin() -> OriginShard {
    OriginShard { region: region("us"), shard: shard(2) }
}

pub const POSITION: Position = Position { epoch: Epoch(1), seq: Seq(300) };
pub const UID: CollectionUid = CollectionUid(1 << 40);
pub const TRACE: Option<Traceparent> = Some(Traceparent { trace: 0xaf76, span: 0xb7ad, flags: 1 });

pub fn vectors() -> Vectors {
    [(String::new(), vec![1.0, -0.5]), ("title".into(), vec![0.25])].into()
}

pub fn payload() -> Payload {
    Payload(r#"{"a":1}"#.into())
}

pub fn covers() -> VersionVector {
    [(origin(), POSITION)].into_iter().collect()
}

pub fn def() -> CollectionDef {
    let vector = |hnsw| VectorDef { dim: 2, distance: Distance::Cosine, hnsw };
    let inline = HnswParams { inline_storage: true, full_scan_threshold: 7, ..HnswParams::default() };
    CollectionDef {
        name: name(),
        vectors: [(String::new(), vector(HnswParams::default())), ("title".into(), vector(inline))].into(),
    }
}

pub fn ops() -> Vec<PointOp> {
    vec![
        PointOp::Upsert { point: PointId::Num(5), vectors: vectors(), payload: payload() },
        PointOp::Delete { point: PointId::Uuid(1 << 100) },
    ]
}

pub fn filter() -> Filter {
    let key = || "a.b[]".parse().unwrap();
    Filter {
        must: vec![
            Condition::Any { key: key(), any: vec![Scalar::Text("x".into()), Scalar::Int(-1), Scalar::Bool(true)] },
            Condition::Range { key: key(), range: Range { gte: Some(0.5), ..Range::default() } },
        ],
        should: vec![Condition::HasId([PointId::Num(5)].into())],
        must_not: vec![
            Condition::Except { key: key(), except: vec![Scalar::Int(2)] },
            Condition::Nested(Box::default()),
        ],
    }
}

pub fn select() -> Select {
    Select { payload: Fields::Only(vec!["a".parse().unwrap()]), vectors: Names::Only(vec!["title".into()]) }
}

pub fn search() -> Query {
    Query::Search(Search {
        vector: vec![1.0, -0.5],
        using: "title".into(),
        filter: Some(filter()),
        limit: 10,
        ef: Some(64),
        recall: Some(950),
        exact: true,
        score_threshold: Some(0.5),
        select: select(),
    })
}

pub fn record() -> Record {
    Record { id: PointId::Num(5), version: 300, payload: Some(payload()), vectors: Some(vectors()) }
}

pub fn demand() -> ReadDemand {
    ReadDemand {
        index: true,
        max_age: Some(Duration::from_millis(100)),
        covers: covers(),
        wait: Duration::from_millis(500),
        left: Duration::from_secs(60),
    }
}

pub fn member() -> Member {
    Member { replica: ReplicaId(7), address: "a:8082".into() }
}

pub fn identity() -> Identity {
    let genesis = Genesis {
        cluster: ClusterId(1 << 120),
        region: region("us"),
        shard: shard(2),
        shards: 3,
        primary: region("us"),
        primary_term: PrimaryTerm(1),
    };
    Identity {
        genesis,
        replica: ReplicaId(7),
        founders: vec![member()],
        group: Some("g".into()),
        behavior: BehaviorVersion::FIRST,
    }
}

pub fn links() -> Vec<Link> {
    let topic = Topic { bootstrap_servers: "a:9092".into(), name: "us.deltas".into() };
    vec![
        Link { source: region("us"), transport: Transport::Direct, paused: true },
        Link { source: region("ap"), transport: Transport::Kafka(topic), paused: false },
    ]
}

pub fn statement() -> Statement {
    Statement { through: POSITION, term: Term(3), wall: WallMillis(1_700_000_000_123) }
}

pub fn deltas() -> Vec<Delta> {
    let point = PointId::Num(5);
    let ops = [
        Op::Upsert { collection: UID, point, vectors: vectors(), payload: payload() },
        Op::Delete { collection: UID, point },
        Op::CreateCollection { uid: UID, def: def() },
        Op::DropCollection { uid: UID },
        Op::Nothing,
    ];
    let delta = |(seq, op)| {
        let (epoch, committed_at) = (Epoch(1), Hlc(1_700_000_000_123 << 16));
        let write = WriteRef { id: WriteId(u128::MAX / 7), index: 300 };
        Delta { origin: origin(), epoch, seq: Seq(seq), committed_at, op, write, trace: TRACE }
    };
    (296..).zip(ops).map(delta).collect()
}

pub fn stamp() -> Stamp {
    Stamp { hlc: Hlc(70), origin: origin(), epoch: Epoch(1), seq: Seq(7) }
}

pub fn request(body: Body) -> Request {
    let demand = Demand {
        consistency: Some(Consistency::Session),
        freshness: Some(RequiredFreshness(Duration::from_millis(100))),
        on_stale: Some(vec![OnStale::Wait, OnStale::Redirect, OnStale::Serve, OnStale::Fail]),
        max_wait: Some(Duration::from_millis(500)),
        token: Some(covers()),
    };
    let (timeout, wait) = (Duration::from_secs(60), Some(Duration::from_secs(1)));
    Request { id: WriteId(1 << 90), body, demand, traceparent: Some("00-a-b-01".into()), timeout, wait }
}

pub fn reply(body: Result<ReplyBody, Refusal>, outcome: Outcome) -> Reply {
    let staleness = Duration::from_millis(12);
    Reply {
        body,
        freshness: Freshness { staleness, served_region: region("us"), token: covers(), stale: true, outcome },
    }
}

/// The same, encoded.
pub fn delta_bytes() -> Vec<DeltaBytes> {
    deltas().iter().map(DeltaBytes::encode).collect()
}

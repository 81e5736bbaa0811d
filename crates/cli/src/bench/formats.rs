//! Size and encode/decode time of the formats between processes and in the log, for a write of one point and of 32 points.

use std::hint::black_box;
use std::time::Instant;

use anyhow::ensure;
use meridian_model::client::PointOp;
use meridian_model::{
    CollectionName, CollectionUid, Delta, Epoch, Hlc, LogIndex, Op, OriginShard, Payload, PointId, Position,
    PrimaryTerm, RegionName, RequestIndexes, Seq, ShardNumber, TableVersion, Traceparent, Vectors, WriteId, WriteRef,
};
use meridian_proto::delta_bytes::DeltaBytes;
use meridian_proto::frame::{Frame, PeerMessage, RegionAnswer, RegionMessage, ShardCall, TailAnswer};
use meridian_proto::record::{self, Record};
use meridian_shard::{Entry, RemoteBatch, SourcePosition, Write};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::limits::median;

/// Points per batch, typical for a client that inserts in small batches.
const BATCH: usize = 32;
/// Sequence of the first delta.
const FIRST_SEQ: u64 = 1_000_000;
/// Rounds; the median is printed.
const ROUNDS: usize = 9;
/// Minimum duration of a round, in seconds, so that reading the clock is negligible.
const ROUND_SECONDS: f64 = 0.05;
/// Wall time of the timestamps, in milliseconds since 1970; realistic, because varints grow with it.
const WALL: u64 = 1_750_000_000_000;

/// Arguments of `meridian bench formats`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Dimension of the vectors.
    #[arg(long, default_value_t = 768)]
    dim: usize,
}

/// Measures each format and prints one line each: bytes, nanoseconds to encode and to decode.
///
/// # Errors
/// When decoding does not restore the message.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let frame = |what: &str, points, frame: &Frame| {
        measure(what, points, frame, Frame::encode, Vec::len, |bytes| Ok(Frame::decode(bytes)?))
    };
    let entry = |what: &str, points, entry: &Entry| {
        measure(what, points, entry, Entry::encode, Vec::len, |bytes| Ok(Entry::decode(bytes)?))
    };
    for points in [1, BATCH] {
        let batch = Batch::new(points, args.dim);
        frame("frame, write to a shard", points, &batch.write_frame())?;
        entry("log entry, write", points, &batch.write_entry())?;
        measure(
            "frame, deltas",
            points,
            &batch.deltas(),
            |deltas| deltas_frame(deltas).encode(),
            Vec::len,
            |bytes| decode_deltas(&Frame::decode(bytes)?),
        )?;
        entry("log entry, deltas", points, &batch.deltas_entry())?;
        let encode = |records: &Vec<Record>| records.iter().map(Record::encode).collect::<Vec<_>>();
        let decode = |records: &Vec<record::Encoded>| records.iter().map(decode_record).collect();
        measure("Kafka records", points, &batch.records(), encode, |records| records_len(records), decode)?;
    }
    Ok(())
}

fn measure<M: PartialEq, E>(
    what: &str,
    points: usize,
    message: &M,
    encode: impl Fn(&M) -> E,
    bytes: impl Fn(&E) -> usize,
    decode: impl Fn(&E) -> anyhow::Result<M>,
) -> anyhow::Result<()> {
    let encoded = encode(message);
    ensure!(decode(&encoded)? == *message, "{what}: decode does not undo encode");
    let encode_ns = nanoseconds(|| drop(black_box(encode(black_box(message)))));
    let decode_ns = nanoseconds(|| drop(black_box(decode(black_box(&encoded)))));
    let bytes = bytes(&encoded);
    println!("{what}, {points} points: {bytes} bytes, encode {encode_ns:.0} ns, decode {decode_ns:.0} ns");
    Ok(())
}

/// Median time of one call, in nanoseconds.
fn nanoseconds(mut call: impl FnMut()) -> f64 {
    let mut timed = |calls: u32| {
        let start = Instant::now();
        (0..calls).for_each(|_| call());
        start.elapsed().as_secs_f64()
    };
    let mut calls = 1;
    while timed(calls) < ROUND_SECONDS {
        calls *= 2;
    }
    let mut rounds: Vec<f64> = (0..ROUNDS).map(|_| timed(calls) * 1e9 / f64::from(calls)).collect();
    median(&mut rounds)
}

fn records_len(records: &[record::Encoded]) -> usize {
    let headers = |record: &record::Encoded| -> usize {
        record.headers.iter().map(|(name, value)| name.len() + value.len()).sum()
    };
    records.iter().map(|record| headers(record) + record.value.len()).sum()
}

fn decode_record(record: &record::Encoded) -> anyhow::Result<Record> {
    let header =
        |wanted: &str| record.headers.iter().find(|(name, _)| *name == wanted).map(|(_, value)| value.as_slice());
    Ok(Record::decode(header, &record.value)?)
}

/// The frame in which a replica sends deltas, each encoded.
fn deltas_frame(deltas: &[Delta]) -> Frame {
    let last = deltas.last().map_or(Seq(0), |delta| delta.seq);
    let at = Position { epoch: Epoch(1), seq: last };
    let deltas = deltas.iter().map(DeltaBytes::encode).collect();
    let records = TailAnswer::Records { deltas, at, complete: None, origin_shards: 3 };
    Frame::Region(RegionMessage::Answer(1_000_000, RegionAnswer::Tail(records)))
}

/// The work of the replica that applies them.
fn decode_deltas(frame: &Frame) -> anyhow::Result<Vec<Delta>> {
    match frame {
        Frame::Region(RegionMessage::Answer(_, RegionAnswer::Tail(TailAnswer::Records { deltas, .. }))) => {
            Ok(deltas.iter().map(DeltaBytes::decode).collect::<Result<_, _>>()?)
        }
        other => anyhow::bail!("not deltas: {other:?}"),
    }
}

/// Points with random unit vectors and a small payload, and the fields shared by all messages.
struct Batch {
    points: Vec<(PointId, Vectors, Payload)>,
    origin: OriginShard,
    trace: Option<Traceparent>,
}

impl Batch {
    fn new(points: usize, dim: usize) -> Self {
        let mut rng = SmallRng::seed_from_u64(1);
        let mut vector = || {
            let vector: Vec<f32> = (0..dim).map(|_| rng.random::<f32>() - 0.5).collect();
            let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
            Vectors::unnamed(vector.into_iter().map(|x| x / length).collect())
        };
        let payload = |id| Payload(format!(r#"{{"city":"Berlin","count":{id},"tags":["a","b"]}}"#).into());
        let region = RegionName::new("us-east").expect("a valid name");
        Self {
            points: (0..points as u64).map(|id| (PointId::Num(1_000_000 + id), vector(), payload(id))).collect(),
            origin: OriginShard { region, shard: ShardNumber::new(1).expect("a valid number") },
            trace: Some(Traceparent { trace: u128::MAX / 3, span: u64::MAX / 5, flags: 1 }),
        }
    }

    fn ops(&self) -> Vec<Op> {
        let upsert = |(point, vectors, payload): &(PointId, Vectors, Payload)| Op::Upsert {
            collection: CollectionUid(WALL << 16),
            point: *point,
            vectors: vectors.clone(),
            payload: payload.clone(),
        };
        self.points.iter().map(upsert).collect()
    }

    fn deltas(&self) -> Vec<Delta> {
        let delta = |(seq, op)| {
            let (origin, committed_at) = (self.origin.clone(), Hlc((WALL << 16) + seq));
            let index = u32::try_from(seq - FIRST_SEQ).expect("a request has few points");
            let write = WriteRef { id: WriteId(u128::MAX / 7), index };
            Delta { origin, epoch: Epoch(1), seq: Seq(seq), committed_at, op, write, trace: self.trace }
        };
        (FIRST_SEQ..).zip(self.ops()).map(delta).collect()
    }

    fn write_frame(&self) -> Frame {
        let upsert = |(point, vectors, payload): &(PointId, Vectors, Payload)| PointOp::Upsert {
            point: *point,
            vectors: vectors.clone(),
            payload: payload.clone(),
        };
        let write = ShardCall::Write {
            id: WriteId(u128::MAX / 7),
            table: TableVersion(3),
            sent_at: LogIndex(1_000_000),
            collection: CollectionName::new("words").expect("a valid name"),
            ops: self.points.iter().map(upsert).collect(),
            indexes: RequestIndexes::default(),
            trace: self.trace,
        };
        Frame::Peer(PeerMessage::Call(1_000_000, write.into()))
    }

    fn write_entry(&self) -> Entry {
        Entry::Write(Write {
            id: WriteId(u128::MAX / 7),
            part: 0,
            table: TableVersion(3),
            term: PrimaryTerm(1),
            sent_at: LogIndex(1_000_000),
            ops: self.ops(),
            indexes: RequestIndexes::default(),
            hlc: Hlc(WALL << 16),
            trace: self.trace,
        })
    }

    fn deltas_entry(&self) -> Entry {
        let deltas = self.deltas();
        let seq = |delta: Option<&Delta>| delta.map_or(Seq(0), |delta| delta.seq);
        Entry::RemoteBatch(RemoteBatch {
            origin: self.origin.clone(),
            epoch: Epoch(1),
            from: seq(deltas.first()),
            to: seq(deltas.last()),
            deltas,
            origin_shards: 3,
            source: SourcePosition::Direct,
        })
    }

    fn records(&self) -> Vec<Record> {
        let record = |delta| Record { origin: self.origin.clone(), origin_shards: 3, body: record::Body::Delta(delta) };
        self.deltas().into_iter().map(record).collect()
    }
}

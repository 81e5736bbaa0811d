//! Converts between tail answers and Kafka records.

use meridian_model::{OriginShard, Seq, Statement};
use meridian_proto::delta_bytes::{DeltaBytes, DeltaError};
use meridian_proto::record::{Body, Record};
use meridian_replica::{Poison, Record as LogRecord};
use meridian_shard::SourcePosition;

/// Records of one tail answer: its deltas, then its completeness statement, if any.
pub(super) fn to_publish(
    origin: &OriginShard,
    deltas: &[DeltaBytes],
    complete: Option<Statement>,
    origin_shards: u16,
) -> Result<Vec<Record>, DeltaError> {
    let deltas = deltas.iter().map(|delta| delta.decode().map(Body::Delta));
    let bodies = deltas.chain(complete.map(|statement| Ok(Body::Complete(statement))));
    bodies.map(|body| Ok(Record { origin: origin.clone(), origin_shards, body: body? })).collect()
}

/// Decodes a record for the machine, with its origin's number of shards; or the reason why it is poison.
pub(super) fn to_received<'a>(
    origin: &OriginShard,
    partitions: usize,
    at: SourcePosition,
    header: impl Fn(&str) -> Option<&'a [u8]>,
    value: &[u8],
) -> Result<(LogRecord, u16), Poison> {
    let claimed = header("seq").and_then(|text| std::str::from_utf8(text).ok()?.parse().ok()).map(Seq);
    let poison = |fault: String| Poison { at, seq: claimed, fault };
    let record = Record::decode(header, value).map_err(|error| poison(error.to_string()))?;
    if record.origin != *origin {
        return Err(poison(format!("record of {} in the log of {origin}", record.origin)));
    }
    if usize::from(record.origin_shards) > partitions {
        return Err(poison(format!(
            "header shards must be <= {partitions}, the partitions of the topic (got {})",
            record.origin_shards
        )));
    }
    let received = match record.body {
        Body::Delta(delta) => LogRecord::Delta(delta),
        Body::Complete(statement) => LogRecord::Mark { at: statement.through, complete: Some(statement) },
    };
    Ok((received, record.origin_shards))
}

#[cfg(test)]
mod tests {
    use super::*;
    use meridian_model::{
        CollectionUid, Delta, Epoch, Hlc, Op, PointId, Position, RegionName, ShardNumber, Term, WallMillis, WriteId,
        WriteRef,
    };

    fn origin(shard: u16) -> OriginShard {
        OriginShard { region: RegionName::new("us-east").unwrap(), shard: ShardNumber::new(shard).unwrap() }
    }

    fn delta(seq: u64) -> Delta {
        let op = Op::Delete { collection: CollectionUid(1), point: PointId::Num(seq) };
        let (epoch, committed_at) = (Epoch(1), Hlc(100 + seq));
        let write = WriteRef { id: WriteId(u128::from(seq)), index: 3 };
        Delta { origin: origin(1), epoch, seq: Seq(seq), committed_at, op, write, trace: None }
    }

    fn encoded(seqs: impl Iterator<Item = u64>) -> Vec<DeltaBytes> {
        seqs.map(|seq| DeltaBytes::encode(&delta(seq))).collect()
    }

    #[test]
    fn deltas_of_which_one_cannot_be_decoded_are_not_published() {
        let mut deltas = encoded(1..=3);
        deltas[1] = vec![1, 2, 0].into();
        let refused = to_publish(&origin(1), &deltas, None, 2).unwrap_err();
        assert!(refused.to_string().contains("behavior version 2"), "{refused}");
    }

    fn statement(seq: u64) -> Statement {
        let through = Position { epoch: Epoch(1), seq: Seq(seq) };
        Statement { through, term: Term(4), wall: WallMillis(500) }
    }

    fn receive(record: &Record, partitions: usize) -> Result<(LogRecord, u16), Poison> {
        let encoded = record.encode();
        let header = |name: &str| encoded.headers.iter().find(|(n, _)| *n == name).map(|(_, value)| value.as_slice());
        to_received(&origin(1), partitions, SourcePosition::Kafka { partition: 0, offset: 9 }, header, &encoded.value)
    }

    #[test]
    fn published_records_decode_to_the_records_of_the_tail() {
        let statement = statement(3);
        let records = to_publish(&origin(1), &encoded(1..=3), Some(statement), 2).unwrap();
        let received: Vec<_> = records.iter().map(|record| receive(record, 2).unwrap()).collect();
        let deltas = (1..=3).map(|seq| LogRecord::Delta(delta(seq)));
        let mark = LogRecord::Mark { at: statement.through, complete: Some(statement) };
        let expected: Vec<_> = deltas.chain([mark]).map(|record| (record, 2)).collect();
        assert_eq!(received, expected);
        assert_eq!(to_publish(&origin(1), &[], None, 2), Ok(Vec::new()));
    }

    #[test]
    fn a_record_of_another_log_is_poison_and_names_it() {
        let [mut record] = to_publish(&origin(2), &[], Some(statement(7)), 2).unwrap().try_into().unwrap();
        let poison = receive(&record, 2).unwrap_err();
        assert_eq!((poison.seq, poison.fault.contains("us-east/s2")), (Some(Seq(7)), true), "{}", poison.fault);
        record.origin = origin(1);
        assert!(receive(&record, 2).is_ok());
        record.origin_shards = 1000;
        assert!(receive(&record, 2).unwrap_err().fault.contains("(got 1000)"));
    }

    #[test]
    fn a_record_of_a_newer_release_is_poison_that_names_its_version() {
        let [record] = to_publish(&origin(1), &[DeltaBytes::encode(&delta(7))], None, 2).unwrap().try_into().unwrap();
        let encoded: meridian_proto::record::Encoded = Record::encode(&record);
        let header = |name: &str| match name {
            "needs" => Some(&b"9"[..]),
            _ => encoded.headers.iter().find(|(n, _)| *n == name).map(|(_, value)| value.as_slice()),
        };
        let at = SourcePosition::Kafka { partition: 0, offset: 9 };
        let poison = to_received(&origin(1), 2, at, header, &encoded.value).unwrap_err();
        let error = "written by a newer release: behavior version 9, this build knows up to 1; run the newer release";
        assert_eq!(poison, Poison { at, seq: Some(Seq(7)), fault: error.into() });
    }

    #[test]
    fn a_record_without_headers_is_poison() {
        let at = SourcePosition::Kafka { partition: 0, offset: 3 };
        let poison = to_received(&origin(1), 1, at, |_| None, br#"{"id":1}"#).unwrap_err();
        assert_eq!(poison, Poison { at, seq: None, fault: "header schema is missing".into() });
    }
}

//! Messages with absent required fields, wrong lengths, numbers out of range, and invalid names.

use super::super::*;
use super::golden::frames;
use super::wire::{bytes, number, remove, set};

fn encoded(name: &str) -> Vec<u8> {
    let (_, frame) = frames().into_iter().find(|(held, _)| held == name).unwrap_or_else(|| panic!("no frame {name}"));
    frame.encode()
}

fn check(encoded: &[u8], says: &str) {
    match Frame::decode(encoded) {
        Err(FrameError::Malformed(why)) => assert_eq!(why, says),
        other => panic!("{says}: {other:?}"),
    }
}

#[test]
fn an_absent_required_field_is_refused_by_name() {
    for (name, path, tag, says) in [
        ("frame/hello", &[1][..], 1, "hello.cluster: must have 16 bytes (got 0)"),
        ("frame/hello", &[1], 5, "hello.build: missing"),
        ("frame/hello", &[1, 5], 3, "build.behavior: missing"),
        ("frame/hello", &[1, 3], 1, "node.shard: shard number 0: shards are numbered from 1 to 1024"),
        ("peer/complete", &[3, 5, 1], 3, "complete.age: missing"),
        ("call/write", &[3, 3, 2], 1, "needs: missing"),
        ("call/write", &[3, 3, 2, 2], 1, "write.id: must have 16 bytes (got 0)"),
        ("call/write", &[3, 3, 2, 2, 5, 1], 1, "upsert.point: missing"),
        ("call/search", &[3, 3, 2, 7], 2, "read.query: missing"),
        ("call/search", &[3, 3, 2, 7, 2, 1], 9, "search.select: missing"),
        ("call/match", &[3, 3, 2, 12], 3, "match.filter: missing"),
        ("call/create", &[3, 3, 2, 3, 3, 2], 3, "vector.distance: missing"),
        ("request/delete-by-filter", &[4, 1, 2, 2, 13], 2, "delete.filter: missing"),
        ("request/read", &[4, 1, 2], 2, "ask.request: missing"),
        ("answer/found", &[3, 4, 2, 6, 1, 1, 1, 1, 1], 2, "found.score: missing"),
        ("reply/done", &[4, 2, 2], 3, "reply.freshness: missing"),
        ("topology/join", &[5, 4], 2, "join.group: missing"),
        ("topology-answer/running", &[6, 2, 1, 3], 2, "status.role: missing"),
    ] {
        check(&remove(&encoded(name), path, tag), says);
    }
}

#[test]
fn a_field_of_a_wrong_length_range_or_name_is_refused_by_name() {
    for (name, path, tag, field, says) in [
        ("call/compare", &[3, 3, 6][..], 2, bytes(2, &[7; 31]), "compare.hash: must have 32 bytes (got 31)"),
        ("call/write", &[3, 3, 2, 2], 1, bytes(1, &[7; 17]), "write.id: must have 16 bytes (got 17)"),
        ("call/write", &[3, 3, 2, 2, 5, 1, 2], 2, bytes(2, &[0; 7]), "vector: 7 bytes are no packed floats"),
        ("call/write", &[3, 3, 2, 2, 6], 1, bytes(1, &[0; 16]), "trace: trace and span must not be 0"),
        ("call/write", &[3, 3, 2], 1, number(1, 1 << 16), "needs: 65536 is out of range"),
        ("call/write", &[3, 3, 2, 2], 4, bytes(4, b"a/b"), "write.collection: collection name cannot contain '/'"),
        ("call/create", &[3, 3, 2, 3, 3, 2, 4], 1, number(1, 1 << 16), "hnsw.m: 65536 is out of range"),
        ("call/list", &[3, 3, 2, 8, 4], 2, number(2, 1_000_000_000), "nanoseconds: 1000000000 is out of range"),
        ("frame/hello", &[1, 5], 1, number(1, 2), "build.protocols: 2 to 1 are no versions"),
        (
            "region/tail",
            &[4, 1, 3],
            1,
            number(1, 1025),
            "tail.shard: shard number 1025: shards are numbered from 1 to 1024",
        ),
    ] {
        check(&set(&encoded(name), path, tag, &field), says);
    }
    let says = "hello.region: region \"US\": must be a lower-case DNS label of 1 to 63 bytes";
    check(&set(&encoded("frame/hello"), &[1], 2, &bytes(2, b"US")), says);
    let twice = super::wire::add(&encoded("call/write"), &[3, 3, 2, 2, 5, 1], &bytes(2, &bytes(1, b"title")));
    check(&twice, "vectors: two are named \"title\"");
}

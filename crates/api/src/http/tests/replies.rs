//! Replies in Qdrant's envelope.

use std::time::Duration;

use meridian_model::{Found, Payload, PointId, Record, Vectors};

use super::*;

fn record_of(payload: &str, vectors: Option<Vectors>) -> Record {
    Record { id: PointId::Num(1), version: 9, payload: Some(Payload(payload.into())), vectors }
}

#[track_caller]
fn renders(bytes: &[u8], expected: Value) {
    assert_eq!(serde_json::from_slice::<Value>(bytes).unwrap(), expected);
}

#[test]
fn replies_have_the_envelope_of_qdrant() {
    let time = Duration::from_millis(500);
    let one = record_of(r#"{"a":1}"#, Some(Vectors::from([(String::new(), vec![0.1])])));
    let bytes = found(&[Found { record: one, score: 0.25 }], time).unwrap();
    let text = String::from_utf8(bytes.clone()).unwrap();
    assert!(text.contains("[0.1]"), "an f32 is printed as its own shortest decimal: {text}");
    renders(
        &bytes,
        json!({"result": {"points": [{"id": 1, "version": 9, "score": 0.25, "payload": {"a": 1}, "vector": [0.1]}]}, "status": "ok", "time": 0.5}),
    );
    let named = record_of("", Some(Vectors::from([("t".into(), vec![1.0])])));
    renders(
        &record(&named, time).unwrap(),
        json!({"result": {"id": 1, "payload": {}, "vector": {"t": [1.0]}}, "status": "ok", "time": 0.5}),
    );
    let next = Some(PointId::Uuid(1));
    renders(
        &scrolled(&[], next, time).unwrap(),
        json!({"result": {"points": [], "next_page_offset": "00000000-0000-0000-0000-000000000001"}, "status": "ok", "time": 0.5}),
    );
    renders(&error("no", time), json!({"status": {"error": "no"}, "time": 0.5}));
    assert!(found(&[Found { record: record_of("{", None), score: 0.0 }], time).is_err());
}

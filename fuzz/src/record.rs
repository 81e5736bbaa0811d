//! No headers and value break the decoder of delta records, and what it accepts is decoded again from its own encoding.
//!
//! Input: 4 bytes, then texts, then the value.
//!
//! ```text
//!   0      1                  2                 3                4                        …
//!   ┌──────┬──────────────────┬─────────────────┬────────────────┬──────────────┬─────────┬───────┐
//!   │ kind │ header to replace│ length of text  │ length of trace│ text         │ trace   │ value │
//!   └──────┴──────────────────┴─────────────────┴────────────────┴──────────────┴─────────┴───────┘
//!           255: none                            0: no header
//! ```

use meridian_proto::record::Record;

use crate::take;

/// What each header holds where the input does not say otherwise.
const SOUND: [(&str, &str); 13] = [
    ("kind", "delta"),
    ("schema", "3"),
    ("needs", "1"),
    ("origin", "us-east"),
    ("shard", "1"),
    ("shards", "2"),
    ("epoch", "1"),
    ("seq", "7"),
    ("hlc", "70"),
    ("write", "00000000-0000-0000-0000-000000000007"),
    ("index", "0"),
    ("term", "3"),
    ("wall", "71"),
];
const KINDS: [&str; 3] = ["delta", "complete", "collection"];
const NO_HEADER: u8 = u8::MAX;

/// Runs the target; returns whether the input is a record.
#[must_use]
pub fn run(mut bytes: &[u8]) -> bool {
    let [kind, which, text, trace] = take(&mut bytes);
    let (text, rest) = bytes.split_at(bytes.len().min(usize::from(text)));
    let (trace, value) = rest.split_at(rest.len().min(usize::from(trace)));
    let replaced = (which != NO_HEADER).then(|| SOUND[usize::from(which) % SOUND.len()].0);
    let header = |name: &str| match name {
        "traceparent" => (!trace.is_empty()).then_some(trace),
        _ if replaced == Some(name) => Some(text),
        "kind" => Some(KINDS[usize::from(kind) % KINDS.len()].as_bytes()),
        _ => SOUND.iter().find(|(sound, _)| *sound == name).map(|(_, text)| text.as_bytes()),
    };
    let Ok(record) = Record::decode(header, value) else { return false };
    let written = record.encode();
    let header = |name: &str| {
        let found = written.headers.iter().find(|(held, _)| *held == name);
        found.map(|(_, value)| value.as_slice())
    };
    let again = Record::decode(header, &written.value).expect("just written");
    assert_eq!(again.encode(), written);
    true
}

/// A change without effect, and a statement of completeness.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    let input = |kind: u8, value: &str| [&[kind, NO_HEADER, 0, 0], value.as_bytes()].concat();
    vec![input(0, r#"{"op":"none","ts":0.5}"#), input(1, r#"{"ts":0.5}"#)]
}

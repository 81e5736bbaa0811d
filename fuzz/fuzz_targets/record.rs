//! No headers and value break the reader of delta records, and what it accepts is read again from its own encoding.
#![no_main]

use libfuzzer_sys::fuzz_target;
use meridian_proto::record::Record;

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

fuzz_target!(|input: (u8, Option<(u8, Vec<u8>)>, Option<Vec<u8>>, Vec<u8>)| {
    let (kind, broken, trace, value) = input;
    let header = |name: &str| match &broken {
        _ if name == "traceparent" => trace.as_deref(),
        Some((which, bytes)) if SOUND[usize::from(*which) % SOUND.len()].0 == name => Some(bytes.as_slice()),
        _ if name == "kind" => Some(KINDS[usize::from(kind) % KINDS.len()].as_bytes()),
        _ => SOUND.iter().find(|(sound, _)| *sound == name).map(|(_, text)| text.as_bytes()),
    };
    if let Ok(record) = Record::decode(header, &value) {
        let written = record.encode();
        let header = |name: &str| {
            let found = written.headers.iter().find(|(held, _)| *held == name);
            found.map(|(_, value)| value.as_slice())
        };
        let again = Record::decode(header, &written.value).expect("just written");
        assert_eq!(again.encode(), written);
    }
});

//! No header breaks the reader of freshness headers; what it accepts is read again from its own text.
#![no_main]

use libfuzzer_sys::fuzz_target;
use meridian_api::freshness::{
    decode_token, demand, encode_token, parse_required_freshness, parse_staleness, required_freshness_text,
};

fuzz_target!(|bytes: &[u8]| {
    // The same bytes under one of the names at a time.
    for wanted in ["x-required-freshness", "x-consistency", "x-consistency-token"] {
        let _ = demand(|name| (name == wanted).then_some(bytes).into_iter());
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let _ = parse_staleness(text);
    if let Ok(read) = parse_required_freshness(text) {
        let written = required_freshness_text(&read).expect("a freshness was read");
        assert_eq!(parse_required_freshness(&written).as_ref(), Ok(&read), "{written}");
    }
    if let Ok(vv) = decode_token(text) {
        let written = encode_token(&vv).expect("it was read");
        assert_eq!(decode_token(&written).as_ref(), Ok(&vv));
    }
});

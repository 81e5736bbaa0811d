//! No header breaks the parser of freshness headers; what it accepts is parsed again from its own text.

use meridian_api::freshness::{
    decode_token, demand, encode_token, parse_required_freshness, parse_staleness, required_freshness_text,
};
use meridian_model::VersionVector;

/// Runs the target; returns whether the bytes are a freshness, a staleness or a token.
#[must_use]
pub fn run(bytes: &[u8]) -> bool {
    // The same bytes under one of the names at a time.
    for wanted in ["x-required-freshness", "x-consistency", "x-consistency-token"] {
        let _ = demand(|name| (name == wanted).then_some(bytes).into_iter());
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let mut accepted = parse_staleness(text).is_some();
    if let Ok(read) = parse_required_freshness(text) {
        let written = required_freshness_text(&read).expect("a freshness was read");
        assert_eq!(parse_required_freshness(&written).as_ref(), Ok(&read), "{written}");
        accepted = true;
    }
    if let Ok(vv) = decode_token(text) {
        let written = encode_token(&vv).expect("it was read");
        assert_eq!(decode_token(&written).as_ref(), Ok(&vv));
        accepted = true;
    }
    accepted
}

/// Two demands, a staleness and a token.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    let token = encode_token(&VersionVector::default()).expect("an empty token is short");
    let demands = ["100ms", "2s; on-stale=wait,redirect,fail; max-wait=250ms", "unknown"];
    demands.map(String::from).into_iter().chain([token]).map(String::into_bytes).collect()
}

//! W3C trace context: `traceparent` in, `traceparent` out (<https://www.w3.org/TR/trace-context/>, section 3.2).

/// The header's name.
pub const TRACEPARENT: &str = "traceparent";

/// The context of this node's part of the trace: the caller's trace with a span of ours, or a trace of our own where the
/// caller sent none, or a broken one. `random` gives the bits that are new.
pub fn continued(from: Option<&str>, random: (u128, u64)) -> String {
    let (trace, span) = (random.0 | 1, random.1 | 1);
    match from.and_then(parse) {
        Some((trace, flags)) => format!("00-{trace}-{span:016x}-{flags}"),
        None => format!("00-{trace:032x}-{span:016x}-00"),
    }
}

/// The trace id and the flags, when all of it is well formed.
fn parse(text: &str) -> Option<(&str, &str)> {
    let hex = |text: &str, len: usize| {
        text.len() == len && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    };
    let zero = |text: &str| text.bytes().all(|b| b == b'0');
    let mut parts = text.split('-');
    let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let known = version != "00" || parts.next().is_none();
    let formed = hex(version, 2) && version != "ff" && hex(trace, 32) && hex(span, 16) && hex(flags, 2);
    (known && formed && !zero(trace) && !zero(span)).then_some((trace, flags))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_goes_on_with_a_new_span() {
        let caller = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        assert_eq!(continued(Some(caller), (1, 1)), "00-0af7651916cd43dd8448eb211c80319c-0000000000000001-01");
    }

    #[test]
    fn a_broken_trace_is_replaced() {
        for broken in [
            "",
            "00",
            "00-0-0-0",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x",
        ] {
            assert_eq!(continued(Some(broken), (3, 5)), format!("00-{:032x}-{:016x}-00", 3, 5), "{broken}");
        }
    }
}

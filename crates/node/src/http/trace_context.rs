//! W3C trace context: `traceparent` in, `traceparent` out (<https://www.w3.org/TR/trace-context/>, section 3.2).

pub use meridian_model::TRACEPARENT;
use meridian_model::Traceparent;

/// Trace context of this node: the caller's trace id with a new span id, or a new trace when the caller sent none or an
/// invalid one. `random` supplies the new trace and span ids.
pub fn child_context(from: Option<&str>, random: (u128, u64)) -> String {
    let (trace, span) = (random.0 | 1, random.1 | 1);
    let caller = from.and_then(|text| text.parse::<Traceparent>().ok());
    match caller {
        Some(caller) => Traceparent { span, ..caller },
        None => Traceparent { trace, span, flags: 0 },
    }
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_continues_with_a_new_span() {
        let caller = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        assert_eq!(child_context(Some(caller), (1, 1)), "00-0af7651916cd43dd8448eb211c80319c-0000000000000001-01");
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
            assert_eq!(child_context(Some(broken), (3, 5)), format!("00-{:032x}-{:016x}-00", 3, 5), "{broken}");
        }
    }
}

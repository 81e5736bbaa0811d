//! W3C trace context (<https://www.w3.org/TR/trace-context/>, section 3.2): which request a change goes back to.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Name of the header that carries a [`Traceparent`], in HTTP and in Kafka records.
pub const TRACEPARENT: &str = "traceparent";

/// A `traceparent`: a trace, and the span in it that the bearer comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Traceparent {
    /// The trace; not 0.
    pub trace: u128,
    /// The span; not 0.
    pub span: u64,
    /// Of the flags only the lowest bit has a meaning here.
    pub flags: u8,
}

/// Not a `traceparent`: as the standard says, it is as if there were none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a traceparent")]
pub struct TraceparentError;

impl Traceparent {
    /// Whether the caller records this trace.
    #[must_use]
    pub fn is_sampled(&self) -> bool {
        self.flags & 1 == 1
    }
}

impl fmt::Display for Traceparent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace, self.span, self.flags)
    }
}

impl FromStr for Traceparent {
    type Err = TraceparentError;

    /// Of a later version, what this version knows.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let hex = |part: Option<&str>, len: usize| {
            let lower = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
            let part = part.filter(|part| part.len() == len && part.bytes().all(lower)).ok_or(TraceparentError)?;
            u128::from_str_radix(part, 16).map_err(|_| TraceparentError)
        };
        let mut parts = text.split('-');
        let version = hex(parts.next(), 2)?;
        let (trace, span, flags) = (hex(parts.next(), 32)?, hex(parts.next(), 16)?, hex(parts.next(), 2)?);
        let whole = version != 0 || parts.next().is_none();
        if version == 0xff || !whole || trace == 0 || span == 0 {
            return Err(TraceparentError);
        }
        let span = u64::try_from(span).map_err(|_| TraceparentError)?;
        let flags = u8::try_from(flags).map_err(|_| TraceparentError)?;
        Ok(Self { trace, span, flags })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn what_is_not_whole_is_none() {
        for broken in [
            "",
            "00",
            "00-0-0-0",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-+af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x",
        ] {
            assert_eq!(broken.parse::<Traceparent>(), Err(TraceparentError), "{broken}");
        }
        assert!(GOOD.parse::<Traceparent>().unwrap().is_sampled());
        assert_eq!(GOOD.parse::<Traceparent>().unwrap().to_string(), GOOD);
        let later = format!("01{}-more", &GOOD[2..]);
        assert_eq!(later.parse::<Traceparent>(), GOOD.parse());
    }

    proptest! {
        #[test]
        fn reading_undoes_writing(trace in 1u128.., span in 1u64.., flags: u8) {
            let written = Traceparent { trace, span, flags };
            prop_assert_eq!(written.to_string().len(), 55);
            prop_assert_eq!(written.to_string().parse(), Ok(written));
        }

        #[test]
        fn any_text_is_read_or_refused(text in ".{0,80}") {
            if let Ok(read) = text.parse::<Traceparent>() {
                prop_assert!(read.trace != 0 && read.span != 0);
            }
        }
    }
}

//! `spec.upgrade`.

use std::time::Duration;

use meridian_crd::Upgrade;

use super::{Refusal, refuse};
use crate::parse_duration;
use crate::upgrade::FINALIZE_AFTER;

/// How long new behavior versions soak before they are finalized; none with `Never`.
pub(super) fn finalize_after(upgrade: Option<&Upgrade>) -> Result<Option<Duration>, Refusal> {
    let Some(text) = upgrade.and_then(|upgrade| upgrade.finalize_after.as_deref()) else {
        return Ok(Some(FINALIZE_AFTER));
    };
    if text == "Never" {
        return Ok(None);
    }
    match parse_duration(text, &["s", "m", "h"]) {
        Some(after) => Ok(Some(after)),
        None => {
            refuse("spec.upgrade.finalizeAfter", format!("must be a duration such as 24h, or Never (got {text:?})"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_never_are_read_and_nothing_else() {
        let read = |text: &str| finalize_after(Some(&Upgrade { finalize_after: Some(text.into()) }));
        assert_eq!(finalize_after(None), Ok(Some(FINALIZE_AFTER)));
        assert_eq!(finalize_after(Some(&Upgrade::default())), Ok(Some(FINALIZE_AFTER)));
        assert_eq!(read("Never"), Ok(None));
        for (text, seconds) in [("0s", 0), ("90s", 90), ("30m", 1_800), ("24h", 86_400)] {
            assert_eq!(read(text), Ok(Some(Duration::from_secs(seconds))), "{text}");
        }
        for text in ["", "h", "24", "1d", "-1h", "1.5h", "never", "99999999999999999h", "1é"] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}

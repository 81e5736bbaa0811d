//! Deletes by filter forwarded by other regions: a duplicate message must not evaluate one again.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use crate::Caller;
use crate::gateway::LONGEST;

/// Number of requests that are stored; further ones are refused. One second of them takes less than a megabyte.
const REMEMBERED: usize = 65_536;

/// Result of admitting a request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    New,
    Repeated,
    /// Too many requests are stored to detect duplicates.
    Full,
}

/// Requests of the last [`LONGEST`], in order of arrival.
#[derive(Debug, Default)]
pub(crate) struct Evaluated {
    known: BTreeSet<Caller>,
    arrived: VecDeque<(Duration, Caller)>,
}

impl Evaluated {
    pub(crate) fn admit(&mut self, caller: &Caller, now: Duration) -> Admission {
        while let Some((_, caller)) = self.arrived.pop_front_if(|(at, _)| now.saturating_sub(*at) >= LONGEST) {
            self.known.remove(&caller);
        }
        if self.known.contains(caller) {
            return Admission::Repeated;
        }
        if self.known.len() >= REMEMBERED {
            return Admission::Full;
        }
        self.known.insert(caller.clone());
        self.arrived.push_back((now, caller.clone()));
        Admission::New
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use meridian_proto::frame::Peer;

    #[test]
    fn a_request_is_new_once() {
        let caller = |call| Caller::Region(Peer::Connection(1), call);
        let mut evaluated = Evaluated::default();
        assert_eq!(evaluated.admit(&caller(1), Duration::ZERO), Admission::New);
        assert_eq!(evaluated.admit(&caller(2), Duration::ZERO), Admission::New);
        assert_eq!(evaluated.admit(&caller(1), LONGEST / 2), Admission::Repeated);
        assert_eq!(evaluated.admit(&caller(1), LONGEST), Admission::New, "it is forgotten after the longest request");
    }

    #[test]
    fn when_none_more_can_be_remembered_none_is_admitted() {
        let caller = |call| Caller::Region(Peer::Connection(1), call);
        let mut evaluated = Evaluated::default();
        for call in 0..REMEMBERED as u64 {
            assert_eq!(evaluated.admit(&caller(call), Duration::ZERO), Admission::New);
        }
        assert_eq!(evaluated.admit(&caller(u64::MAX), Duration::ZERO), Admission::Full);
        assert_eq!(evaluated.admit(&caller(u64::MAX), LONGEST), Admission::New);
    }
}

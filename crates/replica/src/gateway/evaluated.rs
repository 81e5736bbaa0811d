//! Deletes by filter that other regions asked for: a message that arrives twice must not evaluate one a second time.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use super::{Asker, LONGEST};

/// Requests that are remembered; more are refused. A second's worth of them takes less than a megabyte.
const REMEMBERED: usize = 65_536;

/// What becomes of a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Admission {
    New,
    Repeated,
    /// Too many are remembered to tell a repetition.
    Full,
}

/// Requests of the last [`LONGEST`], in the order of their arrival.
#[derive(Debug, Default)]
pub(super) struct Evaluated {
    known: BTreeSet<Asker>,
    arrived: VecDeque<(Duration, Asker)>,
}

impl Evaluated {
    pub(super) fn admit(&mut self, asker: &Asker, now: Duration) -> Admission {
        while let Some((_, asker)) = self.arrived.pop_front_if(|(at, _)| now.saturating_sub(*at) >= LONGEST) {
            self.known.remove(&asker);
        }
        if self.known.contains(asker) {
            return Admission::Repeated;
        }
        if self.known.len() >= REMEMBERED {
            return Admission::Full;
        }
        self.known.insert(asker.clone());
        self.arrived.push_back((now, asker.clone()));
        Admission::New
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Peer;

    #[test]
    fn a_request_is_new_once() {
        let asker = |call| Asker::Region(Peer::Connection(1), call);
        let mut evaluated = Evaluated::default();
        assert_eq!(evaluated.admit(&asker(1), Duration::ZERO), Admission::New);
        assert_eq!(evaluated.admit(&asker(2), Duration::ZERO), Admission::New);
        assert_eq!(evaluated.admit(&asker(1), LONGEST / 2), Admission::Repeated);
        assert_eq!(evaluated.admit(&asker(1), LONGEST), Admission::New, "it is forgotten after the longest request");
    }

    #[test]
    fn when_none_more_can_be_remembered_none_is_admitted() {
        let asker = |call| Asker::Region(Peer::Connection(1), call);
        let mut evaluated = Evaluated::default();
        for call in 0..REMEMBERED as u64 {
            assert_eq!(evaluated.admit(&asker(call), Duration::ZERO), Admission::New);
        }
        assert_eq!(evaluated.admit(&asker(u64::MAX), Duration::ZERO), Admission::Full);
        assert_eq!(evaluated.admit(&asker(u64::MAX), LONGEST), Admission::New);
    }
}

//! Requests to the primary region, and their end when that region is silent.
//!
//! A region is heard while any bytes arrive from it, including heartbeats. For a silent region, reads take their next
//! fallback or wait for their own `max-wait`, and writes fail within 2 s. Nothing is sent to a silent region, so a
//! write that was never sent certainly did not happen.

use std::collections::BTreeMap;
use std::time::Duration;

use meridian_model::RegionName;
use meridian_model::client::{Outcome, Refusal, Reply};
use meridian_proto::frame::{Peer, RegionMessage};

use crate::pending::Pending;
use crate::reads::ReadProgress;
use crate::{Caller, Ctx, Effect, Gateway, Phase, Step};

/// Time without bytes after which a region counts as silent: three heartbeats are missing.
const SILENT_AFTER: Duration = Duration::from_millis(750);
/// Time for which a write waits for a silent region, so that it fails within 2 s of the start of the silence.
const WRITE_PATIENCE: Duration = Duration::from_millis(1_500);
/// Reason of a refusal.
const UNKNOWN_ANSWER: &str =
    "the primary region runs a later release and answered in a form that this one does not know";
/// Time after which a region that is heard and does not answer gets a request again.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(2);

/// Time at which each region was last heard, and whether it is connected.
#[derive(Debug, Default)]
pub(crate) struct RegionsHeard(BTreeMap<RegionName, Heard>);

#[derive(Debug)]
struct Heard {
    at: Duration,
    connected: bool,
}

impl RegionsHeard {
    fn note(&mut self, region: RegionName, now: Duration) {
        self.0.insert(region, Heard { at: now, connected: true });
    }

    fn lost(&mut self, region: &RegionName) {
        if let Some(heard) = self.0.get_mut(region) {
            heard.connected = false;
        }
    }

    fn hears(&self, region: &RegionName, now: Duration) -> bool {
        let heard = |heard: &Heard| heard.connected && now.saturating_sub(heard.at) < SILENT_AFTER;
        self.0.get(region).is_some_and(heard)
    }

    fn last(&self, region: &RegionName) -> Duration {
        self.0.get(region).map_or(Duration::ZERO, |heard| heard.at)
    }
}

/// A request forwarded to the primary region.
#[derive(Debug)]
pub(super) struct Relay {
    /// The number under which it was last sent; `None` if it was never sent.
    call: Option<u64>,
    begun: Duration,
    /// The time at which it was last sent; `None` if it must be sent, for the first time or after a lost connection.
    sent: Option<Duration>,
    /// That time by the clock of ages.
    sent_age: Duration,
    /// The answers of this region's shards, for the fallback.
    before: Option<ReadProgress>,
}

impl Relay {
    pub(super) fn call(&self) -> Option<u64> {
        self.call
    }
}

/// The next action for a [`Relay`].
#[derive(Debug, PartialEq, Eq)]
enum Next {
    Wait,
    Send,
    /// Take the next fallback of a read; refuse without one.
    GiveUp,
}

/// The input for the next action.
struct RelayState {
    now: Duration,
    begun: Duration,
    sent: Option<Duration>,
    hears: bool,
    /// Time at which the region was last heard.
    last: Duration,
    /// The primary region recognizes a repetition by its id.
    repeatable: bool,
}

impl RelayState {
    /// For a change: sent again while the region is heard, if a repetition is recognized.
    fn change(&self) -> Next {
        let since_heard = self.now.saturating_sub(self.last.max(self.begun));
        match self.sent {
            _ if !self.hears && since_heard >= WRITE_PATIENCE => Next::GiveUp,
            _ if !self.hears => Next::Wait,
            Some(_) if !self.repeatable => Next::Wait,
            Some(sent) if self.now.saturating_sub(sent) < ASK_AGAIN_AFTER => Next::Wait,
            _ => Next::Send,
        }
    }

    /// For a read: with a fallback a silent region is skipped; without one the region gets `max_wait` to return.
    fn read(&self, has_fallback: bool, max_wait: Duration) -> Next {
        let since_heard = self.now.saturating_sub(self.last.max(self.begun));
        let is_late = |sent: Duration| self.now.saturating_sub(sent) >= ASK_AGAIN_AFTER;
        match self.sent {
            _ if !self.hears && (has_fallback || since_heard >= max_wait) => Next::GiveUp,
            _ if !self.hears => Next::Wait,
            Some(sent) if !is_late(sent) => Next::Wait,
            Some(_) if has_fallback => Next::GiveUp,
            _ => Next::Send,
        }
    }
}

impl Gateway {
    /// Records that another region was heard.
    pub(super) fn region_heard(&mut self, cx: &Ctx<'_>, region: RegionName) {
        self.heard.note(region, cx.now.mono);
    }

    /// Forwards a request to the primary region.
    pub(super) fn relay_to_primary(&mut self, cx: &mut Ctx<'_>, number: u64, before: Option<ReadProgress>) {
        let (term, primary) = cx.primary;
        let refusal = Refusal::Misdirected { primary: primary.clone(), term };
        let begun = cx.now.mono;
        let Some(pending) = self.requests.get_mut(&number) else { return };
        if matches!(pending.caller, Caller::Region(..)) {
            return self.finish(cx, number, Err(refusal));
        }
        pending.phase = Phase::Relay(Relay { call: None, begun, sent: None, sent_age: Duration::ZERO, before });
        self.advance_region(cx, number);
    }

    /// Performs the next action for a forwarded request.
    pub(super) fn advance_region(&mut self, cx: &mut Ctx<'_>, number: u64) {
        let primary = cx.primary.1.clone();
        let now = cx.now.mono;
        let (hears, last) = (self.heard.hears(&primary, now), self.heard.last(&primary));
        let Some(pending) = self.requests.get(&number) else { return };
        let Phase::Relay(relay) = &pending.phase else { return };
        let repeatable = pending.may_be_repeated();
        let state = RelayState { now, begun: relay.begun, sent: relay.sent, hears, last, repeatable };
        let next = if pending.request.body.changes() {
            state.change()
        } else {
            let max_wait = pending.request.demand.max_wait.unwrap_or(self.settings.max_wait);
            state.read(relay.before.is_some(), max_wait)
        };
        match next {
            Next::Wait => {}
            Next::Send => self.send_to_region(cx, number, primary),
            Next::GiveUp => self.give_up_region(cx, number, &primary),
        }
    }

    fn send_to_region(&mut self, cx: &mut Ctx<'_>, number: u64, region: RegionName) {
        let call = cx.numbers.allocate();
        let (now, sent_age) = (cx.now.mono, cx.now.age);
        let Some(pending) = self.requests.get_mut(&number) else { return };
        let mut request = pending.request.clone();
        request.timeout = pending.deadline.saturating_sub(now);
        let changes = pending.request.body.changes();
        let Phase::Relay(relay) = &mut pending.phase else { return };
        (relay.sent, relay.sent_age) = (Some(now), sent_age);
        if let Some(before) = relay.call.replace(call) {
            // The answer is no longer awaited.
            pending.may_have_happened |= changes;
            self.regions.remove(&before);
        }
        self.regions.insert(call, number);
        let message = RegionMessage::Call(call, request.into());
        cx.effects.push(Effect::SendRegion(Peer::Region(region), message));
    }

    /// Ends the attempt: the next fallback of a read, a refusal otherwise.
    fn give_up_region(&mut self, cx: &mut Ctx<'_>, number: u64, region: &RegionName) {
        let Some(pending) = self.requests.get_mut(&number) else { return };
        let Phase::Relay(relay) = &mut pending.phase else { return };
        let before = relay.before.take();
        if let Some(call) = relay.call {
            self.regions.remove(&call);
        }
        match before {
            Some(before) => self.fall_back(cx, number, before),
            None => {
                let refusal = self.refusal_without(number, region);
                self.finish(cx, number, Err(refusal));
            }
        }
    }

    /// The refusal of a request without an answer of the region.
    pub(super) fn refusal_without(&self, number: u64, region: &RegionName) -> Refusal {
        let pending = self.requests.get(&number);
        let sent = pending.is_some_and(|pending| matches!(&pending.phase, Phase::Relay(relay) if relay.call.is_some()));
        let changes = pending.is_some_and(|pending| pending.request.body.changes());
        if changes && sent {
            return Refusal::OutcomeUnknown(format!("the primary region {region} did not answer"));
        }
        let reason = format!("the primary region {region} is silent; nothing was changed");
        Refusal::Unavailable { shards: Vec::new(), reason }
    }

    pub(super) fn region_reply(&mut self, cx: &mut Ctx<'_>, call: u64, mut reply: Reply) {
        let Some(number) = self.regions.remove(&call) else { return };
        let now = cx.now.age;
        let Some(pending) = self.requests.get_mut(&number) else { return };
        let Phase::Relay(relay) = &mut pending.phase else { return };
        let reads = !pending.request.body.changes();
        let failed =
            matches!(reply.body, Err(Refusal::Unavailable { .. } | Refusal::Timeout(_) | Refusal::Overloaded(_)));
        if let (true, true, Some(before)) = (failed, reads, relay.before.take()) {
            return self.fall_back(cx, number, before);
        }
        if reads && reply.body.is_ok() {
            reply.freshness.outcome = Outcome::Redirected;
            // The answer aged in transit.
            let way = now.saturating_sub(relay.sent_age);
            reply.freshness.staleness = reply.freshness.staleness.saturating_add(way);
        }
        if reads || reply.body.is_err() {
            return self.finish_with(cx, number, reply);
        }
        self.await_visible(cx, number, reply);
    }

    /// A call to another region failed there: it is not supported, for this reason, or its answer is of a kind unknown
    /// to this build, and the effect of the call is unknown.
    pub(super) fn region_call_failed(&mut self, cx: &mut Ctx<'_>, call: u64, unsupported: Option<String>) {
        let Some(number) = self.regions.get(&call) else { return };
        let changes = self.requests.get(number).is_some_and(|pending| pending.request.body.changes());
        let refusal = match unsupported {
            Some(why) => Refusal::Unavailable { shards: Vec::new(), reason: format!("the primary region: {why}") },
            None if changes => Refusal::OutcomeUnknown(UNKNOWN_ANSWER.into()),
            None => Refusal::Unavailable { shards: Vec::new(), reason: UNKNOWN_ANSWER.into() },
        };
        let freshness = cx.no_freshness();
        self.region_reply(cx, call, Reply { body: Err(refusal), freshness });
    }

    /// The connection is lost: requests on it are sent again on the next one, or their outcome is unknown.
    pub(super) fn region_lost(&mut self, cx: &mut Ctx<'_>, region: &RegionName) {
        self.heard.lost(region);
        if cx.primary.1 != region {
            return;
        }
        let mut cut_off = Vec::new();
        for (number, pending) in &mut self.requests {
            let repeatable = pending.may_be_repeated();
            match &mut pending.phase {
                Phase::Relay(relay) if repeatable || relay.call.is_none() => relay.sent = None,
                Phase::Relay(_) => cut_off.push(*number),
                _ => {}
            }
        }
        for number in cut_off {
            let refusal = self.refusal_without(number, region);
            self.finish(cx, number, Err(refusal));
        }
    }

    /// One at a time, since the consequences of one may end another.
    pub(super) fn check_regions(&self, cx: &mut Ctx<'_>) {
        let waits = |(number, pending): (&u64, &Pending)| matches!(pending.phase, Phase::Relay(_)).then_some(*number);
        let steps = self.requests.iter().filter_map(waits).map(Step::AdvanceRegion).map(Effect::Continue);
        cx.effects.extend(steps);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX_WAIT: Duration = Duration::from_millis(100);

    fn at(now: u64, sent: Option<u64>, hears: bool, last: u64) -> RelayState {
        let millis = Duration::from_millis;
        let (now, begun, last) = (millis(now), millis(10_000), millis(last));
        RelayState { now, begun, sent: sent.map(millis), hears, last, repeatable: true }
    }

    #[test]
    fn a_connected_region_is_called_once_and_again_without_an_answer() {
        for state in [at(10_000, None, true, 9_990), at(12_000, Some(10_000), true, 11_990)] {
            assert_eq!(state.change(), Next::Send);
        }
        assert_eq!(at(11_999, Some(10_000), true, 11_990).change(), Next::Wait);
        let once = RelayState { repeatable: false, ..at(12_000, Some(10_000), true, 11_990) };
        assert_eq!(once.change(), Next::Wait, "what would be evaluated again is sent once");
        assert_eq!(at(11_999, Some(10_000), true, 11_990).read(true, MAX_WAIT), Next::Wait);
        assert_eq!(at(12_000, Some(10_000), true, 11_990).read(true, MAX_WAIT), Next::GiveUp);
        assert_eq!(at(12_000, Some(10_000), true, 11_990).read(false, MAX_WAIT), Next::Send);
    }

    #[test]
    fn a_read_skips_a_silent_region_or_waits_as_long_as_it_may() {
        assert_eq!(at(10_000, None, false, 5_000).read(true, MAX_WAIT), Next::GiveUp);
        assert_eq!(at(10_099, None, false, 5_000).read(false, MAX_WAIT), Next::Wait);
        assert_eq!(at(10_100, None, false, 5_000).read(false, MAX_WAIT), Next::GiveUp);
        assert_eq!(at(10_100, None, true, 10_100).read(false, MAX_WAIT), Next::Send, "it came back in time");
    }

    #[test]
    fn a_write_fails_within_two_seconds_of_the_silence() {
        assert_eq!(at(11_499, None, false, 5_000).change(), Next::Wait);
        assert_eq!(at(11_500, None, false, 5_000).change(), Next::GiveUp);
        // The request was sent, and the region became silent much later.
        assert_eq!(at(31_499, Some(29_000), false, 30_000).change(), Next::Wait);
        assert_eq!(at(31_500, Some(29_000), false, 30_000).change(), Next::GiveUp);
    }

    #[test]
    fn a_region_is_silent_when_its_heartbeats_are_missing_or_its_connection_is_gone() {
        let region = RegionName::new("us-east").unwrap();
        let mut heard = RegionsHeard::default();
        let start = Duration::from_secs(100);
        assert!(!heard.hears(&region, start), "never heard of");
        heard.note(region.clone(), start);
        assert!(heard.hears(&region, start + SILENT_AFTER - Duration::from_millis(1)));
        assert!(!heard.hears(&region, start + SILENT_AFTER));
        heard.note(region.clone(), start + SILENT_AFTER);
        heard.lost(&region);
        assert!(!heard.hears(&region, start + SILENT_AFTER));
        assert_eq!(heard.last(&region), start + SILENT_AFTER);
    }
}

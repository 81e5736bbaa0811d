//! Requests that the primary region answers, and what becomes of them when it falls silent.
//!
//! A region is heard while anything comes from it, heartbeats of the connection included. A silent one is remembered: reads
//! skip it or wait for their own `max-wait`, writes fail within 2 s. Nothing is sent while it is silent, so that of a write
//! that was never sent it is certain that it did not happen.

use std::collections::BTreeMap;
use std::time::Duration;

use meridian_model::RegionName;
use meridian_model::client::{Outcome, Refusal, Reply};
use meridian_proto::frame::RegionMessage;

use super::{Asker, Plan, reads};
use crate::{Command, Peer, Replica};

/// A region of which nothing came for this long is silent: three heartbeats are missing.
const SILENT_AFTER: Duration = Duration::from_millis(750);
/// A write waits this long for a silent region, so that it fails within 2 s of the silence.
const WRITE_PATIENCE: Duration = Duration::from_millis(1_500);
/// Reason of a refusal.
const UNKNOWN_ANSWER: &str =
    "the primary region runs a later release and answered in a form that this one does not know";
/// A region that is heard and does not answer is asked again after this.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(2);

/// When each region was heard last, and whether it is connected.
#[derive(Debug, Default)]
pub(crate) struct RegionsHeard(BTreeMap<RegionName, Heard>);

#[derive(Debug)]
struct Heard {
    at: Duration,
    connected: bool,
}

impl RegionsHeard {
    fn note(&mut self, region: &RegionName, now: Duration) {
        self.0.insert(region.clone(), Heard { at: now, connected: true });
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

/// A request that the primary region is to answer.
#[derive(Debug)]
pub(super) struct RegionLeg {
    /// Under which number it was sent last; none while it never was.
    call: Option<u64>,
    begun: Duration,
    /// When it was sent last; none while it is to be sent, because it never was or its connection is gone.
    sent: Option<Duration>,
    /// When that was, by the clock of ages.
    sent_age: Duration,
    /// What the shards of this region said before, to fall back to.
    before: Option<reads::ReadPlan>,
}

impl RegionLeg {
    pub(super) fn call(&self) -> Option<u64> {
        self.call
    }
}

/// What is done next about a [`RegionLeg`].
#[derive(Debug, PartialEq, Eq)]
enum Next {
    Wait,
    Send,
    /// To the next fallback of a read; refused when there is none.
    GiveUp,
}

/// What a leg needs to be judged.
struct Judged {
    now: Duration,
    begun: Duration,
    sent: Option<Duration>,
    hears: bool,
    /// When the region was heard last.
    last: Duration,
    /// It is known there by its id.
    repeatable: bool,
}

impl Judged {
    /// A change: sent again while the region is heard, if it is known there by its id.
    fn change(&self) -> Next {
        let silent_for = self.now.saturating_sub(self.last.max(self.begun));
        match self.sent {
            _ if !self.hears && silent_for >= WRITE_PATIENCE => Next::GiveUp,
            _ if !self.hears => Next::Wait,
            Some(_) if !self.repeatable => Next::Wait,
            Some(sent) if self.now.saturating_sub(sent) < ASK_AGAIN_AFTER => Next::Wait,
            _ => Next::Send,
        }
    }

    /// A read: with a fallback a silent region is skipped, without one it gets `max_wait` to come back.
    fn read(&self, has_fallback: bool, max_wait: Duration) -> Next {
        let silent_for = self.now.saturating_sub(self.last.max(self.begun));
        let is_late = |sent: Duration| self.now.saturating_sub(sent) >= ASK_AGAIN_AFTER;
        match self.sent {
            _ if !self.hears && (has_fallback || silent_for >= max_wait) => Next::GiveUp,
            _ if !self.hears => Next::Wait,
            Some(sent) if !is_late(sent) => Next::Wait,
            Some(_) if has_fallback => Next::GiveUp,
            _ => Next::Send,
        }
    }
}

impl Replica {
    /// Something came from another region.
    pub(crate) fn region_heard(&mut self, from: &Peer) {
        if let Peer::Region(region) = from {
            self.gateway.heard.note(region, self.now.mono);
        }
    }

    /// Asks the primary region in place of this one.
    pub(super) fn ask_primary(&mut self, number: u64, before: Option<reads::ReadPlan>) {
        let (term, primary) = self.state.primary();
        let refusal = Refusal::Misdirected { primary: primary.clone(), term };
        let begun = self.now.mono;
        let Some(ask) = self.gateway.asks.get_mut(&number) else { return };
        if matches!(ask.asker, Asker::Region(..)) {
            return self.finish(number, Err(refusal));
        }
        ask.plan = Plan::Region(RegionLeg { call: None, begun, sent: None, sent_age: Duration::ZERO, before });
        self.advance_region_leg(number);
    }

    fn advance_region_leg(&mut self, number: u64) {
        let primary = self.state.primary().1.clone();
        let now = self.now.mono;
        let (hears, last) = (self.gateway.heard.hears(&primary, now), self.gateway.heard.last(&primary));
        let Some(ask) = self.gateway.asks.get(&number) else { return };
        let Plan::Region(leg) = &ask.plan else { return };
        let repeatable = ask.may_be_repeated();
        let judged = Judged { now, begun: leg.begun, sent: leg.sent, hears, last, repeatable };
        let next = if ask.request.body.changes() {
            judged.change()
        } else {
            let max_wait = ask.request.demand.max_wait.unwrap_or(self.settings.max_wait);
            judged.read(leg.before.is_some(), max_wait)
        };
        match next {
            Next::Wait => {}
            Next::Send => self.send_to_region(number, primary),
            Next::GiveUp => self.give_region_up(number, &primary),
        }
    }

    fn send_to_region(&mut self, number: u64, region: RegionName) {
        let call = self.number();
        let (now, sent_age) = (self.now.mono, self.now.age);
        let Some(ask) = self.gateway.asks.get_mut(&number) else { return };
        let mut request = ask.request.clone();
        request.timeout = ask.deadline.saturating_sub(now);
        let changes = ask.request.body.changes();
        let Plan::Region(leg) = &mut ask.plan else { return };
        (leg.sent, leg.sent_age) = (Some(now), sent_age);
        if let Some(before) = leg.call.replace(call) {
            // Its answer is not waited for any more.
            ask.may_have_happened |= changes;
            self.gateway.regions.remove(&before);
        }
        self.gateway.regions.insert(call, number);
        let message = RegionMessage::Call(call, request.into());
        self.out.push(Command::SendRegion(Peer::Region(region), message));
    }

    /// The region is silent, or does not answer: the next fallback of a read, the end of anything else.
    fn give_region_up(&mut self, number: u64, region: &RegionName) {
        let Some(ask) = self.gateway.asks.get_mut(&number) else { return };
        let Plan::Region(leg) = &mut ask.plan else { return };
        let before = leg.before.take();
        if let Some(call) = leg.call {
            self.gateway.regions.remove(&call);
        }
        match before {
            Some(before) => self.fall_back(number, before),
            None => {
                let refusal = self.refusal_without(number, region);
                self.finish(number, Err(refusal));
            }
        }
    }

    /// The refusal of a request that the region did not answer.
    pub(super) fn refusal_without(&self, number: u64, region: &RegionName) -> Refusal {
        let ask = self.gateway.asks.get(&number);
        let sent = ask.is_some_and(|ask| matches!(&ask.plan, Plan::Region(leg) if leg.call.is_some()));
        let changes = ask.is_some_and(|ask| ask.request.body.changes());
        if changes && sent {
            return Refusal::OutcomeUnknown(format!("the primary region {region} did not answer"));
        }
        let reason = format!("the primary region {region} is silent; nothing was changed");
        Refusal::Unavailable { shards: Vec::new(), reason }
    }

    pub(crate) fn region_reply(&mut self, call: u64, mut reply: Reply) {
        let Some(number) = self.gateway.regions.remove(&call) else { return };
        let now = self.now.age;
        let Some(ask) = self.gateway.asks.get_mut(&number) else { return };
        let Plan::Region(leg) = &mut ask.plan else { return };
        let reads = !ask.request.body.changes();
        let failed =
            matches!(reply.body, Err(Refusal::Unavailable { .. } | Refusal::Timeout(_) | Refusal::Overloaded(_)));
        if let (true, true, Some(before)) = (failed, reads, leg.before.take()) {
            return self.fall_back(number, before);
        }
        if reads && reply.body.is_ok() {
            reply.freshness.outcome = Outcome::Redirected;
            // It has grown older on its way.
            let way = now.saturating_sub(leg.sent_age);
            reply.freshness.staleness = reply.freshness.staleness.saturating_add(way);
        }
        if reads || reply.body.is_err() {
            return self.finish_with(number, reply);
        }
        self.begin_visible(number, reply);
    }

    /// A call to another region failed there: it is not supported, for this reason, or its answer is of a kind that this build
    /// does not know, and what the call did is unknown.
    pub(crate) fn region_call_failed(&mut self, call: u64, unsupported: Option<String>) {
        let Some(number) = self.gateway.regions.get(&call) else { return };
        let changes = self.gateway.asks.get(number).is_some_and(|ask| ask.request.body.changes());
        let refusal = match unsupported {
            Some(why) => Refusal::Unavailable { shards: Vec::new(), reason: format!("the primary region: {why}") },
            None if changes => Refusal::OutcomeUnknown(UNKNOWN_ANSWER.into()),
            None => Refusal::Unavailable { shards: Vec::new(), reason: UNKNOWN_ANSWER.into() },
        };
        self.region_reply(call, Reply { body: Err(refusal), freshness: self.no_freshness() });
    }

    /// The connection is gone: what was sent on it is sent again on the next one, or its outcome is unknown.
    pub(super) fn region_lost(&mut self, region: &RegionName) {
        self.gateway.heard.lost(region);
        if self.state.primary().1 != region {
            return;
        }
        let mut cut_off = Vec::new();
        for (number, ask) in &mut self.gateway.asks {
            let repeatable = ask.may_be_repeated();
            match &mut ask.plan {
                Plan::Region(leg) if repeatable || leg.call.is_none() => leg.sent = None,
                Plan::Region(_) => cut_off.push(*number),
                _ => {}
            }
        }
        for number in cut_off {
            let refusal = self.refusal_without(number, region);
            self.finish(number, Err(refusal));
        }
    }

    pub(super) fn tick_region_legs(&mut self) {
        let waits = |(number, ask): (&u64, &super::Ask)| matches!(ask.plan, Plan::Region(_)).then_some(*number);
        for number in self.gateway.asks.iter().filter_map(waits).collect::<Vec<u64>>() {
            self.advance_region_leg(number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX_WAIT: Duration = Duration::from_millis(100);

    fn at(now: u64, sent: Option<u64>, hears: bool, last: u64) -> Judged {
        let millis = Duration::from_millis;
        let (now, begun, last) = (millis(now), millis(10_000), millis(last));
        Judged { now, begun, sent: sent.map(millis), hears, last, repeatable: true }
    }

    #[test]
    fn a_region_that_is_heard_is_asked_once_and_again_when_it_does_not_answer() {
        for judged in [at(10_000, None, true, 9_990), at(12_000, Some(10_000), true, 11_990)] {
            assert_eq!(judged.change(), Next::Send);
        }
        assert_eq!(at(11_999, Some(10_000), true, 11_990).change(), Next::Wait);
        let once = Judged { repeatable: false, ..at(12_000, Some(10_000), true, 11_990) };
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
        // Sent, and the region fell silent much later.
        assert_eq!(at(31_499, Some(29_000), false, 30_000).change(), Next::Wait);
        assert_eq!(at(31_500, Some(29_000), false, 30_000).change(), Next::GiveUp);
    }

    #[test]
    fn a_region_is_silent_when_its_heartbeats_are_missing_or_its_connection_is_gone() {
        let region = RegionName::new("us-east").unwrap();
        let mut heard = RegionsHeard::default();
        let start = Duration::from_secs(100);
        assert!(!heard.hears(&region, start), "never heard of");
        heard.note(&region, start);
        assert!(heard.hears(&region, start + SILENT_AFTER - Duration::from_millis(1)));
        assert!(!heard.hears(&region, start + SILENT_AFTER));
        heard.note(&region, start + SILENT_AFTER);
        heard.lost(&region);
        assert!(!heard.hears(&region, start + SILENT_AFTER));
        assert_eq!(heard.last(&region), start + SILENT_AFTER);
    }
}

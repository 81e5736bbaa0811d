//! Behavior versions: versions supported by members, finalization and publication, and versions finalized by other
//! regions (PROTOCOLS 4).
//!
//! ```text
//!   Met, Lost ──► builds ──┐
//!   Finalize ──────────────┴─ all members support it? ──► Version(n) ──applied──► Done
//!   Publish ───── finalized here? ─────────────────────► Publish(n) ──applied──► Done
//!   Tick ──► Behavior ──► other regions ──► reported, for the operator
//! ```

use std::collections::BTreeMap;
use std::time::Duration;

use meridian_model::{BehaviorVersion, LogIndex, RegionName, ReplicaId, ShardNumber};
use meridian_proto::frame::{Build, Peer, RegionCall, RegionMessage};
use meridian_proto::topology::{RegionBehavior, TopologyAnswer};
use meridian_raft::ProposeError;
use meridian_shard::{Entry, Outcome};

use crate::Command;
use crate::context::Ctx;
use crate::injection::InjectedBug;
use crate::proposal::{ProposalError, propose};
use crate::waiting::{DISK_FULL, WaitingCalls};

/// Interval of `Behavior` calls to other regions until this group has published the newest version of this build.
const ASK_EVERY: Duration = Duration::from_secs(5);
/// Lifetime of a reported version; longer than the interval, as some answers may be lost.
const FORGET_AFTER: Duration = Duration::from_secs(30);

/// Behavior versions of the members, of the group, and of other regions.
#[derive(Debug, Default)]
pub(crate) struct Versions {
    /// Build of each connected replica of the group.
    builds: BTreeMap<ReplicaId, Build>,
    /// The newest version proposed by this leader, and the index of its entry until it is applied.
    proposed: Option<(LogIndex, BehaviorVersion)>,
    waiting: WaitingCalls,
    /// Number and time of the newest call to each region.
    asked: BTreeMap<RegionName, (u64, Duration)>,
    /// Time and value of the newest report of each region.
    reported: BTreeMap<RegionName, (Duration, BehaviorVersion)>,
}

/// Input of [`Versions::handle`].
#[derive(Debug)]
pub(crate) enum Event {
    /// A replica of the group connected, and reported its build.
    Met { replica: ReplicaId, build: Build },
    /// The connection to a replica was lost.
    Lost(ReplicaId),
    /// The operator requests that the group finalizes a version.
    Finalize { ticket: u64, version: BehaviorVersion },
    /// The operator requests that a version is published.
    Publish { ticket: u64, version: BehaviorVersion },
    /// A version was finalized or published, or was refused.
    Applied(Outcome),
    /// This replica lost the leadership.
    LeadershipLost,
    /// Another region connected.
    RegionConnected(RegionName),
    /// Another region answered a call.
    RegionReported { call: u64, finalized: BehaviorVersion },
    /// Periodic tick.
    Tick,
}

impl Versions {
    pub(crate) fn handle(&mut self, cx: &mut Ctx<'_>, event: Event) {
        match event {
            Event::Met { replica, build } => drop(self.builds.insert(replica, build)),
            Event::Lost(replica) => drop(self.builds.remove(&replica)),
            Event::Finalize { ticket, version } => {
                let answer = self.finalize(cx, ticket, version);
                reply(cx, ticket, answer);
            }
            Event::Publish { ticket, version } => {
                let answer = self.publish(cx, ticket, version);
                reply(cx, ticket, answer);
            }
            Event::Applied(outcome) => self.applied(cx, &outcome),
            Event::LeadershipLost => {
                self.waiting.leadership_lost(cx);
                self.proposed = None;
                self.asked.clear();
                self.reported.clear();
            }
            Event::RegionConnected(region) => drop(self.asked.remove(&region)),
            Event::RegionReported { call, finalized } => {
                let region = self.asked.iter().find(|(_, (asked, _))| *asked == call).map(|(region, _)| region.clone());
                self.reported.extend(region.map(|region| (region, (cx.now.mono, finalized))));
            }
            Event::Tick => {
                self.waiting.give_up_late(cx);
                self.ask_regions(cx);
            }
        }
    }

    /// Returns `true` if ticks have no work, as in a group that has published the newest version.
    pub(crate) fn is_idle(&self, published: BehaviorVersion) -> bool {
        let is_settled = published >= BehaviorVersion::newest() && self.reported.is_empty();
        is_settled && self.waiting.is_empty()
    }

    /// Reports of other regions within the last 30 s, with their times.
    pub(crate) fn reported(&self) -> &BTreeMap<RegionName, (Duration, BehaviorVersion)> {
        &self.reported
    }

    /// The same reports, for the operator.
    pub(crate) fn regions(&self) -> Vec<RegionBehavior> {
        let reported = self.reported.iter();
        reported.map(|(region, (_, behavior))| RegionBehavior { region: region.clone(), behavior: *behavior }).collect()
    }

    /// Returns the reason why a replica must not become a member, if any: it would stop at the first entry of an
    /// unknown version.
    pub(crate) fn learner_refusal(&self, finalized: BehaviorVersion, replica: ReplicaId) -> Option<String> {
        let proposed = self.proposed.map_or(finalized, |(_, version)| version.max(finalized));
        // Every build supports the first version.
        (proposed > BehaviorVersion::FIRST).then(|| self.missing_support(replica, proposed)).flatten()
    }

    /// Returns the reason why a replica may not support a version, if any.
    fn missing_support(&self, replica: ReplicaId, version: BehaviorVersion) -> Option<String> {
        match self.builds.get(&replica) {
            None => Some(format!("replica {replica} is not connected")),
            Some(Build { behavior, .. }) if *behavior >= version => None,
            Some(Build { behavior, release, .. }) => {
                Some(format!("replica {replica} runs release {release}, which knows versions up to {behavior}"))
            }
        }
    }

    /// Proposes `Version` if every member supports it. Returns the answer, or `None` if it follows once the entry is
    /// applied.
    fn finalize(&mut self, cx: &mut Ctx<'_>, ticket: u64, version: BehaviorVersion) -> Option<TopologyAnswer> {
        if !cx.facts.leading {
            return Some(cx.not_leader());
        }
        if cx.state.behavior() >= version {
            return Some(TopologyAnswer::Done { version: cx.state.applied() });
        }
        let refuse = |why: String| Some(TopologyAnswer::Refused(format!("finalize behavior version {version}: {why}")));
        let newest = BehaviorVersion::newest();
        if version > newest {
            return refuse(format!("the leader knows versions up to {newest}"));
        }
        if cx.raft.is_changing_members() {
            return refuse("a membership change is under way".into());
        }
        let own = cx.identity.replica;
        let members = cx.raft.members();
        let others = members.voters.iter().chain(&members.learners).map(|id| ReplicaId(*id)).filter(|id| *id != own);
        let unsupported: Vec<String> = others.filter_map(|replica| self.missing_support(replica, version)).collect();
        if !unsupported.is_empty() && !cx.settings.injects(InjectedBug::FinalizeUnchecked) {
            return refuse(unsupported.join("; "));
        }
        let index = match self.propose(cx, ticket, &Entry::Version(version)) {
            Ok(index) => index,
            Err(answer) => return Some(*answer),
        };
        let before = self.proposed.map_or(version, |(_, version)| version);
        self.proposed = Some((index, before.max(version)));
        None
    }

    /// Proposes `Publish` if this group has finalized the version. The operator checks the other regions.
    fn publish(&mut self, cx: &mut Ctx<'_>, ticket: u64, version: BehaviorVersion) -> Option<TopologyAnswer> {
        if !cx.facts.leading {
            return Some(cx.not_leader());
        }
        if cx.state.published() >= version {
            return Some(TopologyAnswer::Done { version: cx.state.applied() });
        }
        let finalized = cx.state.behavior();
        if finalized < version {
            let text = format!("publish behavior version {version}: the group has finalized {finalized}");
            return Some(TopologyAnswer::Refused(text));
        }
        self.propose(cx, ticket, &Entry::Publish(version)).err().map(|answer| *answer)
    }

    /// Proposes an entry and returns its index; the call is answered when the entry is applied.
    fn propose(&mut self, cx: &mut Ctx<'_>, ticket: u64, entry: &Entry) -> Result<LogIndex, Box<TopologyAnswer>> {
        if !cx.facts.admits_small {
            return Err(Box::new(TopologyAnswer::Refused(DISK_FULL.into())));
        }
        match propose(cx.raft, cx.state, cx.settings, entry) {
            Ok(proposed) => {
                self.waiting.add(cx, ticket, proposed.index);
                Ok(LogIndex(proposed.index))
            }
            Err(ProposalError::Raft(ProposeError::NotLeader { .. })) => Err(Box::new(cx.not_leader())),
            Err(fault) => Err(Box::new(TopologyAnswer::Refused(fault.to_string()))),
        }
    }

    fn applied(&mut self, cx: &mut Ctx<'_>, outcome: &Outcome) {
        let version = cx.state.applied();
        self.proposed = self.proposed.filter(|(index, _)| *index > version);
        let answer = match outcome {
            Outcome::PublishRefused { held } => TopologyAnswer::Refused(format!("the group has finalized {held}")),
            _ => TopologyAnswer::Done { version },
        };
        self.waiting.answer(cx, version, answer);
    }

    /// Sends `Behavior` calls to other regions, on the leader of the first shard, until the newest version is
    /// published.
    fn ask_regions(&mut self, cx: &mut Ctx<'_>) {
        let now = cx.now.mono;
        self.reported.retain(|_, (at, _)| now.saturating_sub(*at) < FORGET_AFTER);
        let is_settled = cx.state.published() >= BehaviorVersion::newest();
        if is_settled || !cx.facts.leading || cx.me().shard != ShardNumber::FIRST {
            return;
        }
        let settings = cx.settings;
        for region in &settings.other_regions {
            if self.asked.get(region).is_some_and(|(_, at)| now.saturating_sub(*at) < ASK_EVERY) {
                continue;
            }
            let call = cx.numbers.allocate();
            self.asked.insert(region.clone(), (call, now));
            let message = RegionMessage::Call(call, RegionCall::Behavior);
            cx.command(Command::SendRegion(Peer::Region(region.clone()), message));
        }
    }
}

fn reply(cx: &mut Ctx<'_>, ticket: u64, answer: Option<TopologyAnswer>) {
    if let Some(answer) = answer {
        cx.command(Command::TopologyReply { ticket, answer });
    }
}

#[cfg(test)]
mod tests;

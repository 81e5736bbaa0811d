//! Handles the output of the consensus library: messages, log records, role changes, committed entries, confirmed
//! reads.
//!
//! ```text
//!   Output ──► messages ──► role ──────► Persist ──► entries to apply ──► confirmed reads
//!                             │             └─ Persisted ──► messages that promise it, release of the log
//!                             └ leadership lost: takes effect everywhere before the rest of the output is handled
//!   the own term's first entry is applied ──► leads: announces itself, follows the links
//! ```

mod persist;

use std::time::Duration;

use meridian_model::{LogIndex, ReplicaId, Term};
use meridian_proto::frame::{NodeId, PeerMessage};
use meridian_raft::{Envelope, Output, Role as RaftRole, RoleChange, StepError, StepOutcome};

use self::persist::LogWriter;
use crate::context::Ctx;
use crate::effect::Effect;
use crate::{Command, LogRecord};

/// Interval at which a leader announces itself to the region.
const LEAD_NOTICE_EVERY: Duration = Duration::from_secs(1);

/// Retry interval of the ReadIndex probe after the start.
const PROBE_AGAIN_AFTER: Duration = Duration::from_millis(300);

/// Role of this replica in its group, and its log on disk.
#[derive(Debug, Default)]
pub(crate) struct Consensus {
    log: LogWriter,
    /// Set while this replica leads and has applied its own term's first entry: only then may it propose.
    leading: Option<Term>,
    /// Term of the leadership reported by the library; its first entry may not be applied yet.
    elected: Option<Term>,
    /// The commit index confirmed after the start is applied.
    caught_up: bool,
    last_notice: Duration,
    probe: Option<Probe>,
}

/// ReadIndex probe that confirms the commit index after the start.
#[derive(Debug)]
struct Probe {
    context: u64,
    asked: Duration,
    /// Index to apply; `None` until a quorum has answered.
    index: Option<LogIndex>,
}

/// Input of [`Consensus::handle`].
pub(crate) enum Event {
    /// A message of the consensus library. With `drops_appends`, appends with entries are dropped.
    Message { from: NodeId, bytes: Vec<u8>, drops_appends: bool },
    /// Output of the library.
    Output(Output),
    /// The rest of an output after its role change took effect.
    Continue(Output),
    /// The batch with this number is durable; `first` is the log sequence number of its first record.
    Persisted { number: u64, first: u64 },
    /// The first entry of this leader's term is applied.
    TermBegun(Term),
    /// This replica may serve again.
    BackInService,
    /// This replica left service.
    OutOfService,
    /// The log may be released before this index.
    Compact { keep_from: u64 },
    /// The log is void and restarts with this base record.
    LogVoided { base: LogRecord },
    /// Periodic tick.
    Tick,
}

impl Consensus {
    /// `places`: log index and log sequence number of each entry on the disk.
    pub(crate) fn with_places(places: Vec<(u64, u64)>) -> Self {
        Self { log: LogWriter::with_places(places), ..Self::default() }
    }

    pub(crate) fn handle(&mut self, cx: &mut Ctx<'_>, event: Event) {
        match event {
            Event::Message { from, bytes, drops_appends } => message(cx, from, &bytes, drops_appends),
            Event::Output(output) => self.output(cx, output),
            Event::Continue(output) => self.perform(cx, output),
            Event::Persisted { number, first } => self.log.persisted(cx, number, first),
            Event::TermBegun(term) => {
                self.leading = Some(term);
                cx.effects.push(Effect::TermBegun);
                self.begin_to_lead(cx);
            }
            Event::BackInService => self.begin_to_lead(cx),
            Event::OutOfService => self.leading = None,
            Event::Compact { keep_from } => self.log.compact(cx, keep_from),
            Event::LogVoided { base } => self.log.write_again(cx, base, None),
            Event::Tick => self.tick(cx),
        }
    }

    /// Returns the term that this replica leads, once its first entry is applied.
    pub(crate) fn leading(&self) -> Option<Term> {
        self.leading
    }

    /// Returns `true` if an applied entry of `term` is the first of this leader's term.
    pub(crate) fn begins(&self, term: Term) -> bool {
        self.leading.is_none() && self.elected == Some(term)
    }

    /// Returns `true` once the commit index confirmed after the start is applied.
    pub(crate) fn is_caught_up(&self) -> bool {
        self.caught_up
    }

    /// Age of the oldest batch that is not durable.
    pub(crate) fn oldest_fsync(&self, now: Duration) -> Duration {
        self.log.oldest_fsync(now)
    }

    /// Clears the log sequence numbers: a snapshot replaced the log.
    pub(crate) fn forget_places(&mut self) {
        self.log.forget_places();
    }

    fn output(&mut self, cx: &mut Ctx<'_>, mut output: Output) {
        send(cx, std::mem::take(&mut output.messages));
        match output.role.take() {
            Some(role) if self.role_changed(cx, role) => {
                cx.effects.extend([Effect::StopLeading, Effect::Continue(Box::new(output))]);
            }
            _ => self.perform(cx, output),
        }
    }

    fn perform(&mut self, cx: &mut Ctx<'_>, mut output: Output) {
        let (committed, reads) = (std::mem::take(&mut output.committed), std::mem::take(&mut output.reads));
        self.log.write(cx, output);
        if !committed.is_empty() {
            cx.effects.push(Effect::Apply(committed));
        }
        for (context, index) in reads {
            let index = LogIndex(index);
            match self.probe.as_mut().filter(|probe| probe.context == context) {
                Some(probe) => probe.index = Some(index),
                None => cx.effects.push(Effect::ReadIndexConfirmed { context, index }),
            }
        }
    }

    /// Updates the role. Returns `true` if a leadership began or ended.
    fn role_changed(&mut self, cx: &mut Ctx<'_>, change: RoleChange) -> bool {
        let elected = (change.role == RaftRole::Leader).then_some(Term(change.term));
        if elected == self.elected {
            return false;
        }
        cx.counters.elections_won += u64::from(elected.is_some());
        (self.elected, self.leading) = (elected, None);
        true
    }

    /// A leader may serve only after it has applied its own term's first entry: its state then contains every
    /// acknowledged write.
    fn begin_to_lead(&mut self, cx: &mut Ctx<'_>) {
        if self.leading.is_some() && cx.facts.is_trusted() {
            self.last_notice = cx.now.mono;
            cx.effects.extend([Effect::Announce, Effect::FollowLinks, Effect::Command(Command::Leads(true))]);
        }
    }

    fn tick(&mut self, cx: &mut Ctx<'_>) {
        if cx.now.mono.saturating_sub(self.last_notice) >= LEAD_NOTICE_EVERY {
            self.last_notice = cx.now.mono;
            cx.effects.push(Effect::Announce);
        }
        if !self.caught_up && cx.raft.is_member(cx.identity.replica.0) {
            self.catch_up(cx);
        }
    }

    /// Confirms the commit index with a quorum, and retries until that index is applied.
    fn catch_up(&mut self, cx: &mut Ctx<'_>) {
        let now = cx.now.mono;
        match self.probe {
            Some(Probe { index: Some(index), .. }) => {
                self.caught_up = cx.state.applied() >= index;
                if self.caught_up {
                    cx.effects.push(Effect::CaughtUp);
                }
            }
            Some(Probe { asked, .. }) if now.saturating_sub(asked) < PROBE_AGAIN_AFTER => {}
            _ => {
                let context = cx.numbers.allocate();
                if cx.raft.read_index(context).is_ok() {
                    self.probe = Some(Probe { context, asked: now, index: None });
                }
            }
        }
    }
}

fn message(cx: &mut Ctx<'_>, from: NodeId, bytes: &[u8], drops_appends: bool) {
    if from.shard != cx.me().shard || cx.facts.out_of_service {
        return;
    }
    if drops_appends && meridian_raft::carries_entries(bytes) {
        return;
    }
    match cx.raft.step(bytes) {
        Ok(StepOutcome::Snapshot(snapshot)) => cx.effects.push(Effect::SnapshotOffered { from, snapshot }),
        Err(fault @ StepError::LogLost { .. }) => cx.leave_service(fault.to_string()),
        // A malformed message counts as lost.
        Ok(StepOutcome::Done | StepOutcome::Ignored(_)) | Err(_) => {}
    }
}

fn send(cx: &mut Ctx<'_>, envelopes: Vec<Envelope>) {
    for Envelope { to, message } in envelopes {
        cx.send_replica(ReplicaId(to), PeerMessage::Raft(message));
    }
}

#[cfg(test)]
mod tests;

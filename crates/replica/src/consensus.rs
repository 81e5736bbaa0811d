//! Driving the consensus library: what it sends, what it persists, what it commits.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use meridian_model::{LogIndex, ReplicaId, Term, VersionUnknown};
use meridian_proto::frame::{Lead, NodeId, PeerMessage};
use meridian_raft::{Entry as RaftEntry, EntryKind, Envelope, Output, Role as RaftRole, StepError, StepOutcome};
use meridian_shard::{DecodeError, Entry, Outcome};

use crate::injection::InjectedBug;
use crate::{Command, LogRecord, Replica};

/// How often a leader tells the region that it leads.
const LEAD_NOTICE_EVERY: Duration = Duration::from_secs(1);

/// A read that should tell what is committed is asked again after this.
const PROBE_AGAIN_AFTER: Duration = Duration::from_millis(300);

/// What this replica has under way with its group.
#[derive(Debug, Default)]
pub(crate) struct Consensus {
    /// Waiting for the disk, oldest first.
    persisting: VecDeque<Persisting>,
    /// Where each log entry's record stands in the write-ahead log, once it is there.
    pub(crate) places: BTreeMap<u64, u64>,
    /// Set while this replica leads and has applied its own term's first entry: only then may it propose.
    pub(crate) leading: Option<Term>,
    /// This replica leads, by the library's word.
    elected: Option<Term>,
    /// The commit index learnt after the start is applied.
    pub(crate) caught_up: bool,
    last_notice: Duration,
    /// The read by which this replica learns, after its start, what is committed: its number, when it was asked, and the
    /// index to reach.
    probe: Option<(u64, Duration, Option<LogIndex>)>,
}

impl Consensus {
    /// How long the disk has been at work on the oldest batch that is not durable.
    pub(crate) fn oldest_fsync(&self, now: Duration) -> Duration {
        self.persisting.front().map_or(Duration::ZERO, |oldest| now.saturating_sub(oldest.since))
    }

    /// With the places where the records of the log's entries stand.
    pub(crate) fn with_places(places: Vec<(u64, u64)>) -> Self {
        Self { places: places.into_iter().collect(), ..Self::default() }
    }
}

#[derive(Debug)]
struct Persisting {
    number: u64,
    /// The library's number; `None` for records of our own.
    output: Option<u64>,
    /// Log indexes of the records, by their place in the batch.
    indexes: Vec<Option<u64>>,
    /// Sent once the records are on disk.
    messages: Vec<Envelope>,
    /// Let go of the log before this index once the records are on disk.
    release_before: Option<u64>,
    /// Since when it waits.
    since: Duration,
}

impl Replica {
    pub(crate) fn raft_message(&mut self, from: NodeId, bytes: &[u8]) {
        if from.shard != self.me().shard || self.out_of_service.is_some() {
            return;
        }
        if self.drops_appends_of(from) && meridian_raft::carries_entries(bytes) {
            return;
        }
        match self.raft.step(bytes) {
            Ok(StepOutcome::Snapshot(snapshot)) => self.snapshot_incoming(from, snapshot),
            Err(fault @ StepError::LogLost { .. }) => self.leave_service(fault.to_string()),
            // A message that cannot be read is as good as lost.
            Ok(StepOutcome::Done | StepOutcome::Ignored(_)) | Err(_) => {}
        }
    }

    fn send_envelopes(&mut self, envelopes: Vec<Envelope>) {
        for Envelope { to, message } in envelopes {
            self.send_replica(ReplicaId(to), PeerMessage::Raft(message));
        }
    }

    /// Does everything that the consensus library wants done.
    pub(crate) fn drive(&mut self) {
        loop {
            self.ask_for_read_indexes();
            let Some(output) = self.raft.output() else { break };
            self.obey(output);
        }
    }

    fn obey(&mut self, output: Output) {
        self.send_envelopes(output.messages);
        if let Some(role) = output.role {
            self.role_changed(role.role, Term(role.term));
        }
        let mut indexes: Vec<Option<u64>> = Vec::new();
        let mut records = Vec::new();
        // The hard state comes last: torn off, it takes nothing with it, while a commit index before its entries would
        // make a torn end look like a lost log.
        records.extend(output.snapshot.map(|base| LogRecord::Base { index: base.index, term: base.term }));
        indexes.resize(records.len(), None);
        for entry in &output.entries {
            indexes.push(Some(entry.index));
            self.log_bytes.push(entry.index, entry.payload.len());
        }
        records.extend(output.entries.into_iter().map(LogRecord::Entry));
        records.extend(output.hard_state.map(LogRecord::HardState));
        indexes.resize(records.len(), None);
        let early = self.settings.injects(InjectedBug::AckBeforeFsync);
        if early || (records.is_empty() && self.consensus.persisting.is_empty()) {
            if !records.is_empty() {
                self.persist(records, indexes, None, Vec::new(), None);
            }
            self.send_envelopes(output.messages_after_persist);
            self.raft.persisted(output.number);
        } else if records.is_empty() {
            // Nothing to write, but what it says may rest on what is still being written: an append that came twice is
            // acknowledged only once its first copy is on disk.
            let number = self.consensus.persisting.back().map_or(0, |last| last.number);
            let (output, messages) = (Some(output.number), output.messages_after_persist);
            let since = self.now.mono;
            let behind = Persisting { number, output, indexes: Vec::new(), messages, release_before: None, since };
            self.consensus.persisting.push_back(behind);
        } else {
            self.persist(records, indexes, Some(output.number), output.messages_after_persist, None);
        }
        self.apply(output.committed);
        for (context, index) in output.reads {
            self.read_index_answered(context, LogIndex(index));
        }
    }

    fn read_index_answered(&mut self, context: u64, index: LogIndex) {
        if self.statements.is_round(context) {
            return self.round_confirmed(index);
        }
        match &mut self.consensus.probe {
            Some((probe, _, wanted)) if *probe == context => *wanted = Some(index),
            _ => self.read_index_confirmed(context, index),
        }
    }

    pub(crate) fn persist(
        &mut self,
        records: Vec<LogRecord>,
        indexes: Vec<Option<u64>>,
        output: Option<u64>,
        messages: Vec<Envelope>,
        release_before: Option<u64>,
    ) {
        let number = self.number();
        let records = records.iter().map(LogRecord::encode).collect();
        let since = self.now.mono;
        self.consensus.persisting.push_back(Persisting { number, output, indexes, messages, release_before, since });
        self.out.push(Command::Persist { number, records });
    }

    pub(crate) fn persisted(&mut self, number: u64, first: u64) {
        while let Some(done) = self.consensus.persisting.front() {
            if done.number > number {
                break;
            }
            let done = self.consensus.persisting.pop_front().expect("there is a front");
            for (lsn, index) in (first..).zip(&done.indexes) {
                if let Some(index) = index {
                    // An entry at an index voids all that stood behind it.
                    self.consensus.places.split_off(index);
                    self.consensus.places.insert(*index, lsn);
                }
            }
            self.send_envelopes(done.messages);
            if let Some(output) = done.output {
                self.raft.persisted(output);
            }
            if let Some(index) = done.release_before {
                self.release(index);
            }
        }
    }

    fn release(&mut self, before: u64) {
        self.consensus.places = self.consensus.places.split_off(&before);
        if let Some((_, lsn)) = self.consensus.places.first_key_value() {
            self.out.push(Command::Release { before: *lsn, shrink: !self.has_space() });
        }
    }

    /// Lets go of the log before `keep_from`: a base record and the hard state are written again first, so that what is
    /// let go is never the only copy.
    pub(crate) fn compact_log(&mut self, keep_from: u64) {
        if keep_from <= self.raft.status().first_index || self.divergence.check_pending(self.now.mono) {
            return;
        }
        let first = self.raft.compact(keep_from);
        let Some(term) = self.raft.term_of(first - 1) else { return };
        self.state.change().forget_log_before(LogIndex(first));
        self.log_bytes.forget_before(first);
        let records = vec![LogRecord::Base { index: first - 1, term }, LogRecord::HardState(self.raft.hard_state())];
        self.persist(records, vec![None, None], None, Vec::new(), Some(first));
    }

    fn role_changed(&mut self, role: RaftRole, term: Term) {
        let elected = (role == RaftRole::Leader).then_some(term);
        if elected == self.consensus.elected {
            return;
        }
        if elected.is_some() {
            self.counters.elections_won += 1;
        }
        self.consensus.elected = elected;
        self.consensus.leading = None;
        self.stop_leading();
    }

    /// Only a leader that has applied its own term's first entry knows everything that was ever acknowledged.
    fn lead(&mut self, term: Term) {
        self.consensus.leading = Some(term);
        self.writes.hlc = self.state.last_hlc();
        self.begin_to_lead();
    }

    /// Also when a leader is back in service.
    pub(crate) fn begin_to_lead(&mut self) {
        if self.is_leading() {
            self.consensus.last_notice = self.now.mono;
            self.announce();
            self.start_links();
            self.out.push(Command::Leads(true));
        }
    }

    pub(crate) fn stop_leading(&mut self) {
        self.out.push(Command::Leads(false));
        self.fail_waiting_writes();
        self.fail_parked();
        self.stop_links();
        self.fail_topology_waiters();
    }

    /// Whether this replica may propose.
    pub(crate) fn is_leading(&self) -> bool {
        self.consensus.leading.is_some() && self.out_of_service.is_none() && !self.is_in_doubt()
    }

    pub(crate) fn lead_notice(&self) -> Option<Lead> {
        let term = self.consensus.leading.filter(|_| self.is_leading())?;
        let (members, applied) = (self.membership.members().collect(), self.state.applied());
        Some(Lead { term, members, applied, behavior: self.state.behavior() })
    }

    pub(crate) fn announce(&mut self) {
        let Some(lead) = self.lead_notice() else { return };
        let me = self.me();
        self.directory.led_by(me, &lead);
        for node in self.directory.connected().collect::<Vec<_>>() {
            self.send(node, PeerMessage::Lead(lead.clone()));
        }
    }

    pub(crate) fn tick_consensus(&mut self) {
        if self.now.mono.saturating_sub(self.consensus.last_notice) >= LEAD_NOTICE_EVERY {
            self.consensus.last_notice = self.now.mono;
            self.announce();
        }
        if !self.consensus.caught_up && self.is_member() {
            self.probe();
        }
    }

    /// Asks the group what is committed, until what it said is applied.
    fn probe(&mut self) {
        let now = self.now.mono;
        match self.consensus.probe {
            Some((_, _, Some(index))) => {
                self.consensus.caught_up = self.state.applied() >= index;
                if self.consensus.caught_up {
                    self.state.change().defer_merging(false);
                }
            }
            Some((_, asked, None)) if now.saturating_sub(asked) < PROBE_AGAIN_AFTER => {}
            _ => {
                let context = self.number();
                if self.raft.read_index(context).is_ok() {
                    self.consensus.probe = Some((context, now, None));
                }
            }
        }
    }

    fn apply(&mut self, committed: Vec<RaftEntry>) {
        if committed.is_empty() {
            return;
        }
        for entry in committed {
            if self.out_of_service.is_some() {
                return;
            }
            let (index, term) = (entry.index, entry.term);
            match entry.kind {
                EntryKind::Membership(_) => self.apply_membership(entry),
                EntryKind::TermStart | EntryKind::Payload => self.apply_entry(&entry),
            }
            if self.out_of_service.is_some() && self.state.applied().0 < index {
                // It is not applied, and stays in the log for a release that knows it.
                return;
            }
            self.counters.entries_applied += 1;
            self.raft.applied(index);
            if self.consensus.elected == Some(Term(term)) && self.consensus.leading.is_none() {
                self.lead(Term(term));
            }
        }
        self.entries_applied();
        self.statements_applied();
        self.serve_tails();
        self.recheck_reads();
        self.recheck_parked();
    }

    fn apply_entry(&mut self, raw: &RaftEntry) {
        let index = LogIndex(raw.index);
        // Committed by a group of which one member does not understand it: only that member must stop.
        let entry = match crate::log_entry::decode(raw) {
            Ok(entry) => entry,
            Err(DecodeError::VersionUnknown(unknown)) => return self.stop_before(index, unknown),
            Err(fault) => return self.leave_service(format!("log entry {index}: {fault}")),
        };
        let applied = self.state.change().apply(index, &entry);
        if let (Some((at, hash)), true) = (applied.checksum, self.is_leading()) {
            // Refused only when the leadership is lost, and then the next leader compares.
            let _ = self.raft.propose(Entry::Checksum { at, hash }.encode());
        }
        match applied.outcome {
            Outcome::VersionUnknown(unknown) => self.stop_before(index, unknown),
            Outcome::ChecksumDiffers { .. } | Outcome::ChecksumHeld => self.checksum_applied(&entry),
            outcome => self.fulfil(&entry, outcome),
        }
    }

    /// An entry needs a later release. It is not damage: log and state stay, and that release goes on from here.
    fn stop_before(&mut self, index: LogIndex, unknown: VersionUnknown) {
        self.leave_service(format!("VersionUnknown: log entry {index}: {unknown}"));
    }

    /// Takes this replica out of service for good: what it holds cannot be trusted, or not understood.
    pub(crate) fn leave_service(&mut self, reason: String) {
        if self.out_of_service.is_none() {
            self.out_of_service = Some(reason.clone());
            self.consensus.leading = None;
            self.stop_leading();
            self.out.push(Command::OutOfService(reason));
        }
    }
}

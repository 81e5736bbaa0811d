//! Applying committed entries: only here does the state change by what a group agreed on.

use meridian_model::{Hlc, LogIndex, Term, VersionUnknown};
use meridian_raft::{Entry as RaftEntry, EntryKind};
use meridian_replication::follower;
use meridian_shard::{DecodeError, Entry, Outcome, RemoteBatch};

use super::Replica;
use crate::context::Ctx;
use crate::effect::Effect;
use crate::{Command, Traced, consensus, divergence, membership, versions, writes};

impl Replica {
    pub(super) fn apply(&mut self, committed: Vec<RaftEntry>) {
        for entry in committed {
            if self.out_of_service.is_some() {
                return;
            }
            let (index, term) = (entry.index, Term(entry.term));
            match entry.kind {
                EntryKind::Membership(_) => part!(self, membership, membership::Event::Committed(entry)),
                EntryKind::TermStart | EntryKind::Payload => self.apply_entry(&entry),
            }
            if self.out_of_service.is_some() && self.state.applied().0 < index {
                // It is not applied, and stays in the log for a release that knows it.
                return;
            }
            self.counters.entries_applied += 1;
            self.raft.applied(index);
            if self.consensus.begins(term) {
                part!(self, consensus, consensus::Event::TermBegun(term));
            }
        }
        part!(self, divergence, divergence::Event::Applied);
        self.statements_applied();
        self.serve_news();
        self.recheck_reads();
        self.recheck_parked();
    }

    fn apply_entry(&mut self, raw: &RaftEntry) {
        let index = LogIndex(raw.index);
        // Committed by a group of which one member does not understand it: only that member must stop.
        let entry = match crate::log_entry::decode(raw) {
            Ok(entry) => entry,
            Err(DecodeError::VersionUnknown(unknown)) => return self.stop_before(index, unknown),
            Err(fault) => return self.perform(Effect::LeaveService(format!("log entry {index}: {fault}"))),
        };
        let applied = self.state.change().apply(index, &entry);
        if let (Some((at, hash)), true) = (applied.checksum, self.is_leading()) {
            // Refused only when the leadership is lost, and then the next leader compares.
            let _ = self.raft.propose(Entry::Checksum { at, hash }.encode());
        }
        match applied.outcome {
            Outcome::VersionUnknown(unknown) => self.stop_before(index, unknown),
            Outcome::ChecksumDiffers { .. } | Outcome::ChecksumHeld => {
                if let Entry::Checksum { at, hash } = entry {
                    part!(self, divergence, divergence::Event::ChecksumApplied { at, hash });
                }
            }
            outcome => self.fulfil(&entry, outcome),
        }
    }

    /// Tells the part that an entry came from what became of it.
    fn fulfil(&mut self, entry: &Entry, outcome: Outcome) {
        match entry {
            Entry::Write(_) | Entry::ConditionalWrite(_) => part!(self, writes, writes::Event::Applied(outcome)),
            Entry::RemoteBatch(batch) => {
                self.tell_merged(batch, &outcome);
                self.follow(follower::Event::BatchApplied(&batch.origin, &outcome));
            }
            Entry::Seed { origin, .. } => self.follow(follower::Event::SeedApplied(origin, &outcome)),
            Entry::Links(_) => {
                let changed = outcome == Outcome::LinksChanged;
                part!(self, membership, membership::Event::LinksApplied { changed });
            }
            Entry::Version(_) | Entry::Publish(_) => {
                part!(self, versions, versions::Event::Applied(outcome));
                self.announce();
            }
            _ => {}
        }
    }

    /// Says what of another region took effect here; which requests it goes back to, one replica of the shard says.
    fn tell_merged(&mut self, batch: &RemoteBatch, outcome: &Outcome) {
        let Outcome::Merged(merged) = outcome else { return };
        let known = merged.position.seq.0.saturating_sub(merged.advanced);
        let new = batch.deltas.iter().filter(|delta| delta.seq.0 > known);
        let committed_at: Vec<Hlc> = new.clone().map(|delta| delta.committed_at).collect();
        if !committed_at.is_empty() {
            self.out.push(Command::Merged { origin: batch.origin.clone(), committed_at });
        }
        let traced: Vec<Traced> = new
            .filter_map(|delta| {
                let (trace, committed_at) = (delta.trace?, delta.committed_at);
                Some(Traced { trace, origin: batch.origin.clone(), seq: delta.seq, committed_at })
            })
            .collect();
        if self.is_leading() && !traced.is_empty() {
            self.out.push(Command::Traced(traced));
        }
    }

    /// An entry needs a later release. It is not damage: log and state stay, and that release goes on from here.
    fn stop_before(&mut self, index: LogIndex, unknown: VersionUnknown) {
        self.perform(Effect::LeaveService(format!("VersionUnknown: log entry {index}: {unknown}")));
    }
}

//! Applies committed entries: the only place where agreed entries change the state.

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
                // The entry is not applied; it stays in the log for a release that supports it.
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
        // A committed entry that only this member cannot decode: only this member must stop.
        let entry = match crate::log_entry::decode(raw) {
            Ok(entry) => entry,
            Err(DecodeError::VersionUnknown(unknown)) => return self.stop_before(index, unknown),
            Err(fault) => return self.perform(Effect::LeaveService(format!("log entry {index}: {fault}"))),
        };
        let applied = self.state.change().apply(index, &entry);
        if let (Some((at, hash)), true) = (applied.checksum, self.is_leading()) {
            // Fails only if the leadership is lost; the next leader then compares.
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

    /// Reports the outcome of an entry to the part that proposed it.
    fn fulfil(&mut self, entry: &Entry, outcome: Outcome) {
        match entry {
            Entry::Write(_) | Entry::ConditionalWrite(_) => part!(self, writes, writes::Event::Applied(outcome)),
            Entry::RemoteBatch(batch) => {
                self.report_merged(batch, &outcome);
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

    /// Reports the changes of another region that took effect. Only the leader reports traced ones, so that each is
    /// exported once per shard.
    fn report_merged(&mut self, batch: &RemoteBatch, outcome: &Outcome) {
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

    /// Stops before an entry that needs a later release. This is not damage: log and state stay, and that release
    /// continues from here.
    fn stop_before(&mut self, index: LogIndex, unknown: VersionUnknown) {
        self.perform(Effect::LeaveService(format!("VersionUnknown: log entry {index}: {unknown}")));
    }
}

//! Batches of records being persisted, and the log sequence number of each log entry.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use meridian_model::LogIndex;
use meridian_raft::{Envelope, Output};

use super::send;
use crate::context::Ctx;
use crate::effect::Effect;
use crate::injection::InjectedBug;
use crate::{Command, LogRecord};

/// Writes and releases the log.
#[derive(Debug, Default)]
pub(super) struct LogWriter {
    /// Batches that are not durable yet, oldest first.
    waiting: VecDeque<Batch>,
    /// Log index of each entry → log sequence number of its record, once it is durable.
    places: BTreeMap<u64, u64>,
}

/// Records written together, and the actions once they are durable.
#[derive(Debug, Default)]
struct Batch {
    number: u64,
    /// Output number of the library; `None` for a base record.
    output: Option<u64>,
    /// Number of records before the entries.
    skipped: u64,
    /// Log index of the first entry; the others follow it.
    first_entry: u64,
    entries: u64,
    /// Messages sent once the batch is durable.
    messages: Vec<Envelope>,
    /// Log index before which the log is released once the batch is durable.
    release_before: Option<u64>,
    /// Time of the write.
    since: Duration,
}

impl LogWriter {
    pub(super) fn with_places(places: Vec<(u64, u64)>) -> Self {
        Self { places: places.into_iter().collect(), ..Self::default() }
    }

    pub(super) fn oldest_fsync(&self, now: Duration) -> Duration {
        self.waiting.front().map_or(Duration::ZERO, |oldest| now.saturating_sub(oldest.since))
    }

    pub(super) fn forget_places(&mut self) {
        self.places.clear();
    }

    /// Persists the records of an output.
    pub(super) fn write(&mut self, cx: &mut Ctx<'_>, output: Output) {
        // The hard state is written last: if it is torn off, no other record is lost, whereas a commit index written
        // before its entries would make a torn tail look like a lost log.
        let mut records = Vec::new();
        records.extend(output.snapshot.map(|base| LogRecord::Base { index: base.index, term: base.term }));
        let (skipped, entries) = (records.len() as u64, output.entries.len() as u64);
        let first_entry = output.entries.first().map_or(0, |entry| entry.index);
        for entry in &output.entries {
            cx.log_bytes.push(entry.index, entry.payload.len());
        }
        records.extend(output.entries.into_iter().map(LogRecord::Entry));
        records.extend(output.hard_state.map(LogRecord::HardState));
        let mut batch = Batch { skipped, first_entry, entries, since: cx.now.mono, ..Batch::default() };
        let early = cx.settings.injects(InjectedBug::AckBeforeFsync);
        if early || (records.is_empty() && self.waiting.is_empty()) {
            if !records.is_empty() {
                self.persist(cx, &records, batch);
            }
            send(cx, output.messages_after_persist);
            cx.raft.persisted(output.number);
            return;
        }
        (batch.output, batch.messages) = (Some(output.number), output.messages_after_persist);
        if records.is_empty() {
            // Without records the messages may still depend on a batch in flight: a duplicate append is acknowledged
            // only once its first copy is durable.
            batch.number = self.waiting.back().map_or(0, |last| last.number);
            self.waiting.push_back(batch);
        } else {
            self.persist(cx, &records, batch);
        }
    }

    fn persist(&mut self, cx: &mut Ctx<'_>, records: &[LogRecord], batch: Batch) {
        let number = cx.numbers.allocate();
        self.waiting.push_back(Batch { number, ..batch });
        cx.command(Command::Persist { number, records: records.iter().map(LogRecord::encode).collect() });
    }

    /// The batch `number` and all earlier batches are durable.
    pub(super) fn persisted(&mut self, cx: &mut Ctx<'_>, number: u64, first: u64) {
        while let Some(done) = self.waiting.pop_front_if(|batch| batch.number <= number) {
            if done.entries > 0 {
                // An entry voids all later entries.
                self.places.split_off(&done.first_entry);
                let lsn = first + done.skipped;
                self.places.extend((done.first_entry..).zip(lsn..lsn + done.entries));
            }
            send(cx, done.messages);
            if let Some(output) = done.output {
                cx.raft.persisted(output);
            }
            if let Some(before) = done.release_before {
                self.release(cx, before);
            }
        }
    }

    fn release(&mut self, cx: &mut Ctx<'_>, before: u64) {
        self.places = self.places.split_off(&before);
        if let Some((_, lsn)) = self.places.first_key_value() {
            cx.command(Command::Release { before: *lsn, shrink: !cx.facts.has_space });
        }
    }

    /// Releases the log before `keep_from`.
    pub(super) fn compact(&mut self, cx: &mut Ctx<'_>, keep_from: u64) {
        if keep_from <= cx.raft.first_index() {
            return;
        }
        let first = cx.raft.compact(keep_from);
        let Some(term) = cx.raft.term_of(first - 1) else { return };
        cx.effects.push(Effect::ForgetLogBefore(LogIndex(first)));
        cx.log_bytes.forget_before(first);
        self.write_again(cx, LogRecord::Base { index: first - 1, term }, Some(first));
    }

    /// Writes a base record and the hard state, so that the released log is never their only copy.
    pub(super) fn write_again(&mut self, cx: &mut Ctx<'_>, base: LogRecord, release_before: Option<u64>) {
        let records = [base, LogRecord::HardState(cx.raft.hard_state())];
        self.persist(cx, &records, Batch { release_before, since: cx.now.mono, ..Batch::default() });
    }
}

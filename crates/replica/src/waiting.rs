//! Calls of the operator that are answered once their entry is applied.

use std::collections::BTreeMap;
use std::time::Duration;

use meridian_model::LogIndex;
use meridian_proto::topology::TopologyAnswer;

use crate::Command;
use crate::context::Ctx;

/// Time after which a call with an uncommitted entry is refused; the operator checks the status and retries.
pub(crate) const COMMIT_TIMEOUT: Duration = Duration::from_secs(10);

/// Reason of refusals when the disk is full.
pub(crate) const DISK_FULL: &str = "the leader's disk is full, and so is the log's reserve on it";

/// Calls by the index of their entry: ticket and start of the wait.
#[derive(Debug, Default)]
pub(crate) struct WaitingCalls(BTreeMap<u64, (u64, Duration)>);

impl WaitingCalls {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn add(&mut self, cx: &Ctx<'_>, ticket: u64, index: u64) {
        self.0.insert(index, (ticket, cx.now.mono));
    }

    /// Answers the call whose entry at `index` is applied.
    pub(crate) fn answer(&mut self, cx: &mut Ctx<'_>, index: LogIndex, answer: TopologyAnswer) {
        if let Some((ticket, _)) = self.0.remove(&index.0) {
            cx.command(Command::TopologyReply { ticket, answer });
        }
    }

    /// Answers all calls: this replica no longer leads and cannot decide which entries will be committed.
    pub(crate) fn leadership_lost(&mut self, cx: &mut Ctx<'_>) {
        for (ticket, _) in std::mem::take(&mut self.0).into_values() {
            let answer = TopologyAnswer::NotLeader { leader: None };
            cx.command(Command::TopologyReply { ticket, answer });
        }
    }

    /// Refuses the calls whose entries are not committed in time.
    pub(crate) fn give_up_late(&mut self, cx: &mut Ctx<'_>) {
        let now = cx.now.mono;
        for (_, (ticket, _)) in self.0.extract_if(.., |_, (_, since)| now.saturating_sub(*since) >= COMMIT_TIMEOUT) {
            let answer = TopologyAnswer::Refused("not committed within 10 s; check the status and retry".into());
            cx.command(Command::TopologyReply { ticket, answer });
        }
    }
}

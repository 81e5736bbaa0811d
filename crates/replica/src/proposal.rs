//! Checks behavior versions of proposals: an entry needs a version finalized by the group, and a replicated write one
//! published by every region.

use meridian_model::BehaviorVersion;
use meridian_raft::{ProposeError, Proposed, Raft};
use meridian_shard::{Entry, State};

use crate::Settings;
use crate::injection::InjectedBug;

/// Reason why an entry was not proposed; nothing changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ProposalError {
    /// The consensus library rejected the entry.
    #[error(transparent)]
    Raft(#[from] ProposeError),
    /// The group has not finalized the version that the entry needs.
    #[error(
        "the request needs behavior version {needs}; this shard has finalized {finalized}: \
         run \"meridian upgrade finalize <cluster>\""
    )]
    NotFinalized {
        /// The version that the entry needs.
        needs: BehaviorVersion,
        /// The version that the group has finalized.
        finalized: BehaviorVersion,
    },
    /// The deltas of the entry need a version that some region may not have finalized.
    #[error("the write needs behavior version {needs} in every region; this shard has published {published}")]
    NotPublished {
        /// The version that the entry needs.
        needs: BehaviorVersion,
        /// The version that all regions have finalized.
        published: BehaviorVersion,
    },
}

/// Proposes an entry on the leader.
///
/// # Errors
/// If the version is not finalized or, for a local write, not published, and the errors of [`Raft::propose`].
pub(crate) fn propose(
    raft: &mut Raft,
    state: &State,
    settings: &Settings,
    entry: &Entry,
) -> Result<Proposed, ProposalError> {
    let (needs, finalized, published) = (entry.needs(), state.behavior(), state.published());
    if needs > finalized {
        return Err(ProposalError::NotFinalized { needs, finalized });
    }
    let has_deltas = matches!(entry, Entry::Write(_) | Entry::ConditionalWrite(_));
    if has_deltas && needs > published && !settings.injects(InjectedBug::PublishUnchecked) {
        return Err(ProposalError::NotPublished { needs, published });
    }
    Ok(raft.propose(entry.encode())?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Bench;
    use meridian_model::{
        CollectionUid, Hlc, LogIndex, Op, Payload, PlayedRelease, PointId, PrimaryTerm, RequestIndexes, TableVersion,
        Vectors, WriteId,
    };
    use meridian_shard::Write;

    #[test]
    fn an_entry_waits_for_its_version_and_a_write_for_every_region() {
        let next = BehaviorVersion(2);
        let _next = PlayedRelease::knowing(next);
        let mut bench = Bench::new();
        bench.lead();
        let payload = Payload(r#"{"meridian.next":1}"#.into());
        let (collection, point) = (CollectionUid(1), PointId::Num(1));
        let write = Entry::Write(Write {
            id: WriteId(1),
            part: 0,
            table: TableVersion(1),
            term: PrimaryTerm(1),
            sent_at: LogIndex(1),
            ops: vec![Op::Upsert { collection, point, vectors: Vectors::new(), payload }],
            indexes: RequestIndexes::default(),
            hlc: Hlc(1),
            trace: None,
        });
        let mut step = |entry: &Entry| {
            let proposed = propose(&mut bench.raft, &bench.state, &bench.settings, entry).map(drop);
            bench.drive();
            proposed
        };
        let first = BehaviorVersion::FIRST;
        assert_eq!(step(&write), Err(ProposalError::NotFinalized { needs: next, finalized: first }));
        assert_eq!(step(&Entry::Publish(next)), Err(ProposalError::NotFinalized { needs: next, finalized: first }));
        assert_eq!(step(&Entry::Version(next)), Ok(()));
        assert_eq!(step(&write), Err(ProposalError::NotPublished { needs: next, published: first }));
        assert_eq!(step(&Entry::Publish(next)), Ok(()));
        assert_eq!(step(&write), Ok(()));
    }
}

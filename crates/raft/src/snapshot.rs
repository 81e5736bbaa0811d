use crate::members::Members;
use bytes::Bytes;
use raft::eraftpb;

/// A state that replaces the log up to `index`: what a leader offers a follower that lags behind the leader's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The last entry it holds.
    pub index: u64,
    /// That entry's term.
    pub term: u64,
    /// The group at that index.
    pub members: Members,
    /// What to fetch, from whom: opaque here.
    pub manifest: Bytes,
}

impl Snapshot {
    pub(crate) fn to_raft(&self) -> eraftpb::Snapshot {
        let metadata = eraftpb::SnapshotMetadata {
            conf_state: Some(self.members.to_raft()).into(),
            index: self.index,
            term: self.term,
            ..Default::default()
        };
        eraftpb::Snapshot { data: self.manifest.clone(), metadata: Some(metadata).into(), ..Default::default() }
    }

    pub(crate) fn from_raft(snapshot: &eraftpb::Snapshot) -> Self {
        let metadata = snapshot.get_metadata();
        Self {
            index: metadata.index,
            term: metadata.term,
            members: Members::from_raft(metadata.get_conf_state()),
            manifest: snapshot.data.clone(),
        }
    }
}

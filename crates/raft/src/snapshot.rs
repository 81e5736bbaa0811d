use crate::members::Members;
use bytes::Bytes;
use raft::eraftpb;

/// A state that replaces the log up to `index`; the leader offers it to followers that need earlier entries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Index of the last entry that it contains.
    pub index: u64,
    /// Term of that entry.
    pub term: u64,
    /// Members as of that index.
    pub members: Members,
    /// Describes the files to fetch; opaque to this crate.
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

use crate::codec::{DecodeError, Reader, put_u64};
use bytes::Bytes;
use raft::eraftpb;

const VERSION: u8 = 1;

/// One log entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Log index, from 1, without gaps.
    pub index: u64,
    /// Term of the leader that appended it.
    pub term: u64,
    /// Kind.
    pub kind: EntryKind,
    /// The proposed payload, or the context of a membership change; opaque to this crate.
    pub payload: Bytes,
}

/// Kind of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// The empty entry that a new leader appends; applying it only advances the applied index.
    TermStart,
    /// A proposed payload.
    Payload,
    /// A membership change; pass it to [`crate::Raft::apply_membership`] in its turn.
    Membership(Change),
}

/// A membership change of one member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Adds a non-voting member.
    AddLearner(u64),
    /// Makes a learner a voter.
    Promote(u64),
    /// Removes a member; its id is never reused.
    Remove(u64),
}

impl Change {
    /// Id of the changed member.
    pub fn member(self) -> u64 {
        match self {
            Self::AddLearner(id) | Self::Promote(id) | Self::Remove(id) => id,
        }
    }

    pub(crate) fn to_raft(self) -> eraftpb::ConfChange {
        let change_type = match self {
            Self::AddLearner(_) => eraftpb::ConfChangeType::AddLearnerNode,
            Self::Promote(_) => eraftpb::ConfChangeType::AddNode,
            Self::Remove(_) => eraftpb::ConfChangeType::RemoveNode,
        };
        eraftpb::ConfChange { change_type, node_id: self.member(), ..Default::default() }
    }
}

impl Entry {
    /// Encodes the entry for the write-ahead log; the first byte is the format version.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(32 + self.payload.len());
        out.push(VERSION);
        self.put(&mut out);
        out
    }

    /// Decodes the output of [`Entry::encode`].
    ///
    /// # Errors
    /// On any other bytes, including those of a newer format version.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        Self::take(&mut Reader::versioned(bytes, VERSION)?)
    }

    /// Looks at the format version of the bytes alone.
    ///
    /// # Errors
    /// When it is not the version of this build.
    pub fn check_version(bytes: &[u8]) -> Result<(), DecodeError> {
        Reader::versioned(bytes, VERSION).map(drop)
    }

    /// Appends the entry without version byte; the payload runs to the end, so the caller stores the length.
    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        let (kind, member) = match self.kind {
            EntryKind::TermStart => (0, None),
            EntryKind::Payload => (1, None),
            EntryKind::Membership(Change::AddLearner(id)) => (2, Some(id)),
            EntryKind::Membership(Change::Promote(id)) => (3, Some(id)),
            EntryKind::Membership(Change::Remove(id)) => (4, Some(id)),
        };
        out.push(kind);
        put_u64(out, self.index);
        put_u64(out, self.term);
        if let Some(id) = member {
            put_u64(out, id);
        }
        out.extend_from_slice(&self.payload);
    }

    pub(crate) fn take(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let tag = reader.u8()?;
        let (index, term) = (reader.u64()?, reader.u64()?);
        let kind = match tag {
            0 => EntryKind::TermStart,
            1 => EntryKind::Payload,
            2 => EntryKind::Membership(Change::AddLearner(reader.u64()?)),
            3 => EntryKind::Membership(Change::Promote(reader.u64()?)),
            4 => EntryKind::Membership(Change::Remove(reader.u64()?)),
            found => return Err(DecodeError::UnknownTag { what: "entry kind", found }),
        };
        let payload = reader.rest();
        match kind {
            EntryKind::TermStart if !payload.is_empty() => {
                return Err(DecodeError::Invalid("a term start must have no payload"));
            }
            EntryKind::Payload if payload.is_empty() => {
                return Err(DecodeError::Invalid("a payload entry must have a payload"));
            }
            EntryKind::Membership(change) if change.member() == 0 => {
                return Err(DecodeError::Invalid("the id of a changed member must not be 0"));
            }
            _ => {}
        }
        Ok(Self { index, term, kind, payload })
    }

    /// raft-rs gets a membership change in the entry's `context`, in our encoding; its `data` is read only by the
    /// proposing leader.
    pub(crate) fn into_raft(self) -> eraftpb::Entry {
        let mut entry = eraftpb::Entry { index: self.index, term: self.term, ..Default::default() };
        match self.kind {
            EntryKind::TermStart => {}
            EntryKind::Payload => entry.data = self.payload,
            EntryKind::Membership(change) => {
                entry.entry_type = eraftpb::EntryType::EntryConfChange;
                entry.context = membership_context(change, &self.payload);
            }
        }
        entry
    }

    pub(crate) fn from_raft(entry: eraftpb::Entry) -> Self {
        let (index, term) = (entry.index, entry.term);
        if entry.entry_type != eraftpb::EntryType::EntryNormal {
            // The context is an encoded entry without index and term; they are those of this entry.
            let inner = Self::take(&mut Reader::versioned(&entry.context, VERSION).expect("proposed by us"))
                .expect("a membership entry is decoded or proposed by us before the library sees it");
            return Self { index, term, ..inner };
        }
        let kind = if entry.data.is_empty() { EntryKind::TermStart } else { EntryKind::Payload };
        Self { index, term, kind, payload: entry.data }
    }
}

/// The context of a membership change: an encoded entry with index and term 0.
pub(crate) fn membership_context(change: Change, context: &Bytes) -> Bytes {
    Entry { index: 0, term: 0, kind: EntryKind::Membership(change), payload: context.clone() }.encode().into()
}

#[cfg(test)]
mod tests;

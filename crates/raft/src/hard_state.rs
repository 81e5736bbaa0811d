use crate::codec::{DecodeError, Reader, put_u64};
use raft::eraftpb;

const VERSION: u8 = 1;

/// Durable state that prevents a second vote in a term (Raft, section 5.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HardState {
    /// Newest term seen.
    pub term: u64,
    /// Replica that got this replica's vote in that term; 0 is none.
    pub vote: u64,
    /// Newest index known to be committed; may lag behind.
    pub commit: u64,
}

impl HardState {
    /// Encodes the state for the write-ahead log; the first byte is the format version.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(25);
        out.push(VERSION);
        put_u64(&mut out, self.term);
        put_u64(&mut out, self.vote);
        put_u64(&mut out, self.commit);
        out
    }

    /// Decodes the output of [`HardState::encode`].
    ///
    /// # Errors
    /// On any other bytes, including those of a newer format version.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::versioned(bytes, VERSION)?;
        let state = Self { term: reader.u64()?, vote: reader.u64()?, commit: reader.u64()? };
        reader.end()?;
        Ok(state)
    }

    pub(crate) fn to_raft(self) -> eraftpb::HardState {
        eraftpb::HardState { term: self.term, vote: self.vote, commit: self.commit, ..Default::default() }
    }

    pub(crate) fn from_raft(state: &eraftpb::HardState) -> Self {
        Self { term: state.term, vote: state.vote, commit: state.commit }
    }
}

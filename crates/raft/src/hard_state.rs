use crate::codec::{DecodeError, Reader, put_u64};
use raft::eraftpb;

const VERSION: u8 = 1;

/// What a replica must remember to never vote twice in a term.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HardState {
    /// The newest term seen.
    pub term: u64,
    /// Whom this replica voted for in that term; 0 is nobody.
    pub vote: u64,
    /// The newest index known to be committed; may lag behind the truth.
    pub commit: u64,
}

impl HardState {
    /// The bytes for the write-ahead log, format version first.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(25);
        out.push(VERSION);
        put_u64(&mut out, self.term);
        put_u64(&mut out, self.vote);
        put_u64(&mut out, self.commit);
        out
    }

    /// Undoes [`HardState::encode`].
    ///
    /// # Errors
    /// On bytes that `encode` never made, among them those of a later format version.
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

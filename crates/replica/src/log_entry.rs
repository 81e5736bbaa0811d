//! The entries of the shard in those of the log.

use meridian_raft::{Entry as RaftEntry, EntryKind};
use meridian_shard::{DecodeError, Entry};

/// The entry that stands in the log; the first of a term carries nothing.
pub(crate) fn decode(raw: &RaftEntry) -> Result<Entry, DecodeError> {
    if raw.kind == EntryKind::Payload { Entry::decode(&raw.payload) } else { Ok(Entry::Noop) }
}

//! Decodes shard entries from log entries.

use meridian_raft::{Entry as RaftEntry, EntryKind};
use meridian_shard::{DecodeError, Entry};

/// Decodes the shard entry of a log entry; the first entry of a term is a no-op.
pub(crate) fn decode(raw: &RaftEntry) -> Result<Entry, DecodeError> {
    if raw.kind == EntryKind::Payload { Entry::decode(&raw.payload) } else { Ok(Entry::Noop) }
}

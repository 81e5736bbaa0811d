//! Encoding of Raft messages. Decoding validates everything that raft-rs would panic on.

use crate::codec::{DecodeError, Reader, put_blob, put_ids, put_len, put_u64};
use crate::entry::Entry;
use crate::members::Members;
use crate::snapshot::Snapshot;
use bytes::Bytes;
use raft::eraftpb::{self, Message, MessageType};

const VERSION: u8 = 1;

/// Limit of pending read indexes on a leader, about 200 bytes each; more are refused.
pub const MAX_READ_CONTEXTS: usize = 4096;

/// Tag bytes of the message kinds that are sent. Proposals and transfer requests are not: the replica forwards writes
/// itself.
const KINDS: [(u8, MessageType); 12] = [
    (1, MessageType::MsgAppend),
    (2, MessageType::MsgAppendResponse),
    (3, MessageType::MsgRequestVote),
    (4, MessageType::MsgRequestVoteResponse),
    (5, MessageType::MsgRequestPreVote),
    (6, MessageType::MsgRequestPreVoteResponse),
    (7, MessageType::MsgHeartbeat),
    (8, MessageType::MsgHeartbeatResponse),
    (9, MessageType::MsgSnapshot),
    (10, MessageType::MsgTimeoutNow),
    (11, MessageType::MsgReadIndex),
    (12, MessageType::MsgReadIndexResp),
];

/// Identity of a read index request: replica, incarnation, number. raft-rs requires it to be unique in the group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ReadContext {
    pub(crate) id: u64,
    pub(crate) incarnation: u64,
    pub(crate) context: u64,
}

impl ReadContext {
    pub(crate) fn encode(self) -> Vec<u8> {
        let mut out = Vec::with_capacity(24);
        put_u64(&mut out, self.id);
        put_u64(&mut out, self.incarnation);
        put_u64(&mut out, self.context);
        out
    }

    pub(crate) fn decode(mut bytes: &[u8]) -> Option<Self> {
        let mut next = || bytes.split_off(..8)?.try_into().ok().map(u64::from_le_bytes);
        let read = Self { id: next()?, incarnation: next()?, context: next()? };
        bytes.is_empty().then_some(read)
    }
}

/// Whether a message is an append with entries; false for bytes that are not a message.
#[must_use]
pub fn carries_entries(bytes: &[u8]) -> bool {
    decode(bytes).is_ok_and(|message| message.msg_type == MessageType::MsgAppend && !message.entries.is_empty())
}

/// A message without the number of the read that it carries, and that number with the replica that gave it. For traces that
/// must not depend on numbers; bytes that are no message carry none.
#[must_use]
pub fn split_read_number(bytes: &[u8]) -> (&[u8], Option<(u64, u64)>) {
    let read = decode(bytes).ok().and_then(|message| match message.msg_type {
        MessageType::MsgReadIndex | MessageType::MsgReadIndexResp => {
            ReadContext::decode(&message.entries.first()?.data)
        }
        MessageType::MsgHeartbeat | MessageType::MsgHeartbeatResponse => ReadContext::decode(&message.context),
        _ => None,
    });
    match read {
        // The context is the end of the message, and the number that of the context.
        Some(read) => (&bytes[..bytes.len() - 8], Some((read.id, read.context))),
        None => (bytes, None),
    }
}

/// Encodes a message; `None` for a kind that is never sent.
pub(crate) fn encode(message: &Message) -> Option<Vec<u8>> {
    let (tag, _) = KINDS.iter().find(|(_, kind)| *kind == message.msg_type)?;
    let payload: usize = message.entries.iter().map(|entry| entry.data.len() + entry.context.len() + 40).sum();
    let mut out = Vec::with_capacity(96 + message.context.len() + payload);
    out.extend_from_slice(&[VERSION, *tag, u8::from(message.reject)]);
    for number in [
        message.to,
        message.from,
        message.term,
        message.log_term,
        message.index,
        message.commit,
        message.commit_term,
        message.reject_hint,
    ] {
        put_u64(&mut out, number);
    }
    match message.msg_type {
        MessageType::MsgAppend => {
            put_len(&mut out, message.entries.len());
            for entry in message.entries.iter() {
                let start = out.len();
                put_len(&mut out, 0);
                Entry::from_raft(entry.clone()).put(&mut out);
                let len = u32::try_from(out.len() - start - 4).expect("proposals are smaller than 4 GiB");
                out[start..start + 4].copy_from_slice(&len.to_le_bytes());
            }
        }
        MessageType::MsgSnapshot => {
            let snapshot = Snapshot::from_raft(message.get_snapshot());
            put_u64(&mut out, snapshot.index);
            put_u64(&mut out, snapshot.term);
            put_ids(&mut out, &Vec::from_iter(snapshot.members.voters));
            put_ids(&mut out, &Vec::from_iter(snapshot.members.learners));
            put_blob(&mut out, &snapshot.manifest);
        }
        MessageType::MsgReadIndex | MessageType::MsgReadIndexResp => put_blob(&mut out, &message.entries.first()?.data),
        _ => put_blob(&mut out, &message.context),
    }
    Some(out)
}

/// Decodes the output of [`encode`]. The result is well formed, but may be from a faulty sender.
pub(crate) fn decode(bytes: &[u8]) -> Result<Message, DecodeError> {
    let mut reader = Reader::versioned(bytes, VERSION)?;
    let found = reader.u8()?;
    let unknown = DecodeError::UnknownTag { what: "message kind", found };
    let (_, msg_type) = KINDS.iter().find(|(tag, _)| *tag == found).ok_or(unknown)?;
    let reject = match reader.u8()? {
        0 => false,
        1 => true,
        found => return Err(DecodeError::UnknownTag { what: "rejection", found }),
    };
    let mut message = Message {
        msg_type: *msg_type,
        reject,
        to: reader.u64()?,
        from: reader.u64()?,
        term: reader.u64()?,
        log_term: reader.u64()?,
        index: reader.u64()?,
        commit: reader.u64()?,
        commit_term: reader.u64()?,
        reject_hint: reader.u64()?,
        ..Default::default()
    };
    let has_no_term = *msg_type == MessageType::MsgReadIndex;
    if message.from == 0 || (message.term == 0) != has_no_term {
        return Err(DecodeError::Invalid("a message must have a sender, and term 0 only as a read index request"));
    }
    // raft-rs adds one to received indexes and terms; real ones never come near the limit.
    let numbers = [message.term, message.log_term, message.index, message.commit, message.reject_hint];
    if numbers.iter().any(|number| *number >= u64::MAX / 2) {
        return Err(DecodeError::Invalid("indexes and terms must be below 2^63"));
    }
    match msg_type {
        MessageType::MsgAppend => message.entries = entries(&mut reader, &message)?.into(),
        MessageType::MsgSnapshot => message.snapshot = Some(snapshot(&mut reader, &message)?.to_raft()).into(),
        MessageType::MsgReadIndex | MessageType::MsgReadIndexResp => {
            let data = Bytes::copy_from_slice(reader.blob()?);
            ReadContext::decode(&data).ok_or(DecodeError::Invalid("a read context must be 24 bytes"))?;
            message.entries = vec![eraftpb::Entry { data, ..Default::default() }].into();
        }
        _ => message.context = Bytes::copy_from_slice(reader.blob()?),
    }
    reader.end()?;
    Ok(message)
}

fn entries(reader: &mut Reader<'_>, message: &Message) -> Result<Vec<eraftpb::Entry>, DecodeError> {
    if (message.index == 0) != (message.log_term == 0) {
        // raft-rs uses term 0 for any index beyond its log, and would append there.
        return Err(DecodeError::Invalid("an append must follow an entry of a term > 0"));
    }
    let mut entries = Vec::new();
    let mut before = (message.index, message.log_term);
    for _ in 0..reader.u32()? {
        let entry = Entry::take(&mut Reader::unversioned(reader.blob()?))?;
        if entry.index != before.0 + 1 || entry.term < before.1.max(1) || entry.term > message.term {
            return Err(DecodeError::Invalid("entries must have consecutive indexes and non-decreasing terms"));
        }
        before = (entry.index, entry.term);
        entries.push(entry.into_raft());
    }
    Ok(entries)
}

fn snapshot(reader: &mut Reader<'_>, message: &Message) -> Result<Snapshot, DecodeError> {
    let (index, term) = (reader.u64()?, reader.u64()?);
    let members =
        Members { voters: reader.ids()?.into_iter().collect(), learners: reader.ids()?.into_iter().collect() };
    let manifest = Bytes::copy_from_slice(reader.blob()?);
    let possible = (1..u64::MAX / 2).contains(&index) && (1..=message.term).contains(&term) && members.is_valid();
    if possible {
        Ok(Snapshot { index, term, members, manifest })
    } else {
        Err(DecodeError::Invalid("a snapshot must have an index, a term and valid members"))
    }
}

#[cfg(test)]
mod tests;

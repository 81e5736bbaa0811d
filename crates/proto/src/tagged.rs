//! Messages as tagged fields: the encoding of proto3, from Rust types, mirrors of the domain's.
//!
//! ```text
//!   message  = *field
//!   field    = key value            key = varint of (tag << 3 | wire type)
//!   value    = varint               numbers, flags, enumerations
//!            | 8 or 4 bytes         fixed64, double; float          little-endian
//!            | length bytes         text, bytes, a message, packed numbers
//! ```
//!
//! Rules for changes:
//! - A tag is never reused and never changes its meaning. The tag of a removed field stays a gap.
//! - Numbers, flags, texts and lists that are absent are 0, false and empty. Messages, ids, hashes, enumerations and whatever
//!   is documented as optional are explicit, so that absence and zero differ. An absent required field is refused by name.
//! - A build skips fields that it does not know. A field or a kind that changes what a request means is added together with a
//!   behavior version: `needs()` of the request returns that version, and builds that do not know it refuse the request before
//!   they read the rest of it.
//! - A choice (`kind`) that is unset is of a kind that this build does not know. In a call it refuses the call, in an answer it
//!   fails the call, elsewhere it makes the message unknown.
//! - Ids are 16 bytes, big-endian; hashes are 32 bytes. A vector is packed `float`s: on the wire the same as `bytes`, which is
//!   what the mirror holds, so that the numbers are copied as a whole.
//!
//! Each message of this folder is documented by its struct: `tag name`. Conversions to the mirror are `From`, those back are
//! `TryFrom` and name the field that is wrong.

mod answers;
mod calls;
mod client;
mod collections;
mod delta_log;
mod fields;
mod frames;
mod hello;
mod ids;
mod points;
mod queries;
mod region;
mod replies;
mod shard_answers;
mod shard_calls;
mod status;
mod topology;

use prost::Message;

use self::fields::Fault;
use crate::frame::{FRAME_FORMAT, Frame, PeerMessage};

/// Encodes format and message.
pub(crate) fn encode(frame: &Frame) -> Vec<u8> {
    // The only frequent message of large opaque bytes is not copied into a mirror.
    if let Frame::Peer(PeerMessage::Raft(bytes)) = frame {
        return frames::encode_raft(bytes);
    }
    let message = frames::Frame::from(frame);
    let mut bytes = Vec::with_capacity(1 + message.encoded_len());
    bytes.push(FRAME_FORMAT);
    message.encode_raw(&mut bytes);
    bytes
}

/// Decodes a message.
pub(crate) fn decode(bytes: &[u8]) -> Result<Frame, String> {
    let message = frames::Frame::decode(bytes).map_err(|fault| fault.to_string())?;
    match Frame::try_from(message) {
        Ok(frame) => Ok(frame),
        Err(Fault::Malformed(why)) => Err(why),
        Err(Fault::Unknown(_) | Fault::Needs(_)) => Ok(Frame::Unknown),
    }
}

/// The mirror of a frame.
#[cfg(test)]
pub(crate) fn mirror(frame: &Frame) -> impl Message {
    frames::Frame::from(frame)
}

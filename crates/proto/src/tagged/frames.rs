//! The outermost message.

use prost::encoding::{self, WireType, encode_key, encode_varint};

use super::calls::{PeerMessage, RAFT_TAG};
use super::fields::{Fault, answer_or, array, call_or, known};
use super::hello::Hello;
use super::region::RegionMessage;
use super::topology::{TopologyAnswer, TopologyAnswerKind, TopologyCall, TopologyCallKind};
use crate::frame::{self, FRAME_FORMAT};
use crate::topology;

/// `1 hello, 2 proof (32 bytes), 3 peer, 4 region, 5 topology, 6 topology_answer, 7 heartbeat`
#[derive(prost::Message)]
pub struct Frame {
    #[prost(oneof = "FrameKind", tags = "1, 2, 3, 4, 5, 6, 7")]
    kind: Option<FrameKind>,
}

/// Tag of [`FrameKind::Peer`].
const PEER_TAG: u32 = 3;

#[derive(prost::Oneof)]
pub enum FrameKind {
    #[prost(message, tag = "1")]
    Hello(Hello),
    #[prost(bytes = "vec", tag = "2")]
    Proof(Vec<u8>),
    #[prost(message, tag = "3")]
    Peer(PeerMessage),
    #[prost(message, tag = "4")]
    Region(RegionMessage),
    #[prost(message, tag = "5")]
    Topology(TopologyCall),
    #[prost(message, tag = "6")]
    TopologyAnswer(TopologyAnswer),
    #[prost(message, tag = "7")]
    Heartbeat(()),
}

/// Encodes the frame of a Raft message.
pub fn encode_raft(raft: &[u8]) -> Vec<u8> {
    const { assert!(PEER_TAG < 16 && RAFT_TAG < 16, "a key is one byte") };
    let inner = 1 + encoding::encoded_len_varint(raft.len() as u64) + raft.len();
    let mut bytes = Vec::with_capacity(2 + encoding::encoded_len_varint(inner as u64) + inner);
    bytes.push(FRAME_FORMAT);
    for (tag, len) in [(PEER_TAG, inner), (RAFT_TAG, raft.len())] {
        encode_key(tag, WireType::LengthDelimited, &mut bytes);
        encode_varint(len as u64, &mut bytes);
    }
    bytes.extend_from_slice(raft);
    bytes
}

impl From<&frame::Frame> for Frame {
    fn from(frame: &frame::Frame) -> Self {
        let kind = match frame {
            frame::Frame::Hello(hello) => FrameKind::Hello(hello.into()),
            frame::Frame::Proof(proof) => FrameKind::Proof(proof.to_vec()),
            frame::Frame::Peer(message) => FrameKind::Peer(message.into()),
            frame::Frame::Region(message) => FrameKind::Region(message.into()),
            frame::Frame::Topology(number, call) => {
                FrameKind::Topology(TopologyCall { number: *number, kind: Some(call.into()) })
            }
            frame::Frame::TopologyUnsupported(number, _) => {
                FrameKind::Topology(TopologyCall { number: *number, kind: None })
            }
            frame::Frame::TopologyAnswer(number, answer) => {
                let kind = Option::<TopologyAnswerKind>::from(answer);
                FrameKind::TopologyAnswer(TopologyAnswer { number: *number, kind })
            }
            frame::Frame::Heartbeat => FrameKind::Heartbeat(()),
            frame::Frame::Unknown => return Self { kind: None },
        };
        Self { kind: Some(kind) }
    }
}

impl TryFrom<Frame> for frame::Frame {
    type Error = Fault;

    fn try_from(frame: Frame) -> Result<Self, Fault> {
        Ok(match known("frame", frame.kind)? {
            FrameKind::Hello(hello) => Self::Hello(hello.try_into()?),
            FrameKind::Proof(proof) => Self::Proof(array("proof", &proof)?),
            FrameKind::Peer(message) => Self::Peer(message.try_into()?),
            FrameKind::Region(message) => Self::Region(message.try_into()?),
            FrameKind::Topology(TopologyCall { number, kind }) => topology_call(number, kind)?,
            FrameKind::TopologyAnswer(TopologyAnswer { number, kind }) => {
                let answer = known("answer", kind).and_then(topology::TopologyAnswer::try_from);
                Self::TopologyAnswer(number, answer_or(answer, topology::TopologyAnswer::Unknown)?)
            }
            FrameKind::Heartbeat(()) => Self::Heartbeat,
        })
    }
}

fn topology_call(number: u64, kind: Option<TopologyCallKind>) -> Result<frame::Frame, Fault> {
    let call = known("topology call", kind).and_then(topology::TopologyCall::try_from);
    let call = call.map(|call| frame::Frame::Topology(number, call));
    call_or(call, |why| frame::Frame::TopologyUnsupported(number, why))
}

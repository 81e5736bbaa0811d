//! No bytes break the decoders of frames and of the deltas in them; what it accepts is decoded again from its own encoding.

use meridian_proto::delta_bytes::DeltaBytes;
use meridian_proto::frame::{FRAME_FORMAT, Frame};
use meridian_proto::topology::TopologyCall;

/// Runs the target; returns whether the bytes are a frame or a delta.
#[must_use]
pub fn run(bytes: &[u8]) -> bool {
    let mut accepted = false;
    // The first bytes are not worth searching for.
    for bytes in [bytes.to_vec(), [&[FRAME_FORMAT], bytes].concat(), [&[1, 1, 0], bytes].concat()] {
        if let Ok(frame) = Frame::decode(&bytes) {
            let written = frame.encode();
            // Compared as bytes: a NaN is not equal to itself.
            assert_eq!(Frame::decode(&written).expect("just written").encode(), written);
            accepted = true;
        }
        if let Ok(delta) = DeltaBytes::from(bytes).decode() {
            let written = DeltaBytes::encode(&delta);
            let again = written.decode().expect("just written");
            assert_eq!(DeltaBytes::encode(&again), written);
            accepted = true;
        }
    }
    accepted
}

/// A heartbeat, a proof, and a call of the operator.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    [Frame::Heartbeat, Frame::Proof([7; 32]), Frame::Topology(3, TopologyCall::Status)]
        .iter()
        .map(Frame::encode)
        .collect()
}

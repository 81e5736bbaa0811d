//! No bytes break the parsers of frames and of the deltas in them, and what they accept is read again from its own encoding.
#![no_main]

use libfuzzer_sys::fuzz_target;
use meridian_proto::delta_bytes::DeltaBytes;
use meridian_proto::frame::{FRAME_FORMAT, Frame};

fuzz_target!(|bytes: &[u8]| {
    // The first bytes are not worth searching for.
    for bytes in [bytes.to_vec(), [&[FRAME_FORMAT], bytes].concat(), [&[1, 1, 0], bytes].concat()] {
        if let Ok(frame) = Frame::decode(&bytes) {
            let written = frame.encode();
            // Compared as bytes: a NaN is not equal to itself.
            assert_eq!(Frame::decode(&written).expect("just written").encode(), written);
        }
        if let Ok(delta) = DeltaBytes::from(bytes).decode() {
            let written = DeltaBytes::encode(&delta);
            let again = written.decode().expect("just written");
            assert_eq!(DeltaBytes::encode(&again), written);
        }
    }
});

//! No bytes break the frame parser, and what it accepts is read again from its own encoding.
#![no_main]

use libfuzzer_sys::fuzz_target;
use meridian_proto::frame::Frame;

fuzz_target!(|bytes: &[u8]| {
    // The version byte is not worth searching for.
    for bytes in [bytes.to_vec(), [&[1], bytes].concat()] {
        if let Ok(frame) = Frame::decode(&bytes) {
            let written = frame.encode();
            // Compared as bytes: a NaN is not equal to itself.
            assert_eq!(Frame::decode(&written).expect("just written").encode(), written);
        }
    }
});

//! No bytes break the manifest parser, and what it accepts encodes to the same bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use meridian_store::{Manifest, SimDisk, read_atomic, write_atomic};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(manifest) = Manifest::decode(bytes) {
        assert_eq!(manifest.encode().expect("it was decoded"), bytes);
    }
    // The checksum hides the parser from a fuzzer: seal the bytes as the body of a manifest too.
    let disk = SimDisk::new();
    write_atomic(&disk, "m", 1, bytes).expect("a sound disk");
    assert_eq!(read_atomic(&disk, "m", 1).expect("just written"), Some((1, bytes.to_vec())));
    if let Ok(manifest) = Manifest::decode_body(bytes) {
        assert_eq!(Manifest::decode(&manifest.encode().expect("it was decoded")).as_ref(), Ok(&manifest));
    }
});

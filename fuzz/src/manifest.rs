//! No bytes break the parser of snapshot manifests, and what it accepts encodes to the same bytes.

use meridian_store::{Manifest, SimDisk, SnapshotId, read_atomic, write_atomic};

/// Runs the target; returns whether the bytes are a manifest.
#[must_use]
pub fn run(bytes: &[u8]) -> bool {
    let decoded = Manifest::decode(bytes);
    if let Ok(manifest) = &decoded {
        assert_eq!(manifest.encode().expect("it was decoded"), bytes);
    }
    // The checksum hides the parser from a fuzzer: seal the bytes as the body of a manifest too.
    let disk = SimDisk::new();
    write_atomic(&disk, "m", 1, bytes).expect("a sound disk");
    assert_eq!(read_atomic(&disk, "m", 1).expect("just written"), Some((1, bytes.to_vec())));
    let body = Manifest::decode_body(bytes);
    if let Ok(manifest) = &body {
        assert_eq!(Manifest::decode(&manifest.encode().expect("it was decoded")).as_ref(), Ok(manifest));
    }
    decoded.is_ok() || body.is_ok()
}

/// A manifest without files.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    let manifest = Manifest { id: SnapshotId(7), meta: b"meta".to_vec(), files: Vec::new() };
    vec![manifest.encode().expect("no names and few bytes")]
}

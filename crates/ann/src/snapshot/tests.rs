use std::ops::Range;
use std::os::unix::fs::FileExt;

use super::*;
use crate::index::Index;
use crate::metric::Metric;
use crate::params::{Config, Kind, SearchParams};
use crate::storage::datatype::Datatype;
use crate::testing::clustered;

/// An index in the middle of a block; that of lists has rounded components.
fn sample(kind: Kind) -> Index {
    let datatype = if matches!(kind, Kind::IvfPq { .. }) { Datatype::Bfloat16 } else { Datatype::Float32 };
    let config = Config { datatype, seed: 3, ..Config::new(5, Metric::Euclid, kind) };
    let mut index = Index::new(config).expect("valid");
    for (slot, vector) in (0..).zip(clustered(1, 400, 5, 4)) {
        index.upsert(slot % 370, &vector).expect("valid");
    }
    (0..40).for_each(|slot| assert!(index.delete(slot)));
    index.merge(400);
    index
}

fn bytes(index: &Index) -> Vec<u8> {
    let mut bytes = Vec::new();
    index.write_to(&mut bytes).expect("memory");
    bytes
}

const KINDS: [Kind; 3] =
    [Kind::Flat, Kind::Hnsw { m: 4, ef_construct: 12 }, Kind::IvfPq { nlist: Some(5), subquantizers: Some(3) }];

#[test]
fn an_index_survives_being_written_and_read() {
    for kind in KINDS {
        let before = sample(kind);
        let written = bytes(&before);
        let mut longer = written.clone();
        longer.extend_from_slice(b"what follows is not touched");
        let mut rest = longer.as_slice();
        let mut after = Index::read_from(&mut rest).expect("our own bytes");
        assert_eq!(rest, b"what follows is not touched");
        assert_eq!(bytes(&after), written);
        assert_eq!((after.len(), after.pending(), after.config()), (before.len(), before.pending(), before.config()));
        for exact in [true, false] {
            let ask = |index: &Index| {
                index.search(&[0.5; 5], 20, &SearchParams { ef: Some(20), exact, ..SearchParams::default() }, None)
            };
            assert_eq!(ask(&after), ask(&before));
        }
        // Continues as the original does.
        let mut before = before;
        for index in [&mut before, &mut after] {
            (100..370).for_each(|slot| index.upsert(slot, &[slot as f32; 5]).expect("valid"));
            index.merge(usize::MAX);
        }
        assert_eq!(bytes(&after), bytes(&before));
    }
}

#[test]
fn every_changed_byte_is_refused() {
    for kind in KINDS {
        let written = bytes(&sample(kind));
        for at in 0..written.len() {
            let mut changed = written.clone();
            changed[at] ^= 1 << (at % 8);
            let refused = Index::read_from(&mut changed.as_slice());
            assert!(refused.is_err(), "{kind:?}, byte {at} of {}", written.len());
        }
    }
}

#[test]
fn every_cut_is_refused() {
    for kind in KINDS {
        let written = bytes(&sample(kind));
        for end in 0..written.len() {
            let refused = Index::read_from(&mut &written[..end]);
            assert!(matches!(refused, Err(ReadError::Truncated { .. })), "{kind:?}, {end} of {}", written.len());
        }
    }
}

#[test]
fn errors_name_what_they_found() {
    let written = bytes(&sample(Kind::Flat));
    let error = |bytes: &[u8]| Index::read_from(&mut &*bytes).err().map(|e| e.to_string()).unwrap_or_default();
    assert_eq!(error(b"PK-ZIPPED, or so"), "not an index snapshot: it begins with [50, 4b, 2d, 5a, 49, 50, 50, 45]");
    let mut future = written.clone();
    future[8] = 8;
    assert_eq!(error(&future), "index snapshot of format 8, this program reads 1 to 7");
    let mut changed = written.clone();
    changed[100] ^= 1;
    assert!(error(&changed).starts_with("index snapshot, block 0: checksum "), "{}", error(&changed));
    let mut oversized = written;
    oversized[12..16].fill(0xff);
    assert_eq!(error(&oversized), "index snapshot, block 0: length must be at most 1048576 bytes (got 4294967295)");
}

/// The snapshot with correct checksums around these contents: blocks before the vectors, vectors, and blocks after
/// their checksums.
fn sealed(bytes: &[u8], [table, vectors, rest]: &[Range<usize>; 3]) -> Vec<u8> {
    let mut sealed = Vec::new();
    let mut sink = blocks::Sink::new(&mut sealed).expect("memory");
    sink.bytes(&bytes[table.clone()]).expect("memory");
    sink.begin_bare().expect("memory");
    sink.bytes(&bytes[vectors.clone()]).expect("memory");
    sink.end_bare().expect("memory");
    sink.bytes(&bytes[rest.clone()]).expect("memory");
    sink.finish().expect("memory");
    sealed
}

/// One byte of the content is changed and the checksums are corrected, as by a forger or a bug. Reading may succeed (a
/// vector has changed, for example), but neither reading nor using the index panics.
#[test]
fn forged_contents_never_panic() {
    for kind in KINDS {
        let written = bytes(&sample(kind));
        let word = |at: usize| u32::from_le_bytes(written[at..][..4].try_into().expect("four bytes")) as usize;
        // Points, vectors, and everything after the single checksum of the vectors.
        let table = 20..20 + word(12);
        let nodes = word(20 + if kind == Kind::Flat { 16 } else { 24 });
        let vectors = PAGE_BYTES..PAGE_BYTES + nodes * 5 * if matches!(kind, Kind::IvfPq { .. }) { 2 } else { 4 };
        assert!(table.end <= vectors.start && nodes > 100, "{nodes} nodes");
        let rest = vectors.end + 8 + 4..written.len() - 8;
        let parts = [table, vectors, rest];
        assert!(sealed(&written, &parts) == written);
        for at in parts.iter().flat_map(Clone::clone) {
            let flip = [0x01, 0x80, 0xff][at % 3];
            let mut forged = written.clone();
            forged[at] ^= flip;
            if let Ok(mut index) = Index::read_from(&mut sealed(&forged, &parts).as_slice()) {
                let _ = index.search(&vec![0.1; index.config().dim], 3, &SearchParams::default(), None);
                if at % 16 == 0 {
                    (0..300).for_each(|slot| _ = index.upsert(slot, &vec![0.2; index.config().dim]));
                    index.merge(usize::MAX);
                }
            }
        }
    }
}

#[test]
fn blocks_that_change_places_are_refused() {
    let config = Config::new(1_024, Metric::Dot, Kind::Flat);
    let mut index = Index::new(config).expect("valid");
    for slot in 0..600 {
        index.upsert(slot, &vec![slot as f32; 1_024]).expect("valid");
    }
    let written = bytes(&index);
    assert_eq!(bytes(&Index::read_from(&mut written.as_slice()).expect("our own bytes")), written);
    let (first, block) = (PAGE_BYTES, BLOCK_BYTES);
    let mut swapped = written.clone();
    swapped[first..first + block].copy_from_slice(&written[first + block..first + 2 * block]);
    swapped[first + block..first + 2 * block].copy_from_slice(&written[first..first + block]);
    let refused = Index::read_from(&mut swapped.as_slice());
    assert!(matches!(refused, Err(ReadError::Checksum { block: 1, .. })));
}

/// Rows of 256 kB, of which 64 are mapped at once, or twice as many of half the size.
#[test]
fn a_file_is_opened_as_it_lies_and_never_written() {
    for (datatype, bytes_each, points) in [(Datatype::Float32, 4, 70), (Datatype::Bfloat16, 2, 140)] {
        let dim = 65_536;
        let config = Config { datatype, ..Config::new(dim, Metric::Euclid, Kind::Flat) };
        let vector = |slot: u32| (0..dim).map(|i| (slot as usize % 16 * 7 + i % 13) as f32).collect::<Vec<_>>();
        let mut index = Index::new(config).expect("valid");
        (0..points).for_each(|slot| index.upsert(slot, &vector(slot)).expect("valid"));
        let written = bytes(&index);
        let file = tempfile::tempfile().expect("a temporary folder");
        file.write_all_at(&written, 0).expect("room");
        let open = || Index::open(file.try_clone().expect("a handle"));
        let mut opened = open().expect("our own file");
        assert!(bytes(&opened) == written);
        let row = dim * bytes_each;
        assert_eq!(
            (opened.stats().vector_bytes, opened.stats().resident_vector_bytes),
            (points as usize * row, points as usize % 64 * row)
        );
        for index in [&mut index, &mut opened] {
            index.upsert(3, &vec![-1.0; dim]).expect("valid");
            assert!(index.delete(5));
            (points..points + 5).for_each(|slot| index.upsert(slot, &vector(slot)).expect("valid"));
            let hits = index.search(&vec![-1.0; dim], 1, &SearchParams::default(), None).expect("valid");
            assert_eq!(hits.iter().map(|hit| (hit.slot, hit.distance)).collect::<Vec<_>>(), [(3, 0.0)]);
        }
        assert!(bytes(&opened) == bytes(&index));
        assert!(bytes(&open().expect("the file is as it was")) == written);
        // Damage after the snapshot, and inside it.
        file.write_all_at(b"!", written.len() as u64).expect("room");
        assert!(matches!(open(), Err(ReadError::Longer)));
        file.set_len(written.len() as u64 - 1).expect("a shorter file");
        assert!(matches!(open(), Err(ReadError::Truncated { .. })));
        file.write_all_at(b"!", 10_000_000).expect("a byte");
        file.set_len(written.len() as u64).expect("a longer file");
        assert!(matches!(open(), Err(ReadError::Checksum { block: 10, .. })));
    }
}

/// The write buffer of an index that rounds holds rounded vectors only.
#[test]
fn buffered_vectors_are_rounded() {
    let kind = Kind::Hnsw { m: 4, ef_construct: 12 };
    let config = Config { datatype: Datatype::Bfloat16, ..Config::new(1, Metric::Dot, kind) };
    let mut index = Index::new(config).expect("valid");
    index.upsert(0, &[1.0]).expect("valid");
    let mut written = bytes(&index);
    let end = written.len() - 8;
    assert_eq!(written[end - 4..end], 1_f32.to_le_bytes());
    // One block up to the vectors, of which there are none, and one after them.
    let parts = [20..20 + 8 + 24, PAGE_BYTES..PAGE_BYTES, PAGE_BYTES + 8..end];
    assert!(sealed(&written, &parts) == written);
    written[end - 4] = 1;
    let refused = Index::read_from(&mut sealed(&written, &parts).as_slice()).err().map(|error| error.to_string());
    assert_eq!(refused.as_deref(), Some("index snapshot, block 1: a buffered vector is not rounded to the datatype"));
}

/// Graph of 308 operations on 280 slots of 2 dimensions, `m` of 3, in each version of the format: slot `i` at `(i, 0)`,
/// every tenth deleted, 256 operations merged.
const GOLDEN: [&[u8]; 7] = [
    include_bytes!("golden-v1.bin"),
    include_bytes!("golden-v2.bin"),
    include_bytes!("golden-v3.bin"),
    include_bytes!("golden-v4.bin"),
    include_bytes!("golden-v5.bin"),
    include_bytes!("golden-v6.bin"),
    include_bytes!("golden-v7.bin"),
];

/// Lists of 540 operations on 512 slots of 2 dimensions, `nlist` of 6, in versions 3 to 7: slot `i` at `(i, i % 7)`,
/// every tenth of the first 280 deleted, a block half merged.
const GOLDEN_LISTS: [&[u8]; 5] = [
    include_bytes!("golden-ivf-v3.bin"),
    include_bytes!("golden-ivf-v4.bin"),
    include_bytes!("golden-ivf-v5.bin"),
    include_bytes!("golden-ivf-v6.bin"),
    include_bytes!("golden-ivf-v7.bin"),
];

/// Rounded vectors: a flat index of 30 points of 3 dimensions, slot `i` at `(i, i / 7, -i / 3)`, 5 and 6 deleted.
const GOLDEN_BFLOAT16: [&[u8]; 3] = [
    include_bytes!("golden-bfloat16-v5.bin"),
    include_bytes!("golden-bfloat16-v6.bin"),
    include_bytes!("golden-bfloat16-v7.bin"),
];

#[test]
fn rounded_vectors_of_every_version_are_read() {
    for golden in GOLDEN_BFLOAT16 {
        let index = Index::read_from(&mut &*golden).expect("a version there was");
        assert_eq!((index.len(), index.config().datatype), (28, Datatype::Bfloat16));
        assert_eq!(index.vector(7).as_deref(), Some([7.0, 1.0, -2.328_125].as_slice()));
        assert!(bytes(&index) == GOLDEN_BFLOAT16[2]);
    }
}

#[test]
fn every_version_is_read() {
    for golden in GOLDEN {
        let index = Index::read_from(&mut &*golden).expect("a version there was");
        assert_eq!((index.len(), index.reachable(), index.pending()), (252, 252, 52));
        let ask = SearchParams { ef: Some(1), ..SearchParams::default() };
        let hits = index.search(&[101.2, 0.0], 2, &ask, None).expect("valid");
        assert_eq!(hits.iter().map(|hit| hit.slot).collect::<Vec<_>>(), [101, 102]);
        assert!(bytes(&index) == GOLDEN[6], "what was read is written in the newest version");
    }
    for golden in GOLDEN_LISTS {
        let mut index = Index::read_from(&mut &*golden).expect("a version there was");
        for pending in [236, 0] {
            assert_eq!((index.len(), index.reachable(), index.pending()), (484, 484, pending));
            let ask = SearchParams { nprobe: Some(1), rerank: Some(40), ..SearchParams::default() };
            let hits = index.search(&[101.2, 3.0], 2, &ask, None).expect("valid");
            assert_eq!(hits.iter().map(|hit| hit.slot).collect::<Vec<_>>(), [101, 102]);
            let written = bytes(&index);
            assert!(written == GOLDEN_LISTS[4] || golden == GOLDEN_LISTS[0] || pending == 0);
            assert!(bytes(&Index::read_from(&mut written.as_slice()).expect("our own bytes")) == written);
            index.merge_all(1, |_| ());
        }
    }
}

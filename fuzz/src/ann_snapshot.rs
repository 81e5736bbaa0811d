//! No bytes break the decoder of index snapshots: they are refused, or give an index that can be searched and written.
//!
//! Input: 1 byte (odd: over a sound snapshot), 1 byte (odd: a graph, else a flat index), the offset as `u16` in
//! little-endian order, 1 byte for points and datatype, then the bytes, which a sound snapshot is XORed with.

use meridian_ann::{Config, Datatype, Index, Kind, Metric, Profile, SearchParams, View};

use crate::take;

fn snapshot(graph: bool, points: u8) -> Vec<u8> {
    let dim = if graph { 36 } else { 3 };
    let datatype = if points > 127 { Datatype::Bfloat16 } else { Datatype::Float32 };
    let kind = if graph { Kind::Hnsw { m: 4, ef_construct: 8 } } else { Kind::Flat };
    let config = Config { profile: Profile::Speed, datatype, seed: 7, ..Config::new(dim, Metric::Euclid, kind) };
    let mut index = Index::new(config).expect("good parameters");
    for slot in 0..u32::from(points % 40) {
        index.upsert(slot, &vec![slot as f32; dim]).expect("as many numbers");
    }
    while index.merge(64) > 0 {}
    let mut image = Vec::new();
    index.write_to(&mut image).expect("a vector takes all");
    image
}

/// Runs the target; returns whether the bytes are a snapshot.
#[must_use]
pub fn run(mut bytes: &[u8]) -> bool {
    let [over_sound, graph] = take(&mut bytes);
    let offset = usize::from(u16::from_le_bytes(take(&mut bytes)));
    let [points] = take(&mut bytes);
    let image = if over_sound % 2 == 1 {
        let mut image = snapshot(graph % 2 == 1, points);
        let offset = offset % image.len();
        for (place, byte) in image[offset..].iter_mut().zip(bytes) {
            *place ^= byte;
        }
        image
    } else {
        bytes.to_vec()
    };
    let Ok(mut index) = Index::read_from(&mut image.as_slice()) else { return false };
    let query = vec![0.5; index.config().dim];
    let search = |view: &View| view.search(&query, 3, &SearchParams::default(), None);
    let view = index.view();
    let found = search(&view);
    index.upsert(1, &query).expect("as many numbers");
    index.delete(2);
    index.merge(64);
    let _ = search(&index.view());
    assert_eq!(search(&view), found);
    true
}

/// Sound snapshots of both kinds, and the bytes of one.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    let bytes = [&[0; 5][..], &snapshot(true, 9)].concat();
    vec![vec![1, 1, 0, 0, 30], vec![1, 0, 0, 0, 130], bytes]
}

//! No bytes break the reader of index snapshots: they are refused, or give an index that can be searched and written.
#![no_main]

use libfuzzer_sys::fuzz_target;
use meridian_ann::{Config, Datatype, Index, Kind, Metric, Profile, SearchParams, View};

fuzz_target!(|input: (bool, bool, u16, u8, &[u8])| {
    let (over_sound, graph, offset, points, bytes) = input;
    let mut image = bytes.to_vec();
    if over_sound {
        let dim = if graph { 36 } else { 3 };
        let datatype = if points > 127 { Datatype::Bfloat16 } else { Datatype::Float32 };
        let kind = if graph { Kind::Hnsw { m: 4, ef_construct: 8 } } else { Kind::Flat };
        let config = Config { profile: Profile::Speed, datatype, seed: 7, ..Config::new(dim, Metric::Euclid, kind) };
        let mut index = Index::new(config).expect("good parameters");
        for slot in 0..u32::from(points % 40) {
            index.upsert(slot, &vec![slot as f32; dim]).expect("as many numbers");
        }
        while index.merge(64) > 0 {}
        image.clear();
        index.write_to(&mut image).expect("a vector takes all");
        let offset = usize::from(offset) % image.len();
        for (place, byte) in image[offset..].iter_mut().zip(bytes) {
            *place ^= byte;
        }
    }
    if let Ok(mut index) = Index::read_from(&mut image.as_slice()) {
        let query = vec![0.5; index.config().dim];
        let search = |view: &View| view.search(&query, 3, &SearchParams::default(), None);
        let view = index.view();
        let found = search(&view);
        index.upsert(1, &query).expect("as many numbers");
        index.delete(2);
        index.merge(64);
        let _ = search(&index.view());
        assert_eq!(search(&view), found);
    }
});

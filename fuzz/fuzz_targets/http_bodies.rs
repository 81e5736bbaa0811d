//! No body breaks a reader of request bodies: it is taken, or refused with a sentence.
#![no_main]

use libfuzzer_sys::fuzz_target;
use meridian_api::http::{
    Shape, count, create_collection, delete, legacy_search, query, query_batch, retrieve, scroll, upsert,
};
use meridian_config::Limits;
use meridian_model::{CollectionName, HnswParams};

fuzz_target!(|input: (u8, &[u8])| {
    let (which, body) = input;
    let limits = Limits::default();
    let refusal = match which % 9 {
        0 => upsert(body, &limits).err(),
        1 => delete(body, &limits).err(),
        2 => retrieve(body, &limits).err(),
        3 => scroll(body, &limits).err(),
        4 => count(body, &limits).err(),
        5 => query(body, &limits).err(),
        6 => query_batch(body, &limits).err(),
        7 => legacy_search(body, &limits).err(),
        _ => {
            let shape = Shape { shards: 2, replicas: 3, hnsw: HnswParams::default() };
            let name = CollectionName::new("words").expect("a good name");
            create_collection(name, body, &shape, &limits).err()
        }
    };
    if let Some(refusal) = refusal {
        assert!(!refusal.to_string().is_empty());
    }
});

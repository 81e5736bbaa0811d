//! No body breaks a parser of request bodies: it is accepted, or refused with a message.
//!
//! Input: 1 byte that chooses the parser, then the body.

use meridian_api::http::{
    Shape, count, create_collection, delete, legacy_search, query, query_batch, retrieve, scroll, upsert,
};
use meridian_config::Limits;
use meridian_model::{CollectionName, HnswParams};

use crate::take;

/// Runs the target; returns whether the body is accepted.
#[must_use]
pub fn run(mut body: &[u8]) -> bool {
    let [which] = take(&mut body);
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
            let shape = Shape { shards: 2, replicas: Some(3), hnsw: HnswParams::default() };
            let name = CollectionName::new("words").expect("a good name");
            create_collection(name, body, &shape, &limits).err()
        }
    };
    let Some(refusal) = refusal else { return true };
    assert!(!refusal.to_string().is_empty());
    false
}

/// One body for each parser.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    let bodies = [
        r#"{"points":[{"id":1,"vector":[1,0.5],"payload":{"a":[1,{"b":"x"}]}}]}"#,
        r#"{"filter":{"must":[{"key":"a[].b","match":{"value":"x"}}]}}"#,
        r#"{"ids":[1,"f47ac10b-58cc-4372-a567-0e02b2c3d479"],"with_payload":["a"]}"#,
        r#"{"limit":10,"filter":{"should":[{"key":"n","range":{"gte":1,"lt":2.5}}]}}"#,
        r#"{"exact":true}"#,
        r#"{"query":[1,0.5],"limit":3,"params":{"hnsw_ef":64}}"#,
        r#"{"searches":[{"query":[1,0.5],"limit":3}]}"#,
        r#"{"vector":[1,0.5],"limit":3,"filter":{"must_not":[{"has_id":[1]}]}}"#,
        r#"{"vectors":{"size":2,"distance":"Cosine"}}"#,
    ];
    (0u8..).zip(bodies).map(|(which, body)| [&[which], body.as_bytes()].concat()).collect()
}

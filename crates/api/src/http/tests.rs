mod collections;
mod filters;
mod memory;
mod points;
mod properties;
mod queries;
mod readme;
mod replies;

use meridian_config::Limits;
use meridian_model::client::PointOp;
use meridian_model::{CollectionName, HnswParams};
use serde_json::{Value, json};

use super::*;

const SHAPE: Shape = Shape {
    shards: 2,
    replicas: Some(3),
    hnsw: HnswParams { m: 16, ef_construct: 100, inline_storage: false, full_scan_threshold: 10_000 },
};

fn create(body: Value) -> Result<meridian_model::CollectionDef, Fault> {
    create_collection(CollectionName::new("c").unwrap(), body.to_string().as_bytes(), &SHAPE, &Limits::default())
}

fn upserted(body: &str) -> Result<Vec<PointOp>, Fault> {
    upsert(body.as_bytes(), &Limits::default())
}

fn asked(body: Value) -> Result<QueryRequest, Fault> {
    query(body.to_string().as_bytes(), &Limits::default())
}

#[track_caller]
fn check<T: std::fmt::Debug>(result: Result<T, Fault>, status: u16, says: &str) {
    let fault = result.unwrap_err();
    assert_eq!(fault.status(), status, "{fault}");
    assert!(fault.to_string().contains(says), "{fault}");
    assert!(!fault.to_string().contains('\u{1}'), "{fault:?}");
}

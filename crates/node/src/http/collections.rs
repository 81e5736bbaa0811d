//! `GET /` and `/collections`.

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use meridian_api::http::{self as bodies, Shape};
use meridian_model::client::{Body, ReplyBody};

use super::Api;
use super::answer::{faulty, fine, json, refuse, unexpected};
use super::body::Unread;
use super::steps::Call;

pub async fn version(State(api): State<Api>) -> Response {
    json(StatusCode::OK, bodies::version(&api.0.config.commit))
}

pub async fn list(call: Call) -> Result<Response, Response> {
    match call.ask(Body::ListCollections).await? {
        (ReplyBody::Collections(defs), freshness) => Ok(fine(bodies::collection_names(&defs, call.time()), &freshness)),
        _ => Err(unexpected()),
    }
}

pub async fn exists(call: Call) -> Result<Response, Response> {
    let name = call.collection()?;
    match call.ask(Body::ListCollections).await? {
        (ReplyBody::Collections(defs), freshness) => {
            let exists = defs.iter().any(|def| def.name == name);
            Ok(fine(bodies::exists(exists, call.time()), &freshness))
        }
        _ => Err(unexpected()),
    }
}

pub async fn describe(call: Call) -> Result<Response, Response> {
    match call.ask(Body::DescribeCollection(call.collection()?)).await? {
        (ReplyBody::Collection(report), freshness) => Ok(fine(bodies::collection(&report, call.time()), &freshness)),
        _ => Err(unexpected()),
    }
}

pub async fn create(call: Call, unread: Unread) -> Result<Response, Response> {
    let name = call.collection()?;
    let body = unread.read(&call.api).await?;
    let config = &call.api.0.config;
    let shape = Shape { replicas: call.api.0.reporter.voters(), ..config.shape };
    let def = bodies::create_collection(name, &body.bytes, &shape, &config.limits).map_err(|f| faulty(&f))?;
    match call.ask(Body::CreateCollection(def)).await? {
        (ReplyBody::Done(done), freshness) => Ok(fine(bodies::done(done, call.time()), &freshness)),
        _ => Err(unexpected()),
    }
}

pub async fn remove(call: Call) -> Result<Response, Response> {
    match call.ask(Body::DropCollection(call.collection()?)).await? {
        (ReplyBody::Done(existed), freshness) => Ok(fine(bodies::done(existed, call.time()), &freshness)),
        _ => Err(unexpected()),
    }
}

pub async fn update() -> Response {
    refuse(StatusCode::NOT_IMPLEMENTED, "Not supported: a collection's parameters cannot be changed yet")
}

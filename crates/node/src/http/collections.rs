//! `GET /` and `/collections`.

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use meridian_api::http::{self as bodies, Shape};
use meridian_model::client::{Body, ReplyBody};

use super::Api;
use super::body::UnreadBody;
use super::call::Call;
use super::response::{bad_request, json, ok_response, refuse, unexpected_reply};

pub async fn version(State(api): State<Api>) -> Response {
    json(StatusCode::OK, bodies::version(&api.0.config.commit))
}

pub async fn list(call: Call) -> Result<Response, Response> {
    match call.execute(Body::ListCollections).await? {
        (ReplyBody::Collections(defs), freshness) => {
            Ok(ok_response(bodies::collection_names(&defs, call.time()), &freshness))
        }
        _ => Err(unexpected_reply()),
    }
}

pub async fn exists(call: Call) -> Result<Response, Response> {
    let name = call.collection()?;
    match call.execute(Body::ListCollections).await? {
        (ReplyBody::Collections(defs), freshness) => {
            let exists = defs.iter().any(|def| def.name == name);
            Ok(ok_response(bodies::exists(exists, call.time()), &freshness))
        }
        _ => Err(unexpected_reply()),
    }
}

pub async fn describe(call: Call) -> Result<Response, Response> {
    match call.execute(Body::DescribeCollection(call.collection()?)).await? {
        (ReplyBody::Collection(report), freshness) => {
            Ok(ok_response(bodies::collection(&report, call.time()), &freshness))
        }
        _ => Err(unexpected_reply()),
    }
}

pub async fn create(call: Call, unread: UnreadBody) -> Result<Response, Response> {
    let name = call.collection()?;
    let body = unread.read(&call.api).await?;
    let config = &call.api.0.config;
    let shape = Shape { replicas: call.api.0.reporter.voters(), ..config.shape };
    let def = bodies::create_collection(name, &body.bytes, &shape, &config.limits).map_err(|f| bad_request(&f))?;
    match call.execute(Body::CreateCollection(def)).await? {
        (ReplyBody::Done(done), freshness) => Ok(ok_response(bodies::done(done, call.time()), &freshness)),
        _ => Err(unexpected_reply()),
    }
}

pub async fn remove(call: Call) -> Result<Response, Response> {
    match call.execute(Body::DropCollection(call.collection()?)).await? {
        (ReplyBody::Done(existed), freshness) => Ok(ok_response(bodies::done(existed, call.time()), &freshness)),
        _ => Err(unexpected_reply()),
    }
}

pub async fn update() -> Response {
    refuse(StatusCode::NOT_IMPLEMENTED, "Not supported: a collection's parameters cannot be changed yet")
}

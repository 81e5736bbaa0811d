//! `/collections/{name}/points`, all but searches.

use axum::response::Response;
use http::StatusCode;
use meridian_api::http::{self as bodies, Deletion};
use meridian_model::client::{PointOp, Refusal};
use meridian_model::{Answer, Fields, Names, PointId, Query, Select};

use super::body::UnreadBody;
use super::call::Call;
use super::response::{error_response, ok_response, refuse, unexpected_reply};

pub async fn upsert(call: Call, unread: UnreadBody) -> Result<Response, Response> {
    let name = call.collection()?;
    let mut body = unread.read(&call.api).await?;
    let ops = body.decode(&call.api, bodies::upsert).await?;
    let (written, freshness) = call.write(name, ops).await?;
    Ok(ok_response(bodies::updated(written.seq, written.visible, call.time()), &freshness))
}

pub async fn delete(call: Call, unread: UnreadBody) -> Result<Response, Response> {
    let name = call.collection()?;
    let mut body = unread.read(&call.api).await?;
    let (written, freshness) = match body.decode(&call.api, bodies::delete).await? {
        Deletion::Ids(ids) => {
            let ops = ids.into_iter().map(|point| PointOp::Delete { point }).collect();
            call.write(name, ops).await?
        }
        Deletion::Filter(filter) => call.delete_by_filter(name, filter).await?,
    };
    Ok(ok_response(bodies::updated(written.seq, written.visible, call.time()), &freshness))
}

pub async fn retrieve(call: Call, unread: UnreadBody) -> Result<Response, Response> {
    let name = call.collection()?;
    let mut body = unread.read(&call.api).await?;
    call.admit_read()?;
    let query = body.decode(&call.api, bodies::retrieve).await?;
    match call.read(name, query).await? {
        (Answer::Records(records), freshness) => Ok(ok_response(bodies::records(&records, call.time()), &freshness)),
        _ => Err(unexpected_reply()),
    }
}

pub async fn retrieve_one(call: Call) -> Result<Response, Response> {
    let name = call.collection()?;
    call.admit_read()?;
    let id: PointId =
        call.param("id").parse().map_err(|error| refuse(StatusCode::BAD_REQUEST, &format!("Wrong input: {error}")))?;
    let select = Select { payload: Fields::All, vectors: Names::All };
    match call.read(name, Query::Retrieve { ids: vec![id], select }).await? {
        (Answer::Records(records), freshness) => match records.first() {
            Some(record) => Ok(ok_response(bodies::record(record, call.time()), &freshness)),
            None => {
                let missing = Refusal::NotFound(format!("Point with id {id} does not exist!"));
                Err(error_response(&missing, &freshness, call.time()))
            }
        },
        _ => Err(unexpected_reply()),
    }
}

pub async fn scroll(call: Call, unread: UnreadBody) -> Result<Response, Response> {
    let name = call.collection()?;
    let mut body = unread.read(&call.api).await?;
    call.admit_read()?;
    let query = body.decode(&call.api, bodies::scroll).await?;
    match call.read(name, query).await? {
        (Answer::Page(page, next), freshness) => {
            Ok(ok_response(bodies::scrolled(&page, next, call.time()), &freshness))
        }
        _ => Err(unexpected_reply()),
    }
}

pub async fn count(call: Call, unread: UnreadBody) -> Result<Response, Response> {
    let name = call.collection()?;
    let mut body = unread.read(&call.api).await?;
    call.admit_read()?;
    let query = body.decode(&call.api, bodies::count).await?;
    match call.read(name, query).await? {
        (Answer::Count(count), freshness) => Ok(ok_response(bodies::counted(count, call.time()), &freshness)),
        _ => Err(unexpected_reply()),
    }
}

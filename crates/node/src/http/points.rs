//! `/collections/{name}/points`, all but searches.

use axum::response::Response;
use http::StatusCode;
use meridian_api::http::{self as bodies, Deletion};
use meridian_model::client::{PointOp, Refusal};
use meridian_model::{Answer, Fields, Names, PointId, Query, Select};

use super::answer::{fine, refuse, refused, unexpected};
use super::body::Unread;
use super::steps::Call;

pub async fn upsert(call: Call, unread: Unread) -> Result<Response, Response> {
    let name = call.collection()?;
    let mut body = unread.read(&call.api).await?;
    let ops = body.decode(&call.api, bodies::upsert).await?;
    let (written, freshness) = call.write(name, ops).await?;
    Ok(fine(bodies::updated(written.seq, written.visible, call.time()), &freshness))
}

pub async fn delete(call: Call, unread: Unread) -> Result<Response, Response> {
    let name = call.collection()?;
    let mut body = unread.read(&call.api).await?;
    let (written, freshness) = match body.decode(&call.api, bodies::delete).await? {
        Deletion::Ids(ids) => {
            let ops = ids.into_iter().map(|point| PointOp::Delete { point }).collect();
            call.write(name, ops).await?
        }
        Deletion::Filter(filter) => call.delete_by_filter(name, filter).await?,
    };
    Ok(fine(bodies::updated(written.seq, written.visible, call.time()), &freshness))
}

pub async fn retrieve(call: Call, unread: Unread) -> Result<Response, Response> {
    let name = call.collection()?;
    let mut body = unread.read(&call.api).await?;
    call.admit_read()?;
    let query = body.decode(&call.api, bodies::retrieve).await?;
    match call.read(name, query).await? {
        (Answer::Records(records), freshness) => Ok(fine(bodies::records(&records, call.time()), &freshness)),
        _ => Err(unexpected()),
    }
}

pub async fn one(call: Call) -> Result<Response, Response> {
    let name = call.collection()?;
    call.admit_read()?;
    let id: PointId =
        call.param("id").parse().map_err(|fault| refuse(StatusCode::BAD_REQUEST, &format!("Wrong input: {fault}")))?;
    let select = Select { payload: Fields::All, vectors: Names::All };
    match call.read(name, Query::Retrieve { ids: vec![id], select }).await? {
        (Answer::Records(records), freshness) => match records.first() {
            Some(record) => Ok(fine(bodies::record(record, call.time()), &freshness)),
            None => {
                let missing = Refusal::NotFound(format!("Point with id {id} does not exist!"));
                Err(refused(&missing, &freshness, call.time()))
            }
        },
        _ => Err(unexpected()),
    }
}

pub async fn scroll(call: Call, unread: Unread) -> Result<Response, Response> {
    let name = call.collection()?;
    let mut body = unread.read(&call.api).await?;
    call.admit_read()?;
    let query = body.decode(&call.api, bodies::scroll).await?;
    match call.read(name, query).await? {
        (Answer::Page(page, next), freshness) => Ok(fine(bodies::scrolled(&page, next, call.time()), &freshness)),
        _ => Err(unexpected()),
    }
}

pub async fn count(call: Call, unread: Unread) -> Result<Response, Response> {
    let name = call.collection()?;
    let mut body = unread.read(&call.api).await?;
    call.admit_read()?;
    let query = body.decode(&call.api, bodies::count).await?;
    match call.read(name, query).await? {
        (Answer::Count(count), freshness) => Ok(fine(bodies::counted(count, call.time()), &freshness)),
        _ => Err(unexpected()),
    }
}

//! Searches: `points/query`, its batch, and the older `points/search`.

use axum::response::Response;
use futures::{StreamExt, TryStreamExt, stream};
use meridian_api::http as bodies;
use meridian_model::client::{Body, ReplyBody};

use super::body::UnreadBody;
use super::call::{Call, merge_freshness};
use super::response::{ok_response, unexpected_reply};

/// Concurrent searches of one batch, so that a batch does not occupy all search threads.
const BATCH_CONCURRENCY: usize = 8;

pub async fn query(call: Call, unread: UnreadBody) -> Result<Response, Response> {
    let name = call.collection()?;
    let mut body = unread.read(&call.api).await?;
    call.admit_read()?;
    let request = body.decode(&call.api, bodies::query).await?;
    let (found, freshness) = call.search(name, &request).await?;
    Ok(ok_response(bodies::found(&found, call.time()), &freshness))
}

pub async fn search(call: Call, unread: UnreadBody) -> Result<Response, Response> {
    let name = call.collection()?;
    let mut body = unread.read(&call.api).await?;
    call.admit_read()?;
    let request = body.decode(&call.api, bodies::legacy_search).await?;
    let (found, freshness) = call.search(name, &request).await?;
    Ok(ok_response(bodies::found_plain(&found, call.time()), &freshness))
}

pub async fn batch(call: Call, unread: UnreadBody) -> Result<Response, Response> {
    let name = call.collection()?;
    let mut body = unread.read(&call.api).await?;
    call.admit_read()?;
    let requests = body.decode(&call.api, bodies::query_batch).await?;
    let call = call.retry_when_overloaded();
    let searches = requests.iter().map(|request| call.search(name.clone(), request)).collect::<Vec<_>>();
    let answers: Vec<_> = stream::iter(searches).buffered(BATCH_CONCURRENCY).try_collect().await?;
    let (found, freshness_of_each): (Vec<_>, Vec<_>) = answers.into_iter().unzip();
    let freshness = match freshness_of_each.into_iter().reduce(merge_freshness) {
        Some(freshness) => freshness,
        // An empty batch still verifies the collection and reports freshness.
        None => match call.execute(Body::DescribeCollection(name)).await? {
            (ReplyBody::Collection(_), freshness) => freshness,
            _ => return Err(unexpected_reply()),
        },
    };
    Ok(ok_response(bodies::found_batch(&found, call.time()), &freshness))
}

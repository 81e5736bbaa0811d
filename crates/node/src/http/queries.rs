//! Searches: `points/query`, its batch, and the older `points/search`.

use axum::response::Response;
use futures::{StreamExt, TryStreamExt, stream};
use meridian_api::http as bodies;
use meridian_model::client::{Body, ReplyBody};

use super::answer::{fine, unexpected};
use super::body::Unread;
use super::steps::{Call, join};

/// Searches of one batch that run at the same time: a batch must not take all search threads for itself.
const AT_ONCE: usize = 8;

pub async fn query(call: Call, unread: Unread) -> Result<Response, Response> {
    let name = call.collection()?;
    let mut body = unread.read(&call.api).await?;
    call.admit_read()?;
    let ask = body.decode(&call.api, bodies::query).await?;
    let (found, freshness) = call.search(name, &ask).await?;
    Ok(fine(bodies::found(&found, call.time()), &freshness))
}

pub async fn search(call: Call, unread: Unread) -> Result<Response, Response> {
    let name = call.collection()?;
    let mut body = unread.read(&call.api).await?;
    call.admit_read()?;
    let ask = body.decode(&call.api, bodies::legacy_search).await?;
    let (found, freshness) = call.search(name, &ask).await?;
    Ok(fine(bodies::found_plain(&found, call.time()), &freshness))
}

pub async fn batch(call: Call, unread: Unread) -> Result<Response, Response> {
    let name = call.collection()?;
    let mut body = unread.read(&call.api).await?;
    call.admit_read()?;
    let asks = body.decode(&call.api, bodies::query_batch).await?;
    let call = call.patient();
    let searches = asks.iter().map(|ask| call.search(name.clone(), ask)).collect::<Vec<_>>();
    let answers: Vec<_> = stream::iter(searches).buffered(AT_ONCE).try_collect().await?;
    let (found, told): (Vec<_>, Vec<_>) = answers.into_iter().unzip();
    let freshness = match told.into_iter().reduce(join) {
        Some(freshness) => freshness,
        // Nothing to search: that the collection exists is still answered, and how fresh the region is.
        None => match call.ask(Body::DescribeCollection(name)).await? {
            (ReplyBody::Collection(_), freshness) => freshness,
            _ => return Err(unexpected()),
        },
    };
    Ok(fine(bodies::found_batch(&found, call.time()), &freshness))
}

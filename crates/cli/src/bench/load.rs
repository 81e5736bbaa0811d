//! Open load: writes and searches at fixed rates.

use std::sync::Mutex;
use std::time::Duration;

use anyhow::Context;
use futures::future::try_join_all;
use futures::stream::FuturesUnordered;
use futures::{StreamExt, TryStreamExt};
use serde_json::json;
use tokio::time::{Instant, sleep, sleep_until};

use super::regions::Args;
use crate::client::{ApiRequest, RegionClient};
use crate::demo::{DemoContext, read_counter};

/// One write in so many is polled until the other region shows it.
const WATCH_EVERY: u32 = 10;
/// Interval between two polls.
const POLL_INTERVAL: Duration = Duration::from_millis(2);
/// Timeout until a write is visible in the other region.
const VISIBILITY_TIMEOUT: Duration = Duration::from_secs(10);
/// First point id, above those of the loaded words, so that the load adds points.
const FIRST_ID: u64 = 10_000_000;

/// Measured latencies, in no particular order.
#[derive(Debug, Default)]
pub struct Latencies {
    /// Scheduled start of a write → acknowledgement.
    pub acknowledged: Vec<Duration>,
    /// Scheduled start of a search → response.
    pub searched: Vec<Duration>,
    /// Acknowledged → visible in the other region.
    pub visible: Vec<Duration>,
}

/// Applies the load for `duration`.
///
/// # Errors
/// When a request fails, or a write does not become visible in the other region.
pub async fn run(demo: &DemoContext, args: &Args, duration: Duration) -> anyhow::Result<Latencies> {
    let latencies = Mutex::new(Latencies::default());
    let record =
        |take: &dyn Fn(&mut Latencies)| take(&mut latencies.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
    let start = Instant::now();
    let writes = open_loop(start, args.writes, duration, async |nth, due| {
        write(demo, u64::from(nth)).await?;
        let done = Instant::now();
        record(&|latencies| latencies.acknowledged.push(done - due));
        if nth % WATCH_EVERY == 0 {
            wait_until_visible(&demo.secondary, nth, done).await?;
            let took = done.elapsed();
            record(&|latencies| latencies.visible.push(took));
        }
        Ok(())
    });
    let queries = open_loop(start, args.queries, duration, async |nth, due| {
        search(demo, nth).await?;
        record(&|latencies| latencies.searched.push(due.elapsed()));
        Ok(())
    });
    try_join_all([futures::future::Either::Left(writes), futures::future::Either::Right(queries)]).await?;
    Ok(latencies.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner))
}

/// Starts a request every 1/`rate` seconds, no matter how long earlier ones take.
async fn open_loop(
    start: Instant,
    rate: u32,
    duration: Duration,
    request: impl AsyncFn(u32, Instant) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut in_flight = FuturesUnordered::new();
    for nth in 0.. {
        let due = start + Duration::from_secs(1) * nth / rate;
        if due - start >= duration {
            break;
        }
        let wait = sleep_until(due);
        tokio::pin!(wait);
        loop {
            tokio::select! {
                () = &mut wait => break,
                Some(done) = in_flight.next() => { let done: anyhow::Result<()> = done; done? }
            }
        }
        in_flight.push(request(nth, due));
    }
    in_flight.try_collect().await
}

/// Inserts one new point.
///
/// # Errors
/// When the write is not acknowledged.
pub async fn write(demo: &DemoContext, nth: u64) -> anyhow::Result<()> {
    let row = usize::try_from(nth).unwrap_or(usize::MAX) % demo.words.len();
    let body = json!({"points": [{"id": FIRST_ID + nth, "vector": demo.words.row(row), "payload": {"counter": nth}}]});
    let path = DemoContext::path("/points");
    demo.primary
        .send(demo.round_robin.next(), ApiRequest::put(&path, &body))
        .await?
        .error_for_status()
        .context("write")?;
    Ok(())
}

async fn search(demo: &DemoContext, nth: u32) -> anyhow::Result<()> {
    let region = if nth.is_multiple_of(2) { &demo.primary } else { &demo.secondary };
    let body = json!({"query": demo.words.row(nth as usize * 7919 % demo.words.len()), "limit": 10});
    region
        .send(nth as usize / 2, ApiRequest::post(&DemoContext::path("/points/query"), &body))
        .await?
        .error_for_status()
        .context("search")?;
    Ok(())
}

async fn wait_until_visible(secondary: &RegionClient, nth: u32, since: Instant) -> anyhow::Result<()> {
    let id = FIRST_ID + u64::from(nth);
    while read_counter(secondary, nth as usize, id).await? != Some(nth.into()) {
        anyhow::ensure!(
            since.elapsed() < VISIBILITY_TIMEOUT,
            "a write was not visible in the other region after {VISIBILITY_TIMEOUT:?}"
        );
        sleep(POLL_INTERVAL).await;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[tokio::test]
    async fn requests_start_on_schedule_however_long_earlier_ones_take() {
        tokio::time::pause();
        let (start, latencies) = (Instant::now(), RefCell::new(Vec::new()));
        let request = async |nth: u32, due: Instant| {
            latencies.borrow_mut().push((nth, (due - start).as_millis(), (Instant::now() - due).as_millis() < 3));
            sleep(Duration::from_millis(350)).await;
            Ok(())
        };
        open_loop(start, 10, Duration::from_millis(300), request).await.unwrap();
        assert_eq!(*latencies.borrow(), [(0, 0, true), (1, 100, true), (2, 200, true)]);
        assert!(start.elapsed() >= Duration::from_millis(550), "in-flight requests are awaited");
    }

    #[tokio::test]
    async fn a_failed_request_ends_the_load() {
        tokio::time::pause();
        let request = async |nth: u32, _| {
            anyhow::ensure!(nth < 2, "request {nth}");
            Ok(())
        };
        let error = open_loop(Instant::now(), 10, Duration::from_secs(9), request).await.unwrap_err();
        assert_eq!(error.to_string(), "request 2");
    }
}

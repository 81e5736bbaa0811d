//! Writes and searches, each at its time.

use std::sync::Mutex;
use std::time::Duration;

use anyhow::Context;
use futures::future::try_join_all;
use futures::stream::FuturesUnordered;
use futures::{StreamExt, TryStreamExt};
use serde_json::json;
use tokio::time::{Instant, sleep, sleep_until};

use super::regions::Args;
use crate::client::{Ask, Region};
use crate::demo::{Stage, counter};

/// Of so many writes, one is watched until the other region shows it.
const WATCHED: u32 = 10;
/// Between two looks for it.
const LOOK: Duration = Duration::from_millis(2);
/// For it to be seen.
const PATIENCE: Duration = Duration::from_secs(10);
/// Ids above the words of the collection, so that the load adds points.
const FIRST_ID: u64 = 10_000_000;

/// How long everything took, from when it was due.
#[derive(Debug, Default)]
pub struct Seen {
    /// Write → acknowledged.
    pub acknowledged: Vec<Duration>,
    /// Search → answer.
    pub searched: Vec<Duration>,
    /// Acknowledged → visible in the other region.
    pub visible: Vec<Duration>,
}

/// Loads for `length`.
///
/// # Errors
/// When a request is refused or lost, or a write is not seen in the other region.
pub async fn run(stage: &Stage, args: &Args, length: Duration) -> anyhow::Result<Seen> {
    let seen = Mutex::new(Seen::default());
    let keep = |take: &dyn Fn(&mut Seen)| take(&mut seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
    let begun = Instant::now();
    let writes = at_rate(begun, args.writes, length, async |nth, due| {
        write(stage, u64::from(nth)).await?;
        let done = Instant::now();
        keep(&|seen| seen.acknowledged.push(done - due));
        if nth % WATCHED == 0 {
            watch(&stage.other, nth, done).await?;
            let took = done.elapsed();
            keep(&|seen| seen.visible.push(took));
        }
        Ok(())
    });
    let queries = at_rate(begun, args.queries, length, async |nth, due| {
        search(stage, nth).await?;
        keep(&|seen| seen.searched.push(due.elapsed()));
        Ok(())
    });
    try_join_all([futures::future::Either::Left(writes), futures::future::Either::Right(queries)]).await?;
    Ok(seen.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner))
}

/// Begins `one` every 1/`rate` s, however long those before it take.
async fn at_rate(
    begun: Instant,
    rate: u32,
    length: Duration,
    one: impl AsyncFn(u32, Instant) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut under_way = FuturesUnordered::new();
    for nth in 0.. {
        let due = begun + Duration::from_secs(1) * nth / rate;
        if due - begun >= length {
            break;
        }
        let wait = sleep_until(due);
        tokio::pin!(wait);
        loop {
            tokio::select! {
                () = &mut wait => break,
                Some(done) = under_way.next() => { let done: anyhow::Result<()> = done; done? }
            }
        }
        under_way.push(one(nth, due));
    }
    under_way.try_collect().await
}

/// One new point.
///
/// # Errors
/// When it is not acknowledged.
pub async fn write(stage: &Stage, nth: u64) -> anyhow::Result<()> {
    let row = usize::try_from(nth).unwrap_or(usize::MAX) % stage.words.len();
    let body = json!({"points": [{"id": FIRST_ID + nth, "vector": stage.words.row(row), "payload": {"counter": nth}}]});
    let path = Stage::path("/points");
    stage.primary.ask(stage.turn.next(), Ask::put(&path, &body)).await?.fine().context("write")?;
    Ok(())
}

async fn search(stage: &Stage, nth: u32) -> anyhow::Result<()> {
    let region = if nth.is_multiple_of(2) { &stage.primary } else { &stage.other };
    let body = json!({"query": stage.words.row(nth as usize * 7919 % stage.words.len()), "limit": 10});
    region.ask(nth as usize / 2, Ask::post(&Stage::path("/points/query"), &body)).await?.fine().context("search")?;
    Ok(())
}

async fn watch(other: &Region, nth: u32, since: Instant) -> anyhow::Result<()> {
    let id = FIRST_ID + u64::from(nth);
    while counter(other, nth as usize, id).await? != Some(nth.into()) {
        anyhow::ensure!(since.elapsed() < PATIENCE, "a write was not seen in the other region after {PATIENCE:?}");
        sleep(LOOK).await;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[tokio::test]
    async fn requests_are_begun_at_their_times_however_long_those_before_take() {
        tokio::time::pause();
        let (begun, seen) = (Instant::now(), RefCell::new(Vec::new()));
        let one = async |nth: u32, due: Instant| {
            seen.borrow_mut().push((nth, (due - begun).as_millis(), (Instant::now() - due).as_millis() < 3));
            sleep(Duration::from_millis(350)).await;
            Ok(())
        };
        at_rate(begun, 10, Duration::from_millis(300), one).await.unwrap();
        assert_eq!(*seen.borrow(), [(0, 0, true), (1, 100, true), (2, 200, true)]);
        assert!(begun.elapsed() >= Duration::from_millis(550), "the last of them is waited for");
    }

    #[tokio::test]
    async fn a_failure_ends_it() {
        tokio::time::pause();
        let one = async |nth: u32, _| {
            anyhow::ensure!(nth < 2, "request {nth}");
            Ok(())
        };
        let fault = at_rate(Instant::now(), 10, Duration::from_secs(9), one).await.unwrap_err();
        assert_eq!(fault.to_string(), "request 2");
    }
}

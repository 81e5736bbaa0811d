//! Memory of request bodies, and whether it is released.

use std::time::Duration;

use futures::future::join_all;

use super::Bound;
use super::server::Server;

/// Body size, just below the limit.
const BODY: usize = 33_450_000;
/// Concurrent requests.
const CONCURRENCY: usize = 16;
/// Time for memory to be released.
const SETTLE_TIME: Duration = Duration::from_secs(3);
/// Bound of the memory that is not released.
const MAX_RETAINED_MIB: f64 = 48.0;
/// Memory of a pod that must survive all requests at once.
const POD_BYTES: u64 = 512 << 20;

/// A body of [`BODY`] bytes filled with copies of `element`.
fn body_of(before: &str, element: &str, after: &str) -> String {
    let count = (BODY - before.len() - after.len()) / (element.len() + 1);
    format!("{before}{}{after}", vec![element; count].join(","))
}

fn bodies() -> [(&'static str, &'static str, &'static str, String); 6] {
    let nested = format!(r#"{{"id":1,"vector":[1,2,3,4],"payload":{{"a":[{}[]]}}}}"#, "[[],[]],".repeat(1_000));
    [
        ("empty filters", "POST", "points/count", body_of(r#"{"filter":{"must":["#, "{}", "]}}")),
        ("filters of empty lists", "POST", "points/count", body_of(r#"{"filter":{"must":["#, r#"{"must":[]}"#, "]}}")),
        ("empty searches", "POST", "points/query/batch", body_of(r#"{"searches":["#, "{}", "]}")),
        ("empty objects", "PUT", "points", body_of(r#"{"points":["#, "{}", "]}")),
        ("nested arrays", "PUT", "points", body_of(r#"{"points":["#, &nested, "]}")),
        ("tiny points", "PUT", "points", body_of(r#"{"points":["#, r#"{"id":1,"vector":[1,2,3,4]}"#, "]}")),
    ]
}

pub(super) async fn run() -> anyhow::Result<()> {
    let server = match Server::start_within(POD_BYTES).await {
        Ok(server) => server,
        Err(error) => {
            println!("NOT RUN: in a control group of 512 MiB: {error:#}");
            Server::start().await?
        }
    };
    server.create("c", 4).await?;
    for (name, method, path, body) in bodies() {
        let one = send_bodies(&server, 1, (method, path), &body).await?;
        let max = mib(4 * body.len() + (1 << 20));
        let title = format!("{name}, one body: MiB above rest ({})", one.responses);
        if one.responses == "200" {
            // Written points and their log entries are not memory of the body.
            println!("{title}: {:.3}, the written points and their log included", one.peak);
        } else {
            Bound { name: title, measured: one.peak, max }.print();
        }
        let all = send_bodies(&server, CONCURRENCY, (method, path), &body).await?;
        println!("     {name}: the process held {:.0} MiB before", all.baseline);
        let title = format!("{name}, {CONCURRENCY} at once: MiB of the process ({})", all.responses);
        Bound { name: title, measured: all.largest, max: mib(usize::try_from(POD_BYTES)?) }.print();
        Bound { name: format!("{name}: MiB that stay"), measured: all.retained, max: MAX_RETAINED_MIB }.print();
    }
    server.stop().await;
    Ok(())
}

struct MemoryUse {
    /// Memory of the process before, in MiB.
    baseline: f64,
    /// Peak above that, in MiB.
    peak: f64,
    /// Peak of the process, in MiB.
    largest: f64,
    /// Memory above the baseline after [`SETTLE_TIME`], in MiB.
    retained: f64,
    responses: String,
}

async fn send_bodies(
    server: &Server,
    concurrency: usize,
    (method, path): (&str, &str),
    body: &str,
) -> anyhow::Result<MemoryUse> {
    let (before, _) = server.memory()?;
    server.reset_peak()?;
    let http = reqwest::Client::builder().no_proxy().build()?;
    let sent = (0..concurrency).map(|_| {
        let request = http.request(method.parse().unwrap_or_default(), format!("{}/collections/c/{path}", server.url));
        request.header("api-key", &server.key).header("content-type", "application/json").body(body.to_owned()).send()
    });
    let mut responses: Vec<u16> = join_all(sent)
        .await
        .into_iter()
        .map(|response| response.map_or(0, |response| response.status().as_u16()))
        .collect();
    responses.sort_unstable();
    responses.dedup();
    let (_, peak) = server.memory()?;
    tokio::time::sleep(SETTLE_TIME).await;
    // jemalloc returns freed memory at the next allocation.
    server.create("other", 4).await.ok();
    let (after, _) = server.memory()?;
    let above = |bytes: u64| mib(usize::try_from(bytes.saturating_sub(before)).unwrap_or(usize::MAX));
    let largest = mib(usize::try_from(peak).unwrap_or(usize::MAX));
    let responses = responses.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    let baseline = mib(usize::try_from(before).unwrap_or(usize::MAX));
    Ok(MemoryUse { baseline, peak: above(peak), largest, retained: above(after), responses })
}

fn mib(bytes: usize) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

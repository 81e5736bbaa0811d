//! What a request body costs in memory, and whether it comes back.

use std::time::Duration;

use futures::future::join_all;

use super::Bound;
use super::server::Server;

/// Bytes of a body: the largest that is taken, nearly.
const BODY: usize = 33_450_000;
/// Requests at once.
const AT_ONCE: usize = 16;
/// For memory to come back.
const REST: Duration = Duration::from_secs(3);
/// Of it, this much may stay.
const KEPT_MIB: f64 = 48.0;
/// A pod that must survive all of them at once.
const POD: u64 = 512 << 20;

/// A body that holds as much of `element` as it may.
fn many(before: &str, element: &str, after: &str) -> String {
    let count = (BODY - before.len() - after.len()) / (element.len() + 1);
    format!("{before}{}{after}", vec![element; count].join(","))
}

fn bodies() -> [(&'static str, &'static str, &'static str, String); 6] {
    let nested = format!(r#"{{"id":1,"vector":[1,2,3,4],"payload":{{"a":[{}[]]}}}}"#, "[[],[]],".repeat(1_000));
    [
        ("empty filters", "POST", "points/count", many(r#"{"filter":{"must":["#, "{}", "]}}")),
        ("filters of empty lists", "POST", "points/count", many(r#"{"filter":{"must":["#, r#"{"must":[]}"#, "]}}")),
        ("empty searches", "POST", "points/query/batch", many(r#"{"searches":["#, "{}", "]}")),
        ("empty objects", "PUT", "points", many(r#"{"points":["#, "{}", "]}")),
        ("nested arrays", "PUT", "points", many(r#"{"points":["#, &nested, "]}")),
        ("tiny points", "PUT", "points", many(r#"{"points":["#, r#"{"id":1,"vector":[1,2,3,4]}"#, "]}")),
    ]
}

pub(super) async fn run() -> anyhow::Result<()> {
    let server = match Server::start_within(POD).await {
        Ok(server) => server,
        Err(why) => {
            println!("NOT RUN: in a control group of 512 MiB: {why:#}");
            Server::start().await?
        }
    };
    server.create("c", 4).await?;
    for (name, method, path, body) in bodies() {
        let one = attack(&server, 1, (method, path), &body).await?;
        let most = mib(4 * body.len() + (1 << 20));
        let what = format!("{name}, one body: MiB above rest ({})", one.answers);
        if one.answers == "200" {
            // The points, and their way through the log, are no longer the body's.
            println!("{what}: {:.3}, the written points and their log included", one.peak);
        } else {
            Bound { what, found: one.peak, most }.print();
        }
        let all = attack(&server, AT_ONCE, (method, path), &body).await?;
        println!("     {name}: the process held {:.0} MiB before", all.rest);
        let what = format!("{name}, {AT_ONCE} at once: MiB of the process ({})", all.answers);
        Bound { what, found: all.whole, most: mib(usize::try_from(POD)?) }.print();
        Bound { what: format!("{name}: MiB that stay"), found: all.kept, most: KEPT_MIB }.print();
    }
    server.stop().await;
    Ok(())
}

struct Seen {
    /// The process before.
    rest: f64,
    /// Above what the process held before.
    peak: f64,
    /// The process at its largest.
    whole: f64,
    /// Above what it held before, a while later.
    kept: f64,
    answers: String,
}

async fn attack(server: &Server, at_once: usize, (method, path): (&str, &str), body: &str) -> anyhow::Result<Seen> {
    let (before, _) = server.memory()?;
    server.forget_peak()?;
    let http = reqwest::Client::builder().no_proxy().build()?;
    let sent = (0..at_once).map(|_| {
        let request = http.request(method.parse().unwrap_or_default(), format!("{}/collections/c/{path}", server.url));
        request.header("api-key", &server.key).header("content-type", "application/json").body(body.to_owned()).send()
    });
    let mut answers: Vec<u16> =
        join_all(sent).await.into_iter().map(|answer| answer.map_or(0, |answer| answer.status().as_u16())).collect();
    answers.sort_unstable();
    answers.dedup();
    let (_, peak) = server.memory()?;
    tokio::time::sleep(REST).await;
    // What is freed is given back by whoever allocates next.
    server.create("other", 4).await.ok();
    let (after, _) = server.memory()?;
    let above = |bytes: u64| mib(usize::try_from(bytes.saturating_sub(before)).unwrap_or(usize::MAX));
    let whole = mib(usize::try_from(peak).unwrap_or(usize::MAX));
    let answers = answers.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    let rest = mib(usize::try_from(before).unwrap_or(usize::MAX));
    Ok(Seen { rest, peak: above(peak), whole, kept: above(after), answers })
}

fn mib(bytes: usize) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

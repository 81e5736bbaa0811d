//! Processor time of a write with 1,000 collections.

use serde_json::json;

use super::server::Server;
use super::{Bound, median};

/// Collections of the larger server: the limit.
const COLLECTIONS: usize = 1_000;
/// Rounds; the median is reported.
const ROUNDS: usize = 5;
/// Sequential writes per round.
const WRITES: usize = 2_000;
/// Bound of the ratio to the cost with one collection.
const MAX_RATIO: f64 = 1.2;

pub(super) async fn run() -> anyhow::Result<()> {
    let (few, many) = (Server::start().await?, Server::start().await?);
    few.create("c0", 4).await?;
    for nth in 0..COLLECTIONS {
        many.create(&format!("c{nth}"), 4).await?;
        many.upsert(&format!("c{nth}"), vec![point(0)]).await?;
    }
    let mut ratios = Vec::new();
    for round in 0..ROUNDS {
        let (with_one, with_many) =
            (cpu_seconds_per_write(&few, round).await?, cpu_seconds_per_write(&many, round).await?);
        println!(
            "     a write: {:.0} µs with 1 collection, {:.0} µs with {COLLECTIONS}",
            with_one * 1e6,
            with_many * 1e6
        );
        ratios.push(with_many / with_one);
    }
    few.stop().await;
    many.stop().await;
    let name = format!("processor time of a write with {COLLECTIONS} collections, times that with one");
    Bound { name, measured: median(&mut ratios), max: MAX_RATIO }.print();
    Ok(())
}

fn point(id: usize) -> serde_json::Value {
    json!({"id": id, "vector": [id % 7, id % 11, id % 13, 1.0]})
}

/// Processor time of one write, in seconds.
async fn cpu_seconds_per_write(server: &Server, round: usize) -> anyhow::Result<f64> {
    let start = server.cpu_time()?;
    for nth in 0..WRITES {
        server.upsert("c0", vec![point(round * WRITES + nth)]).await?;
    }
    Ok((server.cpu_time()? - start).as_secs_f64() / WRITES as f64)
}

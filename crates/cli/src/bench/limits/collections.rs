//! What a write costs beside 1,000 collections.

use serde_json::json;

use super::server::Server;
use super::{Bound, median};

/// Collections of the larger server, as many as there may be.
const COLLECTIONS: usize = 1_000;
/// Rounds of which the median is told.
const ROUNDS: usize = 5;
/// Writes of a round, one after the other.
const WRITES: usize = 2_000;
/// How many times the cost beside one collection.
const MOST: f64 = 1.2;

pub(super) async fn run() -> anyhow::Result<()> {
    let (few, many) = (Server::start().await?, Server::start().await?);
    few.create("c0", 4).await?;
    for nth in 0..COLLECTIONS {
        many.create(&format!("c{nth}"), 4).await?;
        many.upsert(&format!("c{nth}"), vec![point(0)]).await?;
    }
    let mut ratios = Vec::new();
    for round in 0..ROUNDS {
        let (alone, beside) = (cost(&few, round).await?, cost(&many, round).await?);
        println!(
            "     a write: {:.0} µs beside 1 collection, {:.0} µs beside {COLLECTIONS}",
            alone * 1e6,
            beside * 1e6
        );
        ratios.push(beside / alone);
    }
    few.stop().await;
    many.stop().await;
    let what = format!("processor time of a write beside {COLLECTIONS} collections, times that beside one");
    Bound { what, found: median(&mut ratios), most: MOST }.print();
    Ok(())
}

fn point(id: usize) -> serde_json::Value {
    json!({"id": id, "vector": [id % 7, id % 11, id % 13, 1.0]})
}

/// Seconds of processor time of one write.
async fn cost(server: &Server, round: usize) -> anyhow::Result<f64> {
    let begun = server.processor_time()?;
    for nth in 0..WRITES {
        server.upsert("c0", vec![point(round * WRITES + nth)]).await?;
    }
    Ok((server.processor_time()? - begun).as_secs_f64() / WRITES as f64)
}

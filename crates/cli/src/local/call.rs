//! `meridian local-call`: a call of the operator to a running region of `meridian local`, for the tests of upgrades.

use std::path::PathBuf;

use anyhow::{Context, bail};
use meridian_model::{BehaviorVersion, RegionName, ShardNumber};
use meridian_proto::topology::{TopologyAnswer, TopologyCall};

use super::layout::Layout;
use super::topology_client::TopologyClient;

/// Arguments of `meridian local-call`.
#[derive(Debug, clap::Args)]
pub struct CallArgs {
    /// The folder of `meridian local`.
    #[arg(long)]
    dir: PathBuf,
    /// The region.
    #[arg(long)]
    region: RegionName,
    /// The call to the leader of each shard.
    #[command(subcommand)]
    call: Call,
}

#[derive(Debug, Clone, Copy, clap::Subcommand)]
enum Call {
    /// Raise the behavior version of the region.
    Finalize {
        /// The version.
        version: u16,
    },
    /// Admit changes whose deltas need a behavior version.
    Publish {
        /// The version.
        version: u16,
    },
}

/// Makes the call to the leaders of all shards, one after the other.
///
/// # Errors
/// When a shard has no leader, or its leader refuses the call; names the shard and the reason.
pub async fn call(args: CallArgs) -> anyhow::Result<()> {
    let layout = Layout::read(&args.dir)?;
    let region = layout.regions.iter().find(|region| region.name == args.region);
    let region = region.with_context(|| format!("no region {} in {}", args.region, args.dir.display()))?;
    let client = TopologyClient::new(&layout, region)?;
    let call = match args.call {
        Call::Finalize { version } => TopologyCall::Finalize { version: BehaviorVersion(version) },
        Call::Publish { version } => TopologyCall::Publish { version: BehaviorVersion(version) },
    };
    for shard in ShardNumber::all(region.shards) {
        let (leader, _) = client.leader(region, shard).await?;
        let node = region.nodes.get(leader).context("the index is that of a node")?;
        match client.call(node, call.clone()).await? {
            TopologyAnswer::Done { .. } => {}
            TopologyAnswer::Refused(reason) => bail!("shard {shard} of {} refuses: {reason}", region.name),
            other => bail!("shard {shard} of {} answers {other:?}", region.name),
        }
    }
    Ok(())
}

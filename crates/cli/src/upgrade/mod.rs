//! `meridian upgrade`: shows the behavior versions of clusters on Kubernetes, and finalizes one.

mod finalize;
mod kubernetes;
mod status;

use kubernetes::Place;

/// `meridian upgrade`.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Prints the behavior versions of clusters, and what their finalization waits for.
    Status {
        /// Name of a VectorCluster. Default: all of the namespace.
        cluster: Option<String>,
        /// Where it is.
        #[command(flatten)]
        place: Place,
    },
    /// Finalizes the behavior version that all pods know, and waits until every shard uses it. The release cannot be rolled
    /// back afterwards.
    Finalize {
        /// Name of the VectorCluster.
        cluster: String,
        /// Where it is.
        #[command(flatten)]
        place: Place,
        /// How long to wait, such as `90s`, `10m` or `1h`. The request stays when it is over.
        #[arg(long, default_value = "10m", value_parser = kubernetes::duration)]
        timeout: std::time::Duration,
    },
}

/// Runs a command.
///
/// # Errors
/// When the API server cannot be reached, the cluster does not exist, or its version is not finalized: the message of its
/// condition `Finalized`.
pub async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Status { cluster, place } => status::run(cluster.as_deref(), &place).await,
        Command::Finalize { cluster, place, timeout } => finalize::run(&cluster, &place, timeout).await,
    }
}

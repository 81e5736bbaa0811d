//! The operator: watches, observes, applies, acts, reports. The crate `plan` decides.
//!
//! ```text
//!   reconcile (cluster.rs):  observe ──► ValidCluster::parse ──► next_step ──► report::intent ──► apply ──► act ──► report
//! ```
//!
//! A turn derives everything from quorum reads of the API server and calls to the pods, so a crash costs one turn.
//! Start reading at `cluster.rs`.

mod act;
mod act_backoff;
mod apply;
mod certificates;
mod claims;
mod cluster;
mod context;
mod keys;
mod kinds;
mod link;
mod metrics;
mod observe;
mod peers;
mod put;
mod refusals;
mod report;
mod rolls;
mod scrape;
mod secrets;
mod serve;
#[cfg(test)]
mod testing;
mod upgrade;

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use meridian_plan::{AllowedHost, Apis, Settings};
use tracing_subscriber::EnvFilter;

use crate::context::Context;
use crate::metrics::Metrics;

/// Runs vector search clusters declared as `VectorCluster` and `ReplicationLink`.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Namespaces to watch, separated by commas. Default: all.
    #[arg(long, env = "WATCH_NAMESPACES", value_delimiter = ',')]
    watch_namespaces: Vec<String>,
    /// Image of the data plane for clusters that name none.
    #[arg(long, env = "DEFAULT_IMAGE")]
    default_image: Option<String>,
    /// Image of Apache Kafka that runs MirrorMaker 2 in a Deployment.
    #[arg(long, env = "KAFKA_IMAGE")]
    kafka_image: Option<String>,
    /// Clusters that may be restarted at the same time because the default image changed.
    #[arg(long, env = "MAX_CONCURRENT_ROLLOUTS", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    max_concurrent_rollouts: u16,
    /// Optional APIs whose resources may be written if they are installed: `istio`, `strimzi`.
    #[arg(long, env = "OPTIONAL_APIS", value_delimiter = ',')]
    optional_apis: Vec<String>,
    /// Hosts that routes of a mesh may claim, in addition to the clusters' own Services and public names that stay in
    /// the namespace: a host, `*.` before a host, or `*`.
    #[arg(long, env = "ALLOWED_HOSTS", value_delimiter = ',')]
    allowed_hosts: Vec<AllowedHost>,
    /// Address of metrics and health.
    #[arg(long, env = "ADMIN_ADDRESS", default_value = "0.0.0.0:8081")]
    admin_address: SocketAddr,
    /// For tests: exit, as if killed, right after that many writes to the API server.
    #[arg(long, env = "MERIDIAN_EXIT_AFTER_WRITES", hide = true, value_parser = clap::value_parser!(u64).range(1..))]
    exit_after_writes: Option<u64>,
    /// Write the log as JSON.
    #[arg(long, env = "LOG_JSON")]
    log_json: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

/// Further commands of the binary.
#[derive(Subcommand)]
enum Command {
    /// Checks the health and the metrics of a running operator; used by `helm test`.
    Check {
        /// `host:port` of its admin port.
        #[arg(long)]
        address: String,
    },
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info,kube=warn"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(std::io::stdout().is_terminal());
    if arguments.log_json {
        log.json().init()
    } else {
        log.init()
    }
    if let Some(Command::Check { address }) = arguments.command {
        return scrape::check(&address).await;
    }
    // The error means that a provider is already installed, which serves as well.
    let _ = rustls::crypto::ring::default_provider().install_default();

    let defaults = Settings::default();
    let settings = Settings {
        default_image: arguments.default_image.unwrap_or(defaults.default_image),
        kafka_image: arguments.kafka_image.unwrap_or(defaults.kafka_image),
        allowed_hosts: arguments.allowed_hosts,
    };
    let client = kube::Client::try_default().await.context("connect to the api server")?;
    let may = |api: &str| arguments.optional_apis.iter().any(|named| named == api);
    let apis = Apis { istio: may("istio"), strimzi: may("strimzi") };
    let metrics = Metrics::default().end_after(arguments.exit_after_writes);
    let namespaces: Vec<Option<String>> = match arguments.watch_namespaces.as_slice() {
        [] => vec![None],
        some => some.iter().filter(|name| !name.is_empty()).cloned().map(Some).collect(),
    };
    let context = Context::new(client, settings, apis, metrics);
    let context = Arc::new(context.with_rolls(namespaces.clone(), arguments.max_concurrent_rollouts.into()));
    let served = tokio::spawn(serve::run(arguments.admin_address, context.clone()));
    let mut controllers = tokio::task::JoinSet::new();
    for namespace in namespaces {
        tracing::info!(namespace = namespace.as_deref().unwrap_or("all"), "watching");
        controllers.spawn(cluster::run(context.clone(), namespace.clone()));
        controllers.spawn(link::run(context.clone(), namespace));
    }
    tokio::select! {
        ended = served => ended.context("admin server")?.context("admin server"),
        // Controllers end only on SIGTERM or SIGINT.
        () = async { while controllers.join_next().await.is_some() {} } => Ok(()),
    }
}

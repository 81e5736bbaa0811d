//! The node: one pod's process.

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Parser;
use futures::FutureExt;
use meridian_api::http::Shape;
use meridian_config::NodeConfig;
use meridian_node::credentials::Credentials;
use meridian_node::http::{Api, Config, server};
use meridian_node::kafka::KafkaConfig;
use meridian_node::metrics::Metrics;
use meridian_node::peer::{self, Hub};
use meridian_node::shell::{NodeReporter, Supervisor};
use meridian_node::{admin, http};
use meridian_proto::frame::{Build, Hello};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// jemalloc returns freed memory to the system within about a second, whichever thread freed it (`.cargo/config.toml`).
/// glibc keeps memory below the newest block of each arena, mimalloc memory freed by threads that are idle since.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Runs one replica of one shard of a Meridian cluster, and a gateway to the whole cluster.
#[derive(Parser)]
#[command(name = "meridian-node", version)]
struct Args {
    /// The configuration file.
    #[arg(long, env = "MERIDIAN_CONFIG")]
    config: PathBuf,
    /// Address of this node's peer port for other replicas: `host:port`; its certificate must contain the name.
    #[arg(long, env = "MERIDIAN_ADVERTISE")]
    advertise: String,
    /// Search threads. Default: the number of processors.
    #[arg(long, env = "MERIDIAN_SEARCH_THREADS")]
    search_threads: Option<usize>,
    /// Write log lines as JSON.
    #[arg(long, env = "MERIDIAN_LOG_JSON")]
    log_json: bool,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    if args.log_json {
        subscriber.json().init();
    } else {
        subscriber.init();
    }
    let text = std::fs::read_to_string(&args.config)
        .with_context(|| format!("read configuration {}", args.config.display()))?;
    let config = NodeConfig::parse(&text).with_context(|| format!("configuration {}", args.config.display()))?;
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(run(args, config))
}

async fn run(args: Args, config: NodeConfig) -> anyhow::Result<()> {
    let metrics = Arc::new(Metrics::new());
    let threads = match args.search_threads {
        Some(threads) => threads,
        None => std::thread::available_parallelism()?.get(),
    };
    let supervisor = Supervisor::new(config.clone(), Arc::clone(&metrics), threads);
    let stop = CancellationToken::new();

    let credentials = Credentials::load(&config)?;
    let hello = Hello {
        cluster: config.cluster_id,
        region: config.region.clone(),
        node: None,
        address: args.advertise.clone(),
        build: Build::current(),
    };
    let delivery = supervisor.clone();
    let (tls, group_keys, keys) = (credentials.tls(), credentials.group_keys(), credentials.api_keys());
    let hub = Hub::new(tls, group_keys, hello, stop.clone(), move |incoming| delivery.deliver(incoming));

    let at = |port| SocketAddr::new(config.listen.address, port);
    let listen = async |port| TcpListener::bind(at(port)).await.with_context(|| format!("listen on {}", at(port)));
    let (api, admin_port, peers) = (
        listen(config.listen.api_port).await?,
        listen(config.listen.admin_port).await?,
        listen(config.listen.peer_port).await?,
    );

    supervisor.start(hub.clone())?;
    for region in config.replication_group.iter().flat_map(|group| &group.regions) {
        if region.name != config.region {
            hub.dial_region(region.name.clone(), region.endpoint.clone());
        }
    }
    let digest = credentials.digest();
    tokio::spawn(credentials.follow(hub.clone()));
    let topology = supervisor.clone();
    let answer = move |call| {
        let digest = digest.clone();
        topology.topology(call).map(move |answer| answer.with_keys(*digest.borrow())).boxed()
    };
    tokio::spawn(peer::serve(hub, peers, Arc::new(answer)));

    if keys.is_none() {
        tracing::warn!("the HTTP API requires no key: the configuration has `auth: disabled`");
    }
    let reporter: Arc<dyn http::Reporter> =
        Arc::new(NodeReporter { handle: supervisor.handle(), kafka: KafkaConfig::from_node(&config) });
    let shape = Shape::from(&config);
    let commit = option_env!("MERIDIAN_COMMIT").unwrap_or("unknown").to_owned();
    let (mut limits, cors) = (config.limits.clone(), config.cors.clone());
    limits.inflight_requests_bytes =
        meridian_node::memory_limit::for_requests(limits.inflight_requests_bytes, limits.memory_bytes);
    // A body whose decoded value can never fit the budget is refused as too large (413), not as retryable (429).
    limits.request_body_bytes = limits.request_body_bytes.min(limits.inflight_requests_bytes / 4);
    let settings = Config { region: config.region.clone(), limits, shape, keys, cors, commit };
    let router = Api::new(settings, Arc::new(supervisor.clone()), Arc::clone(&reporter), Arc::clone(&metrics)).router();
    let admin_router = admin::router(Arc::clone(&metrics), reporter);

    let api_stop = stop.child_token();
    let serve = |listener, router, stop| {
        let (limits, metrics) = (config.limits.clone(), Arc::clone(&metrics));
        tokio::spawn(async move { server::serve(listener, router, &limits, metrics, stop).await })
    };
    let served = serve(api, router, api_stop.clone());
    serve(admin_port, admin_router, stop.child_token());
    tracing::info!(region = %config.region, shard = %config.shard, advertise = %args.advertise, "node listens");

    wait_for_signal().await?;
    let stop_by = Instant::now() + Duration::from_millis(config.limits.shutdown_timeout_ms);
    tracing::info!("stopping: transferring leadership");
    supervisor.drain().await;
    api_stop.cancel();
    served.await.context("end of the HTTP API")?;
    supervisor.finish(stop_by.saturating_duration_since(Instant::now())).await;
    tracing::info!("stopped");
    Ok(())
}

async fn wait_for_signal() -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

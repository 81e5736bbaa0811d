//! `meridian local`.

use std::io::Write;
use std::os::unix::fs::FileTypeExt;
use std::path::PathBuf;

use anyhow::Context;
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use super::brokers::BrokerSpec;
use super::layout::{Layout, RegionSpec};
use super::running::{Options, Running};

/// What to run.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The folder for everything: data, configurations, keys, logs. One that was used before is started again.
    #[arg(long)]
    dir: PathBuf,
    /// A region as NAME:SHARDSxREPLICAS; the first is primary, the others follow it.
    #[arg(long = "region", default_value = "us-east:1x3")]
    regions: Vec<RegionSpec>,
    /// The broker beside a region as REGION=HOST:PORT. The primary region publishes to its own; another reads it, or its own
    /// broker, to which somebody runs MirrorMaker 2.
    #[arg(long = "kafka")]
    kafka: Vec<BrokerSpec>,
    /// The key that lets clients in, in every region. Default: a random one for each.
    #[arg(long, env = "MERIDIAN_API_KEY", value_parser = api_key)]
    api_key: Option<String>,
    /// Leave nodes that die dead.
    #[arg(long)]
    no_restart: bool,
}

/// An API key that nodes accept: they would not start with another.
fn api_key(text: &str) -> Result<String, &'static str> {
    match meridian_peer::read_api_keys(text) {
        Ok(keys) if keys.len() == 1 => Ok(text.trim().to_owned()),
        _ => Err("must be one line of at least 8 visible ASCII characters"),
    }
}

/// Runs regions until a signal comes or stdin ends. Prints one JSON line when all are ready, and one for each restart.
///
/// # Errors
/// When the regions cannot be started.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let mut layout = Layout::open(&args.dir, &args.regions, &mut rand::rng())?;
    if let Some(key) = args.api_key {
        layout.regions.iter_mut().for_each(|region| region.api_key.clone_from(&key));
    }
    let mut signals = Signals::new()?;
    let options = Options {
        binary: None,
        restart: !args.no_restart,
        brokers: args.kafka.into_iter().collect(),
        wires: Vec::new(),
    };
    let mut running = Running::start(layout, &options, signals.stopped()).await?;
    let mut stdin = std::pin::pin!(stdin_ended());
    let mut told = print(&running.report());
    while told.is_ok() {
        tokio::select! {
            () = signals.stopped() => break,
            () = &mut stdin => break,
            restart = running.restarted() => told = print(&json!({"restarted": restart})),
        }
    }
    running.stop().await;
    told
}

fn print(line: &Value) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).context("stdout")
}

/// SIGTERM and SIGINT.
pub struct Signals(tokio::signal::unix::Signal, tokio::signal::unix::Signal);

impl Signals {
    /// From now on these signals are ours.
    ///
    /// # Errors
    /// When they cannot be caught.
    pub fn new() -> anyhow::Result<Self> {
        Ok(Self(signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?))
    }

    /// Resolves when one came.
    pub async fn stopped(&mut self) {
        tokio::select! {
            _ = self.0.recv() => {}
            _ = self.1.recv() => {}
        }
    }
}

/// Resolves when whoever started us through a pipe has closed it. A terminal, a file or `/dev/null` says nothing.
fn stdin_ended() -> impl Future<Output = ()> {
    let piped = std::fs::metadata("/dev/stdin").is_ok_and(|stdin| {
        let kind = stdin.file_type();
        kind.is_fifo() || kind.is_socket()
    });
    let (ended, seen) = oneshot::channel();
    if piped {
        // A thread of its own, which the end of the process ends: a read of stdin cannot be cancelled.
        std::thread::spawn(move || {
            if std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink()).is_ok() {
                let _ = ended.send(());
            }
        });
    }
    async move {
        if seen.await.is_err() {
            std::future::pending().await
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_nodes_refuse_is_refused_before_they_start() {
        assert_eq!(api_key("eight-ch").as_deref(), Ok("eight-ch"));
        for refused in ["", "seven-c", "with a space", "two-lines-1\ntwo-lines-2"] {
            assert!(api_key(refused).is_err(), "{refused:?}");
        }
    }
}

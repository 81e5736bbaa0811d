//! The accept loop: bounded connections, bounded heads, and a drain at the end.
//!
//! HTTP/1.1 only: hyper's protocol detection waits for a first byte without a timeout, and REST clients speak 1.1.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use meridian_config::Limits;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::paced::Paced;
use crate::metrics::Metrics;

/// Headers of one request.
const HEADERS: usize = 100;
/// Pause after an accept that failed for want of file descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves `router` on `listener` until `stop`; then finishes open requests for as long as the limits allow.
///
/// Beyond the most connections, new ones wait in the kernel's queue.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    limits: &Limits,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
) {
    let slots = Arc::new(Semaphore::new(limits.connections));
    let tasks = TaskTracker::new();
    let abort = CancellationToken::new();
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_millis(limits.request_headers_timeout_ms))
        .max_buf_size(limits.request_headers_bytes)
        .max_headers(HEADERS);
    loop {
        let slot = tokio::select! {
            () = stop.cancelled() => break,
            slot = Arc::clone(&slots).acquire_owned() => slot.expect("this semaphore is never closed"),
        };
        let stream = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(fault) => {
                    pause_after(&fault).await;
                    continue;
                }
            },
        };
        // Answers are small and wanted at once.
        let _ = stream.set_nodelay(true);
        let stream = Paced::new(stream, Duration::from_millis(limits.response_idle_timeout_ms));
        let connection = serve_one(stream, builder.clone(), router.clone(), stop.clone());
        let (abort, metrics) = (abort.clone(), Arc::clone(&metrics));
        tasks.spawn(async move {
            metrics.http_connections.inc();
            abort.run_until_cancelled(connection).await;
            metrics.http_connections.dec();
            drop(slot);
        });
    }
    drop(listener);
    tasks.close();
    if tokio::time::timeout(Duration::from_millis(limits.drain_timeout_ms), tasks.wait()).await.is_err() {
        tracing::warn!(connections = tasks.len(), "requests were cut off at the end of the drain");
        abort.cancel();
        tasks.wait().await;
    }
}

async fn pause_after(fault: &io::Error) {
    let of_the_client = [io::ErrorKind::ConnectionAborted, io::ErrorKind::ConnectionReset];
    if !of_the_client.contains(&fault.kind()) {
        tracing::warn!(%fault, "accept");
        tokio::time::sleep(ACCEPT_PAUSE).await;
    }
}

async fn serve_one(stream: Paced<TcpStream>, builder: http1::Builder, router: Router, stop: CancellationToken) {
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router)));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(fault) = ended {
        tracing::debug!(%fault, "connection");
    }
}

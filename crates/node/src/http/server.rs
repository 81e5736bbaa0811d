//! The accept loop: limits on connections and request heads, and a graceful drain.
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

use super::write_timeout::WriteTimeout;
use crate::metrics::Metrics;

/// Limit of headers per request.
const MAX_HEADERS: usize = 100;
/// Pause after an accept that failed for lack of file descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves `router` on `listener` until `stop`, then drains open requests for at most `limits.drain_timeout_ms`.
///
/// Above `limits.connections`, new connections wait in the kernel's accept queue.
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
        .max_headers(MAX_HEADERS);
    loop {
        let slot = tokio::select! {
            () = stop.cancelled() => break,
            slot = Arc::clone(&slots).acquire_owned() => slot.expect("this semaphore is never closed"),
        };
        let stream = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    pause_after(&error).await;
                    continue;
                }
            },
        };
        // Responses are small; Nagle's algorithm would delay them.
        let _ = stream.set_nodelay(true);
        let stream = WriteTimeout::new(stream, Duration::from_millis(limits.response_idle_timeout_ms));
        let connection = serve_connection(stream, builder.clone(), router.clone(), stop.clone());
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
        tracing::warn!(connections = tasks.len(), "drain timeout: open requests are aborted");
        abort.cancel();
        tasks.wait().await;
    }
}

async fn pause_after(error: &io::Error) {
    let client_errors = [io::ErrorKind::ConnectionAborted, io::ErrorKind::ConnectionReset];
    if !client_errors.contains(&error.kind()) {
        tracing::warn!(%error, "accept");
        tokio::time::sleep(ACCEPT_PAUSE).await;
    }
}

async fn serve_connection(
    stream: WriteTimeout<TcpStream>,
    builder: http1::Builder,
    router: Router,
    stop: CancellationToken,
) {
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router)));
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, "connection");
    }
}

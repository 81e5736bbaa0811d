//! TCP proxy in front of a region that can be cut, to simulate a network partition between regions.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Context;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Accepts connections on one port and forwards them to one of several target ports.
pub struct TcpProxy {
    up: watch::Sender<bool>,
}

impl TcpProxy {
    /// Listens on `port` and forwards each connection to the first of `targets` that accepts; the start rotates.
    ///
    /// # Errors
    /// When the port is in use.
    pub async fn listen(port: u16, targets: Vec<u16>, stop: CancellationToken) -> anyhow::Result<Self> {
        let listener =
            TcpListener::bind(("127.0.0.1", port)).await.with_context(|| format!("listen on 127.0.0.1:{port}"))?;
        let (up, watch_up) = watch::channel(true);
        let serve = serve(listener, Arc::from(targets), watch_up, stop.clone());
        tokio::spawn(async move { stop.run_until_cancelled(serve).await });
        Ok(Self { up })
    }

    /// Closes all connections, and new ones as soon as they are accepted.
    pub fn cut(&self) {
        self.up.send_replace(false);
    }

    /// Forwards connections again.
    pub fn heal(&self) {
        self.up.send_replace(true);
    }
}

async fn serve(listener: TcpListener, targets: Arc<[u16]>, up: watch::Receiver<bool>, stop: CancellationToken) {
    let next_target = Arc::new(AtomicUsize::new(0));
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        if !*up.borrow() {
            continue;
        }
        let (targets, next_target, mut up, stop) =
            (Arc::clone(&targets), Arc::clone(&next_target), up.clone(), stop.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = forward(stream, &targets, next_target.fetch_add(1, Ordering::Relaxed)) => {}
                _ = up.wait_for(|up| !up) => {}
                () = stop.cancelled() => {}
            }
        });
    }
}

async fn forward(mut downstream: TcpStream, targets: &[u16], first: usize) {
    for offset in 0..targets.len() {
        let port = targets[(first + offset) % targets.len()];
        if let Ok(mut upstream) = TcpStream::connect(("127.0.0.1", port)).await {
            // Nagle's algorithm would delay small frames. An error here shows in the copy below.
            let _ = (downstream.set_nodelay(true), upstream.set_nodelay(true));
            let _ = copy_bidirectional(&mut downstream, &mut upstream).await;
            return;
        }
    }
}

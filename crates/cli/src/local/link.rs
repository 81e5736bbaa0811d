//! The address at which other regions find a region, with a wire that can be cut.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Context;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Takes connections at one port and passes their bytes to one of several.
pub struct Link {
    up: watch::Sender<bool>,
}

impl Link {
    /// Listens on `port` and passes to the first of `to` that answers, beginning with another each time.
    ///
    /// # Errors
    /// When the port is taken.
    pub async fn listen(port: u16, to: Vec<u16>, stop: CancellationToken) -> anyhow::Result<Self> {
        let listener =
            TcpListener::bind(("127.0.0.1", port)).await.with_context(|| format!("listen on 127.0.0.1:{port}"))?;
        let (up, seen) = watch::channel(true);
        let serve = serve(listener, Arc::from(to), seen, stop.clone());
        tokio::spawn(async move { stop.run_until_cancelled(serve).await });
        Ok(Self { up })
    }

    /// Breaks all connections; new ones are broken as soon as they are made.
    pub fn cut(&self) {
        self.up.send_replace(false);
    }

    /// Lets connections through again.
    pub fn heal(&self) {
        self.up.send_replace(true);
    }
}

async fn serve(listener: TcpListener, to: Arc<[u16]>, up: watch::Receiver<bool>, stop: CancellationToken) {
    let turn = Arc::new(AtomicUsize::new(0));
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        if !*up.borrow() {
            continue;
        }
        let (to, turn, mut up, stop) = (Arc::clone(&to), Arc::clone(&turn), up.clone(), stop.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = pass(stream, &to, turn.fetch_add(1, Ordering::Relaxed)) => {}
                _ = up.wait_for(|up| !up) => {}
                () = stop.cancelled() => {}
            }
        });
    }
}

async fn pass(mut from: TcpStream, to: &[u16], first: usize) {
    for step in 0..to.len() {
        let port = to[(first + step) % to.len()];
        if let Ok(mut onward) = TcpStream::connect(("127.0.0.1", port)).await {
            // Small frames must not wait for each other; that it cannot be set on a broken socket shows in the copy.
            let _ = (from.set_nodelay(true), onward.set_nodelay(true));
            let _ = copy_bidirectional(&mut from, &mut onward).await;
            return;
        }
    }
}

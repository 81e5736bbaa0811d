//! A connection: frames in both directions, outgoing ones through a bounded queue.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use meridian_proto::frame::{FRAME_BYTES, Frame, FrameError, NoCommonProtocol};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::codec::{Framed, LengthDelimitedCodec};

use crate::Timing;

/// Frames that wait to be written to one receiver; further ones are dropped.
const QUEUE: usize = 4096;

/// Reason for which a connection ended.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    /// An error of the network or of TLS.
    #[error("connection")]
    Io(#[from] io::Error),
    /// The received bytes are not a frame.
    #[error("frame")]
    Frame(#[from] FrameError),
    /// The builds have no protocol version in common.
    #[error("protocol")]
    Protocol(#[from] NoCommonProtocol),
    /// The other side closed it.
    #[error("closed by the other side")]
    Closed,
    /// The other side sent a frame that is not allowed at this point.
    #[error("expected {0}")]
    Unexpected(&'static str),
    /// The other side failed authentication.
    #[error("refused: {0}")]
    Refused(String),
    /// The time limit expired.
    #[error("no answer in time")]
    TimedOut,
    /// No byte arrived for this long, heartbeats included.
    #[error("no byte received for {0:?}")]
    Silent(Duration),
}

/// The sending half of a connection. It never blocks.
#[derive(Debug, Clone)]
pub struct Sender(mpsc::Sender<Frame>);

impl Sender {
    /// Queues a frame. Returns false, and drops the frame, if the queue is full or the connection is closed.
    pub fn send(&self, frame: Frame) -> bool {
        self.0.try_send(frame).is_ok()
    }
}

/// One connection.
pub struct Connection<S> {
    framed: Framed<TrackedStream<S>, LengthDelimitedCodec>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// Frames over `stream`, each after its length in 4 bytes, big-endian.
    pub fn new(stream: S) -> Self {
        let codec = LengthDelimitedCodec::builder().max_frame_length(FRAME_BYTES).new_codec();
        Self { framed: Framed::new(TrackedStream { stream, last: LastReceived::new() }, codec) }
    }

    /// The underlying stream.
    pub fn stream(&self) -> &S {
        &self.framed.get_ref().stream
    }

    /// Writes one frame.
    ///
    /// # Errors
    /// The connection is closed.
    pub async fn write(&mut self, frame: &Frame) -> Result<(), ConnectionError> {
        Ok(self.framed.send(Bytes::from(frame.encode())).await?)
    }

    /// Reads one frame.
    ///
    /// # Errors
    /// The connection is closed, or the received bytes are not a frame.
    pub async fn read(&mut self) -> Result<Frame, ConnectionError> {
        let bytes = self.framed.next().await.ok_or(ConnectionError::Closed)??;
        Ok(Frame::decode(&bytes)?)
    }

    /// Carries frames in both directions until either side closes the connection or is silent for too long. Received
    /// frames, heartbeats included, go to `take`.
    ///
    /// # Errors
    /// The reason for which it ended; it always returns one.
    pub async fn run(
        self,
        mut queue: mpsc::Receiver<Frame>,
        timing: &Timing,
        take: impl Fn(Frame),
    ) -> Result<(), ConnectionError> {
        let last = self.framed.get_ref().last.clone();
        let (mut out, mut incoming) = self.framed.split();
        let write = async {
            loop {
                let frame = match timeout(timing.heartbeat, queue.recv()).await {
                    Ok(Some(frame)) => frame,
                    Ok(None) => return Err::<(), _>(ConnectionError::Closed),
                    Err(_) => Frame::Heartbeat,
                };
                out.feed(Bytes::from(frame.encode())).await?;
                while let Ok(frame) = queue.try_recv() {
                    out.feed(Bytes::from(frame.encode())).await?;
                }
                out.flush().await?;
            }
        };
        let read = async {
            while let Some(bytes) = incoming.next().await {
                take(Frame::decode(&bytes?)?);
            }
            Err::<(), ConnectionError>(ConnectionError::Closed)
        };
        tokio::select! {
            ended = write => ended,
            ended = read => ended,
            silent = last.after_silence(timing.silence) => Err(silent),
        }
    }
}

/// Arrival of the last byte. Bytes count, not frames: on a slow line a large frame may take longer than the allowed
/// silence.
#[derive(Clone)]
struct LastReceived {
    base: Instant,
    /// Milliseconds after `base`.
    at: Arc<AtomicU64>,
}

impl LastReceived {
    fn new() -> Self {
        Self { base: Instant::now(), at: Arc::default() }
    }

    fn note(&self) {
        let millis = u64::try_from(self.base.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.at.store(millis, Ordering::Relaxed);
    }

    /// Returns once nothing has arrived for `silence`.
    async fn after_silence(&self, silence: Duration) -> ConnectionError {
        // Silence counts from here: the `Hello` exchange had its own deadline.
        self.note();
        loop {
            let quiet = self.base.elapsed().saturating_sub(Duration::from_millis(self.at.load(Ordering::Relaxed)));
            if quiet >= silence {
                return ConnectionError::Silent(silence);
            }
            sleep(silence - quiet).await;
        }
    }
}

/// A stream that records the arrival of bytes.
struct TrackedStream<S> {
    stream: S,
    last: LastReceived,
}

impl<S: AsyncRead + Unpin> AsyncRead for TrackedStream<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        if buf.filled().len() > before {
            self.last.note();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for TrackedStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// A queue for [`Connection::run`].
#[must_use]
pub fn queue() -> (Sender, mpsc::Receiver<Frame>) {
    let (sender, receiver) = mpsc::channel(QUEUE);
    (Sender(sender), receiver)
}

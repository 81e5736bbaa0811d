//! One connection: frames in, frames out, through a bounded queue.

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

/// Frames that wait to be written to one party; more are dropped.
const QUEUE: usize = 4096;

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    /// The network, or TLS.
    #[error("connection")]
    Io(#[from] io::Error),
    /// What came is no frame.
    #[error("frame")]
    Frame(#[from] FrameError),
    /// The builds of both sides are too far apart.
    #[error("protocol")]
    Protocol(#[from] NoCommonProtocol),
    /// The other side closed it.
    #[error("closed by the other side")]
    Closed,
    /// The other side did not say what belongs here.
    #[error("expected {0}")]
    Unexpected(&'static str),
    /// The other side is not who it should be.
    #[error("refused: {0}")]
    Refused(String),
    /// Nothing came in time.
    #[error("no answer in time")]
    TimedOut,
    /// No byte came for this long, heartbeats included.
    #[error("nothing heard for {0:?}")]
    Silent(Duration),
}

/// The sending half of a connection: never blocks.
#[derive(Debug, Clone)]
pub struct Sender(mpsc::Sender<Frame>);

impl Sender {
    /// Queues a frame; false when the queue is full or the connection gone, and the frame is lost.
    pub fn send(&self, frame: Frame) -> bool {
        self.0.try_send(frame).is_ok()
    }
}

/// One connection.
pub struct Connection<S> {
    framed: Framed<TrackedStream<S>, LengthDelimitedCodec>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// Frames over `stream`, each behind its length in 4 bytes, big-endian.
    pub fn new(stream: S) -> Self {
        let codec = LengthDelimitedCodec::builder().max_frame_length(FRAME_BYTES).new_codec();
        Self { framed: Framed::new(TrackedStream { stream, last: LastReceived::new() }, codec) }
    }

    /// The stream below.
    pub fn stream(&self) -> &S {
        &self.framed.get_ref().stream
    }

    /// Writes one frame.
    ///
    /// # Errors
    /// When the connection is gone.
    pub async fn write(&mut self, frame: &Frame) -> Result<(), ConnectionError> {
        Ok(self.framed.send(Bytes::from(frame.encode())).await?)
    }

    /// Reads one frame.
    ///
    /// # Errors
    /// When the connection is gone, or what came is no frame.
    pub async fn read(&mut self) -> Result<Frame, ConnectionError> {
        let bytes = self.framed.next().await.ok_or(ConnectionError::Closed)??;
        Ok(Frame::decode(&bytes)?)
    }

    /// Carries frames both ways until either side ends or falls silent; what comes in, heartbeats included, goes to `take`.
    ///
    /// # Errors
    /// Why it ended.
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

/// When the last byte came. Bytes count, not frames: a large frame takes longer on a slow line than a silence lasts.
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

    /// Ends when nothing came for `silence`.
    async fn after_silence(&self, silence: Duration) -> ConnectionError {
        // What was heard before counts from here: the greeting had a deadline of its own.
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

/// A stream that notes when bytes come.
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

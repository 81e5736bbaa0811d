//! One connection: frames in, frames out, through a bounded queue.

use std::io;

use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use meridian_wire::frame::{FRAME_BYTES, Frame, FrameError};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio_util::codec::{Framed, LengthDelimitedCodec};

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
    framed: Framed<S, LengthDelimitedCodec>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// Frames over `stream`, each behind its length in 4 bytes, big-endian.
    pub fn new(stream: S) -> Self {
        let codec = LengthDelimitedCodec::builder().max_frame_length(FRAME_BYTES).new_codec();
        Self { framed: Framed::new(stream, codec) }
    }

    /// The stream below.
    pub fn stream(&self) -> &S {
        self.framed.get_ref()
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

    /// Carries frames both ways until either side ends; what comes in goes to `take`.
    ///
    /// # Errors
    /// Why it ended.
    pub async fn run(self, mut queue: mpsc::Receiver<Frame>, take: impl Fn(Frame)) -> Result<(), ConnectionError> {
        let (mut out, mut incoming) = self.framed.split();
        let write = async {
            while let Some(frame) = queue.recv().await {
                out.feed(Bytes::from(frame.encode())).await?;
                while let Ok(frame) = queue.try_recv() {
                    out.feed(Bytes::from(frame.encode())).await?;
                }
                out.flush().await?;
            }
            Err::<(), ConnectionError>(ConnectionError::Closed)
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
        }
    }
}

/// A queue for [`Connection::run`].
#[must_use]
pub fn queue() -> (Sender, mpsc::Receiver<Frame>) {
    let (sender, receiver) = mpsc::channel(QUEUE);
    (Sender(sender), receiver)
}

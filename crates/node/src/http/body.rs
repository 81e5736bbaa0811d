//! Request bodies, bounded in size, in pace, in what they become, and in what all of them hold together.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{FromRequest, Request};
use axum::response::Response;
use http::{HeaderMap, StatusCode, header};
use http_body_util::BodyExt;
use hyper::body::{Frame, SizeHint};
use meridian_api::http::{Fault, metered};
use meridian_config::Limits;
use tokio::time::{Duration, Instant, timeout, timeout_at};

use super::Api;
use super::answer::{faulty, refuse, unexpected};
use super::memory::Share;

/// What is taken of the budget at once.
const PIECE: usize = 16 << 10;
/// Bodies from this size on are decoded on a thread of their own: decoding takes some milliseconds a megabyte, in which a
/// worker would serve nobody else.
const LARGE: usize = 64 << 10;

/// How long, and up to how many times the most bytes of a body, the rest of a refused one is read: a connection that is
/// closed with bytes unread is reset, and then the client reads no refusal.
const DISCARD: Duration = Duration::from_secs(5);
const DISCARD_BODIES: usize = 4;

/// The whole body of a request. Its share of the budget, and that of what it became, is held until it is dropped.
pub struct Whole {
    pub bytes: Vec<u8>,
    share: Share,
}

impl Whole {
    /// Decodes it. What it became counts in place of its bytes from then on.
    ///
    /// # Errors
    /// The answer to give when it is wrong, or would need more memory than it may or than there is.
    pub async fn decode<T: Send + 'static>(
        &mut self,
        api: &Api,
        decode: impl FnOnce(&[u8], &Limits) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Response> {
        let bytes = std::mem::take(&mut self.bytes);
        let len = bytes.len();
        let memory = self.share.memory();
        // It goes with the work: when the client leaves meanwhile, it is given back when the work ends.
        let mut share = std::mem::replace(&mut self.share, memory.share());
        let limits = api.limits().clone();
        let run = move || {
            let (decoded, taken) = metered(len, Some(memory), || decode(&bytes, &limits));
            drop(bytes);
            share.adopt(taken);
            share.shrink(len);
            (decoded, share)
        };
        let (decoded, share) =
            if len < LARGE { run() } else { tokio::task::spawn_blocking(run).await.map_err(|_| unexpected())? };
        self.share = share;
        decoded.map_err(|fault| faulty(&fault))
    }
}

/// A body that notes when it was read to its end: a connection on which some is left is closed behind the answer, which must say so
/// or the client sends the next request into it.
pub struct Noted {
    body: Body,
    is_read: Arc<AtomicBool>,
}

impl Noted {
    /// The body, and what will tell whether it was read.
    pub fn new(body: Body) -> (Self, Arc<AtomicBool>) {
        let is_read = Arc::new(AtomicBool::new(body.is_end_stream()));
        (Self { body, is_read: Arc::clone(&is_read) }, is_read)
    }
}

impl HttpBody for Noted {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if frame.is_none() || self.body.is_end_stream() {
            self.is_read.store(true, Ordering::Relaxed);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A request's headers and its body, not read yet.
pub struct Unread {
    pub headers: HeaderMap,
    body: Body,
}

impl<S: Sync> FromRequest<S> for Unread {
    type Rejection = std::convert::Infallible;

    async fn from_request(request: Request, _: &S) -> Result<Self, Self::Rejection> {
        let (parts, body) = request.into_parts();
        Ok(Self { headers: parts.headers, body })
    }
}

impl Unread {
    /// Reads the body as JSON bytes.
    ///
    /// # Errors
    /// The answer to give when it is too large, too slow, of another type, or the node holds too many already.
    pub async fn read(mut self, api: &Api) -> Result<Whole, Response> {
        let refused = match check_head(&self.headers, api) {
            Ok(()) => match self.take(api).await {
                Ok(whole) => return Ok(whole),
                Err(refused) => refused,
            },
            Err(refused) => refused,
        };
        if refused.status() == StatusCode::PAYLOAD_TOO_LARGE {
            self.discard(api.limits().request_body_bytes.saturating_mul(DISCARD_BODIES)).await;
        }
        Err(refused)
    }

    async fn take(&mut self, api: &Api) -> Result<Whole, Response> {
        let limits = api.limits();
        let until = Instant::now() + limits.request_timeout();
        let idle = Duration::from_millis(limits.request_idle_timeout_ms);
        let slow = || refuse(StatusCode::REQUEST_TIMEOUT, "Timeout: the request body came too slowly");
        let (mut bytes, mut share, mut paid) = (Vec::new(), api.0.memory.share(), 0);
        let length = content_length(&self.headers).map_or(0, |length| usize::try_from(length).unwrap_or(0));
        loop {
            let deadline = until.min(Instant::now() + idle);
            let frame = match timeout_at(deadline, self.body.frame()).await {
                Err(_) => return Err(slow()),
                Ok(None) => {
                    share.shrink(paid - bytes.len());
                    return Ok(Whole { bytes, share });
                }
                Ok(Some(Err(_))) => {
                    return Err(refuse(StatusCode::BAD_REQUEST, "Wrong input: the request body broke off"));
                }
                Ok(Some(Ok(frame))) => frame,
            };
            let Ok(piece) = frame.into_data() else { continue };
            if bytes.len() + piece.len() > limits.request_body_bytes {
                return Err(too_large(limits.request_body_bytes));
            }
            let needed = (bytes.len() + piece.len()).saturating_sub(paid);
            if needed > 0 {
                // Pieces, so that many small frames do not all go to the budget; no more than is needed where little is left.
                let taken = [needed.max(PIECE), needed].into_iter().find(|bytes| share.grow(*bytes));
                paid += taken.ok_or_else(|| faulty(&Fault::NoRoom))?;
            }
            make_room(&mut bytes, piece.len(), length);
            bytes.extend_from_slice(&piece);
        }
    }

    async fn discard(&mut self, most: usize) {
        let _ = timeout(DISCARD, async {
            let mut left = most;
            while let Some(Ok(frame)) = self.body.frame().await {
                match left.checked_sub(frame.data_ref().map_or(0, axum::body::Bytes::len)) {
                    Some(rest) => left = rest,
                    None => return,
                }
            }
        })
        .await;
    }
}

/// Room for `more` bytes. A body that has sent [`LARGE`] bytes gets all of its announced length at once: growing by copying
/// would leave holes as large as the body.
fn make_room(bytes: &mut Vec<u8>, more: usize, announced: usize) {
    if bytes.len() + more > bytes.capacity() && bytes.len() >= LARGE {
        bytes.reserve_exact(announced.saturating_sub(bytes.len()));
    }
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn too_large(most: usize) -> Response {
    refuse(StatusCode::PAYLOAD_TOO_LARGE, &format!("Wrong input: the request body is larger than {most} bytes"))
}

fn check_head(headers: &HeaderMap, api: &Api) -> Result<(), Response> {
    let most = api.limits().request_body_bytes;
    if content_length(headers).is_some_and(|length| length > most as u64) {
        return Err(too_large(most));
    }
    if headers.get(header::CONTENT_ENCODING).is_some_and(|coding| coding != "identity") {
        return Err(refuse(StatusCode::UNSUPPORTED_MEDIA_TYPE, "Not supported: compressed request bodies"));
    }
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = kind.split(';').next().unwrap_or_default().trim();
    if !essence.eq_ignore_ascii_case("application/json") {
        return Err(refuse(StatusCode::UNSUPPORTED_MEDIA_TYPE, "Wrong input: Content-Type must be application/json"));
    }
    Ok(())
}

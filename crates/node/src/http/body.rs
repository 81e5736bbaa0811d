//! Request bodies, bounded in size, in pace, and in what all of them hold together.

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
use tokio::time::{Duration, Instant, timeout, timeout_at};

use super::Api;
use super::answer::refuse;

/// What the budget for all bodies counts in.
pub const UNIT: usize = 1024;

/// How long, and up to how many times the most bytes of a body, the rest of a refused one is read: a connection that is
/// closed with bytes unread is reset, and then the client reads no refusal.
const DISCARD: Duration = Duration::from_secs(5);
const DISCARD_BODIES: usize = 4;

/// The whole body of a request. Its share of the budget is held until it is dropped.
pub struct Whole<'a> {
    pub bytes: Vec<u8>,
    _held: Vec<tokio::sync::SemaphorePermit<'a>>,
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
    pub async fn read(mut self, api: &Api) -> Result<Whole<'_>, Response> {
        let refused = match check_head(&self.headers, api) {
            Ok(()) => match self.take(api).await {
                Ok(whole) => return Ok(whole),
                Err(refused) => refused,
            },
            Err(refused) => refused,
        };
        if refused.status() == StatusCode::PAYLOAD_TOO_LARGE {
            self.discard(api.limits().body_bytes.saturating_mul(DISCARD_BODIES)).await;
        }
        Err(refused)
    }

    async fn take<'a>(&mut self, api: &'a Api) -> Result<Whole<'a>, Response> {
        let limits = api.limits();
        let until = Instant::now() + limits.request_timeout();
        let idle = Duration::from_millis(limits.body_idle_ms);
        let slow = || refuse(StatusCode::REQUEST_TIMEOUT, "Timeout: the request body came too slowly");
        let (mut bytes, mut held, mut paid) = (Vec::new(), Vec::new(), 0);
        loop {
            let deadline = until.min(Instant::now() + idle);
            let frame = match timeout_at(deadline, self.body.frame()).await {
                Err(_) => return Err(slow()),
                Ok(None) => return Ok(Whole { bytes, _held: held }),
                Ok(Some(Err(_))) => {
                    return Err(refuse(StatusCode::BAD_REQUEST, "Wrong input: the request body broke off"));
                }
                Ok(Some(Ok(frame))) => frame,
            };
            let Ok(piece) = frame.into_data() else { continue };
            if bytes.len() + piece.len() > limits.body_bytes {
                return Err(too_large(limits.body_bytes));
            }
            while paid < bytes.len() + piece.len() {
                let permit = api.0.bodies.try_acquire().map_err(|_| {
                    let mut full = refuse(StatusCode::TOO_MANY_REQUESTS, "Rate limit: too many large requests at once");
                    full.headers_mut().insert(header::RETRY_AFTER, http::HeaderValue::from_static("1"));
                    full
                })?;
                match held.first_mut() {
                    None => held.push(permit),
                    Some(all) => tokio::sync::SemaphorePermit::merge(all, permit),
                }
                paid += UNIT;
            }
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

fn too_large(most: usize) -> Response {
    refuse(StatusCode::PAYLOAD_TOO_LARGE, &format!("Wrong input: the request body is larger than {most} bytes"))
}

fn check_head(headers: &HeaderMap, api: &Api) -> Result<(), Response> {
    let most = api.limits().body_bytes;
    let length = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if length.is_some_and(|length| length > most as u64) {
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

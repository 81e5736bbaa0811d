//! Request bodies: limits on size, on read time, on decoded size, and on the memory of all requests together.

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
use super::memory_budget::Reservation;
use super::response::{bad_request, refuse, unexpected_reply};

/// Minimum bytes reserved from the memory budget at once.
const RESERVE_BYTES: usize = 16 << 10;
/// Bodies from this size on are decoded on a blocking thread: decoding takes milliseconds per megabyte and would block
/// other requests of the worker.
const LARGE_BODY_BYTES: usize = 64 << 10;

/// Time, and factor of the body limit, for reading the rest of a refused body: a connection closed with unread bytes is
/// reset, and the client never sees the response.
const DISCARD_TIMEOUT: Duration = Duration::from_secs(5);
const DISCARD_FACTOR: usize = 4;

/// A complete request body. Its memory reservation, decoded value included, is released when it is dropped.
pub struct BufferedBody {
    pub bytes: Vec<u8>,
    reservation: Reservation,
}

impl BufferedBody {
    /// Decodes the body. From then on its decoded value counts against the budget instead of its bytes.
    ///
    /// # Errors
    /// The error response when the body is invalid, or needs more memory than allowed or available.
    pub async fn decode<T: Send + 'static>(
        &mut self,
        api: &Api,
        decode: impl FnOnce(&[u8], &Limits) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Response> {
        let bytes = std::mem::take(&mut self.bytes);
        let len = bytes.len();
        let memory = self.reservation.budget();
        // The reservation moves into the work, so that it is released only when the work ends, even if the client
        // disconnects.
        let mut reservation = std::mem::replace(&mut self.reservation, memory.reservation());
        let limits = api.limits().clone();
        let run = move || {
            let (decoded, decoded_bytes) = metered(len, Some(memory), || decode(&bytes, &limits));
            drop(bytes);
            reservation.add_taken(decoded_bytes);
            reservation.shrink(len);
            (decoded, reservation)
        };
        let (decoded, reservation) = if len < LARGE_BODY_BYTES {
            run()
        } else {
            tokio::task::spawn_blocking(run).await.map_err(|_| unexpected_reply())?
        };
        self.reservation = reservation;
        decoded.map_err(|error| bad_request(&error))
    }
}

/// A body that records whether it was read to its end. hyper closes a connection with unread bytes after the response; the
/// response must then say `connection: close`, or the client reuses the connection.
pub struct TrackedBody {
    body: Body,
    is_body_read: Arc<AtomicBool>,
}

impl TrackedBody {
    /// Returns the body and the flag that is set at its end.
    pub fn new(body: Body) -> (Self, Arc<AtomicBool>) {
        let is_body_read = Arc::new(AtomicBool::new(body.is_end_stream()));
        (Self { body, is_body_read: Arc::clone(&is_body_read) }, is_body_read)
    }
}

impl HttpBody for TrackedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if frame.is_none() || self.body.is_end_stream() {
            self.is_body_read.store(true, Ordering::Relaxed);
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

/// A request's headers and its unread body.
pub struct UnreadBody {
    pub headers: HeaderMap,
    body: Body,
}

impl<S: Sync> FromRequest<S> for UnreadBody {
    type Rejection = std::convert::Infallible;

    async fn from_request(request: Request, _: &S) -> Result<Self, Self::Rejection> {
        let (parts, body) = request.into_parts();
        Ok(Self { headers: parts.headers, body })
    }
}

impl UnreadBody {
    /// Reads the body as JSON bytes.
    ///
    /// # Errors
    /// The error response when the body is too large, too slow or of another type, or when the memory budget is exhausted.
    pub async fn read(mut self, api: &Api) -> Result<BufferedBody, Response> {
        let rejection = match check_headers(&self.headers, api) {
            Ok(()) => match self.buffer(api).await {
                Ok(body) => return Ok(body),
                Err(rejection) => rejection,
            },
            Err(rejection) => rejection,
        };
        if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
            self.discard(api.limits().request_body_bytes.saturating_mul(DISCARD_FACTOR)).await;
        }
        Err(rejection)
    }

    async fn buffer(&mut self, api: &Api) -> Result<BufferedBody, Response> {
        let limits = api.limits();
        let deadline_of_request = Instant::now() + limits.request_timeout();
        let idle = Duration::from_millis(limits.request_idle_timeout_ms);
        let too_slow = || refuse(StatusCode::REQUEST_TIMEOUT, "Timeout: the request body was sent too slowly");
        let (mut bytes, mut reservation, mut reserved) = (Vec::new(), api.0.memory.reservation(), 0);
        let length = content_length(&self.headers).map_or(0, |length| usize::try_from(length).unwrap_or(0));
        loop {
            let deadline = deadline_of_request.min(Instant::now() + idle);
            let frame = match timeout_at(deadline, self.body.frame()).await {
                Err(_) => return Err(too_slow()),
                Ok(None) => {
                    reservation.shrink(reserved - bytes.len());
                    return Ok(BufferedBody { bytes, reservation });
                }
                Ok(Some(Err(_))) => {
                    return Err(refuse(StatusCode::BAD_REQUEST, "Wrong input: the request body is incomplete"));
                }
                Ok(Some(Ok(frame))) => frame,
            };
            let Ok(chunk) = frame.into_data() else { continue };
            if bytes.len() + chunk.len() > limits.request_body_bytes {
                return Err(too_large(limits.request_body_bytes));
            }
            let needed = (bytes.len() + chunk.len()).saturating_sub(reserved);
            if needed > 0 {
                // Reserve in larger steps to spare the shared counter, but no more than needed when little is left.
                let grown = [needed.max(RESERVE_BYTES), needed].into_iter().find(|bytes| reservation.grow(*bytes));
                reserved += grown.ok_or_else(|| bad_request(&Fault::NoRoom))?;
            }
            reserve_body(&mut bytes, chunk.len(), length);
            bytes.extend_from_slice(&chunk);
        }
    }

    async fn discard(&mut self, max_bytes: usize) {
        let _ = timeout(DISCARD_TIMEOUT, async {
            let mut remaining = max_bytes;
            while let Some(Ok(frame)) = self.body.frame().await {
                match remaining.checked_sub(frame.data_ref().map_or(0, axum::body::Bytes::len)) {
                    Some(rest) => remaining = rest,
                    None => return,
                }
            }
        })
        .await;
    }
}

/// Makes room for `more` bytes. After [`LARGE_BODY_BYTES`] bytes the whole announced length is reserved at once:
/// growing by doubling would fragment memory.
fn reserve_body(bytes: &mut Vec<u8>, more: usize, announced: usize) {
    if bytes.len() + more > bytes.capacity() && bytes.len() >= LARGE_BODY_BYTES {
        bytes.reserve_exact(announced.saturating_sub(bytes.len()));
    }
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn too_large(max_bytes: usize) -> Response {
    refuse(StatusCode::PAYLOAD_TOO_LARGE, &format!("Wrong input: the request body is larger than {max_bytes} bytes"))
}

fn check_headers(headers: &HeaderMap, api: &Api) -> Result<(), Response> {
    let max_bytes = api.limits().request_body_bytes;
    if content_length(headers).is_some_and(|length| length > max_bytes as u64) {
        return Err(too_large(max_bytes));
    }
    if headers.get(header::CONTENT_ENCODING).is_some_and(|coding| coding != "identity") {
        return Err(refuse(StatusCode::UNSUPPORTED_MEDIA_TYPE, "Not supported: compressed request bodies"));
    }
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    if !essence.eq_ignore_ascii_case("application/json") {
        return Err(refuse(StatusCode::UNSUPPORTED_MEDIA_TYPE, "Wrong input: Content-Type must be application/json"));
    }
    Ok(())
}

//! Response bodies, sent in chunks: a client that reads slowly holds only its own share of the memory budget, and no longer
//! than the write timeout.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::body::{Body, Bytes, HttpBody};
use hyper::body::{Frame, SizeHint};
use meridian_model::{Answer, Record};
use parking_lot::Mutex;

use super::memory_budget::Reservation;

/// Bytes per frame. hyper polls the next one when about this much fits into the socket's buffer.
const CHUNK_BYTES: usize = 64 << 10;
/// Approximate JSON bytes of a point without vectors and payload, and of one number of a vector.
const POINT_BYTES: usize = 96;
const NUMBER_BYTES: usize = 13;

/// MemoryBudget reserved for the response of one request until it is sent.
#[derive(Clone)]
pub struct ResponseReservation(pub Arc<Mutex<Reservation>>);

/// A body that holds its memory reservation until it is sent.
pub struct ResponseBody {
    body: Body,
    rest: Bytes,
    _reservation: ResponseReservation,
}

impl ResponseBody {
    pub fn new(body: Body, reservation: ResponseReservation) -> Self {
        Self { body, rest: Bytes::new(), _reservation: reservation }
    }
}

impl HttpBody for ResponseBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.rest.is_empty() {
            match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(bytes) => self.rest = bytes,
                    Err(frame) => return Poll::Ready(Some(Ok(frame))),
                },
                end => return Poll::Ready(end),
            }
        }
        let chunk = self.rest.len().min(CHUNK_BYTES);
        Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(chunk)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let rest = self.rest.len() as u64;
        let inner = self.body.size_hint();
        match inner.exact() {
            Some(exact) => SizeHint::with_exact(exact + rest),
            None => SizeHint::default(),
        }
    }
}

/// Approximate size of an answer as JSON, in bytes.
pub fn rendered_bytes(answer: &Answer) -> usize {
    match answer {
        Answer::Found(found) => found.iter().map(|found| record_bytes(&found.record)).sum(),
        Answer::Records(records) | Answer::Page(records, _) => records.iter().map(record_bytes).sum(),
        Answer::Count(_) => 0,
    }
}

fn record_bytes(record: &Record) -> usize {
    let vectors = record.vectors.iter().flatten();
    let numbers: usize = vectors.map(|(name, vector)| name.len() + 8 + vector.len() * NUMBER_BYTES).sum();
    POINT_BYTES + numbers + record.payload.as_ref().map_or(0, |payload| payload.0.len())
}

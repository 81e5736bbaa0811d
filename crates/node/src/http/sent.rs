//! Answers on their way: in pieces, so that a client that does not read holds its share of the budget and no more, and no
//! longer than the write timeout.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::body::{Body, Bytes, HttpBody};
use hyper::body::{Frame, SizeHint};
use meridian_model::{Answer, Record};
use parking_lot::Mutex;

use super::memory::Share;

/// Bytes that are handed over at once. The next piece is taken when this one is in the socket's buffer, nearly.
const PIECE: usize = 64 << 10;
/// Bytes of JSON around a point and its id, and around one number of a vector, about.
const POINT: usize = 96;
const NUMBER: usize = 13;

/// The share that the answer to one request holds until it is sent.
#[derive(Clone)]
pub struct AnswerShare(pub Arc<Mutex<Share>>);

/// A body that holds its share until it is sent.
pub struct Sent {
    body: Body,
    rest: Bytes,
    _share: AnswerShare,
}

impl Sent {
    pub fn new(body: Body, share: AnswerShare) -> Self {
        Self { body, rest: Bytes::new(), _share: share }
    }
}

impl HttpBody for Sent {
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
        let piece = self.rest.len().min(PIECE);
        Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(piece)))))
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

/// About the bytes of an answer as JSON.
pub fn rendered_bytes(answer: &Answer) -> usize {
    match answer {
        Answer::Found(found) => found.iter().map(|found| record_bytes(&found.record)).sum(),
        Answer::Records(records) | Answer::Page(records, _) => records.iter().map(record_bytes).sum(),
        Answer::Count(_) => 0,
    }
}

fn record_bytes(record: &Record) -> usize {
    let vectors = record.vectors.iter().flatten();
    let numbers: usize = vectors.map(|(name, vector)| name.len() + 8 + vector.len() * NUMBER).sum();
    POINT + numbers + record.payload.as_ref().map_or(0, |payload| payload.0.len())
}

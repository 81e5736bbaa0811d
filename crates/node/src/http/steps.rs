//! One call of a client: what it demands, and the asks that answer it.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use axum::extract::{FromRequestParts, Path, Query as QueryString};
use axum::response::Response;
use http::StatusCode;
use http::request::Parts;
use meridian_api::freshness;
use meridian_api::http::{Fault, QueryRequest, Target};
use meridian_model::client::{Body, Demand, Freshness, PointOp, Refusal, Reply, ReplyBody, Request};
use meridian_model::{Answer, CollectionName, Filter, Found, PointId, Query, WriteId};
use tracing::Instrument;

use super::Api;
use super::answer::{Started, Trace, faulty, refuse, refused, refused_at_the_door, unexpected};
use super::sent::{AnswerShare, rendered_bytes};

/// How much longer than its timeout a request waits for a gateway that should have answered by then.
const GRACE: Duration = Duration::from_millis(500);

/// Pause before an ask that was refused for want of room is repeated.
const ROOM: Duration = Duration::from_millis(5);

/// What the gateway said.
type Answered = Result<(ReplyBody, Freshness), (Refusal, Freshness)>;

/// How long a change at a secondary region waits until it is visible there, when its client names no timeout.
const VISIBLE_WITHIN: Duration = Duration::from_secs(2);

/// What the query parameters ask for.
#[derive(Default)]
struct Parameters {
    timeout: Option<Duration>,
    wait: bool,
}

/// What became of a write.
#[derive(Clone, Copy)]
pub struct Written {
    pub seq: u64,
    /// Reads of this region see it.
    pub visible: bool,
}

/// One call, its headers and query parameters understood.
pub struct Call {
    pub api: Api,
    pub demand: Demand,
    started: Instant,
    timeout: Duration,
    /// `wait=true`.
    waits: bool,
    /// From the start, how long a change may take to become visible.
    visible_within: Duration,
    /// Asks that are refused for want of room are repeated until the timeout.
    is_patient: bool,
    share: Option<AnswerShare>,
    trace: String,
    params: HashMap<String, String>,
}

impl FromRequestParts<Api> for Call {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Response> {
        let bad = |message: String| refuse(StatusCode::BAD_REQUEST, &format!("Wrong input: {message}"));
        let Path(params) = Path::<HashMap<String, String>>::from_request_parts(parts, api)
            .await
            .map_err(|rejection| bad(format!("path: {}", rejection.body_text())))?;
        let QueryString(query) = QueryString::<Vec<(String, String)>>::from_request_parts(parts, api)
            .await
            .map_err(|rejection| bad(format!("query parameters: {}", rejection.body_text())))?;
        let Parameters { timeout: named, wait: waits } = query_parameters(&query).map_err(bad)?;
        let values = |name| parts.headers.get_all(name).iter().map(|value| value.as_bytes());
        let demand = freshness::demand(values).map_err(|fault| bad(fault.to_string()))?;
        let share = parts.extensions.get::<AnswerShare>().cloned();
        let started = parts.extensions.get::<Started>().map_or_else(Instant::now, |started| started.0);
        let trace = parts.extensions.get::<Trace>().map(|trace| trace.0.clone()).unwrap_or_default();
        let (timeout, visible_within) = (api.timeout(named), named.unwrap_or(VISIBLE_WITHIN));
        let (api, is_patient) = (api.clone(), false);
        Ok(Self { api, demand, started, timeout, waits, visible_within, is_patient, share, trace, params })
    }
}

/// Checks the query parameters. `ordering` and `consistency` ask for no more than what is always so: one leader orders a
/// write, a read sees all acknowledged writes. In the primary region so does `wait`: a write is complete when it is answered.
fn query_parameters(query: &[(String, String)]) -> Result<Parameters, String> {
    let mut asked = Parameters::default();
    for (name, value) in query {
        let fine = match name.as_str() {
            "wait" => {
                asked.wait = value == "true";
                matches!(value.as_str(), "true" | "false")
            }
            "ordering" => matches!(value.as_str(), "weak" | "medium" | "strong"),
            "consistency" => {
                matches!(value.as_str(), "majority" | "quorum" | "all") || value.parse().is_ok_and(|n: u64| n > 0)
            }
            "timeout" => {
                asked.timeout = value.parse().ok().filter(|seconds| *seconds > 0).map(Duration::from_secs);
                asked.timeout.is_some()
            }
            _ => return Err(format!("unknown query parameter {name:?}")),
        };
        if !fine {
            return Err(format!("query parameter {name}: {value:?} is not possible"));
        }
    }
    Ok(asked)
}

impl Call {
    /// Time since the request came.
    pub fn time(&self) -> Duration {
        self.started.elapsed()
    }

    /// The text under a name of the path.
    pub fn param(&self, name: &str) -> &str {
        self.params.get(name).map_or("", String::as_str)
    }

    /// The collection that the path names.
    ///
    /// # Errors
    /// The answer to give when it is no name.
    pub fn collection(&self) -> Result<CollectionName, Response> {
        CollectionName::new(self.param("name"))
            .map_err(|fault| refuse(StatusCode::BAD_REQUEST, &format!("Wrong input: {fault}")))
    }

    /// Refuses a read that would wait too long, before its body is decoded.
    ///
    /// # Errors
    /// The answer to give.
    pub fn admit_read(&self) -> Result<(), Response> {
        self.api.0.gateway.admit_read().map_err(|refusal| refused_at_the_door(&refusal))
    }

    /// For a call of many asks, of which the first was admitted: the next ones wait for room, so that what was done is not
    /// in vain.
    #[must_use]
    pub fn patient(self) -> Self {
        Self { is_patient: true, ..self }
    }

    /// Asks the gateway under the client's demand.
    ///
    /// # Errors
    /// The answer to give for a refusal.
    pub async fn ask(&self, body: Body) -> Result<(ReplyBody, Freshness), Response> {
        let demand = self.demand.clone();
        while self.is_patient && !body.changes() && self.timeout > self.time() + ROOM {
            match self.ask_once(body.clone(), demand.clone()).await? {
                Err((Refusal::Overloaded(_), _)) => tokio::time::sleep(ROOM).await,
                answered => return answered.map_err(|(refusal, freshness)| refused(&refusal, &freshness, self.time())),
            }
        }
        let answered = self.ask_once(body, demand).await?;
        answered.map_err(|(refusal, freshness)| refused(&refusal, &freshness, self.time()))
    }

    async fn ask_once(&self, body: Body, demand: Demand) -> Result<Answered, Response> {
        let left = self.timeout.saturating_sub(self.time());
        // Qdrant knows no `wait` for collections: they are there when the call returns.
        let waits = self.waits || matches!(body, Body::CreateCollection(_) | Body::DropCollection(_));
        let wait = waits.then(|| self.visible_within.saturating_sub(self.time()));
        let (id, traceparent) = (WriteId(rand::random()), Some(self.trace.clone()));
        let changes = body.changes();
        let request = Request { id, body, demand, traceparent, timeout: left, wait };
        let span = tracing::info_span!(
            "ask",
            traceparent = self.trace,
            required_freshness_ms =
                request.demand.freshness.map(|required| u64::try_from(required.0.as_millis()).unwrap_or(u64::MAX)),
            freshness_outcome = tracing::field::Empty,
            staleness_ms = tracing::field::Empty,
        );
        let reply = tokio::time::timeout(left + GRACE, self.api.0.gateway.ask(request)).instrument(span.clone()).await;
        let Ok(Reply { body, freshness }) = reply else {
            // The gateway did not even say that it knows nothing.
            let refusal = if changes {
                Refusal::OutcomeUnknown(format!("no answer within {:?}", self.timeout))
            } else {
                Refusal::Timeout(self.timeout)
            };
            let status = StatusCode::from_u16(meridian_api::http::status_of(&refusal));
            return Err(refuse(
                status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
                &meridian_api::http::message_of(&refusal),
            ));
        };
        let outcome = self.api.0.metrics.freshness_outcome(freshness.outcome);
        span.record("freshness_outcome", outcome);
        span.record("staleness_ms", u64::try_from(freshness.staleness.as_millis()).unwrap_or(u64::MAX));
        span.in_scope(|| tracing::debug!("answered"));
        Ok(match body {
            Ok(body) => Ok((body, freshness)),
            Err(refusal) => Err((refusal, freshness)),
        })
    }

    /// Reads from a collection under the client's demand.
    ///
    /// # Errors
    /// The answer to give for a refusal.
    pub async fn read(&self, collection: CollectionName, query: Query) -> Result<(Answer, Freshness), Response> {
        match self.ask(Body::Read { collection, query }).await? {
            (ReplyBody::Answer(answer), freshness) => {
                self.hold(rendered_bytes(&answer))?;
                Ok((answer, freshness))
            }
            _ => Err(unexpected()),
        }
    }

    /// Takes the memory for so much of the answer, until it is sent.
    fn hold(&self, bytes: usize) -> Result<(), Response> {
        let most = self.api.limits().response_body_bytes;
        let Some(AnswerShare(share)) = &self.share else { return Ok(()) };
        let mut share = share.lock();
        if share.bytes() + bytes > most {
            let text = format!(
                "Wrong input: the answer must be at most {most} bytes (got about {}); ask for fewer points, or leave out \
                 payloads and vectors",
                share.bytes() + bytes
            );
            return Err(refuse(StatusCode::BAD_REQUEST, &text));
        }
        if share.grow(bytes) { Ok(()) } else { Err(faulty(&Fault::NoRoom)) }
    }

    /// Writes to a collection.
    ///
    /// # Errors
    /// The answer to give for a refusal.
    pub async fn write(&self, collection: CollectionName, ops: Vec<PointOp>) -> Result<(Written, Freshness), Response> {
        self.written(Body::Write { collection, ops }).await
    }

    /// Deletes the points that match `filter` when they are read, unless they are written before they are deleted; gives
    /// the largest sequence.
    ///
    /// # Errors
    /// The answer to give for a refusal.
    pub async fn delete_by_filter(
        &self,
        collection: CollectionName,
        filter: Filter,
    ) -> Result<(Written, Freshness), Response> {
        self.written(Body::DeleteByFilter { collection, filter }).await
    }

    async fn written(&self, body: Body) -> Result<(Written, Freshness), Response> {
        match self.ask(body).await? {
            (ReplyBody::Written(seq), freshness) => Ok((Written { seq, visible: true }, freshness)),
            (ReplyBody::Acknowledged(seq), freshness) => Ok((Written { seq, visible: false }, freshness)),
            _ => Err(unexpected()),
        }
    }

    /// Runs one search; the points it skips are gone from the answer.
    ///
    /// # Errors
    /// The answer to give for a refusal.
    pub async fn search(
        &self,
        collection: CollectionName,
        ask: &QueryRequest,
    ) -> Result<(Vec<Found>, Freshness), Response> {
        let (mut found, freshness) = match &ask.target {
            Target::Vector(vector) => self.nearest(collection, ask, vector.clone()).await?,
            Target::Point(point) => {
                let (vector, before) = self.vector_of(collection.clone(), ask, *point).await?;
                let (found, after) = self.nearest(collection, ask, vector).await?;
                (found, join(before, after))
            }
            Target::Any => match self.read(collection, ask.scroll()).await? {
                (Answer::Page(records, _), freshness) => {
                    (records.into_iter().map(|record| Found { record, score: 0.0 }).collect(), freshness)
                }
                _ => return Err(unexpected()),
            },
        };
        found.drain(..ask.skip.min(found.len()));
        Ok((found, freshness))
    }

    async fn nearest(
        &self,
        collection: CollectionName,
        ask: &QueryRequest,
        vector: Vec<f32>,
    ) -> Result<(Vec<Found>, Freshness), Response> {
        match self.read(collection, ask.search(vector)).await? {
            (Answer::Found(found), freshness) => Ok((found, freshness)),
            _ => Err(unexpected()),
        }
    }

    async fn vector_of(
        &self,
        collection: CollectionName,
        ask: &QueryRequest,
        point: PointId,
    ) -> Result<(Vec<f32>, Freshness), Response> {
        let (answer, freshness) = self.read(collection, ask.vector_of(point)).await?;
        let Answer::Records(records) = answer else { return Err(unexpected()) };
        let missing = |what: String| Err(refused(&Refusal::NotFound(what), &freshness, self.time()));
        let Some(record) = records.into_iter().next() else {
            return missing(format!("No point with id {point} found"));
        };
        match record.vectors.and_then(|mut vectors| vectors.remove(ask.using())) {
            Some(vector) => Ok((vector, freshness)),
            None => missing(format!("Point {point} has no vector {:?}", ask.using())),
        }
    }
}

/// What is true of an answer that needed two reads: the worse of everything, the positions of both.
pub fn join(before: Freshness, after: Freshness) -> Freshness {
    let mut token = before.token;
    token.merge(&after.token);
    Freshness {
        staleness: before.staleness.max(after.staleness),
        served_region: after.served_region,
        token,
        stale: before.stale || after.stale,
        outcome: before.outcome.max(after.outcome),
    }
}

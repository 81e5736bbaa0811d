//! One HTTP call: its freshness demand, and the gateway requests that answer it.

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
use super::response::{
    RequestStart, TraceContext, bad_request, early_error_response, error_response, refuse, unexpected_reply,
};
use super::response_body::{ResponseReservation, rendered_bytes};

/// Time that a request waits beyond its timeout for a gateway that should have answered by then.
const GATEWAY_GRACE: Duration = Duration::from_millis(500);

/// Pause before a request that was refused as overload is repeated.
const OVERLOAD_RETRY_DELAY: Duration = Duration::from_millis(5);

/// Reply of the gateway.
type GatewayResult = Result<(ReplyBody, Freshness), (Refusal, Freshness)>;

/// How long a write at a secondary region waits until it is visible there, when the client gives no timeout.
const DEFAULT_VISIBLE_WITHIN: Duration = Duration::from_secs(2);

/// Parsed query parameters.
#[derive(Default)]
struct Parameters {
    timeout: Option<Duration>,
    wait: bool,
}

/// Result of an acknowledged write.
#[derive(Clone, Copy)]
pub struct Written {
    pub seq: u64,
    /// Whether reads of this region see it.
    pub visible: bool,
}

/// One call with parsed headers and query parameters.
pub struct Call {
    pub api: Api,
    pub demand: Demand,
    started: Instant,
    timeout: Duration,
    /// `wait=true`.
    waits: bool,
    /// Time from the start of the call within which a write should become visible.
    visible_within: Duration,
    /// Whether requests that are refused as overload are repeated until the timeout.
    retries_overload: bool,
    reservation: Option<ResponseReservation>,
    trace: String,
    params: HashMap<String, String>,
}

impl FromRequestParts<Api> for Call {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Response> {
        let bad_request_text = |message: String| refuse(StatusCode::BAD_REQUEST, &format!("Wrong input: {message}"));
        let Path(params) = Path::<HashMap<String, String>>::from_request_parts(parts, api)
            .await
            .map_err(|rejection| bad_request_text(format!("path: {}", rejection.body_text())))?;
        let QueryString(query) = QueryString::<Vec<(String, String)>>::from_request_parts(parts, api)
            .await
            .map_err(|rejection| bad_request_text(format!("query parameters: {}", rejection.body_text())))?;
        let Parameters { timeout: named, wait: waits } = query_parameters(&query).map_err(bad_request_text)?;
        let header_values = |name| parts.headers.get_all(name).iter().map(|value| value.as_bytes());
        let demand = freshness::demand(header_values).map_err(|error| bad_request_text(error.to_string()))?;
        let reservation = parts.extensions.get::<ResponseReservation>().cloned();
        let started = parts.extensions.get::<RequestStart>().map_or_else(Instant::now, |started| started.0);
        let trace = parts.extensions.get::<TraceContext>().map(|trace| trace.0.clone()).unwrap_or_default();
        let (timeout, visible_within) = (api.timeout(named), named.unwrap_or(DEFAULT_VISIBLE_WITHIN));
        let (api, retries_overload) = (api.clone(), false);
        Ok(Self { api, demand, started, timeout, waits, visible_within, retries_overload, reservation, trace, params })
    }
}

/// Parses the query parameters. `ordering` and `consistency` need no action: one leader orders all writes, and a read
/// sees all acknowledged writes. The same holds for `wait` in the primary region: a write is complete when it is
/// acknowledged.
fn query_parameters(query: &[(String, String)]) -> Result<Parameters, String> {
    let mut parameters = Parameters::default();
    for (name, value) in query {
        let is_valid = match name.as_str() {
            "wait" => {
                parameters.wait = value == "true";
                matches!(value.as_str(), "true" | "false")
            }
            "ordering" => matches!(value.as_str(), "weak" | "medium" | "strong"),
            "consistency" => {
                matches!(value.as_str(), "majority" | "quorum" | "all") || value.parse().is_ok_and(|n: u64| n > 0)
            }
            "timeout" => {
                parameters.timeout = value.parse().ok().filter(|seconds| *seconds > 0).map(Duration::from_secs);
                parameters.timeout.is_some()
            }
            _ => return Err(format!("unknown query parameter {name:?}")),
        };
        if !is_valid {
            return Err(format!("query parameter {name} is invalid (got {value:?})"));
        }
    }
    Ok(parameters)
}

impl Call {
    /// Time since the request arrived.
    pub fn time(&self) -> Duration {
        self.started.elapsed()
    }

    /// Value of a path parameter; empty when it is absent.
    pub fn param(&self, name: &str) -> &str {
        self.params.get(name).map_or("", String::as_str)
    }

    /// The collection in the path.
    ///
    /// # Errors
    /// The error response when the name is invalid.
    pub fn collection(&self) -> Result<CollectionName, Response> {
        CollectionName::new(self.param("name"))
            .map_err(|error| refuse(StatusCode::BAD_REQUEST, &format!("Wrong input: {error}")))
    }

    /// Refuses a read that would wait too long, before its body is decoded.
    ///
    /// # Errors
    /// The error response.
    pub fn admit_read(&self) -> Result<(), Response> {
        self.api.0.gateway.admit_read().map_err(|refusal| early_error_response(&refusal))
    }

    /// For a call with several requests whose first was admitted: later requests are retried when overloaded, so that
    /// completed work is not lost.
    #[must_use]
    pub fn retry_when_overloaded(self) -> Self {
        Self { retries_overload: true, ..self }
    }

    /// Executes a request under the client's freshness demand.
    ///
    /// # Errors
    /// The error response for a refusal.
    pub async fn execute(&self, body: Body) -> Result<(ReplyBody, Freshness), Response> {
        let demand = self.demand.clone();
        while self.retries_overload && !body.changes() && self.timeout > self.time() + OVERLOAD_RETRY_DELAY {
            match self.execute_once(body.clone(), demand.clone()).await? {
                Err((Refusal::Overloaded(_), _)) => tokio::time::sleep(OVERLOAD_RETRY_DELAY).await,
                result => {
                    return result.map_err(|(refusal, freshness)| error_response(&refusal, &freshness, self.time()));
                }
            }
        }
        let result = self.execute_once(body, demand).await?;
        result.map_err(|(refusal, freshness)| error_response(&refusal, &freshness, self.time()))
    }

    async fn execute_once(&self, body: Body, demand: Demand) -> Result<GatewayResult, Response> {
        let remaining = self.timeout.saturating_sub(self.time());
        // Qdrant has no `wait` for collections: they exist when the call returns.
        let waits = self.waits || matches!(body, Body::CreateCollection(_) | Body::DropCollection(_));
        let wait = waits.then(|| self.visible_within.saturating_sub(self.time()));
        let (id, traceparent) = (WriteId(rand::random()), Some(self.trace.clone()));
        let changes = body.changes();
        let request = Request { id, body, demand, traceparent, timeout: remaining, wait };
        let span = tracing::info_span!(
            "ask",
            traceparent = self.trace,
            required_freshness_ms =
                request.demand.freshness.map(|required| u64::try_from(required.0.as_millis()).unwrap_or(u64::MAX)),
            freshness_outcome = tracing::field::Empty,
            staleness_ms = tracing::field::Empty,
        );
        let reply = tokio::time::timeout(remaining + GATEWAY_GRACE, self.api.0.gateway.execute(request))
            .instrument(span.clone())
            .await;
        let Ok(Reply { body, freshness }) = reply else {
            // The gateway missed its own deadline.
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

    /// Executes a read under the client's freshness demand.
    ///
    /// # Errors
    /// The error response for a refusal.
    pub async fn read(&self, collection: CollectionName, query: Query) -> Result<(Answer, Freshness), Response> {
        match self.execute(Body::Read { collection, query }).await? {
            (ReplyBody::Answer(answer), freshness) => {
                self.reserve(rendered_bytes(&answer))?;
                Ok((answer, freshness))
            }
            _ => Err(unexpected_reply()),
        }
    }

    /// Reserves memory for a part of the response until it is sent.
    fn reserve(&self, bytes: usize) -> Result<(), Response> {
        let max_bytes = self.api.limits().response_body_bytes;
        let Some(ResponseReservation(reservation)) = &self.reservation else { return Ok(()) };
        let mut reservation = reservation.lock();
        if reservation.bytes() + bytes > max_bytes {
            let text = format!(
                "Wrong input: the answer must be at most {max_bytes} bytes (got about {}); ask for fewer points, or leave out \
                 payloads and vectors",
                reservation.bytes() + bytes
            );
            return Err(refuse(StatusCode::BAD_REQUEST, &text));
        }
        if reservation.grow(bytes) { Ok(()) } else { Err(bad_request(&Fault::NoRoom)) }
    }

    /// Writes points.
    ///
    /// # Errors
    /// The error response for a refusal.
    pub async fn write(&self, collection: CollectionName, ops: Vec<PointOp>) -> Result<(Written, Freshness), Response> {
        self.execute_write(Body::Write { collection, ops }).await
    }

    /// Deletes the points that match `filter`, except those written again meanwhile; returns the largest sequence.
    ///
    /// # Errors
    /// The error response for a refusal.
    pub async fn delete_by_filter(
        &self,
        collection: CollectionName,
        filter: Filter,
    ) -> Result<(Written, Freshness), Response> {
        self.execute_write(Body::DeleteByFilter { collection, filter }).await
    }

    async fn execute_write(&self, body: Body) -> Result<(Written, Freshness), Response> {
        match self.execute(body).await? {
            (ReplyBody::Written(seq), freshness) => Ok((Written { seq, visible: true }, freshness)),
            (ReplyBody::Acknowledged(seq), freshness) => Ok((Written { seq, visible: false }, freshness)),
            _ => Err(unexpected_reply()),
        }
    }

    /// Runs one search and removes the first `skip` results (offset).
    ///
    /// # Errors
    /// The error response for a refusal.
    pub async fn search(
        &self,
        collection: CollectionName,
        request: &QueryRequest,
    ) -> Result<(Vec<Found>, Freshness), Response> {
        let (mut found, freshness) = match &request.target {
            Target::Vector(vector) => self.nearest(collection, request, vector.clone()).await?,
            Target::Point(point) => {
                let (vector, before) = self.vector_of(collection.clone(), request, *point).await?;
                let (found, after) = self.nearest(collection, request, vector).await?;
                (found, merge_freshness(before, after))
            }
            Target::Any => match self.read(collection, request.scroll()).await? {
                (Answer::Page(records, _), freshness) => {
                    (records.into_iter().map(|record| Found { record, score: 0.0 }).collect(), freshness)
                }
                _ => return Err(unexpected_reply()),
            },
        };
        found.drain(..request.skip.min(found.len()));
        Ok((found, freshness))
    }

    async fn nearest(
        &self,
        collection: CollectionName,
        request: &QueryRequest,
        vector: Vec<f32>,
    ) -> Result<(Vec<Found>, Freshness), Response> {
        match self.read(collection, request.search(vector)).await? {
            (Answer::Found(found), freshness) => Ok((found, freshness)),
            _ => Err(unexpected_reply()),
        }
    }

    async fn vector_of(
        &self,
        collection: CollectionName,
        request: &QueryRequest,
        point: PointId,
    ) -> Result<(Vec<f32>, Freshness), Response> {
        let (answer, freshness) = self.read(collection, request.vector_of(point)).await?;
        let Answer::Records(records) = answer else { return Err(unexpected_reply()) };
        let missing = |what: String| Err(error_response(&Refusal::NotFound(what), &freshness, self.time()));
        let Some(record) = records.into_iter().next() else {
            return missing(format!("No point with id {point} found"));
        };
        match record.vectors.and_then(|mut vectors| vectors.remove(request.using())) {
            Some(vector) => Ok((vector, freshness)),
            None => missing(format!("Point {point} has no vector {:?}", request.using())),
        }
    }
}

/// Freshness of a response that needed two reads: the worse of both, with the positions of both.
pub fn merge_freshness(before: Freshness, after: Freshness) -> Freshness {
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

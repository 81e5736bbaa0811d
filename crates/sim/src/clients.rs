//! Simulated clients: their requests, retries and recorded history.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use meridian_model::client::{Body, Demand, Freshness, OnStale, Outcome, PointOp, Refusal, Reply, ReplyBody, Request};
use meridian_model::{
    Answer, CollectionDef, CollectionName, Condition, Consistency, Distance, Fields, Filter, HnswParams, Names,
    OriginShard, Payload, PointId, Query, Record, RequiredFreshness, Scalar, Search, Select, ShardNumber, Traceparent,
    VectorDef, Vectors, VersionVector, WriteId,
};
use meridian_replica::Event;

use crate::clock::{MILLI, Micros, SECOND};
use crate::committed_log::{CLASSES, next_payload_of, payload_of};
use crate::divergence::Divergences;
use crate::history::{FilteredRecord, ReadRecord, RefusedRecord, Seen, WriteRecord};
use crate::upgrade::NEXT_KEY;
use crate::world::{CLOCK_BOUND, SimEvent, World};

/// The checked collection.
pub const MAIN: &str = "main";
/// A collection that is created and dropped repeatedly.
const SIDE: &str = "side";
/// Number of points, shared by all clients.
pub const POINTS: u64 = 40;
const CLIENTS: usize = 24;
/// Requests whose client disconnects soon after, per mille.
const DISCONNECTS_PER_MILLE: u64 = 20;
/// Upserts that need the next behavior version, per mille, in runs with an upgrade.
const NEXT_PER_MILLE: u64 = 150;
/// Attempts of a write before its client gives up.
const MAX_ATTEMPTS: u32 = 8;
/// Time after the last fault from which the region must know that it is fresh.
const SETTLE_TIME: Micros = 3 * SECOND;
/// Required freshness that a settled region must meet: statement interval, latency and a busy disk.
const EASY_FRESHNESS_MS: u64 = 250;

struct Client {
    region: usize,
    turn: u64,
    token: VersionVector,
    pending: Option<PendingRequest>,
}

/// A request in flight.
struct PendingRequest {
    request: Request,
    ticket: u64,
    attempts: u32,
    invoked: Micros,
    gateway_region: usize,
    /// Index in the history, if the request writes the checked collection.
    write: Option<usize>,
    /// Index among the deletes by filter of the checked collection.
    filtered: Option<usize>,
    freshness: Option<Duration>,
    /// Whether every attempt was answered with a refusal that guarantees no effect.
    did_nothing: bool,
    /// Whether the response need not be marked stale, judged by true time.
    could_be_unmarked: bool,
}

/// All clients.
pub struct Clients {
    all: Vec<Client>,
    tickets: BTreeMap<u64, usize>,
    next_ticket: u64,
    next_value: u64,
    /// Operations begun.
    pub begun: u64,
    ready: bool,
}

impl Clients {
    pub fn new() -> Self {
        Self { all: Vec::new(), tickets: BTreeMap::new(), next_ticket: 1, next_value: 1, begun: 0, ready: false }
    }

    /// Whether no request is in flight.
    pub fn are_idle(&self) -> bool {
        self.all.iter().all(|client| client.pending.is_none())
    }
}

pub fn name(name: &str) -> CollectionName {
    CollectionName::new(name).expect("a good name")
}

fn definition(collection: &str) -> CollectionDef {
    let hnsw = HnswParams { m: 4, ef_construct: 16, ..HnswParams::default() };
    let vector = VectorDef { dim: 4, distance: Distance::Euclid, hnsw };
    CollectionDef { name: name(collection), vectors: [(String::new(), vector)].into_iter().collect() }
}

fn select_payload() -> Select {
    Select { payload: Fields::All, vectors: Names::None }
}

fn filter_by_id(point: PointId) -> Option<Filter> {
    let must = vec![Condition::HasId(BTreeSet::from([point]))];
    Some(Filter { must, ..Filter::default() })
}

impl World {
    pub fn start_clients(&mut self) {
        for client in 0..CLIENTS {
            let region = client % 2;
            self.clients.all.push(Client { region, turn: 0, token: VersionVector::default(), pending: None });
            let at = self.rng.between(300, 900) * MILLI;
            self.queue.push(at, SimEvent::Client { client, turn: 0 });
        }
    }

    /// Wakes a client: to send, to retry or to give up.
    pub fn client_wakes(&mut self, client: usize, turn: u64) {
        if self.clients.all[client].turn != turn {
            return;
        }
        if self.clients.all[client].pending.is_some() {
            return self.retry(client, true);
        }
        if self.faults_stopped {
            return;
        }
        self.begin(client);
    }

    fn wake_in(&mut self, client: usize, after: Micros) {
        let held = &mut self.clients.all[client];
        held.turn += 1;
        let turn = held.turn;
        self.queue.push(self.now + after, SimEvent::Client { client, turn });
    }

    fn begin(&mut self, client: usize) {
        let id = WriteId((u128::from(self.rng.next()) << 64) | u128::from(self.rng.next()));
        let timeout = Duration::from_millis(self.rng.between(400, 2500));
        let mut demand = Demand::default();
        let body = if self.clients.ready {
            self.compose(client, &mut demand)
        } else if client == 0 {
            Body::CreateCollection(definition(MAIN))
        } else {
            return self.wake_in(client, 100 * MILLI);
        };
        let freshness = demand.freshness.map(|wanted| wanted.0);
        let write = self.record_write(client, id, &body);
        self.clients.begun += 1;
        let gateway_region = self.clients.all[client].region;
        let trace = Traceparent { trace: id.0 | 1, span: 1 + client as u64, flags: 1 };
        let filtered = self.record_filtered(client, trace.trace, &body);
        // A change with `wait` must be visible in its region when it is acknowledged.
        let wait = self.rng.per_mille(600).then(|| Duration::from_millis(self.rng.between(20, 2_000)));
        let request = Request { id, body, demand, traceparent: Some(trace.to_string()), timeout, wait };
        let pending = PendingRequest {
            request,
            ticket: 0,
            attempts: 0,
            invoked: self.now,
            gateway_region,
            write,
            filtered,
            freshness,
            did_nothing: true,
            could_be_unmarked: false,
        };
        self.clients.all[client].pending = Some(pending);
        self.submit(client);
    }

    fn record_write(&mut self, client: usize, id: WriteId, body: &Body) -> Option<usize> {
        let Body::Write { collection, ops } = body else { return None };
        if collection.as_str() != MAIN {
            return None;
        }
        let change = |op: &PointOp| match op {
            PointOp::Upsert { point, payload, .. } => (*point, crate::committed_log::value_of(&payload.0)),
            PointOp::Delete { point } => (*point, None),
        };
        let changes = ops.iter().map(change).collect();
        let record = WriteRecord { client, id, changes, invoked: self.now, acked: None, visible: None };
        self.history.writes.push(record);
        Some(self.history.writes.len() - 1)
    }

    fn record_filtered(&mut self, client: usize, trace: u128, body: &Body) -> Option<usize> {
        let Body::DeleteByFilter { collection, filter } = body else { return None };
        if collection.as_str() != MAIN {
            return None;
        }
        let class = class_of_filter(filter)?;
        self.history.filtered.push(FilteredRecord {
            client,
            trace,
            class,
            invoked: self.now,
            acked: None,
            visible: None,
        });
        Some(self.history.filtered.len() - 1)
    }

    fn compose(&mut self, client: usize, demand: &mut Demand) -> Body {
        match self.rng.below(1000) {
            0..=4 => return Body::CreateCollection(definition(SIDE)),
            5..=8 => return Body::DropCollection(name(SIDE)),
            9..=12 => return Body::ListCollections,
            13..=16 => return Body::DescribeCollection(name(MAIN)),
            17..=18 => return self.delete_a_class(SIDE),
            19..=30 => {
                let ops = self.changes(1, 0);
                return Body::Write { collection: name(SIDE), ops };
            }
            31..=380 => return Body::Write { collection: name(MAIN), ops: self.changes(1, 0) },
            381..=420 => return Body::Write { collection: name(MAIN), ops: self.changes(3, 200) },
            421..=445 => return self.delete_a_class(MAIN),
            446..=490 => return Body::Write { collection: name(MAIN), ops: self.changes(1, 1000) },
            491..=590 => demand.consistency = Some(Consistency::Strong),
            591..=730 => {}
            731..=880 => {
                let millis = *self.rng.pick(&[20, 50, 100, 150, 250, 500, 1000]).expect("not empty");
                demand.freshness = Some(RequiredFreshness(Duration::from_millis(millis)));
                use OnStale::{Fail, Redirect, Serve, Wait};
                demand.on_stale = match self.rng.below(7) {
                    0 => Some(vec![Serve]),
                    1 => Some(vec![Wait, Serve]),
                    2 => Some(vec![Redirect, Serve]),
                    3 => Some(vec![Wait, Redirect, Serve]),
                    4 => Some(vec![Wait, Fail]),
                    5 => Some(vec![Fail]),
                    _ => None,
                };
                demand.max_wait = self.rng.per_mille(500).then(|| Duration::from_millis(self.rng.between(5, 300)));
            }
            881..=950 => {
                demand.consistency = Some(Consistency::Session);
                demand.token = Some(self.clients.all[client].token.clone());
            }
            _ => demand.consistency = Some(Consistency::Eventual),
        }
        Body::Read { collection: name(MAIN), query: self.query() }
    }

    fn delete_a_class(&mut self, collection: &str) -> Body {
        let class = self.rng.below(CLASSES).cast_signed();
        let must = vec![Condition::Any { key: "class".parse().expect("a path"), any: vec![Scalar::Int(class)] }];
        Body::DeleteByFilter { collection: name(collection), filter: Filter { must, ..Filter::default() } }
    }

    fn changes(&mut self, most: u64, deletes: u64) -> Vec<PointOp> {
        let mut points = BTreeSet::new();
        for _ in 0..self.rng.between(1, most) {
            points.insert(self.rng.below(POINTS));
        }
        let mut ops = Vec::new();
        for point in points {
            let point = PointId::Num(point);
            if self.rng.per_mille(deletes) {
                ops.push(PointOp::Delete { point });
                continue;
            }
            let value = self.clients.next_value;
            self.clients.next_value += 1;
            let vector = (0..4).map(|_| self.rng.below(1000) as f32 / 100.0).collect();
            let vectors: Vectors = [(String::new(), vector)].into_iter().collect();
            let is_next = self.upgrade.is_some() && self.rng.per_mille(NEXT_PER_MILLE);
            let payload = if is_next { next_payload_of(value) } else { payload_of(value) };
            ops.push(PointOp::Upsert { point, vectors, payload: Payload(payload.into()) });
        }
        ops
    }

    fn query(&mut self) -> Query {
        let point = PointId::Num(self.rng.below(POINTS));
        match self.rng.below(100) {
            0..=54 => {
                let mut ids = BTreeSet::from([point]);
                for _ in 0..self.rng.below(3) {
                    ids.insert(PointId::Num(self.rng.below(POINTS)));
                }
                Query::Retrieve { ids: ids.into_iter().collect(), select: select_payload() }
            }
            55..=64 => Query::Count { filter: filter_by_id(point) },
            65..=89 => {
                let one = self.rng.per_mille(700);
                Query::Search(Search {
                    vector: vec![5.0, 5.0, 5.0, 5.0],
                    using: String::new(),
                    filter: if one { filter_by_id(point) } else { None },
                    limit: if one { 1 } else { 5 },
                    ef: None,
                    recall: if one { None } else { Some(950) },
                    exact: self.rng.per_mille(700),
                    score_threshold: None,
                    select: select_payload(),
                })
            }
            _ => Query::Scroll { filter: None, from: None, limit: 100, select: select_payload() },
        }
    }

    /// Sends the request of a client to a random running gateway.
    fn submit(&mut self, client: usize) {
        let region = self.clients.all[client].region;
        // Some clients use another region when theirs does not answer.
        let other_region =
            self.clients.all[client].pending.as_ref().is_some_and(|a| a.attempts > 2 && a.write.is_some());
        let region = if other_region && self.rng.per_mille(500) { 1 - region } else { region };
        let up: Vec<usize> =
            (0..self.pods.len()).filter(|pod| self.pods[*pod].region == region && self.pods[*pod].is_up()).collect();
        let Some(pod) = self.rng.pick(&up).copied() else {
            if let Some(pending) = &mut self.clients.all[client].pending {
                pending.attempts += 1;
            }
            return self.wake_in(client, 100 * MILLI);
        };
        let could_be_unmarked = self.could_be_unmarked(client, region);
        let ticket = self.clients.next_ticket;
        self.clients.next_ticket += 1;
        self.clients.tickets.insert(ticket, client);
        let Some(pending) = &mut self.clients.all[client].pending else { return };
        pending.attempts += 1;
        pending.ticket = ticket;
        pending.gateway_region = region;
        pending.could_be_unmarked = could_be_unmarked;
        let request = pending.request.clone();
        let timeout = u64::try_from(request.timeout.as_micros()).unwrap_or_default() + 300 * MILLI;
        let incarnation = self.pods[pod].incarnation;
        self.queue.push(self.now, SimEvent::Deliver { pod, incarnation, event: Event::Client { ticket, request } });
        if self.rng.per_mille(DISCONNECTS_PER_MILLE) {
            let at = self.now + self.rng.between(0, 30 * MILLI);
            self.queue.push(at, SimEvent::Deliver { pod, incarnation, event: Event::Gone { ticket } });
        }
        self.wake_in(client, timeout);
    }

    /// Handles a missing response, or a refusal that allows a retry.
    fn retry(&mut self, client: usize, no_response: bool) {
        let held = &mut self.clients.all[client];
        let Some(pending) = &mut held.pending else { return };
        pending.did_nothing &= !no_response;
        self.clients.tickets.remove(&pending.ticket);
        // A repeated delete by filter would match points written since.
        let writes = pending.request.body.changes() && !matches!(pending.request.body, Body::DeleteByFilter { .. });
        // Regions must repair half-executed definitions whose client disconnects.
        let defines = matches!(pending.request.body, Body::CreateCollection(_) | Body::DropCollection(_));
        let leaves = defines && pending.attempts > 0 && self.rng.per_mille(300);
        if writes && pending.attempts < MAX_ATTEMPTS && !leaves {
            if no_response {
                return self.submit(client);
            }
            let after = self.rng.between(20, 300) * MILLI;
            if let Some(pending) = &mut self.clients.all[client].pending {
                pending.ticket = 0;
            }
            return self.wake_in(client, after);
        }
        if pending.did_nothing && pending.request.body.changes() {
            self.counts.writes_refused += 1;
            let trace = pending.filtered.map(|filtered| self.history.filtered[filtered].trace);
            self.history.refused.push(RefusedRecord { id: pending.request.id, trace });
        }
        self.finish_request(client);
    }

    fn finish_request(&mut self, client: usize) {
        if let Some(pending) = self.clients.all[client].pending.take() {
            self.clients.tickets.remove(&pending.ticket);
        }
        let after = self.rng.between(10, 180) * MILLI;
        self.wake_in(client, after);
    }

    pub fn client_receives(&mut self, ticket: u64, reply: Reply) {
        let Some(client) = self.clients.tickets.remove(&ticket) else { return };
        let Some(pending) = self.clients.all[client].pending.as_ref().filter(|pending| pending.ticket == ticket) else {
            return;
        };
        let body = match reply.body {
            Ok(body) => body,
            Err(refusal) => return self.handle_refusal(client, &refusal),
        };
        match reply.freshness.outcome {
            Outcome::Fresh => self.counts.fresh += 1,
            Outcome::Waited => self.counts.waited += 1,
            Outcome::Redirected => self.counts.redirected += 1,
            Outcome::Stale => self.counts.stale += 1,
            Outcome::Failed => self.counts.failed += 1,
        }
        let (write, gateway, waited) = (pending.write, pending.gateway_region, pending.request.wait.is_some());
        let filtered = pending.filtered;
        self.clients.all[client].token.merge(&reply.freshness.token);
        match body {
            ReplyBody::Written(_) | ReplyBody::Acknowledged(_) => {
                self.counts.writes_acknowledged += 1;
                if let Some(pending) = &self.clients.all[client].pending {
                    self.counts.next_writes += u64::from(needs_next(&pending.request.body));
                }
                if let Some(pending) = &self.clients.all[client].pending {
                    let body = pending.request.body.clone();
                    self.record_write_outcome(&body, true);
                }
                let visible = waited && gateway != self.primary && matches!(body, ReplyBody::Written(_));
                self.counts.writes_visible += u64::from(visible);
                if let Some(write) = write {
                    self.history.writes[write].acked = Some(self.now);
                    self.history.writes[write].visible = visible.then_some(gateway);
                }
                if let Some(filtered) = filtered {
                    self.counts.filtered_deletes += 1;
                    self.history.filtered[filtered].acked = Some(self.now);
                    self.history.filtered[filtered].visible = visible.then_some(gateway);
                }
            }
            ReplyBody::Done(_) => self.clients.ready = true,
            ReplyBody::Answer(answer) => {
                self.counts.reads_answered += 1;
                let served = self.regions.iter().position(|region| *region == reply.freshness.served_region);
                let redirected = reply.freshness.outcome == Outcome::Redirected;
                self.record_read(client, &answer, served, redirected, &reply.freshness);
            }
            ReplyBody::Collections(_) | ReplyBody::Collection(_) => {}
        }
        self.finish_request(client);
    }

    fn handle_refusal(&mut self, client: usize, refusal: &Refusal) {
        let Some(pending) = &mut self.clients.all[client].pending else { return };
        pending.did_nothing &= refusal.invites_repeat();
        if *refusal == Refusal::ReadOnly {
            let body = pending.request.body.clone();
            self.record_write_outcome(&body, false);
        }
        let Some(pending) = &self.clients.all[client].pending else { return };
        let is_early = needs_next(&pending.request.body) && refusal.to_string().contains("behavior version");
        self.counts.next_writes_refused += u64::from(is_early);
        self.counts.outcomes_unknown += u64::from(matches!(refusal, Refusal::OutcomeUnknown(_)));
        let retryable = match refusal {
            Refusal::Unavailable { .. }
            | Refusal::Overloaded(_)
            | Refusal::Timeout(_)
            | Refusal::OutcomeUnknown(_)
            | Refusal::ReadOnly => true,
            Refusal::TooStale { .. } => {
                self.counts.failed += 1;
                if pending.could_be_unmarked {
                    self.counts.could_be_unmarked += 1;
                }
                false
            }
            // The collection may not be replicated to the region yet, or is dropped.
            Refusal::NotFound(_) | Refusal::AlreadyExists(_) => {
                if matches!(&pending.request.body, Body::CreateCollection(def) if def.name.as_str() == MAIN) {
                    self.clients.ready = true;
                }
                false
            }
            Refusal::BadInput(_) | Refusal::Misdirected { .. } | Refusal::Internal(_) => {
                let text = format!("a valid request was refused: {refusal}: {:?}", pending.request.body);
                self.violation(text);
                false
            }
        };
        if retryable { self.retry(client, false) } else { self.finish_request(client) }
    }

    fn record_read(
        &mut self,
        client: usize,
        answer: &Answer,
        served: Option<usize>,
        redirected: bool,
        freshness: &Freshness,
    ) {
        let stale = freshness.stale;
        let Some(pending) = &self.clients.all[client].pending else { return };
        let Body::Read { query, .. } = &pending.request.body else { return };
        let demand = &pending.request.demand;
        if pending.could_be_unmarked {
            self.counts.could_be_unmarked += 1;
            self.counts.were_unmarked += u64::from(!stale);
        }
        let eventual = demand.consistency == Some(Consistency::Eventual);
        let about = format!(
            "read {query:?} by {client}, {demand:?}, stale {stale}, redirected {redirected}, served by {served:?}"
        );
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let demanded =
            pending.freshness.filter(|_| !stale).map(|demand| pending.invoked.saturating_sub(micros(demand)));
        // The staleness in a response is a promise, whether requested or not.
        let stated =
            (freshness.staleness != Duration::MAX).then(|| self.now.saturating_sub(micros(freshness.staleness)));
        self.counts.staleness_unknown += u64::from(stated.is_none());
        let fresh_to = demanded.max(stated);
        let mut seen = seen(query, answer);
        let values: Vec<u64> = (seen.iter())
            .filter_map(|(_, seen)| if let Seen::Value(value) = seen { Some(*value) } else { None })
            .filter(|value| Divergences::is_injected(*value))
            .collect();
        seen.retain(|(_, seen)| !matches!(seen, Seen::Value(value) if Divergences::is_injected(*value)));
        let invoked = pending.invoked;
        let record = ReadRecord {
            client,
            invoked,
            returned: self.now,
            seen,
            linear: !eventual && !stale && served == Some(self.primary),
            region: served.filter(|region| !eventual && !redirected && *region != self.primary),
            fresh_to,
            session: demand.token.is_some() && !stale,
            about,
        };
        let about = record.about.clone();
        self.history.reads.push(record);
        values.into_iter().for_each(|value| self.check_wrong_read(value, invoked, &about));
    }

    /// Whether the gateway's region has enough information, by true time, that its response need not be marked stale.
    /// Either there was no fault for a while, or each of its replicas holds a change of each origin shard that was made
    /// after the required time by any clock.
    fn could_be_unmarked(&self, client: usize, region: usize) -> bool {
        let Some(pending) = &self.clients.all[client].pending else { return false };
        let Some(freshness) = pending.freshness.filter(|_| region != self.primary && self.keeps_clock_bound()) else {
            return false;
        };
        let freshness = u64::try_from(freshness.as_micros()).unwrap_or(u64::MAX);
        let settled = self.now >= self.faults.last_end + SETTLE_TIME && freshness >= EASY_FRESHNESS_MS * MILLI;
        if settled && self.links.iter().all(|link| link.running) && !self.links.is_empty() {
            return true;
        }
        if self.faults.clock_steps {
            return false;
        }
        let bound = u64::try_from(CLOCK_BOUND.as_micros()).unwrap_or_default();
        let moment = (pending.invoked + 2 * bound + 2 * MILLI).saturating_sub(freshness);
        if moment >= self.now {
            return false;
        }
        let replicas = (0..self.pods.len()).filter(|pod| self.pods[*pod].region == region && self.pods[*pod].is_up());
        let mut any = false;
        for pod in replicas {
            let Some(process) = &self.pods[pod].process else { continue };
            any = true;
            let state = process.replica.state();
            for shard in ShardNumber::all(self.shards[self.primary]) {
                let origin = OriginShard { region: self.regions[self.primary].clone(), shard };
                let seq = state.vv().position(&origin).seq.0;
                let proposed = self.committed.proposed_at((self.primary, shard), seq);
                if proposed.is_none_or(|proposed| proposed <= moment) {
                    return false;
                }
            }
        }
        any
    }

    /// Whether no two clocks ever differed by more than the clock bound.
    pub fn keeps_clock_bound(&self) -> bool {
        self.clock_excess() == 0
    }

    /// Largest clock difference above the clock bound, in microseconds.
    pub fn clock_excess(&self) -> Micros {
        let spread = u64::try_from(self.clock_errors.1 - self.clock_errors.0).unwrap_or_default();
        spread.saturating_sub(u64::try_from(CLOCK_BOUND.as_micros()).unwrap_or_default())
    }
}

fn needs_next(body: &Body) -> bool {
    let Body::Write { ops, .. } = body else { return false };
    let has_key = |op: &PointOp| matches!(op, PointOp::Upsert { payload, .. } if payload.0.contains(NEXT_KEY));
    ops.iter().any(has_key)
}

/// The class that a filter of `delete_a_class` selects.
fn class_of_filter(filter: &Filter) -> Option<u64> {
    match filter.must.first() {
        Some(Condition::Any { any, .. }) => match any.first() {
            Some(Scalar::Int(class)) => u64::try_from(*class).ok(),
            _ => None,
        },
        _ => None,
    }
}

/// Results for each point that a response mentions or excludes.
fn seen(query: &Query, answer: &Answer) -> Vec<(PointId, Seen)> {
    let of = |record: &Record| (record.id, Seen::of(record.payload.as_ref().map(|payload| &*payload.0)));
    let mut seen: BTreeMap<PointId, Seen> = match answer {
        Answer::Records(records) | Answer::Page(records, _) => records.iter().map(of).collect(),
        Answer::Found(found) => found.iter().map(|found| of(&found.record)).collect(),
        Answer::Count(_) => BTreeMap::new(),
    };
    let has = |filter: &Option<Filter>| match filter.as_ref().and_then(|filter| filter.must.first()) {
        Some(Condition::HasId(ids)) => ids.iter().copied().collect(),
        _ => Vec::new(),
    };
    let asked: Vec<PointId> = match query {
        Query::Retrieve { ids, .. } => ids.clone(),
        Query::Scroll { .. } => (0..POINTS).map(PointId::Num).collect(),
        // An exact search with an id filter must find the point; a search among all points proves only what it returns.
        Query::Search(search) => has(&search.filter),
        Query::Count { filter } => {
            let asked: Vec<PointId> = has(filter);
            if let (Answer::Count(1), Some(point)) = (answer, asked.first()) {
                seen.insert(*point, Seen::Present);
            }
            asked
        }
    };
    for point in asked {
        seen.entry(point).or_insert(Seen::Absent);
    }
    seen.into_iter().collect()
}

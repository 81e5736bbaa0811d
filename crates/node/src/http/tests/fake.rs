//! An in-memory gateway, and a server in front of it on a free port.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::BoxFuture;
use meridian_api::http::Shape;
use meridian_config::{Cors, Limits};
use meridian_model::client::{Body, CollectionReport, Freshness, Outcome, PointOp, Refusal, Reply, ReplyBody, Request};
use meridian_model::{
    Answer, CollectionDef, CollectionName, CollectionUid, Condition, Epoch, Fields, Filter, Found, HnswParams, Names,
    OriginShard, Payload, PointId, Position, Query, Record, RegionName, Select, Seq, ShardNumber, Vectors,
};
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::http::{Api, ApiKeys, Config, Gateway, Reporter, server};
use crate::metrics::Metrics;

pub const KEY: &str = "correct-horse";

type Points = BTreeMap<PointId, (Vectors, Payload)>;

#[derive(Default)]
struct State {
    collections: BTreeMap<CollectionName, (CollectionDef, Points)>,
    last: Option<Request>,
    refuse: Option<Refusal>,
    stale: bool,
    stuck: bool,
    full: bool,
    abandoned: Arc<AtomicUsize>,
}

/// Counts dropped requests.
struct Abandoned(Arc<AtomicUsize>);

impl Drop for Abandoned {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[derive(Default)]
pub struct FakeGateway(Mutex<State>);

impl FakeGateway {
    pub fn refuse_next(&self, refusal: Refusal) {
        self.0.lock().unwrap().refuse = Some(refusal);
    }

    pub fn set_stale(&self) {
        self.0.lock().unwrap().stale = true;
    }

    /// No request is answered from now on.
    pub fn set_stuck(&self) {
        self.0.lock().unwrap().stuck = true;
    }

    /// Sets whether reads are refused before execution.
    pub fn set_full(&self, full: bool) {
        self.0.lock().unwrap().full = full;
    }

    /// Number of requests whose client disconnected before the response.
    pub fn abandoned(&self) -> usize {
        self.0.lock().unwrap().abandoned.load(Ordering::SeqCst)
    }

    pub fn last(&self) -> Request {
        self.0.lock().unwrap().last.clone().unwrap()
    }

    pub fn received_any(&self) -> bool {
        self.0.lock().unwrap().last.is_some()
    }
}

impl Gateway for FakeGateway {
    fn admit_read(&self) -> Result<(), Refusal> {
        if self.0.lock().unwrap().full { Err(Refusal::Overloaded("9 searches wait".into())) } else { Ok(()) }
    }

    fn execute(&self, request: Request) -> BoxFuture<'static, Reply> {
        let mut state = self.0.lock().unwrap();
        state.last = Some(request.clone());
        if state.stuck {
            let abandoned = Abandoned(Arc::clone(&state.abandoned));
            return Box::pin(async move {
                let _held = abandoned;
                futures::future::pending().await
            });
        }
        let body = match state.refuse.take() {
            Some(refusal) => Err(refusal),
            None => answer(&mut state, request.body),
        };
        let region = RegionName::new("us-east").unwrap();
        let origin = OriginShard { region: region.clone(), shard: ShardNumber::FIRST };
        let freshness = Freshness {
            staleness: Duration::from_micros(12_001),
            served_region: region,
            token: [(origin, Position { epoch: Epoch(1), seq: Seq(7) })].into_iter().collect(),
            stale: state.stale,
            outcome: if state.stale { Outcome::Stale } else { Outcome::Fresh },
        };
        Box::pin(async { Reply { body, freshness } })
    }
}

fn answer(state: &mut State, body: Body) -> Result<ReplyBody, Refusal> {
    let missing = |name: &CollectionName| Refusal::NotFound(format!("Collection `{name}` doesn't exist!"));
    Ok(match body {
        Body::CreateCollection(def) if state.collections.contains_key(&def.name) => {
            return Err(Refusal::AlreadyExists(format!("Collection `{}` already exists!", def.name)));
        }
        Body::CreateCollection(def) => {
            state.collections.insert(def.name.clone(), (def, Points::new()));
            ReplyBody::Done(true)
        }
        Body::DropCollection(name) => ReplyBody::Done(state.collections.remove(&name).is_some()),
        Body::ListCollections => {
            ReplyBody::Collections(state.collections.values().map(|(def, _)| def.clone()).collect())
        }
        Body::DescribeCollection(name) => {
            let (def, points) = state.collections.get(&name).ok_or_else(|| missing(&name))?;
            let points = points.len() as u64;
            let uid = CollectionUid(1);
            ReplyBody::Collection(CollectionReport {
                uid,
                def: def.clone(),
                points,
                indexed: 0,
                shards: 2,
                replicas: 3,
            })
        }
        Body::Write { collection, ops } => {
            let (_, points) = state.collections.get_mut(&collection).ok_or_else(|| missing(&collection))?;
            for op in ops {
                match op {
                    PointOp::Upsert { point, vectors, payload } => drop(points.insert(point, (vectors, payload))),
                    PointOp::Delete { point } => drop(points.remove(&point)),
                }
            }
            ReplyBody::Written(1)
        }
        Body::DeleteByFilter { collection, filter } => {
            let (_, points) = state.collections.get_mut(&collection).ok_or_else(|| missing(&collection))?;
            points.retain(|id, _| !passes(*id, Some(&filter)));
            ReplyBody::Written(1)
        }
        Body::Read { collection, query } => {
            let (_, points) = state.collections.get(&collection).ok_or_else(|| missing(&collection))?;
            ReplyBody::Answer(read(points, query))
        }
    })
}

fn read(points: &Points, query: Query) -> Answer {
    match query {
        Query::Search(search) => {
            let dot = |vector: &[f32]| vector.iter().zip(&search.vector).map(|(a, b)| a * b).sum::<f32>();
            let mut found: Vec<_> = points
                .iter()
                .filter(|(id, _)| passes(**id, search.filter.as_ref()))
                .filter_map(|(id, point)| {
                    let score = dot(point.0.get(&search.using)?);
                    Some(Found { record: record(*id, point, &search.select), score })
                })
                .collect();
            found.sort_by(|a, b| b.score.total_cmp(&a.score));
            found.truncate(search.limit);
            Answer::Found(found)
        }
        Query::Retrieve { ids, select } => {
            Answer::Records(ids.iter().filter_map(|id| Some(record(*id, points.get(id)?, &select))).collect())
        }
        Query::Scroll { filter, from, limit, select } => {
            let mut page: Vec<_> = points
                .iter()
                .filter(|(id, _)| from.is_none_or(|from| **id >= from) && passes(**id, filter.as_ref()))
                .map(|(id, point)| record(*id, point, &select))
                .take(limit + 1)
                .collect();
            let next = (page.len() > limit).then(|| page.pop().unwrap().id);
            Answer::Page(page, next)
        }
        Query::Count { filter } => {
            Answer::Count(points.keys().filter(|id| passes(**id, filter.as_ref())).count() as u64)
        }
    }
}

/// Supports only `must_not` with ids, all that these tests need.
fn passes(id: PointId, filter: Option<&Filter>) -> bool {
    let named = |condition: &Condition| matches!(condition, Condition::HasId(ids) if ids.contains(&id));
    !filter.is_some_and(|filter| filter.must_not.iter().any(named))
}

fn record(id: PointId, (vectors, payload): &(Vectors, Payload), select: &Select) -> Record {
    Record {
        id,
        version: 1,
        payload: (select.payload != Fields::None).then(|| payload.clone()),
        vectors: (select.vectors != Names::None).then(|| vectors.clone()),
    }
}

struct Report;

impl Reporter for Report {
    fn cluster(&self) -> Value {
        json!({"of": "cluster"})
    }

    fn voters(&self) -> Option<u16> {
        Some(3)
    }

    fn consistency(&self) -> Value {
        json!({"of": "consistency"})
    }

    fn links(&self) -> Value {
        json!({"of": "links"})
    }

    fn live(&self) -> Result<(), String> {
        Ok(())
    }

    fn ready(&self) -> Result<(), String> {
        Err("no leader yet".into())
    }
}

pub struct Server {
    pub gateway: Arc<FakeGateway>,
    pub address: std::net::SocketAddr,
    pub stop: CancellationToken,
    pub task: tokio::task::JoinHandle<()>,
    client: reqwest::Client,
}

impl Server {
    pub async fn start() -> Self {
        Self::with(Limits::default()).await
    }

    pub async fn with(limits: Limits) -> Self {
        Self::with_cors(limits, &[]).await
    }

    /// Starts a server with these allowed origins.
    pub async fn with_cors(limits: Limits, origins: &[&str]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (gateway, metrics, stop) =
            (Arc::<FakeGateway>::default(), Arc::new(Metrics::new()), CancellationToken::new());
        let config = Config {
            region: RegionName::new("us-east").unwrap(),
            limits: limits.clone(),
            shape: Shape { shards: 2, replicas: Some(3), hnsw: HnswParams::default() },
            keys: Some(Arc::new(ApiKeys::from_hashes(meridian_peer::read_api_keys(KEY).unwrap()))),
            cors: Cors { allow_origins: origins.iter().map(|origin| origin.parse().unwrap()).collect() },
            commit: "abc".into(),
        };
        let api = Api::new(config, gateway.clone(), Arc::new(Report), metrics.clone());
        let router = api.router();
        let stopped = stop.clone();
        let task = tokio::spawn(async move { server::serve(listener, router, &limits, metrics, stopped).await });
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { gateway, address, stop, task, client }
    }

    /// A request without a key.
    pub fn bare(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("http://{}{path}", self.address))
    }

    /// A request with the key.
    pub fn raw(&self, method: Method, path: &str) -> RequestBuilder {
        self.bare(method, path).header("api-key", KEY)
    }

    /// Status and JSON body of a request with the key.
    pub async fn call(&self, method: Method, path: &str, body: Value) -> (StatusCode, Value) {
        let request = self.raw(method, path);
        let request = if body.is_null() { request } else { request.json(&body) };
        let response = request.send().await.unwrap();
        (response.status(), response.json().await.unwrap())
    }
}

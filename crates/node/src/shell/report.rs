//! Reports of the node: metrics, probes and the native API. They use a periodic observation, so that no reader waits
//! for the engine thread.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use meridian_model::{OriginShard, RegionName};
use meridian_proto::topology::{ReplicaStatus, Role};
use meridian_replica::{Counters, LinkStatus, Now, Replica};
use parking_lot::RwLock;
use prometheus_client::metrics::counter::Counter;
use serde_json::{Value, json};

use super::engine::Handle;
use super::heartbeat;
use crate::http::Reporter;
use crate::kafka;
use crate::metrics::{Metrics, OriginLabels, PoisonLabels};

/// Silence after which a source counts as disconnected; it sends its log position every 250 ms.
const SILENCE_BOUND: Duration = Duration::from_secs(2);

/// Time without a loop iteration after which the engine thread counts as dead. Far above any step: a restart costs more
/// than a pause.
const STALL_BOUND: Duration = Duration::from_secs(20);

/// An observation of the replica.
#[derive(Debug, Clone)]
pub(super) struct Observed {
    status: ReplicaStatus,
    counters: Counters,
    vv: Vec<(OriginShard, meridian_model::Position)>,
    /// Staleness of every known or followed origin shard.
    staleness: BTreeMap<OriginShard, Duration>,
    primary: RegionName,
    digest: String,
    followed: Vec<LinkStatus>,
    pending_index: usize,
    clock_bound: Duration,
    clock_fault: Option<String>,
}

impl Observed {
    pub(super) fn region(&self) -> RegionName {
        self.status.identity.genesis.region.clone()
    }

    pub(super) fn status(&self) -> &ReplicaStatus {
        &self.status
    }

    /// Logs a change of leader or role.
    pub(super) fn log_leadership_change(&self, before: &Self) {
        let (now, earlier) = (&self.status, &before.status);
        if (now.leader, now.role) != (earlier.leader, earlier.role) {
            let (shard, leader) = (now.identity.genesis.shard, now.leader.map(|leader| leader.0));
            tracing::info!(%shard, term = now.term.0, role = ?now.role, leader, applied = now.applied.0, "leadership");
        }
    }

    /// Logs a detected or resolved clock error; nothing else reports it.
    pub(super) fn log_clock_change(&self, before: &Self) {
        match (&before.clock_fault, &self.clock_fault) {
            (None, Some(fault)) => tracing::error!(%fault, "clock error"),
            (Some(_), None) => tracing::info!("clock agrees with the group again"),
            _ => {}
        }
    }

    /// Logs a memory shortage, which makes the replica refuse upserts, and its end.
    pub(super) fn log_memory_change(&self, before: &Self) {
        let short = |observed: &Self| observed.status.memory.is_some_and(|memory| memory.is_short);
        let Some(memory) = self.status.memory else { return };
        let (used, limit) = (memory.used_bytes, memory.limit_bytes);
        match (short(before), short(self)) {
            (false, true) => tracing::warn!(used, limit, "memory short: a snapshot does not fit, upserts are refused"),
            (true, false) => tracing::info!(used, limit, "memory sufficient for a snapshot again"),
            _ => {}
        }
    }

    /// Updates gauges and counters.
    pub(super) fn update_metrics(&self, metrics: &Metrics, kafka: &kafka::Status) {
        let to_i64 = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        metrics.raft_term.set(to_i64(self.status.term.0));
        metrics.raft_commit_index.set(to_i64(self.status.commit.0));
        metrics.raft_applied_index.set(to_i64(self.status.applied.0));
        metrics.raft_is_leader.set(i64::from(self.status.role == Role::Leader));
        metrics.raft_unapplied_entries.set(to_i64(self.status.commit.0.saturating_sub(self.status.applied.0)));
        for (origin, staleness) in &self.staleness {
            metrics.replication_lag.get_or_create(&OriginLabels::from(origin)).set(seconds(*staleness));
        }
        metrics.behavior_versions(self.status.behavior, self.status.published);
        metrics.clock_fault.set(i64::from(self.clock_fault.is_some()));
        metrics.link_connected.clear();
        metrics.link_poison_record.clear();
        let raise_counter = |counter: &Counter, total: u64| {
            counter.inc_by(total.saturating_sub(counter.get()));
        };
        raise_counter(&metrics.raft_elections_won, self.counters.elections_won);
        raise_counter(&metrics.link_duplicate_deltas, self.counters.links.duplicates_dropped);
        raise_counter(&metrics.link_gaps_healed, self.counters.links.gaps_healed);
        raise_counter(&metrics.link_reseeds, self.counters.links.reseeds);
        for link in &self.followed {
            let labels = OriginLabels::from(&link.origin);
            metrics.link_connected.get_or_create(&labels).set(i64::from(link_error(link, kafka).is_none()));
            if let Some(poison) = &link.poison {
                metrics.link_poison_record.get_or_create(&PoisonLabels::of(&link.origin, poison)).set(1);
            }
        }
        metrics.delta_log_published_seq.set(to_i64(kafka.published().map_or(0, |at| at.seq.0)));
        metrics.delta_log_connected.set(i64::from(kafka.published().is_some() && kafka.publish_error().is_none()));
    }
}

/// Observes the replica.
pub(super) fn observe(replica: &Replica) -> Observed {
    let status = replica.status();
    let state = replica.state();
    let followed = replica.link_statuses();
    let known = state.vv().iter().map(|(origin, _)| origin).chain(followed.iter().map(|link| &link.origin));
    let staleness = known.map(|origin| (origin.clone(), replica.staleness_of(origin))).collect();
    Observed {
        status,
        counters: replica.counters().clone(),
        vv: state.vv().iter().map(|(origin, position)| (origin.clone(), position)).collect(),
        staleness,
        primary: state.primary().1.clone(),
        digest: state.digest().to_string(),
        followed,
        pending_index: state.pending_index(),
        clock_bound: replica.clock_bound(),
        clock_fault: replica.clock_fault(),
    }
}

/// Staleness as a gauge value in seconds; unknown is `+Inf`, so that alerts on large values fire.
fn seconds(staleness: Duration) -> f64 {
    if staleness == Duration::MAX { f64::INFINITY } else { staleness.as_secs_f64() }
}

/// Reads boot clock and wall clock of this machine.
pub(super) fn clocks() -> Now {
    let boot = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let (secs, nanos) =
        (u64::try_from(boot.tv_sec).unwrap_or_default(), u32::try_from(boot.tv_nsec).unwrap_or_default());
    Now { mono: Duration::new(secs, nanos), wall }
}

/// Why an origin shard is currently not followed, if so.
fn link_error(link: &LinkStatus, kafka: &kafka::Status) -> Option<String> {
    if let Some(fault) = kafka.follow_error(&link.origin) {
        return Some(fault);
    }
    match link.silent {
        Some(silent) if silent < SILENCE_BOUND => None,
        Some(silent) => Some(format!("nothing received for {} ms", silent.as_millis())),
        None => Some("not connected".into()),
    }
}

/// Reporter of the node, whether or not it runs a replica.
pub struct NodeReporter {
    /// The running replica, if any.
    pub handle: Arc<RwLock<Option<Handle>>>,
    /// Kafka configuration.
    pub kafka: kafka::KafkaConfig,
}

impl NodeReporter {
    fn observed(&self) -> Option<Observed> {
        self.handle.read().as_ref().map(Handle::observed)
    }
}

impl Reporter for NodeReporter {
    fn cluster(&self) -> Value {
        let Some(observed) = self.observed() else { return json!({"state": "blank"}) };
        let status = &observed.status;
        let member = |m: &meridian_proto::topology::Member| json!({"replica": m.replica.0, "address": m.address});
        json!({
            "cluster_id": status.identity.genesis.cluster.to_string(),
            "region": status.identity.genesis.region.as_str(),
            "primary_region": observed.primary.as_str(),
            "shard": status.identity.genesis.shard.number(),
            "shards": status.identity.genesis.shards,
            "replica": status.identity.replica.0,
            "role": format!("{:?}", status.role).to_lowercase(),
            "leader": status.leader.map(|leader| leader.0),
            "term": status.term.0,
            "voters": status.voters.iter().map(member).collect::<Vec<_>>(),
            "learners": status.learners.iter().map(member).collect::<Vec<_>>(),
            "membership_version": status.membership_version.0,
            "behavior_version": status.behavior.0,
            "published_behavior_version": status.published.0,
            "commit_index": status.commit.0,
            "applied_index": status.applied.0,
            "points": status.points,
            "ready": status.ready,
            "fault": status.fault,
            "disk": format!("{:?}", status.disk).to_lowercase(),
            "memory": status.memory.map(|memory| {
                json!({
                    "used_bytes": memory.used_bytes,
                    "limit_bytes": memory.limit_bytes,
                    "insufficient": memory.is_short,
                })
            }),
            "pending_index": observed.pending_index,
            "digest": observed.digest,
        })
    }

    fn consistency(&self) -> Value {
        let Some(observed) = self.observed() else { return json!({"state": "blank"}) };
        let origins: Vec<Value> = (observed.vv.iter())
            .map(|(origin, position)| {
                let staleness = observed.staleness.get(origin).filter(|age| **age != Duration::MAX);
                json!({
                    "region": origin.region.as_str(),
                    "shard": origin.shard.number(),
                    "epoch": position.epoch.0,
                    "seq": position.seq.0,
                    "staleness_ms": staleness.map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX)),
                })
            })
            .collect();
        let counters = &observed.counters;
        json!({
            "region": observed.region().as_str(),
            "primary_region": observed.primary.as_str(),
            "clock_fault": observed.clock_fault,
            "clock_bound_ms": u64::try_from(observed.clock_bound.as_millis()).unwrap_or(u64::MAX),
            "origins": origins,
            "digest": observed.digest,
            "ops_committed": counters.ops_committed,
            "ops_merged": counters.links.ops_merged,
            "writes_repeated": counters.writes_repeated,
            "duplicates_dropped": counters.links.duplicates_dropped,
        })
    }

    fn links(&self) -> Value {
        let handle = self.handle.read().clone();
        let Some(handle) = handle else { return json!({"state": "blank"}) };
        let (observed, kafka) = (handle.observed(), handle.kafka());
        let links: Vec<Value> = (observed.status.links.iter())
            .map(|link| {
                let (source, topic) = (&link.source, link.topic());
                let shards: Vec<Value> = (observed.followed.iter())
                    .filter(|link| link.origin.region == *source)
                    .map(|link| {
                        json!({
                            "shard": link.origin.shard.number(),
                            "in_flight": link.in_flight,
                            "phase": link.phase,
                            "origin_fallback": link.origin_fallback,
                            "fault": link_error(link, kafka),
                            "poison_record": link.poison.as_ref().map(|poison| poison.describe(topic)),
                        })
                    })
                    .collect();
                json!({
                    "source": source.as_str(),
                    "transport": if topic.is_some() { "kafka" } else { "direct" },
                    "topic": topic.map(|topic| topic.name.as_str()),
                    "paused": link.paused,
                    "shards": shards,
                })
            })
            .collect();
        let delta_log = self.kafka.sink.as_ref().map(|sink| {
            json!({
                "topic": sink.name,
                "published_seq": kafka.published().map(|at| at.seq.0),
                "fault": kafka.publish_error(),
            })
        });
        json!({
            "links": links,
            "delta_log": delta_log,
            "gaps_healed": observed.counters.links.gaps_healed,
            "reseeds": observed.counters.links.reseeds,
            "origin_fallbacks": observed.counters.links.origin_fallbacks,
            "poison_records": observed.counters.links.poisons_met,
        })
    }

    fn live(&self) -> Result<(), String> {
        // A pod without a replica is alive as long as it answers.
        self.handle
            .read()
            .as_ref()
            .map_or(Ok(()), |handle| heartbeat::check_liveness(handle.since_heartbeat(), STALL_BOUND))
    }

    fn voters(&self) -> Option<u16> {
        u16::try_from(self.observed()?.status.voters.len()).ok().filter(|voters| *voters > 0)
    }

    fn ready(&self) -> Result<(), String> {
        let Some(observed) = self.observed() else {
            return Err("not a replica yet: waiting to be bootstrapped or to join".into());
        };
        match (&observed.status.fault, observed.status.ready) {
            (Some(fault), _) => Err(format!("out of service: {fault}")),
            (None, true) => Ok(()),
            (None, false) if observed.status.draining => Err("stopping".into()),
            (None, false) => Err("catching up with the group".into()),
        }
    }
}

//! What the node tells of itself: metrics, probes, and the native API. Looked at now and then, so that no reader ever waits
//! for the machine.

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
use super::pulse;
use crate::http::Reporter;
use crate::kafka;
use crate::metrics::{Metrics, OriginLabels, PoisonLabels};

/// A source that says every 250 ms where its log stands counts as not heard after this.
const SILENT: Duration = Duration::from_secs(2);

/// An engine thread that has not come round for this long does not live. Far above any step that it takes: a restart costs more
/// than a pause.
const STANDS_STILL: Duration = Duration::from_secs(20);

/// What was last seen of the replica.
#[derive(Debug, Clone)]
pub(super) struct Observed {
    status: ReplicaStatus,
    counters: Counters,
    vv: Vec<(OriginShard, meridian_model::Position)>,
    /// Of every origin that is known, and of every one that is followed.
    staleness: BTreeMap<OriginShard, Duration>,
    primary: RegionName,
    digest: String,
    chased: Vec<LinkStatus>,
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

    /// A change of the leader is what people look for first in the log.
    pub(super) fn tell_of_leadership(&self, before: &Self) {
        let (now, then) = (&self.status, &before.status);
        if (now.leader, now.role) != (then.leader, then.role) {
            let (shard, leader) = (now.identity.genesis.shard, now.leader.map(|leader| leader.0));
            tracing::info!(%shard, term = now.term.0, role = ?now.role, leader, applied = now.applied.0, "leadership");
        }
    }

    /// A wrong clock stops nothing by itself, so it has to be told.
    pub(super) fn tell_of_clock(&self, before: &Self) {
        match (&before.clock_fault, &self.clock_fault) {
            (None, Some(fault)) => tracing::error!(%fault, "wrong clock"),
            (Some(_), None) => tracing::info!("clock agrees with the group again"),
            _ => {}
        }
    }

    /// Without room for a snapshot writes are refused; somebody has to give the process more memory.
    pub(super) fn tell_of_memory(&self, before: &Self) {
        let short = |seen: &Self| seen.status.memory.is_some_and(|memory| memory.is_short);
        let Some(memory) = self.status.memory else { return };
        let (used, limit) = (memory.used_bytes, memory.limit_bytes);
        match (short(before), short(self)) {
            (false, true) => tracing::warn!(used, limit, "a snapshot does not fit into memory: upserts are refused"),
            (true, false) => tracing::info!(used, limit, "a snapshot fits into memory again"),
            _ => {}
        }
    }

    /// Brings the gauges up to date, and the counters by what came since.
    pub(super) fn count(&self, metrics: &Metrics, kafka: &kafka::Status) {
        let int = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        metrics.raft_term.set(int(self.status.term.0));
        metrics.raft_commit_index.set(int(self.status.commit.0));
        metrics.raft_applied_index.set(int(self.status.applied.0));
        metrics.raft_is_leader.set(i64::from(self.status.role == Role::Leader));
        metrics.raft_unapplied_entries.set(int(self.status.commit.0.saturating_sub(self.status.applied.0)));
        for (origin, staleness) in &self.staleness {
            metrics.replication_lag.get_or_create(&OriginLabels::from(origin)).set(seconds(*staleness));
        }
        metrics.clock_fault.set(i64::from(self.clock_fault.is_some()));
        metrics.link_connected.clear();
        metrics.link_poison_record.clear();
        let counter = |counter: &Counter, total: u64| {
            counter.inc_by(total.saturating_sub(counter.get()));
        };
        counter(&metrics.raft_elections_won, self.counters.elections_won);
        counter(&metrics.link_duplicate_deltas, self.counters.duplicates_dropped);
        counter(&metrics.link_gaps_healed, self.counters.gaps_healed);
        counter(&metrics.link_reseeds, self.counters.reseeds);
        for link in &self.chased {
            let labels = OriginLabels::from(&link.origin);
            metrics.link_connected.get_or_create(&labels).set(i64::from(fault(link, kafka).is_none()));
            if let Some(poison) = &link.poison {
                metrics.link_poison_record.get_or_create(&PoisonLabels::of(&link.origin, poison)).set(1);
            }
        }
        metrics.delta_log_published_seq.set(int(kafka.published().map_or(0, |at| at.seq.0)));
        metrics.delta_log_connected.set(i64::from(kafka.published().is_some() && kafka.publishing().is_none()));
    }
}

/// Looks at the replica.
pub(super) fn observe(replica: &Replica) -> Observed {
    let status = replica.status();
    let state = replica.state();
    let chased = replica.chased();
    let known = state.vv().iter().map(|(origin, _)| origin).chain(chased.iter().map(|link| &link.origin));
    let staleness = known.map(|origin| (origin.clone(), replica.staleness_of(origin))).collect();
    Observed {
        status,
        counters: replica.counters().clone(),
        vv: state.vv().iter().map(|(origin, position)| (origin.clone(), position)).collect(),
        staleness,
        primary: state.primary().1.clone(),
        digest: state.digest().to_string(),
        chased,
        pending_index: state.pending_index(),
        clock_bound: replica.clock_bound(),
        clock_fault: replica.clock_fault(),
    }
}

/// A staleness as a gauge: an unknown one is `+Inf`, so that an alert on a large one fires.
fn seconds(staleness: Duration) -> f64 {
    if staleness == Duration::MAX { f64::INFINITY } else { staleness.as_secs_f64() }
}

/// The two clocks of this machine.
pub(super) fn clocks() -> Now {
    let boot = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let (secs, nanos) =
        (u64::try_from(boot.tv_sec).unwrap_or_default(), u32::try_from(boot.tv_nsec).unwrap_or_default());
    Now { mono: Duration::new(secs, nanos), wall }
}

/// Why an origin shard is not followed just now, if so.
fn fault(link: &LinkStatus, kafka: &kafka::Status) -> Option<String> {
    if let Some(fault) = kafka.following(&link.origin) {
        return Some(fault);
    }
    match link.silent {
        Some(silent) if silent < SILENT => None,
        Some(silent) => Some(format!("nothing heard for {} ms", silent.as_millis())),
        None => Some("not connected".into()),
    }
}

/// Tells of the node, whether it is a replica already or not.
pub struct NodeReporter {
    /// The replica, once there is one.
    pub handle: Arc<RwLock<Option<Handle>>>,
    /// Which broker is written.
    pub kafka: kafka::Plan,
}

impl NodeReporter {
    fn observed(&self) -> Option<Observed> {
        self.handle.read().as_ref().map(Handle::observed)
    }
}

impl Reporter for NodeReporter {
    fn cluster(&self) -> Value {
        let Some(seen) = self.observed() else { return json!({"state": "blank"}) };
        let status = &seen.status;
        let member = |m: &meridian_proto::topology::Member| json!({"replica": m.replica.0, "address": m.address});
        json!({
            "cluster_id": status.identity.genesis.cluster.to_string(),
            "region": status.identity.genesis.region.as_str(),
            "primary_region": seen.primary.as_str(),
            "shard": status.identity.genesis.shard.number(),
            "shards": status.identity.genesis.shards,
            "replica": status.identity.replica.0,
            "role": format!("{:?}", status.role).to_lowercase(),
            "leader": status.leader.map(|leader| leader.0),
            "term": status.term.0,
            "voters": status.voters.iter().map(member).collect::<Vec<_>>(),
            "learners": status.learners.iter().map(member).collect::<Vec<_>>(),
            "membership_version": status.membership_version.0,
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
            "pending_index": seen.pending_index,
            "digest": seen.digest,
        })
    }

    fn consistency(&self) -> Value {
        let Some(seen) = self.observed() else { return json!({"state": "blank"}) };
        let origins: Vec<Value> = (seen.vv.iter())
            .map(|(origin, position)| {
                let staleness = seen.staleness.get(origin).filter(|age| **age != Duration::MAX);
                json!({
                    "region": origin.region.as_str(),
                    "shard": origin.shard.number(),
                    "epoch": position.epoch.0,
                    "seq": position.seq.0,
                    "staleness_ms": staleness.map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX)),
                })
            })
            .collect();
        let counters = &seen.counters;
        json!({
            "region": seen.region().as_str(),
            "primary_region": seen.primary.as_str(),
            "clock_fault": seen.clock_fault,
            "clock_bound_ms": u64::try_from(seen.clock_bound.as_millis()).unwrap_or(u64::MAX),
            "origins": origins,
            "digest": seen.digest,
            "ops_committed": counters.ops_committed,
            "ops_merged": counters.ops_merged,
            "writes_repeated": counters.writes_repeated,
            "duplicates_dropped": counters.duplicates_dropped,
        })
    }

    fn links(&self) -> Value {
        let handle = self.handle.read().clone();
        let Some(handle) = handle else { return json!({"state": "blank"}) };
        let (seen, kafka) = (handle.observed(), handle.kafka());
        let links: Vec<Value> = (seen.status.links.iter())
            .map(|link| {
                let (source, topic) = (&link.source, link.topic());
                let shards: Vec<Value> = (seen.chased.iter())
                    .filter(|link| link.origin.region == *source)
                    .map(|link| {
                        json!({
                            "shard": link.origin.shard.number(),
                            "in_flight": link.in_flight,
                            "phase": link.phase,
                            "origin_fallback": link.detour,
                            "fault": fault(link, kafka),
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
                "fault": kafka.publishing(),
            })
        });
        json!({
            "links": links,
            "delta_log": delta_log,
            "gaps_healed": seen.counters.gaps_healed,
            "reseeds": seen.counters.reseeds,
            "origin_fallbacks": seen.counters.detours,
            "poison_records": seen.counters.poisons_met,
        })
    }

    fn live(&self) -> Result<(), String> {
        // A pod that waits to become a replica lives as long as it answers.
        self.handle.read().as_ref().map_or(Ok(()), |handle| pulse::judge(handle.silent_for(), STANDS_STILL))
    }

    fn voters(&self) -> Option<u16> {
        u16::try_from(self.observed()?.status.voters.len()).ok().filter(|voters| *voters > 0)
    }

    fn ready(&self) -> Result<(), String> {
        let Some(seen) = self.observed() else {
            return Err("not a replica yet: waiting to be bootstrapped or to join".into());
        };
        match (&seen.status.fault, seen.status.ready) {
            (Some(fault), _) => Err(format!("out of service: {fault}")),
            (None, true) => Ok(()),
            (None, false) if seen.status.draining => Err("stopping".into()),
            (None, false) => Err("catching up with the group".into()),
        }
    }
}

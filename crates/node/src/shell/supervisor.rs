//! Performs the decisions of a pod's [`Lifecycle`]: inspects, initializes, opens and moves folders, and starts the replica.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use meridian_config::NodeConfig;
use meridian_model::client::{Reply, Request};
use meridian_model::{LogIndex, RegionName, ReplicaId};
use meridian_proto::frame::NodeId;
use meridian_proto::topology::{Identity, TopologyAnswer, TopologyCall};
use meridian_replica::{Event, Now, Replica, RestoreError, Settings};
use meridian_store::{RealDisk, SEGMENT_BYTES};
use meridian_volume::lifecycle::{Event as PodEvent, has_caught_up};
use meridian_volume::{
    Assignment, Damage, Decision, Lifecycle, PodState, VolumeError, initialize_volume, inspect_volume, open_volume,
};
use parking_lot::{Mutex, RwLock};
use tokio::sync::oneshot;

use super::engine::{Engine, Finished, Handle};
use super::retired;
use crate::kafka;
use crate::metrics::Metrics;
use crate::peer::{Hub, Incoming};

/// The replica's folder below the data directory. A retired one is renamed, so that nothing is destroyed.
const REPLICA_DIR: &str = "replica";
/// Interval between two checks whether a new replica has caught up.
const CATCH_UP_POLL: Duration = Duration::from_secs(5);

/// Why the replica could not be started.
#[derive(Debug, thiserror::Error)]
pub enum SupervisorError {
    /// The data directory cannot be read or written.
    #[error("data directory {path}")]
    Folder {
        /// Path.
        path: String,
        /// Cause.
        source: io::Error,
    },
    /// The replica's folder cannot be opened.
    #[error("replica folder")]
    Volume(#[from] VolumeError),
    /// The stored state must not run.
    #[error("replica folder")]
    Restore(#[from] RestoreError),
}

/// Starts the replica when the lifecycle allows it, and answers requests until then.
#[derive(Clone)]
pub struct Supervisor(Arc<Inner>);

struct Inner {
    config: NodeConfig,
    metrics: Arc<Metrics>,
    search_threads: usize,
    handle: Arc<RwLock<Option<Handle>>>,
    hub: Mutex<Option<Hub>>,
    pod: Mutex<Lifecycle>,
    drained: Mutex<Option<oneshot::Receiver<()>>>,
    finished: Mutex<Option<oneshot::Receiver<Finished>>>,
}

impl Supervisor {
    /// Creates the supervisor of a node.
    #[must_use]
    pub fn new(config: NodeConfig, metrics: Arc<Metrics>, search_threads: usize) -> Self {
        let (handle, hub) = (Arc::default(), Mutex::default());
        let pod = Mutex::new(Lifecycle::new(assignment(&config)));
        let (drained, finished) = Default::default();
        Self(Arc::new(Inner { config, metrics, search_threads, handle, hub, pod, drained, finished }))
    }

    /// The running replica, once there is one.
    #[must_use]
    pub fn handle(&self) -> Arc<RwLock<Option<Handle>>> {
        Arc::clone(&self.0.handle)
    }

    /// Forwards events of the peer network to the engine thread.
    pub fn deliver(&self, incoming: Incoming) {
        let Some(handle) = self.0.handle.read().clone() else { return };
        match incoming {
            // Membership of connections must not get lost; these events are rare.
            Incoming::Met(hello) => handle.send_blocking(Event::Met(hello)),
            Incoming::Connected(peer) => handle.send_blocking(Event::Connected(peer)),
            Incoming::Lost(peer) => handle.send_blocking(Event::Lost(peer)),
            Incoming::Heard(peer) => handle.try_send(Event::Heard(peer)),
            Incoming::Peer(node, message) => handle.try_send(Event::Peer(node, message)),
            Incoming::Region(peer, message) => handle.try_send(Event::Region(peer, message)),
        }
    }

    /// Inspects the folder and runs its replica, if it is sound and assigned to this pod. A blank folder waits for the
    /// operator; a damaged or foreign one is reported to it.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn start(&self, hub: Hub) -> Result<(), SupervisorError> {
        *self.0.hub.lock() = Some(hub);
        let disk = self.disk()?;
        let folder = inspect_volume(&disk)?;
        let path = self.0.config.data_dir.display().to_string();
        let retired = retired::find_retired(&self.0.config.data_dir, REPLICA_DIR)
            .map_err(|source| SupervisorError::Folder { path, source })?;
        if let Decision::Run(identity) = self.decide(PodEvent::Inspected { folder, retired }) {
            return self.run(disk, identity);
        }
        Ok(())
    }

    fn decide(&self, event: PodEvent) -> Decision {
        let mut pod = self.0.pod.lock();
        let before = pod.state().clone();
        let decision = pod.handle(event);
        match pod.state() {
            state if *state == before => {}
            PodState::Foreign(found) => {
                let wanted = assignment(&self.0.config);
                tracing::error!(%found, %wanted, "the volume is another's: it stays unchanged, and this pod serves nothing");
            }
            PodState::Newer(reason) => {
                tracing::error!(%reason, "the volume holds files of a newer release: it is not touched, and nothing is served");
            }
            PodState::Damaged(Damage { reason, .. }) => {
                tracing::error!(%reason, "this replica must not vote; waiting to join under a new id");
            }
            _ => {}
        }
        decision
    }

    fn folder(&self) -> PathBuf {
        self.0.config.data_dir.join(REPLICA_DIR)
    }

    fn disk(&self) -> Result<RealDisk, SupervisorError> {
        let path = self.folder();
        let folder = |source| SupervisorError::Folder { path: path.display().to_string(), source };
        std::fs::create_dir_all(&path).map_err(folder)?;
        RealDisk::open(&path).map_err(folder)
    }

    fn run(&self, disk: RealDisk, identity: Identity) -> Result<(), SupervisorError> {
        let replica = identity.replica;
        let (event, outcome) = match self.open(disk, identity) {
            Ok(()) => (PodEvent::Started(replica), Ok(())),
            Err(error) if is_newer(&error) => (PodEvent::Newer(format!("{:#}", anyhow::Error::new(error))), Ok(())),
            Err(error) if is_damage(&error) => {
                let reason = format!("{:#}", anyhow::Error::new(error));
                (PodEvent::Unusable(Damage { replica: Some(replica), reason }), Ok(()))
            }
            Err(error) => (PodEvent::NotStarted, Err(error)),
        };
        self.decide(event);
        outcome
    }

    /// Opens the folder and starts the threads of its replica.
    fn open(&self, disk: RealDisk, identity: Identity) -> Result<(), SupervisorError> {
        let (log, snapshots, found) = open_volume(&disk, &identity, SEGMENT_BYTES)?;
        if found.torn_bytes > 0 {
            tracing::warn!(
                bytes = found.torn_bytes,
                "the log had a torn tail, truncated; its records were never acknowledged"
            );
        }
        let (now, incarnation) = clocks();
        let replica = Replica::restore(self.settings(), identity.clone(), now, incarnation, found)?;
        let hub = self.0.hub.lock().clone().expect("`start` sets the hub before any replica runs");
        let (drained, drained_receiver) = oneshot::channel();
        let (finished, finished_receiver) = oneshot::channel();
        let node = NodeId { shard: identity.genesis.shard, replica: identity.replica };
        let engine = Engine {
            disk,
            memory_limit: self.0.config.limits.memory_bytes,
            log,
            snapshots,
            replica,
            hub: hub.clone(),
            metrics: Arc::clone(&self.0.metrics),
            tick: Duration::from_millis(self.0.config.raft.tick_ms),
            search_threads: self.0.search_threads,
            kafka: kafka::KafkaConfig::from_node(&self.0.config),
            drained,
            finished,
        };
        let handle = engine
            .start()
            .map_err(|source| SupervisorError::Folder { path: self.folder().display().to_string(), source })?;
        *self.0.drained.lock() = Some(drained_receiver);
        *self.0.finished.lock() = Some(finished_receiver);
        *self.0.handle.write() = Some(handle.clone());
        tokio::spawn(self.clone().remove_retired(handle));
        hub.become_node(Some(node));
        for peer in self.0.config.peers.iter() {
            hub.dial(&peer.address);
        }
        for member in &identity.founders {
            hub.dial(&member.address);
        }
        tracing::info!(shard = %node.shard, replica = %node.replica, "replica runs");
        Ok(())
    }

    fn settings(&self) -> Settings {
        let config = &self.0.config;
        let millis = Duration::from_millis;
        Settings {
            statement_interval: millis(config.freshness.completeness_interval_ms),
            default_freshness: config.freshness.default_ms.map(millis),
            on_stale: config.freshness.on_stale.clone(),
            max_wait: millis(config.freshness.max_wait_ms),
            clock_bound: millis(config.freshness.clock_bound_ms),
            max_drift: millis(config.freshness.max_drift_ms),
            collections: config.limits.collections,
            tick: millis(config.raft.tick_ms),
            election_ticks: config.raft.election_ticks as usize,
            heartbeat_ticks: config.raft.heartbeat_ticks as usize,
            other_regions: other_regions(config),
            ..Settings::default()
        }
    }

    /// Answers a topology call of the operator.
    pub fn topology(&self, call: TopologyCall) -> BoxFuture<'static, TopologyAnswer> {
        let (decision, running) = (self.decide(PodEvent::Called(call)), self.0.handle.read().clone());
        let answer = match (decision, running) {
            (Decision::Answer(answer), _) => answer,
            (Decision::Initialize { identity, replaces }, _) => self.initialize(identity, replaces),
            (Decision::Forward(call), Some(handle)) => return handle.topology(call),
            (Decision::ForwardJoin(call), Some(handle)) => return self.clone().forward_join(handle, call).boxed(),
            // Unreachable: a running replica has a handle, and a call leads to no other decision.
            (decision, _) => TopologyAnswer::Refused(format!("not a replica yet: {decision:?}")),
        };
        async move { answer }.boxed()
    }

    async fn forward_join(self, handle: Handle, call: TopologyCall) -> TopologyAnswer {
        match handle.topology(call).await {
            TopologyAnswer::Started => match self.decide(PodEvent::Released) {
                Decision::Retire(replica) => self.retire(replica),
                _ => TopologyAnswer::Started,
            },
            answer => answer,
        }
    }

    fn initialize(&self, identity: Identity, replaces: Option<Damage>) -> TopologyAnswer {
        let founded = !identity.founders.is_empty();
        let initialized = || -> Result<RealDisk, SupervisorError> {
            if let Some(damage) = replaces {
                let path = self.folder();
                retired::move_aside(&self.0.config.data_dir, REPLICA_DIR, damage.replica)
                    .map_err(|source| SupervisorError::Folder { path: path.display().to_string(), source })?;
            }
            let disk = self.disk()?;
            initialize_volume(&disk, &identity, SEGMENT_BYTES)?;
            Ok(disk)
        };
        let started = match initialized() {
            Ok(disk) => self.run(disk, identity.clone()),
            Err(error) => {
                self.decide(PodEvent::NotStarted);
                Err(error)
            }
        };
        match started {
            Ok(()) => TopologyAnswer::Done { version: LogIndex(u64::from(founded)) },
            Err(error) => TopologyAnswer::Refused(format!("{:#}", anyhow::Error::new(error))),
        }
    }

    /// Moves the folder of a retired replica aside and ends the process, whose threads hold the folder open. The next
    /// process finds a blank folder.
    fn retire(&self, replica: ReplicaId) -> TopologyAnswer {
        match retired::move_aside(&self.0.config.data_dir, REPLICA_DIR, Some(replica)) {
            Ok(()) => {
                self.decide(PodEvent::MovedAside);
                tracing::warn!(%replica, "this replica is retired; the process exits to restart blank");
                tokio::spawn(async {
                    tokio::time::sleep(Duration::from_millis(200)).await;
                    std::process::exit(75);
                });
                TopologyAnswer::Started
            }
            Err(error) => TopologyAnswer::Refused(format!("move the old replica aside: {error}")),
        }
    }

    /// Deletes the folders of earlier replicas once the current one has caught up.
    async fn remove_retired(self, handle: Handle) {
        let mut poll = tokio::time::interval(CATCH_UP_POLL);
        loop {
            poll.tick().await;
            if has_caught_up(handle.observed().status()) {
                if let Err(error) = retired::remove_superseded(&self.0.config.data_dir) {
                    tracing::warn!(%error, "folders of retired replicas stay on the volume");
                }
                return;
            }
        }
    }

    /// Transfers leadership away; resolves when that is done or impossible.
    pub async fn drain(&self) {
        let handle = self.0.handle.read().clone();
        let receiver = self.0.drained.lock().take();
        if let (Some(handle), Some(receiver)) = (handle, receiver) {
            handle.send_blocking(Event::Drain);
            // The machine itself gives up after a few seconds.
            let _ = tokio::time::timeout(Duration::from_secs(10), receiver).await;
        }
    }

    /// Writes a final snapshot, if it speeds up the next start and completes `within` that time.
    pub async fn finish(&self, within: Duration) {
        let handle = self.0.handle.read().clone();
        let receiver = self.0.finished.lock().take();
        let (Some(handle), Some(receiver)) = (handle, receiver) else { return };
        handle.send_blocking(Event::Finish { within });
        // The machine itself gives up at the end of that time.
        match tokio::time::timeout(within + Duration::from_secs(1), receiver).await {
            Ok(Ok(Finished { entries_behind, is_abandoned: false })) => {
                tracing::info!(entries_behind, "stopped; the next start replays these entries");
            }
            Ok(Ok(Finished { entries_behind, is_abandoned: true })) => {
                tracing::warn!(entries_behind, "the final snapshot timed out and is abandoned");
            }
            Ok(Err(_)) | Err(_) => tracing::warn!("the replica did not report its final snapshot"),
        }
    }
}

impl crate::http::Gateway for Supervisor {
    fn admit_read(&self) -> Result<(), meridian_model::client::Refusal> {
        self.0.handle.read().as_ref().map_or(Ok(()), Handle::admit_read)
    }

    fn execute(&self, request: Request) -> BoxFuture<'static, Reply> {
        match self.0.handle.read().as_ref() {
            Some(handle) => handle.execute(request),
            None => {
                let region = self.0.config.region.clone();
                let reason = "this pod is not a replica yet".into();
                let body = Err(meridian_model::client::Refusal::Unavailable { shards: Vec::new(), reason });
                let freshness = super::engine::unknown_freshness(region);
                async move { Reply { body, freshness } }.boxed()
            }
        }
    }
}

/// The replica assigned to this pod by its configuration.
fn assignment(config: &NodeConfig) -> Assignment {
    Assignment {
        cluster: config.cluster_id,
        region: config.region.clone(),
        shard: config.shard,
        shards: config.shards,
        group: config.replication_group.as_ref().map(|group| group.name.clone()),
    }
}

/// The regions of the replication group, without the own one.
fn other_regions(config: &NodeConfig) -> Vec<RegionName> {
    let regions = config.replication_group.iter().flat_map(|group| &group.regions);
    regions.map(|region| region.name.clone()).filter(|name| *name != config.region).collect()
}

fn is_damage(error: &SupervisorError) -> bool {
    match error {
        SupervisorError::Volume(error) => error.is_damage(),
        SupervisorError::Restore(error) => error.is_damage(),
        SupervisorError::Folder { .. } => false,
    }
}

fn is_newer(error: &SupervisorError) -> bool {
    match error {
        SupervisorError::Volume(error) => error.is_newer(),
        SupervisorError::Restore(error) => error.is_newer(),
        SupervisorError::Folder { .. } => false,
    }
}

fn clocks() -> (Now, u64) {
    let now = super::report::clocks();
    let incarnation = u64::try_from(now.wall.as_nanos()).unwrap_or(u64::MAX) ^ u64::from(std::process::id());
    (now, incarnation)
}

#[cfg(test)]
mod tests;

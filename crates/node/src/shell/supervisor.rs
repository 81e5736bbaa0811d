//! From an empty folder to a running replica, and from a damaged one to a new beginning: what the operator's calls meet when
//! there is no machine yet.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use meridian_model::ReplicaId;
use meridian_replica::{Event, Now, Replica, RestoreError, Settings};
use meridian_store::{RealDisk, SEGMENT_BYTES};
use meridian_volume::{Folder, VolumeError, initialize_volume, inspect_volume, open_volume};
use meridian_wire::client::{Reply, Request};
use meridian_wire::config::NodeConfig;
use meridian_wire::frame::NodeId;
use meridian_wire::topology::{Identity, MembersAt, PodStatus, TopologyAnswer, TopologyCall};
use parking_lot::{Mutex, RwLock};
use tokio::sync::oneshot;

use super::engine::{Engine, Finished, Handle};
use super::retired;
use crate::kafka;
use crate::metrics::Metrics;
use crate::peer::{Hub, Incoming};

/// The replica's folder below the data directory. One that is given up is renamed, so that nothing is destroyed.
const FOLDER: &str = "replica";
/// How often a new replica is looked at until it has caught up.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Why a replica could not be started.
#[derive(Debug, thiserror::Error)]
pub enum SupervisorError {
    /// The data directory cannot be used.
    #[error("data directory {path}")]
    Folder {
        /// Which.
        path: String,
        /// What the system says.
        source: io::Error,
    },
    /// The replica's folder cannot be opened.
    #[error("replica folder")]
    Volume(#[from] VolumeError),
    /// What is in it must not run.
    #[error("replica folder")]
    Restore(#[from] RestoreError),
    /// It shall become something else than the configuration says.
    #[error("the call speaks of {found}; the configuration says {wanted}")]
    Foreign {
        /// The replica of the call.
        found: String,
        /// The replica of the configuration.
        wanted: String,
    },
}

/// What this pod is just now.
enum Pod {
    Blank,
    Damaged(Damage),
    /// Its volume is another's, which is not touched.
    Foreign(Box<Identity>),
    Running,
}

/// What must not run: it is replaced under a new id.
#[derive(Debug, Clone)]
struct Damage {
    /// The replica that it was, as far as that can be read.
    replica: Option<ReplicaId>,
    reason: String,
}

/// Starts the replica when it may, and answers for it while it may not.
#[derive(Clone)]
pub struct Supervisor(Arc<Inner>);

struct Inner {
    config: NodeConfig,
    metrics: Arc<Metrics>,
    search_threads: usize,
    handle: Arc<RwLock<Option<Handle>>>,
    hub: Mutex<Option<Hub>>,
    pod: Mutex<Pod>,
    drained: Mutex<Option<oneshot::Receiver<()>>>,
    finished: Mutex<Option<oneshot::Receiver<Finished>>>,
}

impl Supervisor {
    /// For the node of this configuration.
    #[must_use]
    pub fn new(config: NodeConfig, metrics: Arc<Metrics>, search_threads: usize) -> Self {
        let (handle, hub, pod) = (Arc::default(), Mutex::default(), Mutex::new(Pod::Blank));
        let (drained, finished) = Default::default();
        Self(Arc::new(Inner { config, metrics, search_threads, handle, hub, pod, drained, finished }))
    }

    /// The running replica, once there is one.
    #[must_use]
    pub fn handle(&self) -> Arc<RwLock<Option<Handle>>> {
        Arc::clone(&self.0.handle)
    }

    /// What the hub delivers goes to the machine.
    pub fn deliver(&self, incoming: Incoming) {
        let Some(handle) = self.0.handle.read().clone() else { return };
        match incoming {
            // Knowing who is there must not get lost; there are few of these.
            Incoming::Met(hello) => handle.must(Event::Met(hello)),
            Incoming::Connected(peer) => handle.must(Event::Connected(peer)),
            Incoming::Lost(peer) => handle.must(Event::Lost(peer)),
            Incoming::Heard(peer) => handle.event(Event::Heard(peer)),
            Incoming::Peer(node, message) => handle.event(Event::Peer(node, message)),
            Incoming::Region(peer, message) => handle.event(Event::Region(peer, message)),
        }
    }

    /// Runs what the folder holds, if it is sound and this pod's own; a blank folder waits for the operator, a damaged one and
    /// another's are reported to it.
    ///
    /// # Errors
    /// When the folder is of a future format, or the disk refuses.
    pub fn begin(&self, hub: Hub) -> Result<(), SupervisorError> {
        *self.0.hub.lock() = Some(hub);
        let disk = self.disk()?;
        match inspect_volume(&disk)? {
            Folder::Replica(identity) if !is_own(&self.0.config, &identity) => {
                let wanted = place(&self.0.config);
                tracing::error!(found = %identity, wanted, "the volume is another's: it is not touched, and nothing is served");
                *self.0.pod.lock() = Pod::Foreign(Box::new(identity));
                Ok(())
            }
            Folder::Replica(identity) => self.run(disk, identity),
            Folder::Damaged { replica, reason } => {
                self.quarantine(Damage { replica, reason });
                Ok(())
            }
            Folder::Blank => {
                // An empty folder beside those of earlier replicas: this pod's volume has been in a group.
                let path = self.0.config.data_dir.display().to_string();
                let beside = retired::beside(&self.0.config.data_dir, FOLDER)
                    .map_err(|source| SupervisorError::Folder { path, source })?;
                if let Some((replica, name)) = beside {
                    self.quarantine(Damage { replica, reason: format!("there is no replica beside {name}") });
                }
                Ok(())
            }
        }
    }

    fn quarantine(&self, damage: Damage) {
        tracing::error!(reason = %damage.reason, "this replica must not vote; waiting to join under a new id");
        *self.0.pod.lock() = Pod::Damaged(damage);
    }

    fn folder(&self) -> PathBuf {
        self.0.config.data_dir.join(FOLDER)
    }

    fn disk(&self) -> Result<RealDisk, SupervisorError> {
        let path = self.folder();
        let folder = |source| SupervisorError::Folder { path: path.display().to_string(), source };
        std::fs::create_dir_all(&path).map_err(folder)?;
        RealDisk::open(&path).map_err(folder)
    }

    fn run(&self, disk: RealDisk, identity: Identity) -> Result<(), SupervisorError> {
        let opened = open_volume(&disk, &identity, SEGMENT_BYTES).map_err(SupervisorError::from).and_then(
            |(log, snapshots, found)| {
                if found.torn_bytes > 0 {
                    tracing::warn!(bytes = found.torn_bytes, "the log had a torn end; nobody was told of what was cut");
                }
                let (now, incarnation) = clocks();
                let replica = Replica::restore(self.settings(), identity.clone(), now, incarnation, found)?;
                Ok((log, snapshots, replica))
            },
        );
        let (log, snapshots, replica) = match opened {
            Ok(parts) => parts,
            Err(fault) if is_damage(&fault) => {
                let reason = format!("{:#}", anyhow::Error::new(fault));
                self.quarantine(Damage { replica: Some(identity.replica), reason });
                return Ok(());
            }
            Err(fault) => return Err(fault),
        };
        let hub = self.0.hub.lock().clone().expect("the hub is there before the replica");
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
            kafka: kafka::Plan::of(&self.0.config),
            drained,
            finished,
        };
        let handle = engine
            .start()
            .map_err(|source| SupervisorError::Folder { path: self.folder().display().to_string(), source })?;
        *self.0.drained.lock() = Some(drained_receiver);
        *self.0.finished.lock() = Some(finished_receiver);
        *self.0.handle.write() = Some(handle.clone());
        *self.0.pod.lock() = Pod::Running;
        tokio::spawn(self.clone().forget_retired(handle));
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

    fn check(&self, identity: &Identity) -> Result<(), SupervisorError> {
        if is_own(&self.0.config, identity) {
            return Ok(());
        }
        Err(SupervisorError::Foreign { found: identity.to_string(), wanted: place(&self.0.config) })
    }

    fn settings(&self) -> Settings {
        let config = &self.0.config;
        let millis = Duration::from_millis;
        Settings {
            statement_interval: millis(config.delta_log.clone().unwrap_or_default().close_interval_ms),
            default_freshness: config.freshness.default_ms.map(millis),
            on_stale: config.freshness.on_stale.clone(),
            max_wait: millis(config.freshness.max_wait_ms),
            clock_bound: millis(config.freshness.clock_bound_ms),
            max_drift: millis(config.freshness.max_drift_ms),
            collections: config.limits.collections,
            tick: millis(config.raft.tick_ms),
            election_ticks: config.raft.election_ticks as usize,
            heartbeat_ticks: config.raft.heartbeat_ticks as usize,
            ..Settings::default()
        }
    }

    /// Answers the operator.
    pub fn topology(&self, call: TopologyCall) -> BoxFuture<'static, TopologyAnswer> {
        let running = self.0.handle.read().clone();
        if let Some(handle) = running {
            return match call {
                TopologyCall::Join { identity, group } => self.clone().begin_anew(handle, identity, group).boxed(),
                call => handle.topology(call),
            };
        }
        let birth = matches!(call, TopologyCall::Bootstrap(_) | TopologyCall::Join { .. });
        let status = |pod| Some(TopologyAnswer::Status { pod, keys: None });
        let answer = match (&*self.0.pod.lock(), &call) {
            (Pod::Blank, TopologyCall::Status) => status(PodStatus::Blank),
            (Pod::Damaged(Damage { replica, reason }), TopologyCall::Status) => {
                status(PodStatus::Damaged { replica: *replica, reason: reason.clone() })
            }
            (Pod::Foreign(found), TopologyCall::Status) => {
                status(PodStatus::Foreign { identity: Identity::clone(found) })
            }
            (Pod::Foreign(found), _) => {
                Some(TopologyAnswer::Refused(format!("the volume belongs to {found} and is not touched")))
            }
            (Pod::Damaged(Damage { replica: Some(was), .. }), TopologyCall::Join { identity: wanted, .. })
                if wanted.replica <= *was =>
            {
                Some(TopologyAnswer::Refused("a damaged replica joins under a new id".into()))
            }
            (Pod::Damaged(_), TopologyCall::Bootstrap(_)) => {
                Some(TopologyAnswer::Refused("a damaged replica cannot found a group".into()))
            }
            _ if birth => None,
            _ => Some(TopologyAnswer::Refused("not a replica yet".into())),
        };
        let answer = answer.unwrap_or_else(|| self.initialize(call));
        async move { answer }.boxed()
    }

    /// The machine says whether it may be given up. If so a new process begins with an empty folder: this one's threads hold it.
    async fn begin_anew(self, handle: Handle, wanted: Identity, group: MembersAt) -> TopologyAnswer {
        let own = handle.observed().status().identity.replica;
        match handle.topology(TopologyCall::Join { identity: wanted, group }).await {
            TopologyAnswer::Started => self.retire(own),
            answer => answer,
        }
    }

    fn initialize(&self, call: TopologyCall) -> TopologyAnswer {
        let (TopologyCall::Bootstrap(identity) | TopologyCall::Join { identity, .. }) = call else {
            return TopologyAnswer::Refused("not a replica yet".into());
        };
        let damaged = match &*self.0.pod.lock() {
            Pod::Damaged(damage) => Some(damage.clone()),
            _ => None,
        };
        let initialized = || -> Result<(), SupervisorError> {
            self.check(&identity)?;
            if let Some(old) = damaged {
                let path = self.folder();
                retired::move_aside(&self.0.config.data_dir, FOLDER, old.replica)
                    .map_err(|source| SupervisorError::Folder { path: path.display().to_string(), source })?;
            }
            let disk = self.disk()?;
            initialize_volume(&disk, &identity, SEGMENT_BYTES)?;
            self.run(disk, identity.clone())
        };
        match initialized() {
            Ok(()) => {
                TopologyAnswer::Done { version: meridian_model::LogIndex(u64::from(!identity.founders.is_empty())) }
            }
            Err(fault) => TopologyAnswer::Refused(format!("{:#}", anyhow::Error::new(fault))),
        }
    }

    /// Moves the folder of a replica that is over aside, and ends the process: the next one finds an empty folder.
    fn retire(&self, replica: ReplicaId) -> TopologyAnswer {
        match retired::move_aside(&self.0.config.data_dir, FOLDER, Some(replica)) {
            Ok(()) => {
                tracing::warn!(%replica, "this replica is over; the process ends to begin anew");
                tokio::spawn(async {
                    tokio::time::sleep(Duration::from_millis(200)).await;
                    std::process::exit(75);
                });
                TopologyAnswer::Started
            }
            Err(fault) => TopologyAnswer::Refused(format!("move the old replica aside: {fault}")),
        }
    }

    /// Once this replica has a vote and serves, a majority holds all that earlier ones in this pod held.
    async fn forget_retired(self, handle: Handle) {
        let mut looks = tokio::time::interval(LOOK_EVERY);
        loop {
            looks.tick().await;
            let observed = handle.observed();
            let status = observed.status();
            let own = status.identity.replica;
            if status.ready && status.voters.iter().any(|member| member.replica == own) {
                if let Err(fault) = retired::keep_newest(&self.0.config.data_dir) {
                    tracing::warn!(%fault, "old replicas stay on the volume");
                }
                return;
            }
        }
    }

    /// Hands the leadership over; resolves when that is done, or cannot be.
    pub async fn drain(&self) {
        let handle = self.0.handle.read().clone();
        let receiver = self.0.drained.lock().take();
        if let (Some(handle), Some(receiver)) = (handle, receiver) {
            handle.must(Event::Drain);
            // The machine gives up by itself after a few seconds.
            let _ = tokio::time::timeout(Duration::from_secs(10), receiver).await;
        }
    }

    /// Writes a last snapshot, if the next start is worth it and it ends `within` so long.
    pub async fn finish(&self, within: Duration) {
        let handle = self.0.handle.read().clone();
        let receiver = self.0.finished.lock().take();
        let (Some(handle), Some(receiver)) = (handle, receiver) else { return };
        handle.must(Event::Finish { within });
        // The machine gives up by itself at the end of that time.
        match tokio::time::timeout(within + Duration::from_secs(1), receiver).await {
            Ok(Ok(Finished { entries_behind, is_abandoned: false })) => {
                tracing::info!(entries_behind, "the next start applies these entries again");
            }
            Ok(Ok(Finished { entries_behind, is_abandoned: true })) => {
                tracing::warn!(entries_behind, "the last snapshot did not end in time and is abandoned");
            }
            Ok(Err(_)) | Err(_) => tracing::warn!("the replica did not say whether its last snapshot was written"),
        }
    }
}

impl crate::http::Gateway for Supervisor {
    fn admit_read(&self) -> Result<(), meridian_wire::client::Refusal> {
        self.0.handle.read().as_ref().map_or(Ok(()), Handle::admit_read)
    }

    fn ask(&self, request: Request) -> BoxFuture<'static, Reply> {
        match self.0.handle.read().as_ref() {
            Some(handle) => handle.ask(request),
            None => {
                let region = self.0.config.region.clone();
                let reason = "this pod is not a replica yet".into();
                let body = Err(meridian_wire::client::Refusal::Unavailable { shards: Vec::new(), reason });
                let freshness = super::engine::unknown(region);
                async move { Reply { body, freshness } }.boxed()
            }
        }
    }
}

/// A volume of this identity may run under this configuration. A group may be added after a volume was made.
fn is_own(config: &NodeConfig, identity: &Identity) -> bool {
    let genesis = &identity.genesis;
    let group = config.replication_group.as_ref().map(|group| &group.name);
    genesis.cluster == config.cluster_id
        && genesis.region == config.region
        && genesis.shard == config.shard
        && genesis.shards == config.shards
        && (identity.group.is_none() || identity.group.as_ref() == group)
}

/// What the configuration says of this pod, in the words in which an [`Identity`] is told.
fn place(config: &NodeConfig) -> String {
    let NodeConfig { cluster_id, region, shard, shards, .. } = config;
    let group = config.replication_group.as_ref().map(|group| format!(", replication group {}", group.name));
    format!("cluster {cluster_id}, region {region}, shard {shard} of {shards}{}", group.unwrap_or_default())
}

fn is_damage(fault: &SupervisorError) -> bool {
    match fault {
        SupervisorError::Volume(fault) => fault.is_damage(),
        SupervisorError::Restore(fault) => fault.is_damage(),
        SupervisorError::Folder { .. } | SupervisorError::Foreign { .. } => false,
    }
}

fn clocks() -> (Now, u64) {
    let now = super::report::clocks();
    let incarnation = u64::try_from(now.wall.as_nanos()).unwrap_or(u64::MAX) ^ u64::from(std::process::id());
    (now, incarnation)
}

#[cfg(test)]
mod tests;

//! Assigns replica ids: executes the operator's decisions on the processes of one region.
//!
//! Replica ids are allocated once and never reused. A node whose folder is lost or damaged is removed from its group
//! and joins under a new id. Allocated ids are written to `<region>/replicas.json` before any node receives them.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use futures::future::join_all;
use meridian_crd::ShardStatus;
use meridian_crd::conditions::predicate;
use meridian_model::{BehaviorVersion, Link, RegionName, ShardNumber};
use meridian_plan::upgrade::{ObservedUpgrade, OtherWork, Rules, next_upgrade_step};
use meridian_plan::{
    ObservedPod, ObservedShard, ObservedStatefulSet, Placement, ReplicaIdAllocator, ShardMove, next_shard_move,
};
use meridian_proto::topology::{Genesis, PodStatus};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::brokers::Brokers;
use super::files;
use super::layout::{Layout, RegionLayout};
use super::topology_client::TopologyClient;

/// Interval between two reconciliations while a change is in progress.
const ACTIVE_INTERVAL: Duration = Duration::from_millis(50);
/// Interval between two reconciliations without changes; each costs one connection per node.
const IDLE_INTERVAL: Duration = Duration::from_secs(2);

/// Bootstraps the groups of a region, replaces lost replicas and sets the links, one change at a time.
pub struct Allocator {
    client: TopologyClient,
    region: LocalRegion,
    allocators: BTreeMap<ShardNumber, ReplicaIdAllocator>,
    path: PathBuf,
}

/// Result of one reconciliation.
enum ReconcileOutcome {
    /// Every replica is ready and follows a leader; nothing to do.
    Settled,
    /// A change is in progress; the text names the awaited condition.
    InProgress(String),
    /// Only a person can resolve this.
    Blocked(String),
}

impl Allocator {
    /// Opens the allocator with the ids stored in the region's folder.
    ///
    /// # Errors
    /// When the certificates or the allocated ids cannot be read.
    pub fn open(layout: &Layout, region: &RegionLayout, brokers: &Brokers) -> anyhow::Result<Self> {
        let primary = layout.primary().name.clone();
        let path = files::region_dir(layout, region).join("replicas.json");
        let allocators = read_ids(&path).with_context(|| format!("read {}", path.display()))?;
        let links = brokers.links(&primary, &region.name);
        let rules = Rules {
            finalize_after: Some(Duration::ZERO),
            other_regions: layout
                .regions
                .iter()
                .map(|it| it.name.clone())
                .filter(|name| *name != region.name)
                .collect(),
            is_primary: primary == region.name,
        };
        let region = LocalRegion { layout: region.clone(), primary, group: layout.group(), links, rules };
        Ok(Self { client: TopologyClient::new(layout, &region.layout)?, region, allocators, path })
    }

    /// Reconciles until every replica is ready and follows a leader.
    ///
    /// # Errors
    /// The region is not settled at the deadline or cannot be reached; the error names the awaited condition.
    pub async fn reconcile_until_settled(&mut self, deadline: Instant) -> anyhow::Result<()> {
        loop {
            match self.reconcile().await? {
                ReconcileOutcome::Settled => return Ok(()),
                ReconcileOutcome::Blocked(reason) => bail!("region {}: {reason}", self.region.layout.name),
                ReconcileOutcome::InProgress(reason) if Instant::now() >= deadline => {
                    bail!("region {}: {reason}", self.region.layout.name)
                }
                ReconcileOutcome::InProgress(_) => sleep(ACTIVE_INTERVAL).await,
            }
        }
    }

    /// Reconciles until `stop` is cancelled.
    pub async fn run(mut self, stop: CancellationToken) {
        loop {
            // A failed reconciliation is repeated: each derives everything from the observed state.
            let pause = match self.reconcile().await {
                Ok(ReconcileOutcome::InProgress(_)) => ACTIVE_INTERVAL,
                Ok(ReconcileOutcome::Settled | ReconcileOutcome::Blocked(_)) | Err(_) => IDLE_INTERVAL,
            };
            if stop.run_until_cancelled(sleep(pause)).await.is_none() {
                return;
            }
        }
    }

    async fn reconcile(&mut self) -> anyhow::Result<ReconcileOutcome> {
        let mut outcome = ReconcileOutcome::Settled;
        let mut shards = BTreeMap::new();
        for shard in ShardNumber::all(self.region.layout.shards) {
            let observed = self.observe(shard).await;
            let ShardMove { allocator, act, operation, .. } = next_shard_move(&self.region, shard, &observed);
            self.persist_ids(shard, allocator)?;
            let calls = act.map(|act| act.calls()).unwrap_or_default();
            let acted = !calls.is_empty();
            for (shard, ordinal, call) in calls {
                // A lost or refused call is repeated by a later reconciliation.
                let _ = self.client.call(self.region.node(shard, ordinal), call).await;
            }
            let blocked_by = operation.and_then(|operation| operation.blocked_by);
            if let Some(blocked) = &blocked_by
                && predicate::VOLUME_RESTORED == *blocked.predicate
            {
                return Ok(ReconcileOutcome::Blocked(blocked.message.clone()));
            }
            let reason = match blocked_by {
                Some(blocked) => Some(blocked.message),
                None if acted => Some(format!("shard {shard} is being bootstrapped")),
                None => self.first_unready(shard, &observed),
            };
            if let Some(reason) = reason {
                outcome = ReconcileOutcome::InProgress(reason);
            }
            shards.insert(shard, observed);
        }
        match outcome {
            ReconcileOutcome::Settled => Ok(self.finalize(&shards).await),
            outcome => Ok(outcome),
        }
    }

    /// Finalizes and publishes the newest behavior version that all nodes know, without a soak.
    async fn finalize(&self, shards: &BTreeMap<ShardNumber, ObservedShard>) -> ReconcileOutcome {
        let shards = shards.iter().map(|(shard, observed)| (*shard, observed)).collect();
        let (upgrade, other) = (ObservedUpgrade::default(), OtherWork::default());
        let Some(act) = next_upgrade_step(&self.region, &shards, &self.region.rules, &upgrade, &other).act else {
            return ReconcileOutcome::Settled;
        };
        for (shard, ordinal, call) in act.calls() {
            // A lost or refused call is repeated by a later reconciliation.
            let _ = self.client.call(self.region.node(shard, ordinal), call).await;
        }
        ReconcileOutcome::InProgress(format!("waiting for the leader to perform {}", act.name()))
    }

    async fn observe(&self, shard: ShardNumber) -> ObservedShard {
        let ordinals: Vec<u16> = (0..self.region.replicas()).collect();
        let request_status = |ordinal: &u16| self.client.pod_report(self.region.node(shard, *ordinal));
        let answers = join_all(ordinals.iter().map(request_status)).await;
        let pod = |(answer, known): (Option<PodStatus>, Option<BehaviorVersion>)| ObservedPod {
            uid: String::new(),
            deleting: false,
            ready: answer.is_some(),
            outdated: false,
            answer,
            keys: None,
            failure_reason: None,
            known,
            image: None,
        };
        ObservedShard {
            stateful_set: Some(ObservedStatefulSet {
                replicas: self.region.replicas(),
                settled: true,
                deleting: false,
            }),
            pods: ordinals.iter().copied().zip(answers.into_iter().map(Option::unzip).map(pod)).collect(),
            volumes: ordinals.into_iter().collect(),
            allocator: self.allocators.get(&shard).cloned().unwrap_or_default(),
        }
    }

    /// The first node that is not ready or has no leader, with the reason.
    fn first_unready(&self, shard: ShardNumber, observed: &ObservedShard) -> Option<String> {
        observed.pods.iter().find_map(|(ordinal, pod)| {
            let reason = match &pod.answer {
                Some(PodStatus::Running(status)) => match &status.fault {
                    Some(error) => format!("is out of service: {error}"),
                    None if status.leader.is_none() => "has no leader".into(),
                    None if !status.ready => "is not ready".into(),
                    None => return None,
                },
                Some(PodStatus::Damaged { reason, .. }) => format!("is damaged: {reason}"),
                Some(PodStatus::Blank) => "is blank".into(),
                Some(PodStatus::Foreign { identity }) => format!("has the folder of {identity}"),
                Some(PodStatus::Newer { reason }) => format!("has files of a newer release: {reason}"),
                None => "does not answer".into(),
            };
            Some(format!("{} {reason}", self.region.pod_name(shard, *ordinal)))
        })
    }

    /// Stores allocated ids durably before any node receives them: a lost id could be allocated twice.
    fn persist_ids(&mut self, shard: ShardNumber, allocator: ReplicaIdAllocator) -> anyhow::Result<()> {
        if self.allocators.get(&shard) == Some(&allocator) {
            return Ok(());
        }
        self.allocators.insert(shard, allocator);
        write_ids(&self.path, &self.allocators).with_context(|| format!("write {}", self.path.display()))
    }
}

fn read_ids(path: &Path) -> anyhow::Result<BTreeMap<ShardNumber, ReplicaIdAllocator>> {
    let text = match std::fs::read_to_string(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        text => text?,
    };
    let statuses: Vec<ShardStatus> = serde_json::from_str(&text)?;
    let allocator = |status: &ShardStatus| {
        let shard = u16::try_from(status.shard)
            .ok()
            .and_then(|number| ShardNumber::new(number).ok())
            .context("no shard number")?;
        Ok((shard, ReplicaIdAllocator::from_status(status)))
    };
    statuses.iter().map(allocator).collect()
}

fn write_ids(path: &Path, allocators: &BTreeMap<ShardNumber, ReplicaIdAllocator>) -> anyhow::Result<()> {
    let statuses: Vec<ShardStatus> = allocators.iter().map(|(shard, allocator)| allocator.to_status(*shard)).collect();
    let folder = path.parent().context("a file in a folder")?;
    let mut draft = tempfile::NamedTempFile::new_in(folder)?;
    draft.write_all(serde_json::to_string_pretty(&statuses)?.as_bytes())?;
    draft.as_file().sync_all()?;
    draft.persist(path)?;
    std::fs::File::open(folder)?.sync_all()?;
    Ok(())
}

/// A region in the form that `plan` expects: the nodes of a shard, in layout order, are its pods.
struct LocalRegion {
    layout: RegionLayout,
    primary: RegionName,
    group: Option<String>,
    links: Vec<Link>,
    rules: Rules,
}

impl LocalRegion {
    fn node(&self, shard: ShardNumber, ordinal: u16) -> &super::layout::NodeLayout {
        let mut nodes = self.layout.nodes.iter().filter(|node| node.shard == shard);
        nodes.nth(ordinal.into()).expect("ordinals are below the number of replicas")
    }
}

impl Placement for LocalRegion {
    fn replicas(&self) -> u16 {
        self.layout.replicas()
    }

    fn genesis(&self, shard: ShardNumber) -> Genesis {
        self.layout.genesis(shard, &self.primary)
    }

    fn group(&self) -> Option<String> {
        self.group.clone()
    }

    fn links(&self) -> Vec<Link> {
        self.links.clone()
    }

    fn shard_name(&self, shard: ShardNumber) -> String {
        format!("{}-s{shard}", self.layout.name)
    }

    fn pod_name(&self, shard: ShardNumber, ordinal: u16) -> String {
        self.layout.node_name(self.node(shard, ordinal))
    }

    fn peer_address(&self, shard: ShardNumber, ordinal: u16) -> String {
        self.node(shard, ordinal).peer_address()
    }

    fn ordinal_of(&self, shard: ShardNumber, address: &str) -> Option<u16> {
        (0..self.replicas()).find(|ordinal| self.peer_address(shard, *ordinal) == address)
    }
}

#[cfg(test)]
mod tests {
    use meridian_model::ReplicaId;

    use super::*;

    #[test]
    fn allocated_ids_survive_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("replicas.json");
        assert_eq!(read_ids(&path).unwrap(), BTreeMap::new());
        let mut allocator = ReplicaIdAllocator::default();
        allocator.bootstrap_ids = vec![allocator.allocate(), allocator.allocate()];
        let allocators = BTreeMap::from([(ShardNumber::FIRST, allocator)]);
        write_ids(&path, &allocators).unwrap();
        let mut found = read_ids(&path).unwrap();
        assert_eq!(found, allocators);
        assert_eq!(found.get_mut(&ShardNumber::FIRST).unwrap().allocate(), ReplicaId(3));
        std::fs::write(&path, "[").unwrap();
        assert!(read_ids(&path).is_err(), "a damaged file is an error");
    }
}

//! Which replica each node is: the operator's decisions, carried out on the processes of one region.
//!
//! Replica ids are allocated once and never reused: a node whose folder was lost or damaged is removed from its group and
//! joins again under a new id. What was allocated stands in `<region>/replicas.json`, written before it is told to anybody.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use futures::future::join_all;
use meridian_crd::ShardStatus;
use meridian_crd::conditions::predicate;
use meridian_model::{Link, RegionName, ShardNumber};
use meridian_plan::{Ledger, Placement, PodSeen, ShardMove, ShardSeen, StatefulSetSeen, next_shard_move};
use meridian_proto::topology::{Genesis, PodStatus};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::brokers::Brokers;
use super::caller::Caller;
use super::files;
use super::layout::{Layout, RegionLayout};

/// Between two turns while something is under way.
const PAUSE: Duration = Duration::from_millis(50);
/// Between two turns at rest: a look costs one connection to each node.
const REST: Duration = Duration::from_secs(2);

/// Founds the groups of a region, replaces lost replicas and sets the links, one turn at a time.
pub struct Allocator {
    caller: Caller,
    region: LocalRegion,
    ledgers: BTreeMap<ShardNumber, Ledger>,
    path: PathBuf,
}

/// What a turn saw.
enum Turn {
    /// Every replica is ready and follows a leader, and nothing is to be done.
    Settled,
    /// Not so yet, and why.
    Working(String),
    /// Nothing that this program may do helps.
    Stuck(String),
}

impl Allocator {
    /// With what the folder of the region remembers.
    ///
    /// # Errors
    /// When the certificates or the allocated ids cannot be read.
    pub fn open(layout: &Layout, region: &RegionLayout, brokers: &Brokers) -> anyhow::Result<Self> {
        let primary = layout.primary().name.clone();
        let path = files::region_dir(layout, region).join("replicas.json");
        let ledgers = read(&path).with_context(|| format!("read {}", path.display()))?;
        let links = brokers.links(&primary, &region.name);
        let region = LocalRegion { layout: region.clone(), primary, group: layout.group(), links };
        Ok(Self { caller: Caller::new(layout, &region.layout)?, region, ledgers, path })
    }

    /// Turns until every replica is ready and follows a leader.
    ///
    /// # Errors
    /// When that is not so at `until`, or cannot become so; says what was waited for.
    pub async fn settle(&mut self, until: Instant) -> anyhow::Result<()> {
        loop {
            match self.turn().await? {
                Turn::Settled => return Ok(()),
                Turn::Stuck(why) => bail!("region {}: {why}", self.region.layout.name),
                Turn::Working(why) if Instant::now() >= until => bail!("region {}: {why}", self.region.layout.name),
                Turn::Working(_) => sleep(PAUSE).await,
            }
        }
    }

    /// Turns until `stop`.
    pub async fn keep(mut self, stop: CancellationToken) {
        loop {
            // A turn that fails is repeated: every turn derives everything from what it sees.
            let pause = match self.turn().await {
                Ok(Turn::Working(_)) => PAUSE,
                Ok(Turn::Settled | Turn::Stuck(_)) | Err(_) => REST,
            };
            if stop.run_until_cancelled(sleep(pause)).await.is_none() {
                return;
            }
        }
    }

    async fn turn(&mut self) -> anyhow::Result<Turn> {
        let mut turn = Turn::Settled;
        for shard in ShardNumber::all(self.region.layout.shards) {
            let seen = self.observe(shard).await;
            let ShardMove { ledger, act, operation, .. } = next_shard_move(&self.region, shard, &seen);
            self.remember(shard, ledger)?;
            let calls = act.map(|act| act.calls()).unwrap_or_default();
            let acted = !calls.is_empty();
            for (shard, ordinal, call) in calls {
                // A call that is lost or refused is made again by a later turn.
                let _ = self.caller.call(self.region.node(shard, ordinal), call).await;
            }
            let waits = operation.and_then(|operation| operation.blocked_by);
            if let Some(blocked) = &waits
                && predicate::VOLUME_RESTORED == *blocked.predicate
            {
                return Ok(Turn::Stuck(blocked.message.clone()));
            }
            let why = match waits {
                Some(blocked) => Some(blocked.message),
                None if acted => Some(format!("shard {shard} is being set up")),
                None => self.unready(shard, &seen),
            };
            if let Some(why) = why {
                turn = Turn::Working(why);
            }
        }
        Ok(turn)
    }

    async fn observe(&self, shard: ShardNumber) -> ShardSeen {
        let ordinals: Vec<u16> = (0..self.region.replicas()).collect();
        let ask = |ordinal: &u16| self.caller.pod(self.region.node(shard, *ordinal));
        let answers = join_all(ordinals.iter().map(ask)).await;
        let pod = |answer: Option<PodStatus>| PodSeen {
            uid: String::new(),
            deleting: false,
            ready: answer.is_some(),
            outdated: false,
            answer,
            keys: None,
            trouble: None,
        };
        ShardSeen {
            stateful_set: Some(StatefulSetSeen { replicas: self.region.replicas(), settled: true, deleting: false }),
            pods: ordinals.iter().copied().zip(answers.into_iter().map(pod)).collect(),
            volumes: ordinals.into_iter().collect(),
            ledger: self.ledgers.get(&shard).cloned().unwrap_or_default(),
        }
    }

    /// A node that is not ready, or follows no leader.
    fn unready(&self, shard: ShardNumber, seen: &ShardSeen) -> Option<String> {
        seen.pods.iter().find_map(|(ordinal, pod)| {
            let why = match &pod.answer {
                Some(PodStatus::Running(status)) => match &status.fault {
                    Some(fault) => format!("is out of service: {fault}"),
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
            Some(format!("{} {why}", self.region.pod_name(shard, *ordinal)))
        })
    }

    /// Durable before anybody is told: an id that was told and is forgotten could be given out twice.
    fn remember(&mut self, shard: ShardNumber, ledger: Ledger) -> anyhow::Result<()> {
        if self.ledgers.get(&shard) == Some(&ledger) {
            return Ok(());
        }
        self.ledgers.insert(shard, ledger);
        write(&self.path, &self.ledgers).with_context(|| format!("write {}", self.path.display()))
    }
}

fn read(path: &Path) -> anyhow::Result<BTreeMap<ShardNumber, Ledger>> {
    let text = match std::fs::read_to_string(path) {
        Err(fault) if fault.kind() == std::io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        text => text?,
    };
    let statuses: Vec<ShardStatus> = serde_json::from_str(&text)?;
    let ledger = |status: &ShardStatus| {
        let shard = u16::try_from(status.shard)
            .ok()
            .and_then(|number| ShardNumber::new(number).ok())
            .context("no shard number")?;
        Ok((shard, Ledger::from_status(status)))
    };
    statuses.iter().map(ledger).collect()
}

fn write(path: &Path, ledgers: &BTreeMap<ShardNumber, Ledger>) -> anyhow::Result<()> {
    let statuses: Vec<ShardStatus> = ledgers.iter().map(|(shard, ledger)| ledger.to_status(*shard)).collect();
    let folder = path.parent().context("a file in a folder")?;
    let mut draft = tempfile::NamedTempFile::new_in(folder)?;
    draft.write_all(serde_json::to_string_pretty(&statuses)?.as_bytes())?;
    draft.as_file().sync_all()?;
    draft.persist(path)?;
    std::fs::File::open(folder)?.sync_all()?;
    Ok(())
}

/// A region as the decisions see it: the nodes of a shard in their order are its pods.
struct LocalRegion {
    layout: RegionLayout,
    primary: RegionName,
    group: Option<String>,
    links: Vec<Link>,
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
        assert_eq!(read(&path).unwrap(), BTreeMap::new());
        let mut ledger = Ledger::default();
        ledger.founding = vec![ledger.mint(), ledger.mint()];
        let ledgers = BTreeMap::from([(ShardNumber::FIRST, ledger)]);
        write(&path, &ledgers).unwrap();
        let mut found = read(&path).unwrap();
        assert_eq!(found, ledgers);
        assert_eq!(found.get_mut(&ShardNumber::FIRST).unwrap().mint(), ReplicaId(3));
        std::fs::write(&path, "[").unwrap();
        assert!(read(&path).is_err(), "a damaged file is no empty one");
    }
}

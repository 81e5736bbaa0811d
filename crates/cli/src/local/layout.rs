//! What stands where: regions, nodes, ports, ids. Written once, so that a folder can be started again.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use meridian_model::{ClusterId, NameError, RegionName, ReplicaId, ShardNumber};
use meridian_proto::topology::Genesis;
use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

/// Ports are taken from here: below the range from which Linux gives ports to outgoing connections (32768 on), so that no
/// connection sits on the port of a node that is just being started again.
const PORTS: std::ops::Range<u16> = 15_000..32_000;
/// Most shards or replicas of one region: this is one machine.
const MOST: u16 = 16;

/// `NAME:SHARDSxREPLICAS`, as in `us-east:1x3`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegionSpec {
    /// Its name.
    pub name: RegionName,
    /// How many shards.
    pub shards: u16,
    /// How many replicas each.
    pub replicas: u16,
}

/// Why a text is no [`RegionSpec`].
#[derive(Debug, thiserror::Error)]
pub enum RegionSpecError {
    /// Not of that form.
    #[error("{0:?} is not NAME:SHARDSxREPLICAS, as in us-east:1x3, with 1 to {MOST} of each")]
    Form(String),
    /// The name is none.
    #[error("region name")]
    Name(#[from] NameError),
}

impl FromStr for RegionSpec {
    type Err = RegionSpecError;

    fn from_str(text: &str) -> Result<Self, RegionSpecError> {
        let form = || RegionSpecError::Form(text.into());
        let (name, counts) = text.split_once(':').ok_or_else(form)?;
        let (shards, replicas) = counts.split_once('x').ok_or_else(form)?;
        let count = |text: &str| text.parse().ok().filter(|count| (1..=MOST).contains(count)).ok_or_else(form);
        Ok(Self { name: RegionName::new(name)?, shards: count(shards)?, replicas: count(replicas)? })
    }
}

impl fmt::Display for RegionSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}x{}", self.name, self.shards, self.replicas)
    }
}

/// All regions of one folder; the first is primary.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layout {
    /// The folder, absolute.
    pub dir: PathBuf,
    /// Primary first.
    pub regions: Vec<RegionLayout>,
}

/// One region.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegionLayout {
    /// Its name.
    pub name: RegionName,
    /// Identity of the cluster that it is.
    pub cluster_id: ClusterIdText,
    /// How many shards.
    pub shards: u16,
    /// What lets a client in.
    pub api_key: String,
    /// Port at which other regions find it.
    pub endpoint: u16,
    /// By shard, then replica.
    pub nodes: Vec<NodeLayout>,
}

/// One node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeLayout {
    /// Its shard.
    pub shard: ShardNumber,
    /// Its place in the shard, from 1; the replica in it has this id until it is replaced.
    pub replica: ReplicaId,
    /// Port of the public API.
    pub api: u16,
    /// Port of metrics and probes.
    pub admin: u16,
    /// Port for peers.
    pub peer: u16,
}

/// A cluster id, written as a UUID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ClusterIdText(pub ClusterId);

impl From<ClusterIdText> for String {
    fn from(id: ClusterIdText) -> Self {
        id.0.to_string()
    }
}

impl TryFrom<String> for ClusterIdText {
    type Error = <ClusterId as FromStr>::Err;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse().map(Self)
    }
}

/// Why a folder cannot be laid out.
#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
    /// There must be something to run.
    #[error("no region is named")]
    Empty,
    /// Names are identities.
    #[error("region {0} stands twice")]
    Twice(RegionName),
    /// Everything is taken.
    #[error("no {0} ports are free on 127.0.0.1")]
    Ports(usize),
    /// The folder cannot be used.
    #[error("{path}")]
    Folder {
        /// Which.
        path: String,
        /// What the system says.
        source: io::Error,
    },
    /// What is in the folder is no layout.
    #[error("{path}")]
    Damaged {
        /// Which file.
        path: String,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// The folder holds other regions than asked for.
    #[error("{path} holds {found}; asked for was {wanted}")]
    Other {
        /// Which folder.
        path: String,
        /// What is there.
        found: String,
        /// What should be.
        wanted: String,
    },
}

impl Layout {
    /// The layout that `dir` holds already, or a new one with free ports, written there.
    ///
    /// # Errors
    /// When the folder holds something else, or cannot be used.
    pub fn open(dir: &Path, specs: &[RegionSpec], random: &mut impl Rng) -> Result<Self, LayoutError> {
        let fault = |source| LayoutError::Folder { path: dir.display().to_string(), source };
        std::fs::create_dir_all(dir).map_err(fault)?;
        let dir = dir.canonicalize().map_err(fault)?;
        let file = dir.join("layout.json");
        let path = file.display().to_string();
        let fault = |source| LayoutError::Folder { path: path.clone(), source };
        if file.exists() {
            let text = std::fs::read_to_string(&file).map_err(fault)?;
            let layout: Self =
                serde_json::from_str(&text).map_err(|source| LayoutError::Damaged { path: path.clone(), source })?;
            let list = |specs: &[RegionSpec]| specs.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            let (found, wanted) = (list(&layout.specs()), list(specs));
            if found != wanted {
                return Err(LayoutError::Other { path: dir.display().to_string(), found, wanted });
            }
            return Ok(Self { dir, ..layout });
        }
        let layout = Self::new(dir, specs, random)?;
        let text =
            serde_json::to_string_pretty(&layout).expect("names, numbers and UTF-8 paths always have a JSON form");
        std::fs::write(&file, text).map_err(fault)?;
        Ok(layout)
    }

    fn new(dir: PathBuf, specs: &[RegionSpec], random: &mut impl Rng) -> Result<Self, LayoutError> {
        if specs.is_empty() {
            return Err(LayoutError::Empty);
        }
        let mut names = BTreeSet::new();
        if let Some(twice) = specs.iter().find(|spec| !names.insert(&spec.name)) {
            return Err(LayoutError::Twice(twice.name.clone()));
        }
        let nodes: usize = specs.iter().map(|spec| usize::from(spec.shards) * usize::from(spec.replicas)).sum();
        let mut ports = free_ports(nodes * 3 + specs.len(), random)?.into_iter();
        let mut port = || ports.next().expect("as many ports were found as are used");
        let mut regions = Vec::new();
        for spec in specs {
            let mut nodes = Vec::new();
            for shard in ShardNumber::all(spec.shards) {
                for replica in 1..=u64::from(spec.replicas) {
                    let replica = ReplicaId(replica);
                    nodes.push(NodeLayout { shard, replica, api: port(), admin: port(), peer: port() });
                }
            }
            regions.push(RegionLayout {
                name: spec.name.clone(),
                cluster_id: ClusterIdText(ClusterId(random.random())),
                shards: spec.shards,
                api_key: format!("{:032x}", random.random::<u128>()),
                endpoint: port(),
                nodes,
            });
        }
        Ok(Self { dir, regions })
    }

    fn specs(&self) -> Vec<RegionSpec> {
        let spec = |region: &RegionLayout| RegionSpec {
            name: region.name.clone(),
            shards: region.shards,
            replicas: region.replicas(),
        };
        self.regions.iter().map(spec).collect()
    }

    /// The replication group that several regions are.
    #[must_use]
    pub fn group(&self) -> Option<String> {
        (self.regions.len() > 1).then(|| "local".into())
    }

    /// The region that takes writes at first.
    #[must_use]
    pub fn primary(&self) -> &RegionLayout {
        self.regions.first().expect("a layout has a region")
    }
}

impl RegionLayout {
    /// What a node is called in logs and file names.
    #[must_use]
    pub fn node_name(&self, node: &NodeLayout) -> String {
        format!("{}-s{}-r{}", self.name, node.shard, node.replica)
    }

    /// What every replica of a shard is initialized with.
    #[must_use]
    pub fn genesis(&self, shard: ShardNumber, primary: &RegionName) -> Genesis {
        Genesis {
            cluster: self.cluster_id.0,
            region: self.name.clone(),
            shard,
            shards: self.shards,
            primary: primary.clone(),
            primary_term: meridian_model::PrimaryTerm(1),
        }
    }

    /// Nodes of each shard.
    #[must_use]
    pub fn replicas(&self) -> u16 {
        u16::try_from(self.nodes.len() / usize::from(self.shards.max(1))).unwrap_or(u16::MAX)
    }
}

impl NodeLayout {
    /// Where other replicas find it.
    #[must_use]
    pub fn peer_address(&self) -> String {
        format!("127.0.0.1:{}", self.peer)
    }

    /// Where clients find it.
    #[must_use]
    pub fn api_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.api)
    }

    /// Where metrics and probes are.
    #[must_use]
    pub fn admin_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.admin)
    }
}

/// `count` ports that nobody listens on now.
fn free_ports(count: usize, random: &mut impl Rng) -> Result<Vec<u16>, LayoutError> {
    let span = PORTS.end - PORTS.start;
    let begin: u16 = random.random_range(0..span);
    let around = (0..span).map(|step| PORTS.start + (begin + step) % span);
    let free: Vec<u16> =
        around.filter(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok()).take(count).collect();
    if free.len() == count { Ok(free) } else { Err(LayoutError::Ports(count)) }
}

//! Layout of a folder: regions, nodes, ports and ids, stored once so that the folder can be started again.

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

/// Range of allocated ports. It ends below Linux's ephemeral ports (32768 on), so that no outgoing connection occupies the
/// port of a node that restarts.
const PORTS: std::ops::Range<u16> = 15_000..32_000;
/// Limit of shards and of replicas per region: everything runs on one machine.
const MAX_PER_REGION: u16 = 16;

/// `NAME:SHARDSxREPLICAS`, as in `us-east:1x3`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegionSpec {
    /// Its name.
    pub name: RegionName,
    /// Number of shards.
    pub shards: u16,
    /// Number of replicas per shard.
    pub replicas: u16,
}

/// Why a text is not a [`RegionSpec`].
#[derive(Debug, thiserror::Error)]
pub enum RegionSpecError {
    /// The form is invalid.
    #[error("region must be NAME:SHARDSxREPLICAS with 1 to {MAX_PER_REGION} of each, such as us-east:1x3 (got {0:?})")]
    Form(String),
    /// The region name is invalid.
    #[error("region name")]
    Name(#[from] NameError),
}

impl FromStr for RegionSpec {
    type Err = RegionSpecError;

    fn from_str(text: &str) -> Result<Self, RegionSpecError> {
        let invalid_form = || RegionSpecError::Form(text.into());
        let (name, counts) = text.split_once(':').ok_or_else(invalid_form)?;
        let (shards, replicas) = counts.split_once('x').ok_or_else(invalid_form)?;
        let count = |text: &str| {
            text.parse().ok().filter(|count| (1..=MAX_PER_REGION).contains(count)).ok_or_else(invalid_form)
        };
        Ok(Self { name: RegionName::new(name)?, shards: count(shards)?, replicas: count(replicas)? })
    }
}

impl fmt::Display for RegionSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}x{}", self.name, self.shards, self.replicas)
    }
}

/// All regions of one folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layout {
    /// Absolute path of the folder.
    pub dir: PathBuf,
    /// The primary region is first.
    pub regions: Vec<RegionLayout>,
}

/// One region.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegionLayout {
    /// Its name.
    pub name: RegionName,
    /// Cluster id of the region.
    pub cluster_id: ClusterIdText,
    /// Number of shards.
    pub shards: u16,
    /// API key for clients.
    pub api_key: String,
    /// Port that other regions connect to.
    pub endpoint: u16,
    /// Ordered by shard, then replica.
    pub nodes: Vec<NodeLayout>,
}

/// One node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeLayout {
    /// Its shard.
    pub shard: ShardNumber,
    /// Number within the shard, from 1; also its first replica id, until the replica is replaced.
    pub replica: ReplicaId,
    /// Port of the public API.
    pub api: u16,
    /// Port of metrics and probes.
    pub admin: u16,
    /// Port for peers.
    pub peer: u16,
}

/// A cluster id, serialized as a UUID.
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

/// Why a layout cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
    /// No region is given.
    #[error("at least one region is required")]
    Empty,
    /// A region name is given twice.
    #[error("region names must be unique (got {0} twice)")]
    Duplicate(RegionName),
    /// Too few free ports.
    #[error("{0} free ports are needed on 127.0.0.1")]
    Ports(usize),
    /// The folder or the layout file cannot be read or written.
    #[error("{path}")]
    Folder {
        /// Path.
        path: String,
        /// Cause.
        source: io::Error,
    },
    /// The layout file is invalid.
    #[error("{path}")]
    Damaged {
        /// Path of the file.
        path: String,
        /// Cause.
        source: serde_json::Error,
    },
    /// The folder contains other regions than requested.
    #[error("{path} contains {found}; requested was {wanted}")]
    Mismatch {
        /// Path of the folder.
        path: String,
        /// Regions in the folder.
        found: String,
        /// Requested regions.
        wanted: String,
    },
}

impl Layout {
    /// Opens the layout stored in `dir`, or stores a new one with free ports.
    ///
    /// # Errors
    /// See [`LayoutError`].
    pub fn open(dir: &Path, specs: &[RegionSpec], random: &mut impl Rng) -> Result<Self, LayoutError> {
        let error = |source| LayoutError::Folder { path: dir.display().to_string(), source };
        std::fs::create_dir_all(dir).map_err(error)?;
        let dir = dir.canonicalize().map_err(error)?;
        let file = dir.join("layout.json");
        let path = file.display().to_string();
        let error = |source| LayoutError::Folder { path: path.clone(), source };
        if file.exists() {
            let layout = Self::read(&dir)?;
            let list = |specs: &[RegionSpec]| specs.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            let (found, wanted) = (list(&layout.specs()), list(specs));
            if found != wanted {
                return Err(LayoutError::Mismatch { path: dir.display().to_string(), found, wanted });
            }
            return Ok(layout);
        }
        let layout = Self::new(dir, specs, random)?;
        let text =
            serde_json::to_string_pretty(&layout).expect("names, numbers and UTF-8 paths always have a JSON form");
        std::fs::write(&file, text).map_err(error)?;
        Ok(layout)
    }

    /// Reads the layout stored in `dir`.
    ///
    /// # Errors
    /// [`LayoutError::Folder`] when there is none, and [`LayoutError::Damaged`].
    pub fn read(dir: &Path) -> Result<Self, LayoutError> {
        let file = dir.join("layout.json");
        let path = file.display().to_string();
        let error = |source| LayoutError::Folder { path: path.clone(), source };
        let text = std::fs::read_to_string(&file).map_err(error)?;
        let layout: Self =
            serde_json::from_str(&text).map_err(|source| LayoutError::Damaged { path: path.clone(), source })?;
        Ok(Self { dir: dir.canonicalize().map_err(error)?, ..layout })
    }

    fn new(dir: PathBuf, specs: &[RegionSpec], random: &mut impl Rng) -> Result<Self, LayoutError> {
        if specs.is_empty() {
            return Err(LayoutError::Empty);
        }
        let mut names = BTreeSet::new();
        if let Some(duplicate) = specs.iter().find(|spec| !names.insert(&spec.name)) {
            return Err(LayoutError::Duplicate(duplicate.name.clone()));
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

    /// Name of the replication group; `None` with one region.
    #[must_use]
    pub fn group(&self) -> Option<String> {
        (self.regions.len() > 1).then(|| "local".into())
    }

    /// The initial primary region.
    #[must_use]
    pub fn primary(&self) -> &RegionLayout {
        self.regions.first().expect("a layout has a region")
    }
}

impl RegionLayout {
    /// Name of a node in logs and file names.
    #[must_use]
    pub fn node_name(&self, node: &NodeLayout) -> String {
        format!("{}-s{}-r{}", self.name, node.shard, node.replica)
    }

    /// Genesis that every replica of a shard is initialized with.
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

    /// Number of nodes per shard.
    #[must_use]
    pub fn replicas(&self) -> u16 {
        u16::try_from(self.nodes.len() / usize::from(self.shards.max(1))).unwrap_or(u16::MAX)
    }
}

impl NodeLayout {
    /// Address of the peer port.
    #[must_use]
    pub fn peer_address(&self) -> String {
        format!("127.0.0.1:{}", self.peer)
    }

    /// URL of the public API.
    #[must_use]
    pub fn api_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.api)
    }

    /// URL of metrics and probes.
    #[must_use]
    pub fn admin_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.admin)
    }
}

/// Finds `count` ports without a listener, from a random start.
fn free_ports(count: usize, random: &mut impl Rng) -> Result<Vec<u16>, LayoutError> {
    let port_count = PORTS.end - PORTS.start;
    let first: u16 = random.random_range(0..port_count);
    let candidates = (0..port_count).map(|step| PORTS.start + (first + step) % port_count);
    let free: Vec<u16> =
        candidates.filter(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok()).take(count).collect();
    if free.len() == count { Ok(free) } else { Err(LayoutError::Ports(count)) }
}

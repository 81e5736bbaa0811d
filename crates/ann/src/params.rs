//! Configuration of an index, fixed for its life, and parameters of a search.

use crate::metric::Metric;
use crate::storage::datatype::Datatype;

/// Operations in a block of the write buffer.
pub(crate) const BLOCK: usize = 256;

/// Lists that a point is assigned to, at most: that of the nearest centroid, and a second one.
pub(crate) const LISTS_PER_POINT: usize = 2;

/// Kind of index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Exact search: every point is compared. Linear in the number of points.
    Flat,
    /// Hierarchical navigable small world graph (Malkov and Yashunin, arXiv 1603.09320).
    Hnsw {
        /// Links of a node on levels above 0; level 0 has twice as many. 2 to 256.
        m: usize,
        /// Beam width of inserts, and the default `ef` of searches. 1 to 65,536.
        ef_construct: usize,
    },
    /// Inverted lists with product codes of 4 bits; the best are reranked by vector (Jégou, Douze, Schmid, IEEE TPAMI
    /// 2011).
    IvfPq {
        /// Number of lists, 1 to 65,536. Default: `8 √n` for `n` points.
        nlist: Option<usize>,
        /// Codes per vector, 1 to `dim`. Default: one for two components.
        subquantizers: Option<usize>,
    },
}

/// Trade-off of a graph between memory and speed. In addition to its codes, a graph holds links, and the vectors for
/// reranking.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Profile {
    /// Codes of 8 bits per component. In addition, each node stores codes of 1 bit of its neighbors, so that a search
    /// estimates all their distances from one place in memory (Gou et al., SIGMOD 2025, "SymphonyQG"). Memory per
    /// dimension: 8 bits and `2 m` more.
    Speed,
    /// Codes of 8 bits per component.
    #[default]
    Balanced,
    /// Codes of 4 bits per component: half of the memory, more points to rerank. Meant for vectors that are kept in a
    /// file.
    Memory,
}

impl Profile {
    /// Default `ef_construct`. Searches by 1-bit codes benefit from a better graph: 200 instead of 100 reaches the same
    /// recall a quarter faster. Without them, 200 only slows down inserts.
    #[must_use]
    pub const fn ef_construct(self) -> usize {
        match self {
            Self::Speed => 200,
            Self::Balanced | Self::Memory => 100,
        }
    }
}

/// Parameters that determine the behavior of an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Config {
    /// Dimensions of every vector, 1 to 65,536.
    pub dim: usize,
    /// Distance between two vectors.
    pub metric: Metric,
    /// Kind of index.
    pub kind: Kind,
    /// Trade-off of a graph between memory and speed. Ignored by other kinds. A graph has no codes with Manhattan or
    /// below 32 dimensions, and no codes of neighbors below 192 or above 4,096.
    pub profile: Profile,
    /// Type of the components of stored vectors.
    pub datatype: Datatype,
    /// Seed of everything random in a graph. Replicas that shall hold equal graphs share it.
    pub seed: u64,
}

/// Reason why a [`Config`] is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// `dim` is out of range.
    #[error("dim must be between 1 and 65536 (got {0})")]
    Dim(usize),
    /// `m` is out of range.
    #[error("m must be between 2 and 256 (got {0})")]
    M(usize),
    /// `ef_construct` is out of range.
    #[error("ef_construct must be between 1 and 65536 (got {0})")]
    EfConstruct(usize),
    /// `nlist` is out of range.
    #[error("nlist must be between 1 and 65536 (got {0})")]
    Nlist(usize),
    /// `subquantizers` is out of range.
    #[error("subquantizers must be between 1 and the number of dimensions (got {0})")]
    Subquantizers(usize),
}

impl Config {
    /// A configuration for `dim` dimensions, with default profile and datatype, and seed 0.
    #[must_use]
    pub fn new(dim: usize, metric: Metric, kind: Kind) -> Self {
        Self { dim, metric, kind, profile: Profile::default(), datatype: Datatype::default(), seed: 0 }
    }

    /// Codes per vector of an IVF-PQ index.
    pub(crate) fn subquantizers(&self) -> usize {
        match self.kind {
            Kind::IvfPq { subquantizers: Some(parts), .. } => parts,
            _ => self.dim.div_ceil(2),
        }
    }

    /// Whether the graph computes distances by codes. Codes approximate inner products, and are too coarse for few
    /// dimensions.
    pub(crate) fn has_codes(&self) -> bool {
        const FEWEST: usize = 32;
        self.metric != Metric::Manhattan && self.dim >= FEWEST
    }

    /// Whether the graph stores codes of neighbors. Below 192 dimensions one bit per component is too coarse; above
    /// 4,096 the sums of a query with enough steps exceed 16 bits.
    pub(crate) fn has_packed_neighbors(&self) -> bool {
        self.has_codes() && self.profile == Profile::Speed && (192..=4_096).contains(&self.dim)
    }

    /// Checks every range.
    ///
    /// # Errors
    /// Names the first field that is out of range.
    pub fn check(&self) -> Result<(), ConfigError> {
        if !(1..=65_536).contains(&self.dim) {
            return Err(ConfigError::Dim(self.dim));
        }
        match self.kind {
            Kind::Hnsw { m, .. } if !(2..=256).contains(&m) => Err(ConfigError::M(m)),
            Kind::Hnsw { ef_construct, .. } if !(1..=65_536).contains(&ef_construct) => {
                Err(ConfigError::EfConstruct(ef_construct))
            }
            Kind::IvfPq { nlist: Some(nlist), .. } if !(1..=65_536).contains(&nlist) => Err(ConfigError::Nlist(nlist)),
            Kind::IvfPq { subquantizers: Some(parts), .. } if !(1..=self.dim).contains(&parts) => {
                Err(ConfigError::Subquantizers(parts))
            }
            Kind::Hnsw { .. } | Kind::IvfPq { .. } | Kind::Flat => Ok(()),
        }
    }
}

/// Parameters of a search.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SearchParams {
    /// HNSW: beam width, `k` at least. Default: `ef_construct`. A larger beam finds more and takes longer. The search
    /// usually terminates early, after `ef / 2` expansions in a row without a change among the `k` (at least 10)
    /// nearest. If at most `ef` points match, all are compared and the answer is exact. Ignored by Flat.
    pub ef: Option<usize>,
    /// IVF-PQ: lists to scan. Default: `√nlist`. More lists find more and take longer.
    pub nprobe: Option<usize>,
    /// Points to rerank by vector, `k` at least. Default: `6 k + 100` on lists; in a graph `2 k`, or `6 k` in profile
    /// `memory`, without those that the error of their codes excludes from the `k` nearest.
    pub rerank: Option<usize>,
    /// Average share of the true ten nearest to be found; used when neither `ef` nor `nprobe` is given. The index
    /// selects the effort that reached it in its own measurements with vectors that it did not contain. A graph
    /// measures recent inserts, or a bulk load as a whole (`Index::extend`). Lists measure after training, and when
    /// half as many points were inserted as there were. Before the first measurement (4,096 points, or a block more)
    /// the defaults apply.
    pub recall: Option<Recall>,
    /// Compares every point.
    pub exact: bool,
    /// Bytes of stored vectors up to which a scan replaces the graph or list search: if the matching vectors take no
    /// more, the answer is exact. Where codes exist they are compared first, and only a proven bound on their error
    /// excludes a point. With 0, a scan may still be chosen where it is cheaper, and may then miss points.
    pub full_scan_bytes: usize,
}

/// Requested recall, in thousandths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recall(u16);

impl Recall {
    /// From a share above 0 and up to 1, rounded to thousandths; none for other values.
    #[must_use]
    pub fn new(share: f64) -> Option<Self> {
        let thousandths = (share * 1_000.0).round();
        (1.0..=1_000.0).contains(&thousandths).then_some(Self(thousandths as u16))
    }

    /// The share, between 0 and 1.
    pub(crate) fn share(self) -> f64 {
        f64::from(self.0) / 1_000.0
    }
}

//! What an index is, fixed for its life.

use crate::metric::Metric;
use crate::storage::datatype::Datatype;

/// Operations in a block.
pub(crate) const BLOCK: usize = 256;

/// Lists that a point is on, at most: that of the nearest centroid, and a second one.
pub(crate) const LISTS_PER_POINT: usize = 2;

/// How neighbours are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Every point is compared: exact, and linear in the number of points.
    Flat,
    /// A navigable graph (Malkov and Yashunin, arXiv 1603.09320).
    Hnsw {
        /// Links of a node on the upper floors; the lowest has twice as many. 2 to 256.
        m: usize,
        /// Beam width while building, and of a search that names none. 1 to 65,536.
        ef_construct: usize,
    },
    /// Inverted lists with product codes of 4 bits, the best compared again exactly (Jégou, Douze, Schmid, IEEE TPAMI 2011).
    IvfPq {
        /// How many lists, 1 to 65,536; `8 √n` for `n` points when absent.
        nlist: Option<usize>,
        /// Codes of a vector, 1 to `dim`; one for two numbers when absent.
        subquantizers: Option<usize>,
    },
}

/// What a graph spends memory on. Beside what is named here it holds its links, and the vectors themselves, by which the nearest
/// are compared once more.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Profile {
    /// Codes of 8 bits, and beside each node codes of 1 bit of those it links to, so that a walk judges all of them by one look
    /// at one place (Gou et al., SIGMOD 2025, "SymphonyQG"): for each dimension 8 bits and `2 m` more.
    Speed,
    /// Codes of 8 bits.
    #[default]
    Balanced,
    /// Codes of 4 bits: half of the memory, more of the nearest to be compared once more. Meant for vectors that are kept in a
    /// file.
    Memory,
}

impl Profile {
    /// The beam to build a graph with where nothing else is said. Of a graph that is walked by codes of 1 bit more is asked: 200
    /// in place of 100 makes the same recall a quarter faster with them, and without them nothing but the build slower.
    #[must_use]
    pub const fn ef_construct(self) -> usize {
        match self {
            Self::Speed => 200,
            Self::Balanced | Self::Memory => 100,
        }
    }
}

/// All that decides how an index behaves, beside the operations it receives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Config {
    /// Length of every vector, 1 to 65,536.
    pub dim: usize,
    /// How two of them are compared.
    pub metric: Metric,
    /// How neighbours are found.
    pub kind: Kind,
    /// What a graph spends memory on. Under Manhattan and below 32 dimensions there are no codes; below 192 and above 4,096 none
    /// of neighbours; to other kinds it means nothing.
    pub profile: Profile,
    /// What the numbers of kept vectors are.
    pub datatype: Datatype,
    /// Decides what is random in the graph. Replicas that shall hold equal graphs share it.
    pub seed: u64,
}

/// Why a [`Config`] is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// `dim` is out of its range.
    #[error("dim must be between 1 and 65536 (got {0})")]
    Dim(usize),
    /// `m` is out of its range.
    #[error("m must be between 2 and 256 (got {0})")]
    M(usize),
    /// `ef_construct` is out of its range.
    #[error("ef_construct must be between 1 and 65536 (got {0})")]
    EfConstruct(usize),
    /// `nlist` is out of its range.
    #[error("nlist must be between 1 and 65536 (got {0})")]
    Nlist(usize),
    /// `subquantizers` is out of its range.
    #[error("subquantizers must be between 1 and the number of dimensions (got {0})")]
    Subquantizers(usize),
}

impl Config {
    /// With the defaults of all that is not named, and seed 0.
    #[must_use]
    pub fn new(dim: usize, metric: Metric, kind: Kind) -> Self {
        Self { dim, metric, kind, profile: Profile::default(), datatype: Datatype::default(), seed: 0 }
    }

    /// Codes of a vector of an IVF-PQ index.
    pub(crate) fn subquantizers(&self) -> usize {
        match self.kind {
            Kind::IvfPq { subquantizers: Some(parts), .. } => parts,
            _ => self.dim.div_ceil(2),
        }
    }

    /// Whether the graph compares by codes. They are made for inner products, and of few dimensions they say too little.
    pub(crate) fn has_codes(&self) -> bool {
        const FEWEST: usize = 32;
        self.metric != Metric::Manhattan && self.dim >= FEWEST
    }

    /// Whether it has codes of neighbours. Of fewer dimensions a bit each says too little; of more the sums would not fit 16
    /// bits with a query of enough steps.
    pub(crate) fn has_packed_neighbors(&self) -> bool {
        self.has_codes() && self.profile == Profile::Speed && (192..=4_096).contains(&self.dim)
    }

    /// Checks every range.
    ///
    /// # Errors
    /// Names the first field that is out of its range.
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

/// What a search may spend.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SearchParams {
    /// Beam width: more finds more and takes longer. `ef_construct` when absent; `k` at least. Flat ignores it. A walk that has
    /// followed half as many nodes in a row, none of them among the `k` nearest so far (the ten nearest at least), mostly ends before
    /// the beam is used up. Where as many points match, or fewer, all are compared and the answer is exact.
    pub ef: Option<usize>,
    /// IVF-PQ: lists that are looked at; `√nlist` when absent. More find more and take longer.
    pub nprobe: Option<usize>,
    /// Points that are compared by their vectors after their codes were, `k` at least. When absent, on lists `6 k + 100`; in a graph
    /// `2 k`, `6 k` in profile `memory`, those left out that cannot be among the `k` nearest by what codes may be wrong.
    pub rerank: Option<usize>,
    /// The share of the true ten nearest to be found on average, where neither `ef` nor `nprobe` says what to spend: about as
    /// much is spent as reached it with vectors that the index did not hold: in a graph, of those that came in lately (or all at once,
    /// [`Index::extend`]); on lists, when that was last found out, after half as many points had come in as there were. Before anything is
    /// known (4,096 points, or a block more), the defaults.
    pub recall: Option<Recall>,
    /// Compare with every point.
    pub exact: bool,
    /// Bytes of vectors, as they are kept, that may be compared in place of a search in the graph or in lists: where those that
    /// match have so many or fewer, the answer is exact. They are compared by their codes first where there are codes; only
    /// those that a proven bound on the error of a code excludes are left out. 0: where a scan is cheaper it may miss some.
    pub full_scan_bytes: usize,
}

/// A wanted recall, in thousandths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recall(u16);

impl Recall {
    /// Above 0, 1 at most; none for others. Thousandths count.
    #[must_use]
    pub fn new(share: f64) -> Option<Self> {
        let thousandths = (share * 1_000.0).round();
        (1.0..=1_000.0).contains(&thousandths).then_some(Self(thousandths as u16))
    }

    /// Between 0 and 1.
    pub(crate) fn share(self) -> f64 {
        f64::from(self.0) / 1_000.0
    }
}

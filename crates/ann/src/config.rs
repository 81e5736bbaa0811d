//! What an index is, fixed for its life.

use crate::datatype::Datatype;

/// How two vectors are compared; see [`crate::Hit::distance`] for the unit of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Metric {
    /// Cosine similarity. Vectors and queries arrive normalised; this crate does not check it. A zero vector is as far
    /// from all as a right angle.
    Cosine,
    /// Inner product, larger is nearer.
    Dot,
    /// Euclidean distance.
    Euclid,
    /// Sum of absolute differences.
    Manhattan,
}

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
    #[error("{0} dimensions: from 1 to 65536 are possible")]
    Dim(usize),
    /// `m` is out of its range.
    #[error("m of {0}: from 2 to 256 is possible")]
    M(usize),
    /// `ef_construct` is out of its range.
    #[error("ef_construct of {0}: from 1 to 65536 is possible")]
    EfConstruct(usize),
    /// `nlist` is out of its range.
    #[error("nlist of {0}: from 1 to 65536 is possible")]
    Nlist(usize),
    /// `subquantizers` is out of its range.
    #[error("{0} subquantizers: from 1 to the number of dimensions are possible")]
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
    pub(crate) fn has_neighbours(&self) -> bool {
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

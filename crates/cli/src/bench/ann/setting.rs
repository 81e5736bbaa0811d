//! Parameters of an index, and of a search in it.

use std::collections::BTreeMap;

use anyhow::{Context, bail};
use clap::ValueEnum;
use meridian_ann::{Datatype, Index, Kind, Profile, Recall, SearchParams, VectorStorage};

/// Efforts of a search in a graph, for each ten neighbours. `bench/peers` tries the same with others.
const EFS: [usize; 27] = [
    10, 12, 14, 16, 18, 20, 22, 25, 28, 30, 32, 36, 40, 45, 50, 60, 70, 80, 100, 120, 140, 160, 240, 320, 480, 640, 960,
];

/// Which index is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum IndexName {
    /// Graph or lists, whichever is faster by what samples show.
    Auto,
    /// Every vector is compared.
    Flat,
    /// The navigable graph.
    Hnsw,
    /// Inverted lists with product codes.
    Ivfpq,
}

/// Kinds of index that can be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum IndexKind {
    Flat,
    Hnsw,
    Ivfpq,
}

/// What a graph spends memory on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum ProfileName {
    /// Codes of 8 bits, and codes of 1 bit of all neighbours beside each node.
    Speed,
    /// Codes of 8 bits.
    Balanced,
    /// Codes of 4 bits.
    Memory,
}

/// What the numbers of kept vectors are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum DatatypeName {
    /// As they come.
    Float32,
    /// Rounded to their upper half.
    Bfloat16,
}

/// Where vectors are kept beside what the index makes of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum StorageName {
    /// In memory.
    Memory,
    /// In a temporary file that is mapped.
    Mapped,
    /// In a temporary file that is read.
    File,
}

impl StorageName {
    /// # Errors
    /// When there can be no temporary file.
    pub fn open(self) -> anyhow::Result<VectorStorage> {
        let file = || tempfile::tempfile().context("a temporary file for the vectors");
        Ok(match self {
            Self::Memory => VectorStorage::Memory,
            Self::Mapped => VectorStorage::Mapped(file()?),
            Self::File => VectorStorage::File(file()?),
        })
    }
}

impl From<ProfileName> for Profile {
    fn from(name: ProfileName) -> Self {
        match name {
            ProfileName::Speed => Self::Speed,
            ProfileName::Balanced => Self::Balanced,
            ProfileName::Memory => Self::Memory,
        }
    }
}

impl From<DatatypeName> for Datatype {
    fn from(name: DatatypeName) -> Self {
        match name {
            DatatypeName::Float32 => Self::Float32,
            DatatypeName::Bfloat16 => Self::Bfloat16,
        }
    }
}

/// One setting of a search.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Choice {
    /// By the names that the papers use.
    pub name: BTreeMap<&'static str, usize>,
    pub params: SearchParams,
}

impl Choice {
    /// To ask for a recall, in thousandths; none if it is less than one.
    pub fn target(recall: f64) -> Option<Self> {
        let wanted = Recall::new(recall)?;
        let name = BTreeMap::from([("target‰", (recall * 1_000.0).round() as usize)]);
        Some(Self { name, params: SearchParams { recall: Some(wanted), ..SearchParams::default() } })
    }
}

impl IndexName {
    /// None for `auto`.
    pub fn named(self) -> Option<IndexKind> {
        match self {
            Self::Auto => None,
            Self::Flat => Some(IndexKind::Flat),
            Self::Hnsw => Some(IndexKind::Hnsw),
            Self::Ivfpq => Some(IndexKind::Ivfpq),
        }
    }
}

impl IndexKind {
    /// The kind with these parameters in place of its defaults, which depend on the profile.
    ///
    /// # Errors
    /// When it has no such parameter.
    pub fn kind(self, set: &[(String, usize)], profile: Profile) -> anyhow::Result<Kind> {
        let (mut m, mut ef_construct, mut nlist, mut subquantizers) = (16, profile.ef_construct(), None, None);
        for (key, value) in set {
            match (self, key.as_str()) {
                (Self::Hnsw, "m") => m = *value,
                (Self::Hnsw, "ef_construct") => ef_construct = *value,
                (Self::Ivfpq, "nlist") => nlist = Some(*value),
                (Self::Ivfpq, "subquantizers") => subquantizers = Some(*value),
                (Self::Hnsw, _) => bail!("--set {key}: hnsw has m and ef_construct"),
                (Self::Ivfpq, _) => bail!("--set {key}: ivfpq has nlist and subquantizers"),
                (Self::Flat, _) => bail!("--set {key}: flat has no parameters"),
            }
        }
        Ok(match self {
            Self::Flat => Kind::Flat,
            Self::Hnsw => Kind::Hnsw { m, ef_construct },
            Self::Ivfpq => Kind::IvfPq { nlist, subquantizers },
        })
    }

    /// Settings of a search from fast to thorough.
    pub fn choices(self, k: usize, index: &Index) -> Vec<Choice> {
        let choice = |name: &[(&'static str, usize)], params| Choice { name: name.iter().copied().collect(), params };
        match self {
            Self::Flat => vec![choice(&[], SearchParams::default())],
            // In tenths of `k`.
            Self::Hnsw => EFS
                .map(|tenths| {
                    let ef = tenths * k / 10;
                    choice(&[("ef", ef)], SearchParams { ef: Some(ef), ..SearchParams::default() })
                })
                .to_vec(),
            Self::Ivfpq => {
                // Lists hold 16 points at least, so there are no more of them than this.
                let most = index.len().div_ceil(16);
                let probes = [4, 8, 12, 16, 24, 32, 40, 48, 64, 80, 96, 128, 192, 256, 384, 512];
                let probes = probes.into_iter().filter(|nprobe| *nprobe <= most);
                probes
                    .flat_map(|nprobe| [4, 8, 12, 16, 32].map(|times| (nprobe, times * k)))
                    .map(|(nprobe, rerank)| {
                        let params = SearchParams { nprobe: Some(nprobe), rerank: Some(rerank), ..Default::default() };
                        choice(&[("nprobe", nprobe), ("rerank", rerank)], params)
                    })
                    .collect()
            }
        }
    }
}

/// `key=value`.
pub(super) fn pair(text: &str) -> Result<(String, usize), String> {
    let (key, value) = text.split_once('=').ok_or("expected KEY=VALUE, such as m=32")?;
    let value = value.parse().map_err(|_| format!("{value:?} is no whole number"))?;
    Ok((key.to_owned(), value))
}

/// A number above 0, at most 1.
pub(super) fn share(text: &str) -> Result<f64, String> {
    let share = text.parse::<f64>().ok().filter(|share| *share > 0.0 && *share <= 1.0);
    share.ok_or_else(|| "expected a number above 0, at most 1, such as 0.95".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_that_a_kind_lacks_are_refused() {
        let kind = |kind: IndexKind, key: &str| kind.kind(&[(key.to_owned(), 8)], Profile::Balanced);
        assert_eq!(kind(IndexKind::Hnsw, "m").unwrap(), Kind::Hnsw { m: 8, ef_construct: 100 });
        assert_eq!(kind(IndexKind::Ivfpq, "nlist").unwrap(), Kind::IvfPq { nlist: Some(8), subquantizers: None });
        for (index, key) in [(IndexKind::Hnsw, "nlist"), (IndexKind::Ivfpq, "m"), (IndexKind::Flat, "m")] {
            assert!(kind(index, key).unwrap_err().to_string().starts_with(&format!("--set {key}: ")));
        }
        assert!(pair("m").is_err() && pair("m=x").is_err() && share("0").is_err() && share("1.1").is_err());
        assert_eq!((pair("m=4"), share("0.95")), (Ok(("m".to_owned(), 4)), Ok(0.95)));
    }
}

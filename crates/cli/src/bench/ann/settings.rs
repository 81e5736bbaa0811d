//! Parameters of an index and of a search.

use std::collections::BTreeMap;

use anyhow::{Context, bail};
use clap::ValueEnum;
use meridian_ann::{Datatype, Index, Kind, Profile, Recall, SearchParams, VectorStorage};

/// Beam widths, in tenths of `k`. `bench/peers` uses the same list for other libraries.
const EF_TENTHS_OF_K: [usize; 27] = [
    10, 12, 14, 16, 18, 20, 22, 25, 28, 30, 32, 36, 40, 45, 50, 60, 70, 80, 100, 120, 140, 160, 240, 320, 480, 640, 960,
];

/// Index kind on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum IndexName {
    /// Graph or inverted lists, whichever is faster on samples.
    Auto,
    /// Exact search.
    Flat,
    /// HNSW graph.
    Hnsw,
    /// Inverted lists with product quantization.
    Ivfpq,
}

/// Index kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum IndexKind {
    Flat,
    Hnsw,
    Ivfpq,
}

/// Memory profile of a graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum ProfileName {
    /// int8 codes, and binary codes of all neighbors stored with each node.
    Speed,
    /// int8 codes.
    Balanced,
    /// int4 codes.
    Memory,
}

/// Datatype of stored vectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum DatatypeName {
    /// 32-bit floats.
    Float32,
    /// The upper 16 bits of each float, rounded.
    Bfloat16,
}

/// Storage of full vectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum StorageName {
    /// In memory.
    Memory,
    /// In a memory-mapped temporary file.
    Mapped,
    /// In a temporary file, read by offset.
    File,
}

impl StorageName {
    /// # Errors
    /// When the temporary file cannot be created.
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

/// Search parameters and their names.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct SearchSetting {
    /// Parameter names as in the papers.
    pub name: BTreeMap<&'static str, usize>,
    pub params: SearchParams,
}

impl SearchSetting {
    /// A search with a target recall in (0, 1); `None` when it is out of range.
    pub fn target(recall: f64) -> Option<Self> {
        let target = Recall::new(recall)?;
        let name = BTreeMap::from([("target‰", (recall * 1_000.0).round() as usize)]);
        Some(Self { name, params: SearchParams { recall: Some(target), ..SearchParams::default() } })
    }
}

impl IndexName {
    /// The index kind; `None` for `auto`.
    pub fn index_kind(self) -> Option<IndexKind> {
        match self {
            Self::Auto => None,
            Self::Flat => Some(IndexKind::Flat),
            Self::Hnsw => Some(IndexKind::Hnsw),
            Self::Ivfpq => Some(IndexKind::Ivfpq),
        }
    }
}

impl IndexKind {
    /// The index kind with `set` over the defaults of the profile.
    ///
    /// # Errors
    /// When the kind has no parameter of that name.
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

    /// Search settings in ascending order of effort.
    pub fn search_settings(self, k: usize, index: &Index) -> Vec<SearchSetting> {
        let setting =
            |name: &[(&'static str, usize)], params| SearchSetting { name: name.iter().copied().collect(), params };
        match self {
            Self::Flat => vec![setting(&[], SearchParams::default())],
            // In tenths of `k`.
            Self::Hnsw => EF_TENTHS_OF_K
                .map(|tenths| {
                    let ef = tenths * k / 10;
                    setting(&[("ef", ef)], SearchParams { ef: Some(ef), ..SearchParams::default() })
                })
                .to_vec(),
            Self::Ivfpq => {
                // A list holds at least 16 points.
                let max_lists = index.len().div_ceil(16);
                let probes = [4, 8, 12, 16, 24, 32, 40, 48, 64, 80, 96, 128, 192, 256, 384, 512];
                let probes = probes.into_iter().filter(|nprobe| *nprobe <= max_lists);
                probes
                    .flat_map(|nprobe| [4, 8, 12, 16, 32].map(|times| (nprobe, times * k)))
                    .map(|(nprobe, rerank)| {
                        let params = SearchParams { nprobe: Some(nprobe), rerank: Some(rerank), ..Default::default() };
                        setting(&[("nprobe", nprobe), ("rerank", rerank)], params)
                    })
                    .collect()
            }
        }
    }
}

/// Parses `key=value`.
pub(super) fn parse_key_value(text: &str) -> Result<(String, usize), String> {
    let (key, value) = text.split_once('=').ok_or("expected KEY=VALUE, such as m=32")?;
    let value = value.parse().map_err(|_| format!("value must be a whole number (got {value:?})"))?;
    Ok((key.to_owned(), value))
}

/// Parses a number in (0, 1].
pub(super) fn parse_fraction(text: &str) -> Result<f64, String> {
    let fraction = text.parse::<f64>().ok().filter(|fraction| *fraction > 0.0 && *fraction <= 1.0);
    fraction.ok_or_else(|| "must be a number in (0, 1], such as 0.95".to_owned())
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
        assert!(
            parse_key_value("m").is_err()
                && parse_key_value("m=x").is_err()
                && parse_fraction("0").is_err()
                && parse_fraction("1.1").is_err()
        );
        assert_eq!((parse_key_value("m=4"), parse_fraction("0.95")), (Ok(("m".to_owned(), 4)), Ok(0.95)));
    }
}

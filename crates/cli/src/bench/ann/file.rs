//! Index files.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::{Context, ensure};
use meridian_ann::{Index, Kind};
use tempfile::NamedTempFile;

use super::data::Data;
use super::settings::IndexKind;

/// Writes an index file atomically.
pub(super) struct IndexFile<'a> {
    path: &'a Path,
    file: NamedTempFile,
}

impl<'a> IndexFile<'a> {
    /// Creates the file before the index is built, so that no long build is lost when it cannot be written.
    ///
    /// # Errors
    /// When no file can be created next to `path`, or `path` is a folder.
    pub fn create(path: &'a Path) -> anyhow::Result<Self> {
        ensure!(!path.is_dir(), "{} is a folder", path.display());
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let file = NamedTempFile::new_in(folder).with_context(|| format!("write {}", path.display()))?;
        Ok(Self { path, file })
    }

    /// # Errors
    /// When the file cannot be written.
    pub fn write(self, index: &Index) -> anyhow::Result<()> {
        let Self { path, mut file } = self;
        let write_all = || -> std::io::Result<()> {
            let mut out = BufWriter::new(&mut file);
            index.write_to(&mut out)?;
            out.flush()?;
            drop(out);
            file.as_file().sync_all()?;
            file.persist(path)?;
            Ok(())
        };
        write_all().with_context(|| format!("write {}", path.display()))
    }
}

/// Opens an index file; its vectors are memory-mapped.
///
/// # Errors
/// When the file is not an index, is damaged, or differs from `data` in number, dimension or metric.
pub(super) fn open(path: &Path, data: &Data) -> anyhow::Result<(Index, IndexKind)> {
    let path_text = || path.display().to_string();
    let index = Index::open(File::open(path).with_context(path_text)?).with_context(path_text)?;
    let config = index.config();
    let stored = (index.len(), config.dim, config.metric);
    let given = (data.base.len(), data.base.dim, data.metric);
    ensure!(stored == given, "{}: contains {}; the data has {}", path_text(), describe(stored), describe(given));
    let kind = match config.kind {
        Kind::Flat => IndexKind::Flat,
        Kind::Hnsw { .. } => IndexKind::Hnsw,
        Kind::IvfPq { .. } => IndexKind::Ivfpq,
    };
    Ok((index, kind))
}

fn describe((len, dim, metric): (usize, usize, meridian_ann::Metric)) -> String {
    format!("{len} vectors of {dim}, {metric:?}")
}

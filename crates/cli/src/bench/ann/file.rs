//! An index that was built before.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::{Context, ensure};
use meridian_ann::{Index, Kind};
use tempfile::NamedTempFile;

use super::data::Data;
use super::setting::IndexKind;

/// A file that an index will be written to: all of it, or nothing.
pub(super) struct Saving<'a> {
    path: &'a Path,
    file: NamedTempFile,
}

impl<'a> Saving<'a> {
    /// Before the index is built, so that a long build is not lost where it cannot be written.
    ///
    /// # Errors
    /// When there can be no file beside `path`, or `path` is a folder.
    pub fn begin(path: &'a Path) -> anyhow::Result<Self> {
        ensure!(!path.is_dir(), "{}: is a folder", path.display());
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let file = NamedTempFile::new_in(folder).with_context(|| format!("write {}", path.display()))?;
        Ok(Self { path, file })
    }

    /// # Errors
    /// When the file cannot be written.
    pub fn end(self, index: &Index) -> anyhow::Result<()> {
        let Self { path, mut file } = self;
        let write = || -> std::io::Result<()> {
            let mut out = BufWriter::new(&mut file);
            index.write_to(&mut out)?;
            out.flush()?;
            drop(out);
            file.as_file().sync_all()?;
            file.persist(path)?;
            Ok(())
        };
        write().with_context(|| format!("write {}", path.display()))
    }
}

/// The index that [`Saving`] wrote, with its vectors where they lie in the file.
///
/// # Errors
/// When the file is no index, is damaged, or is one of other vectors than these by number, length or metric.
pub(super) fn open(path: &Path, data: &Data) -> anyhow::Result<(Index, IndexKind)> {
    let named = || path.display().to_string();
    let index = Index::open(File::open(path).with_context(named)?).with_context(named)?;
    let config = index.config();
    let kept = (index.len(), config.dim, config.metric);
    let given = (data.base.len(), data.base.dim, data.metric);
    ensure!(kept == given, "{}: holds {}; to be asked about are {}", named(), told(kept), told(given));
    let kind = match config.kind {
        Kind::Flat => IndexKind::Flat,
        Kind::Hnsw { .. } => IndexKind::Hnsw,
        Kind::IvfPq { .. } => IndexKind::Ivfpq,
    };
    Ok((index, kind))
}

fn told((len, dim, metric): (usize, usize, meridian_ann::Metric)) -> String {
    format!("{len} vectors of {dim}, {metric:?}")
}

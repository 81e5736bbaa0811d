//! An index that was built before.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::{Context, ensure};
use meridian_ann::{Index, Kind};

use super::data::Data;
use super::setting::IndexKind;

/// Writes the index: all of it, or nothing.
///
/// # Errors
/// When the file cannot be written.
pub(super) fn save(index: &Index, path: &Path) -> anyhow::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let write = || -> std::io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
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

/// The index that [`save`] wrote, with its vectors where they lie in the file.
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

//! `cargo run -p meridian-xtask -- generate`: writes the generated files.

use std::fs;

use anyhow::{Context as _, bail};
use meridian_xtask::{generated, root};

fn main() -> anyhow::Result<()> {
    match std::env::args().nth(1).as_deref() {
        Some("generate") => {
            for (path, text) in generated()? {
                let path = root().join(path);
                fs::create_dir_all(path.parent().context("a file in no folder")?)?;
                fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
            }
            Ok(())
        }
        _ => bail!("usage: xtask generate"),
    }
}

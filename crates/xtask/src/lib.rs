//! Generated files: what they are and what stands in them.
//!
//! Owns: `crds/*.yaml` and the chart's copy of them. Deliberately does not know: run time. `cargo run -p meridian-xtask --
//! generate` writes them; a test fails when they are not what they should be.
//!
//! ```text
//!   crd (Rust types) ──► crds/<plural>.meridiandb.io.yaml
//!                    └─► charts/meridian/templates/crds.yaml (guarded by crds.install, kept on uninstall)
//! ```

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde_json::Value;

/// First line of every generated file.
const HEADER: &str = "# Generated from crates/crd by `cargo run -p meridian-xtask -- generate`. Do not edit.\n";

/// The folder of the repository.
#[must_use]
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Every generated file, by its path below the root, with its text.
///
/// # Errors
/// When a definition has no YAML form, which would be a mistake in `crd`.
pub fn generated() -> anyhow::Result<Vec<(PathBuf, String)>> {
    let mut files = Vec::new();
    let mut chart = format!("{HEADER}{{{{- if .Values.crds.install }}}}\n");
    for definition in meridian_crd::definitions() {
        let name = definition.metadata.name.clone().context("a definition without a name")?;
        let mut value = serde_json::to_value(&definition)?;
        files.push((Path::new("crds").join(format!("{name}.yaml")), format!("{HEADER}{}", yaml(&value)?)));
        value["metadata"]["annotations"] = serde_json::json!({ "helm.sh/resource-policy": "keep" });
        chart.push_str("---\n");
        chart.push_str(&yaml(&value)?);
    }
    chart.push_str("{{- end }}\n");
    files.push(("charts/meridian/templates/crds.yaml".into(), chart));
    Ok(files)
}

fn yaml(value: &Value) -> anyhow::Result<String> {
    let mut text = serde_saphyr::to_string(value)?;
    if !text.ends_with('\n') {
        text.push('\n');
    }
    Ok(text)
}

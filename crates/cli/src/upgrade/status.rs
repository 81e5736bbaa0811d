//! `meridian upgrade status`.

use std::fmt::Write as _;

use kube::ResourceExt;
use kube::api::ListParams;
use meridian_crd::VectorCluster;

use super::kubernetes::{Place, finalized};

/// Prints one cluster, or all of the namespace.
pub async fn run(cluster: Option<&str>, place: &Place) -> anyhow::Result<()> {
    let api = place.clusters().await?;
    let clusters = match cluster {
        Some(name) => vec![api.get(name).await?],
        None => api.list(&ListParams::default()).await?.items,
    };
    if clusters.is_empty() {
        println!("no VectorCluster in this namespace");
    }
    let pages: Vec<String> = clusters.iter().map(text).collect();
    print!("{}", pages.join("\n"));
    Ok(())
}

/// Renders the versions of a cluster as text.
fn text(cluster: &VectorCluster) -> String {
    let upgrade = cluster.status.as_ref().and_then(|status| status.upgrade.clone()).unwrap_or_default();
    let number = |version: Option<i32>| version.map_or_else(|| "?".to_owned(), |version| version.to_string());
    let since = upgrade.known_since.as_ref().map(|since| format!(", since {}", since.0)).unwrap_or_default();
    let (_, reason, message) = finalized(cluster);
    let mut page = format!(
        "cluster    {}/{}\nversion    finalized {}, published {}, known to all pods {}{since}\n",
        cluster.namespace().unwrap_or_default(),
        cluster.name_any(),
        number(upgrade.behavior_version),
        number(upgrade.published_version),
        number(upgrade.known_version),
    );
    let state =
        if reason.is_empty() { "the operator has not reported yet".into() } else { format!("{reason}: {message}") };
    let _ = writeln!(page, "state      {state}");
    for image in &upgrade.images {
        let accepted = if upgrade.accepted_image.as_ref() == Some(&image.image) { " (accepted)" } else { "" };
        let _ = writeln!(page, "image      {} knows {}{accepted}", image.image, image.known_version);
    }
    page
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn cluster(status: serde_json::Value) -> VectorCluster {
        serde_json::from_value(json!({
            "apiVersion": "meridiandb.io/v1alpha1", "kind": "VectorCluster",
            "metadata": {"name": "vector-search", "namespace": "us-east"},
            "spec": {"region": "us-east", "storage": {"size": "1Gi"}},
            "status": status,
        }))
        .unwrap()
    }

    #[test]
    fn a_cluster_without_a_report_is_said_to_have_none() {
        let page = text(&cluster(json!({})));
        assert!(page.contains("version    finalized ?, published ?, known to all pods ?\n"), "{page}");
        assert!(page.ends_with("state      the operator has not reported yet\n"), "{page}");
    }

    #[test]
    fn versions_images_and_what_is_waited_for_are_printed() {
        let page = text(&cluster(json!({
            "upgrade": {
                "behaviorVersion": 1, "publishedVersion": 1, "knownVersion": 2, "knownSince": "2026-12-01T00:00:00Z",
                "acceptedImage": "node:2",
                "images": [{"image": "node:1", "knownVersion": 1}, {"image": "node:2", "knownVersion": 2}],
            },
            "conditions": [{"type": "Finalized", "status": "False", "reason": "Soaking", "message": "soon",
                "lastTransitionTime": "2026-12-01T00:00:00Z"}],
        })));
        assert_eq!(
            page,
            "cluster    us-east/vector-search\n\
             version    finalized 1, published 1, known to all pods 2, since 2026-12-01T00:00:00Z\n\
             state      Soaking: soon\n\
             image      node:1 knows 1\n\
             image      node:2 knows 2 (accepted)\n"
        );
    }
}

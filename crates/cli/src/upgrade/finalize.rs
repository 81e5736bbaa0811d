//! `meridian upgrade finalize`: an annotation asks the operator, and the condition `Finalized` answers.

use std::time::Duration;

use anyhow::{Context as _, bail};
use kube::api::{Patch, PatchParams};
use meridian_crd::VectorCluster;
use meridian_crd::conditions::reason;
use meridian_plan::names::FINALIZE_ANNOTATION;
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::kubernetes::{Place, finalized};

/// Interval between two reads of the cluster.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// Where a finalization stands.
#[derive(Debug, PartialEq, Eq)]
enum Progress {
    /// Every shard uses the version.
    Done,
    /// A leader refused it.
    Refused(String),
    /// The operator waits, or has not read the request yet.
    Waiting(String),
}

/// Asks for the newest version that all pods know, and waits for it.
pub async fn run(name: &str, place: &Place, timeout: Duration) -> anyhow::Result<()> {
    let api = place.clusters().await?;
    let deadline = Instant::now() + timeout;
    let Some(version) = version_to_finalize(&api.get(name).await?)? else {
        println!("{name} uses the newest behavior version that all of its pods know");
        return Ok(());
    };
    let request = json!({"metadata": {"annotations": {FINALIZE_ANNOTATION: version.to_string()}}});
    let patched = api.patch(name, &PatchParams::default(), &Patch::Merge(request)).await;
    let mut cluster = patched.context("annotate the VectorCluster")?;
    let mut printed = String::new();
    loop {
        match progress(&cluster, version) {
            Progress::Done => {
                println!("{name} uses behavior version {version}");
                return Ok(());
            }
            Progress::Refused(message) => bail!("{message}"),
            Progress::Waiting(message) if Instant::now() >= deadline => bail!("timeout: {message}"),
            Progress::Waiting(message) => {
                if message != printed {
                    println!("{message}");
                    printed = message;
                }
            }
        }
        sleep(POLL_INTERVAL).await;
        cluster = api.get(name).await?;
    }
}

/// The version to ask for; none when the cluster uses it.
///
/// # Errors
/// When no version is known to all pods, or a newer one only to some; the message of the condition.
fn version_to_finalize(cluster: &VectorCluster) -> anyhow::Result<Option<i32>> {
    let upgrade = cluster.status.as_ref().and_then(|status| status.upgrade.clone()).unwrap_or_default();
    let (holds, reason, message) = finalized(cluster);
    let Some((known, used)) = upgrade.known_version.zip(upgrade.behavior_version) else {
        bail!("the operator has not reported the behavior versions of all pods and shards yet: {message}");
    };
    if known > used {
        return Ok(Some(known));
    }
    anyhow::ensure!(holds == "True", "{reason}: {message}");
    Ok(None)
}

fn progress(cluster: &VectorCluster, version: i32) -> Progress {
    let upgrade = cluster.status.as_ref().and_then(|status| status.upgrade.as_ref());
    if upgrade.and_then(|upgrade| upgrade.behavior_version).is_some_and(|used| used >= version) {
        return Progress::Done;
    }
    let (_, why, message) = finalized(cluster);
    if reason::FINALIZE_REFUSED == *why {
        return Progress::Refused(message.to_owned());
    }
    Progress::Waiting(format!("{why}: {message}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Finalized and known version, and the condition: status, reason.
    fn cluster(versions: Option<(i32, i32)>, (holds, why): (&str, &str)) -> VectorCluster {
        let upgrade = versions.map(|(used, known)| json!({"behaviorVersion": used, "knownVersion": known}));
        let mut cluster = json!({
            "apiVersion": "meridiandb.io/v1alpha1", "kind": "VectorCluster", "metadata": {"name": "a"},
            "spec": {"region": "us-east", "storage": {"size": "1Gi"}},
            "status": {"conditions": [{"type": "Finalized", "status": holds, "reason": why, "message": "pod a-0 knows 1",
                "lastTransitionTime": "2026-12-01T00:00:00Z"}]},
        });
        if let Some(upgrade) = upgrade {
            cluster["status"]["upgrade"] = upgrade;
        }
        serde_json::from_value(cluster).unwrap()
    }

    #[test]
    fn the_version_that_all_pods_know_is_asked_for() {
        let asked = |versions, condition| version_to_finalize(&cluster(versions, condition));
        assert_eq!(asked(Some((1, 2)), ("False", "Held")).unwrap(), Some(2));
        assert_eq!(asked(Some((2, 2)), ("True", "Finalized")).unwrap(), None);
        let refused = asked(Some((1, 1)), ("False", "RollingOut")).unwrap_err().to_string();
        assert_eq!(refused, "RollingOut: pod a-0 knows 1");
        assert!(asked(None, ("Unknown", "AwaitingReport")).is_err());
    }

    #[test]
    fn it_ends_when_every_shard_uses_the_version_or_a_leader_refused_it() {
        let of = |versions, condition| progress(&cluster(Some(versions), condition), 2);
        assert_eq!(of((2, 2), ("True", "Finalized")), Progress::Done);
        assert_eq!(of((1, 2), ("True", "Finalized")), Progress::Waiting("Finalized: pod a-0 knows 1".into()));
        assert_eq!(of((1, 2), ("False", "FinalizeRefused")), Progress::Refused("pod a-0 knows 1".into()));
        assert_eq!(of((1, 2), ("False", "Finalizing")), Progress::Waiting("Finalizing: pod a-0 knows 1".into()));
    }
}

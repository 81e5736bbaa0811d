//! Certificates and keys of the node: read from files at the start, read again while it runs, never the cause of a restart.
//!
//! ```text
//!   files ──every 5 s──► what changed ─► PeerTls, GroupKeys ─► Hub (new connections)
//!                                     ├► hashes of API keys ─► ApiKeys
//!                                     └► digest of all keys ─► status, for the operator
//! ```
//!
//! A file that cannot be used leaves in force what is: half a Secret may be on the disk for a moment.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use meridian_config::{Auth, NodeConfig, ReplicationGroup, Tls};
use meridian_model::ClusterId;
use meridian_peer::{
    GroupKey, GroupKeys, Pair, PeerTls, Rotating, ShownRotation, TlsFiles, keys_digest, read_api_keys,
};
use meridian_proto::topology::KeysDigest;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::http::ApiKeys;
use crate::peer::Hub;

/// How often the files are read. Kubelets swap the files of a Secret within two minutes; this adds little to it.
const PACE: Duration = Duration::from_secs(5);

/// The certificates and keys of one node.
pub struct Credentials {
    cluster: ClusterId,
    tls_files: Tls,
    api_key_file: Option<PathBuf>,
    group: Option<ReplicationGroup>,
    roots: Rotating<rustls_pki_types::CertificateDer<'static>>,
    shown: ShownRotation<Pair>,
    group_keys: Rotating<GroupKey>,
    api_keys: Rotating<blake3::Hash>,
    tls: PeerTls,
    keys: Option<Arc<ApiKeys>>,
    digest: watch::Sender<KeysDigest>,
    /// Why files could not be used last time, so that it is told once.
    faults: Vec<String>,
}

/// What the files hold. One Secret that cannot be used holds up no other.
struct Read {
    tls: anyhow::Result<TlsFiles>,
    group_keys: anyhow::Result<Vec<GroupKey>>,
    api_keys: anyhow::Result<Vec<blake3::Hash>>,
}

/// What is different after a turn.
#[derive(Default)]
struct Change {
    tls: Option<PeerTls>,
    group_keys: Option<GroupKeys>,
    /// Something is accepted no longer: connections that may rest on it end.
    ended: bool,
}

impl Credentials {
    /// Reads the files that `config` names.
    ///
    /// # Errors
    /// When one cannot be read or used.
    pub fn load(config: &NodeConfig) -> anyhow::Result<Self> {
        let api_key_file = match &config.auth {
            Auth::Disabled => None,
            Auth::ApiKeyFile(path) => Some(path.clone()),
        };
        let (tls_files, group) = (config.peer_tls.clone(), config.replication_group.clone());
        let read = read(&tls_files, api_key_file.as_deref(), group.as_ref());
        let (files, group_keys, api_keys) = (read.tls?, read.group_keys?, read.api_keys?);
        let tls = PeerTls::of(files.ca.clone(), &files.pair).context("TLS of the peer port")?;
        let keys = api_key_file.is_some().then(|| Arc::new(ApiKeys::of(api_keys.clone())));
        let digest = watch::Sender::new(keys_digest(config.cluster_id, &api_keys, &group_keys));
        Ok(Self {
            cluster: config.cluster_id,
            tls_files,
            api_key_file,
            group,
            roots: Rotating::new(files.ca),
            shown: ShownRotation::new(files.pair),
            group_keys: Rotating::new(group_keys),
            api_keys: Rotating::new(api_keys),
            tls,
            keys,
            digest,
            faults: Vec::new(),
        })
    }

    /// TLS of the peer port.
    #[must_use]
    pub fn tls(&self) -> PeerTls {
        self.tls.clone()
    }

    /// The keys of the group; none in a cluster that stands alone.
    #[must_use]
    pub fn group_keys(&self) -> Option<GroupKeys> {
        let accepted = self.group_keys.current().to_vec();
        Some(GroupKeys { dial: accepted.first()?.clone(), accepted })
    }

    /// The API keys; none when access is open.
    #[must_use]
    pub fn api_keys(&self) -> Option<Arc<ApiKeys>> {
        self.keys.clone()
    }

    /// The digest of the keys in force, without those that are accepted for a while more: what the operator compares with the
    /// Secrets.
    #[must_use]
    pub fn digest(&self) -> watch::Receiver<KeysDigest> {
        self.digest.subscribe()
    }

    /// Reads the files again, and lets go of what has ended. `now` is the age of the process.
    fn turn(&mut self, now: Duration) -> Change {
        let changed = self.replace(read(&self.tls_files, self.api_key_file.as_deref(), self.group.as_ref()), now);
        let mut change = Change::default();
        let (roots, roots_ended) = self.roots.accepted(now);
        let (pair, shown_changed) = self.shown.shown(now);
        // Sessions that were resumed would not be verified again: a new configuration has no sessions.
        if changed || roots_ended || shown_changed {
            match PeerTls::of(roots, &pair) {
                Ok(tls) => {
                    self.tls = tls.clone();
                    change.tls = Some(tls);
                }
                Err(fault) => self.tell(vec![format!("{:#}", anyhow::Error::new(fault))]),
            }
        }
        let (accepted, groups_ended) = self.group_keys.accepted(now);
        change.group_keys = accepted.first().cloned().map(|dial| GroupKeys { dial, accepted });
        change.ended = roots_ended || groups_ended;
        let (hashes, _) = self.api_keys.accepted(now);
        if let Some(keys) = &self.keys {
            keys.put(hashes);
        }
        change
    }

    /// Logs faults of the files once.
    fn tell(&mut self, faults: Vec<String>) {
        if self.faults != faults {
            for fault in &faults {
                tracing::warn!(fault, "certificates or keys stay as they are");
            }
            self.faults = faults;
        }
    }

    /// Whether the authorities changed.
    fn replace(&mut self, read: Read, now: Duration) -> bool {
        let mut faults = Vec::new();
        let mut changed = false;
        // A certificate whose key is another's is half of a Secret.
        let fits =
            |files: TlsFiles| PeerTls::of(files.ca.clone(), &files.pair).map(|_| files).map_err(anyhow::Error::new);
        match read.tls.and_then(fits) {
            Ok(files) => {
                changed = self.roots.current() != files.ca;
                if changed {
                    tracing::info!("the authorities of the peer port changed");
                    self.roots.replace(files.ca, now);
                }
                self.shown.replace(files.pair, now);
            }
            Err(fault) => faults.push(format!("{fault:#}")),
        }
        match read.group_keys {
            Ok(keys) if self.group_keys.current() != keys => {
                tracing::info!("the keys of the group changed");
                self.group_keys.replace(keys, now);
            }
            Ok(_) => {}
            Err(fault) => faults.push(format!("{fault:#}")),
        }
        match read.api_keys {
            Ok(keys) if self.api_keys.current() != keys => {
                tracing::info!("the API keys changed");
                self.api_keys.replace(keys, now);
            }
            Ok(_) => {}
            Err(fault) => faults.push(format!("{fault:#}")),
        }
        self.tell(faults);
        self.digest.send_replace(keys_digest(self.cluster, self.api_keys.current(), self.group_keys.current()));
        changed
    }

    /// Follows the files until the process ends.
    pub async fn follow(mut self, hub: Hub) {
        let begun = Instant::now();
        let mut pace = tokio::time::interval(PACE);
        pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            pace.tick().await;
            let Change { tls, group_keys, ended } = self.turn(begun.elapsed());
            hub.replace_credentials(tls, group_keys, ended);
        }
    }
}

/// Reads all files. A file `<name>-previous` beside that of the API keys holds more of them; `<name>-next` and
/// `<name>-previous` beside that of the group key are accepted from other regions.
fn read(tls: &Tls, api_key_file: Option<&Path>, group: Option<&ReplicationGroup>) -> Read {
    let group_keys = group.map_or(Ok(Vec::new()), read_group_keys);
    let derived = match (&group_keys, group.filter(|group| group.derive_api_key)) {
        (Ok(keys), Some(group)) => {
            Ok(keys.iter().map(|key| blake3::hash(key.api_key(&group.name).as_bytes())).collect())
        }
        (Err(_), Some(_)) => Err(anyhow::anyhow!("the API key of the group has no group key to be derived from")),
        (_, None) => Ok(Vec::new()),
    };
    Read {
        tls: TlsFiles::read(&tls.ca_file, &tls.cert_file, &tls.key_file).context("TLS of the peer port"),
        group_keys,
        api_keys: api_key_file.map_or(Ok(Vec::new()), |path| read_key_files(path, derived?)),
    }
}

/// The key that connections are opened with comes first.
fn read_group_keys(group: &ReplicationGroup) -> anyhow::Result<Vec<GroupKey>> {
    let mut keys = vec![GroupKey::from_file(&group.key_file)?];
    for beside in [beside(&group.key_file, "-next"), beside(&group.key_file, "-previous")] {
        if beside.exists() {
            keys.push(GroupKey::from_file(&beside)?);
        }
    }
    Ok(keys)
}

fn read_key_files(path: &Path, derived: Vec<blake3::Hash>) -> anyhow::Result<Vec<blake3::Hash>> {
    let hashes = |path: &Path| -> anyhow::Result<Vec<blake3::Hash>> {
        let text = std::fs::read_to_string(path).with_context(|| format!("read API keys {}", path.display()))?;
        read_api_keys(&text).with_context(|| format!("read API keys {}", path.display()))
    };
    let mut keys = hashes(path)?;
    let previous = beside(path, "-previous");
    if previous.exists() {
        keys.extend(hashes(&previous)?);
    }
    keys.extend(derived);
    Ok(keys)
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(suffix);
    path.with_file_name(name)
}

#[cfg(test)]
pub(crate) mod tests;

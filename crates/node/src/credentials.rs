//! Certificates and keys of the node: read at the start and reloaded while it runs, without a restart.
//!
//! ```text
//!   files ──every 5 s──► changes ──► PeerTls, GroupKeys ─► Hub (new connections)
//!                                ├─► hashes of API keys ─► ApiKeys
//!                                └─► digest of all keys ─► status, for the operator
//! ```
//!
//! An invalid file leaves the current values in force: a Secret may be half written for a moment.

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

/// Reload interval. Kubelets update the files of a Secret within two minutes; this adds little.
const RELOAD_INTERVAL: Duration = Duration::from_secs(5);

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
    /// Errors of the last reload, so that each is logged once.
    errors: Vec<String>,
}

/// Contents of the files, each with its own error, so that one invalid Secret does not block the others.
struct Read {
    tls: anyhow::Result<TlsFiles>,
    group_keys: anyhow::Result<Vec<GroupKey>>,
    api_keys: anyhow::Result<Vec<blake3::Hash>>,
}

/// Changes found by a reload.
#[derive(Default)]
struct Change {
    tls: Option<PeerTls>,
    group_keys: Option<GroupKeys>,
    /// Whether credentials expired: connections that may depend on them are closed.
    ended: bool,
}

impl Credentials {
    /// Loads the files named by `config`.
    ///
    /// # Errors
    /// When a file cannot be read or is invalid.
    pub fn load(config: &NodeConfig) -> anyhow::Result<Self> {
        let api_key_file = match &config.auth {
            Auth::Disabled => None,
            Auth::ApiKeyFile(path) => Some(path.clone()),
        };
        let (tls_files, group) = (config.peer_tls.clone(), config.replication_group.clone());
        let read = read(&tls_files, api_key_file.as_deref(), group.as_ref());
        let (files, group_keys, api_keys) = (read.tls?, read.group_keys?, read.api_keys?);
        let tls = PeerTls::of(files.ca.clone(), &files.pair).context("TLS of the peer port")?;
        let keys = api_key_file.is_some().then(|| Arc::new(ApiKeys::from_hashes(api_keys.clone())));
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
            errors: Vec::new(),
        })
    }

    /// TLS of the peer port.
    #[must_use]
    pub fn tls(&self) -> PeerTls {
        self.tls.clone()
    }

    /// Keys of the replication group; `None` without a group.
    #[must_use]
    pub fn group_keys(&self) -> Option<GroupKeys> {
        let accepted = self.group_keys.current().to_vec();
        Some(GroupKeys { dial: accepted.first()?.clone(), accepted })
    }

    /// API keys; `None` when authentication is disabled.
    #[must_use]
    pub fn api_keys(&self) -> Option<Arc<ApiKeys>> {
        self.keys.clone()
    }

    /// Digest of the current keys, without those still accepted for a while; the operator compares it with the Secrets.
    #[must_use]
    pub fn digest(&self) -> watch::Receiver<KeysDigest> {
        self.digest.subscribe()
    }

    /// Reloads the files and drops expired credentials. `now` is the age of the process.
    fn reload(&mut self, now: Duration) -> Change {
        let changed = self.replace(read(&self.tls_files, self.api_key_file.as_deref(), self.group.as_ref()), now);
        let mut change = Change::default();
        let (roots, roots_ended) = self.roots.accepted(now);
        let (pair, shown_changed) = self.shown.shown(now);
        // A new configuration has no session cache: resumed sessions would not be verified again.
        if changed || roots_ended || shown_changed {
            match PeerTls::of(roots, &pair) {
                Ok(tls) => {
                    self.tls = tls.clone();
                    change.tls = Some(tls);
                }
                Err(error) => self.log_errors(vec![format!("{:#}", anyhow::Error::new(error))]),
            }
        }
        let (accepted, groups_ended) = self.group_keys.accepted(now);
        change.group_keys = accepted.first().cloned().map(|dial| GroupKeys { dial, accepted });
        change.ended = roots_ended || groups_ended;
        let (hashes, _) = self.api_keys.accepted(now);
        if let Some(keys) = &self.keys {
            keys.replace(hashes);
        }
        change
    }

    /// Logs the errors of the files once.
    fn log_errors(&mut self, errors: Vec<String>) {
        if self.errors != errors {
            for error in &errors {
                tracing::warn!(error, "invalid certificates or keys; the current ones stay as they are");
            }
            self.errors = errors;
        }
    }

    /// Replaces changed credentials; returns whether the authorities changed.
    fn replace(&mut self, read: Read, now: Duration) -> bool {
        let mut errors = Vec::new();
        let mut changed = false;
        // A certificate that does not match its key is a half-written Secret.
        let validate_pair =
            |files: TlsFiles| PeerTls::of(files.ca.clone(), &files.pair).map(|_| files).map_err(anyhow::Error::new);
        match read.tls.and_then(validate_pair) {
            Ok(files) => {
                changed = self.roots.current() != files.ca;
                if changed {
                    tracing::info!("certificate authorities of the peer port changed");
                    self.roots.replace(files.ca, now);
                }
                self.shown.replace(files.pair, now);
            }
            Err(error) => errors.push(format!("{error:#}")),
        }
        match read.group_keys {
            Ok(keys) if self.group_keys.current() != keys => {
                tracing::info!("keys of the replication group changed");
                self.group_keys.replace(keys, now);
            }
            Ok(_) => {}
            Err(error) => errors.push(format!("{error:#}")),
        }
        match read.api_keys {
            Ok(keys) if self.api_keys.current() != keys => {
                tracing::info!("API keys changed");
                self.api_keys.replace(keys, now);
            }
            Ok(_) => {}
            Err(error) => errors.push(format!("{error:#}")),
        }
        self.log_errors(errors);
        self.digest.send_replace(keys_digest(self.cluster, self.api_keys.current(), self.group_keys.current()));
        changed
    }

    /// Reloads the files periodically until the process exits.
    pub async fn follow(mut self, hub: Hub) {
        let start = Instant::now();
        let mut interval = tokio::time::interval(RELOAD_INTERVAL);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            interval.tick().await;
            let Change { tls, group_keys, ended } = self.reload(start.elapsed());
            hub.replace_credentials(tls, group_keys, ended);
        }
    }
}

/// Reads all files. `<name>-previous` next to the API key file contains more keys; `<name>-next` and `<name>-previous`
/// next to the group key file are accepted from other regions.
fn read(tls: &Tls, api_key_file: Option<&Path>, group: Option<&ReplicationGroup>) -> Read {
    let group_keys = group.map_or(Ok(Vec::new()), read_group_keys);
    let derived = match (&group_keys, group.filter(|group| group.derive_api_key)) {
        (Ok(keys), Some(group)) => {
            Ok(keys.iter().map(|key| blake3::hash(key.api_key(&group.name).as_bytes())).collect())
        }
        (Err(_), Some(_)) => Err(anyhow::anyhow!("the group's API key requires a valid group key")),
        (_, None) => Ok(Vec::new()),
    };
    Read {
        tls: TlsFiles::read(&tls.ca_file, &tls.cert_file, &tls.key_file).context("TLS of the peer port"),
        group_keys,
        api_keys: api_key_file.map_or(Ok(Vec::new()), |path| read_key_files(path, derived?)),
    }
}

/// Reads the group keys; the first is used to open connections.
fn read_group_keys(group: &ReplicationGroup) -> anyhow::Result<Vec<GroupKey>> {
    let mut keys = vec![GroupKey::from_file(&group.key_file)?];
    for file in [sibling(&group.key_file, "-next"), sibling(&group.key_file, "-previous")] {
        if file.exists() {
            keys.push(GroupKey::from_file(&file)?);
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
    let previous = sibling(path, "-previous");
    if previous.exists() {
        keys.extend(hashes(&previous)?);
    }
    keys.extend(derived);
    Ok(keys)
}

fn sibling(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(suffix);
    path.with_file_name(name)
}

#[cfg(test)]
pub(crate) mod tests;

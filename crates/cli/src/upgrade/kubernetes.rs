//! Connection to the API server, by the files that kubectl uses.

use std::time::Duration;

use anyhow::Context as _;
use kube::config::KubeConfigOptions;
use kube::{Api, Client, Config};
use meridian_crd::VectorCluster;
use meridian_crd::conditions::type_;
use meridian_plan::parse_duration;

/// Options that name a namespace of a Kubernetes cluster.
#[derive(Debug, clap::Args)]
pub struct Place {
    /// Namespace. Default: that of the context.
    #[arg(short, long)]
    namespace: Option<String>,
    /// Context of the kubeconfig file. Default: its current one.
    #[arg(long)]
    context: Option<String>,
}

impl Place {
    /// Connects to the API of the clusters in the namespace.
    ///
    /// # Errors
    /// When no configuration is found, or the context does not exist.
    pub async fn clusters(&self) -> anyhow::Result<Api<VectorCluster>> {
        // A provider that was installed before is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let config = match &self.context {
            None => Config::infer().await.context("find the Kubernetes cluster")?,
            Some(context) => {
                let options = KubeConfigOptions { context: Some(context.clone()), ..KubeConfigOptions::default() };
                Config::from_kubeconfig(&options).await.with_context(|| format!("context {context}"))?
            }
        };
        let client = Client::try_from(config).context("connect to the API server")?;
        let namespace = self.namespace.as_deref().unwrap_or(client.default_namespace()).to_owned();
        Ok(Api::namespaced(client, &namespace))
    }
}

/// The condition `Finalized`: status, reason and message; empty before the operator has written it.
pub fn finalized(cluster: &VectorCluster) -> (&str, &str, &str) {
    let finalized = cluster.status.as_ref().and_then(|status| status.condition(type_::FINALIZED));
    finalized.map_or(("", "", ""), |it| (it.status.as_str(), it.reason.as_str(), it.message.as_str()))
}

/// Parses a duration such as `90s`, `10m` or `1h`.
pub fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text, &["s", "m", "h"]).ok_or_else(|| format!("timeout must be a duration such as 10m (got {text})"))
}

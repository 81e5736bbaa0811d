//! The cluster's own certificate authority: made once, then only signs.

use std::sync::Arc;

use anyhow::Context as _;
use meridian_plan::ValidCluster;
use meridian_plan::render::Certificates;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsConnector;

/// The name that every certificate of a cluster bears beside its own, so that one of another cluster is told apart.
fn cluster_name(cluster: &ValidCluster) -> String {
    format!("{}.meridian", cluster.id)
}

/// A new authority, and the certificate of all pods: they share one, for every name below the headless Service.
pub fn make(cluster: &ValidCluster) -> anyhow::Result<Certificates> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name.push(DnType::CommonName, format!("meridian {}", cluster.id));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let ca_key = KeyPair::generate()?;
    let ca = params.self_signed(&ca_key)?.pem();
    let ca_key_text = ca_key.serialize_pem();
    sign(cluster, Authority { cert: ca, key: ca_key_text })
}

/// The authority as it stands in its Secret, PEM.
#[derive(Clone)]
pub struct Authority {
    pub cert: String,
    pub key: String,
}

impl Authority {
    fn issuer(&self) -> anyhow::Result<Issuer<'static, KeyPair>> {
        let key = KeyPair::from_pem(&self.key).context("read ca.key")?;
        Issuer::from_ca_cert_pem(&self.cert, key).context("read ca.crt")
    }
}

/// A new certificate of all pods under an authority that stands.
pub fn sign(cluster: &ValidCluster, authority: Authority) -> anyhow::Result<Certificates> {
    let names = vec![format!("*.{}", cluster.peers_domain()), cluster_name(cluster)];
    let (cert, key) = leaf(&authority.issuer()?, names)?;
    Ok(Certificates { ca: authority.cert, ca_key: authority.key, cert, key })
}

fn leaf(issuer: &Issuer<'_, KeyPair>, names: Vec<String>) -> anyhow::Result<(String, String)> {
    let mut params = CertificateParams::new(names)?;
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate()?;
    Ok((params.signed_by(&key, issuer)?.pem(), key.serialize_pem()))
}

/// What the operator shows to pods and demands of them. Its certificate lives as long as this value.
pub fn client(cluster: &ValidCluster, authority: &Authority) -> anyhow::Result<TlsConnector> {
    let names = vec![format!("operator.{}", cluster_name(cluster)), cluster_name(cluster)];
    let (cert, key) = leaf(&authority.issuer()?, names)?;
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.cert.as_bytes()).context("read ca.crt")?)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_client_auth_cert(
            vec![CertificateDer::from_pem_slice(cert.as_bytes())?],
            PrivateKeyDer::from_pem_slice(key.as_bytes())?,
        )?;
    Ok(TlsConnector::from(Arc::new(config)))
}

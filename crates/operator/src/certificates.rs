//! The certificate authority of a cluster, its certificates, and the two Secrets that hold them. `plan` decides when a
//! certificate is signed.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use meridian_plan::ValidCluster;
use meridian_plan::certificates::{AUTHORITY_DAYS, BACKDATED_DAYS, LEAF_DAYS, ObservedCertificates, ObservedLeaf};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use rustls::server::WebPkiClientVerifier;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use tokio_rustls::TlsConnector;

const DAY: Duration = Duration::from_secs(86_400);

/// The name in every certificate of a cluster, beside the pod's own, that distinguishes it from other clusters.
fn cluster_name(cluster: &ValidCluster) -> String {
    format!("{}.meridian", cluster.id)
}

/// Parameters of a certificate that is valid for `days` from now.
fn valid_for(names: Vec<String>, days: u64) -> anyhow::Result<CertificateParams> {
    let mut params = CertificateParams::new(names)?;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    let at = |since_1970: Duration| rcgen::date_time_ymd(1970, 1, 1) + since_1970;
    params.not_before = at(now.saturating_sub(DAY * u32::try_from(BACKDATED_DAYS)?));
    params.not_after = at(now + DAY * u32::try_from(days)?);
    Ok(params)
}

/// The authority in its Secret, in PEM.
#[derive(Clone)]
pub struct Authority {
    pub cert: String,
    pub key: String,
}

/// The files that pods mount, in PEM.
#[derive(Clone)]
pub struct PodCertificates {
    /// The trusted authorities.
    pub ca: String,
    pub cert: String,
    pub key: String,
}

/// Contents of the two Secrets; an unreadable value counts as absent.
#[derive(Clone, Default)]
pub struct CertificateSecrets {
    pub authority: Option<Authority>,
    pub pod_certificates: Option<PodCertificates>,
}

impl Authority {
    /// A new authority.
    pub fn create(cluster: &ValidCluster) -> anyhow::Result<Self> {
        let mut params = valid_for(Vec::new(), AUTHORITY_DAYS)?;
        params.distinguished_name.push(DnType::CommonName, format!("meridian {}", cluster.id));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate()?;
        Ok(Self { cert: params.self_signed(&key)?.pem(), key: key.serialize_pem() })
    }

    fn issuer(&self) -> anyhow::Result<Issuer<'static, KeyPair>> {
        let key = KeyPair::from_pem(&self.key).context("read ca.key")?;
        Issuer::from_ca_cert_pem(&self.cert, key).context("read ca.crt")
    }

    /// A certificate and key for all pods, valid for every name below the headless Service.
    pub fn sign(&self, cluster: &ValidCluster) -> anyhow::Result<(String, String)> {
        leaf(&self.issuer()?, vec![format!("*.{}", cluster.peers_domain()), cluster_name(cluster)])
    }
}

fn leaf(issuer: &Issuer<'_, KeyPair>, names: Vec<String>) -> anyhow::Result<(String, String)> {
    let mut params = valid_for(names, LEAF_DAYS)?;
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate()?;
    Ok((params.signed_by(&key, issuer)?.pem(), key.serialize_pem()))
}

fn all(pem: &str) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(pem.as_bytes()).filter_map(Result::ok).collect()
}

impl CertificateSecrets {
    /// The input for `plan`, without the part that depends on the pods.
    pub fn seen(&self) -> ObservedCertificates {
        let authority = self.authority.as_ref().filter(|authority| authority.issuer().is_ok());
        let root = authority.and_then(|authority| all(&authority.cert).into_iter().next());
        let leaf =
            self.pod_certificates.as_ref().and_then(|pod_certificates| leaf_seen(pod_certificates, root.as_ref()));
        ObservedCertificates { authority: root.is_some(), leaf, ..ObservedCertificates::default() }
    }

    /// TLS connectors for the pods, the most likely first: with a certificate of the authority and trust in it alone,
    /// with trust in all mounted authorities, with the certificate that the pods mount.
    pub fn connectors(&self, cluster: &ValidCluster) -> anyhow::Result<Vec<(PodTrust, TlsConnector)>> {
        let seen = self.seen();
        let mut connectors = Vec::new();
        let pod_certificates = self.pod_certificates.as_ref().filter(|_| seen.leaf.is_some());
        let bundle = pod_certificates.map(|pod_certificates| all(&pod_certificates.ca)).unwrap_or_default();
        if let Some(authority) = self.authority.as_ref().filter(|_| seen.authority) {
            let names = vec![format!("operator.{}", cluster_name(cluster)), cluster_name(cluster)];
            let pair = leaf(&authority.issuer()?, names)?;
            let root = all(&authority.cert);
            let settled = seen.leaf.is_none_or(|leaf| leaf.by_authority && !leaf.trusts_others);
            connectors.push((PodTrust::ShowsAuthority, connector(&root, &pair)?));
            if !settled {
                connectors.push((PodTrust::TrustsAuthority, connector(&[root, bundle.clone()].concat(), &pair)?));
            }
            if settled {
                return Ok(connectors);
            }
        }
        if let Some(pod_certificates) = pod_certificates {
            connectors.push((
                PodTrust::TrustsFormer,
                connector(&bundle, &(pod_certificates.cert.clone(), pod_certificates.key.clone()))?,
            ));
        }
        Ok(connectors)
    }
}

/// The authorities that a pod uses, derived from the connector that reached it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PodTrust {
    /// It trusts the authority and presents a certificate of it.
    ShowsAuthority,
    /// It trusts the authority, and presents a certificate of another.
    TrustsAuthority,
    /// It trusts only another authority.
    TrustsFormer,
}

fn leaf_seen(pod_certificates: &PodCertificates, authority: Option<&CertificateDer<'static>>) -> Option<ObservedLeaf> {
    let cert = all(&pod_certificates.cert).into_iter().next()?;
    PrivateKeyDer::from_pem_slice(pod_certificates.key.as_bytes()).ok()?;
    let (_, parsed) = x509_parser::parse_x509_certificate(&cert).ok()?;
    let (not_before, not_after) = (parsed.validity().not_before.timestamp(), parsed.validity().not_after.timestamp());
    let roots = all(&pod_certificates.ca);
    let is_authority = |root: &CertificateDer<'static>| Some(root) == authority;
    // The signature is checked at the end of validity, so that the result does not depend on the current time.
    let within = UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(not_after - 1).ok()?));
    let by_authority = authority.is_some_and(|authority| signed_by(&cert, authority, within));
    Some(ObservedLeaf {
        by_authority,
        trusts_authority: roots.iter().any(is_authority),
        trusts_others: !roots.iter().all(is_authority),
        not_before,
        not_after,
    })
}

fn signed_by(cert: &CertificateDer<'static>, authority: &CertificateDer<'static>, at: UnixTime) -> bool {
    let mut roots = rustls::RootCertStore::empty();
    if roots.add(authority.clone()).is_err() {
        return false;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
    verifier.is_ok_and(|verifier| verifier.verify_client_cert(cert, &[], at).is_ok())
}

/// A connector that presents `pair` (certificate and key, PEM) and trusts `roots`.
fn connector(roots: &[CertificateDer<'static>], pair: &(String, String)) -> anyhow::Result<TlsConnector> {
    let mut store = rustls::RootCertStore::empty();
    for root in roots {
        store.add(root.clone()).context("read ca.crt")?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(store)
        .with_client_auth_cert(all(&pair.0), PrivateKeyDer::from_pem_slice(pair.1.as_bytes())?)?;
    Ok(TlsConnector::from(Arc::new(config)))
}

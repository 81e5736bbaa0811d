//! TLS of the peer port: mutual within a region, proved by the group key between regions.

use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme};
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// Why the certificates cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A PEM file cannot be read.
    #[error("{file}")]
    Pem {
        /// Which.
        file: String,
        /// What is wrong.
        source: rustls::pki_types::pem::Error,
    },
    /// Certificates and key do not fit each other, or are not usable.
    #[error("certificates")]
    Tls(#[from] rustls::Error),
    /// The authority cannot verify anybody.
    #[error("certificate authority")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
}

/// Both directions of the peer port.
#[derive(Clone)]
pub struct PeerTls {
    /// For connections that come in: a certificate of the authority if the caller has one, else it must prove the group key.
    pub acceptor: TlsAcceptor,
    /// For connections to replicas of the region.
    pub region: TlsConnector,
    /// For connections to other regions, whose authority is another: who they are, the group key proves.
    pub group: TlsConnector,
}

impl PeerTls {
    /// From PEM files.
    ///
    /// # Errors
    /// When a file cannot be read, or what is in it cannot be used.
    pub fn from_files(ca: &Path, cert: &Path, key: &Path) -> Result<Self, TlsError> {
        let TlsFiles { ca, pair } = TlsFiles::read(ca, cert, key)?;
        Self::of(ca, &pair)
    }

    /// Trusts the authorities `ca` and shows `pair`.
    ///
    /// # Errors
    /// When they cannot be used.
    pub fn of(ca: Vec<CertificateDer<'static>>, pair: &Pair) -> Result<Self, TlsError> {
        Self::new(ca, pair.chain.clone(), pair.key.clone_key())
    }

    /// From certificates in memory.
    ///
    /// # Errors
    /// When they cannot be used.
    pub fn new(
        ca: Vec<CertificateDer<'static>>,
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Result<Self, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let mut roots = RootCertStore::empty();
        for certificate in ca {
            roots.add(certificate)?;
        }
        let roots = Arc::new(roots);
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider))
            .allow_unauthenticated()
            .build()?;
        let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain.clone(), key.clone_key())?;
        let region = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)?;
        let group = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(ProvedLater(provider)))
            .with_no_client_auth();
        Ok(Self {
            acceptor: TlsAcceptor::from(Arc::new(server)),
            region: TlsConnector::from(Arc::new(region)),
            group: TlsConnector::from(Arc::new(group)),
        })
    }
}

/// What a node shows: a certificate and its key.
#[derive(Debug)]
pub struct Pair {
    /// The certificate, and what leads from it to the authority.
    pub chain: Vec<CertificateDer<'static>>,
    /// Its key.
    pub key: PrivateKeyDer<'static>,
}

impl Clone for Pair {
    fn clone(&self) -> Self {
        Self { chain: self.chain.clone(), key: self.key.clone_key() }
    }
}

impl PartialEq for Pair {
    fn eq(&self, other: &Self) -> bool {
        self.chain == other.chain
    }
}

/// The certificate files of a node, as they stand on its disk.
pub struct TlsFiles {
    /// The authorities that are trusted.
    pub ca: Vec<CertificateDer<'static>>,
    /// What is shown.
    pub pair: Pair,
}

impl TlsFiles {
    /// Reads PEM files.
    ///
    /// # Errors
    /// When one cannot be read, or is not PEM.
    pub fn read(ca: &Path, cert: &Path, key: &Path) -> Result<Self, TlsError> {
        let certs = |path: &Path| -> Result<Vec<CertificateDer<'static>>, TlsError> {
            let pem = |source| TlsError::Pem { file: path.display().to_string(), source };
            CertificateDer::pem_file_iter(path).map_err(pem)?.collect::<Result<_, _>>().map_err(pem)
        };
        let private = PrivateKeyDer::from_pem_file(key)
            .map_err(|source| TlsError::Pem { file: key.display().to_string(), source })?;
        Ok(Self { ca: certs(ca)?, pair: Pair { chain: certs(cert)?, key: private } })
    }
}

/// Takes any certificate: the proof of the group key over this very connection follows before anything else is said, and
/// a party in the middle has two connections with different keying material.
#[derive(Debug)]
struct ProvedLater(Arc<CryptoProvider>);

impl ServerCertVerifier for ProvedLater {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("only TLS 1.3 is spoken".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

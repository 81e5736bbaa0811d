//! TLS of the peer port: mutual within a region, authenticated by the group key between regions.

use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme};
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// Reason for which the certificates cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A PEM file cannot be read.
    #[error("{file}")]
    Pem {
        /// The file.
        file: String,
        /// The error.
        source: rustls::pki_types::pem::Error,
    },
    /// Certificate and key do not match, or are invalid.
    #[error("certificates")]
    Tls(#[from] rustls::Error),
    /// The authorities cannot verify certificates.
    #[error("certificate authority")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
}

/// TLS configurations of both directions.
#[derive(Clone)]
pub struct PeerTls {
    /// For incoming connections: the caller presents a certificate of the authority, or must prove the group key.
    pub acceptor: TlsAcceptor,
    /// For connections to replicas of the region.
    pub region: TlsConnector,
    /// For connections to other regions, which have another authority; the group key authenticates them.
    pub group: TlsConnector,
}

impl PeerTls {
    /// Reads PEM files.
    ///
    /// # Errors
    /// A file cannot be read, or its contents are invalid.
    pub fn from_files(ca: &Path, cert: &Path, key: &Path) -> Result<Self, TlsError> {
        let TlsFiles { ca, pair } = TlsFiles::read(ca, cert, key)?;
        Self::of(ca, &pair)
    }

    /// Trusts the authorities `ca` and presents `pair`.
    ///
    /// # Errors
    /// The certificates are invalid.
    pub fn of(ca: Vec<CertificateDer<'static>>, pair: &Pair) -> Result<Self, TlsError> {
        Self::new(ca, pair.chain.clone(), pair.key.clone_key())
    }

    /// Uses certificates in memory.
    ///
    /// # Errors
    /// The certificates are invalid.
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

/// The certificate of a node, with its key.
#[derive(Debug)]
pub struct Pair {
    /// The certificate, followed by intermediate ones.
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

/// The certificate files of a node.
pub struct TlsFiles {
    /// The trusted authorities.
    pub ca: Vec<CertificateDer<'static>>,
    /// The certificate to present.
    pub pair: Pair,
}

impl TlsFiles {
    /// Reads PEM files.
    ///
    /// # Errors
    /// A file cannot be read, or is not PEM.
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

/// Accepts every certificate. The proof of the group key over the same connection follows before any other frame, and
/// an intermediary has two connections with different keying material.
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

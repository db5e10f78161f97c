//! TLS for clients and between nodes, from files that may change while the node runs.
//!
//! A node shows one certificate to everybody. Whom it believes follows from `--tls-ca`: with it, certificates that
//! lead to one of these authorities; without it, other nodes that show the very certificate that this one has.

use super::Stream;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// Where certificates come from.
#[derive(Clone, Debug)]
pub struct Files {
    /// The certificate that this node shows, and those between it and its authority; PEM.
    pub cert: PathBuf,
    pub key: PathBuf,
    /// Authorities that the certificates of others must lead to.
    pub ca: Option<PathBuf>,
    pub auth_clients: AuthClients,
}

/// Whether clients must show a certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AuthClients {
    #[default]
    No,
    /// One that is shown must be right.
    Optional,
    Yes,
}

/// Why TLS is not possible with these files.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot read {}", path.display())]
    Read { path: PathBuf, source: Box<pem::Error> },
    #[error("{} has no certificate", .0.display())]
    NoCertificate(PathBuf),
    #[error("the certificate in {} and the key do not go together", path.display())]
    Refused { path: PathBuf, source: rustls::Error },
    #[error("clients can show certificates only if --tls-ca says whom to believe")]
    NoAuthority,
    #[error("the authorities in {} cannot be used", path.display())]
    Authorities { path: PathBuf, source: Box<dyn std::error::Error + Send + Sync> },
}

/// A handle; clones share the configuration in force.
#[derive(Clone)]
pub struct Tls {
    files: Arc<Files>,
    configs: Arc<Mutex<Configs>>,
}

#[derive(Clone)]
struct Configs {
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tls({})", self.files.cert.display())
    }
}

impl Tls {
    pub fn load(files: Files) -> Result<Tls, Error> {
        let configs = Configs::load(&files)?;
        Ok(Tls { files: Arc::new(files), configs: Arc::new(Mutex::new(configs)) })
    }

    /// Reads the files again, for connections from now on. On an error what was in force stays so.
    pub fn reload(&self) -> Result<(), Error> {
        let configs = Configs::load(&self.files)?;
        *self.lock() = configs;
        Ok(())
    }

    /// What `reload` reads.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        let Files { cert, key, ca, .. } = &*self.files;
        [cert, key].into_iter().chain(ca).map(PathBuf::as_path)
    }

    pub(super) async fn accept(&self, stream: TcpStream) -> io::Result<Stream> {
        let server = Arc::clone(&self.lock().server);
        Ok(Stream::tls(tokio_rustls::TlsStream::Server(TlsAcceptor::from(server).accept(stream).await?)))
    }

    /// Connects to the node at `host`, whose certificate must be for that name.
    pub(super) async fn connect(&self, host: &str, stream: TcpStream) -> io::Result<Stream> {
        let client = Arc::clone(&self.lock().client);
        let name = ServerName::try_from(host.to_owned())
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        Ok(Stream::tls(tokio_rustls::TlsStream::Client(TlsConnector::from(client).connect(name, stream).await?)))
    }

    fn lock(&self) -> MutexGuard<'_, Configs> {
        self.configs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Configs {
    fn load(files: &Files) -> Result<Configs, Error> {
        let provider = Arc::new(ring::default_provider());
        let certs = read_certs(&files.cert)?;
        let own = certs.first().cloned().ok_or_else(|| Error::NoCertificate(files.cert.clone()))?;
        let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|source| read(&files.key, source))?;
        let refused = |source| Error::Refused { path: files.cert.clone(), source };

        let roots = files.ca.as_deref().map(read_roots).transpose()?;
        let server = ServerConfig::builder_with_provider(Arc::clone(&provider));
        let server = server.with_safe_default_protocol_versions().map_err(refused)?;
        let server = match (files.auth_clients, &roots) {
            (AuthClients::No, _) => server.with_no_client_auth(),
            (_, None) => return Err(Error::NoAuthority),
            (auth, Some(roots)) => {
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::clone(roots), Arc::clone(&provider));
                let verifier = if auth == AuthClients::Optional { verifier.allow_unauthenticated() } else { verifier };
                let path = files.ca.clone().unwrap_or_default();
                server.with_client_cert_verifier(
                    verifier.build().map_err(|error| Error::Authorities { path, source: error.into() })?,
                )
            }
        };
        let server = server.with_single_cert(certs.clone(), key.clone_key()).map_err(refused)?;

        let client = ClientConfig::builder_with_provider(Arc::clone(&provider));
        let client = client.with_safe_default_protocol_versions().map_err(refused)?;
        let client = match roots {
            Some(roots) => client.with_root_certificates(roots),
            None => client.dangerous().with_custom_certificate_verifier(Arc::new(Same { own, provider })),
        };
        let client = client.with_client_auth_cert(certs, key).map_err(refused)?;
        Ok(Configs { server: Arc::new(server), client: Arc::new(client) })
    }
}

fn read(path: &Path, source: pem::Error) -> Error {
    Error::Read { path: path.to_owned(), source: Box::new(source) }
}

fn read_certs(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let certs = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    certs.map_err(|source| read(path, source))
}

fn read_roots(path: &Path) -> Result<Arc<RootCertStore>, Error> {
    let mut roots = RootCertStore::empty();
    let certs = read_certs(path)?;
    if certs.is_empty() {
        return Err(Error::NoCertificate(path.to_owned()));
    }
    for cert in certs {
        roots.add(cert).map_err(|error| Error::Authorities { path: path.to_owned(), source: error.into() })?;
    }
    Ok(Arc::new(roots))
}

/// Believes a node that shows the certificate of this one, and proves to have its key.
#[derive(Debug)]
struct Same {
    own: CertificateDer<'static>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Same {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match *shown == self.own {
            true => Ok(ServerCertVerified::assertion()),
            false => Err(CertificateError::UnknownIssuer.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

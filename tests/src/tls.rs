//! A certificate of a server's own, and clients that believe it.

use crate::server::Scratch;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::net::TcpStream;
use std::sync::Arc;

/// Clones share the files.
#[derive(Clone, Debug)]
pub struct Cert {
    scratch: Arc<Scratch>,
    der: CertificateDer<'static>,
}

impl Cert {
    pub fn new() -> Cert {
        let scratch = Scratch::new();
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        std::fs::write(scratch.path().join("node.pem"), made.cert.pem()).unwrap();
        std::fs::write(scratch.path().join("node.key"), made.signing_key.serialize_pem()).unwrap();
        Cert { scratch: Arc::new(scratch), der: made.cert.der().clone() }
    }

    /// The flags of a server that shows it.
    pub fn flags(&self) -> [String; 4] {
        let path = |name: &str| self.scratch.path().join(name).to_str().unwrap().to_owned();
        ["--tls-cert".to_owned(), path("node.pem"), "--tls-key".to_owned(), path("node.key")]
    }

    pub fn connect(&self, stream: TcpStream) -> StreamOwned<ClientConnection, TcpStream> {
        StreamOwned::new(self.client(), stream)
    }

    /// What a client says first.
    pub fn client_hello(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.client().write_tls(&mut bytes).unwrap();
        bytes
    }

    fn client(&self) -> ClientConnection {
        let mut roots = RootCertStore::empty();
        roots.add(self.der.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = config.with_root_certificates(roots).with_no_client_auth();
        ClientConnection::new(Arc::new(config), ServerName::try_from("localhost").unwrap()).unwrap()
    }
}

impl Default for Cert {
    fn default() -> Cert {
        Cert::new()
    }
}

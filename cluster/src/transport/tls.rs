//! Mutual TLS 1.3 between nodes: both sides show a certificate of the cluster's authority, and its name is the node's.

use std::sync::Arc;

use parking_lot::RwLock;
use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::sockets::Socket;
use crate::config::TlsFiles;
use crate::transport::NodeId;

/// Why certificates cannot be used. The running ones stay in force.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read, or holds no PEM of its kind.
    #[error("{path}: {reason}")]
    File {
        /// The file.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// The certificate is not this node's.
    #[error("the certificate names {names:?}; this node needs {wanted}")]
    Name {
        /// What it names.
        names: Vec<String>,
        /// What it must name.
        wanted: String,
    },
    /// Key, certificate and authority do not fit together.
    #[error("unusable: {0}")]
    Unusable(String),
}

struct Loaded {
    acceptor: TlsAcceptor,
    connector: TlsConnector,
    not_after_unix: i64,
}

/// What new handshakes use.
pub(super) struct TlsContext {
    node: NodeId,
    files: TlsFiles,
    loaded: RwLock<Arc<Loaded>>,
}

/// The name that a node's certificate bears.
pub fn node_name(node: NodeId) -> String {
    format!("node-{node}")
}

impl TlsContext {
    /// Reads the files of this node.
    pub fn load(node: NodeId, files: &TlsFiles) -> Result<Self, TlsError> {
        let loaded = RwLock::new(Arc::new(read(node, files)?));
        Ok(Self {
            node,
            files: files.clone(),
            loaded,
        })
    }

    /// Reads the files again; new handshakes use them, existing links go on.
    pub fn reload(&self) -> Result<(), TlsError> {
        let fresh = Arc::new(read(self.node, &self.files)?);
        *self.loaded.write() = fresh;
        Ok(())
    }

    /// When the certificate ends, seconds since 1970.
    pub fn not_after_unix(&self) -> i64 {
        self.loaded.read().not_after_unix
    }

    pub async fn connect(
        &self,
        peer: NodeId,
        tcp: Box<dyn Socket>,
    ) -> std::io::Result<client::TlsStream<Box<dyn Socket>>> {
        let connector = self.loaded.read().connector.clone();
        let name = ServerName::try_from(node_name(peer)).map_err(std::io::Error::other)?;
        connector.connect(name, tcp).await
    }

    pub async fn accept(&self, tcp: Box<dyn Socket>) -> std::io::Result<server::TlsStream<Box<dyn Socket>>> {
        let acceptor = self.loaded.read().acceptor.clone();
        acceptor.accept(tcp).await
    }
}

/// The DNS names in the certificate of a peer.
pub(super) fn names(chain: Option<&[CertificateDer<'_>]>) -> Result<Vec<String>, String> {
    let certificate = chain.and_then(<[_]>::first).ok_or("none was shown")?;
    let (_, certificate) = X509Certificate::from_der(certificate).map_err(|error| error.to_string())?;
    names_of(&certificate)
}

fn names_of(certificate: &X509Certificate<'_>) -> Result<Vec<String>, String> {
    let extension = certificate
        .subject_alternative_name()
        .map_err(|error| error.to_string())?;
    let names = extension
        .map(|extension| extension.value.general_names.as_slice())
        .unwrap_or_default();
    Ok(names
        .iter()
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some((*name).to_owned()),
            _ => None,
        })
        .collect())
}

fn read(node: NodeId, files: &TlsFiles) -> Result<Loaded, TlsError> {
    let file = |path: &std::path::Path, reason: &dyn std::fmt::Display| TlsError::File {
        path: path.display().to_string(),
        reason: reason.to_string(),
    };
    let chain = certificates(&files.certificate).map_err(|reason| file(&files.certificate, &reason))?;
    let authorities = certificates(&files.authority).map_err(|reason| file(&files.authority, &reason))?;
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|error| file(&files.key, &error))?;

    let (_, own) = X509Certificate::from_der(&chain[0]).map_err(|error| file(&files.certificate, &error))?;
    let names = names_of(&own).map_err(|reason| file(&files.certificate, &reason))?;
    let wanted = node_name(node);
    if !names.contains(&wanted) {
        return Err(TlsError::Name { names, wanted });
    }
    let not_after_unix = own.validity().not_after.timestamp();

    let unusable = |error: &dyn std::fmt::Display| TlsError::Unusable(error.to_string());
    let mut roots = RootCertStore::empty();
    for authority in authorities {
        roots.add(authority).map_err(|error| unusable(&error))?;
    }
    let roots = Arc::new(roots);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider))
        .build()
        .map_err(|error| unusable(&error))?;
    let mut server = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&TLS13])
        .map_err(|error| unusable(&error))?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain.clone(), key.clone_key())
        .map_err(|error| unusable(&error))?;
    // No resumption: after a reload every handshake is judged by the new authority.
    server.send_tls13_tickets = 0;
    let mut client = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .map_err(|error| unusable(&error))?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)
        .map_err(|error| unusable(&error))?;
    client.resumption = Resumption::disabled();
    let (acceptor, connector) = (
        TlsAcceptor::from(Arc::new(server)),
        TlsConnector::from(Arc::new(client)),
    );
    Ok(Loaded {
        acceptor,
        connector,
        not_after_unix,
    })
}

fn certificates(path: &std::path::Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path)
        .map_err(|error| error.to_string())?
        .collect();
    let found = found.map_err(|error| error.to_string())?;
    if found.is_empty() {
        Err("no certificate in it".into())
    } else {
        Ok(found)
    }
}

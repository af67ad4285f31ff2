//! Encrypted connections.

use crate::error::ServerError;
use std::path::Path;
use std::sync::Arc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// Takes connections with these certificates, in HTTP/2 where the client can.
pub(crate) fn acceptor(certificates: &Path, key: &Path) -> Result<TlsAcceptor, ServerError> {
    let wrong = |path: &Path, problem: String| ServerError::Certificate { path: path.to_owned(), problem };
    let read = CertificateDer::pem_file_iter(certificates)
        .and_then(|each| each.collect::<Result<Vec<_>, _>>())
        .map_err(|e| wrong(certificates, format!("no certificates could be read: {e}; expected PEM")))?;
    if read.is_empty() {
        return Err(wrong(certificates, "there is no certificate in it; expected PEM".to_owned()));
    }
    let secret = PrivateKeyDer::from_pem_file(key)
        .map_err(|e| wrong(key, format!("no private key could be read: {e}; expected PEM")))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|e| wrong(certificates, e.to_string()))?
        .with_no_client_auth()
        .with_single_cert(read, secret)
        .map_err(|e| wrong(key, format!("it does not go with {}: {e}", certificates.display())))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

//! TLS towards receivers: whom we trust, and what a failed handshake is called.

use rustls::{CertificateError, ClientConfig, Error as TlsError, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::{self, PemObject};
use sha2::{Digest, Sha256};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio_rustls::TlsConnector;
use tracing::warn;

/// Why the trusted roots cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsRootsError {
    /// The file cannot be read, or is no PEM.
    #[error("cannot read certificates from `{}`", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// What the reader says.
        #[source]
        source: pem::Error,
    },
    /// The file has no certificate in it.
    #[error("`{}` holds no certificate", .0.display())]
    Empty(PathBuf),
    /// A certificate cannot serve as a root.
    #[error("a certificate in `{}` cannot serve as a root", path.display())]
    Unusable {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: TlsError,
    },
    /// The crypto provider has no usable protocol version.
    #[error("cannot set up TLS")]
    Setup(#[source] TlsError),
}

/// Makes the configuration that all arbiters share: the system's roots (Mozilla's if the system has none) and
/// those in `extra` PEM files, TLS 1.2 and 1.3, HTTP/1.1 only, sessions resumed.
pub fn client_config(extra: &[PathBuf]) -> Result<Arc<ClientConfig>, TlsRootsError> {
    let mut roots = system_roots();
    for path in extra {
        add_pem(&mut roots, path)?;
    }
    config_of(roots).map_err(TlsRootsError::Setup)
}

/// Whom one step trusts, in the place of everybody else: an authority of the receiver's own.
#[derive(Clone)]
pub struct Trust {
    config: Arc<ClientConfig>,
    name: Arc<str>,
}

/// Why a text names nobody to trust.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TrustError {
    /// Not PEM, or nothing of it.
    #[error("holds no certificate in PEM form")]
    Empty,
    /// A certificate cannot serve as a root.
    #[error("holds a certificate that cannot serve as an authority")]
    Unusable,
}

impl Trust {
    /// Reads certificates in PEM form. They are trusted as roots: an authority's, or the receiver's own if it signed
    /// itself as one.
    pub fn of_pem(text: &str) -> Result<Self, TrustError> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(text.as_bytes()) {
            roots.add(certificate.map_err(|_| TrustError::Empty)?).map_err(|_| TrustError::Unusable)?;
        }
        if roots.is_empty() {
            return Err(TrustError::Empty);
        }
        let name = hex::encode(&Sha256::digest(text)[..8]).into();
        Ok(Self { config: config_of(roots).map_err(|_| TrustError::Unusable)?, name })
    }

    /// Tells it from others: connections are not shared between those that trust differently.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn connector(&self) -> TlsConnector {
        Arc::clone(&self.config).into()
    }
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Trust").field(&self.name).finish()
    }
}

fn config_of(roots: RootCertStore) -> Result<Arc<ClientConfig>, TlsError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn system_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    let system = rustls_native_certs::load_native_certs();
    for error in &system.errors {
        warn!(%error, "part of the system's certificates cannot be read");
    }
    roots.add_parsable_certificates(system.certs);
    if roots.is_empty() {
        warn!("the system has no root certificates, using Mozilla's");
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    roots
}

fn add_pem(roots: &mut RootCertStore, path: &Path) -> Result<(), TlsRootsError> {
    let read = |source| TlsRootsError::Read { path: path.to_owned(), source };
    let mut found = false;
    for certificate in CertificateDer::pem_file_iter(path).map_err(read)? {
        let added = roots.add(certificate.map_err(read)?);
        added.map_err(|source| TlsRootsError::Unusable { path: path.to_owned(), source })?;
        found = true;
    }
    if found { Ok(()) } else { Err(TlsRootsError::Empty(path.to_owned())) }
}

/// Says in a few words why a handshake failed, for the record of the attempt.
pub(super) fn describe(error: &io::Error) -> &'static str {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<TlsError>()) {
        Some(TlsError::InvalidCertificate(why)) => describe_certificate(why),
        Some(TlsError::PeerIncompatible(_)) => {
            "the receiver offers no protocol version or cipher that we accept"
        }
        Some(TlsError::AlertReceived(_)) => "the receiver refused the TLS handshake",
        Some(TlsError::InvalidMessage(_)) => "the receiver does not speak TLS",
        Some(_) => "TLS handshake failed",
        None => "connection lost during the TLS handshake",
    }
}

fn describe_certificate(why: &CertificateError) -> &'static str {
    use CertificateError as E;
    match why {
        E::Expired | E::ExpiredContext { .. } => "certificate expired",
        E::NotValidYet | E::NotValidYetContext { .. } => "certificate not valid yet",
        E::NotValidForName | E::NotValidForNameContext { .. } => "certificate is for another name",
        E::UnknownIssuer => "certificate issuer is not trusted",
        E::Revoked => "certificate was revoked",
        E::BadSignature => "certificate's signature is wrong",
        _ => "certificate is not valid",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_roots_file_must_hold_certificates() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let path = vec![file.path().to_owned()];
        assert!(matches!(client_config(&path), Err(TlsRootsError::Empty(_))));
        file.write_all(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
        assert!(matches!(client_config(&path), Err(TlsRootsError::Unusable { .. })));
        assert!(matches!(client_config(&["/nonexistent/roots.pem".into()]), Err(TlsRootsError::Read { .. })));
    }

    #[test]
    fn trust_is_read_from_certificates_alone() {
        assert_eq!(Trust::of_pem("").unwrap_err(), TrustError::Empty);
        assert_eq!(Trust::of_pem("nothing").unwrap_err(), TrustError::Empty);
        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert_eq!(Trust::of_pem(broken).unwrap_err(), TrustError::Unusable);
    }
}

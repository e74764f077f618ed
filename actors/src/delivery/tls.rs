//! TLS towards receivers: whom we trust, what we show, and what a failed handshake is called.

mod identity;
mod trust;

pub use self::identity::{Identity, IdentityError};
pub use self::trust::{Trust, TrustError, Trusts};

use rustls::{AlertDescription, CertificateError, ClientConfig, Error as TlsError, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::{self, PemObject};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
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

/// Trusts these alone, and shows nothing.
pub(crate) fn config_of(roots: RootCertStore) -> Result<Arc<ClientConfig>, TlsError> {
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
        Some(TlsError::AlertReceived(alert)) => {
            describe_alert(*alert).unwrap_or("the receiver refused the TLS handshake")
        }
        Some(TlsError::InvalidMessage(_)) => "the receiver does not speak TLS",
        Some(_) => "TLS handshake failed",
        None => "connection lost during the TLS handshake",
    }
}

/// What an error on a connection says of the certificate that we showed. TLS 1.3 tells it only when the handshake is
/// over on our side: in the place of an answer.
pub(super) fn refusal(error: &io::Error) -> Option<&'static str> {
    match error.get_ref()?.downcast_ref::<TlsError>()? {
        TlsError::AlertReceived(alert) => describe_alert(*alert),
        _ => None,
    }
}

fn describe_alert(alert: AlertDescription) -> Option<&'static str> {
    use AlertDescription as A;
    match alert {
        A::CertificateRequired | A::NoCertificate => Some("the receiver asks for a client certificate"),
        A::BadCertificate
        | A::UnsupportedCertificate
        | A::CertificateRevoked
        | A::CertificateExpired
        | A::CertificateUnknown
        | A::UnknownCA
        | A::AccessDenied => Some("the receiver refused a certificate"),
        _ => None,
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
}

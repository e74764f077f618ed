//! TLS of the server itself: its certificate, and whose certificates it asks for.

use arc_swap::ArcSwap;
use rustls::{
    RootCertStore, ServerConfig,
    crypto::{CryptoProvider, ring::default_provider},
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{self, PemObject},
    },
    server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier},
    sign::CertifiedKey,
};
use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};
use tracing::{info, warn};

/// The PEM files that hold what is needed.
#[derive(Clone, Debug)]
pub(crate) struct TlsFiles {
    /// The certificate, and those between it and a root.
    pub(crate) cert: PathBuf,
    /// Its private key.
    pub(crate) key: PathBuf,
    /// Authorities whose certificates clients must have, if they must.
    pub(crate) client_ca: Option<PathBuf>,
}

/// Why a file cannot serve, and which setting names it.
#[derive(Debug)]
pub(crate) struct ServerTlsError {
    /// The setting.
    pub(crate) setting: &'static str,
    problem: String,
}

impl std::error::Error for ServerTlsError {}

impl fmt::Display for ServerTlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.problem)
    }
}

/// What is shown to clients. A new certificate takes the place of the old one without a restart.
pub(crate) struct ServerTls {
    files: TlsFiles,
    certificate: Arc<Certificate>,
    clients: Option<Arc<RootCertStore>>,
}

/// The certificate in force.
#[derive(Debug)]
struct Certificate(ArcSwap<CertifiedKey>);

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

impl ServerTls {
    /// Reads all of them.
    pub(crate) fn load(files: TlsFiles) -> Result<Self, ServerTlsError> {
        let certificate = Arc::new(Certificate(ArcSwap::from_pointee(certified_key(&files)?)));
        let clients = files.client_ca.as_deref().map(authorities).transpose()?.map(Arc::new);
        Ok(Self { files, certificate, clients })
    }

    /// For the listener: TLS 1.2 and 1.3.
    pub(crate) fn config(&self) -> Result<ServerConfig, rustls::Error> {
        let provider = provider();
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider));
        let builder = builder.with_safe_default_protocol_versions()?;
        let builder = match &self.clients {
            None => builder.with_no_client_auth(),
            Some(roots) => {
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::clone(roots), provider).build();
                let verifier = verifier.map_err(|error| rustls::Error::General(error.to_string()))?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        Ok(builder.with_cert_resolver(Arc::clone(&self.certificate) as Arc<dyn ResolvesServerCert>))
    }

    /// Reads the certificate again, for the handshakes from now on. One that cannot serve changes nothing.
    pub(crate) fn reload(&self) {
        match certified_key(&self.files) {
            Ok(key) => {
                self.certificate.0.store(Arc::new(key));
                info!("shows the certificate that was read again");
            }
            Err(error) => warn!(setting = error.setting, %error, "goes on with the certificate that it had"),
        }
    }
}

/// The certificate with its key.
pub(crate) fn certified_key(files: &TlsFiles) -> Result<CertifiedKey, ServerTlsError> {
    let chain = certificates(&files.cert, "server.tls_cert")?;
    let key = PrivateKeyDer::from_pem_file(&files.key);
    let key = key.map_err(|error| unreadable("server.tls_key", &files.key, &error))?;
    CertifiedKey::from_der(chain, key, &provider()).map_err(|error| ServerTlsError {
        setting: "server.tls_key",
        problem: format!("does not go with `server.tls_cert`: {error}"),
    })
}

/// The one that the whole program uses.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(default_provider())
}

fn certificates(path: &Path, setting: &'static str) -> Result<Vec<CertificateDer<'static>>, ServerTlsError> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let found = read.map_err(|error| unreadable(setting, path, &error))?;
    if found.is_empty() {
        return Err(ServerTlsError {
            setting,
            problem: format!("`{}` holds no certificate", path.display()),
        });
    }
    Ok(found)
}

fn authorities(path: &Path) -> Result<RootCertStore, ServerTlsError> {
    let setting = "server.tls_client_ca";
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path, setting)? {
        roots.add(certificate).map_err(|error| ServerTlsError {
            setting,
            problem: format!("a certificate in `{}` cannot serve as an authority: {error}", path.display()),
        })?;
    }
    Ok(roots)
}

fn unreadable(setting: &'static str, path: &Path, error: &pem::Error) -> ServerTlsError {
    ServerTlsError { setting, problem: format!("cannot read `{}`: {error}", path.display()) }
}

//! An authority of the tests' own, so that receivers can be reached by `https://127.0.0.1`.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned,
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
    server::WebPkiClientVerifier,
};
use std::{
    io::{self, Write as _},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    sync::{Arc, LazyLock},
    time::Duration,
};
use tempfile::TempDir;

/// An authority, and a certificate of it for 127.0.0.1 that servers and clients may show.
pub(crate) struct Authority {
    /// `roots.pem`, `cert.pem` and `key.pem`.
    folder: TempDir,
    config: Arc<ServerConfig>,
}

static AUTHORITY: LazyLock<Authority> = LazyLock::new(Authority::new);

impl Authority {
    pub(crate) fn new() -> Self {
        Self::with(|_| ())
    }

    /// With a certificate that is over.
    pub(crate) fn ended() -> Self {
        Self::with(|params| params.not_after = date_time_ymd(2021, 1, 1))
    }

    fn with(change: impl FnOnce(&mut CertificateParams)) -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("an authority");

        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("parameters");
        change(&mut params);
        let certificate = params.signed_by(&key, &issuer).expect("a certificate");
        let folder = tempfile::tempdir().expect("a folder");
        let write = |name: &str, text: String| {
            std::fs::write(folder.path().join(name), text).expect("a file");
        };
        write("roots.pem", issuer.pem());
        write("cert.pem", certificate.pem());
        write("key.pem", key.serialize_pem());

        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("its key");
        let builder = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
        let builder = builder.expect("protocol versions").with_no_client_auth();
        let config = builder.with_single_cert(vec![certificate.der().clone()], key).expect("a configuration");
        Self { folder, config: Arc::new(config) }
    }

    /// One of its files.
    pub(crate) fn pem(&self, name: &str) -> String {
        std::fs::read_to_string(self.folder().join(name)).expect("a file")
    }

    /// Shows its certificate, and asks for one of `clients`.
    pub(crate) fn demanding(&self, clients: &Self) -> Arc<ServerConfig> {
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(clients.roots()), provider());
        let verifier = verifier.build().expect("an authority");
        let builder = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
        let builder = builder.expect("protocol versions").with_client_cert_verifier(verifier);
        let (certificate, key) = self.pair();
        Arc::new(builder.with_single_cert(vec![certificate], key).expect("a configuration"))
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        let own = CertificateDer::from_pem_file(self.folder().join("roots.pem")).expect("a root");
        roots.add(own).expect("a root");
        roots
    }

    fn pair(&self) -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
        let certificate = CertificateDer::from_pem_file(self.folder().join("cert.pem")).expect("one");
        (certificate, PrivateKeyDer::from_pem_file(self.folder().join("key.pem")).expect("a key"))
    }

    /// Where its files are.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A connection that trusts this authority alone, and shows the certificate of `identity`.
    pub(crate) fn connect(
        &self,
        address: SocketAddr,
        identity: Option<&Self>,
    ) -> io::Result<StreamOwned<ClientConnection, TcpStream>> {
        let builder = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
        let builder = builder.expect("protocol versions").with_root_certificates(self.roots());
        let config = match identity {
            None => builder.with_no_client_auth(),
            Some(identity) => {
                let (certificate, key) = identity.pair();
                builder.with_client_auth_cert(vec![certificate], key).expect("a pair")
            }
        };
        let name = ServerName::IpAddress(address.ip().into());
        let connection = ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        let mut stream = StreamOwned::new(connection, stream);
        stream.flush()?;
        Ok(stream)
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// The file for `--tls-roots`.
pub(crate) fn roots() -> PathBuf {
    AUTHORITY.folder().join("roots.pem")
}

/// The one that [`roots`] trusts.
pub(crate) fn authority() -> &'static Authority {
    &AUTHORITY
}

/// What a server that asks for no certificate shows.
pub(crate) fn serving() -> Arc<ServerConfig> {
    Arc::clone(&AUTHORITY.config)
}

/// The server's side of a connection. The handshake runs with the first read.
pub(crate) fn accept(
    config: Arc<ServerConfig>,
    stream: TcpStream,
) -> StreamOwned<ServerConnection, TcpStream> {
    StreamOwned::new(ServerConnection::new(config).expect("a connection"), stream)
}

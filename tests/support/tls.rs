//! An authority of the tests' own, so that receivers can be reached by `https://127.0.0.1`.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned,
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
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
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("an authority");

        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("parameters");
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
        let mut roots = RootCertStore::empty();
        let own = CertificateDer::from_pem_file(self.folder().join("roots.pem")).expect("a root");
        roots.add(own).expect("a root");
        let builder = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
        let builder = builder.expect("protocol versions").with_root_certificates(roots);
        let config = match identity {
            None => builder.with_no_client_auth(),
            Some(identity) => {
                let cert = CertificateDer::from_pem_file(identity.folder().join("cert.pem")).expect("one");
                let key = PrivateKeyDer::from_pem_file(identity.folder().join("key.pem")).expect("a key");
                builder.with_client_auth_cert(vec![cert], key).expect("a pair")
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

/// The server's side of a connection. The handshake runs with the first read.
pub(crate) fn accept(stream: TcpStream) -> StreamOwned<ServerConnection, TcpStream> {
    let connection = ServerConnection::new(Arc::clone(&AUTHORITY.config)).expect("a connection");
    StreamOwned::new(connection, stream)
}

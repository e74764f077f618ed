//! An authority of the tests' own, so that receivers can be reached by `https://127.0.0.1`.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{ServerConfig, ServerConnection, StreamOwned, pki_types::PrivateKeyDer};
use std::{
    io::Write as _,
    net::TcpStream,
    path::Path,
    sync::{Arc, LazyLock},
};
use tempfile::NamedTempFile;

struct Authority {
    roots: NamedTempFile,
    config: Arc<ServerConfig>,
}

static AUTHORITY: LazyLock<Authority> = LazyLock::new(|| {
    let mut params = CertificateParams::new(Vec::new()).expect("parameters");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().expect("a key");
    let issuer = CertifiedIssuer::self_signed(params, key).expect("an authority");
    let mut roots = NamedTempFile::new().expect("a file");
    roots.write_all(issuer.pem().as_bytes()).expect("its certificate");

    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("parameters");
    let certificate = params.signed_by(&key, &issuer).expect("a certificate");
    let key = PrivateKeyDer::try_from(key.serialize_der()).expect("its key");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.expect("protocol versions").with_no_client_auth();
    let config = builder.with_single_cert(vec![certificate.der().clone()], key).expect("a configuration");
    Authority { roots, config: Arc::new(config) }
});

/// The file for `--tls-roots`.
pub(crate) fn roots() -> &'static Path {
    AUTHORITY.roots.path()
}

/// The server's side of a connection. The handshake runs with the first read.
pub(crate) fn accept(stream: TcpStream) -> StreamOwned<ServerConnection, TcpStream> {
    let connection = ServerConnection::new(Arc::clone(&AUTHORITY.config)).expect("a connection");
    StreamOwned::new(connection, stream)
}

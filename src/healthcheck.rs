//! `ledgerhook healthcheck`: asks the server on this data folder whether it is ready.

use crate::{
    app,
    config::Config,
    server_tls::{TlsFiles, certified_key, provider},
};
use anyhow::Context as _;
use rustls::{
    CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, Error, SignatureScheme,
    StreamOwned,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use std::{
    io::{Read, Write},
    net::{IpAddr, SocketAddr, TcpStream},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

/// For the connection, and for each answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Asks `GET /readyz` of the address that the server wrote down.
pub(crate) fn run(config: &Config) -> anyhow::Result<ExitCode> {
    let address = address(config)?;
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)
        .with_context(|| format!("nothing answers on {address}"))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let status = match config.server.tls_files() {
        None => ask(&mut stream, address)?,
        Some(files) => ask(&mut secured(&files, stream, address.ip())?, address)?,
    };
    println!("{status}");
    Ok(if status.split(' ').nth(1) == Some("200") { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn address(config: &Config) -> anyhow::Result<SocketAddr> {
    let path = config.log.data_dir.join(app::ADDRESS_FILE);
    let address = std::fs::read_to_string(&path)
        .with_context(|| format!("no server has written its address to `{}`", path.display()))?;
    let mut address: SocketAddr = address.trim().parse().context("the address file holds no address")?;
    if address.ip().is_unspecified() {
        let loopback: IpAddr =
            if address.is_ipv4() { [127, 0, 0, 1].into() } else { [0, 0, 0, 0, 0, 0, 0, 1].into() };
        address.set_ip(loopback);
    }
    Ok(address)
}

/// The status line.
fn ask(stream: &mut (impl Read + Write), address: SocketAddr) -> anyhow::Result<String> {
    write!(stream, "GET /readyz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    let read = stream.take(64 << 10).read_to_end(&mut answer);
    // A server that ends TLS without saying so has answered all the same.
    anyhow::ensure!(read.is_ok() || !answer.is_empty(), "the server did not answer in time");
    Ok(String::from_utf8_lossy(&answer).lines().next().unwrap_or_default().to_owned())
}

/// TLS to the server of these very files: its certificate is known, whatever name it has, and is shown where the server
/// asks for one.
fn secured(
    files: &TlsFiles,
    stream: TcpStream,
    ip: IpAddr,
) -> anyhow::Result<StreamOwned<ClientConnection, TcpStream>> {
    let own = Arc::new(certified_key(files)?);
    let provider = provider();
    let pinned = Arc::new(Pinned {
        own: own.cert.first().cloned().unwrap_or(CertificateDer::from(vec![])),
        provider: Arc::clone(&provider),
    });
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let builder = builder.dangerous().with_custom_certificate_verifier(pinned);
    let config = match files.client_ca {
        None => builder.with_no_client_auth(),
        Some(_) => builder.with_client_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(own))),
    };
    let connection = ClientConnection::new(Arc::new(config), ServerName::IpAddress(ip.into()))?;
    Ok(StreamOwned::new(connection, stream))
}

/// Trusts one certificate.
#[derive(Debug)]
struct Pinned {
    own: CertificateDer<'static>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if *shown == self.own {
            return Ok(ServerCertVerified::assertion());
        }
        Err(CertificateError::ApplicationVerificationFailure.into())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

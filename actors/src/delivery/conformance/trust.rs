//! Whom we believe to be the receiver.

use super::receiver::{OK, Peer, Receiver};
use super::{Make, Names, assert_ended_at_deadline, config, patient, post};
use crate::delivery::client::ClientConfig;
use crate::delivery::tls::{self, Identity, Trusts};
use crate::delivery::{Exchange, Request};
use crate::domain::outcome::OutcomeClass::{HttpError, ProtocolError, Success, Timeout, TlsError};
use crate::secrets::Secret;
use bytes::Bytes;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};
use rustls::server::WebPkiClientVerifier;
use rustls::{HandshakeKind, RootCertStore, ServerConfig, SupportedProtocolVersion, version};
use rustls_pki_types::PrivateKeyDer;
use std::io::Write;
use std::sync::Arc;
use tokio::join;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

const NAME: &str = "hooks.example.com";

/// An authority that the client trusts, through a roots file as an operator would give it.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    config: ClientConfig,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        // A name of its own, or another one's certificates would look forged and not foreign.
        params.distinguished_name.push(DnType::CommonName, hex::encode(&key.public_key_raw()[..8]));
        let issuer = CertifiedIssuer::self_signed(params, key).unwrap();
        let mut roots = tempfile::NamedTempFile::new().unwrap();
        roots.write_all(issuer.pem().as_bytes()).unwrap();
        let mut config = config();
        config.tls = tls::client_config(&[roots.path().to_owned()]).unwrap();
        config.names = Arc::new(Names::with(NAME, &["127.0.0.1"]));
        Self { issuer, config }
    }

    fn acceptor(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> TlsAcceptor {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        change(&mut params);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        acceptor(certificate.der().clone(), &key)
    }
}

impl Authority {
    /// Asks clients for a certificate of this authority.
    fn demanding(&self, version: &'static SupportedProtocolVersion) -> TlsAcceptor {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
        let builder =
            ServerConfig::builder_with_provider(provider).with_protocol_versions(&[version]).unwrap();
        let builder = builder.with_client_cert_verifier(verifier.build().unwrap());
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec![NAME.to_owned()]).unwrap();
        let certificate = certificate.signed_by(&key, &self.issuer).unwrap().der().clone();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        Arc::new(builder.with_single_cert(vec![certificate], key).unwrap()).into()
    }

    fn identity(&self) -> Identity {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec![]).unwrap().signed_by(&key, &self.issuer).unwrap();
        let key = Secret::new(key.serialize_pem());
        Identity::new(&Identity::read(&certificate.pem(), &key).unwrap(), &key).unwrap()
    }
}

fn acceptor(certificate: rustls_pki_types::CertificateDer<'static>, key: &KeyPair) -> TlsAcceptor {
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder =
        ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = builder.with_no_client_auth().with_single_cert(vec![certificate], key).unwrap();
    Arc::new(config).into()
}

async fn accept(receiver: &Receiver, acceptor: &TlsAcceptor) -> std::io::Result<Peer<TlsStream<TcpStream>>> {
    acceptor.accept(receiver.accept().await.stream).await.map(Peer::new)
}

fn url(receiver: &Receiver) -> String {
    format!("https://{NAME}:{}/hook", receiver.address.port())
}

pub(super) async fn https_is_carried_and_its_connection_reused(make: Make) {
    let (authority, receiver) = (Authority::new(), Receiver::bind().await);
    let transport = make(authority.config.clone());
    let acceptor = authority.acceptor(NAME, |_| ());
    let serve = async {
        let mut peer = accept(&receiver, &acceptor).await.unwrap();
        assert_eq!(peer.stream.get_ref().1.alpn_protocol(), None, "this receiver knows no ALPN");
        assert_eq!(peer.stream.get_ref().1.server_name(), Some(NAME));
        for size in [1 << 10, 1 << 20] {
            let request = peer.serve(OK).await;
            assert_eq!(request.body.len(), size);
            assert!(request.head.contains(&format!("\r\nHost: {NAME}:{}\r\n", receiver.address.port())));
        }
        peer
    };
    let send = async {
        for size in [1 << 10, 1 << 20] {
            let request = Request { body: Bytes::from(vec![b'x'; size]), ..patient(url(&receiver)) };
            let answer = transport.send(request).await;
            assert_eq!((answer.class, answer.excerpt.as_ref()), (Success, &b"ok"[..]), "{}", answer.detail);
            assert_eq!(answer.timings.tls.is_some(), size == 1 << 10);
        }
    };
    join!(serve, send);
    assert!(receiver.deserted());
}

pub(super) async fn tls_sessions_are_resumed(make: Make) {
    let (authority, receiver) = (Authority::new(), Receiver::bind().await);
    let acceptor = authority.acceptor(NAME, |_| ());
    let mut kinds = vec![];
    for _ in 0..2 {
        // Another arbiter's client: the sessions belong to the shared configuration.
        let transport = make(authority.config.clone());
        let serve = async {
            let mut peer = accept(&receiver, &acceptor).await.unwrap();
            peer.serve(OK).await;
            peer.stream.get_ref().1.handshake_kind().unwrap()
        };
        let (answer, kind) = join!(transport.send(patient(url(&receiver))), serve);
        assert_eq!(answer.class, Success);
        kinds.push(kind);
    }
    assert_eq!(kinds, [HandshakeKind::Full, HandshakeKind::Resumed]);
}

async fn refused(make: Make, config: ClientConfig, acceptor: TlsAcceptor) -> Exchange {
    let (transport, receiver) = (make(config), Receiver::bind().await);
    let (answer, accepted) = join!(transport.send(patient(url(&receiver))), accept(&receiver, &acceptor));
    assert!(accepted.is_err(), "the client ended the handshake");
    answer
}

pub(super) async fn url_15_untrusted_certificates_are_tls_errors(make: Make) {
    let authority = Authority::new();
    let expired = authority.acceptor(NAME, |params| {
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2021, 1, 1);
    });
    let early = authority.acceptor(NAME, |params| params.not_before = date_time_ymd(2999, 1, 1));
    let other_name = authority.acceptor("other.example.com", |_| ());
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![NAME.to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, NAME);
    let self_signed = acceptor(params.self_signed(&key).unwrap().der().clone(), &key);
    for (acceptor, detail) in [
        (expired, "certificate expired"),
        (early, "certificate not valid yet"),
        (other_name, "certificate is for another name"),
        (self_signed, "certificate issuer is not trusted"),
    ] {
        let answer = refused(make, authority.config.clone(), acceptor).await;
        assert_eq!((answer.class, &*answer.detail), (TlsError, detail));
    }
}

pub(super) async fn url_15_old_protocols_are_tls_errors(make: Make) {
    // A ServerHello of TLS 1.0: version, random, no session, TLS_RSA_WITH_AES_128_CBC_SHA, no compression.
    let mut hello = vec![22, 3, 1, 0, 42, 2, 0, 0, 38, 3, 1];
    hello.extend([7; 32]);
    hello.extend([0, 0x00, 0x2f, 0]);
    let alert = vec![21, 3, 1, 0, 2, 2, 70]; // fatal, protocol_version
    let plain = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n".to_vec();
    for (bytes, detail) in [
        (hello, "the receiver offers no protocol version or cipher that we accept"),
        (alert, "the receiver refused the TLS handshake"),
        (plain, "the receiver does not speak TLS"),
        (vec![], "connection lost during the TLS handshake"),
    ] {
        let (transport, receiver) = (make(Authority::new().config), Receiver::bind().await);
        let serve = async {
            let mut peer = receiver.accept().await;
            peer.stream.readable().await.unwrap();
            peer.say(&bytes).await;
            let _ = tokio::io::AsyncWriteExt::shutdown(&mut peer.stream).await;
            peer.closed().await;
        };
        let (answer, ()) = join!(transport.send(patient(url(&receiver))), serve);
        assert_eq!((answer.class, &*answer.detail), (TlsError, detail));
    }
}

pub(super) async fn a_stuck_handshake_ends_at_the_deadline(make: Make) {
    let (transport, receiver) = (make(Authority::new().config), Receiver::bind().await);
    let serve = async { receiver.accept().await.closed().await };
    let (answer, ()) = join!(transport.send(post(url(&receiver))), serve);
    assert_eq!((answer.class, &*answer.detail), (Timeout, "deadline passed during the TLS handshake"));
    assert_ended_at_deadline(&answer);
}

pub(super) async fn cut_bodies_and_early_answers_over_tls(make: Make) {
    let (authority, receiver) = (Authority::new(), Receiver::bind().await);
    let transport = make(authority.config.clone());
    let acceptor = authority.acceptor(NAME, |_| ());
    let cut = async {
        let mut peer = accept(&receiver, &acceptor).await.unwrap();
        peer.serve("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc").await;
    };
    let (answer, ()) = join!(transport.send(patient(url(&receiver))), cut);
    assert_eq!((answer.class, &*answer.detail), (ProtocolError, "the answer's body was cut short"));

    let request = Request { body: Bytes::from(vec![b'x'; 32 << 20]), ..patient(url(&receiver)) };
    let early = async {
        let mut peer = accept(&receiver, &acceptor).await.unwrap();
        peer.say("HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n").await;
        peer.closed().await;
    };
    let (answer, ()) = join!(transport.send(request), early);
    assert_eq!((answer.class, answer.status), (HttpError, Some(413)));
}

pub(super) async fn a_certificate_is_shown_to_those_who_ask_and_by_its_own_requests_alone(make: Make) {
    let (authority, receiver) = (Authority::new(), Receiver::bind().await);
    let (acceptor, trusts) =
        (authority.demanding(&version::TLS13), Trusts::new(authority.config.tls.clone()));
    let own_root = trusts.of_pem(&authority.issuer.pem()).unwrap();
    let (mine, theirs) = (authority.identity(), authority.identity());
    let transport = make(authority.config.clone());
    // Each on a connection and in sessions of its own, whoever was there before; and then once more.
    let ways = [
        trusts.join(None, Some(&mine)),
        trusts.join(None, Some(&theirs)),
        trusts.join(Some(&own_root), Some(&mine)),
    ];
    let mut peers = vec![];
    for trust in &ways {
        let request = Request { trust: trust.clone(), ..patient(url(&receiver)) };
        let serve = async {
            let mut peer = accept(&receiver, &acceptor).await.unwrap();
            peer.serve(OK).await;
            peer
        };
        let (answer, peer) = join!(transport.send(request), serve);
        assert_eq!(answer.class, Success, "{}", answer.detail);
        assert_eq!(peer.stream.get_ref().1.handshake_kind(), Some(HandshakeKind::Full));
        peers.push(peer);
    }
    let shown: Vec<_> =
        peers.iter().map(|peer| peer.stream.get_ref().1.peer_certificates().unwrap()[0].clone()).collect();
    assert!(shown[0] != shown[1] && shown[0] == shown[2], "each shows its own");
    for (trust, peer) in ways.iter().zip(&mut peers) {
        let request = Request { trust: trust.clone(), ..patient(url(&receiver)) };
        let (answer, _) = join!(transport.send(request), peer.serve(OK));
        assert_eq!(answer.class, Success, "{}", answer.detail);
    }
    assert!(receiver.deserted(), "connections are shared by those who show the same");

    // Another arbiter's client resumes the session of the same certificate.
    let receiver = Receiver::bind().await;
    let (again, request) =
        (make(authority.config), Request { trust: ways[0].clone(), ..patient(url(&receiver)) });
    let serve = async {
        let mut peer = accept(&receiver, &acceptor).await.unwrap();
        peer.serve(OK).await;
        peer.stream.get_ref().1.handshake_kind()
    };
    let (answer, kind) = join!(again.send(request), serve);
    assert_eq!((answer.class, kind), (Success, Some(HandshakeKind::Resumed)));
}

/// TLS 1.2 tells it during the handshake, 1.3 when the client takes it for over.
pub(super) async fn a_refused_certificate_is_a_tls_error(make: Make) {
    for version in [&version::TLS12, &version::TLS13] {
        let authority = Authority::new();
        let trusts = Trusts::new(authority.config.tls.clone());
        let strange = trusts.join(None, Some(&Authority::new().identity()));
        let mut details = vec![];
        for trust in [None, strange] {
            let (transport, receiver) = (make(authority.config.clone()), Receiver::bind().await);
            let acceptor = authority.demanding(version);
            let request = Request { trust, ..patient(url(&receiver)) };
            let (answer, accepted) = join!(transport.send(request), accept(&receiver, &acceptor));
            assert!(accepted.is_err(), "it was let in");
            assert_eq!(answer.class, TlsError, "{}", answer.detail);
            details.push(answer.detail);
        }
        assert_eq!(details[1], "the receiver refused a certificate");
        if *version == version::TLS13 {
            assert_eq!(details[0], "the receiver asks for a client certificate");
        }
    }
}

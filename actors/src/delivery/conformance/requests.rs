//! What arrives at the receiver.

use super::receiver::{OK, Receiver};
use super::{Make, Names, config, headers, patient};
use crate::delivery::Request;
use crate::domain::outcome::OutcomeClass::{Success, TemplateError};
use bytes::Bytes;
use std::sync::Arc;
use tokio::join;

pub(super) async fn the_request_arrives_exactly_as_asked_for(make: Make) {
    let (transport, receiver) = (make(config()), Receiver::bind().await);
    let request = Request {
        method: "PUT",
        url: format!("http://{}/a%20b/ü?q={{x}}|&r=%7C", receiver.address).parse().unwrap(),
        headers: headers([
            ("User-Agent", "ledgerhook/1.0"),
            ("X-Afftok-Signature", "sha256=abc"),
            ("x-lower", "café"),
            ("X-Twice", "1"),
            ("X-Twice", "2"),
        ]),
        ..patient(receiver.url())
    };
    let (answer, arrived) = join!(transport.send(request), async { receiver.accept().await.serve(OK).await });
    assert_eq!(answer.class, Success);
    let expected = format!(
        "PUT /a%20b/%C3%BC?q={{x}}|&r=%7C HTTP/1.1\r\nHost: {}\r\nUser-Agent: ledgerhook/1.0\r\n\
         X-Afftok-Signature: sha256=abc\r\nx-lower: café\r\nX-Twice: 1\r\nX-Twice: 2\r\n\
         Accept-Encoding: identity\r\nContent-Length: 7\r\n\r\n",
        receiver.address
    );
    assert_eq!(arrived.head, expected);
    assert_eq!(arrived.body, b"{\"n\":1}");
}

pub(super) async fn bodies_arrive_whole_with_their_length(make: Make) {
    let (transport, receiver) = (make(config()), Receiver::bind().await);
    let sizes = [0, 1, 8 << 10, 1 << 20, 16 << 20];
    let serve = async {
        let mut peer = receiver.accept().await;
        for size in sizes {
            let arrived = peer.serve(OK).await;
            assert!(arrived.head.contains(&format!("\r\nContent-Length: {size}\r\n")));
            assert!(arrived.body.len() == size && arrived.body.iter().all(|&byte| byte == b'x'));
        }
    };
    let send = async {
        for (size, method) in sizes.into_iter().zip(["GET", "POST", "PUT", "PATCH", "DELETE"]) {
            let request = Request { method, body: Bytes::from(vec![b'x'; size]), ..patient(receiver.url()) };
            assert_eq!(transport.send(request).await.class, Success);
        }
    };
    join!(serve, send);
}

pub(super) async fn control_characters_in_headers_are_refused_before_anything_is_sent(make: Make) {
    let (transport, receiver) = (make(config()), Receiver::bind().await);
    for (name, value) in [
        ("X-A", "a\r\nX-Injected: b"),
        ("X-A", "a\nb"),
        ("X-A", "a\0b"),
        ("X-A\r\nX-Injected", "b"),
        ("X A", "b"),
        ("", "b"),
        ("Host", "evil.example.com"),
        ("Content-Length", "0"),
        ("Transfer-Encoding", "chunked"),
    ] {
        let request = Request { headers: headers([(name, value)]), ..patient(receiver.url()) };
        let answer = transport.send(request).await;
        assert_eq!((answer.class, answer.status), (TemplateError, None), "{name:?}: {value:?}");
        assert!(!answer.detail.is_empty() && !answer.detail.contains("evil"));
    }
    assert!(receiver.deserted());
}

pub(super) async fn timings_tell_where_the_time_went(make: Make) {
    let mut config = config();
    config.names = Arc::new(Names::with("hooks.example.com", &["127.0.0.1"]));
    let (transport, receiver) = (make(config), Receiver::bind().await);
    let url = format!("http://hooks.example.com:{}/", receiver.address.port());
    let serve = async {
        let mut peer = receiver.serve(OK).await;
        peer.serve(OK).await;
    };
    let send = async {
        let first = transport.send(patient(&url)).await.timings;
        assert!(
            first.dns.is_some()
                && first.connect.is_some()
                && first.tls.is_none()
                && first.first_byte.is_some()
        );
        let phases = [first.dns, first.connect, first.first_byte, first.body];
        assert!(phases.into_iter().flatten().sum::<std::time::Duration>() <= first.total);
        let second = transport.send(patient(&url)).await.timings;
        assert_eq!((second.dns, second.connect, second.tls), (None, None, None), "the connection was reused");
        assert!(second.first_byte.is_some());
    };
    join!(serve, send);
}

//! When connections are kept, when they are given up, and that no request is ever sent twice.

use super::receiver::{OK, Peer, Receiver, soon};
use super::{Make, config, patient, post};
use crate::delivery::Request;
use crate::domain::outcome::OutcomeClass::{ProtocolError, Success, Timeout};
use bytes::Bytes;
use futures_util::future::join_all;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::join;
use tokio::net::TcpStream;

pub(super) async fn rcv_9_a_reset_is_one_failed_attempt_and_not_sent_again(make: Make) {
    // Before a byte of the request was read.
    let (transport, receiver) = (make(config()), Receiver::bind().await);
    let (answer, ()) =
        join!(transport.send(patient(receiver.url())), async { receiver.accept().await.reset() });
    assert_eq!(answer.class, ProtocolError, "{}", answer.detail);
    assert!(receiver.deserted());

    // In the middle of the request's body.
    let receiver = Receiver::bind().await;
    let request = Request { body: Bytes::from(vec![b'x'; 8 << 20]), ..patient(receiver.url()) };
    let serve = async {
        let peer = receiver.accept().await;
        soon(peer.stream.readable()).await.unwrap();
        peer.reset();
    };
    let (answer, ()) = join!(transport.send(request), serve);
    assert_eq!((answer.class, &*answer.detail), (ProtocolError, "connection reset before an answer"));
    assert!(receiver.deserted());

    // After the request; in the middle of the answer's head; in the middle of its body.
    for (part, class, detail) in [
        ("", ProtocolError, "connection reset before an answer"),
        ("HTTP/1.1 200 OK\r\nContent-", ProtocolError, "connection reset inside the answer's head"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", ProtocolError, "the answer's body was cut short"),
        ("HTTP/1.1 200 OK\r\n\r\nabc", ProtocolError, "the answer's body was cut short"),
    ] {
        let receiver = Receiver::bind().await;
        let serve = async {
            let peer = receiver.serve(part).await;
            tokio::time::sleep(Duration::from_millis(50)).await; // a reset overtakes what was not read yet
            peer.reset();
        };
        let (answer, ()) = join!(transport.send(patient(receiver.url())), serve);
        assert_eq!((answer.class, &*answer.detail), (class, detail));
        assert!(receiver.deserted());
    }
}

pub(super) async fn rcv_10_a_lost_answer_is_a_failure(make: Make) {
    for (part, detail) in [
        ("", "connection closed before an answer"),
        ("HTTP/1.1 200", "connection closed inside the answer's head"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n", "connection closed inside the answer's head"),
        ("HTTP/1.1 100 Continue\r\n\r\n", "connection closed before an answer"),
    ] {
        let (transport, receiver) = (make(config()), Receiver::bind().await);
        let (answer, ()) =
            join!(transport.send(patient(receiver.url())), async { drop(receiver.serve(part).await) });
        assert_eq!((answer.class, answer.status, &*answer.detail), (ProtocolError, None, detail));
        assert!(receiver.deserted());
    }
}

pub(super) async fn rcv_11_slow_receivers_do_not_hold_up_others(make: Make) {
    let (transport, slow, quick) = (make(config()), Receiver::bind().await, Receiver::bind().await);
    let crowd = join_all((0..150).map(|_| transport.send(post(slow.url()))));
    let other = async {
        let (answer, _peer) = join!(transport.send(patient(quick.url())), quick.serve(OK));
        assert_eq!(answer.class, Success);
        assert!(answer.timings.total < super::TIMEOUT, "the other host was not waited for");
    };
    let (answers, ()) = join!(crowd, other);
    assert!(answers.iter().all(|answer| answer.class == Timeout));
}

pub(super) async fn rcv_12_a_poisoned_request_fails_alone(make: Make) {
    let (transport, receiver) = (make(config()), Receiver::bind().await);
    let serve = async {
        for _ in 0..3 {
            let mut peer = receiver.serve(OK).await;
            let poisoned = peer.request().await;
            assert_eq!(poisoned.body, b"poison");
            peer.reset();
        }
    };
    let send = async {
        for _ in 0..3 {
            assert_eq!(transport.send(patient(receiver.url())).await.class, Success);
            let poison = Request { body: Bytes::from_static(b"poison"), ..patient(receiver.url()) };
            assert_eq!(transport.send(poison).await.class, ProtocolError);
        }
    };
    join!(serve, send);
}

pub(super) async fn requests_share_a_connection_and_get_their_own_answers(make: Make) {
    let (transport, receiver) = (make(config()), Receiver::bind().await);
    let serve = async {
        let mut peer = receiver.accept().await;
        for n in 0..20 {
            let body = "x".repeat(n * 1000);
            let answer = match n % 3 {
                0 => format!("HTTP/1.1 {} X\r\nContent-Length: {}\r\n\r\n{body}", 210 + n, body.len()),
                1 => format!(
                    "HTTP/1.1 {} X\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\nT: x\r\n\r\n",
                    210 + n,
                    body.len()
                ),
                _ => "HTTP/1.1 204 X\r\n\r\n".to_owned(),
            };
            peer.serve(answer).await;
        }
        peer
    };
    let send = async {
        for n in 0..20 {
            let answer = transport.send(patient(receiver.url())).await;
            let (status, length) = if n % 3 == 2 { (204, 0) } else { (210 + n, usize::from(n) * 1000) };
            assert_eq!((answer.status, answer.excerpt.len()), (Some(status), length.min(16 << 10)));
        }
    };
    join!(serve, send);
    assert!(receiver.deserted());
}

pub(super) async fn d5_idle_connections_are_closed_by_themselves(make: Make) {
    let mut config = config();
    config.idle_timeout = Duration::from_millis(300);
    let transport = make(config);
    let hosts = join_all((0..100).map(|_| Receiver::bind())).await;
    let peers = join_all(hosts.iter().map(|host| async {
        let (answer, peer) = join!(transport.send(patient(host.url())), host.serve(OK));
        assert_eq!(answer.class, Success);
        peer
    }));
    join_all(peers.await.iter_mut().map(Peer::closed)).await;
    let again = join_all(
        hosts.iter().map(|host| async { join!(transport.send(patient(host.url())), host.serve(OK)).0.class }),
    );
    assert!(again.await.iter().all(|&class| class == Success));
}

pub(super) async fn d5_connections_closed_by_receivers_do_not_pile_up(make: Make) {
    let mut config = config();
    config.idle_timeout = Duration::from_millis(300);
    let transport = make(config);
    let hosts = join_all((0..100).map(|_| Receiver::bind())).await;
    for host in &hosts {
        let (answer, peer) = join!(transport.send(patient(host.url())), host.serve(OK));
        assert_eq!(answer.class, Success);
        drop(peer);
    }
    let ports: Vec<_> = hosts.iter().map(|host| host.address.port()).collect();
    soon(async {
        while half_closed(&ports) > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await; // the kernel's table sends no events
        }
    })
    .await;
}

/// How many of our sockets to these ports wait in `CLOSE_WAIT`.
fn half_closed(ports: &[u16]) -> usize {
    const CLOSE_WAIT: &str = "08";
    let table = std::fs::read_to_string("/proc/self/net/tcp").unwrap();
    let waiting = table.lines().filter(|line| {
        let mut fields = line.split_whitespace().skip(2);
        let remote = fields.next().and_then(|address| address.split(':').nth(1));
        let port = remote.and_then(|port| u16::from_str_radix(port, 16).ok());
        fields.next() == Some(CLOSE_WAIT) && port.is_some_and(|port| ports.contains(&port))
    });
    waiting.count()
}

pub(super) async fn d6_leftover_bytes_end_the_connection(make: Make) {
    for leftover in ["HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nsmuggled", "\r\n", "x"] {
        let (transport, receiver) = (make(config()), Receiver::bind().await);
        let serve = async {
            let mut first = receiver.serve(format!("{OK}{leftover}")).await;
            first.closed().await;
            receiver.serve("HTTP/1.1 500 Own\r\nContent-Length: 0\r\n\r\n").await
        };
        let send = async {
            assert_eq!(transport.send(patient(receiver.url())).await.excerpt, "ok");
            assert_eq!(transport.send(patient(receiver.url())).await.status, Some(500));
        };
        join!(serve, send);
    }
}

pub(super) async fn unasked_bytes_between_requests_end_the_connection(make: Make) {
    let (transport, receiver) = (make(config()), Receiver::bind().await);
    let (answer, mut peer) = join!(transport.send(patient(receiver.url())), receiver.serve(OK));
    assert_eq!(answer.class, Success);
    peer.say("HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nsmuggled").await;
    let serve = receiver.serve("HTTP/1.1 500 Own\r\nContent-Length: 0\r\n\r\n");
    let (answer, _) = join!(transport.send(patient(receiver.url())), serve);
    assert_eq!(answer.status, Some(500));
}

pub(super) async fn a_connection_closed_while_idle_is_noticed_before_its_reuse(make: Make) {
    let (transport, receiver) = (make(config()), Receiver::bind().await);
    for _ in 0..50 {
        let (answer, peer) = join!(transport.send(patient(receiver.url())), receiver.serve(OK));
        assert_eq!(answer.class, Success, "{}", answer.detail);
        drop(peer); // and at once, before the reactor hears of it, the next request
    }
}

pub(super) async fn a_connection_is_given_up_before_its_receiver_does(make: Make) {
    let (transport, receiver) = (make(config()), Receiver::bind().await);
    let short = "HTTP/1.1 200 OK\r\nKeep-Alive: timeout=1\r\nContent-Length: 2\r\n\r\nok";
    let (answer, mut peer) = join!(transport.send(patient(receiver.url())), receiver.serve(short));
    assert_eq!(answer.class, Success);
    peer.closed().await;
}

pub(super) async fn nothing_is_reused_after_a_timeout(make: Make) {
    let (transport, receiver) = (make(config()), Receiver::bind().await);
    let (answer, mut first) = join!(transport.send(post(receiver.url())), receiver.serve(""));
    assert_eq!(answer.class, Timeout);
    first.closed().await;
    let (answer, _) = join!(transport.send(patient(receiver.url())), receiver.serve(OK));
    assert_eq!(answer.class, Success);
}

/// Serves requests in ways that tempt a client to take one answer for another's; each answer names its request.
async fn tempt(mut peer: Peer<TcpStream>) {
    while let Some(request) = peer.next_request().await {
        let id = String::from_utf8(request.body).unwrap();
        let (length, number) = (id.len(), id.parse::<u32>().unwrap());
        let sized = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{id}");
        let other = "HTTP/1.1 201 Other\r\nContent-Length: 5\r\n\r\nother";
        let (answer, stays) = match number.wrapping_mul(2_654_435_761) >> 29 {
            0 => (format!("HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 102 Wait\r\n\r\n{sized}"), true),
            1 => (
                format!(
                    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{length:x}\r\n{id}\r\n0\r\n\r\n"
                ),
                true,
            ),
            2 => (format!("HTTP/1.1 200 OK\r\n\r\n{id}"), false),
            3 => (format!("{sized}{other}"), true),
            4 => (format!("HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n{id}"), false),
            5 => (
                format!(
                    "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: {length}\r\n\r\n{id}{other}"
                ),
                true,
            ),
            6 => (sized, false),
            _ => (sized, true),
        };
        if peer.stream.write_all(answer.as_bytes()).await.is_err() || !stays {
            return;
        }
    }
}

pub(super) async fn no_answer_ever_reaches_another_request(make: Make) {
    let (transport, receiver) = (make(config()), Receiver::bind().await);
    let url = receiver.url();
    let serve = actix::spawn(async move {
        loop {
            actix::spawn(tempt(receiver.accept().await));
        }
    });
    join_all((0..16).map(|task| {
        let (transport, url) = (&transport, &url);
        async move {
            for id in (0..150).map(|n| (task * 1000 + n).to_string()) {
                let request = Request { body: Bytes::from(id.clone()), ..patient(url) };
                let answer = transport.send(request).await;
                let own = answer.excerpt == id || answer.detail == "the answer's framing contradicts itself";
                // A request may run into a close that is still on its way: no answer, but never another's.
                assert!(answer.status.is_none() || (answer.status == Some(200) && own), "{id}: {answer:?}");
            }
        }
    }))
    .await;
    serve.abort();
}

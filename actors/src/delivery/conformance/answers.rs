//! What counts as an answer, and as which.

use super::receiver::{OK, Receiver};
use super::{Make, config, patient};
use crate::delivery::{Exchange, Request};
use crate::domain::outcome::OutcomeClass::{HttpError, ProtocolError, Success};
use bytes::Bytes;
use tokio::join;

/// One exchange with a receiver that reads the request, says `bytes` and closes.
async fn exchange(make: Make, bytes: impl AsRef<[u8]>) -> Exchange {
    let (transport, receiver) = (make(config()), Receiver::bind().await);
    join!(transport.send(patient(receiver.url())), async { drop(receiver.serve(bytes).await) }).0
}

pub(super) async fn rcv_6_every_2xx_is_delivered(make: Make) {
    for status in [200, 201, 202, 203, 204, 205, 206, 207, 208, 226, 299] {
        let answer = exchange(make, format!("HTTP/1.1 {status} Fine\r\nConnection: close\r\n\r\n")).await;
        assert_eq!((answer.class, answer.status, answer.detail.as_str()), (Success, Some(status), ""));
    }
}

pub(super) async fn rcv_7_every_other_status_is_an_error_with_its_number(make: Make) {
    for status in [300, 304, 400, 401, 403, 404, 405, 408, 410, 413, 422, 429, 500, 502, 503, 504, 599, 999] {
        let answer = exchange(make, format!("HTTP/1.1 {status} No\r\nContent-Length: 0\r\n\r\n")).await;
        assert_eq!((answer.class, answer.status), (HttpError, Some(status)));
        assert_eq!(answer.detail, format!("HTTP {status}"));
    }
}

pub(super) async fn rcv_8_retry_after_is_handed_on_as_written(make: Make) {
    for value in ["7", "Wed, 21 Oct 2015 07:28:00 GMT", "0", "-5", "1e9", "99999999999999999999", "soon"] {
        let answer =
            exchange(make, format!("HTTP/1.1 503 X\r\nretry-after: {value}\r\nContent-Length: 0\r\n\r\n"))
                .await;
        assert_eq!(answer.retry_after.as_deref(), Some(value));
    }
    let long = format!("HTTP/1.1 429 X\r\nRetry-After: {}\r\nContent-Length: 0\r\n\r\n", "9".repeat(5000));
    assert_eq!(exchange(make, long).await.retry_after.unwrap().len(), 64);
}

pub(super) async fn rcv_13_only_the_status_counts(make: Make) {
    let answer = exchange(make, "HTTP/1.1 200 OK\r\nContent-Length: 16\r\n\r\n{\"error\":\"no!!\"}").await;
    assert_eq!((answer.class, answer.excerpt.as_ref()), (Success, &b"{\"error\":\"no!!\"}"[..]));
}

pub(super) async fn url_5_redirects_are_not_followed(make: Make) {
    let canary = Receiver::bind_to("127.0.0.2:0").await;
    for target in [&*canary.url(), "file:///etc/passwd", "/again", "http://169.254.169.254/latest"] {
        for status in [301, 302, 303, 307, 308] {
            let head = format!("HTTP/1.1 {status} Moved\r\nLocation: {target}\r\nContent-Length: 0\r\n\r\n");
            let (transport, receiver) = (make(config()), Receiver::bind().await);
            let (answer, _peer) = join!(transport.send(patient(receiver.url())), receiver.serve(head));
            assert_eq!((answer.class, answer.status), (HttpError, Some(status)));
            assert!(receiver.deserted());
        }
    }
    assert!(canary.deserted());
}

pub(super) async fn d1_interim_answers_are_skipped_and_never_shift_answers(make: Make) {
    let (transport, receiver) = (make(config()), Receiver::bind().await);
    let own = |n: usize| format!("HTTP/1.1 {} X\r\nContent-Length: 1\r\n\r\n{n}", 210 + n);
    let serve = async {
        let mut peer = receiver.accept().await;
        peer.request().await;
        peer.say("HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n").await;
        tokio::time::sleep(std::time::Duration::from_millis(20)).await; // the interim answer travels alone
        peer.say(own(0)).await;
        for n in 1..6 {
            let interim = ["HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 102 Processing\r\nA: b\r\n\r\n"][n % 2];
            peer.serve(format!("{interim}{interim}{}", own(n))).await;
        }
    };
    let send = async {
        for n in 0..6 {
            let answer = transport.send(patient(receiver.url())).await;
            assert_eq!(answer.status, Some(210 + n), "{}", answer.detail);
            assert_eq!(answer.excerpt, n.to_string());
        }
    };
    join!(serve, send);
}

pub(super) async fn d2_a_body_without_length_ends_with_its_connection(make: Make) {
    let (transport, receiver) = (make(config()), Receiver::bind().await);
    let serve = async {
        receiver.serve("HTTP/1.1 200 OK\r\n\r\nall of it").await;
        receiver.serve("HTTP/1.1 201 Next\r\nContent-Length: 0\r\n\r\n").await
    };
    let send = async {
        let first = transport.send(patient(receiver.url())).await;
        assert_eq!((first.class, first.excerpt.as_ref(), &*first.detail), (Success, &b"all of it"[..], ""));
        assert_eq!(transport.send(patient(receiver.url())).await.status, Some(201));
    };
    join!(serve, send);
}

pub(super) async fn rcv_9_a_cut_answer_is_no_success(make: Make) {
    for framing in
        ["Content-Length: 100\r\n\r\n0123456789", "Transfer-Encoding: chunked\r\n\r\n64\r\n0123456789"]
    {
        let answer = exchange(make, format!("HTTP/1.1 200 OK\r\n{framing}")).await;
        assert_eq!(
            (answer.class, answer.status, answer.excerpt.as_ref()),
            (ProtocolError, Some(200), &b"0123456789"[..])
        );
        assert_eq!(answer.detail, "the answer's body was cut short");
        let answer = exchange(make, format!("HTTP/1.1 500 No\r\n{framing}")).await;
        assert_eq!((answer.class, &*answer.detail), (HttpError, "HTTP 500; the answer's body was cut short"));
    }
    let answer =
        exchange(make, "HTTP/1.1 202 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nnonsense\r\n").await;
    assert_eq!((answer.class, &*answer.detail), (Success, "the answer's chunks are malformed"));
    assert_eq!(answer.excerpt, "abc", "what came before is kept");
}

pub(super) async fn d4_an_early_answer_to_a_large_body_is_read(make: Make) {
    for stays_open in [true, false] {
        let (transport, receiver) = (make(config()), Receiver::bind().await);
        let request = Request { body: Bytes::from(vec![b'x'; 32 << 20]), ..patient(receiver.url()) };
        let serve = async {
            let mut peer = receiver.accept().await;
            peer.say("HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n").await;
            if stays_open {
                peer.closed().await; // the rest of the body is never waited for
            } else {
                drop(peer); // closing with unread bytes resets the connection
            }
        };
        let (answer, ()) = join!(transport.send(request), serve);
        assert_eq!((answer.class, answer.status), (HttpError, Some(413)), "{}", answer.detail);
        assert!(receiver.deserted());
    }
}

pub(super) async fn contradictory_framing_leaves_the_status_and_ends_the_connection(make: Make) {
    for framing in [
        "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "Content-Length: 2\r\nContent-Length: 3\r\n\r\nok",
        "Content-Length: 2\r\nContent-Length: 2\r\n\r\nok",
        "Content-Length: -2\r\n\r\nok",
    ] {
        let (transport, receiver) = (make(config()), Receiver::bind().await);
        let serve = async {
            let mut peer = receiver.serve(format!("HTTP/1.1 200 OK\r\n{framing}")).await;
            peer.closed().await;
            receiver.serve(OK).await
        };
        let send = async {
            let first = transport.send(patient(receiver.url())).await;
            assert_eq!((first.class, &*first.detail), (Success, "the answer's framing contradicts itself"));
            assert_eq!(transport.send(patient(receiver.url())).await.excerpt, "ok");
        };
        join!(serve, send);
    }
}

pub(super) async fn garbage_is_a_protocol_error_at_once(make: Make) {
    for garbage in [
        "SSH-2.0-OpenSSH_9.6\r\n",
        "<html>hello</html>",
        "HTTP/2.0 200 OK\r\n\r\n",
        "HTTP/1.1 2xx OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nbroken header\r\n\r\n",
        "\0\0\0",
    ] {
        let (transport, receiver) = (make(config()), Receiver::bind().await);
        let serve = async { receiver.serve(garbage).await.closed().await };
        let (answer, ()) = join!(transport.send(patient(receiver.url())), serve);
        assert_eq!((answer.class, answer.status), (ProtocolError, None), "{garbage:?}");
        assert_eq!(answer.detail, "the answer is not HTTP/1.1");
    }
    let answer = exchange(make, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n").await;
    assert_eq!(answer.class, ProtocolError);
}

pub(super) async fn old_servers_are_understood(make: Make) {
    let answer = exchange(make, "HTTP/1.0 200 OK\r\n\r\nold").await;
    assert_eq!((answer.class, answer.excerpt.as_ref()), (Success, &b"old"[..]));
    let answer = exchange(make, "HTTP/1.1 200 OK\nContent-Length: 3\n\nold").await;
    assert_eq!((answer.class, answer.excerpt.as_ref()), (Success, &b"old"[..]));
}

//! One deadline over everything, and caps on what is read.

use super::receiver::{Receiver, soon};
use super::{Make, assert_ended_at_deadline, config, patient, post};
use crate::delivery::Request;
use crate::domain::outcome::OutcomeClass::{ProtocolError, Success, Timeout};
use bytes::Bytes;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::join;

pub(super) async fn rcv_1_a_silent_receiver_costs_the_timeout_and_no_more(make: Make) {
    let (transport, receiver) = (make(config()), Receiver::bind().await);
    let serve = async {
        let mut peer = receiver.accept().await;
        peer.request().await;
        peer.closed().await;
    };
    let (answer, ()) = join!(transport.send(post(receiver.url())), serve);
    assert_eq!((answer.class, answer.status), (Timeout, None));
    assert_eq!(answer.detail, "deadline passed while waiting for the answer");
    assert_ended_at_deadline(&answer);
    assert!(receiver.deserted());
}

pub(super) async fn rcv_2_a_dripping_head_ends_at_the_deadline(make: Make) {
    let (transport, receiver) = (make(config()), Receiver::bind().await);
    let serve = async {
        let mut peer = receiver.serve("HTTP/1.1 200 OK\r\nX-Slow: ").await;
        peer.drip(b"z", Duration::from_millis(20)).await;
    };
    let (answer, ()) = join!(transport.send(post(receiver.url())), serve);
    assert_eq!((answer.class, answer.status), (Timeout, None));
    assert_ended_at_deadline(&answer);
}

pub(super) async fn rcv_3_a_dripping_body_ends_at_the_deadline_and_counts_by_its_status(make: Make) {
    for head in ["Content-Length: 100000", "Transfer-Encoding: chunked", "X-Until: close"] {
        let (transport, receiver) = (make(config()), Receiver::bind().await);
        let piece: &[u8] = if head.contains("chunked") { b"1\r\nz\r\n" } else { b"z" };
        let serve = async {
            let mut peer = receiver.serve(format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n")).await;
            peer.drip(piece, Duration::from_millis(30)).await;
        };
        let (answer, ()) = join!(transport.send(post(receiver.url())), serve);
        assert_eq!((answer.class, answer.status), (Success, Some(200)));
        assert_eq!(answer.detail, "the answer's body was not complete at the deadline");
        assert!(answer.excerpt.starts_with(b"zzz"));
        assert_ended_at_deadline(&answer);
    }
}

/// Streams a body for ever; returns how much the client took before it closed the connection.
async fn flood(receiver: &Receiver, head: &str) -> usize {
    let mut peer = receiver.serve(head).await;
    let block = vec![b'z'; 16 << 10];
    let mut taken = 0;
    while let Ok(count @ 1..) = soon(peer.stream.write(&block)).await {
        taken += count;
    }
    taken
}

async fn assert_read_to_the_cap(make: Make, head: &str) {
    let (transport, receiver) = (make(config()), Receiver::bind().await);
    let (answer, taken) = join!(transport.send(patient(receiver.url())), flood(&receiver, head));
    assert_eq!((answer.class, answer.status), (Success, Some(200)));
    assert_eq!(answer.excerpt.len(), 16 << 10);
    assert!(taken < 16 << 20, "{taken} bytes fitted into the buffers of both kernels");
}

pub(super) async fn rcv_4_endless_bodies_are_read_to_the_cap(make: Make) {
    assert_read_to_the_cap(make, "HTTP/1.1 200 OK\r\n\r\n").await;
    // One chunk that never ends.
    assert_read_to_the_cap(make, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffff\r\n")
        .await;
}

pub(super) async fn rcv_4_ten_declared_gigabytes_are_read_to_the_cap(make: Make) {
    assert_read_to_the_cap(make, "HTTP/1.1 200 OK\r\nContent-Length: 10000000000\r\n\r\n").await;
}

pub(super) async fn rcv_5_compressed_bodies_are_not_inflated(make: Make) {
    for encoding in ["gzip", "br", "zstd", "deflate"] {
        let (transport, receiver) = (make(config()), Receiver::bind().await);
        let packed = [0x1f, 0x8b, 0x08, 0x00, 0xff, 0x00];
        let mut answer =
            format!("HTTP/1.1 200 OK\r\nContent-Encoding: {encoding}\r\nContent-Length: 6\r\n\r\n")
                .into_bytes();
        answer.extend(packed);
        let serve = async { receiver.accept().await.serve(answer).await };
        let (answer, request) = join!(transport.send(patient(receiver.url())), serve);
        assert_eq!((answer.class, answer.excerpt.as_ref()), (Success, &packed[..]));
        assert!(request.head.contains("\r\nAccept-Encoding: identity\r\n"));
    }
}

pub(super) async fn interim_floods_and_oversized_heads_are_refused(make: Make) {
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "A: b\r\n".repeat(97));
    let long = format!("HTTP/1.1 200 OK\r\nA: {}\r\n\r\n", "x".repeat(70 << 10));
    let endless = format!("HTTP/1.1 200 OK\r\nA: {}", "x".repeat(200 << 10));
    let flood = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n".repeat(1000);
    for bytes in [many, long, endless, flood] {
        let (transport, receiver) = (make(config()), Receiver::bind().await);
        let serve = async {
            let mut peer = receiver.accept().await;
            peer.request().await;
            // The client may hang up before all is written.
            let _ = peer.stream.write_all(bytes.as_bytes()).await;
            peer.closed().await;
        };
        let (answer, ()) = join!(transport.send(patient(receiver.url())), serve);
        assert_eq!((answer.class, answer.status), (ProtocolError, None), "{}", answer.detail);
    }
}

pub(super) async fn a_receiver_that_does_not_read_costs_the_timeout(make: Make) {
    let (transport, receiver) = (make(config()), Receiver::bind().await);
    let request = Request { body: Bytes::from(vec![b'x'; 64 << 20]), ..post(receiver.url()) };
    let (answer, _peer) = join!(transport.send(request), receiver.accept());
    assert_eq!(answer.class, Timeout);
    assert_ended_at_deadline(&answer);
}

//! The load: events over keep-alive connections, each waiting for its answer.

use crate::admin::event_type;
use crate::plan::Plan;
use crate::receiver::Seen;
use crate::wire::{message, status};
use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Posts all events of the plan; answers how many were refused.
pub(crate) async fn post_all(plan: &Arc<Plan>, to: SocketAddr, seen: &Arc<Seen>) -> usize {
    let (next, began) = (Arc::new(AtomicUsize::new(0)), Instant::now());
    let senders: Vec<_> = (0..plan.connections)
        .map(|connection| {
            tokio::spawn(send(connection, Arc::clone(plan), to, Arc::clone(seen), Arc::clone(&next), began))
        })
        .collect();
    let mut refused = 0;
    for sender in senders {
        refused += sender.await.expect("a sender");
    }
    refused
}

async fn send(
    connection: usize,
    plan: Arc<Plan>,
    to: SocketAddr,
    seen: Arc<Seen>,
    next: Arc<AtomicUsize>,
    began: Instant,
) -> usize {
    let mut socket = TcpStream::connect(to).await.expect("a connection");
    socket.set_nodelay(true).expect("nodelay");
    // Each connection has as many resources of its own, so that the order of its answers is the order of their events.
    let mine = (plan.resources / plan.connections).max(1);
    let (mut request, mut answer) = (Vec::with_capacity(4096), Vec::with_capacity(4096));
    let (mut body, mut turn, mut refused) = (Vec::with_capacity(4096), 0, 0);
    let expected = if plan.bare { 200 } else { 202 };
    loop {
        let number = next.fetch_add(1, Relaxed);
        if number >= plan.events {
            return refused;
        }
        if plan.rate > 0 {
            let due = began + Duration::from_secs_f64(number as f64 / plan.rate as f64);
            tokio::time::sleep_until(due.into()).await;
        }
        let resource = plan.first_resource + (connection + (turn % mine) * plan.connections) % plan.resources;
        turn += 1;
        write_event(&mut body, &plan, number, resource);
        request.clear();
        let path = if plan.bare { "/0" } else { "/api/events" };
        write!(
            request,
            "POST {path} HTTP/1.1\r\nHost: engine\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n",
            plan.key,
            body.len()
        )
        .expect("memory");
        request.extend_from_slice(&body);
        seen.posted(number);
        socket.write_all(&request).await.expect("it reads");
        answer.clear();
        while message(&answer).is_none() {
            assert!(socket.read_buf(&mut answer).await.expect("it answers") > 0, "it closed");
        }
        if status(&answer) != expected {
            refused += 1;
            if refused == 1 {
                eprintln!("refused: {}", String::from_utf8_lossy(&answer));
            }
        }
    }
}

fn write_event(body: &mut Vec<u8>, plan: &Plan, number: usize, resource: usize) {
    body.clear();
    let kind = if plan.apart { number % plan.pipelines } else { 0 };
    let kind = event_type(plan, kind);
    let id = plan.first_event + number;
    write!(
        body,
        r#"{{"id":"evt_{id:012}","type":"{kind}","resource":"r{resource}","data":{{"conversion_id":"conv_{number}","amount":49.99,"currency":"USD","n":{number},"r":{resource},"note":""#
    )
    .expect("memory");
    body.resize(body.len().max(plan.bytes.saturating_sub(3)), b'x');
    body.extend_from_slice(b"\"}}");
}

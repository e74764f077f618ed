//! Sets the engine up: the pipelines that deliver to the receiver.

use crate::plan::Plan;
use crate::wire::{message, status};
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The type of events that the pipeline with this number takes.
pub(crate) fn event_type(_: &Plan, _: usize) -> &'static str {
    "conversion.created"
}

/// # Panics
/// If the engine refuses one.
pub(crate) async fn make_pipelines(plan: &Plan, receiver: SocketAddr) {
    let mut socket = TcpStream::connect(plan.engine).await.expect("the engine");
    let state = if plan.paused { "paused" } else { "active" };
    for number in 0..plan.pipelines {
        let body = format!(
            r#"{{"name":"load {number}","trigger_type":"conversion","status":"{state}","steps":[{{"name":"sink","order":1,"url":"http://{receiver}/{number}","signature_mode":"hmac","ed25519_signature":{},"signing_key":"load-load-load-load-load-load"}}]}}"#,
            plan.ed25519
        );
        let answer = post(&mut socket, plan, "/api/admin/webhooks/pipelines", &body).await;
        assert_eq!(status(&answer), 201, "no pipeline: {}", String::from_utf8_lossy(&answer));
    }
}

async fn post(socket: &mut TcpStream, plan: &Plan, path: &str, body: &str) -> Vec<u8> {
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: engine\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        plan.key,
        body.len()
    );
    socket.write_all(request.as_bytes()).await.expect("the engine reads");
    let mut answer = Vec::new();
    while message(&answer).is_none() {
        assert!(socket.read_buf(&mut answer).await.expect("the engine answers") > 0, "the engine closed");
    }
    answer
}

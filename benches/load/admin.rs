//! Sets the engine up: the pipelines that deliver to the receiver.

use crate::plan::Plan;
use crate::wire::{message, status};
use std::borrow::Cow;
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const PIPELINES: &str = "/api/admin/webhooks/pipelines";

/// The type of events that the pipeline with this number takes.
pub(crate) fn event_type(plan: &Plan, pipeline: usize) -> Cow<'static, str> {
    if plan.apart { format!("load.kind{pipeline}").into() } else { "conversion.created".into() }
}

/// Answers with the ids of the pipelines.
///
/// # Panics
/// If the engine refuses one.
pub(crate) async fn make_pipelines(plan: &Plan, receiver: SocketAddr) -> Vec<String> {
    let mut engine = TcpStream::connect(plan.engine).await.expect("the engine");
    let state = if plan.paused { "paused" } else { "active" };
    let mut ids = Vec::new();
    for number in 0..plan.pipelines {
        let kind = event_type(plan, number);
        let trigger = if plan.apart { &*kind } else { "conversion" };
        let body = format!(
            r#"{{"name":"load {number}","trigger_type":"{trigger}","status":"{state}","steps":[{{"name":"sink","order":1,"url":"http://{receiver}/{number}","signature_mode":"hmac","ed25519_signature":{},"signing_key":"load-load-load-load-load-load"}}]}}"#,
            plan.ed25519
        );
        let answer = call(&mut engine, plan, "POST", PIPELINES, &body).await;
        let text = String::from_utf8_lossy(&answer);
        assert_eq!(status(&answer), 201, "no pipeline: {text}");
        let id = text.split_once(r#""id":""#).and_then(|(_, rest)| rest.split_once('"')).expect("an id").0;
        ids.push(id.to_owned());
    }
    ids
}

/// # Panics
/// If the engine refuses.
pub(crate) async fn resume(plan: &Plan, ids: &[String]) {
    let mut engine = TcpStream::connect(plan.engine).await.expect("the engine");
    for id in ids {
        let answer =
            call(&mut engine, plan, "PATCH", &format!("{PIPELINES}/{id}"), r#"{"status":"active"}"#).await;
        assert_eq!(status(&answer), 200, "not resumed: {}", String::from_utf8_lossy(&answer));
    }
}

async fn call(engine: &mut TcpStream, plan: &Plan, method: &str, path: &str, body: &str) -> Vec<u8> {
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: engine\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        plan.key,
        body.len()
    );
    engine.write_all(request.as_bytes()).await.expect("the engine reads");
    let mut answer = Vec::new();
    while message(&answer).is_none() {
        assert!(engine.read_buf(&mut answer).await.expect("the engine answers") > 0, "the engine closed");
    }
    answer
}

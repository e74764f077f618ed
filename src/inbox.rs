//! `--inbox`: a receiver on loopback for first steps. It prints what comes in, and whether the signature verifies.

use crate::receiver::{self, Request};
use anyhow::Context as _;
use std::net::{SocketAddr, TcpListener};

/// What the inbox verifies with. It guards nothing: whoever reads the source knows it.
const SIGNING_KEY: &str = "the-inbox-on-loopback-knows-this";

/// Serves in the system of this thread; answers with the address.
pub(crate) fn open(address: SocketAddr) -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind(address).with_context(|| format!("no inbox can listen on {address}"))?;
    let address = listener.local_addr()?;
    actix_web::rt::spawn(receiver::serve(listener, |request| {
        let verified = request.verifies(SIGNING_KEY);
        println!("inbox: {}", describe(request, verified));
        if verified { 200 } else { 401 }
    }));
    Ok(address)
}

fn describe(request: &Request, verified: bool) -> String {
    let event: serde_json::Value = serde_json::from_slice(&request.body).unwrap_or_default();
    let kind = event["type"].as_str().unwrap_or("(no type)").escape_default();
    let id = request.header("webhook-id").escape_default();
    let verdict = if verified { "signature verified" } else { "the signature is WRONG" };
    format!("{kind} {id}, attempt {}, {verdict}", request.attempt())
}

/// The line that makes a pipeline to the inbox and posts a first event.
pub(crate) fn first_steps(server: &str, inbox: SocketAddr, key: &str) -> String {
    let auth = format!("-H \"Authorization: Bearer {key}\"");
    let pipeline = serde_json::json!({
        "name": "First steps",
        "trigger_type": "conversion",
        "steps": [{
            "name": "Inbox",
            "order": 1,
            "url": format!("http://{inbox}/webhooks/afftok"),
            "signature_mode": "hmac",
            "signing_key": SIGNING_KEY,
        }],
    });
    let event = serde_json::json!({
        "type": "conversion.created",
        "data": {"conversion_id": "conv_1", "amount": 49.99, "currency": "USD"},
    });
    format!(
        "curl -sS {auth} --json '{pipeline}' {server}/api/admin/webhooks/pipelines \
--next -sS {auth} --json '{event}' {server}/api/events"
    )
}

//! `--inbox`: a receiver on loopback for first steps. It prints what comes in, and whether the signature verifies.

use crate::receiver::{self, Request};
use anyhow::Context as _;
use ledgerhook_actors::profile::Profile;
use serde_json::{Value, json};
use std::net::{SocketAddr, TcpListener};

/// What the inbox verifies with. It guards nothing: whoever reads the source knows it.
const SIGNING_KEY: &str = "the-inbox-on-loopback-knows-this";

/// The tenant that the pasted line makes where the first one cannot call the inbox.
const OWN_TENANT: &str = "first_steps";

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
    let event: Value = serde_json::from_slice(&request.body).unwrap_or_default();
    let kind = ["type", "event"].iter().find_map(|key| event[key].as_str());
    let kind = kind.unwrap_or("(no type)").escape_default();
    let id = request.header("webhook-id").escape_default();
    let verdict = if verified { "signature verified" } else { "the signature is WRONG" };
    format!("{kind} {id}, attempt {}, {verdict}", request.attempt())
}

/// The line that makes a pipeline to the inbox and posts a first event, whatever contract the first tenant has. A
/// profile that takes `https://` alone cannot call the inbox: a tenant of its own does then.
pub(crate) fn first_steps(server: &str, inbox: SocketAddr, key: &str, profile: Option<&Profile>) -> String {
    let operator = format!("-H \"Authorization: Bearer {key}\"");
    let own = profile.filter(|profile| profile.https.permits("http", true));
    let (before, auth) = if own.is_some() {
        (String::new(), operator)
    } else {
        let tenant = json!({"id": OWN_TENANT, "name": "First steps", "profile": "afftok"});
        let before = format!(" {operator} --json '{tenant}' {server}/api/tenants --next -sS");
        (before, format!("{operator} -H \"X-Tenant-Id: {OWN_TENANT}\""))
    };
    let (trigger, event) = own.and_then(first_event).unwrap_or_else(conversion);
    let pipeline = json!({
        "name": "First steps",
        "trigger_type": trigger,
        "steps": [{
            "name": "Inbox",
            "order": 1,
            "url": format!("http://{inbox}/webhooks/{}", own.map_or("afftok", |profile| &profile.name)),
            "signature_mode": "hmac",
            "signing_key": SIGNING_KEY,
        }],
    });
    format!(
        "curl -sS{before} {auth} --json '{pipeline}' {server}/api/admin/webhooks/pipelines \
--next -sS {auth} --json '{event}' {server}/api/events"
    )
}

/// AffTok's, as the README shows it.
fn conversion() -> (String, Value) {
    let data = json!({"conversion_id": "conv_1", "amount": 49.99, "currency": "USD"});
    ("conversion".to_owned(), json!({"type": "conversion.created", "data": data}))
}

/// The first event of a profile that does not know conversions, without an id, so that it is new each time.
fn first_event(profile: &Profile) -> Option<(String, Value)> {
    if profile.trigger_aliases().any(|(alias, _)| alias == "conversion") {
        return None;
    }
    let kind = profile.event_types().next()?;
    let sample: Value = serde_json::from_str(&kind.samples.first()?.event).ok()?;
    // An apostrophe would end the shell's.
    let event = json!({"type": kind.name, "data": sample["data"]});
    (!event.to_string().contains('\'')).then(|| (kind.name.clone(), event))
}

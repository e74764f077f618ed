//! Every operation of `/openapi.json` is driven on a running engine, with the body that the document gives as an
//! example wherever that leads to something, and what comes back has the status, the headers and the form that are
//! declared.

use crate::support::{
    Answer, Api, Document, Receiver, Reply, TestServer, eventually,
    make::{Pipeline, conversion, post},
    tls::Authority,
};
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

/// Calls operations by their ids, and remembers which.
struct Driver {
    document: Document,
    driven: BTreeSet<String>,
}

/// What leads an operation somewhere: the parts of its path.
type Parts<'p> = &'p [(&'p str, &'p str)];

impl Driver {
    /// With the example as body, if the document has one.
    #[track_caller]
    fn call(&mut self, api: &Api, id: &str, parts: Parts<'_>) -> Value {
        let body =
            self.document.body_of(self.document.operation(id)).map(|schema| schema["examples"][0].clone());
        self.send(api, id, parts, body.as_ref())
    }

    #[track_caller]
    fn call_with(&mut self, api: &Api, id: &str, parts: Parts<'_>, body: &Value) -> Value {
        self.send(api, id, parts, Some(body))
    }

    #[track_caller]
    fn send(&mut self, api: &Api, id: &str, parts: Parts<'_>, body: Option<&Value>) -> Value {
        let operation = self.document.operation(id);
        let mut path = operation.path.to_owned();
        for (name, value) in parts {
            path = path.replace(&format!("{{{name}}}"), value);
        }
        assert!(!path.contains('{'), "{path}");
        let answer = api.send(&operation.method.to_uppercase(), &path, body);
        let data = self.check(id, &answer);
        self.driven.insert(id.to_owned());
        data
    }

    /// Holds an answer against what is declared.
    #[track_caller]
    fn check(&self, id: &str, answer: &Answer) -> Value {
        let declared = &self.document.operation(id).described["responses"];
        let (status, success) = declared
            .as_object()
            .and_then(|all| all.iter().find(|(status, _)| status.starts_with('2')))
            .expect("a success");
        assert_eq!(answer.status.to_string(), *status, "{id}: {answer:?}");
        for name in ["ETag", "Location"] {
            let is_there = answer.message.header(name).is_some();
            assert_eq!(is_there, success["headers"].get(name).is_some(), "{id}: {name}");
        }
        let content_type = answer.message.header("content-type").unwrap_or_default();
        let media_type = content_type.split(';').next().unwrap_or_default();
        let schema = &success["content"][media_type]["schema"];
        assert!(!schema.is_null(), "{id}: {media_type} is not declared");
        if media_type.contains("json") {
            assert_eq!(self.document.mismatch(schema, &answer.json), None, "{id}: {:#}", answer.json);
        }
        answer.json.get("data").unwrap_or(&answer.json).clone()
    }
}

fn text(value: &Value, key: &str) -> String {
    value[key].as_str().unwrap_or_else(|| panic!("no {key} in {value:#}")).to_owned()
}

/// Opens at the first failure and stays so.
fn brittle() -> Value {
    json!({"failures": 1, "resources": 1, "seconds": 0, "probe_seconds": 3600, "probe_seconds_max": 3600})
}

#[test]
fn every_operation_answers_as_it_is_declared() {
    let server = TestServer::https().start();
    let api = server.api();
    let mut driver = Driver { document: Document::of(&api), driven: BTreeSet::new() };
    let well = Receiver::https(|_| Reply::Status(200));
    let ill = Receiver::https(|_| Reply::Status(500));

    pipelines(&mut driver, &api, &well, &ill);
    deliveries(&mut driver, &api, &well, &ill);
    webhooks(&mut driver, &api, "", &ill, "conversion.created");
    for (profile, suffix, event) in [
        ("attribution", "AtWebhooks", "deal.attributed"),
        ("apexmediation", "AtV1Webhooks", "payout.failed"),
        ("social", "AtApiV1Webhooks", "post.published"),
    ] {
        webhooks(&mut driver, &api.tenant_of(profile, profile), suffix, &ill, event);
    }
    tenants(&mut driver, &api);
    operation(&mut driver, &api);
    follow(&mut driver, &api);

    let all: BTreeSet<String> = driver.document.operations().iter().map(|one| one.id.to_owned()).collect();
    let left: Vec<_> = all.difference(&driver.driven).collect();
    let hidden: &[&str] = if cfg!(feature = "chaos") { &[] } else { &["reviveActor"] };
    assert_eq!(left, hidden, "every declared operation is driven");
}

fn pipelines(driver: &mut Driver, api: &Api, well: &Receiver, ill: &Receiver) {
    let example = text(&driver.call(api, "createPipeline", &[]), "id");
    let id: Parts<'_> = &[("id", &example)];
    driver.call(api, "listPipelines", &[]);
    driver.call(api, "updatePipeline", id);
    driver.call_with(api, "patchPipeline", id, &json!({"description": "patched", "breaker": "off"}));
    let shown = driver.call(api, "getPipeline", id);
    let step = text(&shown["steps"][0], "id");
    driver.call(api, "getStepSecret", &[("id", &example), ("step", &step)]);
    driver.call(api, "rotateStepSecret", &[("id", &example), ("step", &step)]);
    driver.call(api, "getPipeline", id);
    driver.call(api, "deletePipeline", id);

    let sound = Pipeline::to(well).create(api);
    driver.call(api, "testPipeline", &[("id", &sound)]);
    driver.call_with(api, "testStep", &[], &json!({"url": well.url(), "body": {"a": 1}}));
    api.delete(&format!("/api/admin/webhooks/pipelines/{sound}")).data(200);

    let failover = Receiver::https(|_| Reply::Status(500));
    let broken =
        Pipeline::to(ill).retry(1, 0).with("failover_url", failover.url()).with("breaker", brittle());
    let broken = broken.create(api);
    let broken_path = format!("/api/admin/webhooks/pipelines/{broken}");
    // An open breaker holds what comes, so each address gets an event of its own.
    post(api, &conversion("evt_broken", "conv_broken", 0));
    let shown = eventually("the breaker opens", || {
        let shown = api.get(&broken_path).data(200);
        (shown["steps"][0]["endpoint"]["state"] == "open").then_some(shown)
    });
    driver.call(api, "getPipeline", &[("id", &broken)]);
    let step = text(&shown["steps"][0], "id");
    eventually("the breaker of the failover opens", || {
        (api.get(&broken_path).data(200)["failover_endpoint"]["state"] == "open").then_some(())
    });
    driver.call(api, "closeFailoverBreaker", &[("id", &broken)]);
    driver.call(api, "closeStepBreaker", &[("id", &broken), ("step", &step)]);
    api.delete(&broken_path).data(200);
    driver.call(api, "getStats", &[]);
    driver.call(api, "getEgressIps", &[]);
}

fn deliveries(driver: &mut Driver, api: &Api, well: &Receiver, ill: &Receiver) {
    let sound = Pipeline::to(well).create(api);
    let posted = text(&driver.call(api, "postEvent", &[]), "id");
    driver.call(api, "postEvents", &[]);
    driver.call_with(api, "postEvents", &[], &json!({"events": [{"type": "no.such"}]}));
    let delivery = eventually("it is delivered", || {
        let of_event = api.get(&format!("/api/events/{posted}")).data(200)["deliveries"].clone();
        let done = of_event.as_array()?.iter().find(|one| one["status"] == "delivered")?;
        Some(text(done, "id"))
    });
    driver.call(api, "getEvent", &[("id", &posted)]);
    driver.call(api, "listEvents", &[]);
    driver.call(api, "listDeliveries", &[]);
    driver.call(api, "getDelivery", &[("id", &delivery)]);
    driver.call(api, "retryDelivery", &[("id", &delivery)]);
    driver.call(api, "eraseEvent", &[("id", &posted)]);
    driver.call(api, "getEvent", &[("id", &posted)]);
    driver.call(api, "getDelivery", &[("id", &delivery)]);
    let sound_path = format!("/api/admin/webhooks/pipelines/{sound}");
    api.put(&sound_path, &json!({"status": "paused"})).data(200);
    post(api, &conversion("evt_held", "conv_held", 0));
    let held = eventually("it is held", || api.list("/api/deliveries?status=held", "items").pop());
    driver.call(api, "listLanes", &[("id", &sound)]);
    driver.call(api, "cancelDelivery", &[("id", &text(&held, "id"))]);
    driver.call(api, "listExecutions", &[]);
    api.delete(&sound_path).data(200);

    let halting = Pipeline::to(ill).retry(1, 0).with("on_exhausted", "halt").create(api);
    for (event, action) in [("evt_halt_1", "skipLane"), ("evt_halt_2", "resumeLane")] {
        post(api, &conversion(&format!("{event}_head"), event, 0));
        post(api, &conversion(event, event, 1));
        let lane = eventually("the lane is halted", || {
            let lanes = api.list(&format!("/api/pipelines/{halting}/lanes"), "items");
            let mut lanes = lanes.into_iter().filter(|lane| lane["held_reason"] == "halt");
            lanes.find(|lane| lane["resource"].as_str().is_some_and(|resource| resource.contains(event)))
        });
        driver.call(api, "listLanes", &[("id", &halting)]);
        driver.call(api, action, &[("id", &halting), ("resource", &text(&lane, "resource"))]);
    }
    let dead = eventually("there are dead letters", || {
        let items = api.list("/api/admin/webhooks/logs/dlq", "items");
        (items.len() >= 2).then_some(items)
    });
    driver.call(api, "listDeadLetters", &[]);
    driver.call(api, "listFailures", &[]);
    driver.call(api, "getDelivery", &[("id", &text(&dead[0], "delivery_id"))]);
    driver.call(api, "dismissDeadLetter", &[("id", &text(&dead[0], "id"))]);
    driver.call(api, "retryDeadLetter", &[("id", &text(&dead[1], "id"))]);
    api.delete(&format!("/api/admin/webhooks/pipelines/{halting}")).data(200);
}

fn webhooks(driver: &mut Driver, api: &Api, suffix: &str, ill: &Receiver, event: &str) {
    let named = |id: &str| format!("{id}{suffix}");
    let body = json!({
        "url": ill.url(), "events": [event], "breaker": brittle(),
        "retry_policy": {"max_attempts": 1}, "headers": {"X-Team": "a"},
    });
    let made = if suffix.is_empty() {
        let example = text(&driver.call(api, "createWebhook", &[]), "id");
        driver.call(api, "deleteWebhook", &[("id", &example)]);
        driver.call_with(api, "createWebhook", &[], &body)
    } else {
        driver.call_with(api, &named("createWebhook"), &[], &body)
    };
    let id = text(&made, "id");
    let id: Parts<'_> = &[("id", &id)];
    driver.call_with(api, &named("updateWebhook"), id, &json!({"name": "Updated"}));
    driver.call_with(api, &named("patchWebhook"), id, &json!({"headers": {"X-Other": "b"}}));
    driver.call(api, &named("listWebhooks"), &[]);
    driver.call(api, &named("testWebhook"), id);
    driver.call(api, &named("getWebhookSecret"), id);
    driver.call(api, &named("rotateWebhookSecret"), id);
    api.post("/api/events", &json!({"type": event, "data": {}})).data(202);
    let path = format!("/api/webhooks/{}", id[0].1);
    eventually("the breaker opens", || {
        let shown = api.get(&path);
        let shown = shown.json.get("data").unwrap_or(&shown.json).clone();
        (shown["endpoint"]["state"] == "open").then_some(())
    });
    driver.call(api, &named("getWebhook"), id);
    driver.call(api, &named("closeWebhookBreaker"), id);
    driver.call(api, &named("listWebhookLogs"), id);
    driver.call(api, &named("deleteWebhook"), id);
}

fn tenants(driver: &mut Driver, api: &Api) {
    let made = driver.call(api, "createTenant", &[]);
    let id = text(&made, "id");
    let id: Parts<'_> = &[("id", &id)];
    driver.call(api, "listTenants", &[]);
    driver.call(api, "updateTenant", id);
    driver.call(api, "patchTenant", id);
    driver.call(api, "getTenant", id);
    let key = text(&driver.call(api, "createKey", id), "id");
    driver.call(api, "listKeys", id);
    driver.call(api, "revokeKey", &[id[0], ("key", &key)]);
    let keys = driver.call(api, "rotateSigningKey", id);
    driver.call(api, "listSigningKeys", id);
    let key_set = text(&keys, "key_set");
    let key_set = key_set.rsplit('/').next().expect("a name");
    driver.call(&api.with_key(""), "getKeySet", &[("key_set", key_set)]);
    let identity = Authority::new();
    let pair = json!({"certificate": identity.pem("cert.pem"), "private_key": identity.pem("key.pem")});
    driver.call_with(api, "setClientCertificate", id, &pair);
    driver.call(api, "getClientCertificate", id);
    driver.call(api, "removeClientCertificate", id);
    driver.call(api, "eraseTenant", id);
    driver.call(api, "deleteTenant", id);

    let customers: Parts<'_> = &[("id", "apexmediation")];
    let key = text(&driver.call(api, "createJwtKey", customers), "id");
    driver.call(api, "listJwtKeys", customers);
    driver.call(api, "revokeJwtKey", &[customers[0], ("key", &key)]);
    driver.call(api, "listAudit", &[]);
    driver.call(api, "listEngineAudit", &[]);
}

fn operation(driver: &mut Driver, api: &Api) {
    for id in ["getState", "listLog", "verifyLog", "listActors", "applyRetention"] {
        driver.call(api, id, &[]);
    }
    for id in ["getLiveness", "getReadiness", "getMetrics", "getOpenapi", "getDocs"] {
        driver.call(&api.with_key(""), id, &[]);
    }
    let verbose = api.with_key("").get("/readyz?verbose");
    driver.check("getReadiness", &verbose);
    if cfg!(feature = "chaos") {
        let pipeline = Pipeline::to_url("https://example.com/hook").create(api);
        eventually("the actor is given up", || {
            let actors = api.list("/api/actors", "items");
            let actor = actors.iter().find(|actor| actor["id"] == *pipeline)?;
            api.send("POST", &format!("/api/actors/{pipeline}/panic"), None);
            (actor["state"] == "failed").then_some(())
        });
        driver.call(api, "listActors", &[]);
        driver.call(api, "reviveActor", &[("id", &pipeline)]);
    }
}

/// The stream has no end, so it is read by hand until its first event is whole.
fn follow(driver: &mut Driver, api: &Api) {
    let mut stream = TcpStream::connect(api.address).expect("a connection");
    stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a timeout");
    let head =
        format!("GET /api/stream?from=1 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\r\n", api.key);
    stream.write_all(head.as_bytes()).expect("a request");
    let (mut read, mut part) = (String::new(), [0; 4096]);
    while read.split("\r\n\r\n").nth(1).is_none_or(|body| !body.contains("\n\n")) {
        let length = stream.read(&mut part).expect("an event");
        assert!(length > 0, "the stream ended: {read}");
        read += &String::from_utf8_lossy(&part[..length]);
    }
    assert!(read.starts_with("HTTP/1.1 200") && read.contains("text/event-stream"), "{read}");
    let declared = &driver.document.operation("followLog").described["responses"]["200"]["content"];
    assert!(declared.get("text/event-stream").is_some());
    driver.driven.insert("followLog".to_owned());
}

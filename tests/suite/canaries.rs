//! Marked secrets in every feature, and a search for them in everything that comes out (SEC.1, SEC.2, SEC.6, TEN.6).

use crate::support::{
    Api, Receiver, Reply, TestServer, eventually, files,
    make::{Pipeline, conversion, post},
    server::OPERATOR_KEY,
};
use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Mutex,
};

const MASTER_KEY: &str = "4f1a9c03e77d52b86a0cf9e1d2345b7788990a1bc2d3e4f5061728394a5b6c7d";

/// By name.
struct Canaries(BTreeMap<&'static str, String>);

impl Canaries {
    fn new() -> Self {
        let names = [
            "signing_key",
            "bearer",
            "basic",
            "api_key_header",
            "cookie",
            "declared",
            "unnamed",
            "query",
            "failover_query",
            "env_header",
            "env_signing",
            "env_body",
            "env_url",
            "webhook_secret",
            "rotated",
            "jwt_key",
            "literal_header",
            "literal_query",
            "wrong_key",
            "url_password",
            "patched",
        ];
        // Long enough for a key; with what JSON, URLs and base64 write in other ways.
        let canaries = names.iter().enumerate();
        Self(canaries.map(|(n, name)| (*name, format!("canary-{n:02}-Zq7/{name}+w9=end"))).collect())
    }

    fn of(&self, name: &str) -> &str {
        &self.0[name]
    }

    /// As it stands in a URL.
    fn encoded(&self, name: &str) -> String {
        url::form_urlencoded::byte_serialize(self.of(name).as_bytes()).collect()
    }
}

/// What a text looks like where it was encoded.
fn forms(text: &str) -> Vec<Vec<u8>> {
    let bytes = text.as_bytes();
    let encoded: String = url::form_urlencoded::byte_serialize(bytes).collect();
    let mut forms = vec![
        text.to_owned(),
        hex::encode(bytes),
        hex::encode_upper(bytes),
        encoded.replace('+', "%20"),
        encoded.to_ascii_lowercase(),
        text.replace('/', "\\/"),
        text.chars().rev().collect(),
    ];
    // Base64 with any neighbours: what stands wholly inside of it.
    for shift in 0..3 {
        let text = STANDARD_NO_PAD.encode([&vec![b'x'; shift][..], bytes].concat());
        let inner = &text[(shift * 4).div_ceil(3) + 1..text.len() - 3];
        forms.push(inner.to_owned());
        forms.push(inner.replace('+', "-").replace('/', "_"));
    }
    forms.into_iter().map(String::into_bytes).collect()
}

/// Many needles in one walk: the log lines alone are some twenty megabytes.
struct Needles<'n> {
    /// By their first two bytes.
    heads: Vec<Vec<usize>>,
    all: Vec<(&'n str, Vec<u8>)>,
}

impl<'n> Needles<'n> {
    fn of(secrets: &[(&'n str, &str)]) -> Self {
        let forms = |(name, text): &(&'n str, &str)| {
            forms(text).into_iter().map(|form| (*name, form)).collect::<Vec<_>>()
        };
        let all: Vec<_> = secrets.iter().flat_map(forms).collect();
        let mut heads = vec![Vec::new(); 1 << 16];
        for (place, (_, form)) in all.iter().enumerate() {
            heads[usize::from(u16::from_be_bytes([form[0], form[1]]))].push(place);
        }
        Self { heads, all }
    }

    fn search(&self, haystack: &[u8]) -> Vec<&(&'n str, Vec<u8>)> {
        let mut found = Vec::new();
        let mut head = 0_u16;
        for (end, byte) in haystack.iter().enumerate() {
            head = head << 8 | u16::from(*byte);
            for &place in &self.heads[usize::from(head)] {
                if end > 0 && haystack[end - 1..].starts_with(&self.all[place].1) {
                    found.push(&self.all[place]);
                }
            }
        }
        found
    }
}

/// Everything that came out, by where.
#[derive(Default)]
struct Seen(Mutex<Vec<(String, Vec<u8>)>>);

impl Seen {
    fn note(&self, place: impl Into<String>, bytes: impl Into<Vec<u8>>) {
        self.0.lock().expect("what was seen").push((place.into(), bytes.into()));
    }

    fn get(&self, api: &Api, path: &str) -> Value {
        let answer = api.try_send("GET", path, None).expect("an answer");
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        self.note(path, answer.message.body.clone());
        answer.json["data"].clone()
    }

    /// Where any of these is in any form.
    fn leaks(&self, secrets: &[(&str, &str)]) -> BTreeSet<String> {
        let needles = Needles::of(secrets);
        let seen = self.0.lock().expect("what was seen");
        let mut leaks = BTreeSet::new();
        for (place, bytes) in &*seen {
            for (name, form) in needles.search(bytes) {
                leaks.insert(format!("{name} in {place} as {}", String::from_utf8_lossy(form)));
            }
        }
        leaks
    }
}

/// A search that cannot find would let everything pass.
#[test]
fn the_search_finds_every_form() {
    let secret = "canary-00-Zq7/x+w9=end";
    for form in forms(secret) {
        let seen = Seen::default();
        seen.note("here", [b"before ", &form[..], b" behind"].concat());
        assert!(!seen.leaks(&[("x", secret)]).is_empty(), "{}", String::from_utf8_lossy(&form));
    }
    for before in ["", "a", "ab", "abc"] {
        let seen = Seen::default();
        seen.note("here", STANDARD_NO_PAD.encode(format!("{before}{secret}{before}")));
        assert!(!seen.leaks(&[("x", secret)]).is_empty(), "{before}");
    }
}

/// Repeats all that it got, and fails now and then.
fn echo() -> Receiver {
    Receiver::start(|request| {
        let text =
            format!("{:?} {}", request.message.headers, String::from_utf8_lossy(&request.message.body));
        if request.event().contains("bad") { Reply::Body(500, text) } else { Reply::Body(200, text) }
    })
}

fn server(canaries: &Canaries) -> TestServer {
    let mut start = TestServer::with()
        .variable("LEDGERHOOK_MASTER_KEY", MASTER_KEY)
        .variable("LEDGERHOOK_LOG_FILTER", "trace")
        .option("--log-format")
        .option("json");
    for (name, of) in
        [("HEADER", "env_header"), ("SIGNING", "env_signing"), ("BODY", "env_body"), ("URL", "env_url")]
    {
        start = start.option("--template-env").option(name).variable(name, canaries.of(of));
    }
    start.start()
}

/// A pipeline that has a secret wherever there is room for one.
fn pipeline(canaries: &Canaries, receiver: &Receiver) -> Pipeline {
    let canary = |name: &str| canaries.of(name);
    let headers = json!({
        "Authorization": format!("Bearer {}", canary("bearer")),
        "X-Api-Key": canary("api_key_header"),
        "Cookie": format!("session={}", canary("cookie")),
        "Proxy-Token": format!("Basic {}", canary("basic")),
        "X-Plain": {"value": canary("declared"), "secret": true},
        "X-Partner": canary("unnamed"),
        "X-Env": "{{env.HEADER}}",
    });
    let url = |path: &str, name: &str| {
        format!("{}{path}?token={}&k={{{{env.URL}}}}", receiver.url(), canaries.encoded(name))
    };
    let failover = format!("{}?password={}", receiver.url(), canaries.encoded("failover_query"));
    Pipeline::to(receiver)
        .retry(2, 1)
        .step("url", url("/main", "query"))
        .step("headers", headers)
        .step("signing_key", canary("signing_key"))
        .step("body_template", json!({"id": "{{event.id}}", "key": "{{env.BODY}}"}))
        .with("failover_url", failover)
}

/// A webhook whose secret and headers change, and what is refused.
fn webhook(canaries: &Canaries, receiver: &Receiver, api: &Api, seen: &Seen) -> String {
    let canary = |name: &str| canaries.of(name);
    let hook = json!({
        "url": receiver.url(),
        "events": ["conversion.created"],
        "secret": canary("webhook_secret"),
        "retry_policy": {"max_attempts": 2, "backoff_type": "fixed", "initial_delay_seconds": 1},
    });
    let hook = api.post("/api/webhooks", &hook).data(201)["id"].as_str().expect("an id").to_owned();
    let patched = api.send(
        "PATCH",
        &format!("/api/webhooks/{hook}"),
        Some(&json!({"headers": {"X-Token": canary("patched")}})),
    );
    assert_eq!(patched.status, 200);
    seen.note("the answer to PATCH", patched.message.body);
    let rotated = json!({"secret": canary("rotated"), "overlap_seconds": 600});
    assert_eq!(api.post(&format!("/api/webhooks/{hook}/secret/rotate"), &rotated).status, 200);
    let refused = json!({"url": format!("https://user:{}@example.com/", canary("url_password")), "events": ["conversion"]});
    let refused = api.post("/api/webhooks", &refused);
    assert_eq!(refused.status, 422);
    seen.note("a refusal", refused.message.body);
    let refused = api.with_key(canary("wrong_key")).get("/api/state");
    assert_eq!(refused.status, 401);
    seen.note("a refusal of a key", refused.message.body);
    hook
}

/// Everything that can be read.
fn read_all(api: &Api, seen: &Seen) {
    for path in [
        "/api/state",
        "/api/actors",
        "/api/tenants",
        "/api/tenants/tenant_default/keys",
        "/readyz?verbose",
        "/api/webhooks",
        "/api/admin/webhooks/pipelines",
        "/api/admin/webhooks/logs/recent",
        "/api/admin/webhooks/logs/failures",
        "/api/admin/webhooks/logs/dlq",
        "/api/audit?limit=100",
        "/api/log?limit=100",
        "/metrics",
        "/api/egress-ips",
    ] {
        let answer = api.try_send("GET", path, None).expect("an answer");
        assert_ne!(answer.status, 401, "{path}");
        seen.note(format!("{path} ({})", answer.status), answer.message.body);
    }
    for delivery in api.list("/api/deliveries", "items") {
        let id = delivery["id"].as_str().expect("an id");
        seen.get(api, &format!("/api/deliveries/{id}"));
    }
    for item in api.list("/api/admin/webhooks/logs/dlq", "items") {
        seen.note("a dead letter", item.to_string());
    }
}

#[test]
fn no_secret_comes_out_anywhere() {
    let (canaries, seen, receiver) = (Canaries::new(), Seen::default(), echo());
    let mut server = server(&canaries);
    let api = server.api();
    let made = api.post("/api/admin/webhooks/pipelines", &pipeline(&canaries, &receiver).0).data(201);
    let id = made["id"].as_str().expect("an id").to_owned();
    let path = format!("/api/admin/webhooks/pipelines/{id}");
    // Sent back as it is shown, nothing changes.
    let shown = seen.get(&api, &path);
    let again = api.put(&path, &json!({"steps": shown["steps"], "failover_url": shown["failover_url"]}));
    assert_eq!(again.status, 200, "{again:?}");
    seen.note("the answer to PUT", again.message.body);
    let by_variable = Pipeline::to(&receiver).retry(2, 1).step("signing_key", "{{env.SIGNING}}").create(&api);
    let by_token = Pipeline::to(&receiver)
        .retry(2, 1)
        .step("signature_mode", "jwt")
        .step("signing_key", canaries.of("jwt_key"))
        .create(&api);
    let hook = webhook(&canaries, &receiver, &api, &seen);
    let key =
        api.post("/api/tenants/tenant_default/keys", &json!({"name": "k", "scopes": ["read"]})).data(201);
    let key = key["key"].as_str().expect("a key").to_owned();
    assert_eq!(api.with_key(&key).get("/api/deliveries").status, 200);

    for n in 0..6 {
        let id = if n % 2 == 0 { format!("evt_{n}") } else { format!("evt_bad_{n}") };
        post(&api, &conversion(&id, &format!("conv_{n}"), n));
    }
    let call = json!({
        "url": format!("{}?sig={}", receiver.url(), canaries.encoded("literal_query")),
        "headers": {"X-Auth": canaries.of("literal_header")},
    });
    let tried = api.post("/api/admin/webhooks/test/step", &call);
    assert_eq!(tried.status, 200);
    assert!(tried.json["data"]["response"]["body"].as_str().expect("a body").contains("***"), "{tried:?}");
    seen.note("a test of a step", tried.message.body);
    for id in [&id, &by_variable, &by_token] {
        let tried = api.post(&format!("/api/admin/webhooks/test/pipeline/{id}"), &json!({}));
        assert_eq!(tried.status, 200);
        seen.note("a test of a pipeline", tried.message.body);
    }
    eventually("all has ended", || {
        let counts = api.get("/api/state").data(200)["deliveries"].clone();
        let waiting =
            ["queued", "in_flight", "retrying", "held"].map(|name| counts[name].as_u64().expect("a count"));
        (waiting == [0; 4] && counts["dead_lettered"].as_u64() > Some(3)).then_some(())
    });
    assert_arrived(&canaries, &receiver);

    read_all(&api, &seen);
    seen.get(&api, &path);
    seen.get(&api, &format!("/api/webhooks/{hook}"));
    server.terminate();
    seen.note("its own log lines", server.log());
    for (file, bytes) in files(&server.data_dir) {
        seen.note(file.display().to_string(), bytes);
    }
    let secrets = canaries.0.iter().map(|(name, text)| (*name, text.as_str()));
    let others = [("operator key", OPERATOR_KEY), ("api key", &*key), ("master key", MASTER_KEY)];
    let leaks = seen.leaks(&secrets.chain(others).collect::<Vec<_>>());
    assert!(leaks.is_empty(), "{leaks:#?}");
}

/// What is nowhere else is where it belongs.
fn assert_arrived(canaries: &Canaries, receiver: &Receiver) {
    let requests = receiver.received();
    let main = requests.iter().find(|request| request.path.contains("/main")).expect("a request");
    for name in ["bearer", "api_key_header", "cookie", "basic", "declared", "unnamed", "env_header"] {
        let found = main.message.headers.iter().any(|(_, value)| value.contains(canaries.of(name)));
        assert!(found, "the receiver did not get {name}");
    }
    assert!(main.path.contains(&canaries.encoded("query")), "{}", main.path);
    let over = requests.iter().filter(|request| request.path.contains(&canaries.encoded("failover_query")));
    assert!(over.count() >= 3, "the failover did not get its password");
}

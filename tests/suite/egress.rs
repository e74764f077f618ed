//! Addresses that nobody may have called, in every spelling, at every way in (URL.1 to URL.12, I29).
//!
//! `egress/spellings.txt` holds the spellings. Canaries listen on this machine; none may ever hear anything.

use crate::support::{
    Api, Receiver, Reply, TestServer,
    dns::NameServer,
    eventually,
    make::{Pipeline, conversion, post},
};
use serde_json::{Value, json};
use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

const PIPELINES: &str = "/api/admin/webhooks/pipelines";

fn spellings() -> Vec<String> {
    let lines = include_str!("egress/spellings.txt").lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| serde_json::from_str(line).expect("a JSON string")).collect()
}

/// Listens on every address of this machine, on one port.
struct Canary {
    port: u16,
    heard: Arc<AtomicUsize>,
}

impl Canary {
    fn start() -> Self {
        let heard = Arc::<AtomicUsize>::default();
        let four = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("a port");
        let port = four.local_addr().expect("an address").port();
        // Where there is no IPv6, nothing can be dialled over it either.
        let six = TcpListener::bind(SocketAddr::from((Ipv6Addr::LOCALHOST, port))).ok();
        for listener in [Some(four), six].into_iter().flatten() {
            let heard = Arc::clone(&heard);
            thread::spawn(move || {
                for _ in listener.incoming() {
                    heard.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        Self { port, heard }
    }

    /// The URL with the canary's port, where it has none of its own.
    fn url(&self, spelling: &str) -> Option<String> {
        let (scheme, rest) = spelling.split_once("://")?;
        let authority = rest.strip_suffix("/h")?;
        let has_port = authority.rsplit(']').next().is_some_and(|behind| behind.contains(':'));
        (!has_port).then(|| format!("{scheme}://{authority}:{}/h", self.port))
    }
}

#[track_caller]
fn refuses(api: &Api, method: &str, path: &str, body: &Value, pointer: &str) {
    let answer = api.send(method, path, Some(body));
    assert_eq!(answer.status, 422, "{method} {path} {body}: {answer:?}");
    assert_eq!(answer.json["errors"][0]["pointer"], pointer, "{method} {path} {body}");
}

/// URL.1, URL.2, URL.3, URL.4, URL.5, URL.6, URL.8, URL.10, I29
#[test]
fn no_spelling_of_a_forbidden_address_gets_in_anywhere() {
    let canary = Canary::start();
    let server = TestServer::with_nothing().option("--allow-http").start();
    let api = server.api();
    let good = json!([{"url": "https://example.com/hook"}]);
    let body = json!({"name": "n", "trigger_type": "conversion", "steps": good});
    let made = api.post(PIPELINES, &body).data(201);
    let pipeline = format!("{PIPELINES}/{}", made["id"].as_str().expect("an id"));
    let body = json!({"url": "https://example.com/hook", "events": ["conversion.created"]});
    let made = api.post("/api/webhooks", &body).data(201);
    let webhook = format!("/api/webhooks/{}", made["id"].as_str().expect("an id"));
    let position = || api.get("/api/state").data(200)["position"].clone();
    let before = position();

    let mut tried = 0;
    for spelling in spellings() {
        let plain = spelling.replacen("https://", "http://", 1);
        let aimed = canary.url(&plain);
        for url in [Some(spelling), Some(plain), aimed].into_iter().flatten() {
            let steps = json!({"name": "n", "trigger_type": "conversion", "steps": [{"url": url}]});
            let failover =
                json!({"name": "n", "trigger_type": "conversion", "steps": good, "failover_url": url});
            let flat = json!({"url": url, "events": ["conversion.created"]});
            refuses(&api, "POST", PIPELINES, &steps, "/steps/0/url");
            refuses(&api, "POST", PIPELINES, &failover, "/failover_url");
            refuses(&api, "PUT", &pipeline, &json!({"steps": [{"url": url}]}), "/steps/0/url");
            refuses(&api, "PUT", &pipeline, &json!({"failover_url": url}), "/failover_url");
            refuses(&api, "POST", "/api/webhooks", &flat, "/url");
            refuses(&api, "PUT", &webhook, &json!({"url": url}), "/url");
            refuses(&api, "PATCH", &webhook, &json!({"url": url}), "/url");
            refuses(&api, "POST", "/api/admin/webhooks/test/step", &json!({"url": url}), "/url");
            tried += 1;
        }
    }
    assert!(tried > 700, "{tried} spellings");
    assert_eq!(position(), before, "what is refused appends nothing");
    thread::sleep(Duration::from_millis(300));
    assert_eq!(canary.heard.load(Ordering::Relaxed), 0, "a canary heard something");
}

/// URL.14: whoever tries names does not learn which of them are there, neither from the words nor from the time.
#[test]
fn url_14_a_name_that_does_not_resolve_is_told_as_a_forbidden_one() {
    let server = TestServer::with_nothing().start();
    let began = Instant::now();
    let run = server
        .api()
        .post("/api/admin/webhooks/test/step", &json!({"url": "https://nowhere.invalid/h"}))
        .data(200);
    assert!(began.elapsed() >= Duration::from_millis(250), "told at once");
    assert_eq!(run["error"], "blocked by egress policy, or the name does not resolve", "{run}");
    assert_eq!((&run["latency_ms"], &run["http_status"]), (&Value::Null, &Value::Null), "{run}");
}

/// URL.4, I29: a name that leads to an open address, and to a forbidden one a moment later: what is dialled was judged,
/// each time. The operator's own name server is asked, and nobody else.
#[test]
fn url_4_a_name_that_leads_elsewhere_a_moment_later_is_not_followed() {
    let receiver = Receiver::start(|_| Reply::With(200, vec![("Connection", "close".to_owned())]));
    let port = receiver.address.port();
    let canary = TcpListener::bind((Ipv4Addr::new(127, 0, 0, 2), port)).expect("the same port");
    canary.set_nonblocking(true).expect("a socket");
    let names = NameServer::start(|name, before| match (name, before) {
        ("rebinding.example.com", 0) => Some((0, vec![Ipv4Addr::LOCALHOST])),
        ("rebinding.example.com", _) => Some((0, vec![Ipv4Addr::new(127, 0, 0, 2)])),
        // The forbidden one among several is passed over.
        ("both.example.com", _) => Some((60, vec![Ipv4Addr::new(127, 0, 0, 2), Ipv4Addr::LOCALHOST])),
        _ => Some((60, Vec::new())),
    });
    let server =
        TestServer::with().variable("LEDGERHOOK_EGRESS_RESOLVER", &names.address.to_string()).start();
    let api = server.api();
    let to = |name: &str| Pipeline::to_url(&format!("http://{name}:{port}/hook")).retry(1, 0).create(&api);
    let ends = |pipeline: &str, event: &str, outcome: &str| {
        eventually("it has ended as it should", || {
            let found = api.get(&format!("/api/deliveries?pipeline_id={pipeline}")).data(200);
            let found = found["items"].as_array()?.iter().find(|one| one["event_id"] == event)?.clone();
            (found["last_outcome"] == outcome).then_some(())
        });
    };
    let rebinding = to("rebinding.example.com");
    post(&api, &conversion("evt_1", "conv_1", 0));
    ends(&rebinding, "evt_1", "success");
    // An answer without time to live is kept for a second, against bursts.
    thread::sleep(Duration::from_millis(1_200));
    let (both, gone) = (to("both.example.com"), to("gone.example.com"));
    post(&api, &conversion("evt_2", "conv_2", 0));
    ends(&rebinding, "evt_2", "blocked_address");
    ends(&both, "evt_2", "success");
    ends(&gone, "evt_2", "dns_error");
    assert_eq!(receiver.count(), 2);
    assert!(canary.accept().is_err(), "the canary heard something");
    let mut asked = names.asked();
    asked.sort();
    let expected = ["both.example.com", "gone.example.com", "rebinding.example.com", "rebinding.example.com"];
    assert_eq!(asked, expected);
}

/// URL.11: receivers on this machine may be called, and the engine's own API beside them may not, by whatever name.
#[test]
fn url_11_a_server_does_not_call_itself() {
    let master =
        ("LEDGERHOOK_MASTER_KEY", "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f");
    let receiver = Receiver::healthy();
    for listen in ["127.0.0.1:0", "0.0.0.0:0"] {
        let server = TestServer::with().option("--egress-allow").option(&machines_own()).option("--listen");
        let server = server.option(listen).variable(master.0, master.1).start();
        let port = server.address.port();
        let api = Api::new(SocketAddr::from(([127, 0, 0, 1], port)), &server.api().key);
        let call = |host: &str, port: u16| {
            let answer = api.post(
                "/api/admin/webhooks/test/step",
                &json!({"url": format!("http://{host}:{port}/livez")}),
            );
            (answer.status, answer.json["data"]["http_status"].clone())
        };
        assert_eq!(call("127.0.0.1", receiver.address.port()), (200, json!(200)));
        for host in ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]"] {
            assert_eq!(call(host, port), (422, Value::Null), "{host} of {listen}");
        }
        // Whether the machine has such an address is asked when it is dialled.
        assert_eq!(call(&machines_own(), port), (200, Value::Null), "its address of {listen}");
    }
}

/// An address of this machine beyond loopback; where there is none, one of nobody's.
fn machines_own() -> String {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("a socket");
    let own = socket.connect("198.51.100.1:9").and_then(|()| socket.local_addr());
    own.map_or_else(|_| "198.51.100.1".to_owned(), |own| own.ip().to_string())
}

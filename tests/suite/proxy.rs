//! Receivers behind an egress proxy: asked for judged addresses alone, and its own failures are not the receivers'.

use crate::support::{
    Receiver, Reply, TestServer, eventually,
    make::{Pipeline, conversion, post},
};
use serde_json::json;
use std::{
    io::{self, Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

/// What the proxy answers.
#[derive(Clone, Copy)]
enum Mood {
    Carries,
    Answers(&'static str),
    BreaksOff,
}

/// A real proxy, as small as can be.
struct Proxy {
    address: SocketAddr,
    /// The heads of what it was asked.
    asked: Arc<Mutex<Vec<String>>>,
    mood: Arc<Mutex<Mood>>,
}

impl Proxy {
    fn start(mood: Mood) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let proxy = Self { address, asked: Arc::default(), mood: Arc::new(Mutex::new(mood)) };
        let (asked, mood) = (Arc::clone(&proxy.asked), Arc::clone(&proxy.mood));
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (asked, mood) = (Arc::clone(&asked), *mood.lock().expect("a mood"));
                thread::spawn(move || serve(stream, &asked, mood));
            }
        });
        proxy
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("heads").clone()
    }

    fn now(&self, mood: Mood) {
        *self.mood.lock().expect("a mood") = mood;
    }
}

fn serve(mut stream: TcpStream, asked: &Mutex<Vec<String>>, mood: Mood) -> io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let target = head.split(' ').nth(1).unwrap_or_default().to_owned();
    asked.lock().expect("heads").push(head);
    match mood {
        Mood::BreaksOff => Ok(()),
        Mood::Answers(status) => stream.write_all(format!("HTTP/1.1 {status}\r\n\r\n").as_bytes()),
        Mood::Carries => {
            let mut receiver = TcpStream::connect(target)?;
            stream.write_all(b"HTTP/1.1 200 Connection established\r\nVia: test\r\n\r\n")?;
            let (mut back, mut to) = (receiver.try_clone()?, stream.try_clone()?);
            thread::spawn(move || {
                let _ = io::copy(&mut back, &mut to);
                to.shutdown(Shutdown::Both)
            });
            let _ = io::copy(&mut stream, &mut receiver);
            receiver.shutdown(Shutdown::Both)
        }
    }
}

/// The judged address is what it is asked for, with the login; TLS runs from end to end; nothing goes around it.
#[test]
fn receivers_are_reached_through_the_proxy() {
    let proxy = Proxy::start(Mood::Carries);
    let url = format!("http://user:p%40ss@{}", proxy.address);
    let server = TestServer::https().variable("LEDGERHOOK_EGRESS_PROXY", &url).start();
    let api = server.api();
    let (plain, secure) = (Receiver::healthy(), Receiver::https(|_| Reply::Status(200)));
    Pipeline::to(&plain).create(&api);
    Pipeline::to(&secure).create(&api);
    post(&api, &conversion("evt_1", "conv_1", 0));
    eventually("both have it", || (plain.succeeded() == 1 && secure.succeeded() == 1).then_some(()));
    let mut asked = proxy.asked();
    asked.sort();
    let mut wanted: Vec<String> = [&plain, &secure]
        .map(|receiver| {
            let url: url::Url = receiver.url().parse().expect("a URL");
            let target = format!("{}:{}", url.host_str().expect("a host"), url.port().expect("a port"));
            format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\nProxy-Authorization: Basic dXNlcjpwQHNz\r\n\r\n")
        })
        .into();
    wanted.sort();
    assert_eq!(asked, wanted);
    let blocked = json!({"url": "http://127.0.0.2:9/h"});
    assert_eq!(api.post("/api/admin/webhooks/test/step", &blocked).status, 422);
    assert_eq!(proxy.asked().len(), 2, "it was asked for a forbidden address");
    let checked = server.verb(&["config", "check"]);
    assert!(!String::from_utf8_lossy(&checked.stdout).contains("p%40ss"));
}

/// A proxy that is gone, refuses, breaks off or answers nonsense: `proxy_error`, retried, and the breaker stays closed.
#[test]
fn failures_of_the_proxy_are_not_charged_to_the_receiver() {
    let proxy = Proxy::start(Mood::Answers("407 Proxy Authentication Required"));
    let url = format!("http://{}", proxy.address);
    let server = TestServer::with().variable("LEDGERHOOK_EGRESS_PROXY", &url).start();
    let (api, receiver) = (server.api(), Receiver::healthy());
    let breaker =
        json!({"failures": 2, "resources": 1, "seconds": 1, "probe_seconds": 1, "probe_seconds_max": 1});
    let pipeline = Pipeline::to(&receiver).retry(50, 1).with("breaker", breaker).create(&api);
    post(&api, &conversion("evt_1", "conv_1", 0));
    let attempts = || {
        let id = api.get("/api/deliveries").data(200)["items"][0]["id"].as_str().expect("an id").to_owned();
        api.get(&format!("/api/deliveries/{id}")).data(200)["attempts"].as_array().expect("attempts").clone()
    };
    for (mood, detail) in [
        (Mood::Answers("407 Proxy Authentication Required"), "the egress proxy answered 407"),
        (Mood::Answers("503 Busy"), "the egress proxy answered 503"),
        (Mood::Answers("nonsense"), "the egress proxy does not speak HTTP"),
        (Mood::BreaksOff, "the egress proxy broke off"),
    ] {
        proxy.now(mood);
        eventually(detail, || {
            let found = attempts();
            found.iter().any(|one| one["outcome"] == "proxy_error" && one["detail"] == detail).then_some(())
        });
    }
    let path = format!("/api/admin/webhooks/pipelines/{pipeline}");
    assert_eq!(api.get(&path).data(200)["steps"][0]["endpoint"]["state"], "closed");
    assert_eq!(receiver.count(), 0);
    proxy.now(Mood::Carries);
    eventually("it is delivered", || (receiver.succeeded() == 1).then_some(()));
    let last = attempts().pop().expect("an attempt");
    assert_eq!(last["outcome"], "success");
}

//! Load generator and receiver in one small program: posts events to a running engine over keep-alive connections,
//! receives the deliveries, and prints rates, latencies and breaks of order. Both ends are raw sockets, so that
//! they cost little beside the engine.
//!
//! ```text
//! cargo run --release --example load -- --engine 127.0.0.1:8080 --key lhk_… --events 100000
//! ```

#![allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "figures for people"
)]
#![allow(clippy::unchecked_time_subtraction, reason = "later minus earlier")]

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// What is asked for on the command line.
#[derive(Clone)]
struct Plan {
    engine: String,
    key: String,
    events: usize,
    resources: usize,
    connections: usize,
    bytes: usize,
    /// Events a second; 0 sends as fast as answers come.
    rate: usize,
    pipelines: usize,
    /// Only accept: the pipelines are paused.
    paused: bool,
    /// Whether deliveries carry a `v1a` signature too, as they do by default.
    ed25519: bool,
}

/// What the receiver saw.
#[derive(Default)]
struct Seen {
    requests: AtomicUsize,
    /// Microseconds since the start, by event number, of the post and of the delivery.
    posted: Vec<AtomicU64>,
    received: Vec<AtomicU64>,
    /// Last event number by pipeline and resource.
    last: Mutex<HashMap<(usize, usize), usize>>,
    out_of_order: AtomicUsize,
    repeated: AtomicUsize,
}

fn main() {
    let plan = Plan::read();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(run(plan));
}

impl Plan {
    fn read() -> Self {
        let mut given: HashMap<String, String> = HashMap::new();
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            let name = word.trim_start_matches("--").to_owned();
            given.insert(name, words.next().unwrap_or_default());
        }
        let number = |name: &str, default| given.get(name).map_or(default, |text| text.parse().expect(name));
        Self {
            engine: given.get("engine").cloned().unwrap_or_else(|| "127.0.0.1:8080".into()),
            key: given
                .get("key")
                .cloned()
                .or_else(|| std::env::var("LEDGERHOOK_OPERATOR_KEY").ok())
                .expect("--key"),
            events: number("events", 100_000),
            resources: number("resources", 1_000),
            connections: number("connections", 64),
            bytes: number("bytes", 1_024),
            rate: number("rate", 0),
            pipelines: number("pipelines", 1),
            paused: given.contains_key("paused"),
            ed25519: given.contains_key("ed25519"),
        }
    }
}

async fn run(plan: Plan) {
    let start = Instant::now();
    let slots = || (0..plan.events).map(|_| AtomicU64::new(0)).collect();
    let seen = Arc::new(Seen { posted: slots(), received: slots(), ..Seen::default() });
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let receiver = listener.local_addr().expect("an address");
    let (sink, expected) = (Arc::clone(&seen), plan.events * plan.pipelines);
    std::thread::spawn(move || {
        let listener = listener.into_std().expect("a socket");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let listener = TcpListener::from_std(listener).expect("a socket");
            receive(listener, sink, start).await;
        });
    });

    for number in 0..plan.pipelines {
        let status = if plan.paused { "paused" } else { "active" };
        let body = format!(
            r#"{{"name":"load {number}","trigger_type":"conversion","status":"{status}","steps":[{{"name":"sink","order":1,"url":"http://{receiver}/{number}","signature_mode":"hmac","ed25519_signature":{},"signing_key":"load-load-load-load-load-load"}}]}}"#,
            plan.ed25519
        );
        let mut socket = TcpStream::connect(&plan.engine).await.expect("the engine");
        let status = post(&mut socket, &plan, "/api/admin/webhooks/pipelines", &body, &mut Vec::new()).await;
        assert_eq!(status, 201, "cannot make the pipeline");
    }

    let began = start.elapsed();
    let next = Arc::new(AtomicUsize::new(0));
    let mut tasks = Vec::new();
    let refused = Arc::new(AtomicUsize::new(0));
    for connection in 0..plan.connections {
        let (plan, seen, next, refused) =
            (plan.clone(), Arc::clone(&seen), Arc::clone(&next), Arc::clone(&refused));
        tasks.push(tokio::spawn(async move {
            let mut socket = TcpStream::connect(&plan.engine).await.expect("the engine");
            socket.set_nodelay(true).expect("nodelay");
            let mut buffer = Vec::with_capacity(4096);
            // Each connection owns its resources, so that the order of its 202s is the order of their events.
            let mut turn = 0;
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= plan.events {
                    return;
                }
                if plan.rate > 0 {
                    let due = began + Duration::from_secs_f64(number as f64 / plan.rate as f64);
                    tokio::time::sleep_until((start + due).into()).await;
                }
                let mine = plan.resources.div_ceil(plan.connections);
                let resource = connection + (turn % mine) * plan.connections;
                turn += 1;
                let body = event(number, resource, plan.bytes);
                seen.posted[number].store(micros(start), Ordering::Relaxed);
                let status = post(&mut socket, &plan, "/api/events", &body, &mut buffer).await;
                if status != 202 {
                    refused.fetch_add(1, Ordering::Relaxed);
                }
            }
        }));
    }
    for task in tasks {
        task.await.expect("a sender");
    }
    let accepted = start.elapsed() - began;
    let wanted = if plan.paused { 0 } else { expected };
    let mut idle = (0, Instant::now());
    while seen.requests.load(Ordering::Relaxed) < wanted {
        tokio::time::sleep(Duration::from_millis(5)).await;
        let now = seen.requests.load(Ordering::Relaxed);
        if now != idle.0 {
            idle = (now, Instant::now());
        } else if idle.1.elapsed() > Duration::from_secs(20) {
            println!("gave up waiting: {now} of {wanted} received");
            break;
        }
    }
    let delivered = start.elapsed() - began;
    let rate = |count: usize, time: Duration| count as f64 / time.as_secs_f64();
    println!("accepted  {:>8} in {accepted:.2?}  {:>8.0} a second", plan.events, rate(plan.events, accepted));
    println!("delivered {:>8} in {delivered:.2?}  {:>8.0} a second", expected, rate(wanted, delivered));
    let mut latencies: Vec<u64> = (seen.posted.iter().zip(&seen.received))
        .map(|(posted, received)| (posted.load(Ordering::Relaxed), received.load(Ordering::Relaxed)))
        .filter(|(_, received)| *received > 0)
        .map(|(posted, received)| received.saturating_sub(posted))
        .collect();
    latencies.sort_unstable();
    if !latencies.is_empty() {
        let at = |share: f64| latencies[((latencies.len() - 1) as f64 * share) as usize] as f64 / 1000.0;
        println!("post to receiver, ms: p50 {:.2}  p99 {:.2}  max {:.2}", at(0.5), at(0.99), at(1.0));
    }
    let (refused, broken) = (refused.load(Ordering::Relaxed), seen.out_of_order.load(Ordering::Relaxed));
    println!("refused {refused}, out of order {broken}, repeated {}", seen.repeated.load(Ordering::Relaxed));
}

fn micros(start: Instant) -> u64 {
    u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX)
}

fn event(number: usize, resource: usize, bytes: usize) -> String {
    let head = format!(
        r#"{{"id":"evt_{number:012}","type":"conversion.created","resource":"r{resource}","data":{{"conversion_id":"conv_{number}","amount":49.99,"currency":"USD","n":{number},"r":{resource},"note":""#
    );
    let rest = bytes.saturating_sub(head.len() + 3);
    format!("{head}{}\"}}}}", "x".repeat(rest))
}

async fn post(socket: &mut TcpStream, plan: &Plan, path: &str, body: &str, buffer: &mut Vec<u8>) -> u16 {
    let request = format!(
        "POST {path} HTTP/1.1\r\nhost: engine\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        plan.key,
        body.len()
    );
    socket.write_all(request.as_bytes()).await.expect("the engine reads");
    buffer.clear();
    loop {
        if let Some((status, length)) = complete(buffer) {
            buffer.drain(..length);
            return status;
        }
        assert!(socket.read_buf(buffer).await.expect("the engine answers") > 0, "the engine closed");
    }
}

/// Status (0 for a request) and whole length of a message with `content-length`, once it is all there.
fn complete(bytes: &[u8]) -> Option<(u16, usize)> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(&bytes[..end]).ok()?;
    let length = head
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .map_or(0, |(_, value)| value.trim().parse().unwrap_or(0));
    let status =
        head.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)).map_or(0, |s| s.parse().unwrap_or(0));
    (bytes.len() >= end + length).then_some((status, end + length))
}

async fn receive(listener: TcpListener, seen: Arc<Seen>, start: Instant) {
    loop {
        let Ok((mut socket, _)) = listener.accept().await else { return };
        let seen = Arc::clone(&seen);
        socket.set_nodelay(true).expect("nodelay");
        tokio::spawn(async move {
            let mut buffer = Vec::with_capacity(8192);
            loop {
                while let Some((_, length)) = complete(&buffer) {
                    note(&buffer[..length], &seen, start);
                    buffer.drain(..length);
                    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nOK";
                    if socket.write_all(answer).await.is_err() {
                        return;
                    }
                }
                match socket.read_buf(&mut buffer).await {
                    Ok(0) | Err(_) => return,
                    Ok(_) => {}
                }
            }
        });
    }
}

fn note(request: &[u8], seen: &Seen, start: Instant) {
    let text = String::from_utf8_lossy(request);
    let number_after = |mark: &str| {
        let from = text.find(mark)? + mark.len();
        text[from..].split(|c: char| !c.is_ascii_digit()).next()?.parse::<usize>().ok()
    };
    let (Some(number), Some(resource)) = (number_after("\"n\":"), number_after("\"r\":")) else { return };
    let pipeline = number_after("POST /").unwrap_or(0);
    seen.requests.fetch_add(1, Ordering::Relaxed);
    if seen.received[number].swap(micros(start), Ordering::Relaxed) > 0 && pipeline == 0 {
        seen.repeated.fetch_add(1, Ordering::Relaxed);
    }
    let mut last = seen.last.lock().expect("no panic holds it");
    let before = last.insert((pipeline, resource), number);
    if before.is_some_and(|before| before > number) {
        seen.out_of_order.fetch_add(1, Ordering::Relaxed);
    }
}

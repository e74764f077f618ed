//! The receiver: one thread that answers 200 and remembers what came.

use crate::plan::Plan;
use crate::wire::{message, number_after};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Instant;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK";

/// What was posted, and what was received.
pub(crate) struct Seen {
    start: Instant,
    requests: AtomicUsize,
    /// Microseconds since the start, by event number, of the post and of the first delivery.
    posted: Vec<AtomicU64>,
    received: Vec<AtomicU64>,
    resources: usize,
    /// One more than the last event number, by pipeline and resource.
    last: Vec<AtomicU32>,
    pub(crate) out_of_order: AtomicUsize,
    pub(crate) repeated: AtomicUsize,
}

impl Seen {
    fn new(plan: &Plan) -> Self {
        let slots = || (0..plan.events).map(|_| AtomicU64::new(0)).collect();
        let lanes = plan.resources * if plan.apart { 1 } else { plan.pipelines };
        Self {
            start: Instant::now(),
            requests: AtomicUsize::new(0),
            posted: slots(),
            received: slots(),
            resources: plan.resources,
            last: (0..lanes).map(|_| AtomicU32::new(0)).collect(),
            out_of_order: AtomicUsize::new(0),
            repeated: AtomicUsize::new(0),
        }
    }

    pub(crate) fn requests(&self) -> usize {
        self.requests.load(Relaxed)
    }

    pub(crate) fn posted(&self, number: usize) {
        self.posted[number].store(self.now(), Relaxed);
    }

    /// Microseconds from post to delivery, sorted.
    pub(crate) fn latencies(&self) -> Vec<u64> {
        let times = self.posted.iter().zip(&self.received).map(|(p, r)| (p.load(Relaxed), r.load(Relaxed)));
        let mut found: Vec<_> = times.filter(|(_, r)| *r > 0).map(|(p, r)| r.saturating_sub(p)).collect();
        found.sort_unstable();
        found
    }

    fn now(&self) -> u64 {
        // Never 0, which stands for none.
        u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX).max(1)
    }

    fn note(&self, request: &[u8], body: &[u8]) {
        let numbers = number_after(body, b"\"n\":").zip(number_after(body, b"\"r\":"));
        let Some((number, resource)) = numbers else { return };
        let pipeline = number_after(&request[..request.len().min(32)], b" /").unwrap_or(0);
        if self.received[number].load(Relaxed) == 0 {
            self.received[number].store(self.now(), Relaxed);
        }
        let lane = (pipeline * self.resources + resource % self.resources) % self.last.len();
        let this = number as u32 + 1;
        match self.last[lane].swap(this, Relaxed) {
            before if before == this => drop(self.repeated.fetch_add(1, Relaxed)),
            before if before > this => drop(self.out_of_order.fetch_add(1, Relaxed)),
            _ => {}
        }
        self.requests.fetch_add(1, Relaxed);
    }
}

/// A running receiver.
pub(crate) struct Receiver {
    pub(crate) address: SocketAddr,
    pub(crate) seen: Arc<Seen>,
}

impl Receiver {
    pub(crate) fn start(plan: Arc<Plan>) -> Self {
        let listener = std::net::TcpListener::bind(("127.0.0.1", plan.port)).expect("a port");
        listener.set_nonblocking(true).expect("a socket");
        let address = listener.local_addr().expect("an address");
        let seen = Arc::new(Seen::new(&plan));
        std::thread::spawn({
            let seen = Arc::clone(&seen);
            move || {
                let runtime =
                    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
                runtime.block_on(async {
                    let listener = TcpListener::from_std(listener).expect("a socket");
                    while let Ok((socket, _)) = listener.accept().await {
                        tokio::spawn(serve(socket, Arc::clone(&plan), Arc::clone(&seen)));
                    }
                });
            }
        });
        Self { address, seen }
    }
}

async fn serve(mut socket: TcpStream, plan: Arc<Plan>, seen: Arc<Seen>) {
    socket.set_nodelay(true).expect("nodelay");
    let mut buffer = Vec::with_capacity(16 << 10);
    while let Ok(1..) = socket.read_buf(&mut buffer).await {
        while let Some((length, body)) = message(&buffer) {
            if !plan.delay.is_zero() {
                tokio::time::sleep(plan.delay).await;
            }
            seen.note(&buffer[..length], &buffer[body..length]);
            if length == buffer.len() {
                buffer.clear();
            } else {
                buffer.drain(..length);
            }
            if socket.write_all(ANSWER).await.is_err() {
                return;
            }
        }
    }
}

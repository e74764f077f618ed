//! A receiver on loopback that does what a script says and remembers every request.

use super::{
    http1::{self, Message},
    tls,
};
use rustls::ServerConfig;
use serde_json::Value;
use std::{
    fmt::Write as _,
    io::{BufReader, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant, SystemTime},
};

/// What a receiver does with a request.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    /// Answers with this status.
    Status(u16),
    /// Answers with this status and these headers.
    With(u16, Vec<(&'static str, String)>),
    /// Answers 200 with this body.
    Text(String),
    /// Answers with this status and this body.
    Body(u16, String),
    /// Takes its time, then answers.
    After(Duration, u16),
    /// Closes the connection without an answer.
    Reset,
}

/// A request as it came in, and what it got.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    /// Place among all requests of this receiver.
    pub index: usize,
    /// When its last byte was read.
    pub start: Instant,
    /// The receiver's clock at that moment.
    pub at: SystemTime,
    /// When its answer was ready; nothing later is taken, since the other side may act on the answer's first byte.
    pub end: Option<Instant>,
    /// The status that was written whole.
    pub status: Option<u16>,
    pub method: String,
    pub path: String,
    pub message: Message,
}

impl Received {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.message.header(name).unwrap_or_default()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.message.body).unwrap_or(Value::Null)
    }

    pub(crate) fn event(&self) -> &str {
        self.header("webhook-id")
    }

    pub(crate) fn delivery(&self) -> &str {
        self.header("x-webhook-delivery")
    }

    pub(crate) fn attempt(&self) -> u32 {
        self.header("x-webhook-attempt").parse().unwrap_or_default()
    }

    /// 1, or the number that a retry from the dead letters or a replay carries.
    pub(crate) fn round(&self) -> u32 {
        self.header("x-webhook-redelivery").parse().unwrap_or(1)
    }

    /// What the event is about: the first id that its kind of event has.
    pub(crate) fn resource(&self) -> String {
        let body = self.json();
        let data = &body["data"];
        let id = ["conversion_id", "click_id", "id"].iter().find_map(|key| data[*key].as_str());
        id.unwrap_or_default().to_owned()
    }

    pub(crate) fn is_success(&self) -> bool {
        self.status.is_some_and(|status| (200..300).contains(&status))
    }
}

type Script = Box<dyn Fn(&Received) -> Reply + Send + Sync>;

struct Shared {
    script: Mutex<Arc<Script>>,
    received: Mutex<Vec<Received>>,
    closing: AtomicBool,
}

/// A receiver; it ends when it is dropped.
pub(crate) struct Receiver {
    pub address: SocketAddr,
    scheme: &'static str,
    shared: Arc<Shared>,
}

impl Receiver {
    /// Answers 200 to everything.
    pub(crate) fn healthy() -> Self {
        Self::start(|_| Reply::Status(200))
    }

    pub(crate) fn start(script: impl Fn(&Received) -> Reply + Send + Sync + 'static) -> Self {
        Self::open(None, script)
    }

    /// The same behind TLS, with a certificate that [`TestServer::https`](super::TestServer::https) trusts.
    pub(crate) fn https(script: impl Fn(&Received) -> Reply + Send + Sync + 'static) -> Self {
        Self::open(Some(tls::serving()), script)
    }

    /// The same with a configuration of its own, that asks for certificates.
    pub(crate) fn mutual(
        config: Arc<ServerConfig>,
        script: impl Fn(&Received) -> Reply + Send + Sync + 'static,
    ) -> Self {
        Self::open(Some(config), script)
    }

    fn open(
        tls: Option<Arc<ServerConfig>>,
        script: impl Fn(&Received) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let scheme = if tls.is_some() { "https" } else { "http" };
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("its address");
        let shared = Arc::new(Shared {
            script: Mutex::new(Arc::new(Box::new(script))),
            received: Mutex::default(),
            closing: AtomicBool::new(false),
        });
        let acceptor = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if acceptor.closing.load(Ordering::Acquire) {
                    return;
                }
                let (shared, tls) = (Arc::clone(&acceptor), tls.clone());
                thread::spawn(move || {
                    let Ok(socket) = stream.try_clone() else { return };
                    let _ = stream.set_nodelay(true);
                    match tls {
                        Some(config) => shared.serve(tls::accept(config, stream)),
                        None => shared.serve(stream),
                    }
                    let _ = socket.shutdown(Shutdown::Both);
                });
            }
        });
        Self { address, scheme, shared }
    }

    /// Does something else from now on.
    pub(crate) fn now(&self, script: impl Fn(&Received) -> Reply + Send + Sync + 'static) {
        *self.shared.script.lock().expect("a script") = Arc::new(Box::new(script));
    }

    pub(crate) fn url(&self) -> String {
        format!("{}://{}/webhooks/afftok", self.scheme, self.address)
    }

    /// Everything so far, in the order in which it came in.
    pub(crate) fn received(&self) -> Vec<Received> {
        self.shared.received.lock().expect("records").clone()
    }

    pub(crate) fn count(&self) -> usize {
        self.shared.received.lock().expect("records").len()
    }

    /// How many events were answered 2xx.
    pub(crate) fn succeeded(&self) -> usize {
        self.shared.received.lock().expect("records").iter().filter(|one| one.is_success()).count()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.shared.closing.store(true, Ordering::Release);
        let _ = TcpStream::connect(self.address); // wakes the acceptor, which then goes
    }
}

impl Shared {
    fn serve(&self, stream: impl Read + Write) {
        let mut reader = BufReader::new(stream);
        while let Ok(Some(message)) = http1::read(&mut reader) {
            let request = self.record(message);
            let script = Arc::clone(&self.script.lock().expect("a script"));
            let mut body = r#"{"received":true}"#.to_owned();
            let (status, headers) = match script(&request) {
                Reply::Text(text) => {
                    body = text;
                    (200, Vec::new())
                }
                Reply::Body(status, text) => {
                    body = text;
                    (status, Vec::new())
                }
                Reply::Status(status) => (status, Vec::new()),
                Reply::With(status, headers) => (status, headers),
                Reply::After(time, status) => {
                    thread::sleep(time);
                    (status, Vec::new())
                }
                Reply::Reset => break,
            };
            let mut head = format!("HTTP/1.1 {status} Scripted\r\nContent-Type: application/json\r\n");
            for (name, value) in headers {
                let _ = write!(head, "{name}: {value}\r\n");
            }
            let answer = format!("{head}Content-Length: {}\r\n\r\n{body}", body.len());
            self.answered(request.index, status);
            let stream = reader.get_mut();
            if stream.write_all(answer.as_bytes()).and_then(|()| stream.flush()).is_err() {
                self.cut(request.index);
                break;
            }
        }
    }

    fn record(&self, message: Message) -> Received {
        let mut words = message.first.split(' ');
        let mut word = || words.next().unwrap_or_default().to_owned();
        let (method, path) = (word(), word());
        let mut all = self.received.lock().expect("records");
        let request = Received {
            index: all.len(),
            start: Instant::now(),
            at: SystemTime::now(),
            end: None,
            status: None,
            method,
            path,
            message,
        };
        all.push(request.clone());
        request
    }

    fn answered(&self, index: usize, status: u16) {
        let mut all = self.received.lock().expect("records");
        all[index].end = Some(Instant::now());
        all[index].status = Some(status);
    }

    fn cut(&self, index: usize) {
        self.received.lock().expect("records")[index].status = None;
    }
}

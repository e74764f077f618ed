//! Receivers that do exactly what a test tells them.

use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What a test awaits must happen well within this time.
const SOON: Duration = Duration::from_secs(10);

pub(super) const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

pub(super) async fn soon<T>(event: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, event).await.expect("what was awaited did not happen")
}

pub(super) struct Receiver {
    listener: TcpListener,
    pub(super) address: SocketAddr,
}

impl Receiver {
    pub(super) async fn bind() -> Self {
        Self::bind_to("127.0.0.1:0").await
    }

    pub(super) async fn bind_to(address: &str) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        Self { listener, address }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    pub(super) async fn accept(&self) -> Peer<TcpStream> {
        Peer::new(soon(self.listener.accept()).await.unwrap().0)
    }

    /// Accepts a connection, reads one request and says `bytes`.
    pub(super) async fn serve(&self, bytes: impl AsRef<[u8]>) -> Peer<TcpStream> {
        let mut peer = self.accept().await;
        peer.serve(bytes).await;
        peer
    }

    /// Whether nobody waits to be accepted: asked of the kernel, not of the reactor.
    pub(super) fn deserted(self) -> bool {
        let accepted = self.listener.into_std().unwrap().accept();
        matches!(accepted, Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
    }
}

/// The receiver's end of a connection.
pub(super) struct Peer<S> {
    pub(super) stream: S,
    received: Vec<u8>,
}

/// A request as it arrived.
pub(super) struct Received {
    pub(super) head: String,
    pub(super) body: Vec<u8>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Peer<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, received: vec![] }
    }

    pub(super) async fn request(&mut self) -> Received {
        self.next_request().await.expect("the connection ended before a request was whole")
    }

    /// The next request, if another one comes.
    pub(super) async fn next_request(&mut self) -> Option<Received> {
        let end = loop {
            if let Some(at) = self.received.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                break at + 4;
            }
            self.receive().await?;
        };
        let head = String::from_utf8(self.received[..end].to_vec()).unwrap();
        let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).unwrap();
        let length: usize = length.parse().unwrap();
        while self.received.len() < end + length {
            self.receive().await?;
        }
        let body = self.received[end..end + length].to_vec();
        self.received.drain(..end + length);
        Some(Received { head, body })
    }

    async fn receive(&mut self) -> Option<usize> {
        soon(self.stream.read_buf(&mut self.received)).await.ok().filter(|&count| count > 0)
    }

    pub(super) async fn say(&mut self, bytes: impl AsRef<[u8]>) {
        soon(self.stream.write_all(bytes.as_ref())).await.unwrap();
        soon(self.stream.flush()).await.unwrap();
    }

    /// Reads one request and says `bytes`.
    pub(super) async fn serve(&mut self, bytes: impl AsRef<[u8]>) -> Received {
        let request = self.request().await;
        self.say(bytes).await;
        request
    }

    /// Says a piece after each pause, until the client is gone.
    pub(super) async fn drip(&mut self, piece: &[u8], pause: Duration) {
        while self.stream.write_all(piece).await.is_ok() && self.stream.flush().await.is_ok() {
            tokio::time::sleep(pause).await;
        }
    }

    /// Waits until the client has closed the connection.
    pub(super) async fn closed(&mut self) {
        let mut rest = [0; 4096];
        while let Ok(1..) = soon(self.stream.read(&mut rest)).await {}
    }
}

impl Peer<TcpStream> {
    /// Ends the connection with a reset.
    pub(super) fn reset(self) {
        self.stream.set_zero_linger().unwrap();
    }
}

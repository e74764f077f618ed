//! Stands between awc and a receiver, and lets neither misunderstand the other.
//!
//! ```text
//!  awc ── GET /17 ──> Guard ── the request of attempt 17, as it was asked for ──> receiver
//!  awc <── one clean answer ── Guard <── whatever the receiver sends ── receiver
//! ```
//!
//! Towards the receiver the connection writes the attempt's own bytes, so headers keep their order and spelling.
//! Towards awc the guard repeats the answer with interim heads skipped, one framing, and errors where the body was
//! cut. A connection that is not to be used again is closed already when awc looks at it before the next request.

use super::desk::Desk;
use super::relay::Relay;
use crate::delivery::client::connection::{Connection, Ended};
use actix_rt::net::{ActixStream, Ready};
use std::cell::RefCell;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A guarded connection as awc holds it. The reaper knows it too.
pub(super) struct Guard(pub(super) Rc<RefCell<Guarded>>);

/// The connection, and what awc is still to read of the answer.
pub(super) struct Guarded {
    pub(super) connection: Connection,
    desk: Rc<Desk>,
    relay: Relay,
}

impl Guarded {
    pub(super) fn new(connection: Connection, desk: Rc<Desk>) -> Self {
        Self { connection, desk, relay: Relay::default() }
    }

    /// Begins the exchange that awc's request stands for.
    fn begin(&mut self, request: &[u8]) -> io::Result<()> {
        let number = ticket(request).filter(|_| self.connection.is_idle());
        let attempt = number.and_then(|number| self.desk.find(number)).ok_or(io::ErrorKind::InvalidInput)?;
        self.relay = Relay::default();
        self.connection.begin(attempt);
        Ok(())
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        while self.relay.is_empty() {
            if self.connection.is_idle() {
                return self.poll_idle(cx);
            }
            ready!(self.poll_relay(cx)).map_err(|Ended| failed())?;
        }
        self.relay.read(buffer);
        Poll::Ready(Ok(()))
    }

    /// Passes the next part of the answer on.
    fn poll_relay(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Ended>> {
        if !self.relay.has_begun() {
            ready!(self.connection.poll_head(cx))?;
            let (status, framing) = self.connection.answer().ok_or(Ended)?;
            self.relay.head(status, framing, self.connection.is_reusable());
        }
        match ready!(self.connection.poll_body(cx))? {
            Some(data) => self.relay.data(&data),
            None => self.relay.end(),
        }
        Poll::Ready(Ok(()))
    }

    /// awc's check before it uses a connection again: pending means good, the end means another one.
    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.connection.is_fresh(cx) {
            return Poll::Pending;
        }
        self.connection.close();
        Poll::Ready(Ok(()))
    }
}

/// Tells awc that it failed. The attempt knows why.
fn failed() -> io::Error {
    io::ErrorKind::ConnectionAborted.into()
}

/// The number in `GET /number HTTP/1.1`, if this is one whole request.
fn ticket(request: &[u8]) -> Option<&str> {
    let line = request.strip_prefix(b"GET /").filter(|_| request.ends_with(b"\r\n\r\n"))?;
    let end = line.iter().position(|&byte| byte == b' ')?;
    std::str::from_utf8(&line[..end]).ok()
}

impl AsyncRead for Guard {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.0.borrow_mut().poll_read(cx, buffer)
    }
}

impl AsyncWrite for Guard {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, request: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(self.0.borrow_mut().begin(request).map(|()| request.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.borrow_mut().connection.poll_send(cx).map_err(|Ended| failed())
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.borrow_mut().connection.poll_shutdown(cx)
    }
}

impl ActixStream for Guard {
    fn poll_read_ready(&self, _: &mut Context<'_>) -> Poll<io::Result<Ready>> {
        Poll::Ready(Ok(Ready::READABLE))
    }

    fn poll_write_ready(&self, _: &mut Context<'_>) -> Poll<io::Result<Ready>> {
        Poll::Ready(Ok(Ready::WRITABLE))
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Guard")
    }
}

//! Stands between awc and a receiver, and lets neither misunderstand the other.
//!
//! ```text
//!  awc ── GET /17 ──> Guard ── the request of attempt 17, as it was asked for ──> receiver
//!  awc <── one clean answer ── Guard <── whatever the receiver sends ── receiver
//! ```
//!
//! Towards the receiver the guard writes the attempt's own bytes, so headers keep their order and spelling.
//! Towards awc it repeats the answer with interim heads skipped, one framing, and errors where the body was
//! cut. It alone decides whether the connection may carry another request: after anything doubtful (bytes
//! nobody asked for, a cut body, an answer before the request was written) the socket is closed on the spot,
//! and awc's own check at reuse finds it dead.

use super::attempt::{Answer, Attempt, Desk, Failure, Phase};
use super::relay::Relay;
use super::stream::Stream;
use crate::delivery::http1::body::{BodyError, Framing, Part};
use crate::delivery::http1::head::{Head, HeadReader};
use crate::domain::outcome::OutcomeClass;
use actix_rt::net::{ActixStream, Ready};
use bytes::buf::Chain;
use bytes::{Buf, Bytes, BytesMut};
use std::cell::RefCell;
use std::fmt;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

const CLOSED: &str = "connection closed";

/// A guarded connection as awc holds it. The reaper knows it too.
pub(super) struct Guard(pub(super) Rc<RefCell<Guarded>>);

/// The connection and the exchange under way on it.
pub(super) struct Guarded {
    /// `None` once the connection is not to be used again.
    stream: Option<Stream>,
    desk: Rc<Desk>,
    stage: Stage,
    /// What the receiver is still to be sent.
    outbox: Chain<Bytes, Bytes>,
    sending: bool,
    /// What the receiver sent and nobody has read yet.
    inbox: BytesMut,
    relay: Relay,
    reusable: bool,
    idle_since: Instant,
    idle_max: Duration,
}

enum Stage {
    /// No exchange: nothing is to be heard from the receiver.
    Idle,
    /// Waiting for the head of the answer.
    Head(Rc<Attempt>, HeadReader),
    /// Reading the body of the answer.
    Body(Rc<Attempt>, Framing),
    /// The rest of the body will never come.
    Broken,
}

impl Guarded {
    pub(super) fn new(stream: Stream, desk: Rc<Desk>, idle_max: Duration) -> Self {
        Self {
            stream: Some(stream),
            desk,
            stage: Stage::Idle,
            outbox: Bytes::new().chain(Bytes::new()),
            sending: false,
            inbox: BytesMut::new(),
            relay: Relay::default(),
            reusable: true,
            idle_since: Instant::now(),
            idle_max,
        }
    }

    /// Whether the connection sits unused for too long, or was left by its receiver.
    pub(super) fn is_spent(&self) -> bool {
        let left = || self.stream.as_ref().is_none_or(Stream::is_closed);
        matches!(self.stage, Stage::Idle) && (self.idle_since.elapsed() >= self.idle_max || left())
    }

    /// Closes the connection, and keeps nothing that costs memory.
    pub(super) fn close(&mut self) {
        self.stop_sending();
        self.stream = None;
        self.stage = Stage::Idle;
        self.inbox = BytesMut::new();
    }

    /// Begins the exchange that awc's request stands for.
    fn begin(&mut self, request: &[u8]) -> io::Result<()> {
        let number = ticket(request).filter(|_| matches!(self.stage, Stage::Idle));
        let attempt = number.and_then(|number| self.desk.find(number)).ok_or(io::ErrorKind::InvalidInput)?;
        attempt.enter(Phase::Answer);
        self.outbox = attempt.head.clone().chain(attempt.body.clone());
        self.sending = true;
        self.stage = Stage::Head(attempt, HeadReader::default());
        Ok(())
    }

    /// Sends the request. A receiver that answers instead of reading is listened to.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.sending {
            match self.poll_write(cx) {
                Poll::Ready(Ok(())) => self.sending = false,
                // The receiver hung up, perhaps after an answer: reading will tell.
                Poll::Ready(Err(_)) => self.stop_sending(),
                Poll::Pending => {
                    ready!(self.poll_answer(cx))?;
                    self.stop_sending();
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Writes what is left of the request.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let stream = self.stream.as_mut().ok_or(io::ErrorKind::NotConnected)?;
        while self.outbox.has_remaining() {
            let mut slices = [IoSlice::new(&[]); 2];
            let count = self.outbox.chunks_vectored(&mut slices);
            match ready!(stream.poll_write(cx, &slices[..count]))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                sent => self.outbox.advance(sent),
            }
        }
        stream.poll_flush(cx)
    }

    fn stop_sending(&mut self) {
        self.sending = false;
        self.reusable = false;
        self.outbox = Bytes::new().chain(Bytes::new());
    }

    /// Reads until the head of the answer is there.
    fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Stage::Head(..) = self.stage {
            ready!(self.poll_receive(cx))?;
            self.digest()?;
        }
        Poll::Ready(Ok(()))
    }

    /// Reads once from the receiver.
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(stream) = &mut self.stream else {
            return Poll::Ready(Err(failed()));
        };
        let inbox = &mut self.inbox;
        let received = ready!(stream.poll_take(cx, |bytes| {
            inbox.extend_from_slice(bytes);
            bytes.len()
        }));
        Poll::Ready(match received {
            Ok(0) => self.at_end(CLOSED),
            Ok(_) => Ok(()),
            // TLS ended without saying so, as many servers do.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => self.at_end(CLOSED),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => self.at_end("connection reset"),
            Err(_) => self.at_end("connection lost"),
        })
    }

    /// Understands what was received, as far as it goes, and passes it on.
    fn digest(&mut self) -> io::Result<()> {
        if let Stage::Head(attempt, reader) = &mut self.stage {
            match reader.read(&mut self.inbox) {
                Ok(None) => return Ok(()),
                Ok(Some(head)) => {
                    let attempt = Rc::clone(attempt);
                    self.answered(attempt, head);
                }
                Err(error) => {
                    attempt.fail(Failure::new(OutcomeClass::ProtocolError, error.to_string()));
                    self.close();
                    return Err(failed());
                }
            }
        }
        while let Stage::Body(_, framing) = &mut self.stage {
            match framing.decode(&mut self.inbox) {
                Ok(Part::Data(data)) => self.relay.data(&data),
                Ok(Part::Starved) => return Ok(()),
                Ok(Part::End) => self.finish(),
                Err(error) => self.break_off(error),
            }
        }
        Ok(())
    }

    fn answered(&mut self, attempt: Rc<Attempt>, head: Head) {
        // Whoever answers before the request is written may well take the rest of it for another one.
        self.reusable &= head.keep_alive && !self.sending;
        if let Some(kept) = head.idle_timeout {
            // The receiver closes at its own time: be gone before, or a request runs into the close.
            self.idle_max = self.idle_max.min(kept.saturating_sub(Duration::from_secs(1)));
        }
        self.relay.head(head.status, &head.framing, self.reusable);
        attempt.answered(Answer { status: head.status, retry_after: head.retry_after });
        self.stage = Stage::Body(attempt, head.framing);
    }

    /// The connection ended, one way or another: what does that mean for the exchange?
    fn at_end(&mut self, how: &'static str) -> io::Result<()> {
        self.reusable = false;
        match &self.stage {
            Stage::Head(attempt, _) => {
                let place =
                    if self.inbox.is_empty() { "before an answer" } else { "inside the answer's head" };
                attempt.fail(Failure::new(OutcomeClass::ProtocolError, format!("{how} {place}")));
                self.close();
                Err(failed())
            }
            Stage::Body(_, Framing::UntilClose) if how == CLOSED => {
                self.finish();
                Ok(())
            }
            Stage::Body(..) => {
                self.break_off(BodyError::Cut);
                Ok(())
            }
            Stage::Idle | Stage::Broken => Err(failed()),
        }
    }

    /// The answer is whole.
    fn finish(&mut self) {
        self.relay.end();
        self.stage = Stage::Idle;
        self.idle_since = Instant::now();
        if !self.reusable || !self.inbox.is_empty() {
            self.close();
        }
    }

    /// The answer's status stands, but its body will not be whole. What came of it is still passed on.
    fn break_off(&mut self, error: BodyError) {
        if let Stage::Body(attempt, _) = &self.stage {
            attempt.remark(error.to_string());
        }
        self.close();
        self.stage = Stage::Broken;
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        while self.relay.is_empty() {
            match self.stage {
                Stage::Idle => return self.poll_idle(cx),
                Stage::Broken => return Poll::Ready(Err(failed())),
                Stage::Head(..) | Stage::Body(..) => {}
            }
            ready!(self.poll_receive(cx))?;
            self.digest()?;
        }
        self.relay.read(buffer);
        Poll::Ready(Ok(()))
    }

    /// awc's check before it uses a connection again: pending means good, the end means another one.
    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let fresh = self.idle_since.elapsed() < self.idle_max;
        if fresh && self.stream.as_mut().is_some_and(|stream| stream.is_quiet(cx)) {
            return Poll::Pending;
        }
        self.close();
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
        self.0.borrow_mut().poll_send(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.borrow_mut().stream.as_mut().map_or(Poll::Ready(Ok(())), |stream| stream.poll_shutdown(cx))
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

//! One connection to a receiver, and the exchange under way on it.
//!
//! It writes the attempt's own bytes and reads whatever the receiver sends, strictly. It alone decides whether it may
//! carry another request: after anything doubtful (bytes nobody asked for, a cut body, an answer before the request
//! was written) the socket is closed on the spot.

use super::attempt::{Answer, Attempt, Failure, Phase};
use super::stream::Stream;
use crate::delivery::http1::body::{BodyError, Framing, Part};
use crate::delivery::http1::head::{Head, HeadReader};
use crate::delivery::tls;
use crate::domain::outcome::OutcomeClass;
use bytes::buf::Chain;
use bytes::{Buf, Bytes, BytesMut};
use std::io::{self, IoSlice};
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::Instant;

const CLOSED: &str = "connection closed";

/// A connection, with or without an exchange on it.
pub(super) struct Connection {
    /// `None` once the connection is not to be used again.
    stream: Option<Stream>,
    stage: Stage,
    /// What the receiver is still to be sent.
    outbox: Chain<Bytes, Bytes>,
    sending: bool,
    /// What the receiver sent and nobody has read yet.
    inbox: BytesMut,
    reusable: bool,
    opened: Instant,
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

/// The exchange goes no further. The attempt knows why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ended;

impl Connection {
    pub(super) fn new(stream: Stream, idle_max: Duration) -> Self {
        let now = Instant::now();
        Self {
            stream: Some(stream),
            stage: Stage::Idle,
            outbox: Bytes::new().chain(Bytes::new()),
            sending: false,
            inbox: BytesMut::new(),
            reusable: true,
            opened: now,
            idle_since: now,
            idle_max,
        }
    }

    /// How long ago it was opened.
    pub(super) fn age(&self) -> Duration {
        self.opened.elapsed()
    }

    pub(super) fn is_idle(&self) -> bool {
        matches!(self.stage, Stage::Idle)
    }

    /// Whether the connection may carry another request, as far as was heard.
    pub(super) fn is_open(&self) -> bool {
        self.stream.is_some()
    }

    /// Whether the connection sits unused for too long, or was left by its receiver.
    pub(super) fn is_spent(&self) -> bool {
        let left = || self.stream.as_ref().is_none_or(Stream::is_closed);
        self.is_idle() && (self.idle_since.elapsed() >= self.idle_max || left())
    }

    /// Whether it is good for another request this very moment: neither old, nor closed, nor spoken on unasked.
    pub(super) fn is_fresh(&mut self, cx: &mut Context<'_>) -> bool {
        self.is_idle()
            && self.idle_since.elapsed() < self.idle_max
            && self.stream.as_mut().is_some_and(|stream| stream.is_quiet(cx))
    }

    /// Closes the connection, and keeps nothing that costs memory.
    pub(super) fn close(&mut self) {
        self.stop_sending();
        self.stream = None;
        self.stage = Stage::Idle;
        self.inbox = BytesMut::new();
    }

    /// Begins the attempt's exchange, on an idle connection.
    pub(super) fn begin(&mut self, attempt: Rc<Attempt>) {
        debug_assert!(self.is_idle());
        attempt.enter(Phase::Answer);
        self.outbox = attempt.head.clone().chain(attempt.body.clone());
        self.sending = true;
        self.stage = Stage::Head(attempt, HeadReader::default());
    }

    /// Sends the request. A receiver that answers instead of reading is listened to.
    pub(super) fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Ended>> {
        if self.sending {
            match self.poll_write(cx) {
                Poll::Ready(Ok(())) => self.sending = false,
                // The receiver hung up, perhaps after an answer: reading will tell.
                Poll::Ready(Err(_)) => self.stop_sending(),
                Poll::Pending => {
                    ready!(self.poll_head(cx))?;
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

    /// Reads until the head of the answer is there; the attempt then has its status.
    pub(super) fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Ended>> {
        while let Stage::Head(attempt, reader) = &mut self.stage {
            match reader.read(&mut self.inbox) {
                Ok(Some(head)) => {
                    let attempt = Rc::clone(attempt);
                    self.answered(attempt, head);
                }
                Ok(None) => ready!(self.poll_receive(cx))?,
                Err(error) => {
                    attempt.fail(Failure::new(OutcomeClass::ProtocolError, error.to_string()));
                    self.close();
                    return Poll::Ready(Err(Ended));
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    fn answered(&mut self, attempt: Rc<Attempt>, head: Head) {
        // Whoever answers before the request is written may well take the rest of it for another one.
        self.reusable &= head.keep_alive && !self.sending;
        if let Some(kept) = head.idle_timeout {
            // The receiver closes at its own time: be gone before, or a request runs into the close.
            self.idle_max = self.idle_max.min(kept.saturating_sub(Duration::from_secs(1)));
        }
        attempt.answered(Answer { status: head.status, retry_after: head.retry_after });
        self.stage = Stage::Body(attempt, head.framing);
    }

    /// The status of the answer, and how its body is framed, while the body is read.
    pub(super) fn answer(&self) -> Option<(u16, &Framing)> {
        let Stage::Body(attempt, framing) = &self.stage else { return None };
        attempt.status().map(|status| (status, framing))
    }

    /// Whether the connection will carry another request if the body ends well.
    pub(super) fn is_reusable(&self) -> bool {
        self.reusable
    }

    /// Reads the next part of the body; `None` at its end, with the connection idle or closed.
    pub(super) fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Ended>> {
        while let Stage::Body(_, framing) = &mut self.stage {
            match framing.decode(&mut self.inbox) {
                Ok(Part::Data(data)) => {
                    // Who counts bytes does not ask again after the last one.
                    if *framing == Framing::Length(0) {
                        self.finish();
                    }
                    return Poll::Ready(Ok(Some(data)));
                }
                Ok(Part::Starved) => ready!(self.poll_receive(cx))?,
                Ok(Part::End) => self.finish(),
                Err(error) => self.break_off(error),
            }
        }
        Poll::Ready(if self.is_idle() { Ok(None) } else { Err(Ended) })
    }

    /// Reads once from the receiver.
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Ended>> {
        let Some(stream) = &mut self.stream else { return Poll::Ready(Err(Ended)) };
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
            Err(error) => {
                if let (Stage::Head(attempt, _), Some(refusal)) = (&self.stage, tls::refusal(&error)) {
                    attempt.fail(Failure::new(OutcomeClass::TlsError, refusal));
                }
                self.at_end("connection lost")
            }
        })
    }

    /// The connection ended, one way or another: what does that mean for the exchange?
    fn at_end(&mut self, how: &'static str) -> Result<(), Ended> {
        self.reusable = false;
        match &self.stage {
            Stage::Head(attempt, _) => {
                let place =
                    if self.inbox.is_empty() { "before an answer" } else { "inside the answer's head" };
                attempt.fail(Failure::new(OutcomeClass::ProtocolError, format!("{how} {place}")));
                self.close();
                Err(Ended)
            }
            Stage::Body(_, Framing::UntilClose) if how == CLOSED => {
                self.finish();
                Ok(())
            }
            Stage::Body(..) => {
                self.break_off(BodyError::Cut);
                Ok(())
            }
            Stage::Idle | Stage::Broken => Err(Ended),
        }
    }

    /// The answer is whole.
    fn finish(&mut self) {
        self.stage = Stage::Idle;
        self.idle_since = Instant::now();
        if !self.reusable || !self.inbox.is_empty() {
            self.close();
        }
    }

    /// The answer's body will not be whole.
    fn break_off(&mut self, error: BodyError) {
        if let Stage::Body(attempt, _) = &self.stage {
            attempt.remark(error.to_string());
            if error == BodyError::Cut {
                attempt.cut();
            }
        }
        self.close();
        self.stage = Stage::Broken;
    }

    pub(super) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.as_mut().map_or(Poll::Ready(Ok(())), |stream| stream.poll_shutdown(cx))
    }
}

//! A connection to a receiver: TCP, with or without TLS on it.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

/// How much one read asks for.
const READ_BYTES: usize = 8 << 10;

pub(super) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    /// Hands the next bytes to `take`; an empty slice is the end.
    pub(super) fn poll_take<T>(
        &mut self,
        cx: &mut Context<'_>,
        take: impl FnOnce(&[u8]) -> T,
    ) -> Poll<io::Result<T>> {
        let mut space = [MaybeUninit::uninit(); READ_BYTES];
        let mut buffer = ReadBuf::uninit(&mut space);
        let read = match self {
            Self::Plain(tcp) => Pin::new(tcp).poll_read(cx, &mut buffer),
            Self::Tls(tls) => Pin::new(tls).poll_read(cx, &mut buffer),
        };
        read.map_ok(|()| take(buffer.filled()))
    }

    pub(super) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(tcp) => Pin::new(tcp).poll_write_vectored(cx, slices),
            Self::Tls(tls) => Pin::new(tls).poll_write_vectored(cx, slices),
        }
    }

    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(tcp) => Pin::new(tcp).poll_flush(cx),
            Self::Tls(tls) => Pin::new(tls).poll_flush(cx),
        }
    }

    pub(super) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Self::Tls(tls) => Pin::new(tls).poll_shutdown(cx),
        }
    }

    /// Whether the peer has neither closed the connection nor sent something unasked.
    pub(super) fn is_quiet(&mut self, cx: &mut Context<'_>) -> bool {
        match (heard(self.tcp()), &self) {
            (Heard::Close, _) | (Heard::Bytes, Self::Plain(_)) => false,
            (Heard::Nothing, Self::Plain(_)) => true,
            // What lies in the socket may be a session ticket: only the TLS layer can tell.
            (Heard::Nothing | Heard::Bytes, Self::Tls(_)) => self.poll_take(cx, |_| ()).is_pending(),
        }
    }

    /// Whether the peer has closed the connection.
    pub(super) fn is_closed(&self) -> bool {
        heard(self.tcp()) == Heard::Close
    }

    fn tcp(&self) -> &TcpStream {
        match self {
            Self::Plain(tcp) => tcp,
            Self::Tls(tls) => tls.get_ref().0,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Heard {
    Nothing,
    Bytes,
    Close,
}

/// Asks the kernel itself what came in: the runtime learns of it only when its reactor next runs.
fn heard(tcp: &TcpStream) -> Heard {
    let closing = PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR;
    let mut asked = [PollFd::new(tcp, PollFlags::IN | PollFlags::RDHUP)];
    match poll(&mut asked, Some(&Timespec::default())) {
        Err(_) => Heard::Close,
        Ok(_) if asked[0].revents().intersects(closing) => Heard::Close,
        Ok(_) if asked[0].revents().contains(PollFlags::IN) => Heard::Bytes,
        Ok(_) => Heard::Nothing,
    }
}

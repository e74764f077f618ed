//! A connection to a receiver: TCP, with or without TLS on it.

use rustix::net::RecvFlags;
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
        match self {
            Self::Plain(tcp) => peek(tcp) == Peeked::Nothing,
            // What lies in the socket may be a session ticket: only the TLS layer can tell.
            Self::Tls(tls) => {
                let closed = peek(tls.get_ref().0) == Peeked::End;
                !closed && self.poll_take(cx, |_| ()).is_pending()
            }
        }
    }

    /// Whether the peer has closed the connection.
    pub(super) fn is_closed(&self) -> bool {
        match self {
            Self::Plain(tcp) => peek(tcp) == Peeked::End,
            Self::Tls(tls) => peek(tls.get_ref().0) == Peeked::End,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Peeked {
    Nothing,
    Bytes,
    End,
}

/// Asks the kernel itself: the runtime learns of a close only when its reactor next runs.
fn peek(tcp: &TcpStream) -> Peeked {
    let mut byte = [0];
    match rustix::net::recv(tcp, &mut byte, RecvFlags::PEEK | RecvFlags::DONTWAIT) {
        Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => Peeked::Nothing,
        Ok((_, 0)) | Err(_) => Peeked::End,
        Ok(_) => Peeked::Bytes,
    }
}

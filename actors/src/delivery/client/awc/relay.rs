//! What awc is given to read: the answer again, in a form that it cannot misunderstand.

use crate::delivery::http1::body::Framing;
use bytes::{Buf, BytesMut};
use std::fmt::Write as _;
use tokio::io::ReadBuf;

/// Bytes on their way to awc.
#[derive(Default)]
pub(super) struct Relay {
    bytes: BytesMut,
    begun: bool,
    chunked: bool,
}

impl Relay {
    /// Whether the head was written.
    pub(super) fn has_begun(&self) -> bool {
        self.begun
    }

    /// Writes the head: the status, one framing, and whether the connection may be pooled.
    pub(super) fn head(&mut self, status: u16, framing: &Framing, keep_alive: bool) {
        self.begun = true;
        self.put(format_args!("HTTP/1.1 {status} \r\n"));
        self.chunked = !matches!(framing, Framing::Length(_));
        match framing {
            Framing::Length(length) => self.put(format_args!("content-length: {length}\r\n")),
            _ => self.put(format_args!("transfer-encoding: chunked\r\n")),
        }
        let connection = if keep_alive { "" } else { "connection: close\r\n" };
        self.put(format_args!("{connection}\r\n"));
    }

    pub(super) fn data(&mut self, data: &[u8]) {
        if self.chunked {
            self.put(format_args!("{:x}\r\n", data.len()));
        }
        self.bytes.extend_from_slice(data);
        if self.chunked {
            self.bytes.extend_from_slice(b"\r\n");
        }
    }

    pub(super) fn end(&mut self) {
        if self.chunked {
            self.bytes.extend_from_slice(b"0\r\n\r\n");
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(super) fn read(&mut self, buffer: &mut ReadBuf<'_>) {
        let count = self.bytes.len().min(buffer.remaining());
        buffer.put_slice(&self.bytes[..count]);
        self.bytes.advance(count);
    }

    fn put(&mut self, text: std::fmt::Arguments<'_>) {
        // Writing to a growing buffer cannot fail.
        let _ = self.bytes.write_fmt(text);
    }
}

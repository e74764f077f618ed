//! Reads the head of an answer, strictly.
//!
//! The head decides two things: what the receiver said (status, `Retry-After`), and where its body ends
//! ([`Framing`]). A doubtful status line is garbage; doubtful framing leaves the status standing but makes the
//! rest of the connection worthless.

use super::body::Framing;
use bytes::{Buf, BytesMut};
use std::time::Duration;

const HEAD_BYTES_MAX: usize = 64 << 10;
const HEADERS_MAX: usize = 96;
const RETRY_AFTER_BYTES_MAX: usize = 64;
/// Interim answers (`1xx`) that are skipped before a final one.
const INTERIM_MAX: u32 = 16;

/// The head of a final answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    /// 200–999.
    pub(crate) status: u16,
    /// As written, at most 64 bytes.
    pub(crate) retry_after: Option<String>,
    /// Where the body ends.
    pub(crate) framing: Framing,
    /// Whether the connection may carry another request after a complete body.
    pub(crate) keep_alive: bool,
    /// How long the receiver says it keeps an idle connection (`Keep-Alive: timeout=5`).
    pub(crate) idle_timeout: Option<Duration>,
}

/// Why an answer's head is not one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HeadError {
    #[error("the answer is not HTTP/1.1")]
    NotHttp,
    #[error("the answer's head is larger than {HEAD_BYTES_MAX} bytes or {HEADERS_MAX} headers")]
    TooLarge,
    #[error("more than {INTERIM_MAX} interim answers")]
    TooManyInterim,
    #[error("the answer switches protocols, which nobody asked for")]
    Upgrade,
}

/// Finds the final head in the bytes of a connection, skipping interim answers.
#[derive(Debug, Default)]
pub(crate) struct HeadReader {
    /// How far the bytes were searched for the end of the head.
    searched: usize,
    interim: u32,
}

impl HeadReader {
    /// Takes the final head out of `input` once it is there; what remains in `input` is body.
    pub(crate) fn read(&mut self, input: &mut BytesMut) -> Result<Option<Head>, HeadError> {
        loop {
            if !could_be_http(input) {
                return Err(HeadError::NotHttp);
            }
            let Some(end) = self.find_end(input) else {
                return if input.len() > HEAD_BYTES_MAX { Err(HeadError::TooLarge) } else { Ok(None) };
            };
            let parsed = if end > HEAD_BYTES_MAX { Err(HeadError::TooLarge) } else { parse(&input[..end]) }?;
            input.advance(end);
            self.searched = 0;
            if let Some(head) = parsed {
                return Ok(Some(head));
            }
            self.interim += 1;
            if self.interim > INTERIM_MAX {
                return Err(HeadError::TooManyInterim);
            }
        }
    }

    /// The length of the head including its empty line. A bare line feed ends a line too (RFC 9112 §2.2).
    fn find_end(&mut self, input: &[u8]) -> Option<usize> {
        while let Some(at) = input[self.searched..].iter().position(|&byte| byte == b'\n') {
            let line_end = self.searched + at + 1;
            match &input[line_end..] {
                [b'\n', ..] => return Some(line_end + 1),
                [b'\r', b'\n', ..] => return Some(line_end + 2),
                [] | [b'\r'] => {
                    self.searched = line_end - 1; // look at this line's end again, with more bytes
                    return None;
                }
                _ => self.searched = line_end,
            }
        }
        self.searched = input.len();
        None
    }
}

/// Whether the bytes so far could begin a status line: garbage is told from a slow head at once.
fn could_be_http(input: &[u8]) -> bool {
    let known = input.len().min(b"HTTP/1.".len());
    input[..known] == b"HTTP/1."[..known]
}

/// Parses one whole head; `None` if it is an interim answer.
fn parse(bytes: &[u8]) -> Result<Option<Head>, HeadError> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut parsed = httparse::Response::new(&mut headers);
    match parsed.parse(bytes) {
        Ok(httparse::Status::Complete(length)) if length == bytes.len() => {}
        Err(httparse::Error::TooManyHeaders) => return Err(HeadError::TooLarge),
        _ => return Err(HeadError::NotHttp),
    }
    let (Some(status), Some(version)) = (parsed.code, parsed.version) else {
        return Err(HeadError::NotHttp);
    };
    match status {
        101 => return Err(HeadError::Upgrade),
        100..=199 => return Ok(None),
        200..=999 => {}
        _ => return Err(HeadError::NotHttp),
    }
    let values = |name: &'static str| {
        let named = parsed.headers.iter().filter(move |header| header.name.eq_ignore_ascii_case(name));
        named.map(|header| header.value.trim_ascii())
    };
    let closes = values("connection").any(|value| has_option(value, b"close"));
    let framing = framing(status, values("transfer-encoding"), values("content-length"));
    Ok(Some(Head {
        status,
        retry_after: values("retry-after").next().map(printable),
        keep_alive: version == 1 && !closes && framing.is_delimited(),
        framing,
        idle_timeout: values("keep-alive").find_map(idle_timeout),
    }))
}

/// RFC 9112 §6.3, with no mercy for a message that frames itself twice.
fn framing<'a>(
    status: u16,
    mut encodings: impl Iterator<Item = &'a [u8]>,
    mut lengths: impl Iterator<Item = &'a [u8]>,
) -> Framing {
    let (encoding, length) = (encodings.next(), lengths.next());
    if encodings.next().is_some() || lengths.next().is_some() || (encoding.is_some() && length.is_some()) {
        return Framing::Contradictory;
    }
    let framing = match (encoding, length) {
        (Some(encoding), _) if encoding.eq_ignore_ascii_case(b"chunked") => Framing::chunked(),
        (None, Some(length)) => parse_length(length).map_or(Framing::Contradictory, Framing::Length),
        _ => Framing::UntilClose,
    };
    match (status, framing) {
        // These never have a body; one that is announced all the same is not to be trusted.
        (204, Framing::UntilClose | Framing::Length(0)) | (304, Framing::UntilClose | Framing::Length(_)) => {
            Framing::Length(0)
        }
        (204 | 304, _) => Framing::Contradictory,
        (_, framing) => framing,
    }
}

fn parse_length(value: &[u8]) -> Option<u64> {
    let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(value).ok().filter(|_| digits)?.parse().ok()
}

fn has_option(value: &[u8], option: &[u8]) -> bool {
    value.split(|&byte| byte == b',').any(|one| one.trim_ascii().eq_ignore_ascii_case(option))
}

fn idle_timeout(value: &[u8]) -> Option<Duration> {
    let seconds =
        value.split(|&byte| byte == b',').find_map(|one| one.trim_ascii().strip_prefix(b"timeout="))?;
    parse_length(seconds).map(Duration::from_secs)
}

fn printable(value: &[u8]) -> String {
    let kept = &value[..value.len().min(RETRY_AFTER_BYTES_MAX)];
    kept.iter()
        .filter(|byte| byte.is_ascii() && !byte.is_ascii_control())
        .map(|&byte| char::from(byte))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: impl AsRef<[u8]>) -> Result<Option<Head>, HeadError> {
        HeadReader::default().read(&mut BytesMut::from(bytes.as_ref()))
    }

    fn framing_of(headers: &str) -> (Framing, bool) {
        let head = read(format!("HTTP/1.1 200 OK\r\n{headers}\r\n")).unwrap().unwrap();
        (head.framing, head.keep_alive)
    }

    #[test]
    fn a_head_is_read_the_same_however_it_is_cut() {
        let bytes =
            b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 429 Slow down\r\nretry-after: 7\r\n\
            Keep-Alive: timeout=5, max=100\r\nContent-Length: 3\r\n\r\nabc";
        let (mut reader, mut input, mut found) = (HeadReader::default(), BytesMut::new(), Vec::new());
        for byte in bytes {
            input.extend_from_slice(&[*byte]);
            if found.is_empty() {
                found.extend(reader.read(&mut input).unwrap());
            }
        }
        assert_eq!(
            found,
            [Head {
                status: 429,
                retry_after: Some("7".to_owned()),
                framing: Framing::Length(3),
                keep_alive: true,
                idle_timeout: Some(Duration::from_secs(5)),
            }]
        );
        assert_eq!(input, "abc");
    }

    #[test]
    fn bare_line_feeds_are_read_and_an_unfinished_head_is_not() {
        assert_eq!(read("HTTP/1.1 200 OK\nContent-Length: 0\n\n").unwrap().unwrap().status, 200);
        assert_eq!(read("HTTP/1.1 200\r\n\r\n").unwrap().unwrap().status, 200);
        for part in [
            "",
            "HT",
            "HTTP/1.1 200 OK\r\n",
            "HTTP/1.1 200 OK\r\nA: b\r\n\r",
            "HTTP/1.1 100 Continue\r\n\r\n",
        ] {
            assert_eq!(read(part), Ok(None), "{part:?}");
        }
    }

    #[test]
    fn garbage_is_told_at_its_first_bytes() {
        for bad in [
            "SSH-2.0-OpenSSH_9\r\n",
            "HTTP/2 200\r\n\r\n",
            "HTTP/0.9 200 OK\r\n\r\n",
            "http/1.1 200 OK\r\n\r\n",
            "\r\n",
            "HTTP/1.1 20 OK\r\n\r\n",
            "HTTP/1.1 2000 OK\r\n\r\n",
            "HTTP/1.1 099 X\r\n\r\n",
            "HTTP/1.1 abc\r\n\r\n",
            "HTTP/1.1  200 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
            "HTTP/1.1 200 OK\r\nA : b\r\n\r\n",
            "HTTP/1.1 200 OK\r\n folded: x\r\n\r\n",
            "HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n",
            "HTTP/1.1 200 OK\r\nA: \0\r\n\r\n",
            "<html>",
        ] {
            assert_eq!(read(bad), Err(HeadError::NotHttp), "{bad:?}");
        }
        assert_eq!(read("HTTP/1.1 101 Switching Protocols\r\n\r\n"), Err(HeadError::Upgrade));
    }

    #[test]
    fn heads_are_bounded_in_bytes_in_headers_and_in_interim_answers() {
        let long = format!("HTTP/1.1 200 OK\r\nA: {}", "x".repeat(HEAD_BYTES_MAX));
        assert_eq!(read(&long), Err(HeadError::TooLarge));
        assert_eq!(read(format!("{long}\r\n\r\n")), Err(HeadError::TooLarge));
        let headers = |count: usize| format!("HTTP/1.1 200 OK\r\n{}\r\n", "A: b\r\n".repeat(count));
        assert!(read(headers(HEADERS_MAX)).unwrap().is_some());
        assert_eq!(read(headers(HEADERS_MAX + 1)), Err(HeadError::TooLarge));
        let flood = "HTTP/1.1 102 Processing\r\n\r\n".repeat(INTERIM_MAX as usize + 1);
        assert_eq!(read(flood), Err(HeadError::TooManyInterim));
    }

    #[test]
    fn a_message_has_one_framing_or_none_that_counts() {
        assert_eq!(framing_of("Content-Length: 12\r\n"), (Framing::Length(12), true));
        assert_eq!(framing_of("Transfer-Encoding: Chunked\r\n"), (Framing::chunked(), true));
        assert_eq!(framing_of(""), (Framing::UntilClose, false));
        assert_eq!(framing_of("Transfer-Encoding: gzip, chunked\r\n"), (Framing::UntilClose, false));
        assert_eq!(framing_of("Content-Length: 1\r\nConnection: x, Close\r\n"), (Framing::Length(1), false));
        for doubtful in [
            "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n",
            "Content-Length: 1\r\nContent-Length: 1\r\n",
            "Content-Length: 1\r\nContent-Length: 2\r\n",
            "Content-Length: 1, 1\r\n",
            "Content-Length: +1\r\n",
            "Content-Length: -1\r\n",
            "Content-Length: 0x1\r\n",
            "Content-Length:\r\n",
            "Content-Length: 99999999999999999999\r\n",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        ] {
            assert_eq!(framing_of(doubtful), (Framing::Contradictory, false), "{doubtful:?}");
        }
    }

    #[test]
    fn old_servers_and_bodyless_answers() {
        let head = |text: &str| read(text).unwrap().unwrap();
        assert!(!head("HTTP/1.0 200 OK\r\nContent-Length: 0\r\nConnection: keep-alive\r\n\r\n").keep_alive);
        assert_eq!(head("HTTP/1.1 204 No Content\r\n\r\n").framing, Framing::Length(0));
        assert!(head("HTTP/1.1 204 No Content\r\n\r\n").keep_alive);
        assert_eq!(
            head("HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n").framing,
            Framing::Length(0)
        );
        assert_eq!(head("HTTP/1.1 204 No\r\nContent-Length: 9\r\n\r\n").framing, Framing::Contradictory);
    }

    #[test]
    fn retry_after_is_kept_as_written_but_short_and_printable() {
        let retry_after = |value: &str| {
            read(format!("HTTP/1.1 503 X\r\nRetry-After: {value}\r\n\r\n"))
                .unwrap()
                .unwrap()
                .retry_after
                .unwrap()
        };
        for value in ["7", "-5", "1e9", "Wed, 21 Oct 2015 07:28:00 GMT", ""] {
            assert_eq!(retry_after(value), value);
        }
        assert_eq!(retry_after(&"9".repeat(1000)).len(), RETRY_AFTER_BYTES_MAX);
        assert_eq!(retry_after("7\u{e9}"), "7");
    }
}

//! Finds where the body of an answer ends, and hands out its bytes.

use bytes::{Buf, Bytes, BytesMut};

/// What chunk sizes, extensions and trailers may cost in all. Data is not counted.
const OVERHEAD_BYTES_MAX: usize = 512 << 10;
/// The longest chunk size line or trailer.
const LINE_BYTES_MAX: usize = 8 << 10;

/// How an answer says where its body ends, and how much of that is left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// So many bytes are left.
    Length(u64),
    /// Chunks, the last one empty (RFC 9112 §7.1).
    Chunked(Chunks),
    /// Everything until the connection closes.
    UntilClose,
    /// The head contradicts itself: nobody knows where the body ends, so none of it is read.
    Contradictory,
}

/// Where in the chunked coding the reader stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Chunks {
    place: Place,
    overhead: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Size,
    Data(u64),
    DataEnd,
    Trailers,
    End,
}

/// What the bytes so far hold.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// Some of the body.
    Data(Bytes),
    /// The body is over; whatever follows belongs to nobody.
    End,
    /// More bytes are needed.
    Starved,
}

/// Why the body of an answer is not whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BodyError {
    #[error("the answer's body was cut short")]
    Cut,
    #[error("the answer's framing contradicts itself")]
    Contradictory,
    #[error("the answer's chunks are malformed")]
    Chunk,
}

impl Framing {
    pub(crate) fn chunked() -> Self {
        Self::Chunked(Chunks { place: Place::Size, overhead: 0 })
    }

    /// Whether the end is known from the bytes alone.
    pub(crate) fn is_delimited(&self) -> bool {
        matches!(self, Self::Length(_) | Self::Chunked(_))
    }

    /// Takes the next part of the body out of `input`.
    pub(crate) fn decode(&mut self, input: &mut BytesMut) -> Result<Part, BodyError> {
        match self {
            Self::Length(left) => Ok(take(left, input).map_or(Part::End, starved_or_data)),
            Self::Chunked(chunks) => chunks.decode(input),
            Self::UntilClose => Ok(starved_or_data(input.split().freeze())),
            Self::Contradictory => Err(BodyError::Contradictory),
        }
    }
}

fn starved_or_data(bytes: Bytes) -> Part {
    if bytes.is_empty() { Part::Starved } else { Part::Data(bytes) }
}

/// Takes at most `left` bytes out of `input`; `None` if none are left to take.
fn take(left: &mut u64, input: &mut BytesMut) -> Option<Bytes> {
    let wanted = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
    let taken = (*left > 0).then(|| input.split_to(wanted).freeze());
    *left -= wanted as u64;
    taken
}

impl Chunks {
    fn decode(&mut self, input: &mut BytesMut) -> Result<Part, BodyError> {
        loop {
            if let Place::Data(left) = &mut self.place {
                match take(left, input) {
                    Some(bytes) => return Ok(starved_or_data(bytes)),
                    None => self.place = Place::DataEnd,
                }
                continue;
            }
            if self.place == Place::End {
                return Ok(Part::End);
            }
            let Some(line) = self.line(input)? else { return Ok(Part::Starved) };
            self.place = match self.place {
                Place::Size => match parse_size(&line)? {
                    0 => Place::Trailers,
                    size => Place::Data(size),
                },
                Place::DataEnd if line.is_empty() => Place::Size,
                Place::DataEnd => return Err(BodyError::Chunk),
                _ if line.is_empty() => Place::End,
                _ => Place::Trailers,
            };
        }
    }

    /// Takes one line, without its end. Only CRLF ends a line here: anything else is where smuggling starts.
    fn line(&mut self, input: &mut BytesMut) -> Result<Option<Bytes>, BodyError> {
        let window = &input[..input.len().min(LINE_BYTES_MAX)];
        let Some(at) = window.iter().position(|&byte| byte == b'\n') else {
            return if input.len() >= LINE_BYTES_MAX { Err(BodyError::Chunk) } else { Ok(None) };
        };
        let mut line = input.split_to(at).freeze();
        input.advance(1);
        self.overhead += at + 1;
        if line.last() != Some(&b'\r') || self.overhead > OVERHEAD_BYTES_MAX {
            return Err(BodyError::Chunk);
        }
        line.truncate(at - 1);
        Ok(Some(line))
    }
}

/// `1*HEXDIG [ chunk-ext ]`
fn parse_size(line: &[u8]) -> Result<u64, BodyError> {
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let (size, extension) = line.split_at(digits);
    if !matches!(extension.trim_ascii_start(), [] | [b';', ..]) {
        return Err(BodyError::Chunk);
    }
    let text = std::str::from_utf8(size).map_err(|_| BodyError::Chunk)?;
    u64::from_str_radix(text, 16).map_err(|_| BodyError::Chunk)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at_end(framing: &Framing, body: Vec<u8>) -> Result<(Vec<u8>, usize), BodyError> {
        if *framing == Framing::UntilClose { Ok((body, 0)) } else { Err(BodyError::Cut) }
    }

    /// Feeds `bytes` one at a time; returns the body, and what is left behind its end.
    fn drip(mut framing: Framing, bytes: &[u8]) -> Result<(Vec<u8>, usize), BodyError> {
        let (mut input, mut body) = (BytesMut::new(), Vec::new());
        for (fed, byte) in bytes.iter().enumerate() {
            input.extend_from_slice(&[*byte]);
            loop {
                match framing.decode(&mut input)? {
                    Part::Data(data) => body.extend_from_slice(&data),
                    Part::End => return Ok((body, bytes.len() - fed - 1 + input.len())),
                    Part::Starved => break,
                }
            }
        }
        at_end(&framing, body)
    }

    fn gulp(mut framing: Framing, bytes: &[u8]) -> Result<(Vec<u8>, usize), BodyError> {
        let (mut input, mut body) = (BytesMut::from(bytes), Vec::new());
        loop {
            match framing.decode(&mut input)? {
                Part::Data(data) => body.extend_from_slice(&data),
                Part::End => return Ok((body, input.len())),
                Part::Starved => return at_end(&framing, body),
            }
        }
    }

    #[test]
    fn bodies_end_where_their_framing_says() {
        for (framing, bytes, expected) in [
            (Framing::Length(3), "abcX", Ok((b"abc".to_vec(), 1))),
            (Framing::Length(0), "X", Ok((vec![], 1))),
            (Framing::Length(9), "abc", Err(BodyError::Cut)),
            (Framing::UntilClose, "abc", Ok((b"abc".to_vec(), 0))),
            (Framing::Contradictory, "abc", Err(BodyError::Contradictory)),
            (Framing::chunked(), "3\r\nabc\r\n0\r\n\r\n", Ok((b"abc".to_vec(), 0))),
            (
                Framing::chunked(),
                "3;a=b\r\nabc\r\nA \r\n0123456789\r\n000\r\nT: x\r\n\r\nHTTP",
                Ok((b"abc0123456789".to_vec(), 4)),
            ),
            (Framing::chunked(), "3\r\nab", Err(BodyError::Cut)),
            (Framing::chunked(), "3\r\nabc\r\n0\r\n", Err(BodyError::Cut)),
            (Framing::chunked(), "3\r\nabcd\r\n0\r\n\r\n", Err(BodyError::Chunk)),
            (Framing::chunked(), "3\nabc\r\n0\r\n\r\n", Err(BodyError::Chunk)),
            (Framing::chunked(), "\r\nabc", Err(BodyError::Chunk)),
            (Framing::chunked(), "-1\r\nabc", Err(BodyError::Chunk)),
            (Framing::chunked(), "0x3\r\nabc", Err(BodyError::Chunk)),
            (Framing::chunked(), "11112222333344445\r\n", Err(BodyError::Chunk)),
        ] {
            assert_eq!(gulp(framing.clone(), bytes.as_bytes()), expected, "{bytes:?}");
            assert_eq!(drip(framing, bytes.as_bytes()), expected, "{bytes:?}, byte by byte");
        }
    }

    #[test]
    fn chunks_cannot_hide_endless_overhead() {
        let extension = format!("1;{}", "x".repeat(LINE_BYTES_MAX));
        assert_eq!(gulp(Framing::chunked(), extension.as_bytes()), Err(BodyError::Chunk));
        let wasteful = format!("1;{}\r\na\r\n", "x".repeat(4096)).repeat(OVERHEAD_BYTES_MAX / 4096 + 1);
        assert_eq!(gulp(Framing::chunked(), wasteful.as_bytes()), Err(BodyError::Chunk));
        let trailers = format!("0\r\n{}", "T: x\r\n".repeat(OVERHEAD_BYTES_MAX / 6 + 1));
        assert_eq!(gulp(Framing::chunked(), trailers.as_bytes()), Err(BodyError::Chunk));
    }
}

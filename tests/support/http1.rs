//! As much HTTP/1.1 as both ends of the tests need. Strict: what is not well-formed is an error.

use std::io::{self, BufRead, Read};

/// The first line, headers and body of a request or an answer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Message {
    pub first: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Message {
    /// The value of a header, whatever the case of its name.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }
}

/// Reads one message; `None` if the other side closed before its first byte.
pub(crate) fn read(reader: &mut impl BufRead) -> io::Result<Option<Message>> {
    let Some(first) = line(reader)? else { return Ok(None) };
    let mut message = Message { first, ..Message::default() };
    loop {
        let header = line(reader)?.ok_or_else(|| bad("the head is cut"))?;
        if header.is_empty() {
            break;
        }
        let (name, value) = header.split_once(':').ok_or_else(|| bad("a header without a colon"))?;
        message.headers.push((name.to_owned(), value.trim().to_owned()));
    }
    let length = message.header("content-length").map(str::parse::<usize>).transpose();
    let length = length.map_err(|_| bad("content-length is no number"))?;
    let chunked = message.header("transfer-encoding").is_some();
    message.body = match (length, chunked) {
        (Some(_), true) => return Err(bad("two body framings")),
        (Some(length), false) => {
            let mut body = vec![0; length];
            reader.read_exact(&mut body)?;
            body
        }
        (None, true) => read_chunks(reader)?,
        (None, false) => Vec::new(),
    };
    Ok(Some(message))
}

fn read_chunks(reader: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let size = line(reader)?.ok_or_else(|| bad("chunks are cut"))?;
        let size = u64::from_str_radix(size.trim(), 16).map_err(|_| bad("a chunk without a size"))?;
        reader.take(size).read_to_end(&mut body)?;
        line(reader)?;
        if size == 0 {
            return Ok(body);
        }
    }
}

fn line(reader: &mut impl BufRead) -> io::Result<Option<String>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let text = line.strip_suffix("\r\n").ok_or_else(|| bad("a line without its end"))?;
    Ok(Some(text.to_owned()))
}

fn bad(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

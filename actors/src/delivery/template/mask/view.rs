//! A text as those read it who undo its escapes: percent-encoding (RFC 3986, and forms with `+` for a blank) and the
//! strings of JSON (RFC 8259), in any mixture. Each pass is linear, and there are only so many.

use std::{borrow::Cow, ops::Range};

/// How often escapes are undone: what is escaped more often is no accident.
const ROUNDS: usize = 3;

/// Which escapes are undone.
#[derive(Clone, Copy)]
struct Escapes {
    percent: bool,
    json: bool,
}

/// Each kind alone as well: a secret may hold what looks like an escape of the other.
const KINDS: [Escapes; 3] = [
    Escapes { percent: true, json: false },
    Escapes { percent: false, json: true },
    Escapes { percent: true, json: true },
];

/// A text with some of its escapes undone.
pub(super) struct View<'t> {
    /// What it says, [`folded`].
    pub(super) bytes: Cow<'t, [u8]>,
    /// Where in the text each byte begins, and at last the text's end; `None` where nothing was undone.
    starts: Option<Vec<usize>>,
    /// Behind here an escape begins that the end of the text cuts off.
    pub(super) cut_at: usize,
}

/// Bytes that are taken for one another: in a form `+` stands for a blank.
pub(super) fn folded(byte: u8) -> u8 {
    if byte == b'+' { b' ' } else { byte }
}

/// The text as it is, and with its escapes undone in every way.
pub(super) fn views(text: &[u8]) -> Vec<View<'_>> {
    let bytes = if text.contains(&b'+') {
        Cow::Owned(text.iter().copied().map(folded).collect())
    } else {
        Cow::Borrowed(text)
    };
    let mut views = vec![View { cut_at: cut_at(&bytes), bytes, starts: None }];
    for kind in KINDS {
        let mut from = 0;
        // Without a backslash somewhere these are the first kind once more.
        if kind.json && !views.iter().any(|view| view.bytes.contains(&b'\\')) {
            break;
        }
        for _ in 0..ROUNDS {
            let Some(next) = views[from].undone(kind) else { break };
            from = views.len();
            views.push(next);
        }
    }
    views
}

impl<'t> View<'t> {
    /// Where in the text some of the bytes lie.
    pub(super) fn place(&self, bytes: Range<usize>) -> Range<usize> {
        match &self.starts {
            None => bytes,
            Some(starts) => starts[bytes.start]..starts[bytes.end],
        }
    }

    /// The view with one layer less; `None` if there is none.
    fn undone(&self, kind: Escapes) -> Option<View<'t>> {
        let (mut bytes, mut starts) = (Vec::new(), Vec::new());
        let mut at = 0;
        while let Some(rest) = self.bytes.get(at..).filter(|rest| !rest.is_empty()) {
            let (letter, taken) = unit(rest, kind);
            let mut start = self.place(at..at).start;
            at += taken;
            for &byte in letter.bytes() {
                bytes.push(folded(byte));
                starts.push(start);
                // Only a whole escape can be masked.
                start = self.place(at..at).start;
            }
        }
        starts.push(self.place(at..at).start);
        let is_changed = bytes.len() < self.bytes.len();
        is_changed.then(|| View { cut_at: cut_at(&bytes), bytes: Cow::Owned(bytes), starts: Some(starts) })
    }
}

/// What one escape, or one byte, stands for.
struct Letter([u8; 4], usize);

impl Letter {
    fn bytes(&self) -> &[u8] {
        &self.0[..self.1]
    }
}

impl From<u8> for Letter {
    fn from(byte: u8) -> Self {
        Self([byte, 0, 0, 0], 1)
    }
}

impl From<char> for Letter {
    fn from(letter: char) -> Self {
        let mut bytes = [0; 4];
        let length = letter.encode_utf8(&mut bytes).len();
        Self(bytes, length)
    }
}

/// The first letter of what is left, and how many bytes it takes.
fn unit(rest: &[u8], kind: Escapes) -> (Letter, usize) {
    let escaped = match rest[0] {
        b'%' if kind.percent => number(rest.get(1..3)).and_then(|n| Some((u8::try_from(n).ok()?.into(), 3))),
        b'\\' if kind.json => json_escape(rest),
        _ => None,
    };
    escaped.unwrap_or((rest[0].into(), 1))
}

fn json_escape(rest: &[u8]) -> Option<(Letter, usize)> {
    let byte = match rest.get(1)? {
        plain @ (b'"' | b'\\' | b'/') => *plain,
        b'b' => 0x08,
        b'f' => 0x0c,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'u' => return unicode_escape(rest),
        _ => return None,
    };
    Some((byte.into(), 2))
}

/// `\u00e9`, or a pair of surrogates.
fn unicode_escape(rest: &[u8]) -> Option<(Letter, usize)> {
    let first = number(rest.get(2..6))?;
    if let Some(letter) = char::from_u32(first) {
        return Some((letter.into(), 6));
    }
    let second = rest.get(6..8).filter(|next| *next == b"\\u").and_then(|_| number(rest.get(8..12)))?;
    let pair = [u16::try_from(first).ok()?, u16::try_from(second).ok()?];
    let letter = char::decode_utf16(pair).next()?.ok()?;
    Some((letter.into(), 12))
}

/// Hexadecimal digits in either case.
fn number(digits: Option<&[u8]>) -> Option<u32> {
    digits?.iter().try_fold(0, |number, digit| Some(number * 16 + char::from(*digit).to_digit(16)?))
}

/// Where the last escape begins, if the end of the text cuts it off.
fn cut_at(bytes: &[u8]) -> usize {
    let is_cut = |from: &usize| {
        let end = &bytes[*from..];
        match end {
            [b'%', digits @ ..] => digits.len() < 2 && digits.iter().all(u8::is_ascii_hexdigit),
            [b'\\'] => true,
            [b'\\', b'u', digits @ ..] => digits.len() < 4 && digits.iter().all(u8::is_ascii_hexdigit),
            _ => false,
        }
    };
    (bytes.len().saturating_sub(5)..bytes.len()).find(is_cut).unwrap_or(bytes.len())
}

//! Where and why a text is not the JSON that we take.

/// A refusal, with the place of the first byte that is to blame.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kind} at line {line}, column {column}")]
pub struct JsonError {
    /// What is wrong.
    pub kind: JsonErrorKind,
    /// Bytes before the place.
    pub offset: usize,
    /// Line of the place, from 1.
    pub line: usize,
    /// Column of the place in characters, from 1.
    pub column: usize,
    /// JSON pointer (RFC 6901) of the innermost value that was being read; of the second one for a duplicate.
    pub pointer: String,
}

/// What can be wrong with a text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JsonErrorKind {
    /// Another character than the grammar allows here.
    #[error("expected {expected}")]
    Syntax { expected: &'static str },
    /// The text ends within a value, or has none.
    #[error("unexpected end of the text")]
    End,
    /// Something follows the value.
    #[error("unexpected text after the value")]
    Trailing,
    /// Objects and arrays are nested more deeply than the limit.
    #[error("nested more than {limit} deep")]
    Depth { limit: u8 },
    /// An object names the same key twice (ADM.3).
    #[error("duplicate key `{}`", key.escape_debug())]
    DuplicateKey { key: String },
    /// Half of a UTF-16 surrogate pair, which no encoding of text can hold (T-4).
    #[error("lone surrogate in an escape")]
    LoneSurrogate,
    /// An escape that JSON does not have.
    #[error("invalid escape")]
    Escape,
    /// Bytes that are not UTF-8.
    #[error("invalid UTF-8")]
    InvalidUtf8,
    /// A character below U+0020 in a string.
    #[error("control character in a string")]
    ControlCharacter,
    /// `NaN`, `+1`, `01`, `.5`, `1.` and the like.
    #[error("invalid number")]
    Number,
}

/// An error on its way up: the path is collected from the inside out. Boxed, so that the results that the
/// parser passes around stay small.
#[derive(Debug)]
pub(super) struct Fault(Box<FaultParts>);

#[derive(Debug)]
struct FaultParts {
    kind: JsonErrorKind,
    offset: usize,
    path: Vec<String>,
}

impl Fault {
    pub(super) fn new(kind: JsonErrorKind, offset: usize) -> Self {
        Self(Box::new(FaultParts { kind, offset, path: Vec::new() }))
    }

    /// The same fault, seen from the container that holds the faulty value under `segment`.
    pub(super) fn within(mut self, segment: impl Into<String>) -> Self {
        self.0.path.push(segment.into());
        self
    }

    /// Finds line and column in `input`.
    pub(super) fn locate(self, input: &[u8]) -> JsonError {
        let FaultParts { kind, offset, path } = *self.0;
        let before = &input[..offset.min(input.len())];
        let mut lines = before.split(|&byte| byte == b'\n');
        let line = lines.next_back().unwrap_or_default();
        let is_continuation = |byte: &u8| byte & 0b1100_0000 == 0b1000_0000;
        JsonError {
            kind,
            offset,
            line: 1 + lines.count(),
            column: 1 + line.iter().filter(|byte| !is_continuation(byte)).count(),
            pointer: path.iter().rev().map(|name| pointer_segment(name)).collect(),
        }
    }
}

/// One step of a JSON pointer: RFC 6901 §3.
pub(crate) fn pointer_segment(name: &str) -> String {
    format!("/{}", name.replace('~', "~0").replace('/', "~1"))
}

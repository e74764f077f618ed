//! As much of HTTP/1.1 as two programs need that know each other: heads with a `content-length`, and bodies.

use memchr::memmem;
use std::cell::Cell;

/// The length of the first whole message in `bytes`, and where its body begins.
pub(crate) fn message(bytes: &[u8]) -> Option<(usize, usize)> {
    thread_local!(static LAST: Cell<(usize, usize)> = const { Cell::new((0, 0)) });
    let head = memmem::find(bytes, b"\r\n\r\n")? + 4;
    let (known_head, known_length) = LAST.get();
    // Messages are much alike: where the head is as long as the last one's, the length most likely stands there, too.
    let length = if head == known_head && length_at(bytes, known_length).is_some() {
        length_at(bytes, known_length)?
    } else {
        let at = length_place(&bytes[..head]);
        LAST.set((head, at?));
        length_at(bytes, at?)?
    };
    (bytes.len() >= head + length).then_some((head + length, head))
}

fn length_place(head: &[u8]) -> Option<usize> {
    head.windows(17).position(|name| name.eq_ignore_ascii_case(b"\ncontent-length: "))
}

fn length_at(bytes: &[u8], at: usize) -> Option<usize> {
    let field = bytes.get(at..)?;
    if !field.get(..17)?.eq_ignore_ascii_case(b"\ncontent-length: ") {
        return None;
    }
    Some(number(&field[17..]))
}

/// The decimal number that `bytes` begin with; 0 without one.
pub(crate) fn number(bytes: &[u8]) -> usize {
    bytes
        .iter()
        .take_while(|byte| byte.is_ascii_digit())
        .fold(0, |n, digit| n * 10 + usize::from(digit - b'0'))
}

/// The number behind the first `mark`.
pub(crate) fn number_after(bytes: &[u8], mark: &[u8]) -> Option<usize> {
    memmem::find(bytes, mark).map(|at| number(&bytes[at + mark.len()..]))
}

/// The status of an answer.
pub(crate) fn status(answer: &[u8]) -> usize {
    answer.get(9..).map_or(0, number)
}

//! Takes secrets out of text that other people wrote: response excerpts, messages (SEC.1, SEC.6).
//!
//! ```text
//! text ──> as it is ───────────────────────────┐
//!   └────> escapes undone, up to three times ──┴─> secrets looked for ──> their places in the text ──> ***
//! ```
//! Escapes may be mixed in any way, so they are undone and not listed. What changes every byte (base64, hexadecimal,
//! the other direction) is looked for by its own text.

mod forms;
mod view;

use super::MASK;
use forms::forms;
use std::ops::Range;
use view::{View, folded, views};

/// A piece of a secret at the very end of a cut text is masked from this length on.
const TAIL_MIN: usize = 4;

/// The secrets of one step, in every form in which they may come back.
///
/// Give it the signing keys, the values of environment variables, credentials written in headers, and the
/// signatures that were sent.
#[derive(Clone, Default)]
pub struct Masker {
    /// By their first byte; of these the longest first, so that a longer form is not spoilt by a shorter one within it.
    needles: Vec<Vec<u8>>,
}

impl Masker {
    /// Shorter secrets are not looked for: they would blank out innocent text and protect nothing.
    pub const SECRET_MIN: usize = 4;

    /// Prepares the search for these secrets.
    #[must_use]
    pub fn new(secrets: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Self {
        let forms = secrets.into_iter().flat_map(|secret| forms(secret.as_ref()));
        let long_enough = forms.filter(|form| form.len() >= Self::SECRET_MIN);
        let mut needles: Vec<Vec<u8>> =
            long_enough.map(|form| form.into_iter().map(folded).collect()).collect();
        needles.sort_by(|a, b| a[0].cmp(&b[0]).then(b.len().cmp(&a.len())).then_with(|| a.cmp(b)));
        needles.dedup();
        Self { needles }
    }

    /// The text with `***` for every secret in it, and for a piece of one that the end of the text cut off.
    #[must_use]
    pub fn mask(&self, text: &[u8]) -> Vec<u8> {
        if self.needles.is_empty() {
            return text.to_vec();
        }
        let mut found = Vec::new();
        for view in views(text) {
            self.find(&view, &mut found);
        }
        let mut out = Vec::with_capacity(text.len());
        let mut told = 0;
        for secret in merged(found) {
            out.extend_from_slice(&text[told..secret.start]);
            out.extend_from_slice(MASK.as_bytes());
            told = secret.end;
        }
        out.extend_from_slice(&text[told..]);
        out
    }

    fn find(&self, view: &View<'_>, found: &mut Vec<Range<usize>>) {
        let mut at = 0;
        while let Some(rest) = view.bytes.get(at..).filter(|rest| !rest.is_empty()) {
            let needles = self.beginning_with(rest[0]);
            if let Some(needle) = needles.iter().find(|needle| rest.starts_with(needle)) {
                found.push(view.place(at..at + needle.len()));
                at += needle.len();
                continue;
            }
            // What was cut off may be the rest of an escape, too.
            let whole = view.bytes.get(at..view.cut_at).unwrap_or_default();
            let is_cut = |needle: &Vec<u8>| {
                [rest, whole].iter().any(|end| end.len() >= TAIL_MIN && needle.starts_with(end))
            };
            if needles.iter().any(is_cut) {
                found.push(view.place(at..view.bytes.len()));
                break;
            }
            at += 1;
        }
    }

    fn beginning_with(&self, byte: u8) -> &[Vec<u8>] {
        let from = self.needles.partition_point(|needle| needle[0] < byte);
        let to = from + self.needles[from..].partition_point(|needle| needle[0] == byte);
        &self.needles[from..to]
    }
}

/// Places in their order; those that overlap as one.
fn merged(mut places: Vec<Range<usize>>) -> Vec<Range<usize>> {
    places.sort_by_key(|place| (place.start, place.end));
    let mut merged: Vec<Range<usize>> = Vec::with_capacity(places.len());
    for place in places {
        match merged.last_mut().filter(|last| place.start < last.end) {
            Some(last) => last.end = last.end.max(place.end),
            None => merged.push(place),
        }
    }
    merged
}

#[cfg(test)]
mod tests;

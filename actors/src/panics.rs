//! What a panic says.

use std::any::Any;

/// Longest text that is kept, in characters.
const TEXT_MAX: usize = 200;
/// What stands for something that may be anybody's data.
const MASK: char = '\u{2026}';
/// Longest word that is kept although it is no name.
const WORD_MAX: usize = 16;

/// A panic's text, as it may be stored and logged.
#[must_use]
pub fn text_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(|s| &**s));
    text.map_or_else(|| "panic without a text".into(), masked)
}

/// A text that may quote what somebody sent (SUP.8), cut to 200 characters: whatever stands in quotes is masked, and so
/// is each word that is neither a number nor the name of something in a program.
#[must_use]
pub fn masked(text: &str) -> String {
    let mut kept = String::new();
    let mut quote = None;
    for word in text.split_inclusive([' ', '\n', '\t']) {
        let (word, end) = word.split_at(word.trim_end().len());
        let mut plain = String::new();
        for c in word.chars() {
            match quote {
                Some(open) if c == open => quote = None,
                Some(_) => {}
                None if matches!(c, '"' | '`') => {
                    quote = Some(c);
                    plain.push(MASK);
                }
                None => plain.push(c),
            }
        }
        let mask = MASK.to_string();
        kept.push_str(if is_harmless(&plain) { &plain } else { &mask });
        if quote.is_none() {
            kept.extend(end.chars().map(|_| ' '));
        }
    }
    kept.chars().filter(|c| !c.is_control()).take(TEXT_MAX).collect()
}

/// A number, a short word, or a name as Rust writes it.
fn is_harmless(word: &str) -> bool {
    let of_a_name = |c: char| c.is_ascii_alphabetic() || "_:<>&,.()'-".contains(c) || c == MASK;
    let is_short = word.chars().count() <= WORD_MAX && !word.contains(['@', '{', '=', '%', '/']);
    is_short || word.chars().all(of_a_name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_programs_say_stays() {
        for text in [
            "index out of bounds: the len is 3 but the index is 18446744073709551",
            "called Option::unwrap() on a None value",
            "failpoint pipeline.enqueue",
            "internal error: entered unreachable code: alloc::collections::btree::map::BTreeMap<K,V>",
        ] {
            assert_eq!(masked(text), text.replace("18446744073709551", "\u{2026}"));
        }
    }

    /// SUP.8
    #[test]
    fn what_somebody_sent_goes() {
        let secrets =
            ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLBSw", "jane@example.com", "4111111111111111", "Jane"];
        let event = r#"{"name":"Jane","mail":"jane@example.com","card":"4111111111111111"}"#;
        for text in [
            format!("cannot sign {event} with {}", secrets[0]),
            format!("called `Result::unwrap()` on an `Err` value: Error({event:?}, line: 1)"),
            format!("byte index 5 is not a char boundary; it is inside 'e' (bytes 4..6) of `{event}`"),
            format!("no key {} for jane@example.com", secrets[0]),
            format!("{event}{event}"),
        ] {
            let kept = masked(&text);
            for secret in secrets {
                assert!(!kept.contains(secret), "{secret} in {kept}");
            }
            assert!(kept.chars().count() <= TEXT_MAX);
        }
        assert_eq!(masked("cannot read `a b` of \"c d\""), "cannot read \u{2026} of \u{2026}");
        assert_eq!(masked(&"x ".repeat(500)).chars().count(), TEXT_MAX);
    }
}

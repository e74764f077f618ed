//! What a panic says.

use std::any::Any;

/// A panic's text, cut to 200 characters: it may hold anything (SUP.8).
#[must_use]
pub fn text_of(panic: &(dyn Any + Send)) -> String {
    let text = panic
        .downcast_ref::<&str>()
        .map(|s| (*s).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned());
    text.map_or_else(
        || "panic without a text".into(),
        |text| text.chars().filter(|c| !c.is_control()).take(200).collect(),
    )
}

//! What is wrong with a profile file, and where in its text.

use std::ops::Range;

/// One mistake; the first one stops the reading.
pub(super) struct Fault {
    pub(super) span: Range<usize>,
    pub(super) field: String,
    pub(super) message: String,
}

impl Fault {
    pub(super) fn new(span: Range<usize>, field: String, message: String) -> Self {
        Self { span, field, message }
    }

    pub(super) fn of_toml(error: &toml::de::Error, field: &str) -> Self {
        // `Spanned` shows as a field in the path of what it holds.
        let field = field.replace(".$__serde_spanned_private_value", "");
        Self::new(error.span().unwrap_or_default(), field, error.message().to_owned())
    }
}

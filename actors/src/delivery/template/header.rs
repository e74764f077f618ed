//! Header values: always text, always one line (T-24, TPL.3).

use super::{CompileError, CompileErrorKind, Grant, Scope, TemplateError, text::Text};

/// Longest header value in bytes.
pub const HEADER_VALUE_MAX: usize = 4 * 1024;

/// The compiled value of a header.
#[derive(Clone, Debug)]
pub struct HeaderTemplate {
    text: Text,
}

impl HeaderTemplate {
    /// Compiles a value; control characters are refused here and now (ADM.10).
    pub fn compile(source: &str, grant: &Grant<'_>) -> Result<Self, CompileError> {
        if let Some(offset) = source.find(char::is_control) {
            return Err(CompileErrorKind::Character.at(offset));
        }
        let text = Text::compile(source, grant)?;
        if text.literals().map(str::len).sum::<usize>() > HEADER_VALUE_MAX {
            return Err(CompileErrorKind::TooLong { limit: HEADER_VALUE_MAX }.at(HEADER_VALUE_MAX));
        }
        Ok(Self { text })
    }

    /// The value for this scope. A control character in a value, CR and LF first of all, fails the attempt.
    pub fn render(&self, scope: &Scope<'_>) -> Result<String, TemplateError> {
        let plain = |value: &str, out: &mut String| out.push_str(value);
        let rendered = self.text.render(scope, plain, HEADER_VALUE_MAX, "header value")?;
        if rendered.contains(char::is_control) {
            return Err(TemplateError::ControlCharacter);
        }
        Ok(rendered)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::*;

    fn rendered(source: &str) -> Result<String, TemplateError> {
        let header = HeaderTemplate::compile(source, &testing::policy().grant(&[])).unwrap();
        testing::in_scope(|scope| header.render(scope))
    }

    /// AFM-11
    #[test]
    fn credentials_come_from_the_environment() {
        assert_eq!(rendered("Bearer {{env.CRM_API_KEY}}").unwrap(), "Bearer s3cret-value");
        let unset = TemplateError::EnvUnset { name: "UNSET".into() };
        assert_eq!(rendered("Bearer {{env.UNSET}}"), Err(unset));
        let header =
            HeaderTemplate::compile("Bearer {{env.CRM_API_KEY}}", &testing::policy().grant(&[])).unwrap();
        assert_eq!(testing::in_scope(|scope| header.render(&scope.masked())).unwrap(), "Bearer ***");
    }

    /// TPL.3, T-24
    #[test]
    fn no_value_starts_another_header() {
        assert_eq!(rendered("{{data.inject}}"), Err(TemplateError::ControlCharacter));
        assert_eq!(rendered("{{env.MULTILINE}}"), Err(TemplateError::ControlCharacter));
        assert_eq!(rendered("n={{data.amount}}; é").unwrap(), "n=5; é");
    }

    /// ADM.10, default limit 4 KiB
    #[test]
    fn what_could_never_be_sent_is_refused_when_saved() {
        let refusal =
            |source: &str| HeaderTemplate::compile(source, &testing::policy().grant(&[])).unwrap_err();
        for control in ["\r", "\n", "\0", "\t", "\u{7f}", "\u{85}"] {
            let error = refusal(&format!("ab{control}"));
            assert_eq!((error.kind, error.offset), (CompileErrorKind::Character, 2));
        }
        assert_eq!(refusal(&"x".repeat(4_097)).kind, CompileErrorKind::TooLong { limit: 4_096 });
        let too_large = TemplateError::TooLarge { what: "header value", limit: 4_096 };
        assert_eq!(rendered("{{data.large}}"), Err(too_large));
    }
}

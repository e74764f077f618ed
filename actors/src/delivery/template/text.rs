//! One string with placeholders in it.
//!
//! `{{{{` and `}}}}` stand for the braces themselves; a single brace needs no care.

use super::{CompileError, CompileErrorKind, Grant, Scope, TemplateError, variable::Variable};
use crate::json::{BodyForm, Json};

/// A compiled string: literal text and variables in turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Text {
    pub(super) pieces: Vec<Piece>,
}

/// A part of a [`Text`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    Literal(String),
    Variable(Variable),
}

impl Text {
    pub(super) fn compile(source: &str, grant: &Grant<'_>) -> Result<Self, CompileError> {
        let mut pieces = Vec::new();
        let mut literal = String::new();
        let mut at = 0;
        while let Some(plain) = brace_pair(&source[at..]) {
            literal.push_str(&source[at..at + plain]);
            at += plain;
            let rest = &source[at..];
            if rest.starts_with("{{{{") || rest.starts_with("}}}}") {
                literal.push_str(&rest[..2]);
                at += 4;
            } else if rest.starts_with("}}") {
                return Err(CompileErrorKind::Stray.at(at));
            } else {
                let Some(length) = rest.find("}}") else { return Err(CompileErrorKind::Unclosed.at(at)) };
                let variable = Variable::compile(&rest[2..length], grant).map_err(|kind| kind.at(at))?;
                if !literal.is_empty() {
                    pieces.push(Piece::Literal(std::mem::take(&mut literal)));
                }
                pieces.push(Piece::Variable(variable));
                at += length + 2;
            }
        }
        literal.push_str(&source[at..]);
        if !literal.is_empty() {
            pieces.push(Piece::Literal(literal));
        }
        Ok(Self { pieces })
    }

    /// The variable, if the text is exactly one placeholder.
    pub(super) fn whole(&self) -> Option<&Variable> {
        if let [Piece::Variable(variable)] = self.pieces.as_slice() { Some(variable) } else { None }
    }

    /// The text, if it has no placeholder.
    pub(super) fn fixed(&self) -> Option<&str> {
        match self.pieces.as_slice() {
            [] => Some(""),
            [Piece::Literal(text)] => Some(text),
            _ => None,
        }
    }

    pub(super) fn literals(&self) -> impl Iterator<Item = &str> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Literal(text) => Some(text.as_str()),
            Piece::Variable(_) => None,
        })
    }

    /// Joins the pieces, each value passed through `encode`; gives up once the result is over `limit`.
    pub(super) fn render(
        &self,
        scope: &Scope<'_>,
        encode: impl Fn(&str, &mut String),
        limit: usize,
        what: &'static str,
    ) -> Result<String, TemplateError> {
        let mut out = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Literal(text) => out.push_str(text),
                Piece::Variable(variable) => match scope.value(variable)?.as_deref() {
                    None | Some(Json::Null) => {}
                    Some(Json::String(text)) => encode(text, &mut out),
                    Some(json) => encode(&compact(json), &mut out),
                },
            }
            if out.len() > limit {
                return Err(TemplateError::TooLarge { what, limit });
            }
        }
        Ok(out)
    }
}

/// The name in `{{env.NAME}}`, if that is all of the text: how a signing key refers to a variable.
#[must_use]
pub fn env_reference(text: &str) -> Option<&str> {
    let inside = text.strip_prefix("{{")?.strip_suffix("}}")?.trim_matches([' ', '\t']);
    let name = inside.strip_prefix("env.")?;
    super::env::is_variable_name(name).then_some(name)
}

/// Numbers, arrays and objects within text look as JavaScript prints them, in every body form.
fn compact(json: &Json<'_>) -> String {
    String::from_utf8_lossy(&json.to_bytes(BodyForm::Js)).into_owned()
}

fn brace_pair(text: &str) -> Option<usize> {
    text.as_bytes().windows(2).position(|pair| pair == b"{{" || pair == b"}}")
}

#[cfg(test)]
mod tests {
    use super::super::{EnvPolicy, testing};
    use super::*;

    fn refusal(source: &str) -> (CompileErrorKind, usize) {
        let error = Text::compile(source, &EnvPolicy::default().grant(&[])).unwrap_err();
        (error.kind, error.offset)
    }

    /// TPL.8
    #[test]
    fn bad_syntax_is_refused_with_its_place() {
        use CompileErrorKind::{Empty, Field, Path, Root, Stray, Unclosed};
        let path = |path: &str| Path { path: path.into() };
        let field = |path: &str| Field { path: path.into() };
        assert_eq!(refusal("{{"), (Unclosed, 0));
        assert_eq!(refusal("ab {{ data"), (Unclosed, 3));
        assert_eq!(refusal("{{data}"), (Unclosed, 0));
        assert_eq!(refusal("é }}"), (Stray, 3));
        assert_eq!(refusal("{{}}"), (Empty, 0));
        assert_eq!(refusal("{{ \t}}"), (Empty, 0));
        assert_eq!(refusal("{{ a b }}"), (path("a b"), 0));
        assert_eq!(refusal("{{a[0]}}"), (path("a[0]"), 0));
        assert_eq!(refusal("{{data.}}"), (path("data."), 0));
        assert_eq!(refusal("{{.data}}"), (path(".data"), 0));
        assert_eq!(refusal("{{{data}}}"), (path("{data"), 0));
        assert_eq!(refusal("x{{a.b.c.d}}"), (Root { root: "a".into() }, 1));
        assert_eq!(refusal("{{event}}"), (field("event"), 0));
        assert_eq!(refusal("{{event.data}}"), (field("event.data"), 0));
        assert_eq!(refusal("{{timestamp.x}}"), (field("timestamp.x"), 0));
        assert_eq!(refusal("{{click}}"), (field("click"), 0));
        assert_eq!(refusal("{{env}}"), (field("env"), 0));
        assert_eq!(refusal("{{env.A.B}}"), (field("env.A.B"), 0));
    }

    /// TPL.1: nothing of the environment is open by default.
    #[test]
    fn variables_off_the_list_are_refused() {
        for name in ["PATH", "HOME", "DATABASE_URL", "LEDGERHOOK_MASTER_KEY"] {
            let kind = CompileErrorKind::EnvNotAllowed { name: name.into() };
            assert_eq!(refusal(&format!("key {{{{env.{name}}}}}")), (kind, 4));
        }
    }

    /// T-24, AFM-45 … AFM-51
    #[test]
    fn values_are_interpolated_and_missing_ones_are_empty() {
        let rendered = testing::text(
            "{{trigger_type}}|{{ data.amount }}|{{data.tags}}|{{data.none}}|{{data.nothing.x}}|{ } }|{{{{x}}}}|{{data.paid}}}",
        );
        assert_eq!(rendered.unwrap(), r#"conversion|5|["a",{"b":1}]|||{ } }|{{x}}|true}"#);
    }

    /// TPL.2, T-24: data that looks like a template stays as it is.
    #[test]
    fn data_is_never_rendered() {
        assert_eq!(testing::text("<{{data.sly}}>").unwrap(), "<{{env.CRM_API_KEY}} {{conversion.id}}>");
    }

    #[test]
    fn a_signing_key_may_name_a_variable() {
        assert_eq!(env_reference("{{env.WEBHOOK_SECRET}}"), Some("WEBHOOK_SECRET"));
        assert_eq!(env_reference("{{ env.A_1 }}"), Some("A_1"));
        for other in ["{{env.}}", "{{env.A}} ", "x{{env.A}}", "{{env.A}}{{env.B}}", "{{data.a}}", "env.A"] {
            assert_eq!(env_reference(other), None, "{other}");
        }
    }
}

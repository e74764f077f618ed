//! `{{variables}}` in bodies, headers and URLs: compiled when a step is saved, rendered when it is sent.
//!
//! Substitution happens once, over text that the author of the pipeline wrote: what data brings along is never
//! looked at again (TPL.2), and each value is encoded for its place. The rules stand in `docs/templates.md`.
//!
//! ```text
//! author's text ──compile──> template ──render(Scope)──> bytes, header value or URL
//!   CompileError (422)           TemplateError (attempt fails) │ Scope::masked: the same for people to see
//! ```
//!
//! Pure: it reads no environment, clock or log. The values of variables come in through [`Env`].

mod body;
mod context;
mod env;
mod header;
mod mask;
mod text;
mod url;
mod variable;

pub use body::{BODY_MAX, BodyTemplate};
pub use context::{Context, EventFields};
pub use env::{Env, EnvPolicy, EnvPolicyError, Grant};
pub use header::{HEADER_VALUE_MAX, HeaderTemplate};
pub use mask::Masker;
pub use text::env_reference;
pub use url::{URL_MAX, UrlTemplate};

use crate::json::Json;
use std::borrow::Cow;
use variable::Variable;

/// What secrets look like where people may see them.
pub const MASK: &str = "***";

/// Everything that a template is rendered with.
#[derive(Clone, Copy)]
pub struct Scope<'s> {
    /// What the event brings.
    pub context: &'s Context<'s>,
    /// What the operator's environment brings.
    pub env: Env<'s>,
    /// Whether a variable that the event lacks fails the attempt (T-23); otherwise it is null or empty.
    pub strict: bool,
}

impl Scope<'_> {
    /// The same scope with `***` in the place of every value from the environment (TPL.10).
    #[must_use]
    pub fn masked(self) -> Self {
        Self { env: self.env.masked(), ..self }
    }

    /// The value of a variable, or `None` where the event has none.
    fn value<'v>(&'v self, variable: &Variable) -> Result<Option<Cow<'v, Json<'v>>>, TemplateError> {
        match variable {
            Variable::Env(name) => Ok(Some(Cow::Owned(Json::from(self.env.resolve(name)?)))),
            Variable::Field(field) => match self.context.get(field) {
                None if self.strict => Err(TemplateError::Missing { path: field.to_string() }),
                found => Ok(found.map(Cow::Borrowed)),
            },
        }
    }
}

/// Why a text is no template. The upstream answer is 422.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kind} at byte {offset}")]
pub struct CompileError {
    /// What is wrong.
    pub kind: CompileErrorKind,
    /// Bytes before the place, within the string.
    pub offset: usize,
    /// JSON pointer of the string within the body template; empty for headers and URLs.
    pub pointer: String,
}

/// What can be wrong with a template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CompileErrorKind {
    /// `{{` without `}}`.
    #[error("placeholder is not closed")]
    Unclosed,
    /// `}}` without `{{`.
    #[error("`}}}}` closes nothing; write `}}}}}}}}` for the characters themselves")]
    Stray,
    /// `{{}}`.
    #[error("placeholder is empty")]
    Empty,
    /// Not names joined by dots.
    #[error("`{}` is not a path of names joined by dots", path.escape_debug())]
    Path { path: String },
    /// The first name is none of ours.
    #[error(
        "unknown variable `{root}`; there are trigger_type, timestamp, event.type, event.id, data, click, \
         conversion, offer, metadata and env"
    )]
    Root { root: String },
    /// The variable has no such field, or needs one.
    #[error("`{path}` is not a variable")]
    Field { path: String },
    /// Not on the operator's list, or bound to other hosts (TPL.1).
    #[error("environment variable `{name}` is not allowed here")]
    EnvNotAllowed { name: String },
    /// Keys of objects are never templates.
    #[error("keys cannot hold placeholders")]
    Key,
    /// Would break a header or a URL.
    #[error("control characters, and in URLs spaces and backslashes, are not allowed")]
    Character,
    /// Only path and query of a URL may vary (TPL.6).
    #[error("placeholders may stand only in the path and the query of a URL")]
    Placement,
    /// Not an absolute `http` or `https` URL, or one with `.` or `..` beside placeholders.
    #[error("not a URL that can be called")]
    Url,
    /// Longer than what may be sent.
    #[error("longer than {limit} bytes")]
    TooLong { limit: usize },
}

impl CompileErrorKind {
    /// An error at this place of a string that stands alone.
    fn at(self, offset: usize) -> CompileError {
        CompileError { kind: self, offset, pointer: String::new() }
    }
}

/// Why a request could not be built. Names variables, never their values.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// The event lacks a field, and the step is strict.
    #[error("the event has no `{path}`")]
    Missing { path: String },
    /// The operator allows the variable, and did not set it (TPL.9).
    #[error("variable {name} is not set")]
    EnvUnset { name: String },
    /// The operator no longer allows the variable, or not for this host.
    #[error("variable {name} is not allowed for {host}")]
    EnvRefused { name: String, host: String },
    /// A value holds characters that would break out of the header (TPL.3).
    #[error("a header value holds a control character")]
    ControlCharacter,
    /// A value would climb out of its place in the path.
    #[error("a value turns the URL into another one")]
    Url,
    /// More than may be sent.
    #[error("the rendered {what} is over {limit} bytes")]
    TooLarge { what: &'static str, limit: usize },
}

/// One event and one environment for the tests of the parts.
#[cfg(test)]
mod testing {
    use super::*;
    use crate::json::{BodyForm, Limits, parse};

    const DATA: &str = r#"{
        "amount": 5.00, "paid": true, "none": null, "tags": ["a", {"b": 1}],
        "sly": "{{env.CRM_API_KEY}} {{conversion.id}}",
        "wild": "\"\\\n</script>\u2028\",\"b\":1",
        "inject": "x\r\nX-Injected: 1", "up": "..", "path": "a/b?c=d&e=f#g é"
    }"#;

    pub(super) fn policy() -> EnvPolicy {
        EnvPolicy::parse(["CRM_API_KEY", "UNSET", "MULTILINE"]).unwrap()
    }

    /// Runs `f` with a scope for a request to `api.example.com`.
    pub(super) fn in_scope<T>(f: impl Fn(&Scope<'_>) -> T) -> T {
        let mut data = parse(DATA.as_bytes(), Limits::EVENT).unwrap();
        if let Json::Object(members) = &mut data {
            members.push(("large".into(), Json::from("x".repeat(10_000))));
        }
        in_scope_of(&data, f)
    }

    /// The same for an event with this data.
    pub(super) fn in_scope_of<T>(data: &Json<'_>, f: impl Fn(&Scope<'_>) -> T) -> T {
        let context = Context::from_event(EventFields {
            trigger_type: "conversion",
            timestamp: "2024-01-15T10:30:45Z",
            event_type: "conversion.created",
            event_id: "evt_1",
            data,
            metadata: &Json::Null,
        });
        let policy = policy();
        let lookup = |name: &str| match name {
            "CRM_API_KEY" => Some("s3cret-value".to_owned()),
            "MULTILINE" => Some("a\nb".to_owned()),
            _ => None,
        };
        let env = Env::new(&policy, "api.example.com", &lookup);
        f(&Scope { context: &context, env, strict: false })
    }

    pub(super) fn text(source: &str) -> Result<String, TemplateError> {
        let text = text::Text::compile(source, &policy().grant(&[])).unwrap();
        in_scope(|scope| text.render(scope, |value, out| out.push_str(value), BODY_MAX, "text"))
    }

    pub(super) fn body(template: &str, form: BodyForm) -> Result<String, TemplateError> {
        in_scope(|scope| render_body(template, scope, form))
    }

    pub(super) fn strict_body(template: &str) -> Result<String, TemplateError> {
        in_scope(|scope| render_body(template, &Scope { strict: true, ..*scope }, BodyForm::Js))
    }

    pub(super) fn masked_body(template: &str) -> Result<String, TemplateError> {
        in_scope(|scope| render_body(template, &scope.masked(), BodyForm::Js))
    }

    pub(super) fn render_body(
        template: &str,
        scope: &Scope<'_>,
        form: BodyForm,
    ) -> Result<String, TemplateError> {
        let tree = parse(template.as_bytes(), Limits::ADMIN).unwrap();
        let template = BodyTemplate::compile(&tree, &policy().grant(&["api.example.com"])).unwrap();
        let mut out = Vec::new();
        let _ = template.render(scope, form, &mut out)?;
        Ok(String::from_utf8(out).unwrap())
    }
}

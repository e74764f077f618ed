//! Bodies: a JSON tree whose strings are templates.

use super::{CompileError, CompileErrorKind, Grant, Scope, TemplateError, text::Text, variable::Variable};
use crate::json::{BodyForm, Fidelity, Json, Member, Writer, pointer_segment};

/// Longest rendered body in bytes.
pub const BODY_MAX: usize = 1024 * 1024;

/// A compiled body template.
///
/// A string that is exactly one placeholder becomes the value with its type; inside other text a value is
/// interpolated (T-24). Keys are never templates.
#[derive(Clone, Debug)]
pub struct BodyTemplate {
    root: Node,
}

#[derive(Clone, Debug)]
enum Node {
    /// A subtree without placeholders.
    Fixed(Json<'static>),
    /// A string that is exactly one placeholder.
    Whole(Variable),
    /// A string with placeholders in it.
    Text(Text),
    Array(Vec<Node>),
    Object(Vec<(String, Node)>),
}

impl BodyTemplate {
    /// Compiles the tree of `body_template`.
    pub fn compile(template: &Json<'_>, grant: &Grant<'_>) -> Result<Self, CompileError> {
        Ok(Self { root: Node::compile(template, grant)? })
    }

    /// Appends the body for this scope to `out`, in `form`; on an error `out` holds part of a body.
    pub fn render(
        &self,
        scope: &Scope<'_>,
        form: BodyForm,
        out: &mut Vec<u8>,
    ) -> Result<Fidelity, TemplateError> {
        let limit = out.len() + BODY_MAX;
        let mut writer = Writer::new(form, out);
        self.root.write(scope, limit, &mut writer)?;
        Ok(writer.fidelity())
    }
}

impl Node {
    fn compile(json: &Json<'_>, grant: &Grant<'_>) -> Result<Self, CompileError> {
        match json {
            Json::String(source) => {
                let text = Text::compile(source, grant)?;
                Ok(match (text.whole(), text.fixed()) {
                    (Some(variable), _) => Self::Whole(variable.clone()),
                    (_, Some(fixed)) => Self::Fixed(Json::from(fixed.to_owned())),
                    _ => Self::Text(text),
                })
            }
            Json::Array(elements) => {
                let compile = |(place, element): (usize, _)| {
                    Self::compile(element, grant).map_err(|error| error.within(&place.to_string()))
                };
                elements.iter().enumerate().map(compile).collect::<Result<_, _>>().map(Self::array)
            }
            Json::Object(members) => {
                let compile = |member| Self::compile_member(member, grant);
                members.iter().map(compile).collect::<Result<_, _>>().map(Self::object)
            }
            fixed => Ok(Self::Fixed(fixed.clone().into_owned())),
        }
    }

    fn compile_member(member: &Member<'_>, grant: &Grant<'_>) -> Result<(String, Self), CompileError> {
        let (key, value) = member;
        if let Some(offset) = key.find("{{") {
            return Err(CompileErrorKind::Key.at(offset).within(key));
        }
        let node = Self::compile(value, grant).map_err(|error| error.within(key))?;
        Ok((key.to_string(), node))
    }

    fn array(nodes: Vec<Self>) -> Self {
        match nodes.iter().map(Self::as_fixed).collect::<Option<Vec<_>>>() {
            Some(fixed) => Self::Fixed(Json::Array(fixed.into_iter().cloned().collect())),
            None => Self::Array(nodes),
        }
    }

    fn object(members: Vec<(String, Self)>) -> Self {
        match members.iter().map(|(_, node)| node.as_fixed()).collect::<Option<Vec<_>>>() {
            Some(fixed) => Self::Fixed(Json::object(
                members.iter().map(|(key, _)| key.clone()).zip(fixed.into_iter().cloned()),
            )),
            None => Self::Object(members),
        }
    }

    fn as_fixed(&self) -> Option<&Json<'static>> {
        if let Self::Fixed(json) = self { Some(json) } else { None }
    }

    /// Straight to bytes: a value that stands a thousand times in a template is never copied a thousand times.
    fn write(&self, scope: &Scope<'_>, limit: usize, writer: &mut Writer<'_>) -> Result<(), TemplateError> {
        let each = |writer: &mut Writer<'_>, node: &Self| node.write(scope, limit, writer);
        match self {
            Self::Fixed(json) => writer.value(json),
            Self::Whole(variable) => writer.value(&scope.value(variable)?.unwrap_or_default()),
            Self::Text(text) => {
                let plain = |value: &str, out: &mut String| out.push_str(value);
                writer.string(&text.render(scope, plain, BODY_MAX, "body")?);
            }
            Self::Array(nodes) => writer.array(nodes.iter(), each)?,
            Self::Object(members) => writer.object(members, each)?,
        }
        if writer.len() > limit {
            return Err(TemplateError::TooLarge { what: "body", limit: BODY_MAX });
        }
        Ok(())
    }
}

impl CompileError {
    /// The same error, seen from the container that holds the string under `segment`.
    fn within(mut self, segment: &str) -> Self {
        self.pointer.insert_str(0, &pointer_segment(segment));
        self
    }
}

#[cfg(test)]
mod tests {
    use super::super::{EnvPolicy, testing};
    use super::*;
    use crate::json::{Limits, parse};

    fn refusal(template: &str) -> CompileError {
        let tree = parse(template.as_bytes(), Limits::ADMIN).unwrap();
        BodyTemplate::compile(&tree, &EnvPolicy::default().grant(&[])).unwrap_err()
    }

    fn rendered(template: &str) -> String {
        testing::body(template, BodyForm::Js).unwrap()
    }

    /// AFM-12, AFM-48, AFM-51, T-24, TPL.5
    #[test]
    fn a_whole_value_keeps_its_type() {
        let template = r#"{"event":"{{trigger_type}}","amount":"{{conversion.amount}}","paid":"{{data.paid}}",
            "none":"{{data.none}}","tags":"{{data.tags}}","n":1.0,"list":["{{event.id}}","x"]}"#;
        assert_eq!(
            rendered(template),
            r#"{"event":"conversion","amount":5,"paid":true,"none":null,"tags":["a",{"b":1}],"n":1,"list":["evt_1","x"]}"#
        );
        assert_eq!(rendered(r#""{{data.tags}}""#), r#"["a",{"b":1}]"#);
        let python = testing::body(r#"{"a":"{{data.amount}}","t":"n={{data.amount}}"}"#, BodyForm::Python);
        assert_eq!(python.unwrap(), r#"{"a": 5.0, "t": "n=5"}"#);
    }

    /// TPL.4: no value breaks out of its string.
    #[test]
    fn values_are_escaped_for_their_place() {
        assert_eq!(
            rendered(r#"{"a":"<{{data.wild}}>"}"#),
            "{\"a\":\"<\\\"\\\\\\n</script>\u{2028}\\\",\\\"b\\\":1>\"}"
        );
    }

    /// AFM-49, T-23, TPL.7
    #[test]
    fn missing_values_are_null_or_empty_or_fail_a_strict_step() {
        let template = r#"{"title":"{{offer.title}}","text":"[{{offer.title}}]"}"#;
        assert_eq!(rendered(template), r#"{"title":null,"text":"[]"}"#);
        let strict = testing::strict_body(template);
        assert_eq!(strict, Err(TemplateError::Missing { path: "offer.title".into() }));
    }

    /// TPL.8: position within the string, pointer to the string.
    #[test]
    fn errors_point_at_the_string() {
        let error = refusal(r#"{"a":[{"b/c":"ok"},{"~":"12{{x}}"}]}"#);
        assert_eq!((error.pointer.as_str(), error.offset), ("/a/1/~0", 2));
        let error = refusal(r#"{"a":{"k{{data.x}}":1}}"#);
        assert_eq!((error.kind, error.pointer.as_str()), (CompileErrorKind::Key, "/a/k{{data.x}}"));
        assert_eq!(refusal(r#""{{env.PATH}}""#).pointer, "");
    }

    /// Default limits: a rendered body has 1 MiB, however small its template.
    #[test]
    fn bodies_that_grow_too_large_are_stopped_early() {
        let many = vec!["\"{{data.large}}\""; 200];
        let too_large = Err(TemplateError::TooLarge { what: "body", limit: BODY_MAX });
        assert_eq!(testing::body(&format!("[{}]", many.join(",")), BodyForm::Js), too_large);
        let text = format!("\"{}\"", "{{data.large}} ".repeat(200));
        assert_eq!(testing::body(&text, BodyForm::Js), too_large);
    }

    /// TPL.10: secrets are masked wherever they stand.
    #[test]
    fn masked_bodies_show_no_secret() {
        let template = r#"{"key":"{{env.CRM_API_KEY}}","text":"a{{env.CRM_API_KEY}}b","id":"{{event.id}}"}"#;
        assert_eq!(rendered(template), r#"{"key":"s3cret-value","text":"as3cret-valueb","id":"evt_1"}"#);
        assert_eq!(testing::masked_body(template).unwrap(), r#"{"key":"***","text":"a***b","id":"evt_1"}"#);
    }

    /// TPL.11: same input, same bytes, key order included; indices first where JavaScript wants them so.
    #[test]
    fn rendering_is_a_function() {
        let template = r#"{"b":"{{data.tags}}","10":"{{event.id}}","2":"{{event.id}}","a":0}"#;
        assert_eq!(rendered(template), r#"{"2":"evt_1","10":"evt_1","b":["a",{"b":1}],"a":0}"#);
        assert_eq!(rendered(template), rendered(template));
    }

    proptest::proptest! {
        /// TPL.2, TPL.4: whatever a value holds, the receiver reads that very value in its place, and nothing
        /// beside it, in every form.
        #[test]
        fn any_text_arrives_as_it_is(value: String, form in proptest::sample::select(&FORMS[..])) {
            let data = Json::object([("x", Json::from(value.as_str()))]);
            let template = r#"{"whole":"{{data.x}}","text":"<{{data.x}}>","last":0}"#;
            let body = testing::in_scope_of(&data, |scope| testing::render_body(template, scope, form).unwrap());
            let expected = Json::object([
                ("whole", Json::from(value.clone())),
                ("text", Json::from(format!("<{value}>"))),
                ("last", Json::from(0_u64)),
            ]);
            proptest::prop_assert_eq!(parse(body.as_bytes(), Limits::ADMIN).unwrap(), expected);
        }
    }

    const FORMS: [BodyForm; 4] = [BodyForm::Js, BodyForm::Python, BodyForm::Php, BodyForm::Raw];
}

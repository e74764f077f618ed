//! Any text is a template or refused; a rendered body is JSON, a header one line, a URL one of the same host.

#![no_main]

use ledgerhook_actors::{
    delivery::template::{BodyTemplate, Context, Env, EnvPolicy, HeaderTemplate, Scope, UrlTemplate},
    json::{BodyForm, Json, Limits, parse},
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&str, &str)| {
    let (source, data) = input;
    let Ok(data) = parse(data.as_bytes(), Limits::EVENT) else { return };
    let policy = EnvPolicy::parse(["KEY@api.example.com"]).expect("a policy");
    let lookup = |_: &str| Some("value of the variable".to_owned());
    let hosts = ["api.example.com"];
    let grant = policy.grant(&hosts);
    let context = Context::from_test_data(&data, "conversion", "2024-01-15T10:30:45Z");
    let env = Env::new(&policy, "api.example.com", &lookup);
    let scope = Scope { context: &context, env, strict: false };
    if let Ok(tree) = parse(source.as_bytes(), Limits::ADMIN)
        && let Ok(template) = BodyTemplate::compile(&tree, &grant)
    {
        for form in [BodyForm::Js, BodyForm::Python, BodyForm::Php, BodyForm::Raw] {
            let mut out = Vec::new();
            if template.render(&scope, form, &mut out).is_ok() {
                parse(&out, Limits { depth: u8::MAX, ..Limits::EVENT }).expect("a body is JSON");
            }
        }
    }
    if let Ok(template) = HeaderTemplate::compile(source, &grant)
        && let Ok(value) = template.render(&scope)
    {
        assert!(!value.contains(|c: char| c.is_control() && c != '\t'), "{value:?}");
    }
    if let Ok(template) = UrlTemplate::compile(source, &grant)
        && let Ok(url) = template.render(&scope)
    {
        assert_eq!(url.host_str(), Some(template.host()));
    }
    let _ = Json::from(source.to_owned()).to_bytes(BodyForm::Php);
});

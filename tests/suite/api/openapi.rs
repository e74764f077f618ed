//! `/openapi.json` against the readers of requests: every field and parameter that is described is known, and every one
//! that is known is described, with its words, its bounds, and whether it may be `null`.

use super::{PIPELINES, created, pipeline};
use crate::support::{Api, Document, TestServer, openapi::Operation};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// A field that no body has, so that nothing is accepted.
const UNKNOWN: &str = "zz_unknown";

/// One mistake that was told.
#[derive(Debug)]
struct Mistake {
    pointer: String,
    code: String,
    message: String,
}

impl Mistake {
    /// What stands between backticks.
    fn words(&self) -> BTreeSet<String> {
        self.message.split('`').skip(1).step_by(2).map(str::to_owned).collect()
    }
}

/// The mistakes of a request, one of which is always [`UNKNOWN`].
#[track_caller]
fn mistakes(api: &Api, method: &str, path: &str, body: &Value) -> Vec<Mistake> {
    let answer = api.send(method, path, Some(body));
    assert_eq!(answer.status, 422, "{method} {path} {body}: {answer:?}");
    let text = |error: &Value, key: &str| error[key].as_str().expect(key).to_owned();
    let errors = answer.json["errors"].as_array().expect("errors");
    let read = |error| Mistake {
        pointer: text(error, "pointer"),
        code: text(error, "code"),
        message: text(error, "message"),
    };
    errors.iter().map(read).collect()
}

#[track_caller]
fn at<'m>(mistakes: &'m [Mistake], pointer: &str) -> Option<&'m Mistake> {
    mistakes.iter().find(|mistake| mistake.pointer == pointer)
}

/// Where a body's object stands, and what else has to stand there for the reader to look at it.
struct Place<'p> {
    document: &'p Document,
    api: &'p Api,
    method: &'p str,
    path: &'p str,
    /// `/steps/0`
    pointer: &'p str,
    schema: &'p Value,
}

impl Place<'_> {
    /// The mistakes of an object with these members at the place.
    #[track_caller]
    fn mistakes(&self, members: &Value) -> Vec<Mistake> {
        let mut members = members.clone();
        members[UNKNOWN] = 0.into();
        let wrapped = self
            .pointer
            .rsplit('/')
            .filter(|part| !part.is_empty())
            .fold(members, |inner, part| if part == "0" { json!([inner]) } else { json!({part: inner}) });
        mistakes(self.api, self.method, self.path, &wrapped)
    }

    fn here(&self, name: &str) -> String {
        format!("{}/{name}", self.pointer)
    }

    #[track_caller]
    fn check(&self) {
        let properties: &Map<String, Value> = self.schema["properties"].as_object().expect("properties");
        let told = self.mistakes(&json!({}));
        let unknown = at(&told, &self.here(UNKNOWN)).expect("an unknown field is told");
        let described: BTreeSet<String> = properties.keys().cloned().collect();
        assert_eq!(unknown.words(), described, "{} {} {}", self.method, self.path, self.pointer);
        let required = self.schema["required"].as_array().cloned().unwrap_or_default();
        for name in properties.keys() {
            let missing = at(&told, &self.here(name)).is_some_and(|mistake| mistake.code == "required");
            assert_eq!(missing, required.contains(&json!(name)), "{} {}", self.path, self.here(name));
        }
        for (name, schema) in properties {
            self.check_null(name, schema);
            self.check_words(name, schema);
            self.check_bounds(name, schema);
        }
    }

    #[track_caller]
    fn check_null(&self, name: &str, schema: &Value) {
        let told = self.mistakes(&json!({name: null}));
        let refused = at(&told, &self.here(name)).is_some();
        let may_be_null = self.document.mismatch(schema, &Value::Null).is_none();
        assert_eq!(refused, !may_be_null, "{} {}: null", self.path, self.here(name));
    }

    #[track_caller]
    fn check_words(&self, name: &str, schema: &Value) {
        let Some(words) = self.document.resolve(schema)["enum"].as_array() else { return };
        let told = self.mistakes(&json!({name: "zz"}));
        let mistake = at(&told, &self.here(name)).expect(name);
        let words: BTreeSet<String> =
            words.iter().filter_map(|word| word.as_str().map(str::to_owned)).collect();
        assert_eq!(mistake.words(), words, "{} {}", self.path, self.here(name));
    }

    #[track_caller]
    fn check_bounds(&self, name: &str, schema: &Value) {
        let bound = |key: &str| schema[key].as_f64();
        let (Some(least), Some(most)) = (bound("minimum"), bound("maximum")) else { return };
        for (value, is_wrong) in [(least - 1.0, true), (least, false), (most, false), (most + 1.0, true)] {
            let whole = format!("{value:.0}");
            let value: Value = serde_json::from_str(&whole).expect("a number");
            let told = self.mistakes(&json!({name: value}));
            let refused = at(&told, &self.here(name)).is_some_and(|one| one.code == "out_of_range");
            assert_eq!(refused, is_wrong, "{} {}: {whole}", self.path, self.here(name));
        }
    }
}

/// What paths lead to.
struct Things {
    pipeline: String,
    step: String,
    webhook: String,
}

impl Things {
    fn made(api: &Api) -> Self {
        let pipeline = created(api.post(PIPELINES, &pipeline("described")));
        let shown = api.get(&format!("{PIPELINES}/{pipeline}")).data(200);
        let step = shown["steps"][0]["id"].as_str().expect("an id").to_owned();
        let webhook = json!({"url": "https://example.com/hook", "events": ["conversion.created"]});
        let webhook = created(api.post("/api/webhooks", &webhook));
        Self { pipeline, step, webhook }
    }

    /// A path of the operation that leads somewhere.
    fn path(&self, operation: Operation<'_>, tenant: &str) -> String {
        let id = match operation.path {
            path if path.starts_with("/api/webhooks") => &self.webhook,
            path if path.starts_with("/api/tenants") => tenant,
            _ => &self.pipeline,
        };
        operation.path.replace("{id}", id).replace("{step}", &self.step)
    }
}

#[test]
fn bodies_are_what_their_readers_know() {
    let server = TestServer::start();
    let api = server.api();
    let document = Document::of(&api);
    let things = Things::made(&api);
    api.tenant_of("apexmediation", "described");
    let mut seen = 0;
    for operation in document.operations() {
        let Some(schema) = document.body_of(operation) else { continue };
        let is_elsewhere = operation.id.contains("At") || operation.path.starts_with("/api/events");
        if is_elsewhere {
            continue;
        }
        seen += 1;
        let path = things.path(operation, "described");
        let method = operation.method.to_uppercase();
        let check = |pointer: &str, schema: &Value| {
            let (document, api, method, path) = (&document, &api, &*method, &*path);
            Place { document, api, method, path, pointer, schema }.check();
        };
        let part = |name: &str| &document.0["components"]["schemas"][name];
        check("", schema);
        if schema["properties"].get("steps").is_some() {
            check("/steps/0", part("StepBody"));
            check("/steps/0/retry_policy", part("RetryPolicyBody"));
        }
        // A merge patch takes any field of it out by `null` (RFC 7396), and is beyond that what `PUT` is.
        if schema["properties"].get("retry_policy").is_some() && operation.method != "patch" {
            check("/retry_policy", part("RetryPolicyBody"));
        }
        if schema["properties"].get("quotas").is_some() {
            check("/quotas", part("QuotasBody"));
        }
        if schema["properties"].get("breaker").is_some() {
            let policy =
                at(&mistakes(&api, &method, &path, &json!({"breaker": {UNKNOWN: 0}})), "/breaker/zz_unknown")
                    .expect("an unknown field")
                    .words();
            let described = part("BreakerPolicy")["properties"].as_object().expect("properties");
            assert_eq!(policy, described.keys().cloned().collect());
        }
    }
    assert!(seen >= 15, "{seen}");
    assert_eq!(
        api.get(&format!("{PIPELINES}/{}", things.pipeline)).data(200)["version"],
        1,
        "nothing was changed"
    );
}

/// What a JWK has depends on its kind; an event is read on a way of its own.
#[test]
fn keys_and_events_are_what_their_readers_know() {
    let server = TestServer::start();
    let api = server.api();
    let document = Document::of(&api);
    api.tenant_of("apexmediation", "described");
    let described = |name: &str| -> BTreeSet<String> {
        let properties = document.0["components"]["schemas"][name]["properties"].as_object();
        properties.expect("properties").keys().cloned().collect()
    };
    let kinds = [("oct", ""), ("RSA", ""), ("EC", "P-256"), ("OKP", "Ed25519")];
    let known = kinds.iter().flat_map(|(kind, curve)| {
        let body = json!({"jwk": {"kty": kind, "crv": curve, UNKNOWN: 0}});
        let told = mistakes(&api, "POST", "/api/tenants/described/jwt-keys", &body);
        at(&told, "/jwk/zz_unknown").expect("an unknown field").words()
    });
    assert_eq!(known.collect::<BTreeSet<_>>(), described("JwkBody"));

    let told = mistakes(&api, "POST", "/api/events", &json!({UNKNOWN: 0}));
    let message = &at(&told, "/zz_unknown").expect("an unknown field").message;
    let names = message.split("has ").nth(1).expect("names").replace(" and ", ", ");
    assert_eq!(names.split(", ").map(str::to_owned).collect::<BTreeSet<_>>(), described("EventBody"));
    let required: BTreeSet<_> =
        told.iter().filter(|one| one.code == "required").map(|one| one.pointer[1..].to_owned()).collect();
    assert_eq!(required, BTreeSet::from(["data".to_owned(), "type".to_owned()]));
}

/// Each call names the parameters that it takes when it is asked for another.
#[test]
fn parameters_are_what_their_readers_know() {
    let server = TestServer::start();
    let api = server.api();
    let document = Document::of(&api);
    let things = Things::made(&api);
    let mut seen = 0;
    for operation in document.operations() {
        let is_read = operation.method == "get" && !operation.id.contains("At");
        if !is_read || ["/livez", "/metrics", "/openapi.json", "/docs"].contains(&operation.path) {
            continue;
        }
        seen += 1;
        let path = things.path(operation, "tenant_default");
        let answer = api.get(&format!("{path}?{UNKNOWN}=1"));
        assert_eq!(answer.status, 422, "{path} {answer:?}");
        let message = answer.json["errors"][0]["message"].as_str().expect("a message");
        let known: BTreeSet<String> = message.split('`').skip(1).step_by(2).map(str::to_owned).collect();
        assert_eq!(known, document.parameters(operation, "query"), "{path}");
    }
    assert!(seen >= 25, "{seen}");
}

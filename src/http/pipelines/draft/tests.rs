//! ADM, TPL.1/6/8, URL.7–10, SIG.2/3 and T-19 … T-33, as far as a configuration alone can tell.

use super::*;
use crate::http::json_body::AdminBody;
use ledgerhook_actors::{
    delivery::{target::EgressPolicy, template::EnvPolicy, tls::client_config},
    domain::step::{HeaderValue, SignatureMode},
    engine::Tools,
    profile::Profiles,
    request::RequestTls,
    secrets::MasterKey,
};
use serde_json::{Value as Tree, json};
use std::sync::Arc;

const KEY: &str = "0123456789abcdef01234567";

fn tools() -> Tools {
    let master = MasterKey::parse(&hex::encode((0..32).collect::<Vec<u8>>())).unwrap();
    Tools {
        profiles: Arc::new(Profiles::builtin()),
        secrets: Arc::new(Secrets::new(&master)),
        egress: EgressPolicy { allow_http: true, ..EgressPolicy::default() },
        env: EnvPolicy::parse(["CRM_API_KEY", "BOUND@api.example.com"]).unwrap(),
        tls: Arc::new(RequestTls::new(client_config(&[]).unwrap())),
    }
}

type Blame = Vec<(String, &'static str)>;

fn read(profile: &str, body: &Tree, base: Option<&PipelineConfig>) -> Result<Sealed, Blame> {
    read_as(profile, body, base, pipeline)
}

fn read_as(
    profile: &str,
    body: &Tree,
    base: Option<&PipelineConfig>,
    kind: impl for<'j> Fn(&mut Object<'j>, &Rules<'_>, Option<&PipelineConfig>) -> Option<Draft>,
) -> Result<Sealed, Blame> {
    let tools = tools();
    let rules = Rules::new(&tools, tools.profiles.get(profile).unwrap());
    let blame = |error: ApiError| {
        error.problem().errors.iter().map(|error| (error.pointer.clone(), error.code)).collect::<Blame>()
    };
    let draft = AdminBody::of(body.to_string()).object(|fields| kind(fields, &rules, base)).map_err(blame)?;
    Ok(draft.seal(&tools.secrets, &rules).unwrap())
}

fn step() -> Tree {
    json!({"name": "Send", "order": 1, "url": "https://api.example.com/hook", "signing_key": KEY})
}

fn with_steps(steps: &Tree) -> Tree {
    json!({"name": "N", "trigger_type": "conversion", "steps": steps})
}

fn create(body: &Tree) -> Result<Sealed, Blame> {
    read("afftok", body, None)
}

fn created() -> PipelineConfig {
    create(&with_steps(&json!([step()]))).unwrap().config
}

/// What is wrong with a pipeline whose one step has these fields.
fn step_blame(fields: &Tree) -> Blame {
    let mut step = step();
    for (key, value) in fields.as_object().unwrap() {
        step[key] = value.clone();
    }
    create(&with_steps(&json!([step]))).err().unwrap_or_default()
}

fn at(pointer: &str, code: &'static str) -> Blame {
    vec![(pointer.to_owned(), code)]
}

/// AFM-01 … AFM-27: the contract's own example.
#[test]
fn the_contracts_example_is_taken_as_it_stands() {
    let body = json!({
        "name": "Conversion Notifications",
        "description": "Notify external system of conversions",
        "trigger_type": "conversion",
        "status": "active",
        "steps": [{
            "name": "Send to CRM",
            "order": 1,
            "url": "https://api.yourcrm.com/webhooks/afftok",
            "method": "POST",
            "headers": {"Content-Type": "application/json", "X-API-Key": "{{env.CRM_API_KEY}}"},
            "body_template": {"event": "{{trigger_type}}", "amount": "{{conversion.amount}}"},
            "timeout_seconds": 30,
            "retry_policy": {"max_attempts": 5, "backoff_type": "exponential", "initial_delay_seconds": 5},
            "signature_mode": "hmac",
            "signing_key": "{{env.CRM_API_KEY}}"
        }],
        "failover_url": "https://backup.yourcrm.com/webhooks/afftok"
    });
    let Sealed { config, made } = create(&body).unwrap();
    assert!(made.is_empty());
    let step = &config.steps[0];
    assert_eq!(step.signing_key, Some(StoredKey::Env("CRM_API_KEY".into())));
    assert_eq!(
        step.body_template.as_deref(),
        Some(r#"{"event":"{{trigger_type}}","amount":"{{conversion.amount}}"}"#)
    );
    assert_eq!(step.headers[1].value, HeaderValue::Template("{{env.CRM_API_KEY}}".into()));
    assert!(step.id.as_str().starts_with("step_"));
}

/// ADM.4
#[test]
fn fields_that_are_missing_unknown_or_of_another_type_are_named() {
    let blame = |body: Tree| create(&body).err().unwrap();
    let missing = blame(json!({}));
    assert_eq!(
        missing.iter().map(|(pointer, _)| pointer.as_str()).collect::<Vec<_>>(),
        ["/name", "/trigger_type", "/steps"]
    );
    let mut nested = with_steps(&json!([step()]));
    nested["steps"][0]["retry_policy"] = json!({"max_attempts": 3, "attempts": 3});
    nested["surprise"] = json!(1);
    let expected = [
        ("/steps/0/retry_policy/attempts".to_owned(), "unknown_field"),
        ("/surprise".to_owned(), "unknown_field"),
    ];
    assert_eq!(blame(nested), expected);
    assert_eq!(step_blame(&json!({"name": 7})), at("/steps/0/name", "wrong_type"));
    assert_eq!(step_blame(&json!({"id": "step_1"})), at("/steps/0/id", "not_settable"));
    assert_eq!(step_blame(&json!({"stop_on_failure": "yes"})), at("/steps/0/stop_on_failure", "wrong_type"));
    assert_eq!(blame(with_steps(&json!([]))), at("/steps", "length"));
    assert_eq!(blame(with_steps(&json!(vec![step(); 21]))), at("/steps", "length"));
    let mut status = with_steps(&json!([step()]));
    status["status"] = json!("Active");
    assert_eq!(blame(status), at("/status", "unknown_value"));
}

/// ADM.8
#[test]
fn a_timeout_is_a_whole_number_of_seconds_up_to_300() {
    for seconds in [json!(0), json!(-1), json!(1.5), json!(301), json!("30"), json!(null)] {
        assert_eq!(step_blame(&json!({"timeout_seconds": seconds})).len(), 1, "{seconds}");
    }
    assert!(step_blame(&json!({"timeout_seconds": 300})).is_empty());
}

/// ADM.9
#[test]
fn methods_are_the_documented_five_in_capitals() {
    for method in ["CONNECT", "TRACE", "get", "POST /x HTTP/1.1", "", &"P".repeat(10_000)] {
        assert_eq!(step_blame(&json!({"method": method})), at("/steps/0/method", "unknown_value"));
    }
    for method in ["GET", "POST", "PUT", "PATCH", "DELETE"] {
        assert!(step_blame(&json!({"method": method})).is_empty());
    }
}

/// ADM.10
#[test]
fn headers_that_http_cannot_carry_are_refused() {
    for name in ["", "a b", "a:b", "a\rb", "a\nb", "a\u{0}b", "ä"] {
        let mut headers = serde_json::Map::new();
        headers.insert(name.to_owned(), json!("x"));
        assert_eq!(step_blame(&json!({"headers": headers}))[0].1, "header_name", "{name:?}");
    }
    for value in ["a\rb", "a\nb", "a\u{0}b"] {
        assert_eq!(step_blame(&json!({"headers": {"X-A": value}})), at("/steps/0/headers/X-A", "template"));
    }
    let many: serde_json::Map<String, Tree> = (0..51).map(|n| (format!("X-{n}"), json!("x"))).collect();
    assert_eq!(step_blame(&json!({"headers": many})), at("/steps/0/headers", "length"));
    assert_eq!(
        step_blame(&json!({"headers": {"X-A": "x".repeat(4_097)}})),
        at("/steps/0/headers/X-A", "template")
    );
    assert_eq!(
        step_blame(&json!({"headers": {"X-A": "1", "x-a": "2"}})),
        at("/steps/0/headers/x-a", "duplicate")
    );
}

/// ADM.11
#[test]
fn reserved_headers_are_refused_in_any_capitals() {
    for name in [
        "Host",
        "content-LENGTH",
        "Transfer-Encoding",
        "Connection",
        "Upgrade",
        "TE",
        "Trailer",
        "webhook-id",
        "Webhook-Timestamp",
        "WEBHOOK-SIGNATURE",
        "X-Webhook-Delivery",
        "X-Webhook-Attempt",
        "X-Afftok-Signature",
        "x-afftok-failover",
    ] {
        assert_eq!(step_blame(&json!({"headers": {name: "x"}}))[0].1, "reserved_header", "{name}");
    }
}

/// TPL.1, TPL.6, TPL.8
#[test]
fn templates_are_compiled_when_they_are_written() {
    for name in ["PATH", "HOME", "DATABASE_URL", "LEDGERHOOK_MASTER_KEY"] {
        let text = format!("{{{{env.{name}}}}}");
        assert_eq!(step_blame(&json!({"headers": {"X-A": text}}))[0].1, "template");
        assert_eq!(
            step_blame(&json!({"body_template": {"a": {"b": text}}})),
            at("/steps/0/body_template/a/b", "template")
        );
        assert_eq!(step_blame(&json!({"url": format!("https://example.com/{text}")}))[0].1, "template");
        assert_eq!(step_blame(&json!({"signing_key": text}))[0].1, "env_not_allowed");
    }
    for text in ["{{", "}}", "{{}}", "{{ a b }}", "{{a[0]}}", "{{conversion.id", "{{conversion.id}"] {
        assert_eq!(
            step_blame(&json!({"body_template": {"a": text}})),
            at("/steps/0/body_template/a", "template"),
            "{text}"
        );
    }
    for url in [
        "https://{{conversion.id}}/",
        "{{data.url}}",
        "https://example.com:{{data.port}}/",
        "{{data.s}}://example.com/",
    ] {
        assert_eq!(step_blame(&json!({"url": url}))[0].1, "template", "{url}");
    }
    assert!(step_blame(&json!({"url": "https://example.com/{{conversion.id}}?a={{data.a.b}}"})).is_empty());
}

/// TPL.1, T-25: a variable that is bound to a host goes nowhere else, not even to the failover.
#[test]
fn a_bound_variable_stays_with_its_host() {
    let headers = json!({"X-A": "{{env.BOUND}}"});
    assert!(step_blame(&json!({"headers": headers})).is_empty());
    assert_eq!(step_blame(&json!({"headers": headers, "url": "https://evil.example.org/"}))[0].1, "template");
    let mut body = with_steps(&json!([step()]));
    body["steps"][0]["headers"] = headers;
    body["failover_url"] = json!("https://evil.example.org/");
    assert_eq!(create(&body).err().unwrap(), at("/steps/0/headers/X-A", "template"));
}

/// TPL.1: what a change keeps of a step is judged against its new hosts too; every delivery would fail there.
#[test]
fn a_bound_variable_that_is_kept_is_not_left_behind() {
    for (part, kept) in [
        ("headers", json!({"X-A": "key {{env.BOUND}}"})),
        ("body_template", json!({"a": ["{{env.BOUND}}"]})),
        ("signing_key", json!("{{env.BOUND}}")),
    ] {
        let mut body = with_steps(&json!([step()]));
        body["steps"][0][part] = kept.clone();
        let base = create(&body).unwrap().config;
        let update = |body: Tree| read("afftok", &body, Some(&base)).err().unwrap_or_default();
        let elsewhere = "https://evil.example.org/";
        assert_eq!(
            update(json!({"failover_url": elsewhere})),
            at("/failover_url", "env_not_allowed"),
            "{part}"
        );
        assert_eq!(update(json!({"failover_url": "https://API.example.com:8443/b"})), [], "{part}");
        assert_eq!(update(json!({"description": "d"})), [], "{part}");
        if part == "signing_key" {
            let mut moved = step();
            (moved["url"], moved["signing_key"]) = (json!(elsewhere), json!(null));
            assert_eq!(update(json!({"steps": [moved]})), at("/steps/0/url", "env_not_allowed"));
        }

        let part = if part == "signing_key" { "secret" } else { part };
        let mut body = json!({"url": "https://api.example.com/h", "events": ["invoice.*"]});
        body[part] = kept;
        let base = flat(&body, None, false).unwrap().config;
        for patch in [false, true] {
            let moved = flat(&json!({"url": elsewhere}), Some(&base), patch).err();
            assert_eq!(moved, Some(at("/url", "env_not_allowed")), "{part}");
            assert!(flat(&json!({"url": "https://api.example.com/i"}), Some(&base), patch).is_ok(), "{part}");
        }
    }
}

/// URL.1, URL.7, URL.8, URL.9, URL.10, T-19
#[test]
fn urls_are_judged_when_they_are_written() {
    for url in [
        "file:///etc/passwd",
        "ftp://example.com/",
        "javascript:alert(1)",
        "example.com",
        "",
        "https://",
        "ws://example.com/",
        "https://user:pass@example.com/",
        "https://example.com/#x",
        "http://good\\@evil/",
        "https://example.com/a b",
        "https://example.com/\t",
        "https://example.com:0/",
        "https://example.com:22/",
        "https://example.com:65536/",
        "https://example.com:/",
        "https://localhost/",
        "https://LOCALHOST/",
        "https://x.localhost/",
        "https://metadata.google.internal/",
        "https://intranet/",
        "http://127.0.0.1/",
        "http://2130706433/",
        "http://[::1]/",
        "http://169.254.169.254/latest",
        "http://10.0.0.1/{{conversion.id}}",
    ] {
        assert_eq!(step_blame(&json!({"url": url})), at("/steps/0/url", "url_refused"), "{url}");
    }
    let long = format!("https://example.com/{}", "x".repeat(100_000));
    assert_eq!(step_blame(&json!({"url": long})), at("/steps/0/url", "url_refused"));
    let mut body = with_steps(&json!([step()]));
    body["failover_url"] = json!("http://10.0.0.1/");
    assert_eq!(create(&body).err().unwrap(), at("/failover_url", "url_refused"));
    body["failover_url"] = json!("https://example.com/{{conversion.id}}");
    assert_eq!(create(&body).err().unwrap(), at("/failover_url", "template"));
}

/// SIG.2, SIG.3, T-26
#[test]
fn keys_are_strong_and_modes_are_the_documented_three() {
    for key in ["", "   ", "short", "12345678901234567890123", "whsec_AAAA"] {
        assert_eq!(step_blame(&json!({"signing_key": key})), at("/steps/0/signing_key", "weak_key"), "{key}");
    }
    for mode in ["NONE", "HMAC", "rsa", ""] {
        assert_eq!(
            step_blame(&json!({"signature_mode": mode})),
            at("/steps/0/signature_mode", "unknown_value")
        );
    }
    assert_eq!(step_blame(&json!({"signature_mode": "none"})), at("/steps/0/signing_key", "conflict"));
    let jwt = json!({"signature_mode": "jwt", "headers": {"authorization": "Bearer {{env.CRM_API_KEY}}"}});
    assert_eq!(step_blame(&jwt), at("/steps/0/headers/authorization", "conflict"));
}

/// SIG.2, SIG.8, SEC.2: what is secret is sealed; what was not given is made, once.
#[test]
fn keys_and_credentials_are_sealed() {
    let mut step = step();
    step["headers"] = json!({"Authorization": "Bearer canary-canary-canary"});
    let Sealed { config, made } = create(&with_steps(&json!([step]))).unwrap();
    let stored = serde_json::to_string(&config).unwrap();
    assert!(!stored.contains("canary") && !stored.contains(KEY) && made.is_empty());
    let unkeyed =
        json!([{"url": "https://example.com/"}, {"url": "https://example.com/", "signature_mode": "none"}]);
    let Sealed { config, made } = create(&with_steps(&unkeyed)).unwrap();
    assert_eq!(made.len(), 1);
    assert!(made[0].1.expose().starts_with("whsec_"));
    assert_eq!((config.steps[1].signature, &config.steps[1].signing_key), (SignatureMode::None, &None));
    assert_eq!(config.steps.iter().map(|step| step.order).collect::<Vec<_>>(), [1, 2]);
}

/// T-20
#[test]
fn triggers_are_a_string_or_several() {
    let triggers = |value: Tree| {
        let mut body = with_steps(&json!([step()]));
        body["trigger_type"] = value;
        create(&body).map(|sealed| sealed.config.triggers)
    };
    assert_eq!(triggers(json!("api_key_event")).unwrap(), ["api_key_event"]);
    assert_eq!(triggers(json!(["conversion", "click.*"])).unwrap(), ["conversion", "click.*"]);
    assert_eq!(triggers(json!("unheard-of")).unwrap_err(), at("/trigger_type", "unknown_trigger"));
    assert_eq!(triggers(json!(["click", "nope"])).unwrap_err(), at("/trigger_type/1", "unknown_trigger"));
    assert_eq!(triggers(json!(["click", "click"])).unwrap_err(), at("/trigger_type/1", "duplicate"));
    assert_eq!(triggers(json!([])).unwrap_err(), at("/trigger_type", "length"));
    assert_eq!(triggers(json!(7)).unwrap_err(), at("/trigger_type", "wrong_type"));
}

/// T-29
#[test]
fn steps_stand_by_their_order_and_share_none() {
    let named = |name: &str, order: u32| json!({"name": name, "order": order, "url": "https://example.com/"});
    let config = create(&with_steps(&json!([named("b", 2), named("a", 1)]))).unwrap().config;
    assert_eq!(config.steps.iter().map(|step| step.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    let twice = create(&with_steps(&json!([named("a", 1), named("b", 1)])));
    assert_eq!(twice.err().unwrap(), at("/steps/1/order", "duplicate"));
}

/// T-33, AFM-43
#[test]
fn an_update_keeps_what_it_does_not_name_and_clears_what_is_null() {
    let mut body = with_steps(&json!([step()]));
    body["description"] = json!("d");
    body["failover_url"] = json!("https://backup.example.com/");
    let base = create(&body).unwrap().config;
    let update = |body: Tree| read("afftok", &body, Some(&base)).map(|sealed| sealed.config);
    let paused = update(json!({"status": "paused"})).unwrap();
    assert_eq!(paused, PipelineConfig { status: Status::Paused, ..base.clone() });
    let cleared = update(json!({"description": null, "failover_url": null})).unwrap();
    assert_eq!((cleared.description, cleared.failover_url), (None, None));
    assert_eq!(update(json!({"name": null})).unwrap_err(), at("/name", "wrong_type"));
    assert_eq!(update(json!({})).unwrap(), base);
    assert_eq!(update(json!({"id": "pipe_1", "stats": {}, "created_at": "x"})).unwrap(), base);
}

/// T-33: ids, keys and masked headers survive; everything else of the list is replaced.
#[test]
fn steps_that_are_sent_again_keep_what_cannot_be_sent() {
    let mut step = step();
    step["url"] = json!("https://example.com/hook");
    step["headers"] = json!({"Authorization": "Bearer canary-canary", "X-A": "1"});
    step["timeout_seconds"] = json!(7);
    let base = create(&with_steps(&json!([step]))).unwrap().config;
    let old = &base.steps[0];
    let update = |steps: Tree| read("afftok", &json!({"steps": steps}), Some(&base));

    let by_name = json!([{"name": "Send", "order": 1, "url": "https://example.com/", "headers": {"authorization": "***"}}]);
    let Sealed { config, made } = update(by_name).unwrap();
    let new = &config.steps[0];
    assert!(made.is_empty());
    assert_eq!((&new.id, &new.signing_key, new.timeout_seconds), (&old.id, &old.signing_key, 30));
    assert_eq!((new.headers.len(), &new.headers[0].value), (1, &old.headers[0].value));

    let by_id =
        json!([{"id": old.id.as_str(), "name": "Renamed", "order": 9, "url": "https://example.com/"}]);
    assert_eq!(update(by_id).unwrap().config.steps[0].id, old.id);

    let other = json!([{"name": "Other", "order": 1, "url": "https://example.com/"}]);
    let Sealed { config, made } = update(other).unwrap();
    assert_ne!(config.steps[0].id, old.id);
    assert_eq!(made.len(), 1);

    let masked =
        json!([{"name": "Other", "order": 1, "url": "https://example.com/", "headers": {"X-B": "***"}}]);
    assert_eq!(update(masked).err().unwrap(), at("/steps/0/headers/X-B", "masked"));
    let unknown = json!([{"id": "step_0", "url": "https://example.com/"}]);
    assert_eq!(update(unknown).err().unwrap(), at("/steps/0/id", "unknown_value"));
    let twice = json!([{"id": old.id.as_str(), "url": "https://example.com/"}, {"id": old.id.as_str(), "url": "https://example.com/"}]);
    assert_eq!(update(twice).err().unwrap(), at("/steps/1", "duplicate"));
}

fn flat(body: &Tree, base: Option<&PipelineConfig>, patch: bool) -> Result<Sealed, Blame> {
    read_as("standard", body, base, move |fields, rules, base| webhook(fields, rules, base, patch))
}

/// T-33: what a webhook was given as a pipeline is kept by a change of the webhook.
#[test]
fn a_flat_webhook_keeps_what_it_has_as_a_pipeline() {
    let body = json!({"url": "https://example.com/h", "events": ["invoice.*"], "secret": KEY});
    let made = flat(&body, None, false).unwrap().config;
    let id = made.steps[0].id.as_str();
    let second = json!({"name": "Tell", "order": 2, "url": "https://example.com/tell", "signing_key": KEY});
    let whole = json!({
        "steps": [{"id": id, "name": "Send", "order": 1, "url": "https://example.com/h", "stop_on_failure": true}, second],
        "failover_url": "https://backup.example.com/?token=drawn-by-chance-9f86d081884c",
    });
    let base = read("standard", &whole, Some(&made)).unwrap().config;
    assert!(base.flat && base.steps.len() == 2 && base.failover_url.is_some());
    for patch in [false, true] {
        assert_eq!(flat(&json!({}), Some(&base), patch).unwrap().config, base);
        let changed = flat(&json!({"url": "https://example.com/i"}), Some(&base), patch).unwrap().config;
        let mut expected = base.clone();
        expected.steps[0].url = "https://example.com/i".to_owned();
        assert_eq!(changed, expected);
    }
}

/// T-45
#[test]
fn a_flat_webhook_is_a_pipeline_of_one_step() {
    let body = json!({"url": "https://example.com/h", "events": ["invoice.*"], "secret": KEY, "body_format": "python"});
    let Sealed { config, made } = flat(&body, None, false).unwrap();
    assert!(config.flat && made.is_empty());
    assert_eq!((config.triggers.as_slice(), config.steps.len()), (&["invoice.*".to_owned()][..], 1));
    assert_eq!(
        flat(&json!({}), None, false).err().unwrap(),
        [at("/events", "required"), at("/url", "required")].concat()
    );
    let wrong = json!({"url": "https://example.com/h", "events": ["invoice.*"], "body_format": "ruby", "secret": "short"});
    assert_eq!(
        flat(&wrong, None, false).err().unwrap(),
        [at("/body_format", "unknown_value"), at("/secret", "weak_key")].concat()
    );
}

/// RFC 7396
#[test]
fn put_replaces_objects_and_patch_merges_them() {
    let body = json!({
        "url": "https://example.com/h", "events": ["*"], "secret": KEY,
        "headers": {"X-A": "1", "X-B": "2"}, "retry_policy": {"backoff_type": "fixed", "initial_delay_seconds": 9}
    });
    let base = flat(&body, None, false).unwrap().config;
    let change = json!({"headers": {"X-A": null, "X-C": "3"}, "retry_policy": {"max_attempts": 2}});
    let patched = flat(&change, Some(&base), true).unwrap().config;
    let names =
        |config: &PipelineConfig| config.steps[0].headers.iter().map(|h| h.name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&patched), ["X-B", "X-C"]);
    assert_eq!(patched.steps[0].retry.delay_before(2, 0.5).as_secs(), 9);
    assert_eq!(patched.steps[0].signing_key, base.steps[0].signing_key);
    let put = flat(&json!({"headers": {"X-C": "3"}}), Some(&base), false).unwrap().config;
    assert_eq!(names(&put), ["X-C"]);
    assert_eq!(put.steps[0].retry, base.steps[0].retry);
}

#[test]
fn what_was_created_is_stable_under_an_empty_update() {
    let base = created();
    assert_eq!(read("afftok", &json!({}), Some(&base)).unwrap().config, base);
}

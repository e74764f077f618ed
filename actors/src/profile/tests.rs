//! The built-in profiles against the documents, and files that are wrong.

use super::*;
use crate::json::{Json, Limits, parse};

fn afftok() -> Arc<Profile> {
    Arc::clone(Profiles::builtin().get("afftok").unwrap())
}

fn standard() -> Arc<Profile> {
    builtin("standard")
}

fn builtin(name: &str) -> Arc<Profile> {
    Arc::clone(Profiles::builtin().get(name).unwrap())
}

fn names(profile: &Profile) -> Vec<&str> {
    profile.event_types().map(|kind| kind.name.as_str()).collect()
}

fn keys(profile: &Profile) -> Vec<&str> {
    profile.envelope.fields().iter().map(|field| field.key.as_str()).collect()
}

fn trees(profile: &Profile) -> Vec<&str> {
    profile.api.webhooks.iter().map(Tree::as_str).collect()
}

/// The signature headers, with what stands before their digits.
fn signed_as(profile: &Profile) -> Vec<String> {
    let (stamp, digits) = (Stamp { id: "evt_1", timestamp: 1 }, "00".repeat(32));
    let prefix = |header: &SignatureHeader| header.value(stamp, [[0; 32]]).replace(&digits, "");
    profile.signature.headers.iter().map(|header| format!("{}: {}", header.name, prefix(header))).collect()
}

fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|&text| text.to_owned()).collect()
}

/// AFF-03 … AFF-14
#[test]
fn afftok_has_the_twelve_documented_events() {
    let profile = afftok();
    let names: Vec<_> = profile.event_types().map(|kind| kind.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "click.tracked",
            "click.blocked",
            "conversion.created",
            "conversion.approved",
            "conversion.rejected",
            "postback.received",
            "postback.failed",
            "offer.joined",
            "offer.left",
            "fraud.detected",
            "api_key.used",
            "api_key.rate_limited"
        ]
    );
    assert_eq!(profile.event_type("offer.left").unwrap().description, "A user left an offer");
    assert!(profile.is_known_type("click.tracked") && profile.is_closed());
    for unknown in ["Click.tracked", "click", "click.tracked.x", "user.created", ""] {
        assert!(!profile.is_known_type(unknown), "{unknown}");
    }
}

/// AFF-29, AFF-31, AFM-15, AFM-25, AFM-29, T-16, T-18, T-19, T-28
#[test]
fn afftok_says_what_its_documents_say() {
    let profile = afftok();
    assert_eq!(profile.ids.pipeline, "pipe");
    let signature: Signature = toml::from_str("headers = [{ name = 'X-Afftok-Signature' }]").unwrap();
    assert_eq!(profile.signature, signature);
    assert!(signature.standard_webhooks && signature.ed25519 && signature.has_room_for_one());
    let failover = FixedHeader { name: "X-Afftok-Failover".into(), value: "1".into() };
    assert_eq!(profile.failover, Some(failover));
    assert_eq!(profile.defaults.retry, RetryPolicy::default());
    assert_eq!(profile.defaults.timeout(), Duration::from_secs(30));
    assert_eq!(profile.defaults.body_format, BodyForm::Js);
    assert_eq!(profile.rules, ResponseRules::default());
    assert_eq!(profile.limits, ProfileLimits::default());
    assert!(profile.https.permits("https", false) && profile.https.permits("http", true));
    assert!(!profile.https.permits("http", false) && !profile.https.permits("ftp", true));
    assert!(!HttpsRule::Required.permits("http", true));
}

/// AFF-15, T-21b
#[test]
fn afftok_envelopes_have_six_keys_in_order() {
    let profile = afftok();
    let keys: Vec<_> = profile.envelope.fields().iter().map(|field| field.key.as_str()).collect();
    assert_eq!(keys, ["id", "type", "timestamp", "api_version", "data", "metadata"]);
}

/// AFM-33 … AFM-40, T-20
#[test]
fn aliases_patterns_and_names_select_events() {
    let profile = afftok();
    let matched = |triggers: &[&str]| -> Vec<String> {
        let triggers = strings(triggers);
        let all = profile.event_types().map(|kind| kind.name.clone());
        all.filter(|name| profile.triggers_match(&triggers, name)).collect()
    };
    assert_eq!(matched(&["click"]), ["click.tracked"]);
    assert_eq!(matched(&["conversion"]), ["conversion.created"]);
    assert_eq!(matched(&["conversion_approved"]), ["conversion.approved"]);
    assert_eq!(matched(&["conversion_rejected"]), ["conversion.rejected"]);
    assert_eq!(matched(&["postback"]), ["postback.received"]);
    assert_eq!(matched(&["fraud"]), ["fraud.detected"]);
    assert_eq!(matched(&["offer_joined"]), ["offer.joined"]);
    assert_eq!(matched(&["api_key_event"]), ["api_key.used", "api_key.rate_limited"]);
    assert_eq!(matched(&["offer.left", "click.blocked"]), ["click.blocked", "offer.left"]);
    assert_eq!(matched(&["conversion.*"]).len(), 3);
    assert_eq!(matched(&["*"]).len(), 12);
    assert_eq!(matched(&[]), [] as [&str; 0]);
}

/// T-20, ING.8
#[test]
fn triggers_that_match_nothing_are_refused_with_what_is_allowed() {
    let profile = afftok();
    for good in ["click", "api_key_event", "offer.left", "conversion.*", "*", "*.created"] {
        assert_eq!(profile.check_trigger(good), Ok(()), "{good}");
    }
    for bad in ["", "Click", "conversion.", "user.*", "conversion.* ", "\n", &"*".repeat(200)] {
        assert!(profile.check_trigger(bad).is_err(), "{bad}");
    }
    let message = profile.check_trigger("clicks").unwrap_err().to_string();
    assert!(
        message.starts_with("`clicks` matches no event; allowed are api_key_event, click, "),
        "{message}"
    );
    assert!(message.contains("offer.left") && message.ends_with("and patterns with `*`"), "{message}");
}

/// T-21
#[test]
fn the_trigger_type_is_the_pipelines_own_word() {
    let profile = afftok();
    let of = |triggers: &[&str], event: &str| profile.trigger_type(&strings(triggers), event).to_owned();
    assert_eq!(of(&["click", "conversion"], "conversion.created"), "conversion");
    assert_eq!(of(&["conversion.created"], "conversion.created"), "conversion.created");
    assert_eq!(of(&["conversion.*"], "conversion.approved"), "conversion.approved");
    assert_eq!(of(&["click"], "conversion.approved"), "conversion.approved");
}

/// AFF-27, §1.8, row by row
#[test]
fn resources_follow_the_table() {
    let profile = afftok();
    let rows = [
        ("click.tracked", r#"{"click_id":"c","id":"i","tracking_code":"t"}"#, "click:c"),
        ("click.tracked", r#"{"id":"i","tracking_code":"t"}"#, "click:i"),
        ("click.blocked", r#"{"tracking_code":"t"}"#, "click:t"),
        ("conversion.created", r#"{"conversion_id":"v","id":"i"}"#, "conversion:v"),
        ("conversion.approved", r#"{"id":"i"}"#, "conversion:i"),
        ("conversion.rejected", r#"{"conversion_id":7}"#, "conversion:7"),
        ("postback.received", r#"{"postback_id":"p","conversion_id":"v","click_id":"c"}"#, "postback:p"),
        ("postback.failed", r#"{"conversion_id":"v","click_id":"c"}"#, "postback:v"),
        ("postback.failed", r#"{"click_id":"c"}"#, "postback:c"),
        ("postback.failed", r#"{"id":"i"}"#, "postback:i"),
        ("offer.joined", r#"{"offer_id":"o","user_id":"u"}"#, "offer_member:o+u"),
        ("offer.left", r#"{"user_id":"u","offer_id":"o"}"#, "offer_member:o+u"),
        ("offer.left", r#"{"offer_id":"o"}"#, "evt_1"),
        ("fraud.detected", r#"{"ip_address":"192.0.2.1","tracking_code":"t"}"#, "fraud:t"),
        ("fraud.detected", r#"{"ip_address":"192.0.2.1"}"#, "fraud:192.0.2.1"),
        ("api_key.used", r#"{"api_key_id":"k"}"#, "api_key:k"),
        ("api_key.rate_limited", r#"{"api_key_id":"k"}"#, "api_key:k"),
        ("api_key.used", "{}", "evt_1"),
    ];
    for (event_type, data, resource) in rows {
        let data = parse(data.as_bytes(), Limits::EVENT).unwrap();
        assert_eq!(profile.resource_rule(event_type).derive(&data, "evt_1"), resource, "{event_type}");
    }
    assert_eq!(profile.resource_id("conversion.created", "conversion:conv_1"), "conv_1"); // T-36
    assert_eq!(profile.resource_id("conversion.created", "evt_1"), "evt_1");
}

#[test]
fn standard_takes_any_well_formed_type() {
    let profile = standard();
    assert!(profile.is_known_type("user.created") && profile.is_known_type("A_1"));
    assert!(!profile.is_known_type("user..created") && !profile.is_known_type("user-created"));
    for good in ["user.created", "user.*", "*", "*.created", "contact.created"] {
        assert_eq!(profile.check_trigger(good), Ok(()), "{good}");
    }
    for bad in ["", "user.", "user created", ".*"] {
        assert_eq!(profile.check_trigger(bad), Err(TriggerError::Malformed(bad.into())), "{bad}");
    }
    assert!(profile.triggers_match(&strings(&["user.*"]), "user.created"));
    assert!(!profile.triggers_match(&strings(&["user"]), "user.created"));
    let data = parse(br#"{"id":42}"#, Limits::EVENT).unwrap();
    assert_eq!(profile.resource_rule("user.created").derive(&data, "evt_1"), "42");
    assert_eq!(profile.resource_rule("user.created").derive(&Json::Null, "evt_1"), "evt_1");
    assert!(profile.rules.is_permanent(410) && !profile.rules.is_permanent(404));
    assert_eq!(profile.defaults.retry.attempts_max, 10);
}

/// AFF-22 … AFF-25, AFM-72 … AFM-74
#[test]
fn samples_stand_for_both_documents() {
    let profile = afftok();
    let documents = |name| -> Vec<String> {
        profile.event_type(name).unwrap().samples.iter().map(|sample| sample.document.clone()).collect()
    };
    assert_eq!(documents("click.tracked"), ["AFF-22", "AFM-73"]);
    assert_eq!(documents("conversion.created"), ["AFF-23", "AFM-72"]);
    assert_eq!(documents("conversion.approved"), ["AFF-24"]);
    assert_eq!(documents("fraud.detected"), ["AFF-25", "AFM-74"]);
    assert!(profile.event_types().all(|kind| !kind.samples.is_empty()));
}

/// ATT-02, ATT-03, ATT-06, ATT-09, ATT-15, ATT-21, ATT-31, ATT-36, T-13, T-18, T-19
#[test]
fn attribution_says_what_its_document_says() {
    let profile = builtin("attribution");
    assert_eq!(names(&profile), ["deal.attributed", "partner.created", "partner.updated", "event.tracked"]);
    assert_eq!(keys(&profile), ["id", "type", "timestamp", "data"]);
    assert_eq!(trees(&profile), ["/webhooks"]);
    assert_eq!((profile.api.answers, profile.api.takes_jwt), (Answers::Plain, false));
    assert_eq!(profile.ids.webhook, "wh");
    assert_eq!(signed_as(&profile), ["X-Attribution-Signature: "]);
    assert_eq!(profile.defaults.retry, RetryPolicy::preset("attribution").unwrap());
    assert_eq!(profile.defaults.timeout_seconds, 30);
    assert!(profile.https.permits("http", true) && !profile.https.permits("http", false));
    assert_eq!(profile.rules, ResponseRules::default());
    assert_eq!(profile.limits.webhooks_max, None);
}

/// ATT-14: nobody gets the event of high volume who did not ask for it by name.
#[test]
fn attribution_never_sends_tracked_events_by_pattern() {
    let profile = builtin("attribution");
    let wants = |triggers: &[&str]| profile.triggers_match(&strings(triggers), "event.tracked");
    assert!(!wants(&["*"]) && !wants(&["event.*"]) && !wants(&["*.tracked", "deal.attributed"]));
    assert!(wants(&["event.tracked"]) && wants(&["*", "event.tracked"]));
}

/// APX-01, APX-02, APX-05, APX-11, APX-12, APX-17, APX-20, APX-33 … APX-35, APX-37, T-5, T-15, T-18, T-19
#[test]
fn apexmediation_says_what_its_document_says() {
    let profile = builtin("apexmediation");
    let documented =
        ["payout.succeeded", "payout.failed", "fraud.detected", "threshold.reached", "api.error"];
    assert_eq!(names(&profile), documented);
    assert_eq!(keys(&profile), ["event", "timestamp", "data"]);
    assert_eq!(trees(&profile), ["/v1/webhooks"]);
    assert_eq!((profile.api.answers, profile.api.takes_jwt), (Answers::Plain, true));
    assert_eq!(signed_as(&profile), ["X-Apexmediation-Signature: ", "X-Adstack-Signature: "]);
    assert_eq!(profile.defaults.retry, RetryPolicy::preset("apexmediation").unwrap());
    assert_eq!(profile.defaults.timeout_seconds, 5);
    assert!(!profile.https.permits("http", true));
    assert_eq!(profile.rules, ResponseRules::default());
    assert_eq!((profile.limits.webhooks_max, profile.limits.events_per_second), (Some(10), Some(100)));
}

/// SOC-02, SOC-07, SOC-11 … SOC-13, SOC-27, SOC-29, SOC-36, SOC-38, SOC-42, SOC-45, SOC-46, T-14, T-16, T-18
#[test]
fn social_says_what_its_document_says() {
    let profile = builtin("social");
    assert_eq!(names(&profile).len(), 13);
    assert_eq!(keys(&profile), ["event", "timestamp", "data", "workspaceId"]);
    assert_eq!(trees(&profile), ["/api/v1/webhooks"]);
    assert_eq!((profile.api.answers, profile.api.takes_jwt), (Answers::Plain, false));
    assert_eq!(profile.ids.webhook, "webhook");
    assert_eq!(signed_as(&profile), ["X-Webhook-Signature: sha256="]);
    assert_eq!(profile.defaults.retry, RetryPolicy::preset("social").unwrap());
    assert_eq!(profile.defaults.timeout_seconds, 30);
    assert!(!profile.https.permits("http", true));
    assert!(profile.rules.is_permanent(400) && profile.rules.is_permanent(429));
    assert!(!profile.rules.is_permanent(399) && !profile.rules.is_permanent(500));
    assert_eq!(profile.test_event.as_ref().unwrap().event_type, "webhook.test");
    assert!(!profile.is_known_type("webhook.test"), "only tests send it");
}

/// §1.8 of the requirements, row by row; T-37, T-39, T-40
#[test]
fn resources_of_the_other_three_follow_the_table() {
    let rows = [
        ("attribution", "deal.attributed", r#"{"dealId":"d"}"#, "deal:d"),
        ("attribution", "partner.created", r#"{"id":"p"}"#, "partner:p"),
        ("attribution", "partner.updated", r#"{"id":"p"}"#, "partner:p"),
        ("attribution", "event.tracked", r#"{"id":"evt_xyz","partnerId":"p"}"#, "tracked:evt_xyz"),
        ("apexmediation", "payout.succeeded", r#"{"payout_id":"p"}"#, "payout:p"),
        ("apexmediation", "payout.failed", r#"{"payout_id":"p"}"#, "payout:p"),
        ("apexmediation", "fraud.detected", r#"{"device_id":"d","ip_address":"192.0.2.1"}"#, "device:d"),
        ("apexmediation", "fraud.detected", r#"{"ip_address":"192.0.2.1"}"#, "device:192.0.2.1"),
        (
            "apexmediation",
            "threshold.reached",
            r#"{"threshold_type":"t","period":"2025-11"}"#,
            "threshold:t+2025-11",
        ),
        ("apexmediation", "api.error", r#"{"endpoint":"/ads/request"}"#, "endpoint:/ads/request"),
        ("social", "post.published", r#"{"postId":"p","platform":"x"}"#, "post:p"),
        ("social", "mention.created", r#"{"mentionId":"m"}"#, "mention:m"),
        ("social", "crisis.detected", r#"{"crisisId":"c"}"#, "crisis:c"),
        ("social", "trend.detected", r#"{"trendId":"t"}"#, "trend:t"),
        ("social", "message.received", r#"{"messageId":"m1","conversationId":"c"}"#, "conversation:c"),
        ("social", "message.replied", r#"{"messageId":"m2","conversationId":"c"}"#, "conversation:c"),
        ("social", "analytics.updated", r#"{"period":"hourly"}"#, "analytics:hourly"),
        ("social", "goal.achieved", r#"{"campaignId":"c"}"#, "campaign:c"),
        ("social", "account.connected", r#"{"accountId":"a"}"#, "account:a"),
        ("social", "account.disconnected", r#"{"accountId":"a"}"#, "account:a"),
    ];
    for (name, event_type, data, resource) in rows {
        let data = parse(data.as_bytes(), Limits::EVENT).unwrap();
        assert_eq!(builtin(name).resource_rule(event_type).derive(&data, "evt_1"), resource, "{event_type}");
    }
}

/// A sample in the provider's envelope is what is sent for the event that is made of it.
#[test]
fn samples_as_they_are_sent_are_taken_out_of_their_envelope() {
    let apex = builtin("apexmediation");
    let sample = &apex.event_type("payout.failed").unwrap().samples[0];
    assert_eq!(sample.document, "APX-07");
    assert!(
        sample.event.starts_with(r#"{"type":"payout.failed","timestamp":"2025-11-04T10:00:00Z","data":{"#)
    );
    assert!(sample.event.contains(r#""amount":1250.00,"#), "numbers keep their digits: {}", sample.event);
    let attribution = builtin("attribution");
    let sample = &attribution.event_type("event.tracked").unwrap().samples[0];
    assert!(sample.event.starts_with(r#"{"id":"evt_126","type":"event.tracked","#), "{}", sample.event);
}

/// T-45: the same tree may belong to several profiles, and none lies below another.
#[test]
fn trees_of_several_profiles_meet_in_one_or_not_at_all() {
    let with =
        |tree: &str| MINIMAL.replace("https =", &format!("api = {{ webhooks = ['{tree}'] }}\nhttps ="));
    let load = |tree: &str| {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("mine.toml"), with(tree)).unwrap();
        let loaded = Profiles::load(dir.path());
        loaded.map(|all| all.trees().len()).map_err(|error| error.to_string())
    };
    assert_eq!(load("/webhooks"), Ok(3));
    assert_eq!(load("/v2/hooks"), Ok(4));
    let error = load("/v1/webhooks/mine").unwrap_err();
    assert!(
        error.contains(
            "mine.toml:3:21: `api.webhooks[0]`: `/v1/webhooks/mine` and `/v1/webhooks` of profile \
        `apexmediation` lie below one another"
        ),
        "{error}"
    );
    assert!(load("/v1").is_err() && load("/api/tenants").is_err());
}

const MINIMAL: &str = "\
name = 'mine'
title = 'Mine'
https = 'required'
envelope = [{ key = 'event', from = 'type' }, { key = 'data', from = 'data' }]
ids = { pipeline = 'pipe', webhook = 'wh' }
signature = { headers = [{ name = 'X-A' }, { name = 'X-B', value = 'sha256={hex}' }] }
defaults = { retry = 'apx', timeout_seconds = 5 }
responses = { permanent = [[400, 499]], retried = [429] }
limits = { webhooks_max = 10, events_per_second = 100 }
triggers = { loud = ['b.c'] }
events = [
  { type = 'a.b', description = '', samples = [{ document = '', event = '{\"type\":\"a.b\",\"data\":{}}' }] },
  { type = 'b.c', description = '', high_volume = true, samples = [{ document = '', event = '{\"type\":\"b.c\",\"data\":{}}' }] },
]
";

/// T-5, T-6, T-16, ATT-14, APX-33, APX-34
#[test]
fn a_sixth_profile_is_a_file() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("mine.toml"), MINIMAL).unwrap();
    std::fs::write(dir.path().join("notes.txt"), "not a profile").unwrap();
    let profiles = Profiles::load(dir.path()).unwrap();
    let names: Vec<_> = profiles.iter().map(|profile| profile.name.as_str()).collect();
    assert_eq!(names, ["afftok", "apexmediation", "attribution", "mine", "social", "standard"]);
    let mine = profiles.get("mine").unwrap();
    let stamp = Stamp { id: "evt_1", timestamp: 1 };
    assert!(mine.signature.headers[1].value(stamp, [[0; 32]]).starts_with("sha256=0000"));
    assert!(mine.signature.standard_webhooks && mine.failover.is_none());
    assert!(mine.rules.is_permanent(404) && !mine.rules.is_permanent(429));
    assert_eq!(mine.limits.webhooks_max, Some(10));
    assert!(!mine.triggers_match(&strings(&["*"]), "b.c"), "patterns leave events of high volume out");
    assert!(
        mine.triggers_match(&strings(&["b.c"]), "b.c") && mine.triggers_match(&strings(&["loud"]), "b.c")
    );
}

#[test]
fn errors_name_file_line_and_field() {
    let error = |from: &str, to: &str| {
        assert!(MINIMAL.contains(from), "{from}");
        Profile::parse("mine.toml", &MINIMAL.replacen(from, to, 1)).unwrap_err().to_string()
    };
    for (from, to, place, field, message) in [
        ("title =", "titel =", "2:", "titel", "unknown field `titel`"),
        ("'required'", "'optional'", "3:", "https", "unknown variant `optional`"),
        ("from = 'type'", "from = 'kind'", "4:", "envelope[0].from", "unknown variant `kind`"),
        ("key = 'event'", "key = 'data'", "4:", "envelope", "the key `data` twice"),
        ("key = 'event'", "key = '1'", "4:", "envelope[0]", "starts with a letter"),
        ("'pipe'", "'Pipe'", "5:", "ids.pipeline", "expected lower-case letters"),
        ("'X-B'", "'X B'", "6:", "signature.headers[1].name", "the name of a header"),
        ("{hex}", "{hax}", "6:", "signature.headers[1].value", "`{hax}` is none of `{hex}`"),
        ("'apx'", "'never'", "7:", "defaults.retry", "no retry preset `never`"),
        ("= 5 }", "= 301 }", "7:", "defaults.timeout_seconds", "expected 1 to 300"),
        ("[400, 499]", "[499, 400]", "8:", "responses.permanent[0]", "the lower status first"),
        ("events_per_second", "per_second", "9:", "limits.per_second", "unknown field"),
        ("loud = ['b.c']", "loud = ['b.d']", "10:", "triggers.loud", "`b.d` is not in the catalogue"),
        ("type = 'b.c'", "type = 'a.b'", "13:", "events[1].samples[0].event", "not an event of type `a.b`"),
        (
            "type\\\":\\\"a.b",
            "type\\\":\\\"x",
            "12:",
            "events[0].samples[0].event",
            "not an event of type `a.b`",
        ),
        ("type = 'a.b'", "type = 'b.c'", "12:", "events[0].samples[0].event", "not an event of type `b.c`"),
        (
            "https =",
            "api = { webhooks = ['/Hooks'] }\nhttps =",
            "3:",
            "api.webhooks[0]",
            "expected segments of `a`",
        ),
        ("https =", "api = { auth = ['jwt'] }\nhttps =", "3:", "api.auth", "name `key` too"),
        (
            "https =",
            "test_event = { type = 'a b', data = '{}' }\nhttps =",
            "3:",
            "test_event.type",
            "not an event",
        ),
        (
            "https =",
            "test_event = { type = 'a', data = '[]' }\nhttps =",
            "3:",
            "test_event.data",
            "not a JSON object",
        ),
        (
            "events_per_second = 100",
            "secret_bytes_min = 8",
            "9:",
            "limits.secret_bytes_min",
            "expected 16 to 24",
        ),
        (
            "event = '{\"type\":\"a.b\",\"data\":{}}'",
            "sent = '{\"data\":{},\"event\":\"a.b\"}'",
            "12:",
            "events[0].samples[0].sent",
            "not in the envelope, whose keys are event, data",
        ),
        (
            "event = '{\"type\":\"a.b\",\"data\":{}}'",
            "note = ''",
            "12:",
            "events[0].samples[0].note",
            "unknown field",
        ),
        ("name = 'mine'", "name = ", "1:", "?", ""),
        ("name = 'mine'\n", "", "1:", "name", "missing field `name`"),
    ] {
        let text = error(&from.replace("\\\"", "\""), &to.replace("\\\"", "\""));
        assert!(text.starts_with(&format!("mine.toml:{place}")), "{text}");
        assert!(
            text.contains(&format!("`{field}`")) && text.contains(message),
            "{text} // {field} {message}"
        );
    }
}

#[test]
fn a_type_stands_in_the_catalogue_once() {
    let twice = MINIMAL.replace("a.b", "b.c");
    let error = Profile::parse("mine.toml", &twice).unwrap_err().to_string();
    assert_eq!(error, "mine.toml:13:12: `events[1].type`: `b.c` stands in the catalogue twice");
}

#[test]
fn a_name_that_is_taken_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("a.toml"), MINIMAL.replace("'mine'", "'afftok'")).unwrap();
    let error = Profiles::load(dir.path()).unwrap_err();
    assert!(matches!(error, ProfileError::Duplicate { .. }), "{error}");
    assert!(matches!(Profiles::load(&dir.path().join("none")), Err(ProfileError::Read { .. })));
}

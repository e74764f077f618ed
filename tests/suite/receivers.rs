//! The documents' own receivers, verbatim, get every documented event from the real binary. What they are made of, and
//! which of them cannot work as printed, stands in `tests/receivers/README.md`.

use crate::support::{
    Addresses, Api, Farm, Received, Receiver, Reply, TestServer, eventually, make, make::Pipeline,
    program::checkout,
};
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};
use std::{collections::BTreeMap, fmt::Write as _, fs};

/// A receiver, the form of body that it needs, and what it answers to an event that is sound, that was changed or signed
/// with another secret, and that has lost its signature.
struct Sample(&'static str, &'static str, [u16; 3]);

/// One of the documents.
struct Document {
    profile: &'static str,
    /// What its receivers listen at.
    path: &'static str,
    samples: &'static [Sample],
}

const AFFTOK: Document = Document {
    profile: "afftok",
    path: "/webhooks/afftok",
    samples: &[
        Sample("express/afftok/handler", "js", [200, 401, 401]),
        Sample("flask/afftok/handler", "js", [200, 401, 401]),
        Sample("php/afftok/handler", "js", [200, 401, 401]),
        // Acknowledges without a look at the signature.
        Sample("express/afftok/respond_quickly", "js", [200, 200, 200]),
    ],
};

const ATTRIBUTION: Document = Document {
    profile: "attribution",
    path: "/webhooks/attribution",
    samples: &[
        Sample("express/attribution/verification", "js", [200, 401, 500]), // T-6
        Sample("flask/attribution/verification", "js", [200, 401, 500]),
        Sample("express/attribution/endpoint", "js", [500, 500, 500]), // T-8
        Sample("express/attribution/endpoint_with_secret", "js", [200, 401, 401]),
        Sample("express/attribution/return_200_quickly", "js", [200, 200, 200]),
    ],
};

const APEXMEDIATION: Document = Document {
    profile: "apexmediation",
    path: "/webhooks/apexmediation",
    samples: &[
        Sample("express/apexmediation/endpoint", "js", [200, 401, 401]),
        Sample("express/apexmediation/verification", "js", [200, 401, 500]), // T-6
        Sample("express/apexmediation/acknowledge_quickly", "js", [200, 401, 401]),
        Sample("flask/apexmediation/verification", "python", [200, 401, 500]), // T-1, T-5
        Sample("php/apexmediation/verification", "php", [200, 401, 500]),      // T-1, T-5
    ],
};

const SOCIAL: Document = Document {
    profile: "social",
    path: "/webhooks/social-media",
    samples: &[
        Sample("express/social/endpoint", "js", [200, 401, 401]),
        Sample("flask/social/endpoint", "js", [500, 500, 500]), // T-7
        Sample("flask/social/endpoint_raw", "js", [200, 401, 401]),
        Sample("flask/social/verification_parsed", "python", [200, 401, 401]),
        Sample("php/social/verification", "js", [401, 401, 401]), // T-7
        Sample("php/social/verification_raw", "js", [200, 401, 401]),
        Sample("php/social/verification_parsed", "php", [200, 401, 401]),
    ],
};

/// What happens to the deliveries of one tenant.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    Sound,
    /// One byte of the body is another one when it arrives.
    Changed,
    /// Signed with a secret that the receiver does not know.
    Forged,
    /// Without its signature headers.
    Stripped,
}

impl Fate {
    const ALL: [Self; 4] = [Self::Sound, Self::Changed, Self::Forged, Self::Stripped];

    fn name(self) -> String {
        format!("{self:?}").to_lowercase()
    }

    /// Passes on a request to `/<fate>/<receiver>/…` as its fate is.
    fn befall(request: &Received, farm: &Addresses) -> u16 {
        let (fate, place) = request.path.trim_start_matches('/').split_once('/').expect("a fate");
        let mut body = request.message.body.clone();
        if fate == Self::Changed.name() {
            // The last digit, so that the body stays JSON.
            let last = body.iter().rposition(u8::is_ascii_digit).expect("a digit");
            body[last] = if body[last] == b'0' { b'1' } else { b'0' };
        }
        let stripped = fate == Self::Stripped.name();
        farm.forward(place, request, &body, |name| !stripped || !name.ends_with("-signature"))
    }
}

impl Document {
    /// Every event of the document, as its producer posts it: numbers are spelt as they are printed there.
    fn events(&self) -> Vec<(String, String)> {
        let files = fs::read_dir(checkout("tests/fixtures").join(self.profile)).expect("fixtures").flatten();
        let mut events: Vec<_> = files
            .map(|file| {
                let name = file.path().file_stem().expect("a name").to_string_lossy().into_owned();
                (name, posted(&fs::read_to_string(file.path()).expect("text")))
            })
            .filter(|(name, _)| name != "webhook_test")
            .collect();
        events.sort();
        events
    }

    /// Sends all events to all receivers, four times over, and sees that each answers as it is to.
    fn check(&self, mut events: Vec<(String, String)>, expected: usize) {
        assert_eq!(self.events().len(), expected);
        events.extend(self.events());
        let farm = Farm::start(self.samples.iter().map(|sample| sample.0));
        let addresses = farm.addresses();
        let gate = Receiver::https(move |request| Reply::Status(Fate::befall(request, &addresses)));
        let server = TestServer::https().start();
        let operator = server.api();
        let mut wrong = Vec::new();
        for fate in Fate::ALL {
            let api = operator.tenant_of(self.profile, &fate.name());
            let receivers: BTreeMap<String, &Sample> = self
                .samples
                .iter()
                .map(|sample| (self.register(&api, sample, fate, &gate), sample))
                .collect();
            let names: BTreeMap<String, &str> =
                events.iter().map(|(name, text)| (post(&api, text), &**name)).collect();
            for delivery in ended(&api, events.len() * receivers.len()) {
                let (sample, name) =
                    (receivers[text(&delivery, "pipeline_id")], names[text(&delivery, "event_id")]);
                let status = delivery["last_http_status"].as_u64().unwrap_or_default();
                if status != u64::from(sample.answers(fate, name)) {
                    wrong.push(format!("{fate:?} {name} at {}: {status}", sample.0));
                }
            }
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
        self.check_failures(&farm);
    }

    /// What throws does so for the reason that the README gives.
    fn check_failures(&self, farm: &Farm) {
        let (folder, reason) = match self.profile {
            "attribution" => ("express", "ERR_INVALID_ARG_TYPE"),
            "social" => ("flask", "TypeError: Object of type bytes is not JSON serializable"),
            _ => return,
        };
        eventually(reason, || farm.output(folder).contains(reason).then_some(()));
    }

    /// A webhook of one attempt to a receiver; of `AffTok`, a pipeline, which is all that it has.
    fn register(&self, api: &Api, sample: &Sample, fate: Fate, gate: &Receiver) -> String {
        let Sample(receiver, form, _) = sample;
        let url = format!("https://{}/{}/{receiver}{}", gate.address, fate.name(), self.path);
        let secret = if fate == Fate::Forged { "another-secret-of-the-sender" } else { make::SIGNING_KEY };
        if self.profile == "afftok" {
            let pipeline = Pipeline::to_url(&url).with("trigger_type", "*").retry(1, 0);
            return pipeline.step("signing_key", secret).create(api);
        }
        let webhook = json!({
            "url": url,
            "events": self.types(),
            "secret": secret,
            "body_format": form,
            "retry_policy": {"max_attempts": 1},
        });
        api.post("/api/webhooks", &webhook).data(201)["id"].as_str().expect("an id").to_owned()
    }

    fn types(&self) -> Vec<Value> {
        let parsed =
            self.events().into_iter().map(|(_, text)| serde_json::from_str::<Value>(&text).expect("JSON"));
        parsed.map(|event| event["type"].clone()).collect()
    }
}

impl Sample {
    fn answers(&self, fate: Fate, event: &str) -> u16 {
        let Self(receiver, _, [sound, forged, stripped]) = *self;
        // The overview's Flask code reads `data['conversion_id']`, and the management page's sample has `id` in its
        // place (AFM-72). Data is never renamed (T-22), so past the signature that code fails on its own.
        let renamed = event == "management_conversion_created";
        match fate {
            Fate::Sound if renamed && receiver == "flask/afftok/handler" => 500,
            Fate::Sound => sound,
            Fate::Changed | Fate::Forged => forged,
            Fate::Stripped => stripped,
        }
    }
}

/// A document's event as it is posted: its type, time, data and id, byte for byte.
fn posted(printed: &str) -> String {
    #[derive(Deserialize)]
    struct Printed<'p> {
        #[serde(borrow, alias = "event", rename = "type")]
        kind: &'p RawValue,
        #[serde(borrow)]
        data: &'p RawValue,
        id: Option<&'p RawValue>,
        timestamp: Option<&'p RawValue>,
    }
    let Printed { kind, data, id, timestamp } = serde_json::from_str(printed).expect("an event");
    let mut text = format!(r#"{{"type":{kind},"data":{data}"#);
    for (key, value) in [("id", id), ("timestamp", timestamp)] {
        let _ = value.map(|value| write!(text, r#","{key}":{value}"#));
    }
    text + "}"
}

/// Posts a text as it is and answers with the event's id.
fn post(api: &Api, text: &str) -> String {
    let answer = api.try_send("POST", "/api/events", Some(text.as_bytes())).expect("an answer");
    answer.data(202)["id"].as_str().expect("an id").to_owned()
}

/// The deliveries of a tenant, once so many have ended.
fn ended(api: &Api, count: usize) -> Vec<Value> {
    eventually("all deliveries have ended", || {
        let all = api.list("/api/deliveries", "items");
        let over = all.iter().filter(|one| ["delivered", "dead_lettered"].contains(&text(one, "status")));
        (over.count() == count).then_some(all)
    })
}

fn text<'j>(object: &'j Value, key: &str) -> &'j str {
    object[key].as_str().unwrap_or_else(|| panic!("{key} of {object}"))
}

/// The events that the overview names without a payload.
fn bare_events() -> Vec<(String, String)> {
    let named = [
        ("click.blocked", json!({"click_id": "clk_1", "reason": "geo"})),
        ("conversion.rejected", json!({"conversion_id": "conv_1", "payout": 0.5})),
        ("postback.received", json!({"postback_id": "pb_1", "url": "https://network.example/a?b=c&d=é"})),
        ("postback.failed", json!({"postback_id": "pb_1", "status": 500})),
        ("offer.joined", json!({"offer_id": "off_1", "user_id": "usr_1"})),
        ("offer.left", json!({"offer_id": "off_1", "user_id": "usr_1"})),
        ("api_key.used", json!({"api_key_id": "key_1", "uses": 1e3})),
        ("api_key.rate_limited", json!({"api_key_id": "key_1", "limit": 100.0})),
    ];
    named.map(|(kind, data)| (kind.to_owned(), json!({"type": kind, "data": data}).to_string())).into()
}

/// AFF-02, AFF-03 … AFF-14, AFF-31 … AFF-36, AFF-41, AFF-42
#[test]
fn afftok_receivers_take_every_event_and_refuse_what_was_tampered_with() {
    AFFTOK.check(bare_events(), 7);
}

/// ATT-09 … ATT-13, ATT-15 … ATT-20, ATT-30 … ATT-32, ATT-35a, T-6, T-8
#[test]
fn attribution_receivers_take_every_event_and_refuse_what_was_tampered_with() {
    ATTRIBUTION.check(Vec::new(), 4);
}

/// APX-05 … APX-17, APX-36a, T-1, T-2, T-5, T-6
#[test]
fn apexmediation_receivers_take_every_event_and_refuse_what_was_tampered_with() {
    APEXMEDIATION.check(Vec::new(), 5);
}

/// SOC-12 … SOC-33, SOC-35, SOC-51, SOC-53, SOC-53a, T-1, T-7
#[test]
fn social_receivers_take_every_event_and_refuse_what_was_tampered_with() {
    SOCIAL.check(Vec::new(), 13);
}

/// A farm, a server and a tenant of one document, whose receivers get every request twice.
fn twice(document: &Document, receiver: &'static str) -> (Farm, TestServer, Api, Receiver) {
    let farm = Farm::start([receiver]);
    let addresses = farm.addresses();
    let gate = Receiver::https(move |request| {
        Fate::befall(request, &addresses);
        Reply::Status(Fate::befall(request, &addresses))
    });
    let server = TestServer::https().start();
    let api = server.api().tenant_of(document.profile, "twice");
    let sample = document.samples.iter().find(|sample| sample.0 == receiver).expect("a sample");
    document.register(&api, sample, Fate::Sound, &gate);
    (farm, server, api, gate)
}

/// AFF-37, AFF-42
#[test]
fn an_afftok_receiver_leaves_out_what_comes_twice() {
    let (farm, _server, api, _gate) = twice(&AFFTOK, "express/afftok/respond_quickly");
    let id = post(&api, &AFFTOK.events()[0].1);
    let line = format!("Duplicate event, skipping: {id}");
    eventually(&line, || farm.output("express").contains(&line).then_some(()));
}

/// ATT-22, ATT-23
#[test]
fn an_attribution_receiver_stores_what_comes_twice_once() {
    let (farm, _server, api, _gate) = twice(&ATTRIBUTION, "express/attribution/return_200_quickly");
    let ids: Vec<String> = ATTRIBUTION.events().iter().map(|(_, text)| post(&api, text)).collect();
    ended(&api, ids.len());
    let mut seen = farm.seen("express/attribution/return_200_quickly");
    seen.sort_by_key(ToString::to_string);
    assert_eq!(json!(seen), json!(ids.into_iter().collect::<std::collections::BTreeSet<_>>()));
}

/// APX-18, T-10: the sample's key is made of event, timestamp and payout; events without a payout differ in the time that
/// they are given here, even if they come within one second.
#[test]
fn an_apexmediation_receiver_confuses_no_two_events_of_one_second() {
    let (farm, _server, api, _gate) = twice(&APEXMEDIATION, "express/apexmediation/acknowledge_quickly");
    for device in ["a", "b", "c"] {
        post(&api, &json!({"type": "fraud.detected", "data": {"device_id": device}}).to_string());
    }
    ended(&api, 3);
    let mut seen = farm.seen("express/apexmediation/acknowledge_quickly");
    seen.sort_by_key(ToString::to_string);
    assert_eq!(json!(seen), json!([{"device_id": "a"}, {"device_id": "b"}, {"device_id": "c"}]));
}

/// APX-19, T-15: what the receiver tries again by itself is its own affair, and one delivery to us.
#[test]
fn an_apexmediation_receiver_may_retry_its_processing_by_itself() {
    let receiver = "express/apexmediation/retry_logic";
    let farm = Farm::start([receiver]);
    let addresses = farm.addresses();
    let gate = Receiver::https(move |request| Reply::Status(Fate::befall(request, &addresses)));
    let server = TestServer::https().start();
    let api = server.api().tenant_of("apexmediation", "publisher");
    APEXMEDIATION.register(&api, &Sample(receiver, "js", [200; 3]), Fate::Sound, &gate);
    for kind in ["payout.succeeded", "payout.failed"] {
        post(&api, &json!({"type": kind, "data": {"payout_id": "payout_1"}}).to_string());
    }
    let attempts: Vec<Value> = ended(&api, 2).into_iter().map(|one| one["attempts_made"].clone()).collect();
    assert_eq!(attempts, [1, 1]);
    let expected = [
        "slept 2000",
        "slept 4000",
        "handled payout.succeeded",
        "slept 2000",
        "slept 4000",
        "stored payout.failed: no database",
    ];
    assert_eq!(json!(farm.seen(receiver)), json!(expected));
}

/// ATT-27, T-6: the document's curl line, which no receiver of the document answers with 401.
#[test]
fn a_test_by_hand_fails_in_the_receiver_not_in_the_signature() {
    let farm = Farm::start(["express/attribution/verification"]);
    let line =
        fs::read_to_string(checkout("tests/fixtures/documents/attribution/manual-testing.sh")).expect("text");
    let (_, rest) = line.split_once("-d '").expect("a body");
    let printed = rest.trim_end().trim_end_matches('\'');
    let by_hand = |body: &str| {
        let path = "express/attribution/verification/webhooks/attribution";
        let headers = "Content-Type: application/json\r\nX-Attribution-Signature: test_signature\r\n";
        farm.post(path, headers, body.as_bytes())
    };
    assert!(line.contains("X-Attribution-Signature: test_signature"));
    assert_eq!(by_hand(printed), 400, "`{{ ... }}` is no JSON");
    assert_eq!(
        by_hand(&printed.replace("{ ... }", "{}")),
        500,
        "`test_signature` has not the length of a signature"
    );
}

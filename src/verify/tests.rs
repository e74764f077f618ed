//! Each mistake is made once, and named.

use super::*;
use base64::{Engine as _, prelude::BASE64_STANDARD};

const SECRET: &str = "your_webhook_secret_key_0";
const BODY: &str = r#"{"id":"evt_1","payout":5.5,"name":"Zoë"}"#;
const AT: u64 = 1_705_314_700;

/// A request that is right, for tests to make wrong.
struct Bench {
    profile: &'static str,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    secret: String,
    public: Vec<Vec<u8>>,
    now: u64,
}

fn hex_hmac(key: &[u8], body: &[u8]) -> String {
    hex::encode(explain::hmac(key, &[body]))
}

fn standard(key: &[u8], body: &[u8]) -> String {
    let digest = explain::hmac(key, &[format!("evt_1.{AT}.").as_bytes(), body]);
    format!("v1,{}", BASE64_STANDARD.encode(digest))
}

fn right() -> Bench {
    let body = BODY.as_bytes();
    let mut bench = Bench {
        profile: "afftok",
        headers: Vec::new(),
        body: body.to_vec(),
        secret: SECRET.to_owned(),
        public: Vec::new(),
        now: AT + 2,
    };
    bench.set("webhook-id", "evt_1");
    bench.set("webhook-timestamp", &AT.to_string());
    bench.set("X-Afftok-Signature", &hex_hmac(SECRET.as_bytes(), body));
    bench.set("webhook-signature", &standard(SECRET.as_bytes(), body));
    bench
}

impl Bench {
    fn set(&mut self, name: &str, value: &str) {
        self.headers.retain(|(other, _)| other != name);
        self.headers.push((name.to_owned(), value.to_owned()));
    }

    fn without(&mut self, name: &str) {
        self.headers.retain(|(other, _)| other != name);
    }

    fn report(&self) -> Report {
        let profiles = Profiles::builtin();
        let mut headers = Headers::default();
        self.headers.iter().for_each(|(name, value)| headers.add(&format!("{name}: {value}")).unwrap());
        let secrets =
            if self.secret.is_empty() { vec![] } else { vec![Key::new("WEBHOOK_SECRET", &self.secret)] };
        let profile = profiles.get(self.profile).unwrap();
        let (body, public) = (self.body.clone(), self.public.clone());
        Request { profile, profiles: &profiles, headers, body, secrets, public }.check(self.now, 300)
    }

    /// The codes of what fails, and the text of all of it.
    fn failing(&self) -> (Vec<&'static str>, String) {
        let report = self.report();
        let failing: Vec<_> = report.checks.iter().filter(|check| check.result == Outcome::Fails).collect();
        assert_eq!(report.valid, failing.is_empty());
        (failing.iter().map(|check| check.code).collect(), report.to_string())
    }
}

#[test]
fn a_genuine_request_fits() {
    let report = right().report();
    assert!(report.valid, "{report}");
    assert!(!report.to_string().contains(SECRET), "no secret is shown");
}

#[test]
fn another_secret_and_a_changed_body_are_told_apart_from_the_rest() {
    let mut bench = right();
    bench.secret = "another_secret_of_some_length".to_owned();
    let (codes, text) = bench.failing();
    assert_eq!(codes, ["wrong_secret", "wrong_secret"]);
    assert!(text.contains("another secret"), "{text}");
    let mut bench = right();
    bench.body = BODY.replace("5.5", "5.6").into_bytes();
    assert_eq!(bench.failing().0, ["wrong_secret", "wrong_secret"]);
}

/// T-1: whose writer it was is found out.
#[test]
fn a_body_that_was_written_anew_is_told_with_its_writer() {
    let python = r#"{"id": "evt_1", "payout": 5.5, "name": "Zo\u00eb"}"#;
    let php = r#"{"id":"evt_1","payout":5.5,"name":"Zo\u00eb"}"#;
    for (written, word) in [(python, "json.dumps"), (php, "json_encode")] {
        let mut bench = right();
        bench.set("X-Afftok-Signature", &hex_hmac(SECRET.as_bytes(), written.as_bytes()));
        bench.without("webhook-signature");
        let (codes, text) = bench.failing();
        assert_eq!(codes, ["changed_body"], "{text}");
        assert!(text.contains(word), "{text}");
    }
    let mut bench = right();
    bench.body = python.as_bytes().to_vec();
    assert!(bench.failing().1.contains("JSON.stringify"));
    let mut bench = right();
    bench.body.push(b'\n');
    assert!(bench.failing().1.contains("without the line break at its end"));
}

#[test]
fn a_header_that_is_missing_or_another_providers_is_named() {
    let mut bench = right();
    bench.without("X-Afftok-Signature");
    assert_eq!(bench.failing().0, ["missing_header"]);
    let mut bench = right();
    bench.profile = "standard";
    bench.without("webhook-signature");
    assert_eq!(bench.failing().0, ["missing_header"]);
}

#[test]
fn a_right_signature_in_the_wrong_shape_is_told() {
    let hex = hex_hmac(SECRET.as_bytes(), BODY.as_bytes());
    for value in [format!("sha256={hex}"), hex.to_uppercase(), format!("{hex},{hex}")] {
        let mut bench = right();
        bench.set("X-Afftok-Signature", &value);
        let (codes, text) = bench.failing();
        assert_eq!(codes, ["wrong_shape"], "{text}");
        assert!(text.contains("`<hex>`"), "{text}");
    }
}

/// T-54: which bytes of a secret are the key.
#[test]
fn a_secret_that_was_decoded_or_not_is_told() {
    let secret = format!("whsec_{}", BASE64_STANDARD.encode([7; 32]));
    let mut bench = right();
    bench.secret.clone_from(&secret);
    bench.set("X-Afftok-Signature", &hex_hmac(&[7; 32], BODY.as_bytes()));
    bench.set("webhook-signature", &standard(secret.as_bytes(), BODY.as_bytes()));
    let (codes, text) = bench.failing();
    assert_eq!(codes, ["wrong_key_form", "wrong_key_form"]);
    assert!(text.contains("decoded from base64") && text.contains("prefix and all"), "{text}");
    let mut bench = right();
    bench.set("X-Afftok-Signature", &hex_hmac(format!("{SECRET}\n").as_bytes(), BODY.as_bytes()));
    assert!(bench.failing().1.contains("with a line break behind it"));
}

#[test]
fn a_signature_in_another_scheme_is_told() {
    let mut bench = right();
    let digest = explain::hmac(SECRET.as_bytes(), &[format!("evt_1.{AT}.").as_bytes(), BODY.as_bytes()]);
    bench.set("X-Afftok-Signature", &hex::encode(digest));
    let (codes, text) = bench.failing();
    assert_eq!(codes, ["other_scheme"]);
    assert!(text.contains("Standard Webhooks"), "{text}");
}

#[test]
fn what_is_too_old_or_ahead_is_stale() {
    for now in [AT + 301, AT - 301] {
        let mut bench = right();
        bench.now = now;
        assert_eq!(bench.failing().0, ["stale"]);
    }
    let mut bench = right();
    bench.set("webhook-timestamp", "yesterday");
    assert!(bench.failing().0.contains(&"wrong_shape"));
}

/// Vector 3 of the specification (contracts, §2): checked by the public key alone.
#[test]
fn asymmetric_signatures_need_no_secret() {
    let mut bench = right();
    (bench.profile, bench.secret) = ("standard", String::new());
    bench.body = br#"{"test": 2432232314}"#.to_vec();
    bench.public = vec![input::public_key("whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4=").unwrap()];
    bench.now = 1_614_265_330;
    bench.set("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek");
    bench.set("webhook-timestamp", "1614265330");
    bench.set(
        "webhook-signature",
        "v1,AAAA v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg== v2,x",
    );
    assert!(bench.report().valid, "{}", bench.report());
    bench.body[0] ^= 1;
    assert_eq!(bench.failing().0, ["wrong_key"]);
    assert!(input::public_key("whpk_AAAA").is_err());
}

#[test]
fn headers_are_found_in_a_dump_of_curl() {
    let mut headers = Headers::default();
    headers.read_dump(b"* Connected to localhost\n> POST /hook HTTP/1.1\n> Webhook-Id: evt_1\r\n>\n  -H 'X-A: b' \\\nx-a: c\n{\"a\":1}\n");
    assert_eq!((headers.get("webhook-id"), headers.get("X-A")), (Some("evt_1"), Some("c")));
    assert!(Headers::default().add("no colon").is_err() && Headers::default().add("a b: c").is_err());
}

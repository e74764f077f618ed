//! Requests as receivers see them, and as people do.

use super::*;
use crate::{
    delivery::tls::config_of,
    domain::{
        id::{KeyId, StepId, TenantId},
        quota::Quotas,
        retry::RetryPolicy,
        step::{
            Control, FormerKey, Header, HeaderValue, OnExhausted, ResponseRules, SignatureMode, Status, Step,
            StoredKey,
        },
        tenant::{SigningKey, TenantKey},
        time::Moment,
    },
    json::BodyForm,
    profile::Profiles,
    secrets::MasterKey,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use ring::signature::{ED25519, UnparsedPublicKey};
use rustls::RootCertStore;
use std::collections::BTreeMap;

const KEY: &str = "your_webhook_secret_key_0";
const NOW: Timestamp = Timestamp(1_705_314_700_999);
const ACCEPTED: Timestamp = Timestamp(1_705_314_645_678);
const EVENT: &str = r#"{"type":"conversion.created","data":{"id":"conv_1","amount":49.99,"payout":5.00}}"#;

/// One active pipeline of one step without template, headers and signature.
pub(super) fn config() -> PipelineConfig {
    let step = Step {
        id: StepId::new("step_1"),
        name: "Send to CRM".into(),
        order: 1,
        url: "https://api.example.com/hooks".into(),
        method: Method::Post,
        headers: Vec::new(),
        body_template: None,
        body_form: BodyForm::Js,
        include_id: false,
        timeout_seconds: 30,
        retry: RetryPolicy::default(),
        stop_on_failure: false,
        signature: SignatureMode::None,
        signing_key: None,
        former_keys: Vec::new(),
        ed25519: None,
        tls_ca: None,
    };
    PipelineConfig {
        name: "p".into(),
        description: None,
        triggers: vec!["conversion".into()],
        status: Status::Active,
        steps: vec![step],
        failover_url: None,
        on_exhausted: OnExhausted::default(),
        rules: ResponseRules::default(),
        paused_reason: None,
        control: Control::default(),
        flat: false,
    }
}

/// Without keys and contacts.
pub(super) fn tenant() -> Tenant {
    Tenant {
        contacts: Vec::new(),
        id: TenantId::new("tenant_abc123"),
        name: "A".into(),
        profile: "afftok".into(),
        created_at: Timestamp(0),
        keys: BTreeMap::new(),
        key_set: String::new(),
        jwt_keys: BTreeMap::new(),
        signing_keys: Vec::new(),
        client_certificate: None,
        quotas: Quotas::default(),
    }
}

/// A builder, one pipeline of one step, and one attempt of one event; tests change what they are about.
struct Bench {
    builder: RequestBuilder,
    profiles: Profiles,
    profile: &'static str,
    config: PipelineConfig,
    event: String,
    event_type: &'static str,
    queue: Queue,
    round: u16,
    number: u16,
    other_key: bool,
    now: Timestamp,
    tenant: Arc<Tenant>,
}

impl Bench {
    fn new() -> Self {
        let key: Vec<u8> = (0..32).collect();
        let secrets = Secrets::new(&MasterKey::parse(&hex::encode(key)).unwrap());
        let env = EnvPolicy::parse(["CRM_API_KEY", "SIGNING_KEY", "SHORT", "UNSET", "BOUND@api.example.com"])
            .unwrap();
        let lookup = |name: &str| match name {
            "CRM_API_KEY" => Some("crm-s3cret-value".to_owned()),
            "SIGNING_KEY" => Some(KEY.to_owned()),
            "SHORT" => Some("short".to_owned()),
            "BOUND" => Some("bound-s3cret-value".to_owned()),
            _ => None,
        };
        let tls = Arc::new(RequestTls::new(config_of(RootCertStore::empty()).unwrap()));
        Self {
            builder: RequestBuilder::new(Arc::new(secrets), Arc::new(env), Arc::new(lookup), tls),
            profiles: Profiles::builtin(),
            profile: "afftok",
            config: config(),
            event: EVENT.into(),
            event_type: "conversion.created",
            queue: Queue::Primary,
            round: 1,
            number: 1,
            other_key: false,
            now: NOW,
            tenant: Arc::new(tenant()),
        }
    }

    fn signed(mode: SignatureMode) -> Self {
        let mut bench = Self::new();
        let sealed = bench.builder.secrets.seal(KEY).unwrap();
        bench.step().signature = mode;
        bench.step().signing_key = Some(StoredKey::Sealed(sealed));
        bench
    }

    fn with_template(template: &str) -> Self {
        let mut bench = Self::new();
        bench.step().body_template = Some(template.into());
        bench
    }

    fn step(&mut self) -> &mut Step {
        &mut self.config.steps[0]
    }

    fn header(&mut self, name: &str, value: &str) {
        let value = self.builder.secrets.keep_header(name, value, false).unwrap();
        self.step().headers.push(Header { name: name.into(), value });
    }

    fn event(&self) -> Payload<'_> {
        let (event_type, body) = (self.event_type, self.event.as_bytes());
        Payload::Event(Event { id: "evt_1", event_type, moment: Moment::second_of(ACCEPTED), body })
    }

    fn with<T>(&self, payload: Payload<'_>, use_it: impl FnOnce(&AttemptInput<'_>) -> T) -> T {
        let config = Arc::new(self.config.clone());
        use_it(&AttemptInput {
            profile: self.profiles.get(self.profile).unwrap(),
            tenant: &self.tenant,
            pipeline: &PipelineId::new("pipe_1"),
            delivery: "exec_1_1",
            pinned: &config,
            live: &config,
            step: 0,
            queue: self.queue,
            round: self.round,
            number: self.number,
            other_key: self.other_key,
            payload,
            now: self.now,
        })
    }

    fn build(&self) -> Result<Built, BuildError> {
        self.with(self.event(), |input| self.builder.build(input))
    }

    fn request(&self) -> Request {
        self.build().unwrap().request
    }

    fn body(&self) -> String {
        text(&self.request().body)
    }

    fn show(&self) -> ShownRequest {
        self.with(self.event(), |input| self.builder.show(input)).unwrap()
    }

    fn test_run(&self, test_data: &str) -> (Request, ShownRequest) {
        let payload = Payload::Test { id: "evt_test_1", test_data: test_data.as_bytes() };
        self.with(payload, |input| {
            (self.builder.build(input).unwrap().request, self.builder.show(input).unwrap())
        })
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn value<'h>(headers: &'h Headers, name: &str) -> Option<&'h str> {
    let mut found = headers.iter().filter(|(other, _)| other.eq_ignore_ascii_case(name));
    let first = found.next().map(|(_, value)| value);
    assert!(found.next().is_none(), "{name} stands twice");
    first
}

fn names(headers: &Headers) -> Vec<&str> {
    headers.iter().map(|(name, _)| name).collect()
}

/// HMAC by another implementation than the engine's.
fn hmac(key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, key);
    ring::hmac::sign(&key, &parts.concat()).as_ref().to_vec()
}

mod envelope {
    use super::*;

    /// `id`, `timestamp` and data of a sample, in the envelope that its receivers are promised.
    fn expected(event_type: &str, timestamp: &str, data: &str) -> String {
        format!(
            concat!(
                r#"{{"id":"evt_1","type":"{}","timestamp":"{}","api_version":"2024-01-01","data":{},"#,
                r#""metadata":{{"correlation_id":"corr_7d4e5a76eae6d8c1","tenant_id":"tenant_abc123"}}}}"#
            ),
            event_type, timestamp, data
        )
    }

    /// Bodies of all documented samples, byte for byte: AFF-15 … AFF-25, AFM-72 … AFM-74, T-2, T-21b, T-22. The
    /// data is what Node's `JSON.stringify` makes of the documents' text.
    #[test]
    fn documented_samples_go_out_as_documented() {
        let samples = [
            (
                "click.tracked",
                0,
                "2024-01-15T10:30:45Z",
                r#"{"click_id":"clk_xyz789","tracking_code":"tc_abc123","offer_id":"off_def456","user_id":"usr_ghi789","ip_address":"xxx.xxx.xxx.xxx","country":"US","city":"New York","device":"mobile","browser":"Chrome","os":"iOS","referer":"https://facebook.com","user_agent":"Mozilla/5.0...","sub_id":"campaign_123"}"#,
            ),
            (
                "click.tracked",
                1,
                "2024-01-15T10:30:45Z",
                r#"{"id":"clk_abc123","tracking_code":"tc_xyz789","offer_id":"off_def456","user_id":"usr_ghi789","ip_address":"xxx.xxx.xxx.xxx","country":"US","device":"mobile"}"#,
            ),
            (
                "conversion.created",
                0,
                "2024-01-15T10:35:00Z",
                r#"{"conversion_id":"conv_abc123","click_id":"clk_xyz789","offer_id":"off_def456","user_id":"usr_ghi789","transaction_id":"txn_123456","amount":49.99,"currency":"USD","payout":5,"status":"pending","network_id":"net_abc","network_name":"Example Network","custom_params":{"product_id":"prod_456","category":"electronics"}}"#,
            ),
            (
                "conversion.created",
                1,
                "2024-01-15T10:30:45Z",
                r#"{"id":"conv_abc123","click_id":"clk_xyz789","offer_id":"off_def456","user_id":"usr_ghi789","transaction_id":"txn_123456","amount":49.99,"currency":"USD","payout":5,"status":"pending"}"#,
            ),
            (
                "conversion.approved",
                0,
                "2024-01-15T11:00:00Z",
                r#"{"conversion_id":"conv_abc123","offer_id":"off_def456","user_id":"usr_ghi789","payout":5,"approved_at":"2024-01-15T11:00:00Z","approved_by":"auto"}"#,
            ),
            (
                "fraud.detected",
                0,
                "2024-01-15T10:30:45Z",
                r#"{"event_type":"click","reason":"bot_detection","risk_score":92,"ip_address":"xxx.xxx.xxx.xxx","country":"CN","indicators":["bad_user_agent","datacenter_ip"],"blocked":true,"offer_id":"off_def456","tracking_code":"tc_abc123"}"#,
            ),
            (
                "fraud.detected",
                1,
                "2024-01-15T10:30:45Z",
                r#"{"event_type":"click","reason":"bot_detection","risk_score":92,"ip_address":"xxx.xxx.xxx.xxx","blocked":true}"#,
            ),
        ];
        let mut bench = Bench::signed(SignatureMode::Hmac);
        for (event_type, sample, timestamp, data) in samples {
            let profile = Arc::clone(bench.profiles.get("afftok").unwrap());
            bench.event.clone_from(&profile.event_type(event_type).unwrap().samples[sample].event);
            bench.event_type = event_type;
            let request = bench.request();
            assert_eq!(text(&request.body), expected(event_type, timestamp, data));
            let signature = hex::encode(hmac(KEY.as_bytes(), &[&request.body]));
            assert_eq!(value(&request.headers, "X-Afftok-Signature"), Some(&*signature));
        }
    }

    /// T-11: the producer's own time goes out untouched; without one, when the event was accepted.
    #[test]
    fn timestamps_are_the_events_own() {
        let mut bench = Bench::new();
        assert!(bench.body().contains(r#""timestamp":"2024-01-15T10:30:45Z""#));
        bench.event = EVENT.replacen('{', r#"{"timestamp":"2016-12-31T23:59:60.5+00:00","#, 1);
        assert!(bench.body().contains(r#""timestamp":"2016-12-31T23:59:60.5+00:00""#));
    }

    /// AFF-21
    #[test]
    fn metadata_is_the_producers_and_ours() {
        let mut bench = Bench::new();
        let mut metadata = |given: &str| {
            bench.event = EVENT.replacen('{', &format!(r#"{{"metadata":{given},"#), 1);
            let body = bench.body();
            body.split_once(r#""metadata":"#).unwrap().1.to_owned()
        };
        let derived = r#"{"correlation_id":"corr_7d4e5a76eae6d8c1","tenant_id":"tenant_abc123"}}"#;
        assert_eq!(metadata("null"), derived);
        assert_eq!(metadata(r#"{"correlation_id":7}"#), derived);
        assert_eq!(
            metadata(r#"{"source":"import","tenant_id":"tenant_other","correlation_id":"corr_x"}"#),
            r#"{"correlation_id":"corr_x","tenant_id":"tenant_abc123","source":"import"}}"#
        );
    }

    /// T-1: the form of the step; raw data goes out as it was posted.
    #[test]
    fn bodies_have_the_form_of_the_step() {
        let mut bench = Bench::new();
        bench.event = r#"{"type":"conversion.created","data":{ "10":1, "payout": 5.00, "u":"a/é" }}"#.into();
        let mut data = |form| {
            bench.step().body_form = form;
            let body = bench.body();
            let from = body.find("\"data\"").unwrap();
            body[from..body.find("\"metadata\"").unwrap()].trim_end_matches([',', ' ']).to_owned()
        };
        assert_eq!(data(BodyForm::Js), r#""data":{"10":1,"payout":5,"u":"a/é"}"#);
        assert_eq!(data(BodyForm::Python), r#""data": {"10": 1, "payout": 5.0, "u": "a/\u00e9"}"#);
        assert!(data(BodyForm::Php).ends_with(r#""u":"a\/\u00e9"}"#));
        assert_eq!(data(BodyForm::Raw), r#""data":{ "10":1, "payout": 5.00, "u":"a/é" }"#);
    }

    /// Standard Webhooks: `type`, `timestamp`, `data`; the id travels in its header.
    #[test]
    fn standard_envelopes_have_three_keys() {
        let mut bench = Bench::signed(SignatureMode::Hmac);
        bench.profile = "standard";
        let request = bench.request();
        assert_eq!(
            text(&request.body),
            concat!(
                r#"{"type":"conversion.created","timestamp":"2024-01-15T10:30:45Z","#,
                r#""data":{"id":"conv_1","amount":49.99,"payout":5}}"#
            )
        );
        assert_eq!(
            names(&request.headers),
            [
                "Content-Type",
                "webhook-id",
                "webhook-timestamp",
                "webhook-signature",
                "X-Webhook-Delivery",
                "X-Webhook-Attempt",
                "User-Agent"
            ]
        );
    }
}

mod header {
    use super::*;

    /// AFF-31, AFF-32, AFM-25, SIG.1, SIG.9, T-9
    #[test]
    fn a_signed_request_has_these_headers_in_this_order() {
        let mut bench = Bench::signed(SignatureMode::Hmac);
        bench.header("X-Source", "ledger {{event.id}}");
        let Request { tenant: _, trust: _, method, url, headers, body, timeout } = bench.request();
        assert_eq!((method, url.as_str()), ("POST", "https://api.example.com/hooks"));
        assert_eq!(timeout, Duration::from_secs(30));
        let signature = hex::encode(hmac(KEY.as_bytes(), &[&body]));
        let standard = STANDARD.encode(hmac(KEY.as_bytes(), &[b"evt_1.1705314700.", &body]));
        let expected = [
            ("X-Source", "ledger evt_1"),
            ("Content-Type", "application/json"),
            ("X-Afftok-Signature", &signature),
            ("webhook-id", "evt_1"),
            ("webhook-timestamp", "1705314700"),
            ("webhook-signature", &format!("v1,{standard}")),
            ("X-Webhook-Delivery", "exec_1_1"),
            ("X-Webhook-Attempt", "1"),
            ("User-Agent", USER_AGENT),
        ];
        assert_eq!(headers.iter().collect::<Vec<_>>(), expected);
    }

    /// SIG.3, AFM-24
    #[test]
    fn an_unsigned_request_still_says_who_it_is() {
        let headers = Bench::new().request().headers;
        let expected = [
            "Content-Type",
            "webhook-id",
            "webhook-timestamp",
            "X-Webhook-Delivery",
            "X-Webhook-Attempt",
            "User-Agent",
        ];
        assert_eq!(names(&headers), expected);
    }

    /// AFM-26, SIG.4, T-26
    #[test]
    fn tokens_are_of_this_attempt_and_body() {
        let request = Bench::signed(SignatureMode::Jwt).request();
        assert_eq!(value(&request.headers, "X-Afftok-Signature"), None);
        assert!(value(&request.headers, "webhook-signature").is_some());
        let token = value(&request.headers, "Authorization").unwrap().strip_prefix("Bearer ").unwrap();
        let [header, claims, signature] = token.split('.').collect::<Vec<_>>().try_into().unwrap();
        let decode = |part: &str| base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(part).unwrap();
        assert_eq!(decode(signature), hmac(KEY.as_bytes(), &[header.as_bytes(), b".", claims.as_bytes()]));
        let claims: serde_json::Value = serde_json::from_slice(&decode(claims)).unwrap();
        let hash = hex::encode(ring::digest::digest(&ring::digest::SHA256, &request.body));
        let expected = serde_json::json!({
            "iss": "ledgerhook", "sub": "pipe_1", "aud": "api.example.com", "iat": 1_705_314_700_u64,
            "exp": 1_705_315_000_u64, "jti": "evt_1.exec_1_1.1.1", "body_sha256": hash,
        });
        assert_eq!(claims, expected);
    }

    /// SIG.6, TPL.11, AFF-37
    #[test]
    fn attempts_differ_in_headers_alone() {
        let mut bench = Bench::signed(SignatureMode::Hmac);
        let first = bench.request();
        (bench.number, bench.round, bench.now) = (7, 2, NOW.plus(Duration::from_mins(1)));
        let later = bench.request();
        assert_eq!(first.body, later.body);
        let before: Vec<_> = first.headers.iter().collect();
        let changed = later.headers.iter().filter(|header| !before.contains(header));
        let changed: Vec<_> = changed.map(|(name, _)| name).collect();
        assert_eq!(changed, ["webhook-timestamp", "webhook-signature", ATTEMPT_HEADER, REDELIVERY_HEADER]);
        assert_eq!(value(&later.headers, ATTEMPT_HEADER), Some("7"));
        assert_eq!(value(&later.headers, REDELIVERY_HEADER), Some("2"));
        assert_eq!(value(&first.headers, REDELIVERY_HEADER), None);
    }

    /// T-28: the same body, signed anew, with a mark.
    #[test]
    fn failover_requests_are_marked() {
        let mut bench = Bench::signed(SignatureMode::Hmac);
        bench.config.failover_url = Some("https://backup.example.com/hooks".into());
        let primary = bench.request();
        bench.queue = Queue::Failover;
        let failover = bench.request();
        assert_eq!(failover.url.as_str(), "https://backup.example.com/hooks");
        assert_eq!(failover.body, primary.body);
        assert_eq!(value(&failover.headers, "X-Afftok-Failover"), Some("1"));
        assert_eq!(value(&primary.headers, "X-Afftok-Failover"), None);
        bench.config.failover_url = None;
        assert_eq!(bench.build().unwrap_err(), BuildError::NoStep);
    }

    #[test]
    fn what_the_step_sets_is_not_set_again() {
        let mut bench = Bench::new();
        bench.header("content-type", "application/vnd.api+json");
        bench.header("user-agent", "mine/1");
        let headers = bench.request().headers;
        assert_eq!(value(&headers, "Content-Type"), Some("application/vnd.api+json"));
        assert_eq!(value(&headers, "User-Agent"), Some("mine/1"));
    }

    /// AFM-13
    #[test]
    fn get_has_a_body_only_if_somebody_wrote_one() {
        let mut bench = Bench::signed(SignatureMode::Hmac);
        bench.step().method = Method::Get;
        let request = bench.request();
        assert_eq!((request.method, &*request.body), ("GET", b"".as_slice()));
        assert_eq!(value(&request.headers, "Content-Type"), None);
        let signature = hex::encode(hmac(KEY.as_bytes(), &[b""]));
        assert_eq!(value(&request.headers, "X-Afftok-Signature"), Some(&*signature));
        bench.step().body_template = Some("{}".into());
        assert_eq!(bench.body(), "{}");
        bench.step().method = Method::Delete;
        bench.step().body_template = None;
        assert!(bench.body().starts_with(r#"{"id":"evt_1""#));
    }

    /// ADM.11
    #[test]
    fn names_that_are_ours_are_listed() {
        let reserved = reserved_headers(Profiles::builtin().get("afftok").unwrap());
        for name in ["host", "content-length", "webhook-id", "x-webhook-attempt", "x-afftok-signature", "te"]
        {
            assert!(reserved.iter().any(|other| other == name), "{name}");
        }
        assert!(!reserved.iter().any(|name| name == "content-type" || name == "authorization"));
    }
}

mod template {
    use super::*;

    /// AFM-12, AFM-45 … AFM-51, T-21, T-22, T-24, AFM-11
    #[test]
    fn the_documented_pipeline_sends_what_it_says() {
        let mut bench = Bench::with_template(
            r#"{"event":"{{trigger_type}}","conversion_id":"{{conversion.id}}","amount":"{{conversion.amount}}",
                "user_id":"{{conversion.user_id}}","at":"{{timestamp}}","meta":"{{metadata.tenant_id}}",
                "type":"{{event.type}}","data":"{{data}}"}"#,
        );
        bench.header("X-API-Key", "{{env.CRM_API_KEY}}");
        let request = bench.request();
        assert_eq!(
            text(&request.body),
            concat!(
                r#"{"event":"conversion","conversion_id":"conv_1","amount":49.99,"user_id":null,"#,
                r#""at":"2024-01-15T10:30:45Z","meta":"tenant_abc123","type":"conversion.created","#,
                r#""data":{"id":"conv_1","amount":49.99,"payout":5}}"#
            )
        );
        assert_eq!(value(&request.headers, "X-API-Key"), Some("crm-s3cret-value"));
    }

    /// TPL.2
    #[test]
    fn data_is_never_rendered() {
        let mut bench = Bench::with_template(r#"{"a":"{{data.a}}","b":"[{{data.a}}]"}"#);
        bench.event = EVENT.replace(r#""amount""#, r#""a":"{{env.CRM_API_KEY}}","amount""#);
        assert_eq!(bench.body(), r#"{"a":"{{env.CRM_API_KEY}}","b":"[{{env.CRM_API_KEY}}]"}"#);
    }

    /// TPL.3: the attempt fails; nothing is sent.
    #[test]
    fn data_cannot_start_a_header() {
        let mut bench = Bench::new();
        bench.header("X-Name", "{{data.name}}");
        bench.event = EVENT.replace(r#""amount""#, r#""name":"a\r\nX-Injected: 1","amount""#);
        assert_eq!(bench.build().unwrap_err(), BuildError::Template(TemplateError::ControlCharacter));
    }

    /// TPL.9, T-25
    #[test]
    fn no_request_goes_out_with_an_empty_credential() {
        let unset = BuildError::Template(TemplateError::EnvUnset { name: "UNSET".into() });
        let mut bench = Bench::new();
        bench.header("X-API-Key", "{{env.UNSET}}");
        assert_eq!(bench.build().unwrap_err(), unset);
        let mut bench = Bench::signed(SignatureMode::Hmac);
        bench.step().signing_key = Some(StoredKey::Env("UNSET".into()));
        assert_eq!(bench.build().unwrap_err(), unset);
        bench.step().signing_key = None;
        assert_eq!(bench.build().unwrap_err(), BuildError::NoKey);
        bench.step().signing_key = Some(StoredKey::Sealed("v1.AAAA".into()));
        assert_eq!(bench.build().unwrap_err(), BuildError::Sealed);
        assert_eq!(BuildError::CLASS, OutcomeClass::TemplateError);
    }

    /// General rule 8: a variable that is bound to a host does not follow the step to another one.
    #[test]
    fn bound_variables_do_not_go_to_the_failover() {
        let mut bench = Bench::new();
        bench.header("X-API-Key", "{{env.BOUND}}");
        assert_eq!(value(&bench.request().headers, "X-API-Key"), Some("bound-s3cret-value"));
        bench.config.failover_url = Some("https://backup.example.com/".into());
        assert!(matches!(bench.build().unwrap_err(), BuildError::Compile { part: "header", .. }));
    }

    /// SIG.2: keys of the environment are resolved at each attempt.
    #[test]
    fn keys_may_come_from_the_environment() {
        let mut bench = Bench::signed(SignatureMode::Hmac);
        bench.step().signing_key = Some(StoredKey::Env("SIGNING_KEY".into()));
        let request = bench.request();
        let signature = hex::encode(hmac(KEY.as_bytes(), &[&request.body]));
        assert_eq!(value(&request.headers, "X-Afftok-Signature"), Some(&*signature));
        bench.step().signing_key = Some(StoredKey::Env("SHORT".into()));
        assert!(matches!(bench.build().unwrap_err(), BuildError::Key(_)));
    }

    /// SIG.5, T-6, I17: all keys in force sign, where there is room for all of them; the header with room for one
    /// carries the new key's, or the other one's where that is asked for; an ended key signs nothing.
    #[test]
    fn keys_in_rotation_sign_together_until_the_old_one_ends() {
        const OLD: &str = "the_key_that_is_rotated_out";
        let mut bench = Bench::signed(SignatureMode::Hmac);
        let key = StoredKey::Sealed(bench.builder.secrets.seal(OLD).unwrap());
        let until = Timestamp(1_705_314_701_000);
        bench.step().former_keys = vec![FormerKey { key, until, fallback: true }];
        let of = |request: &Request, key: &str, second: u64| {
            let own = hex::encode(hmac(key.as_bytes(), &[&request.body]));
            let signed = [format!("evt_1.{second}.").as_bytes(), &request.body].concat();
            (own, format!("v1,{}", STANDARD.encode(hmac(key.as_bytes(), &[&signed]))))
        };
        for (now, other_key) in [(NOW, false), (NOW, true), (until, false), (until, true)] {
            (bench.now, bench.other_key) = (now, other_key);
            let Built { request, secrets } = bench.build().unwrap();
            let (new, old) = (of(&request, KEY, now.as_secs()), of(&request, OLD, now.as_secs()));
            let overlap = now < until;
            let single = if overlap && other_key { &old.0 } else { &new.0 };
            assert_eq!(value(&request.headers, "X-Afftok-Signature"), Some(&**single));
            let all = if overlap { format!("{} {}", new.1, old.1) } else { new.1 };
            assert_eq!(value(&request.headers, "webhook-signature"), Some(&*all));
            let told = text(&secrets.hide_in(Bytes::from(format!("{OLD} {}", old.1))));
            assert_eq!(told.contains(OLD), !overlap, "a key that was used is hidden");
        }
        assert_eq!(value(&bench.show().headers, "webhook-signature"), Some("***"));

        // A token has room for one.
        (bench.now, bench.step().signature) = (NOW, SignatureMode::Jwt);
        for (other_key, key) in [(false, KEY), (true, OLD)] {
            bench.other_key = other_key;
            let request = bench.request();
            let token = value(&request.headers, "Authorization").unwrap().trim_start_matches("Bearer ");
            let (signed, signature) = token.rsplit_once('.').unwrap();
            let decoded = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(signature).unwrap();
            assert_eq!(decoded, hmac(key.as_bytes(), &[signed.as_bytes()]));
        }

        // The environment lost the former key: the new one signs alone.
        bench.step().former_keys[0].key = StoredKey::Env("UNSET".into());
        assert!(!value(&bench.request().headers, "webhook-signature").unwrap().contains(' '));
    }

    /// §2, SIG.1, SIG.5: the tenant's Ed25519 keys sign beside the secret, each until its end, wherever the profile and
    /// the step want it; checked by the public key alone.
    #[test]
    fn the_tenants_own_key_signs_beside_the_secret() {
        let mut bench = Bench::signed(SignatureMode::Hmac);
        let until = NOW.plus(Duration::from_secs(1));
        let pairs = [None, Some(until)].map(|until| (crate::secrets::new_key_pair().unwrap(), until));
        let tenant = Arc::make_mut(&mut bench.tenant);
        tenant.signing_keys = pairs
            .iter()
            .map(|(pair, until)| {
                let sealed = bench.builder.secrets.seal(pair.key.expose()).unwrap();
                let key = SigningKey { id: KeyId::new("sig_1"), public: pair.public.clone(), sealed };
                TenantKey { key, made_at: NOW, until: *until }
            })
            .collect();
        for now in [NOW, until] {
            bench.now = now;
            let request = bench.request();
            let signed = [format!("evt_1.{}.", now.as_secs()).as_bytes(), &request.body].concat();
            let entries: Vec<_> = value(&request.headers, "webhook-signature").unwrap().split(' ').collect();
            assert!(entries[0].starts_with("v1,"));
            let in_force: Vec<_> =
                pairs.iter().filter(|(_, until)| until.is_none_or(|until| now < until)).collect();
            assert_eq!(entries.len() - 1, in_force.len());
            for (entry, (pair, _)) in entries[1..].iter().zip(in_force) {
                let public = STANDARD.decode(pair.public.strip_prefix("whpk_").unwrap()).unwrap();
                let signature = STANDARD.decode(entry.strip_prefix("v1a,").unwrap()).unwrap();
                UnparsedPublicKey::new(&ED25519, public).verify(&signed, &signature).unwrap();
            }
        }
        let signatures =
            |bench: &Bench| value(&bench.request().headers, "webhook-signature").unwrap().split(' ').count();
        bench.step().ed25519 = Some(false);
        assert_eq!(signatures(&bench), 1);
        bench.step().ed25519 = Some(true);
        assert_eq!(signatures(&bench), 2);
        bench.step().signature = SignatureMode::None;
        assert_eq!(value(&bench.request().headers, "webhook-signature"), None);
    }

    /// T-34: the body is the pinned version's, the way there the live one's.
    #[test]
    fn pinned_bodies_take_the_live_way() {
        let bench = Bench::with_template(r#"{"version":1,"trigger":"{{trigger_type}}"}"#);
        let pinned = Arc::new(bench.config.clone());
        let mut changed = bench.config.clone();
        changed.triggers = vec!["conversion.*".into()];
        let mut first = changed.steps[0].clone();
        first.id = StepId::new("step_0");
        let step = &mut changed.steps[0];
        step.url = "https://new.example.com/".into();
        step.timeout_seconds = 5;
        step.body_template = Some(r#"{"version":2}"#.into());
        step.body_form = BodyForm::Python;
        step.headers = vec![Header { name: "X-New".into(), value: HeaderValue::Template("1".into()) }];
        changed.steps.insert(0, first);
        let live = Arc::new(changed);
        let Request { url, headers, body, timeout, .. } = bench.with(bench.event(), |input| {
            let input = AttemptInput { pinned: &pinned, live: &live, ..*input };
            bench.builder.build(&input).unwrap().request
        });
        assert_eq!(text(&body), r#"{"version":1,"trigger":"conversion"}"#);
        assert_eq!((url.as_str(), timeout.as_secs()), ("https://new.example.com/", 5));
        assert_eq!(value(&headers, "X-New"), Some("1"));
        let gone = Arc::new(PipelineConfig { steps: Vec::new(), ..config() });
        let error = bench.with(bench.event(), |input| {
            bench.builder.build(&AttemptInput { live: &gone, ..*input }).unwrap_err()
        });
        assert_eq!(error, BuildError::NoStep);
    }
}

mod people {
    use super::*;

    /// TPL.10, SEC.1, SIG.8
    #[test]
    fn shown_requests_show_no_secret() {
        let mut bench = Bench::signed(SignatureMode::Hmac);
        bench.step().body_template = Some(r#"{"key":"{{env.CRM_API_KEY}}","id":"{{event.id}}"}"#.into());
        bench.step().url = "https://api.example.com/{{env.CRM_API_KEY}}/x".into();
        bench.header("X-API-Key", "{{env.CRM_API_KEY}}");
        bench.header("Authorization", "Bearer written-out-token");
        bench.header("X-Note", "Bearer another-token");
        bench.header("X-Source", "{{event.id}}");
        let shown = bench.show();
        assert_eq!(text(&shown.body), r#"{"key":"***","id":"evt_1"}"#);
        assert_eq!(shown.url.as_str(), "https://api.example.com/***/x");
        let sent = bench.request();
        assert_eq!(names(&shown.headers), names(&sent.headers));
        for name in ["X-API-Key", "Authorization", "X-Note", "X-Afftok-Signature", "webhook-signature"] {
            assert_eq!(value(&shown.headers, name), Some("***"), "{name}");
        }
        assert_eq!(value(&shown.headers, "X-Source"), Some("evt_1"));
        assert_eq!(value(&sent.headers, "X-Note"), Some("Bearer another-token"));
    }

    /// SEC.6
    #[test]
    fn what_a_receiver_repeats_is_hidden() {
        let mut bench = Bench::signed(SignatureMode::Hmac);
        bench.header("Authorization", "Bearer written-out-token");
        bench.header("X-API-Key", "{{env.CRM_API_KEY}}");
        bench.header("X-Note", "Bearer another-token");
        let Built { request, secrets } = bench.build().unwrap();
        let signature = value(&request.headers, "X-Afftok-Signature").unwrap();
        let standard = value(&request.headers, "webhook-signature").unwrap();
        for secret in [
            signature,
            standard,
            "written-out-token",
            "another-token",
            "crm-s3cret-value",
            KEY,
            &standard[3..],
        ] {
            let echo = Bytes::from(format!("got [{secret}], thanks"));
            assert_eq!(text(&secrets.hide_in(echo)), "got [***], thanks");
        }
        assert_eq!(text(&secrets.hide_in(Bytes::from_static(b"OK"))), "OK");
        assert!(!format!("{secrets:?}").contains("token"));
    }

    /// AFM-63, T-50: `test_data` is what templates see.
    #[test]
    fn test_runs_take_the_context_as_it_is_given() {
        let bench = Bench::with_template(r#"{"id":"{{conversion.id}}","event":"{{trigger_type}}"}"#);
        let (request, shown) = bench.test_run(r#"{"conversion":{"id":"conv_test"}}"#);
        assert_eq!(text(&request.body), r#"{"id":"conv_test","event":"conversion"}"#);
        assert_eq!(shown.body, request.body);
        assert_eq!(value(&request.headers, "webhook-id"), Some("evt_test_1"));
    }

    /// T-50: what envelope and headers say of the event, templates see.
    #[test]
    fn test_runs_have_an_id_and_metadata_in_templates() {
        let bench = Bench::with_template(r#"{"id":"{{event.id}}","tenant":"{{metadata.tenant_id}}"}"#);
        let (bare, _) = bench.test_run("{}");
        assert_eq!(text(&bare.body), r#"{"id":"evt_test_1","tenant":"tenant_abc123"}"#);
        let (given, _) = bench.test_run(r#"{"event":{"id":"evt_x"}}"#);
        assert_eq!(text(&given.body), r#"{"id":"evt_x","tenant":"tenant_abc123"}"#);
        assert_eq!(value(&given.headers, "webhook-id"), Some("evt_x"));
        let (context, _) = bench.test_run(r#"{"id":"1795858447.evil","type":"a b"}"#);
        assert_eq!(value(&context.headers, "webhook-id"), Some("evt_test_1"));
    }

    /// T-50: without a template a test sends the envelope that an event would have.
    #[test]
    fn test_runs_of_whole_events_have_their_envelope() {
        let bench = Bench::new();
        let (given, _) = bench.test_run(
            r#"{"event":{"id":"evt_x","type":"conversion.created","timestamp":"2024-01-15T10:30:45Z","data":{"a":1}}}"#,
        );
        assert!(
            text(&given.body).starts_with(
                r#"{"id":"evt_x","type":"conversion.created","timestamp":"2024-01-15T10:30:45Z","api_version":"2024-01-01","data":{"a":1},"#
            ),
            "{}",
            text(&given.body)
        );
        let (bare, _) = bench.test_run(r#"{"conversion":{"id":"c"}}"#);
        assert!(
            text(&bare.body).starts_with(
                r#"{"id":"evt_test_1","type":"conversion.created","timestamp":"2024-01-15T10:31:40Z","api_version":"2024-01-01","data":{"conversion":{"id":"c"}},"#
            ),
            "{}",
            text(&bare.body)
        );
    }
}

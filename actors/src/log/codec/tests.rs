//! Facts survive the log, byte for byte and for good.

use super::*;
use crate::domain::{
    by::By,
    client_certificate::Certificate,
    endpoint::{Opening, breaker::BreakerSetting},
    event::{
        AbandonReason, Accepted, AttemptId, DeadLetterRef, End, EndpointEvent, EngineEvent, Next, Outcome,
        PipelineEvent, Queue, Redelivery, Route, StepResult, TenantEvent, Verdict,
    },
    id::{KeyId, LaneKey, PipelineId, StepId},
    jwt_key::{JwtKey, VerifyingKey},
    outcome::OutcomeClass,
    quota::{Quota, Quotas},
    retry::{Backoff, RetryPolicy},
    step::{
        Control, FormerKey, Gone, Header, HeaderValue, OnExhausted, PausedReason, PipelineConfig,
        SignatureMode, Status, StoredKey,
    },
    tenant::{ApiKey, Scope, SigningKey},
    testing::{With, operator, pipe, pipeline, step, tenant},
};
use crate::log::memory::MemoryLog;
use proptest::{collection::vec, prelude::*};
use std::fmt::Write;

/// Facts as version 1 wrote them: stream, kind, format and body in hex. Never edited, only added to.
const WRITTEN: &str = include_str!("../../../../tests/fixtures/facts.txt");

/// A key of which is known how it came.
fn asked() -> By {
    let (name, hint) = (Some("ci".into()), Some("lh_abc".into()));
    let asked = Asked { name, hint, request: "req_1".into(), peer: None };
    By { asked: Some(Box::new(asked)), ..operator() }
}

fn attempt() -> AttemptId {
    AttemptId { lane: LaneKey::of("conversion:c1"), event: Position(300), round: 1, number: 2 }
}

fn verdict(next: Next) -> Verdict {
    Verdict { step: None, next, version: 3, tries: (2, 0), halt: false, stopped: false }
}

fn config() -> PipelineConfig {
    let full = step("step_a").with(|step| {
        step.headers = vec![
            Header { name: "X-Plain".into(), value: HeaderValue::Template("{{event.id}}".into()) },
            Header { name: "Authorization".into(), value: HeaderValue::Sealed("c2VhbGVk".into()) },
        ];
        step.body_template = Some(r#"{"id":"{{event.id}}"}"#.into());
        step.signature = SignatureMode::Hmac;
        step.signing_key = Some(StoredKey::Sealed("a2V5".into()));
        let backoff = Backoff::ExponentialJitter { initial_ms: 5_000, max_ms: 3_600_000, factor: 0.2 };
        step.retry = RetryPolicy { attempts_max: 8, backoff };
    });
    let jwt = step("step_b").with(|step| {
        step.signature = SignatureMode::Jwt;
        step.signing_key = Some(StoredKey::Env("JWT_KEY".into()));
    });
    pipeline([full, jwt]).with(|config| {
        config.description = Some("all there is".into());
        config.status = Status::Paused;
        config.failover_url = Some("https://failover.example/hook".into());
        config.on_exhausted = OnExhausted::Halt;
        config.rules.permanent = vec![(400, 499)];
        config.rules.retried = vec![408, 429];
    })
}

/// A key was replaced, and stays in force for a while.
fn rotated() -> PipelineEvent {
    let key = StoredKey::Sealed("b2xk".into());
    let former = FormerKey { key, until: Timestamp(1_700_003_600_000), fallback: true };
    let config = config().with(|config| config.steps[0].former_keys = vec![former]);
    PipelineEvent::PipelineUpdated { config, by: operator(), rotated: Some(StepId::new("step_a")) }
}

/// One of each, in the order of the fixture.
#[expect(clippy::too_many_lines, reason = "a list")]
fn one_of_each() -> Vec<Fact> {
    let by = operator;
    let key = ApiKey {
        id: KeyId::new("key_1"),
        hash: "00ff".into(),
        hint: "lh_abc".into(),
        scopes: vec![Scope::EventsWrite, Scope::Read, Scope::Manage, Scope::Operator],
        name: Some("ci".into()),
        expires_at: Some(Timestamp(1_800_000_000_000)),
    };
    let (event, resource): (_, Box<str>) = (Position(300), "conversion:c1".into());
    let (lane, step, queue) = (attempt().lane, 1, Queue::Failover);
    let outcome = Outcome {
        class: OutcomeClass::HttpError,
        status: Some(503),
        detail: "HTTP 503".into(),
        phases_us: [Some(10), Some(200), None, Some(4_000), Some(5)],
        total_us: 4_215,
    };
    let refused = Outcome { class: OutcomeClass::HttpError, status: Some(401), ..outcome.clone() };
    let (dead, retry) = (Next::End(End::DeadLettered), Next::Retry(Timestamp(1_700_000_005_000)));
    let ended = Verdict { step: Some(StepResult::Exhausted), halt: true, stopped: true, ..verdict(dead) };
    let item = DeadLetterRef { version: 3, step, round: 1, stopped: true };
    let again = Redelivery {
        round: 2,
        step,
        only: true,
        others_dead: true,
        out_of_order: true,
        was: End::DeadLettered,
    };
    let panic = || AbandonReason::Panic("index out of bounds".into());
    let version = 4;
    let since = Timestamp(1_700_000_000_000);
    let opening = Opening { since, failures: 100, probes: 3, probe_at: Timestamp(1_700_000_008_000) };
    let spared = pipeline([]).with(|config| {
        (config.status, config.paused_reason) = (Status::Paused, Some(PausedReason::Gone));
        config.control = Control { rate_per_second: Some(100), breaker: BreakerSetting::Off };
        config.rules.gone = Gone::Retry;
    });
    vec![
        Fact::Tenant(
            tenant(),
            TenantEvent::TenantCreated { name: "A".into(), profile: "afftok".into(), by: by() },
        ),
        Fact::Tenant(
            tenant(),
            TenantEvent::TenantUpdated { name: "B".into(), contacts: None, quotas: None, by: by() },
        ),
        Fact::Tenant(tenant(), TenantEvent::TenantDeleted { by: by() }),
        Fact::Tenant(tenant(), TenantEvent::KeyCreated { key: key.clone(), by: by() }),
        Fact::Tenant(tenant(), TenantEvent::KeyRevoked { id: key.id, by: by() }),
        Fact::Tenant(
            tenant(),
            TenantEvent::SecretRevealed { pipeline: pipe(), step: "step_a".into(), by: by() },
        ),
        Fact::Tenant(
            tenant(),
            TenantEvent::Answered {
                key: "idem".into(),
                fingerprint: "ab".into(),
                status: 201,
                operator: false,
            },
        ),
        Fact::Pipeline(
            pipe(),
            PipelineEvent::PipelineCreated { tenant: tenant(), config: config(), by: by() },
        ),
        Fact::Pipeline(
            pipe(),
            PipelineEvent::PipelineUpdated { config: pipeline([]), by: by(), rotated: None },
        ),
        Fact::Pipeline(pipe(), PipelineEvent::PipelineDeleted { by: by() }),
        Fact::Lane(pipe(), LaneEvent::AttemptStarted { attempt: attempt(), step, queue, transport: 3 }),
        Fact::Lane(
            pipe(),
            LaneEvent::AttemptEnded { attempt: attempt(), step, queue, outcome, verdict: ended },
        ),
        Fact::Lane(
            pipe(),
            LaneEvent::AttemptAbandoned {
                attempt: attempt(),
                step,
                queue,
                reason: panic(),
                verdict: verdict(retry),
            },
        ),
        Fact::Lane(
            pipe(),
            LaneEvent::StepSettled { lane, event, round: 1, step, queue, verdict: verdict(Next::Step(2)) },
        ),
        Fact::Lane(
            pipe(),
            LaneEvent::Redelivered {
                event,
                resource: resource.clone(),
                version,
                redelivery: again,
                dead_letter: Some(item),
                by: by(),
            },
        ),
        Fact::Lane(pipe(), LaneEvent::DeadLetterDeleted { event, lane, dead_letter: item, by: by() }),
        Fact::Lane(pipe(), LaneEvent::DeliveryCancelled { event, resource: resource.clone(), by: by() }),
        Fact::Lane(
            pipe(),
            LaneEvent::HeadSkipped { event: Some(event), resource: resource.clone(), by: by() },
        ),
        Fact::Lane(pipe(), LaneEvent::LaneResumed { resource: resource.clone(), by: by() }),
        Fact::Lane(pipe(), LaneEvent::LanesCancelled { part: 1, parts: 2 }),
        Fact::Lane(
            pipe(),
            LaneEvent::DeliveryPoisoned {
                lane,
                event,
                round: 1,
                step,
                queue,
                detail: "boom".into(),
                verdict: verdict(Next::FailOver),
            },
        ),
        Fact::Accepted(
            tenant(),
            Accepted {
                id: "evt_1".into(),
                event_type: "conversion.created".into(),
                resource,
                routes: vec![Route { pipeline: pipe(), version, skipped: true }],
                moment: None,
            },
        ),
        Fact::Engine(EngineEvent::EngineStarted { version: "0.1.0".into() }),
        Fact::Engine(EngineEvent::EngineStopped {}),
        Fact::Engine(EngineEvent::WorkerRestarted {
            worker: "pipeline/pipe_a#0".into(),
            restarts: 2,
            reason: "boom".into(),
            backoff_ms: 200,
        }),
        Fact::Engine(EngineEvent::WorkerFailed { worker: "pipeline/pipe_a#0".into(), reason: "boom".into() }),
        Fact::Engine(EngineEvent::WorkerRevived { worker: "pipeline/pipe_a#0".into(), by: by() }),
        Fact::Engine(EngineEvent::EgressIpsChanged {
            before: vec!["192.0.2.7".into()],
            after: vec!["192.0.2.7".into(), "2001:db8::/48".into()],
            effective_at: Timestamp(1_800_000_000_000),
        }),
        Fact::Pipeline(pipe(), rotated()),
        Fact::Lane(
            pipe(),
            LaneEvent::AttemptEnded {
                attempt: attempt(),
                step,
                queue,
                outcome: refused,
                verdict: verdict(Next::OtherKey),
            },
        ),
        Fact::Tenant(
            tenant(),
            TenantEvent::SigningKeyMade {
                key: SigningKey {
                    id: KeyId::new("sig_1"),
                    public: "whpk_cHVibGlj".into(),
                    sealed: "c2VhbGVk".into(),
                },
                key_set: Some("keys_1".into()),
                former_until: Some(Timestamp(1_700_000_005_000)),
                by: by(),
            },
        ),
        Fact::Endpoint(
            pipe(),
            EndpointEvent::EndpointOpened { url: "https://a.example".into(), change: 1, opening },
        ),
        Fact::Endpoint(
            pipe(),
            EndpointEvent::EndpointClosed { url: "https://a.example".into(), change: 2, by: Some(by()) },
        ),
        Fact::Pipeline(pipe(), PipelineEvent::PipelineUpdated { config: spared, by: by(), rotated: None }),
        Fact::Accepted(
            tenant(),
            Accepted {
                id: "evt_2".into(),
                event_type: "payout.failed".into(),
                resource: "payout:p1".into(),
                routes: vec![Route { pipeline: pipe(), version, skipped: false }],
                moment: Some(Moment::millisecond_of(Timestamp(1_800_000_000_250))),
            },
        ),
        Fact::Tenant(
            tenant(),
            TenantEvent::JwtKeyCreated {
                key: Box::new(JwtKey {
                    id: KeyId::new("jwk_1"),
                    kid: "k1".into(),
                    verifying: VerifyingKey::Hmac { sealed: "v1.x".into() },
                    scopes: vec![Scope::Manage],
                    claims: [("account".to_owned(), "acc_1".to_owned())].into(),
                    name: None,
                    expires_at: Some(Timestamp(1_800_000_000_000)),
                }),
                by: by(),
            },
        ),
        Fact::Tenant(tenant(), TenantEvent::JwtKeyRevoked { id: KeyId::new("jwk_1"), by: by() }),
        Fact::Tenant(
            tenant(),
            TenantEvent::TenantUpdated {
                name: "B".into(),
                contacts: Some(vec!["a@example.com".into()]),
                quotas: None,
                by: by(),
            },
        ),
        Fact::Tenant(tenant(), TenantEvent::NoticesMailed { through: event, digest: true, beyond: 7 }),
        Fact::Engine(EngineEvent::LogRepaired {
            reason: "the batch's checksum does not hold".into(),
            cut: Some(Position(120)),
            records: 3,
            payloads: vec![Position(7)],
            aside: "data/repaired/20270115T080000Z".into(),
        }),
        Fact::Tenant(
            tenant(),
            TenantEvent::ClientCertificateSet {
                certificate: Box::new(Certificate {
                    chain: vec!["MIIB".into()],
                    subject: "CN=a".into(),
                    issuer: "CN=b".into(),
                    not_before: Timestamp(1_700_000_000_000),
                    not_after: Timestamp(1_800_000_000_000),
                    sha256: "00".into(),
                }),
                sealed: "v1.x".into(),
                by: by(),
            },
        ),
        Fact::Tenant(tenant(), TenantEvent::ClientCertificateRemoved { by: by() }),
        Fact::Tenant(
            tenant(),
            TenantEvent::QuotasSet {
                quotas: Quotas::default().with(Quota::ALL.map(|quota| (quota, Some(7)))),
                by: by(),
            },
        ),
        Fact::Tenant(tenant(), TenantEvent::KeyRevoked { id: KeyId::new("key_1"), by: asked() }),
        Fact::Lane(pipe(), LaneEvent::LaneResumed { resource: "conversion:c1".into(), by: asked() }),
        Fact::Tenant(
            tenant(),
            TenantEvent::TenantUpdated {
                name: "B".into(),
                contacts: None,
                quotas: Some(Quotas::default().with(Quota::ALL.map(|quota| (quota, Some(7))))),
                by: by(),
            },
        ),
    ]
}

fn decoded(stream: &str, kind: u16, format: u8, body: &[u8]) -> Result<Fact, CodecError> {
    let (position, at) = (Position(7), Timestamp(0));
    decode(&RecordRef { position, stream, version: 1, at, kind, format, body, payload: None })
}

fn there_and_back(fact: &Fact) -> Fact {
    let record = encode(fact);
    decoded(stream_of(fact).as_str(), record.kind, record.format, &record.body).unwrap()
}

/// What belongs to a fact but may expire is beside it.
#[test]
fn an_appended_fact_comes_back_with_its_payload() {
    let log = MemoryLog::new();
    let fact = &one_of_each()[0];
    for payload in [None, Some(Bytes::from_static(b"its bytes"))] {
        let appended = append(&log, Timestamp(5), fact, payload.clone()).unwrap();
        let record = log.read_at(appended.last).unwrap();
        assert_eq!((record.fact().unwrap(), record.at), (fact.clone(), Timestamp(5)));
        assert_eq!(log.payload(record.position).unwrap(), payload);
    }
}

/// UPG.1: old bytes are read for good.
#[test]
fn what_was_written_is_read_for_good() {
    let mut facts = one_of_each().into_iter();
    for line in WRITTEN.lines() {
        let [stream, kind, format, body] = line.split(' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
        let body = hex::decode(body).unwrap();
        let fact = decoded(stream, kind.parse().unwrap(), format.parse().unwrap(), &body).unwrap();
        assert_eq!(Some(fact), facts.next());
    }
    assert_eq!(facts.next(), None, "a new fact is added to the fixture");
}

/// A change of the encoding is a decision: it needs a format of its own.
#[test]
fn the_encoding_has_not_changed_by_accident() {
    let mut text = String::new();
    for fact in one_of_each() {
        let NewRecord { kind, format, body, .. } = encode(&fact);
        writeln!(text, "{} {kind} {format} {}", stream_of(&fact), hex::encode(body)).unwrap();
    }
    assert_eq!(text, WRITTEN, "if the facts above were added to:\n{text}");
}

/// UPG.2: an older version refuses with the position.
#[test]
fn what_a_newer_version_wrote_is_refused_by_name() {
    for (kind, format) in [(TENANT, FORMAT + 1), (LANE, WITH_ASKED + 1), (99, FORMAT), (0, 0)] {
        let error = decoded("pipeline/pipe_a", kind, format, &[]).unwrap_err();
        let told = format!("record 7: kind {kind} in format {format} is not known to this version");
        assert_eq!(error.to_string(), told);
    }
}

#[test]
fn bytes_that_contradict_their_kind_are_refused() {
    let mut body = encode(&one_of_each()[10]).body;
    body.push(0);
    let error = decoded("pipeline/pipe_a", LANE, FORMAT, &body).unwrap_err();
    assert_eq!(error.to_string(), "record 7: 1 bytes too many");
    for kind in [TENANT, PIPELINE, LANE, ACCEPTED, ENGINE, ENDPOINT] {
        let error = decoded("pipeline/pipe_a", kind, FORMAT, &[0xff]).unwrap_err();
        assert!(matches!(error, CodecError::Malformed { position: Position(7), .. }), "{error}");
    }
}

fn verdicts() -> impl Strategy<Value = Verdict> {
    let results = prop_oneof![
        Just(StepResult::Succeeded),
        Just(StepResult::FailedOver),
        Just(StepResult::Exhausted),
        Just(StepResult::Permanent),
        Just(StepResult::Skipped),
    ];
    let nexts = prop_oneof![
        any::<u64>().prop_map(|at| Next::Retry(Timestamp(at))),
        Just(Next::FailOver),
        any::<u16>().prop_map(Next::Step),
        ends().prop_map(Next::End),
        Just(Next::OtherKey),
    ];
    let flags = any::<(bool, bool)>();
    (proptest::option::of(results), nexts, any::<u32>(), any::<(u16, u16)>(), flags).prop_map(
        |(step, next, version, tries, (halt, stopped))| Verdict { step, next, version, tries, halt, stopped },
    )
}

fn ends() -> impl Strategy<Value = End> {
    prop_oneof![Just(End::Delivered), Just(End::DeadLettered), Just(End::Skipped), Just(End::Cancelled)]
}

fn outcomes() -> impl Strategy<Value = Outcome> {
    let class = prop_oneof![
        Just(OutcomeClass::Success),
        Just(OutcomeClass::HttpError),
        Just(OutcomeClass::Timeout),
        Just(OutcomeClass::BlockedAddress),
        Just(OutcomeClass::Unknown),
        Just(OutcomeClass::ProxyError),
    ];
    (class, any::<Option<u16>>(), any::<String>(), any::<[Option<u32>; 5]>(), any::<u32>()).prop_map(
        |(class, status, detail, phases_us, total_us)| {
            let detail = detail.into();
            Outcome { class, status, detail, phases_us, total_us }
        },
    )
}

fn facts() -> impl Strategy<Value = Fact> {
    let attempts = any::<(u64, u64, u16, u16)>().prop_map(|(lane, event, round, number)| AttemptId {
        lane: LaneKey(lane),
        event: Position(event),
        round,
        number,
    });
    let queues = any::<bool>().prop_map(|failover| if failover { Queue::Failover } else { Queue::Primary });
    let reasons = any::<Option<String>>()
        .prop_map(|panic| panic.map_or(AbandonReason::Crash, |text| AbandonReason::Panic(text.into())));
    let attempted = (attempts, any::<u16>(), queues, outcomes(), reasons, verdicts());
    let lanes =
        (attempted, 0..3_u8).prop_map(
            |((attempt, step, queue, outcome, reason, verdict), which)| match which {
                0 => LaneEvent::AttemptStarted { attempt, step, queue, transport: verdict.version },
                1 => LaneEvent::AttemptEnded { attempt, step, queue, outcome, verdict },
                _ => LaneEvent::AttemptAbandoned { attempt, step, queue, reason, verdict },
            },
        );
    let redelivered = (any::<(u64, String, u32, u16, u16)>(), any::<[bool; 4]>(), ends(), any::<bool>())
        .prop_map(
            |(
                (event, resource, version, round, step),
                [only, others_dead, out_of_order, stopped],
                was,
                item,
            )| {
                LaneEvent::Redelivered {
                    event: Position(event),
                    resource: resource.into(),
                    version,
                    redelivery: Redelivery { round, step, only, others_dead, out_of_order, was },
                    dead_letter: item.then_some(DeadLetterRef { version, step, round, stopped }),
                    by: operator(),
                }
            },
        );
    let routes = vec((any::<String>(), any::<u32>(), any::<bool>()), 0..4).prop_map(|routes| {
        let route = |(id, version, skipped)| Route { pipeline: PipelineId::new(id), version, skipped };
        routes.into_iter().map(route).collect()
    });
    let moment = proptest::option::of(any::<u64>().prop_map(|at| Moment::millisecond_of(Timestamp(at))));
    let accepted = (any::<[String; 3]>(), routes, moment);
    let accepted = accepted.prop_map(|([id, event_type, resource], routes, moment)| {
        let (id, event_type, resource) = (id.into(), event_type.into(), resource.into());
        Fact::Accepted(tenant(), Accepted { id, event_type, resource, routes, moment })
    });
    let named = any::<[String; 2]>().prop_map(|[name, profile]| {
        Fact::Tenant(tenant(), TenantEvent::TenantCreated { name, profile, by: operator() })
    });
    let configured = (any::<String>(), 1..51_u16, 0..1_001_u32).prop_map(|(name, attempts_max, permille)| {
        let backoff =
            Backoff::ExponentialJitter { initial_ms: 1, max_ms: 2, factor: f64::from(permille) / 1e3 };
        let config = pipeline([step("a").with(|step| step.retry = RetryPolicy { attempts_max, backoff })]);
        let config = config.with(|config| config.name = name);
        Fact::Pipeline(pipe(), PipelineEvent::PipelineUpdated { config, by: operator(), rotated: None })
    });
    prop_oneof![
        lanes.prop_map(|event| Fact::Lane(pipe(), event)),
        redelivered.prop_map(|event| Fact::Lane(pipe(), event)),
        accepted,
        named,
        configured,
    ]
}

proptest! {
    /// I21: what is folded live is what is folded from the log.
    #[test]
    fn every_fact_comes_back_from_its_record(fact in facts()) {
        prop_assert_eq!(there_and_back(&fact), fact);
    }

    /// I23: damage that got past the checksums is an error, never a panic.
    #[test]
    fn no_bytes_make_the_decoder_panic(kind in 0..7_u16, body in vec(any::<u8>(), 0..200)) {
        drop(decoded("pipeline/pipe_a", kind, FORMAT, &body));
    }

    /// I21: a jitter factor is a number like any other.
    #[test]
    fn every_factor_comes_back_as_it_was(factor in 0.0..=1.0_f64) {
        let backoff = Backoff::ExponentialJitter { initial_ms: 1, max_ms: 2, factor };
        let text = serde_json::to_string(&backoff).unwrap();
        prop_assert_eq!(serde_json::from_str::<Backoff>(&text).unwrap(), backoff);
    }
}

/// Followers pass over what they need not take apart.
#[test]
fn a_glance_tells_starts_and_acceptances_from_the_rest() {
    for fact in one_of_each() {
        let (stream, NewRecord { kind, format, body, .. }) = (stream_of(&fact), encode(&fact));
        let (position, at, version) = (Position(1), Timestamp(1), 1);
        let stream = stream.as_str();
        let record = RecordRef { position, stream, version, at, kind, format, body: &body, payload: None };
        let expected = match &fact {
            Fact::Accepted(_, accepted) => Glance::Accepted { event_type: &accepted.event_type },
            Fact::Lane(_, LaneEvent::AttemptStarted { .. }) => Glance::AttemptStarted,
            _ => Glance::Other,
        };
        assert_eq!(glance(&record), expected, "{fact:?}");
    }
}

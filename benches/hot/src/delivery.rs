//! On the way out: the request of an attempt, its parts, and the head of the answer.

use crate::{Run, fixture};
use bytes::BytesMut;
use ledgerhook_actors::{
    delivery::{
        Request,
        template::{BodyTemplate, Context, Env, EnvPolicy, EventFields, Scope},
        tls::client_config,
    },
    domain::{
        event::Queue,
        id::PipelineId,
        step::{PipelineConfig, SignatureMode},
        tenant::Tenant,
        time::Moment,
    },
    hot,
    json::{BodyForm, Json, Limits, parse},
    profile::{EnvelopeValues, Profile, metadata},
    request::{AttemptInput, Event, Payload, RequestBuilder, RequestTls},
};
use std::{hint::black_box, sync::Arc};

const TIMESTAMP: &str = "2024-01-15T10:30:45Z";

/// A builder and one attempt of the event.
struct Attempt {
    builder: RequestBuilder,
    profile: Arc<Profile>,
    tenant: Arc<Tenant>,
    pipeline: PipelineId,
    config: Arc<PipelineConfig>,
    event: String,
}

impl Attempt {
    fn new() -> Self {
        let catalog = fixture::catalog(1);
        let pipeline = catalog.pipeline(&fixture::pipeline(0)).expect("the pipeline");
        let tls = RequestTls::new(client_config(&[]).expect("a configuration"));
        let lookup = Arc::new(|_: &str| None);
        let (secrets, env) = (Arc::new(fixture::secrets()), Arc::default());
        Self {
            builder: RequestBuilder::new(secrets, env, lookup, Arc::new(tls)),
            profile: fixture::profile(),
            tenant: Arc::clone(catalog.tenant(&fixture::tenant()).expect("the tenant")),
            pipeline: pipeline.id.clone(),
            config: Arc::clone(&pipeline.config),
            event: fixture::event(),
        }
    }

    fn build(&self) -> Request {
        let (id, event_type, body) = (fixture::EVENT_ID, fixture::EVENT_TYPE, self.event.as_bytes());
        let event = Event { id, event_type, moment: Moment::second_of(fixture::NOW), body };
        let input = AttemptInput {
            profile: &self.profile,
            tenant: &self.tenant,
            pipeline: &self.pipeline,
            delivery: "exec_1e240_00000000",
            pinned: &self.config,
            live: &self.config,
            step: 0,
            queue: Queue::Primary,
            round: 1,
            number: 1,
            other_key: false,
            payload: Payload::Event(event),
            now: fixture::NOW,
        };
        self.builder.build(black_box(&input)).expect("a request").request
    }
}

pub(crate) fn build_request() -> Run {
    let attempt = Attempt::new();
    Box::new(move || drop(black_box(attempt.build())))
}

/// All but the signatures, which count for most of it.
pub(crate) fn build_unsigned() -> Run {
    let mut attempt = Attempt::new();
    let step = &mut Arc::make_mut(&mut attempt.config).steps[0];
    (step.signature, step.signing_key) = (SignatureMode::None, None);
    Box::new(move || drop(black_box(attempt.build())))
}

pub(crate) fn write_request_head() -> Run {
    let request = Attempt::new().build();
    Box::new(move || drop(black_box(hot::request_head(black_box(&request)).expect("a head"))))
}

pub(crate) fn read_answer_head() -> Run {
    let answer = b"HTTP/1.1 200 OK\r\nDate: Mon, 15 Jan 2024 10:30:45 GMT\r\nServer: nginx\r\n\
        Content-Type: application/json; charset=utf-8\r\nContent-Length: 15\r\nConnection: keep-alive\r\n\
        Keep-Alive: timeout=5\r\nX-Request-Id: 5d41402abc4b2a76\r\n\r\n{\"status\":\"ok\"}";
    let mut input = BytesMut::with_capacity(1 << 10);
    Box::new(move || {
        input.clear();
        input.reserve(answer.len());
        input.extend_from_slice(black_box(answer));
        assert_eq!(hot::answer_head(&mut input), Some(200));
    })
}

/// The event's data, and its metadata as receivers see it.
fn parts() -> (Json<'static>, Json<'static>) {
    let event = fixture::event();
    let tree = parse(event.as_bytes(), Limits::EVENT).expect("JSON").into_owned();
    let data = tree.member("data").expect("data").clone();
    let metadata = metadata(fixture::EVENT_ID, "tenant_abc123", tree.member("metadata")).into_owned();
    (data, metadata)
}

pub(crate) fn write_envelope() -> Run {
    let (profile, (data, metadata)) = (fixture::profile(), parts());
    let mut out = Vec::with_capacity(2 << 10);
    Box::new(move || {
        let values = EnvelopeValues {
            id: fixture::EVENT_ID,
            event_type: fixture::EVENT_TYPE,
            timestamp: TIMESTAMP,
            tenant: "tenant_abc123",
            data: &data,
            data_raw: None,
            metadata: &metadata,
            id_last: false,
        };
        out.clear();
        profile.envelope.write(black_box(&values), BodyForm::default(), &mut out);
        black_box(&out);
    })
}

pub(crate) fn render_template() -> Run {
    let source = r#"{"id":"{{event.id}}","kind":"{{trigger_type}}","text":"Order {{data.id}} of {{data.amount}} at {{timestamp}}",
        "offer":"{{data.offer}}","geo":{"country":"{{data.geo.country}}","fixed":[1,2,3]}}"#;
    let policy = EnvPolicy::default();
    let tree = parse(source.as_bytes(), Limits::ADMIN).expect("JSON");
    let template = BodyTemplate::compile(&tree, &policy.grant(&["api.example.com"])).expect("a template");
    let (data, metadata) = parts();
    let mut out = Vec::with_capacity(2 << 10);
    Box::new(move || {
        let (trigger_type, event_type, event_id) = ("conversion", fixture::EVENT_TYPE, fixture::EVENT_ID);
        let (data, metadata) = (&data, &metadata);
        let fields = EventFields { trigger_type, timestamp: TIMESTAMP, event_type, event_id, data, metadata };
        let context = Context::from_event(black_box(fields));
        let scope =
            Scope { context: &context, env: Env::new(&policy, "api.example.com", &|_| None), strict: false };
        out.clear();
        template.render(&scope, BodyForm::default(), &mut out).expect("a body");
        black_box(&out);
    })
}

//! Mutated requests: whatever is broken about one, the answer is no 5xx, nothing panics, and what is refused appends
//! nothing. `MUTATIONS` is how many (2,000; the long run takes 100,000), `MUTATIONS_SEED` draws others.

use super::position;
use crate::support::{Api, Document, TestServer, make};
use serde_json::{Value, json};

/// Requests between two looks at the log.
const WINDOW: usize = 25;

/// Values that have broken somebody's parser.
const STRANGE: [&str; 26] = [
    "null",
    "true",
    "-1",
    "0",
    "1e999",
    "-0.0",
    "9007199254740993",
    "184467440737095516160",
    "1.5",
    "\"\"",
    "\" \"",
    "\"\\u0000\"",
    "\"\\ud800\"",
    "\"\\uDC00\\uD800\"",
    "\"../../etc/passwd\"",
    "\"{{env.HOME}}\"",
    "\"{{\"",
    "\"http://127.0.0.1:1/\"",
    "\"https://[::ffff:10.0.0.1]/\"",
    "\"a\\r\\nX-Injected: 1\"",
    "\"\u{202e}\u{feff}\"",
    "[]",
    "[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]",
    "{}",
    "{\"a\":1,\"a\":2}",
    "[null,{\"steps\":null}]",
];

/// Bytes that mean something in JSON, or must not stand there.
const BYTES: &[u8] = b"{}[]\",:\\0-e.tfn \x00\x1f\x7f\x80\xc0\xff";

/// xorshift64*: the same requests each time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        usize::try_from(self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33).expect("31 bits") % bound
    }

    fn pick<'a, T: ?Sized>(&mut self, of: &[&'a T]) -> &'a T {
        of[self.below(of.len())]
    }
}

/// A call that is in order: method, path, body.
struct Sound {
    method: String,
    path: String,
    body: Option<Value>,
}

fn number(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |text| text.parse().expect(name))
}

/// Puts something strange in the place of some value, or beside it.
fn change_value(value: &mut Value, dice: &mut Dice) {
    let inner = match value {
        Value::Object(members) if !members.is_empty() => {
            let at = dice.below(members.len());
            let key = members.keys().nth(at).expect("a key").clone();
            match dice.below(8) {
                0 => {
                    let moved = members.remove(&key);
                    members.insert(key.to_uppercase(), moved.unwrap_or_default());
                    None
                }
                1 => {
                    members.remove(&key);
                    None
                }
                2 => {
                    members.insert("__proto__".to_owned(), json!({"admin": true}));
                    None
                }
                _ => members.get_mut(&key),
            }
        }
        Value::Array(items) if !items.is_empty() => {
            let at = dice.below(items.len());
            if dice.below(6) == 0 {
                let copy = items[at].clone();
                items.extend(std::iter::repeat_n(copy, 60));
                None
            } else {
                items.get_mut(at)
            }
        }
        _ => None,
    };
    match inner {
        Some(inner) if (inner.is_object() || inner.is_array()) && dice.below(4) > 0 => {
            change_value(inner, dice);
        }
        // A marker: no `Value` can hold what is to stand there.
        Some(inner) => *inner = Value::from(format!("@@{}@@", dice.below(STRANGE.len()))),
        None => {}
    }
}

fn body(sound: &Value, dice: &mut Dice) -> Vec<u8> {
    let mut value = sound.clone();
    for _ in 0..=dice.below(2) {
        change_value(&mut value, dice);
    }
    let mut text = value.to_string();
    for (index, strange) in STRANGE.iter().enumerate() {
        text = text.replace(&format!("\"@@{index}@@\""), strange);
    }
    let mut bytes = text.into_bytes();
    for _ in 0..dice.below(3) {
        let at = dice.below(bytes.len() + 1);
        match dice.below(5) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, BYTES[dice.below(BYTES.len())]),
            2 if at < bytes.len() => bytes[at] = BYTES[dice.below(BYTES.len())],
            3 if at < bytes.len() => drop(bytes.remove(at)),
            4 => bytes.splice(at..at, b"[".repeat(200)).for_each(drop),
            _ => {}
        }
    }
    bytes
}

/// Names for what a path has a place for.
const NAMES: [&str; 9] = ["tenant_default", "pipe_none", "%00", "..%2f..", "0", "%ff", "-", "*", "%7B%7D"];

/// Queries that nobody expects.
const QUERIES: [&str; 9] = [
    "limit=-1",
    "limit=99999999999999999999",
    "cursor=%00",
    "cursor=AAAA",
    "status=%ff",
    "unknown=1",
    "from=2026-13-40",
    "limit=1&limit=2",
    "days=0",
];

/// The path with its placeholders filled, and now and then a query.
fn path(sound: &str, dice: &mut Dice) -> String {
    let mut path = sound.to_owned();
    while let (Some(from), Some(to)) = (path.find('{'), path.find('}')) {
        path.replace_range(from..=to, dice.pick(&NAMES));
    }
    if dice.below(4) == 0 {
        path = format!("{path}?{}", dice.pick(&QUERIES));
    }
    path
}

/// Sends `count` mutations of these calls.
fn mutate(api: &Api, calls: &[Sound], count: usize, dice: &mut Dice) {
    let mut before = position(api);
    let (mut accepted, mut in_all) = (0, 0);
    for sent in 1..=count {
        let Sound { method, path: sound, body: example } = &calls[dice.below(calls.len())];
        let path = path(sound, dice);
        let body = example.as_ref().map(|example| body(example, dice));
        let answer = api.try_send(method, &path, body.as_deref()).expect("the server answers");
        let sent_body = || String::from_utf8_lossy(body.as_deref().unwrap_or_default()).into_owned();
        assert!(answer.status < 500, "{method} {path} {}: {answer:?}", sent_body());
        accepted += usize::from(answer.status < 400);
        in_all += usize::from(answer.status < 400);
        if sent % WINDOW == 0 {
            let now = position(api);
            assert!(
                accepted > 0 || now == before,
                "refused requests appended: up to {method} {path} {}",
                sent_body()
            );
            (before, accepted) = (now, 0);
        }
    }
    // Some are as good as before: a server that refuses everything would pass otherwise.
    assert!(in_all > count / 100 && in_all < count, "{in_all} of {count} were accepted");
}

/// Calls that neither end the run nor call others: those would append while others are refused.
fn calls(document: &Document) -> Vec<Sound> {
    let ends_it = |id: &str| matches!(id, "deleteTenant" | "eraseTenant");
    let leaves_traces = |id: &str| {
        ends_it(id) || id.to_lowercase().contains("test") || id.contains("Event") || id == "follow"
    };
    let all = document.operations().into_iter();
    let chosen = all
        .filter(|one| !leaves_traces(one.id) && one.path != "/api/stream" && !one.path.contains("/actors/"));
    chosen
        .map(|one| Sound {
            method: one.method.to_uppercase(),
            path: one.path.to_owned(),
            body: document.body_of(document.operation(one.id)).map(|schema| schema["examples"][0].clone()),
        })
        .collect()
}

#[test]
fn mutated_requests_are_refused_or_understood_and_never_a_fault() {
    let count = number("MUTATIONS", 2_000);
    let mut dice = Dice(number("MUTATIONS_SEED", 42) as u64 | 1);
    let server = TestServer::https().start();
    let api = server.api();
    mutate(&api, &calls(&Document::of(&api)), count / 2, &mut dice);
    drop(server);

    // Events on a server without pipelines: whatever is accepted has nowhere to go.
    let server = TestServer::start();
    let api = server.api();
    let event = make::conversion("evt_1", "conv_1", 0);
    let posted = |path: &str, body: Value| Sound {
        method: "POST".to_owned(),
        path: path.to_owned(),
        body: Some(body),
    };
    let events = [
        posted("/api/events", event.clone()),
        posted("/api/events/batch", json!({"events": [event.clone(), event]})),
    ];
    mutate(&api, &events, count - count / 2, &mut dice);
    assert!(api.get("/readyz").status == 200, "it works on");
}

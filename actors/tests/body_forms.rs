//! The body forms against the languages themselves (T-1, T-2, T-3, T-4): one process each, many texts.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod tool;

use ledgerhook_actors::json::{BodyForm, Fidelity, Limits, parse, write};
use proptest::{
    prelude::*,
    strategy::ValueTree,
    test_runner::{Config, TestRunner},
};

/// Reads hexadecimal JSON texts line by line and prints each as the language writes it again.
const NODE: &str = r"
    for (const line of require('fs').readFileSync(0, 'utf8').trim().split('\n')) {
        const value = JSON.parse(Buffer.from(line, 'hex').toString());
        console.log(Buffer.from(JSON.stringify(value)).toString('hex'));
    }";
const PYTHON: &str = "
import json, sys
for line in sys.stdin:
    print(json.dumps(json.loads(bytes.fromhex(line.strip()))).encode().hex())";
const PHP: &str = r"
    while (($line = fgets(STDIN)) !== false) {
        echo bin2hex(json_encode(json_decode(hex2bin(trim($line)), true))), PHP_EOL;
    }";

/// AFF-32, ATT-16, APX-13, SOC-30
#[test]
fn js_is_a_fixed_point_of_node() {
    check(BodyForm::Js, "node", &["-e", NODE]);
}

/// APX-15
#[test]
fn python_is_a_fixed_point_of_python() {
    check(BodyForm::Python, "python3", &["-c", PYTHON]);
}

/// APX-16
#[test]
fn php_is_a_fixed_point_of_php() {
    check(BodyForm::Php, "php", &["-d", "serialize_precision=-1", "-r", PHP]);
}

/// Writes generated texts in `form` and lets the language write them again. What is stable must come back as it
/// was, and must be what the language makes of the source; what is marked must not come back as it was.
fn check(form: BodyForm, program: &str, arguments: &[&str]) {
    let cases: Vec<Case> = sources().into_iter().map(|source| Case::new(source, form)).collect();
    let stable = cases.iter().filter(|case| case.fidelity.is_stable()).count();
    assert!(stable * 2 > cases.len(), "too few stable texts to mean anything");
    let texts = cases.iter().flat_map(|case| [case.source.as_bytes(), case.written.as_bytes()]);
    let lines: Vec<String> = texts.map(hex::encode).collect();
    let Some(answers) = tool::answers(program, arguments, &lines) else { return };
    let answers: Vec<String> =
        answers.iter().map(|line| String::from_utf8(hex::decode(line).unwrap()).unwrap()).collect();
    for (Case { source, written, fidelity }, answer) in cases.iter().zip(answers.chunks(2)) {
        let (of_source, again) = (&answer[0], &answer[1]);
        if !fidelity.is_stable() {
            assert_ne!(again, written, "marked, yet a fixed point of {program}, from {source}");
            continue;
        }
        assert_eq!(again, written, "fixed point of {program}, from {source}");
        // PHP writes -0.0 as `-0`, which it reads as 0: not a fixed point, so we write `0`.
        if form != BodyForm::Php || !source.contains("-0") {
            assert_eq!(of_source, written, "{program} of {source}");
        }
    }
}

struct Case {
    source: String,
    written: String,
    fidelity: Fidelity,
}

impl Case {
    fn new(source: String, form: BodyForm) -> Self {
        let json =
            parse(source.as_bytes(), Limits::EVENT).unwrap_or_else(|error| panic!("{error}: {source}"));
        let mut written = Vec::new();
        let fidelity = write(&json, form, &mut written);
        Self { source, written: String::from_utf8(written).unwrap(), fidelity }
    }
}

/// T-4: what no language holds is refused before any form is written.
#[test]
fn half_a_surrogate_pair_is_refused_in_values_and_in_keys() {
    let texts =
        [r#"["\ud83d"]"#, r#"["\ude00"]"#, r#"["\ude00\ud83d"]"#, r#"["\ud83dx\ude00"]"#, r#"{"\ud83d":1}"#];
    for text in texts {
        assert!(parse(text.as_bytes(), Limits::EVENT).is_err(), "{text}");
    }
    assert!(parse(b"[\"\xed\xa0\xbd\"]", Limits::EVENT).is_err(), "a surrogate in bytes");
    assert!(parse(br#"["\ud83d\ude00"]"#, Limits::EVENT).is_ok());
}

/// Generated texts, the same in every run, behind the payloads of the contracts and the corners of each language.
fn sources() -> Vec<String> {
    let mut runner = TestRunner::new_with_rng(Config::default(), deterministic());
    let texts = json_text();
    let generated = (0..4_000).map(|_| texts.new_tree(&mut runner).unwrap().current());
    CONTRACTS.iter().map(|&text| text.to_owned()).chain(corners()).chain(generated).collect()
}

/// What a generator seldom hits: the edges of doubles and of each language's notation, keys that mean something to a
/// language, characters that one of them escapes, and the deepest nesting that an event may have.
fn corners() -> impl Iterator<Item = String> {
    let alone = NUMBERS.iter().flat_map(|number| [format!("[{number}]"), format!("{{\"n\":-{number}}}")]);
    let powers =
        (-330..=330).flat_map(|power| [format!("[1e{power}]"), format!("[12345678901234567E{power:+04}]")]);
    let around = (50..=56).flat_map(|bits| [-1, 0, 1].map(|off| format!("[{},-{0}]", (1_i64 << bits) + off)));
    let keyed = KEYS
        .iter()
        .flat_map(|key| [format!("{{{key}:1}}"), format!("{{\"b\":1,{key}:{{{key}:[]}},\"a\":2,{key}:3}}")]);
    let quoted = STRINGS
        .iter()
        .flat_map(|text| [format!("[\"{text}\"]"), format!("{{\"a{text}\":\"{text}{text}\"}}")]);
    let deep = [1, 2, 60, 127].into_iter().flat_map(|depth| {
        [
            format!("{}1{}", "[".repeat(depth), "]".repeat(depth)),
            format!("{}1.50{}", "{\"k\":".repeat(depth), "}".repeat(depth)),
        ]
    });
    alone.chain(powers).chain(around).chain(keyed).chain(quoted).chain(deep)
}

const NUMBERS: &[&str] = &[
    "0",
    "0.0",
    "0e0",
    "0E-7",
    "0.00",
    "1.0",
    "1.10",
    "1E00",
    "1e0005",
    "100e-2",
    "0.1e1",
    "4.35",
    "0.3",
    "1e1",
    "1.5E+3",
    // Around the switch to an exponent in each language.
    "0.0001",
    "0.00001",
    "0.000001",
    "0.0000001",
    "0.00012345678901234567",
    "123456789012345",
    "999999999999999.9",
    "1234567890123456",
    "12345678901234567",
    "123456789012345678",
    "1e14",
    "1e15",
    "1e16",
    "1e17",
    "1e20",
    "1e21",
    "1e22",
    "999999999999999900000",
    "1000000000000000000000",
    "123456789012345680000",
    "1.7976931348623157e308",
    "1.7976931348623159e308",
    // Integers at the ends of 64 bits, and doubles that are integers.
    "9223372036854775807",
    "9223372036854775808",
    "9223372036854774784",
    "18446744073709551615",
    "18446744073709551616",
    "9007199254740992.0",
    "9007199254740993.0",
    "9007199254740993e0",
    "90071992547409930e-1",
    // The smallest, and what is smaller.
    "5e-324",
    "4.9e-324",
    "2e-324",
    "2.2250738585072014e-308",
    "2.2250738585072011e-308",
    "1e-400",
    "1e400",
    "0e400",
    // Many digits.
    "0.1000000000000000055511151231257827021181583404541015625",
    "0.30000000000000004",
    "3.14159265358979323846264338327950288",
    "100000000000000000000000000000000000000000000000000",
    "123456789012345678901234567890.123456789",
];

const KEYS: &[&str] = &[
    r#""""#,
    r#""__proto__""#,
    r#""constructor""#,
    r#""toString""#,
    r#""length""#,
    r#""0""#,
    r#""1""#,
    r#""01""#,
    r#""-1""#,
    r#""-0""#,
    r#""1.0""#,
    r#""1e3""#,
    r#""4294967294""#,
    r#""4294967295""#,
    r#""4294967296""#,
    r#""9007199254740993""#,
    r#""9223372036854775807""#,
    r#""9223372036854775808""#,
    r#""\u0061""#,
    r#""\u0030""#,
    r#"" 1""#,
    r#""\u0000""#,
    r#""\u0000a""#,
    r#""é""#,
    r#""null""#,
];

const STRINGS: &[&str] = &[
    "",
    "/",
    "\\/",
    "</script><!--",
    "<>&'",
    "\\\"",
    "\\\\",
    "\\b\\f\\n\\r\\t",
    "\\u0008\\u000C\\u000a\\u000D\\u0009",
    "\\u0000\\u001f",
    "\u{7f}",
    "\\u007f\\u0080",
    "\u{80}",
    "\u{a0}",
    "é",
    "e\u{301}",
    "\u{2028}\u{2029}",
    "\\u2028\\u2029",
    "\u{feff}",
    "\u{fffe}\u{ffff}",
    "\u{d7ff}\u{e000}",
    "😀",
    "\\ud83d\\ude00",
    "\\uD83D\\uDE00",
    "\u{10ffff}",
    "\u{10000}",
    "OÃœ",
    "日本語",
    "א\u{202e}ב",
];

fn deterministic() -> proptest::test_runner::TestRng {
    proptest::test_runner::TestRng::deterministic_rng(proptest::test_runner::RngAlgorithm::ChaCha)
}

/// JSON text in unusual spellings: spaces, escapes, numbers with trailing zeros, doubled and numeric keys.
fn json_text() -> impl Strategy<Value = String> {
    let scalar = prop_oneof![
        1 => prop_oneof![Just("null"), Just("true"), Just("false")].prop_map(str::to_owned),
        4 => number(),
        2 => string(),
    ];
    scalar.prop_recursive(4, 24, 6, |inner| {
        let space = || prop_oneof![4 => Just(""), 1 => Just(" "), 1 => Just("\n\t")];
        let key = prop_oneof![3 => string(), 2 => numeric_key(), 1 => Just("\"a\"".to_owned())];
        let member = (key, space(), inner.clone()).prop_map(|(key, s, value)| format!("{key}{s}:{s}{value}"));
        prop_oneof![
            (proptest::collection::vec(inner, 0..5), space())
                .prop_map(|(values, s)| format!("[{s}{}{s}]", values.join(&format!("{s},{s}")))),
            (proptest::collection::vec(member, 0..7), space())
                .prop_map(|(members, s)| format!("{{{s}{}{s}}}", members.join(&format!(",{s}")))),
        ]
    })
}

fn number() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<i64>().prop_map(|n| n.to_string()),
        (-1_000..1_000_i64).prop_map(|n| n.to_string()),
        any::<f64>().prop_filter("finite", |x| x.is_finite()).prop_map(|x| format!("{x:e}")),
        (any::<i32>(), -30..30_i32).prop_map(|(n, e)| format!("{n}e{e}")),
        (any::<i32>(), 0..1_000_u32).prop_map(|(n, cents)| format!("{n}.{cents:03}")),
        (1..=9_u32, -30..30_i32).prop_map(|(n, e)| format!("{n}.0E{e:+}")),
        r"-?(0|[1-9][0-9]{0,24})(\.[0-9]{1,20})?([eE][+-]?[0-9]{1,2})?",
        prop_oneof![Just("-0"), Just("-0.0"), Just("0e5"), Just("9223372036854775807"), Just("5e-324")]
            .prop_map(str::to_owned),
    ]
}

fn string() -> impl Strategy<Value = String> {
    let plain = |&c: &char| c >= ' ' && c != '"' && c != '\\';
    let piece = prop_oneof![
        6 => "[a-z/ ]{1,4}",
        2 => any::<char>().prop_filter("must be escaped", plain).prop_map(String::from),
        2 => proptest::sample::select(&["\\n", "\\/", "\\\"", "\\\\", "\\b", "\\f"][..]).prop_map(str::to_owned),
        2 => any::<char>().prop_map(escaped),
    ];
    proptest::collection::vec(piece, 0..5).prop_map(|pieces| format!("\"{}\"", pieces.concat()))
}

fn escaped(character: char) -> String {
    let mut units = [0; 2];
    let escapes: Vec<_> =
        character.encode_utf16(&mut units).iter().map(|unit| format!("\\u{unit:04X}")).collect();
    escapes.concat()
}

fn numeric_key() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => (0..4_u32).prop_map(|n| format!("\"{n}\"")),
        1 => any::<u64>().prop_map(|n| format!("\"{n}\"")),
        1 => proptest::sample::select(&["00", "-1", "-0", "4294967294", "4294967295", "1.5", ""][..])
            .prop_map(|key| format!("\"{key}\"")),
    ]
}

/// Data of events as the contracts print it: AFF-22, AFF-23, AFF-25, APX-06 (T-47), APX-08 … APX-10, SOC-18.
const CONTRACTS: &[&str] = &[
    r#"{"id":"evt_1","type":"conversion.created","timestamp":"2024-01-15T10:30:45Z","data":{"conversion_id":"conv_1","amount": 49.99,"payout": 5.00,"custom_params":{}}}"#,
    r#"{"data":{"referer":"https://example.com/page","user_agent":"Mozilla/5.0 (iPhone; …)"}}"#,
    r#"{"data":{"risk_score":92,"indicators":["datacenter_ip","bot_user_agent"],"blocked":true}}"#,
    r#"{"event":"payout.succeeded","data":{"amount":1250.00,"recipient":{"iban":"EE**1234","name":"Bel Consulting OÃœ"}}}"#,
    r#"{"data":{"details":{"clicks_per_hour":1200,"threshold":100,"confidence":0.98}}}"#,
    r#"{"data":{"threshold_value":1000.00,"current_value":1000.50,"period":"2025-11"}}"#,
    r#"{"data":{"endpoint":"/ads/request","error_rate":15.5,"threshold":10.0,"sample_errors":[]}}"#,
    r#"{"event":"mention.created","data":{"sentimentScore":0.85,"url":"https://twitter.com/…"},"workspaceId":"ws_1"}"#,
];

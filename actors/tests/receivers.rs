//! The verifiers of `docs/signatures.md`, run in their own languages against our signatures (SIG.1, SIG.5,
//! SIG.7, SIG.9).

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod tool;

use ledgerhook_actors::{
    delivery::signing::{Signer, standard_signature},
    json::{BodyForm, Json},
};
use std::time::SystemTime;

const DOCS: &str = include_str!("../../docs/signatures.md");
const NODE: &str = include_str!("receivers/verify.js");
const PYTHON: &str = include_str!("receivers/verify.py");
const PHP: &str = include_str!("receivers/verify.php");

/// Each reads one case a line (JSON, the body in hexadecimal) and prints what both verifiers say.
const NODE_DRIVER: &str = r"
for (const line of require('fs').readFileSync(0, 'utf8').trim().split('\n')) {
  const { secret, headers, profile, body } = JSON.parse(line);
  const bytes = Buffer.from(body, 'hex');
  console.log(verify(secret, headers, bytes), verifyProfile(secret, profile, bytes));
}";
const PYTHON_DRIVER: &str = "
import json, sys
for line in sys.stdin:
    case = json.loads(line)
    body = bytes.fromhex(case['body'])
    results = verify(case['secret'], case['headers'], body), verify_profile(case['secret'], case['profile'], body)
    print(*[str(result).lower() for result in results])";
const PHP_DRIVER: &str = r"
while (($line = fgets(STDIN)) !== false) {
    $case = json_decode($line, true);
    $body = hex2bin($case['body']);
    $results = [verify($case['secret'], $case['headers'], $body), verify_profile($case['secret'], $case['profile'], $body)];
    echo implode(' ', array_map('json_encode', $results)), PHP_EOL;
}";

#[test]
fn node_receivers_accept_what_we_sign_and_nothing_else() {
    check("node", &["-e", &format!("{NODE}{NODE_DRIVER}")]);
}

#[test]
fn python_receivers_accept_what_we_sign_and_nothing_else() {
    check("python3", &["-c", &format!("{PYTHON}{PYTHON_DRIVER}")]);
}

#[test]
fn php_receivers_accept_what_we_sign_and_nothing_else() {
    check("php", &["-r", &format!("{PHP}{PHP_DRIVER}")]);
}

/// What the documents print is what was run here.
#[test]
fn the_documented_verifiers_are_the_tested_ones() {
    for verifier in [NODE, PYTHON, PHP] {
        assert!(DOCS.contains(verifier), "docs/signatures.md has other text than actors/tests/receivers");
    }
}

/// One request, and whether the two verifiers should take it.
struct Case {
    line: String,
    expected: &'static str,
}

fn check(program: &str, arguments: &[&str]) {
    let cases = cases();
    let lines: Vec<String> = cases.iter().map(|case| case.line.clone()).collect();
    let Some(answers) = tool::answers(program, arguments, &lines) else { return };
    for (case, answer) in cases.iter().zip(answers) {
        assert_eq!(answer, case.expected, "{program}: {}", case.line);
    }
}

fn cases() -> Vec<Case> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let plain = "a plain secret of a contract";
    let encoded = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let other = "another secret, of the other side of a rotation";
    let large = vec![b'x'; 256 * 1024];
    let bodies: [&[u8]; 6] =
        [b"", b"x", br#"{"payout":5}"#, "{\"name\":\"O\u{dc}\"}\r\n  ".as_bytes(), b"\xff\0", &large];
    let mut cases = Vec::new();
    for body in bodies {
        for secret in [plain, encoded] {
            cases.push(case(secret, &[secret], now, body, body, "true true"));
            cases.push(case(secret, &[secret, other], now, body, body, "true true"));
            cases.push(case(secret, &[other, secret], now, body, body, "true false"));
            cases.push(case(secret, &[other], now, body, body, "false false"));
            cases.push(case(secret, &[secret], now - 600, body, body, "false true"));
            cases.push(case(secret, &[secret], now, body, &[body, b" "].concat(), "false false"));
        }
    }
    cases
}

/// A request signed with `keys` over `signed`, that arrives with `received` at someone who knows `secret`.
fn case(
    secret: &str,
    keys: &[&str],
    at: u64,
    signed: &[u8],
    received: &[u8],
    expected: &'static str,
) -> Case {
    let signers: Vec<Signer> = keys.iter().map(|key| Signer::new(key).unwrap()).collect();
    let headers = Json::object([
        ("webhook-id", Json::from("evt_1")),
        ("webhook-timestamp", Json::from(at.to_string())),
        ("webhook-signature", Json::from(standard_signature(&signers, "evt_1", at, signed))),
    ]);
    let prefix = if at.is_multiple_of(2) { "" } else { "sha256=" };
    let line = Json::object([
        ("secret", Json::from(secret)),
        ("headers", headers),
        ("profile", Json::from(format!("{prefix}{}", hex::encode(signers[0].digest(&[signed]))))),
        ("body", Json::from(hex::encode(received))),
    ]);
    Case { line: String::from_utf8(line.to_bytes(BodyForm::Js)).unwrap(), expected }
}

//! `ledgerhook verify`: whether a request's signatures fit, and if they do not, why. Runs on what a receiver kept of
//! a request, without a server and without the network.
//!
//! ```text
//! body, headers, secrets, profile ──> one Check a header ──> fits, or the explanation that was found by trying
//! ```

mod explain;
mod input;
#[cfg(test)]
mod tests;

use anyhow::{Context as _, bail};
use clap::Args;
use explain::explain;
use input::{Headers, Key};
use ledgerhook_actors::{
    delivery::signing::{ID_HEADER, SIGNATURE_HEADER, TIMESTAMP_HEADER},
    profile::{Profile, Profiles, SignatureHeader, Stamp},
};
use serde::Serialize;
use std::{fmt, path::PathBuf, time::SystemTime};

const EXAMPLES: &str = "\
Examples:
  WEBHOOK_SECRET=whsec_… ledgerhook verify --profile afftok --headers headers.txt --body body.json
  ledgerhook verify --profile social --secret-file secret.txt -H 'X-Webhook-Signature: sha256=…' < body.json
  curl -sv … 2> dump.txt; ledgerhook verify --headers dump.txt --body sent.json     headers of a curl dump
  ledgerhook verify --public-key whpk_… --headers headers.txt --body body.json      v1a, without a secret
  ledgerhook verify --json --at 1614265330 …                                        for programs; as of then

Exit status: 0 if the signatures fit, 1 if not. Secrets come from WEBHOOK_SECRET or files, one a line, so that
they stand in no list of processes.";

/// What is to be checked.
#[derive(Debug, Args)]
#[command(before_help = EXAMPLES, help_template = "{about}\n\n{before-help}{usage-heading} {usage}\n\n{all-args}")]
pub(crate) struct VerifyArgs {
    /// Whose contract the request follows
    #[arg(long, value_name = "PROFILE", default_value = "standard")]
    profile: String,
    /// The body, byte for byte as it was received; `-` is standard input
    #[arg(long, value_name = "FILE", default_value = "-")]
    body: PathBuf,
    /// Headers, one a line; a dump of curl will do
    #[arg(long, value_name = "FILE")]
    headers: Option<PathBuf>,
    /// One header; repeatable
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    header: Vec<String>,
    /// A file with secrets, one a line; repeatable
    #[arg(long, value_name = "FILE")]
    secret_file: Vec<PathBuf>,
    /// A public key for `v1a`; repeatable
    #[arg(long, value_name = "whpk_…")]
    public_key: Vec<String>,
    /// Judge the time as of this Unix second instead of now
    #[arg(long, value_name = "SECONDS")]
    at: Option<u64>,
    /// How far the timestamp may be off, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    tolerance: u64,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What was found.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) valid: bool,
    profile: String,
    checks: Vec<Check>,
}

/// One header, and what is to be said of it.
#[derive(Debug, Serialize)]
struct Check {
    header: String,
    result: Outcome,
    /// For programs.
    code: &'static str,
    message: String,
}

/// What a check comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Outcome {
    Fits,
    /// Not needed, or not checked: it decides nothing.
    Noted,
    Fails,
}

impl VerifyArgs {
    /// Reads everything, checks it, and prints the report.
    pub(crate) fn run(self, profiles: Option<&PathBuf>) -> anyhow::Result<Report> {
        let profiles = match profiles {
            Some(dir) => Profiles::load(dir)?,
            None => Profiles::builtin(),
        };
        let Some(profile) = profiles.get(&self.profile) else {
            let names: Vec<_> = profiles.iter().map(|profile| profile.name.as_str()).collect();
            bail!("there is no profile `{}`; there are {}", self.profile, names.join(", "));
        };
        let mut headers = Headers::default();
        if let Some(path) = &self.headers {
            headers.read_dump(&input::read(path)?);
        }
        self.header
            .iter()
            .try_for_each(|line| headers.add(line).with_context(|| format!("`{line}` is no header")))?;
        let mut secrets = Vec::new();
        if let Ok(text) = std::env::var("WEBHOOK_SECRET") {
            secrets.push(Key::new("WEBHOOK_SECRET", &text));
        }
        for path in &self.secret_file {
            let text = String::from_utf8(input::read(path)?).context("a secret is text")?;
            let lines = (1..).zip(text.lines()).filter(|(_, line)| !line.is_empty());
            secrets.extend(lines.map(|(n, line)| Key::new(&format!("line {n} of {}", path.display()), line)));
        }
        let public =
            self.public_key.iter().map(|text| input::public_key(text)).collect::<Result<Vec<_>, _>>()?;
        if secrets.is_empty() && public.is_empty() {
            bail!("nothing to check with: set WEBHOOK_SECRET, or give --secret-file or --public-key");
        }
        let body = input::read(&self.body)?;
        let now = self.at.unwrap_or_else(|| {
            SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
        });
        let request = Request { profile, profiles: &profiles, headers, body, secrets, public };
        let report = request.check(now, self.tolerance);
        if self.json {
            println!("{}", serde_json::to_string_pretty(&report)?);
        } else {
            print!("{report}");
        }
        Ok(report)
    }
}

/// A request as a receiver kept it, and the keys to check it with.
struct Request<'p> {
    profile: &'p Profile,
    profiles: &'p Profiles,
    headers: Headers,
    body: Vec<u8>,
    secrets: Vec<Key>,
    public: Vec<Vec<u8>>,
}

impl Request<'_> {
    fn check(&self, now: u64, tolerance: u64) -> Report {
        let mut checks = Vec::new();
        for header in &self.profile.signature.headers {
            checks.push(self.own(header));
        }
        if self.profile.signature.standard_webhooks || self.headers.get(SIGNATURE_HEADER).is_some() {
            checks.extend(self.standard());
        }
        if let Some(token) = self.headers.get("authorization").and_then(|value| value.strip_prefix("Bearer "))
        {
            checks.extend(self.token(token, now));
        }
        checks.extend(self.time(now, tolerance));
        let fails = checks.iter().any(|check| check.result == Outcome::Fails);
        // A time that fits proves nothing by itself.
        let fits = checks.iter().any(|check| check.result == Outcome::Fits && check.code == "fits");
        Report { valid: fits && !fails, profile: self.profile.name.clone(), checks }
    }

    fn stamp(&self, header: Option<(&SignatureHeader, &str)>) -> Option<u64> {
        let shown = header.and_then(|(header, value)| header.timestamp_in(value));
        shown.or_else(|| self.headers.get(TIMESTAMP_HEADER)?.parse().ok())
    }

    /// The provider's own header.
    fn own(&self, header: &SignatureHeader) -> Check {
        let says =
            |result, code, message: String| Check { header: header.name.clone(), result, code, message };
        let Some(value) = self.headers.get(&header.name) else {
            // A token takes the place of the provider's header.
            if self.headers.get("authorization").is_some_and(|value| value.starts_with("Bearer ey")) {
                return says(
                    Outcome::Noted,
                    "absent",
                    "absent: the request carries a JWT in its place".into(),
                );
            }
            let found = self.of_another_profile();
            return says(Outcome::Fails, "missing_header", format!("the request has no such header{found}"));
        };
        if self.secrets.is_empty() {
            return says(Outcome::Noted, "not_checked", "not checked: no secret was given".into());
        }
        let id = self.headers.get(ID_HEADER).unwrap_or_default();
        let stamp = Stamp { id, timestamp: self.stamp(Some((header, value))).unwrap_or_default() };
        let (before, behind) = header.around_body(stamp);
        let made = |key: &Key| explain::hmac(key.text(), &[before.as_bytes(), &self.body, behind.as_bytes()]);
        let found = explain::digests_in(value);
        for key in &self.secrets {
            let digest = made(key);
            if header.value(stamp, [digest]) == value || (header.lists_keys() && found.contains(&digest)) {
                return says(Outcome::Fits, "fits", format!("fits {}", key.name()));
            }
            if found.contains(&digest) {
                let right = header.value(stamp, [digest]);
                let shape = right.replace(&hex::encode(digest), "<hex>");
                let message = format!("the signature is right, and written otherwise than `{shape}`");
                return says(Outcome::Fails, "wrong_shape", message);
            }
        }
        let deviation = explain(self, &found, Some((header, stamp)));
        says(Outcome::Fails, deviation.code(), deviation.to_string())
    }

    fn of_another_profile(&self) -> String {
        let others = self.profiles.iter().filter(|other| other.name != self.profile.name);
        let mut named =
            others.flat_map(|other| other.signature.headers.iter().map(move |header| (other, header)));
        let found = named.find(|(_, header)| self.headers.get(&header.name).is_some());
        found.map_or_else(String::new, |(other, header)| {
            format!("; it has `{}`, which belongs to the profile `{}`", header.name, other.name)
        })
    }

    /// `webhook-signature`: any entry that fits is enough.
    fn standard(&self) -> Vec<Check> {
        let says = |result, code, message: String| {
            vec![Check { header: SIGNATURE_HEADER.into(), result, code, message }]
        };
        let Some(value) = self.headers.get(SIGNATURE_HEADER) else {
            let own =
                self.profile.signature.headers.iter().any(|header| self.headers.get(&header.name).is_some());
            // Receivers of the older contracts may keep nothing of it.
            let result = if own { Outcome::Noted } else { Outcome::Fails };
            return says(result, "missing_header", "the request has no such header".into());
        };
        let (Some(id), Some(timestamp)) = (self.headers.get(ID_HEADER), self.headers.get(TIMESTAMP_HEADER))
        else {
            let message =
                format!("`{ID_HEADER}` and `{TIMESTAMP_HEADER}` are signed too, and one is missing");
            return says(Outcome::Fails, "missing_header", message);
        };
        let signed = [format!("{id}.{timestamp}.").as_bytes(), &self.body].concat();
        let entries = || value.split(' ').filter_map(|entry| entry.split_once(','));
        for (_, signature) in entries().filter(|(version, _)| *version == "v1a") {
            let Some(bytes) = input::base64(signature) else { continue };
            let fits = |key: &&Vec<u8>| {
                let key = ring::signature::UnparsedPublicKey::new(&ring::signature::ED25519, key);
                key.verify(&signed, &bytes).is_ok()
            };
            if self.public.iter().find(fits).is_some() {
                return says(Outcome::Fits, "fits", "`v1a` fits a public key".into());
            }
        }
        let found: Vec<[u8; 32]> = entries()
            .filter(|(version, _)| *version == "v1")
            .filter_map(|(_, signature)| input::base64(signature)?.try_into().ok())
            .collect();
        for key in &self.secrets {
            if found.contains(&explain::hmac(&key.standard(), &[&signed])) {
                return says(Outcome::Fits, "fits", format!("`v1` fits {}", key.name()));
            }
        }
        if self.secrets.is_empty() {
            let message = "no `v1a` signature fits the public keys that were given";
            return says(Outcome::Fails, "wrong_key", message.into());
        }
        if found.is_empty() {
            let message = "it has no `v1,` entry with 32 bytes in base64";
            return says(Outcome::Fails, "wrong_shape", message.into());
        }
        let deviation = explain(self, &found, None);
        says(Outcome::Fails, deviation.code(), deviation.to_string())
    }

    /// HS256 in `Authorization: Bearer` (T-26).
    fn token(&self, token: &str, now: u64) -> Option<Check> {
        let says = |result, code, message: String| {
            Some(Check { header: "Authorization".into(), result, code, message })
        };
        let (signed, signature) = token.rsplit_once('.')?;
        let (head, claims) = signed.split_once('.')?;
        let json = |part: &str| serde_json::from_slice::<serde_json::Value>(&input::base64url(part)?).ok();
        let (head, claims) = (json(head)?, json(claims)?);
        if head["alg"] != "HS256" {
            return says(
                Outcome::Fails,
                "wrong_shape",
                format!("the token's `alg` is {}, not HS256", head["alg"]),
            );
        }
        let signature = input::base64url(signature)?;
        let made = |key: &&Key| explain::hmac(key.text(), &[signed.as_bytes()])[..] == signature[..];
        let Some(key) = self.secrets.iter().find(made) else {
            return says(Outcome::Fails, "wrong_secret", "the token was signed with another secret".into());
        };
        if claims["body_sha256"] != hex::encode(explain::sha256(&self.body)) {
            let message = "the token is genuine, and its `body_sha256` is that of other bytes".to_owned();
            return says(Outcome::Fails, "changed_body", message);
        }
        match claims["exp"].as_u64() {
            Some(expires) if now < expires => {
                says(Outcome::Fits, "fits", format!("the token fits {}", key.name()))
            }
            _ => says(Outcome::Fails, "stale", "the token has expired".into()),
        }
    }

    /// Whether it was sent a moment ago.
    fn time(&self, now: u64, tolerance: u64) -> Option<Check> {
        let own = self.profile.signature.headers.iter();
        let stamped = own.filter_map(|header| {
            let value = self.headers.get(&header.name)?;
            Some((header.name.clone(), header.timestamp_in(value)?))
        });
        let standard =
            self.headers.get(TIMESTAMP_HEADER).map(|value| (TIMESTAMP_HEADER.to_owned(), value.parse().ok()));
        let (header, sent) = match (stamped.into_iter().next(), standard) {
            (Some((name, sent)), _) => (name, Some(sent)),
            (None, Some((name, sent))) => (name, sent),
            (None, None) => return None,
        };
        let says = |result, code, message: String| Some(Check { header, result, code, message });
        let Some(sent) = sent else {
            return says(Outcome::Fails, "wrong_shape", "it is not a Unix time in whole seconds".into());
        };
        let off = sent.abs_diff(now);
        let side = if sent <= now { "old" } else { "ahead" };
        if off > tolerance {
            let message = format!(
                "{off} s {side}, over the {tolerance} s that receivers allow: replayed, long on its way, or a clock \
                 is wrong; --at {sent} judges it as of then"
            );
            return says(Outcome::Fails, "stale", message);
        }
        says(Outcome::Fits, "fresh", format!("{off} s {side}"))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Check { header, result, message, .. } in &self.checks {
            let mark = match result {
                Outcome::Fits => "ok  ",
                Outcome::Noted => "-   ",
                Outcome::Fails => "FAIL",
            };
            writeln!(f, "{mark}  {header}: {message}")?;
        }
        let verdict = if self.valid { "the request is genuine" } else { "the request does NOT verify" };
        writeln!(f, "{verdict} (profile `{}`)", self.profile)
    }
}

//! Why a signature does not fit: every usual mistake is tried, alone and then two at a time, until one gives the
//! signature that stands there. What is found that way is proven, not guessed.

use super::{Request, input::base64};
use hmac::{Hmac, KeyInit as _, Mac as _};
use ledgerhook_actors::{
    delivery::signing::{ID_HEADER, TIMESTAMP_HEADER},
    json::{BodyForm, Limits, parse, write},
    profile::{SignatureHeader, Stamp},
};
use sha2::{Digest as _, Sha256};
use std::fmt;

/// Largest body that is written anew in other forms.
const BODY_MAX: usize = 1 << 20;

/// What makes the signature fit after all. `None` in each part means: as it should be.
#[derive(Debug, Default)]
pub(super) struct Deviation {
    key: Option<(String, &'static str)>,
    body: Option<&'static str>,
    scheme: Option<String>,
    found: bool,
}

impl Deviation {
    /// For programs: what is to be mended first.
    pub(super) fn code(&self) -> &'static str {
        match self {
            Self { found: false, .. } => "wrong_secret",
            Self { scheme: Some(_), .. } => "other_scheme",
            Self { body: Some(_), .. } => "changed_body",
            Self { .. } => "wrong_key_form",
        }
    }
}

impl fmt::Display for Deviation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.found {
            return f.write_str(
                "does not fit: made with another secret, or over a body that was changed in more than its form",
            );
        }
        f.write_str("does not fit as it stands, but it does")?;
        let mut joint = " ";
        if let Some(scheme) = &self.scheme {
            write!(f, "{joint}in the scheme of {scheme}")?;
            joint = " and ";
        }
        if let Some((key, mistake)) = &self.key {
            write!(f, "{joint}with {key} taken {mistake}")?;
            joint = " and ";
        }
        if let Some(body) = self.body {
            write!(f, "{joint}over the body {body}")?;
        }
        Ok(())
    }
}

/// A way to sign: what stands before and behind the body, and whether keys are decoded first.
struct Scheme {
    name: Option<String>,
    before: String,
    behind: String,
    standard: bool,
}

/// Looks for what would give one of the digests `found` in the header.
pub(super) fn explain(
    request: &Request<'_>,
    found: &[[u8; 32]],
    expected: Option<(&SignatureHeader, Stamp<'_>)>,
) -> Deviation {
    let schemes = schemes(request, expected);
    let bodies = bodies(&request.body);
    // The fewer mistakes explain it, the likelier it is.
    for mistakes in 1..=2_usize {
        for scheme in &schemes {
            for key in &request.secrets {
                let right = if scheme.standard { key.standard() } else { key.text().to_vec() };
                let mistaken = key.mistaken().into_iter().filter(|(_, bytes)| *bytes != right);
                let keys =
                    std::iter::once((None, right.clone())).chain(mistaken.map(|(how, key)| (Some(how), key)));
                for (how, bytes) in keys {
                    for (form, body) in &bodies {
                        let count = usize::from(scheme.name.is_some())
                            + usize::from(how.is_some())
                            + usize::from(form.is_some());
                        if count != mistakes {
                            continue;
                        }
                        let digest =
                            hmac(&bytes, &[scheme.before.as_bytes(), body, scheme.behind.as_bytes()]);
                        if found.contains(&digest) {
                            let key = how.map(|how| (key.name().to_owned(), how));
                            return Deviation { key, body: *form, scheme: scheme.name.clone(), found: true };
                        }
                    }
                }
            }
        }
    }
    Deviation::default()
}

/// The scheme that was expected, then all others that are known.
fn schemes(request: &Request<'_>, expected: Option<(&SignatureHeader, Stamp<'_>)>) -> Vec<Scheme> {
    let id = request.headers.get(ID_HEADER).unwrap_or_default();
    let timestamp = request.headers.get(TIMESTAMP_HEADER).unwrap_or_default();
    let standard = |name: Option<&str>| Scheme {
        name: name.map(str::to_owned),
        before: format!("{id}.{timestamp}."),
        behind: String::new(),
        standard: true,
    };
    let own = |name: Option<String>, header: &SignatureHeader, stamp| {
        let (before, behind) = header.around_body(stamp);
        Scheme { name, before, behind, standard: false }
    };
    let stamp = Stamp { id, timestamp: timestamp.parse().unwrap_or_default() };
    let mut all = match expected {
        Some((header, stamp)) => vec![own(None, header, stamp), standard(Some("Standard Webhooks"))],
        None => vec![standard(None)],
    };
    let stamp = expected.map_or(stamp, |(_, stamp)| stamp);
    for profile in request.profiles.iter() {
        for header in &profile.signature.headers {
            let scheme = own(Some(format!("the profile `{}`", profile.name)), header, stamp);
            let known = all.iter().any(|other| {
                (&other.before, &other.behind, other.standard)
                    == (&scheme.before, &scheme.behind, scheme.standard)
            });
            if !known {
                all.push(scheme);
            }
        }
    }
    all
}

/// The body as it is, and as it may have been when it was signed.
fn bodies(body: &[u8]) -> Vec<(Option<&'static str>, Vec<u8>)> {
    let mut all = vec![(None, body.to_vec())];
    let mut add = |how, bytes: Vec<u8>| {
        if all.iter().all(|(_, known)| *known != bytes) {
            all.push((Some(how), bytes));
        }
    };
    add("without the line break at its end", body.trim_ascii_end().to_vec());
    add("with a line break at its end", [body, b"\n"].concat());
    add("with its line breaks as LF", String::from_utf8_lossy(body).replace("\r\n", "\n").into_bytes());
    if let Ok(tree) = parse(body, Limits::EVENT)
        && body.len() <= BODY_MAX
    {
        for (form, how) in [
            (
                BodyForm::Js,
                "as JavaScript's JSON.stringify writes it: it was re-serialised; sign and check raw bytes, or use `body_format: js`",
            ),
            (
                BodyForm::Python,
                "as Python's json.dumps writes it: it was re-serialised; sign and check raw bytes, or use `body_format: python`",
            ),
            (
                BodyForm::Php,
                "as PHP's json_encode writes it: it was re-serialised; sign and check raw bytes, or use `body_format: php`",
            ),
        ] {
            let mut bytes = Vec::new();
            let _ = write(&tree, form, &mut bytes);
            add(how, bytes);
        }
    }
    add("empty: the handler had read it already", Vec::new());
    all
}

/// Everything in a header's value that may be a SHA-256 in hexadecimal or base64.
pub(super) fn digests_in(value: &str) -> Vec<[u8; 32]> {
    let hexadecimal = value.split(|c: char| !c.is_ascii_hexdigit()).filter(|word| word.len() == 64);
    let hexadecimal = hexadecimal.filter_map(|word| hex::decode(word).ok());
    let encoded = value
        .split([' ', ',', ';'])
        .flat_map(|word| [Some(word), word.split_once('=').map(|(_, rest)| rest)]);
    let encoded = encoded.flatten().filter(|word| word.len() == 44).filter_map(base64);
    hexadecimal.chain(encoded).filter_map(|bytes| bytes.try_into().ok()).collect()
}

/// HMAC-SHA256.
pub(super) fn hmac(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

/// SHA-256.
pub(super) fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

//! Query values of URLs that hold a credential: sealed where they stand, so that the log holds `?token={{sealed.v1.…}}`,
//! requests get the value, and people see `?token=***`.

use super::{
    Secret, Secrets, SecretsError,
    header::{is_sensitive_name, literal_of, looks_like_credential},
};
use crate::delivery::template::MASK;
use std::borrow::Cow;

const OPEN: &str = "{{sealed.";
const CLOSE: &str = "}}";

/// A URL whose sealed values were opened.
pub struct OpenedUrl {
    /// The template that is rendered for requests.
    pub template: Secret,
    /// The values that were sealed.
    pub values: Vec<Secret>,
}

impl Secrets {
    /// What the log keeps of a URL's template. A value that `former` has sealed already keeps that form, so that the URL
    /// stays the same one.
    pub fn keep_url(&self, url: &str, former: Option<&str>) -> Result<String, SecretsError> {
        let mut kept = String::with_capacity(url.len());
        for (position, part) in Parts::of(url).enumerate() {
            match part {
                Part::Plain(text) => kept.push_str(text),
                Part::Value { name, value } if !is_sealed(value) && is_secret(name, value) => {
                    let before = former.and_then(|former| Parts::of(former).nth(position));
                    kept.push_str(&self.keep_value(value, before)?);
                }
                Part::Value { value, .. } => kept.push_str(value),
            }
        }
        Ok(kept)
    }

    fn keep_value(&self, value: &str, before: Option<Part<'_>>) -> Result<String, SecretsError> {
        if let Some(Part::Value { value: sealed, .. }) = before.filter(Part::is_sealed)
            && self.open(inside(sealed))?.expose() == value
        {
            return Ok(sealed.to_owned());
        }
        Ok(format!("{OPEN}{}{CLOSE}", self.seal(value)?))
    }

    /// The template that [`keep_url`](Self::keep_url) was given.
    pub fn open_url(&self, kept: &str) -> Result<OpenedUrl, SecretsError> {
        let (mut template, mut values) = (String::with_capacity(kept.len()), Vec::new());
        for part in Parts::of(kept) {
            match part {
                Part::Value { value, .. } if is_sealed(value) => {
                    let value = self.open(inside(value))?;
                    template.push_str(value.expose());
                    values.push(value);
                }
                Part::Plain(text) | Part::Value { value: text, .. } => template.push_str(text),
            }
        }
        Ok(OpenedUrl { template: Secret::new(template), values })
    }
}

/// A kept URL as people may see it.
#[must_use]
pub fn shown_url(kept: &str) -> Cow<'_, str> {
    let mut shown = Cow::Borrowed(kept);
    while let Some(start) = shown.find(OPEN) {
        let length = shown[start..].find(CLOSE).map_or(shown.len() - start, |length| length + CLOSE.len());
        shown.to_mut().replace_range(start..start + length, MASK);
    }
    shown
}

/// A URL that was never kept, credentials in its query masked, and those credentials.
#[must_use]
pub fn masked_url(url: &str) -> (String, Vec<Secret>) {
    let (mut shown, mut values) = (String::with_capacity(url.len()), Vec::new());
    for part in Parts::of(url) {
        match part {
            Part::Value { name, value } if is_secret(name, value) => {
                shown.push_str(MASK);
                values.push(Secret::new(value.to_owned()));
            }
            Part::Plain(text) | Part::Value { value: text, .. } => shown.push_str(text),
        }
    }
    (shown, values)
}

/// Whether part of it is sealed.
#[must_use]
pub fn has_sealed(kept: &str) -> bool {
    kept.contains(OPEN)
}

/// A URL that was sent back as it was shown: each masked value is the one that `former` has under that name, the first
/// under the first. The error names a value that there is none for.
pub fn unmasked_url(url: &str, former: Option<&str>) -> Result<String, String> {
    let mut sealed: Vec<Part<'_>> = Parts::of(former.unwrap_or_default()).filter(Part::is_sealed).collect();
    let mut whole = String::with_capacity(url.len());
    for part in Parts::of(url) {
        match part {
            Part::Value { name, value: MASK } => {
                let found = sealed
                    .iter()
                    .position(|part| matches!(part, Part::Value { name: known, .. } if *known == name));
                let Some(Part::Value { value, .. }) = found.map(|found| sealed.remove(found)) else {
                    return Err(name.to_owned());
                };
                whole.push_str(value);
            }
            Part::Plain(text) | Part::Value { value: text, .. } => whole.push_str(text),
        }
    }
    Ok(whole)
}

/// A value of the query, or what stands between two of them.
#[derive(Clone, Copy)]
enum Part<'u> {
    Plain(&'u str),
    Value { name: &'u str, value: &'u str },
}

impl Part<'_> {
    fn is_sealed(&self) -> bool {
        matches!(self, Self::Value { value, .. } if is_sealed(value))
    }
}

fn is_sealed(value: &str) -> bool {
    value.starts_with(OPEN) && value.ends_with(CLOSE)
}

fn inside(sealed: &str) -> &str {
    sealed.strip_prefix(OPEN).and_then(|text| text.strip_suffix(CLOSE)).unwrap_or_default()
}

fn is_secret(name: &str, value: &str) -> bool {
    let literal = literal_of(value);
    !literal.trim().is_empty() && (is_sensitive_name(&decoded(name)) || looks_like_credential(&literal))
}

/// A name with its escapes resolved: `%74oken` is `token` to the receiver.
fn decoded(name: &str) -> String {
    url::form_urlencoded::parse(name.as_bytes()).map(|(name, _)| name).collect()
}

/// The parts of a URL in their order; put together they are the URL.
struct Parts<'u> {
    rest: &'u str,
    name: Option<&'u str>,
    in_query: bool,
}

impl<'u> Parts<'u> {
    fn of(url: &'u str) -> Self {
        Self { rest: url, name: None, in_query: false }
    }

    fn take(&mut self, length: usize) -> &'u str {
        let (taken, rest) = self.rest.split_at(length);
        self.rest = rest;
        taken
    }
}

impl<'u> Iterator for Parts<'u> {
    type Item = Part<'u>;

    fn next(&mut self) -> Option<Part<'u>> {
        if let Some(name) = self.name.take() {
            let value = self.take(self.rest.find(['&', '#']).unwrap_or(self.rest.len()));
            return Some(Part::Value { name, value });
        }
        if self.rest.is_empty() {
            return None;
        }
        // Up to the `=` of the next parameter; what follows a `#` is none.
        let query = if self.in_query { 0 } else { self.rest.find(['?', '#']).unwrap_or(self.rest.len()) };
        self.in_query = !self.rest[query..].starts_with('#');
        let named = self.rest[query..].find('=').map(|length| query + length + 1);
        let fragment = self.rest.find('#').unwrap_or(self.rest.len());
        let Some(end) = named.filter(|&end| self.in_query && end <= fragment) else {
            return Some(Part::Plain(self.take(self.rest.len())));
        };
        let text = self.take(end);
        let name = text.rsplit(['?', '&']).next().unwrap_or_default();
        self.name = name.strip_suffix('=');
        Some(Part::Plain(text))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::secrets;
    use super::*;

    const URL: &str = "https://a.example/p?x=1&token=canary-value&y&id={{event.id}}&api%5Fkey=k%20k#token=1";

    /// SEC.1, SEC.2: the log holds no credential of a query, people see a mask, the receiver gets what was written.
    #[test]
    fn credentials_in_a_query_are_sealed_where_they_stand() {
        let secrets = secrets(3);
        let kept = secrets.keep_url(URL, None).unwrap();
        assert!(!kept.contains("canary") && !kept.contains("k%20k"), "{kept}");
        let opened = secrets.open_url(&kept).unwrap();
        assert_eq!(opened.template.expose(), URL);
        assert_eq!(opened.values.iter().map(Secret::expose).collect::<Vec<_>>(), ["canary-value", "k%20k"]);
        let shown = "https://a.example/p?x=1&token=***&y&id={{event.id}}&api%5Fkey=***#token=1";
        assert_eq!(shown_url(&kept), shown);
        assert_eq!(masked_url(URL).0, shown);
        // Sent back as it was shown, it is the same URL; the same value once more is the same one, too.
        assert_eq!(unmasked_url(shown, Some(&kept)).unwrap(), kept);
        assert_eq!(secrets.keep_url(&kept, None).unwrap(), kept);
        assert_eq!(secrets.keep_url(URL, Some(&kept)).unwrap(), kept);
        assert_ne!(secrets.keep_url(&URL.replace("canary", "other"), Some(&kept)).unwrap(), kept);
        assert_eq!(unmasked_url("https://a.example/?password=***", Some(&kept)), Err("password".to_owned()));
        assert_eq!(unmasked_url(shown, None), Err("token".to_owned()));
    }

    #[test]
    fn what_is_no_credential_stays_readable() {
        let secrets = secrets(3);
        for url in [
            "https://a.example/path",
            "https://a.example/?",
            "https://a.example/?token",
            "https://a.example/?token=",
            "https://a.example/?token={{env.API_TOKEN}}",
            "https://a.example/?source=afftok&shipping=fast&page=12",
            "https://a.example/#token=1",
            "https://a.example/token=x",
        ] {
            assert_eq!(secrets.keep_url(url, None).unwrap(), url);
            assert_eq!(shown_url(url), url);
        }
        let random = "https://a.example/?x=Zk3uQ9pT7vX2mN4bR8sW";
        assert!(has_sealed(&secrets.keep_url(random, None).unwrap()));
    }

    #[test]
    fn parts_make_up_the_url() {
        for url in [URL, "", "?", "a?b=c&&=d&e==f?g=h", "a#b?c=d", "a?b#c=d", "a?=b", "é?ü=ß&x"] {
            let mut whole = String::new();
            for part in Parts::of(url) {
                let (Part::Plain(text) | Part::Value { value: text, .. }) = part;
                whole.push_str(text);
            }
            assert_eq!(whole, url);
        }
    }
}

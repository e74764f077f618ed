//! What configurations of one tenant are checked against, and the checks of URLs and templates.

use crate::http::fields::Value;
use ledgerhook_actors::{
    delivery::{
        target::{EgressPolicy, UrlRejection, check_url},
        template::{BodyTemplate, CompileError, CompileErrorKind, EnvPolicy, HeaderTemplate, UrlTemplate},
    },
    engine::Tools,
    json::{BodyForm, Limits, parse},
    profile::Profile,
    secrets::unmasked_url,
};
use std::borrow::Cow;
use url::Url;

/// The rules of one tenant's profile under the operator's settings.
pub(crate) struct Rules<'r> {
    /// What the tenant speaks.
    pub(crate) profile: &'r Profile,
    egress: EgressPolicy,
    /// Which variables may be named.
    pub(super) env: &'r EnvPolicy,
}

impl<'r> Rules<'r> {
    /// `http://` is taken where both the operator and the profile allow it (T-19).
    pub(crate) fn new(tools: &'r Tools, profile: &'r Profile) -> Self {
        let allow_http = profile.https.permits("http", tools.egress.allow_http);
        let egress = EgressPolicy { allow_http, ..tools.egress.clone() };
        Self { profile, egress, env: &tools.env }
    }

    /// A URL that may be called. Placeholders stand in its path and query, if anywhere (TPL.6). A masked value of the
    /// query is the one that `former` has sealed there.
    pub(crate) fn url(&self, value: &Value<'_>, former: Option<&str>) -> Option<String> {
        let source = value.string()?;
        let host = UrlTemplate::host_of(source).unwrap_or_default();
        if let Err(error) = UrlTemplate::compile(source, &self.env.grant(&[&host])) {
            // A plain URL is judged by the policy below, whose reasons are clearer.
            if source.contains("{{") || source.contains("}}") {
                return wrong_template(value, &error);
            }
        }
        self.judged(value, &with_samples(source))?;
        let unmasked = unmasked_url(source, former);
        let message = |name| {
            format!("the mask of `{name}` stands for a value that was never set; send the value itself")
        };
        unmasked.map_or_else(|name| value.wrong("masked", message(name)), Some)
    }

    /// A URL in which braces mean nothing.
    pub(super) fn literal_url(&self, value: &Value<'_>) -> Option<Url> {
        self.judged(value, value.string()?)
    }

    fn judged(&self, value: &Value<'_>, source: &str) -> Option<Url> {
        match check_url(source, &self.egress) {
            Ok(url) => Some(url),
            // One phrase for whatever the network's policy forbids, so that callers can tell it from a typo.
            Err(rejection @ (UrlRejection::InternalName | UrlRejection::PortNotOpen(_))) => {
                value.wrong("url_refused", format!("{rejection}: blocked by egress policy"))
            }
            Err(rejection) => value.wrong("url_refused", rejection.to_string()),
        }
    }

    /// A URL without placeholders: where everything else failed, nothing is left to be rendered.
    pub(crate) fn plain_url(&self, value: &Value<'_>, former: Option<&str>) -> Option<String> {
        let url = self.url(value, former)?;
        if value.string()?.contains("{{") {
            value.wrong("template", "takes no placeholders")
        } else {
            Some(url)
        }
    }

    /// The value of a header: one line, at most 4 KiB, a template (ADM.10).
    pub(super) fn header_value(&self, value: &Value<'_>, hosts: &[&str]) -> Option<String> {
        let source = value.string()?;
        match HeaderTemplate::compile(source, &self.env.grant(hosts)) {
            Ok(_) => Some(source.to_owned()),
            Err(error) => wrong_template(value, &error),
        }
    }

    /// A body: any JSON, its strings being templates. Kept as JSON text.
    pub(super) fn body_template(&self, value: &Value<'_>, hosts: &[&str]) -> Option<String> {
        if let Err(error) = BodyTemplate::compile(value.json(), &self.env.grant(hosts)) {
            let pointer = format!("{}{}", value.pointer(), error.pointer);
            value.report().add(pointer, "template", error.to_string());
            return None;
        }
        String::from_utf8(value.json().to_bytes(BodyForm::Raw)).ok()
    }

    /// A variable in the value of a header that may not be used towards this host.
    pub(super) fn refused_in_header(&self, source: &str, host: &str) -> Option<String> {
        refused_variable(HeaderTemplate::compile(source, &self.env.grant(&[host])).err()?)
    }

    /// The same of a body template as it is kept.
    pub(super) fn refused_in_body(&self, kept: &str, host: &str) -> Option<String> {
        let tree = parse(kept.as_bytes(), Limits::EVENT).ok()?;
        refused_variable(BodyTemplate::compile(&tree, &self.env.grant(&[host])).err()?)
    }

    /// Whether a variable may be used towards all of these hosts.
    pub(super) fn permits_env(&self, name: &str, hosts: &[&str]) -> bool {
        hosts.iter().all(|host| self.env.permits(name, host))
    }
}

fn refused_variable(error: CompileError) -> Option<String> {
    match error.kind {
        CompileErrorKind::EnvNotAllowed { name } => Some(name),
        _ => None,
    }
}

fn wrong_template<T>(value: &Value<'_>, error: &CompileError) -> Option<T> {
    value.wrong("template", error.to_string())
}

/// The URL with something harmless in place of its placeholders, so that the rest can be judged.
fn with_samples(source: &str) -> Cow<'_, str> {
    let mut out = String::new();
    let mut rest = source;
    while let Some((before, after)) = rest.split_once("{{") {
        let Some((_, behind)) = after.split_once("}}") else { break };
        out.push_str(before);
        out.push('x');
        rest = behind;
    }
    if out.is_empty() { Cow::Borrowed(source) } else { Cow::Owned(out + rest) }
}

//! What a change keeps unread is judged against the hosts that it would go to from now on. Sealed headers stay with the
//! hosts that they were given for: whoever may change a URL, and may not read a credential, does not get it sent to a place
//! of their own (SEC.1). A variable that is bound to a host is not left behind where every delivery would fail (TPL.1).

use super::{
    headers::{HeaderDraft, ValueDraft},
    rules::Rules,
    step::{KeyDraft, StepDraft},
};
use crate::http::fields::Object;
use ledgerhook_actors::{
    delivery::template::UrlTemplate,
    domain::step::{HeaderValue, PipelineConfig, StoredKey},
    secrets::has_sealed,
};

/// What a URL keeps of its former self.
const MASKED_QUERY: &str = "the masked part of its query";

/// Refuses a new host for what comes from `base` unread.
pub(super) fn check(
    fields: &Object<'_>,
    rules: &Rules<'_>,
    base: Option<&PipelineConfig>,
    steps: &[StepDraft],
    failover: Option<&str>,
) -> Option<()> {
    let Some(base) = base else { return Some(()) };
    let mut sound = true;
    for (index, step) in steps.iter().enumerate() {
        let Some(former) = base.steps.iter().find(|former| Some(&former.id) == step.id.as_ref()) else {
            continue;
        };
        let url_field = || if base.flat { "/url".to_owned() } else { format!("/steps/{index}/url") };
        // Sealed by now is only what is kept: a new value is sealed later on. The failover's host never had it.
        if has_sealed(&step.url) && origin(&step.url) != origin(&former.url) {
            refuse(fields, url_field(), MASKED_QUERY);
            sound = false;
            continue;
        }
        let hosts = [Some(former.url.as_str()), base.failover_url.as_deref()];
        let hosts: Vec<String> = hosts.into_iter().flatten().filter_map(UrlTemplate::host_of).collect();
        for (url, field) in [(Some(step.url.as_str()), url_field()), (failover, "/failover_url".to_owned())] {
            let host = url.and_then(UrlTemplate::host_of).filter(|host| !hosts.contains(host));
            let Some((what, name)) = host.and_then(|host| bound_elsewhere(step, rules, &host)) else {
                continue;
            };
            let message =
                format!("names a host that environment variable `{name}` in {what} is not allowed for");
            fields.value().report().add(field, "env_not_allowed", message);
            sound = false;
        }
        let Some(header) = step.headers.iter().find(|header| is_kept_sealed(header)) else { continue };
        let known = [Some(former.url.as_str()), base.failover_url.as_deref()].map(|url| url.map(origin));
        let is_new = |url: &str| !known.contains(&Some(origin(url)));
        let field = match failover {
            _ if is_new(&step.url) => url_field(),
            Some(failover) if is_new(failover) => "/failover_url".to_owned(),
            _ => continue,
        };
        refuse(fields, field, &format!("`{}`", header.name));
        sound = false;
    }
    let moved = |failover: &&str| {
        has_sealed(failover) && base.failover_url.as_deref().map(origin) != Some(origin(failover))
    };
    if failover.as_ref().is_some_and(moved) {
        refuse(fields, "/failover_url".to_owned(), MASKED_QUERY);
        return None;
    }
    sound.then_some(())
}

/// Tells at `field` that `secret` does not go to another host unread.
fn refuse(fields: &Object<'_>, field: String, secret: &str) {
    let message = format!(
        "names another host than the one that {secret} was given for; send that value again, not `***`"
    );
    fields.value().report().add(field, "secret_needed", message);
}

/// What of a step names a variable that may not go to this host, and the variable.
fn bound_elsewhere(step: &StepDraft, rules: &Rules<'_>, host: &str) -> Option<(String, String)> {
    let in_headers = step.headers.iter().find_map(|header| match &header.value {
        ValueDraft::Kept(HeaderValue::Template(text)) => {
            Some((format!("header `{}`", header.name), rules.refused_in_header(text, host)?))
        }
        _ => None,
    });
    let in_body =
        || Some(("`body_template`".to_owned(), rules.refused_in_body(step.body_template.as_deref()?, host)?));
    let in_key = || match &step.key {
        KeyDraft::Kept(StoredKey::Env(name), _) if !rules.permits_env(name, &[host]) => {
            Some(("the signing key".to_owned(), name.clone()))
        }
        _ => None,
    };
    in_headers.or_else(in_body).or_else(in_key)
}

fn is_kept_sealed(header: &HeaderDraft) -> bool {
    matches!(header.value, ValueDraft::Kept(HeaderValue::Sealed(_)))
}

/// Scheme, host and port of a URL as they are written; a template has no placeholder there.
fn origin(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or_default();
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    format!("{scheme}://{authority}").to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        assert_eq!(origin("https://A.example:8443/x?y"), "https://a.example:8443");
        assert_eq!(origin("http://a.example?y={{event.id}}"), "http://a.example");
        assert_ne!(origin("https://a.example/"), origin("https://a.example.evil/"));
        assert_ne!(origin("https://a.example/"), origin("http://a.example/"));
    }
}

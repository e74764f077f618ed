//! Sealed headers stay with the hosts that they were given for: whoever may change a URL, and may not read a credential,
//! does not get it sent to a place of their own (SEC.1).

use super::{
    headers::{HeaderDraft, ValueDraft},
    step::StepDraft,
};
use crate::http::fields::Object;
use ledgerhook_actors::{
    domain::step::{HeaderValue, PipelineConfig},
    secrets::has_sealed,
};

/// What a URL keeps of its former self.
const MASKED_QUERY: &str = "the masked part of its query";

/// Refuses a new host for headers that come from `base` unread.
pub(super) fn check(
    fields: &Object<'_>,
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

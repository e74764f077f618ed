//! A request as `test/step` takes it: literal, checked like that of a step, and neither rendered nor signed.

use super::{
    headers,
    rules::Rules,
    step::{METHODS, TIMEOUT_MAX},
};
use crate::http::fields::{Object, Value};
use ledgerhook_actors::{
    delivery::{
        Request,
        headers::Headers,
        template::{HEADER_VALUE_MAX, Masker},
    },
    domain::{id::TenantId, step::Method},
    json::BodyForm,
    request::{USER_AGENT, credentials, masked},
    secrets::masked_url,
};
use std::{sync::Arc, time::Duration};

/// Seconds where none are named (AFM-66).
const TIMEOUT_SECONDS: u64 = 10;

/// A request, and what may be shown of it.
pub(crate) struct LiteralCall {
    /// What is sent.
    pub(crate) request: Request,
    /// Its URL, credentials masked.
    pub(crate) shown_url: String,
    /// Its headers, credentials masked.
    pub(crate) shown: Headers,
    /// Takes those credentials out of the answer.
    pub(crate) masker: Masker,
}

/// Reads `url`, `method`, `headers`, `body` and `timeout_seconds`.
pub(crate) fn read(fields: &mut Object<'_>, rules: &Rules<'_>, tenant: &TenantId) -> Option<LiteralCall> {
    let url = fields.require("url").and_then(|v| rules.literal_url(&v));
    let method = match fields.get("method") {
        Some(method) => method.choice(&METHODS),
        None => Some(Method::Post),
    };
    let headers = fields.merge("headers", Headers::default(), Headers::default(), |v| read_headers(v, rules));
    let body = fields.get("body").map(|body| body.json().to_bytes(BodyForm::Js)).unwrap_or_default();
    let timeout = match fields.get("timeout_seconds") {
        Some(timeout) => timeout.integer(1..=TIMEOUT_MAX),
        None => Some(TIMEOUT_SECONDS),
    };
    let mut headers = headers?;
    if !body.is_empty() && !headers.has("content-type") {
        headers.push("Content-Type", "application/json");
    }
    if !headers.has("user-agent") {
        headers.push("User-Agent", USER_AGENT);
    }
    let url = url?;
    let (shown_url, in_url) = masked_url(url.as_str());
    let secret = credentials(&headers).chain(in_url);
    let masker = Masker::new(secret.map(|secret| secret.expose().to_owned()));
    let shown = masked(&headers);
    let timeout = Duration::from_secs(timeout?);
    let request = Request {
        tenant: tenant.clone(),
        method: method?.as_str(),
        url,
        headers: Arc::new(headers),
        body: body.into(),
        trust: None,
        timeout,
    };
    Some(LiteralCall { request, shown_url, shown, masker })
}

fn read_headers(value: &Value<'_>, rules: &Rules<'_>) -> Option<Headers> {
    let entries = headers::checked_entries(value, rules)?;
    let read = |(name, value): &(&str, Value<'_>)| {
        let text = value.string()?;
        if text.len() > HEADER_VALUE_MAX || text.contains(char::is_control) {
            let message = format!("is to be one line of at most {HEADER_VALUE_MAX} bytes");
            return value.wrong("header_value", message);
        }
        Some(((*name).to_owned(), text.to_owned()))
    };
    entries.iter().map(read).collect::<Vec<_>>().into_iter().collect()
}

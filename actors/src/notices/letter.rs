//! A mail, to the last byte: pure. Nothing that a tenant, a producer or a receiver wrote can become a header, a command
//! or a control character of somebody's terminal.

use super::{
    notice::{Notice, What},
    outbox::Due,
};
use crate::{
    domain::{event::Accepted, id::TenantId, time::Timestamp},
    projections::error_text,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use lettre::{
    Message,
    message::{
        Body, Mailbox,
        header::{ContentTransferEncoding, ContentType, HeaderName, HeaderValue},
    },
};
use std::{
    fmt::Write as _,
    time::{Duration, UNIX_EPOCH},
};

/// Characters of one foreign text that are shown.
const SHOWN_MAX: usize = 200;
/// Bytes of one encoded word, before it is encoded.
const WORD_BYTES: usize = 45;

/// Whose mail it is.
pub(super) struct Head<'a> {
    pub(super) from: &'a str,
    pub(super) reply_to: Option<&'a str>,
    pub(super) to: &'a [String],
    pub(super) tenant: &'a TenantId,
    /// Of the tenant, for people.
    pub(super) name: &'a str,
    pub(super) now: Timestamp,
    /// Unique and the same for the same dead letters: a mail that is sent twice can be told.
    pub(super) id: &'a str,
}

/// Why there is no mail.
#[derive(Debug, thiserror::Error)]
pub(super) enum LetterError {
    #[error("an address cannot stand in a mail: {0}")]
    Address(#[from] lettre::address::AddressError),
    #[error("a mail cannot be put together: {0}")]
    Build(#[from] lettre::error::Error),
}

/// The whole mail. `subject_of` finds the accepted event that a notice is about.
pub(super) fn compose(
    head: &Head<'_>,
    due: &Due<'_>,
    subject_of: &dyn Fn(&Notice) -> Option<Accepted>,
) -> Result<Vec<u8>, LetterError> {
    let mailbox = |address: &str| Ok::<_, LetterError>(Mailbox::new(None, address.parse()?));
    let domain = head.from.rsplit('@').next().unwrap_or_default();
    let written = UNIX_EPOCH + Duration::from_millis(head.now.as_millis());
    // RFC 3834: nobody's absence is told back to us.
    let automatic =
        HeaderValue::new(HeaderName::new_from_ascii_str("Auto-Submitted"), "auto-generated".into());
    let mut builder = Message::builder()
        .from(mailbox(head.from)?)
        .date(written)
        .message_id(Some(format!("<{}@{domain}>", head.id)))
        .raw_header(subject(title(due, subject_of)))
        .header(ContentType::TEXT_PLAIN)
        .raw_header(automatic);
    if let Some(reply_to) = head.reply_to {
        builder = builder.reply_to(mailbox(reply_to)?);
    }
    for contact in head.to {
        builder = builder.to(mailbox(contact)?);
    }
    // As it is, where it can be: whoever reads the source of a mail, a program too, finds its ids whole.
    let text = text(head, due, subject_of);
    let body = Body::new_with_encoding(text.clone(), ContentTransferEncoding::SevenBit);
    Ok(builder.body(body.unwrap_or_else(|_| Body::new(text)))?.formatted())
}

/// The subject as it is; where it could be taken for an encoded word (RFC 2047), which decodes to anything, encoded.
fn subject(title: String) -> HeaderValue {
    let name = HeaderName::new_from_ascii_str("Subject");
    if !title.contains("=?") {
        return HeaderValue::new(name, title);
    }
    let mut words = vec![String::new()];
    for letter in title.chars() {
        if words.last().is_some_and(|word| word.len() + letter.len_utf8() > WORD_BYTES) {
            words.push(String::new());
        }
        if let Some(word) = words.last_mut() {
            word.push(letter);
        }
    }
    let encoded: Vec<String> =
        words.iter().map(|word| format!("=?utf-8?b?{}?=", STANDARD.encode(word))).collect();
    // Nothing but what was made here, all of it ASCII, in lines of less than 76.
    HeaderValue::dangerous_new_pre_encoded(name, title, encoded.join("\r\n "))
}

fn title(due: &Due<'_>, subject_of: &dyn Fn(&Notice) -> Option<Accepted>) -> String {
    if let ([notice], false) = (&*due.notices, due.digest) {
        let event_type = subject_of(notice).map(|event| plain(&event.event_type));
        let event_type = event_type.as_deref().unwrap_or("an event");
        return format!("Webhook delivery failed: {event_type} to {}", plain(pipeline_of(notice).1));
    }
    format!("{} webhook deliveries failed", due.notices.len() as u64 + due.beyond)
}

fn text(head: &Head<'_>, due: &Due<'_>, subject_of: &dyn Fn(&Notice) -> Option<Accepted>) -> String {
    let (name, tenant) = (plain(head.name), head.tenant);
    let mut text = if due.digest {
        digest(due, &format!("{name} ({tenant})"))
    } else {
        let told = due.notices.iter().map(|notice| single(notice, subject_of(notice).as_ref()));
        let intro = format!(
            "A delivery of {name} ({tenant}) has failed for good. It is kept in the dead-letter queue.\n"
        );
        intro + &told.collect::<String>()
    };
    let _ = write!(
        text,
        "\nThis address is a contact of the tenant. Contacts are changed by\n\n    PUT /api/tenants/{tenant}\n"
    );
    text
}

fn single(notice: &Notice, event: Option<&Accepted>) -> String {
    let What::Exhausted { item, step } = &notice.what else { return String::new() };
    let (id, name) = pipeline_of(notice);
    let mut text = String::from("\n");
    let mut line = |label: &str, value: &str| {
        let _ = writeln!(text, "    {label:<12} {value}");
    };
    line("Webhook", &format!("{} ({id})", plain(name)));
    line("Step", &plain(step));
    if let Some(event) = event {
        line("Event", &format!("{} ({})", plain(&event.id), plain(&event.event_type)));
        line("Resource", &plain(&event.resource));
    }
    line("Delivery", &notice.delivery().map(|id| id.to_string()).unwrap_or_default());
    line("Dead letter", &item.id().to_string());
    line(
        "Attempts",
        &match item.tries {
            (own, 0) => own.to_string(),
            (own, failover) => format!("{own}, and {failover} at the failover address"),
        },
    );
    line("Last error", &error_of(notice));
    line("Failed at", &notice.at.to_iso_seconds());
    let _ = write!(
        text,
        "\nOnce its receiver works again, it is sent once more by\n\n    \
         POST /api/admin/webhooks/logs/dlq/{dead}/retry\n\nand dismissed by\n\n    \
         DELETE /api/admin/webhooks/logs/dlq/{dead}\n",
        dead = item.id(),
    );
    text
}

fn digest(due: &Due<'_>, owner: &str) -> String {
    let all = due.notices.len() as u64 + due.beyond;
    let mut text = format!(
        "{all} deliveries of {owner} have failed for good. They are kept in the dead-letter queue.\n\n"
    );
    for notice in &due.notices {
        let What::Exhausted { item, .. } = &notice.what else { continue };
        let (at, dead) = (notice.at.to_iso_seconds(), item.id());
        let _ = writeln!(text, "    {at}  {dead}  {}: {}", plain(pipeline_of(notice).1), error_of(notice));
    }
    if due.beyond > 0 {
        let _ = writeln!(text, "    and {} more", due.beyond);
    }
    text += "\nAll of them are listed by\n\n    GET /api/admin/webhooks/logs/dlq\n\nand each is sent once more by\n\n    \
             POST /api/admin/webhooks/logs/dlq/{id}/retry\n";
    text
}

fn pipeline_of(notice: &Notice) -> (&str, &str) {
    notice.pipeline.as_ref().map_or(("", ""), |(id, name)| (id.as_str(), name))
}

fn error_of(notice: &Notice) -> String {
    let What::Exhausted { item, .. } = &notice.what else { return String::new() };
    let error = error_text(item.class, item.status);
    if item.detail.is_empty() || *item.detail == *error {
        return error;
    }
    format!("{error} ({})", plain(&item.detail))
}

/// A foreign text on one line, of bounded length, without what hides or turns text.
fn plain(text: &str) -> String {
    let shown: String =
        text.chars().take(SHOWN_MAX).map(|c| if is_plain(c) { c } else { '\u{fffd}' }).collect();
    if text.chars().nth(SHOWN_MAX).is_some() { shown + "…" } else { shown }
}

fn is_plain(c: char) -> bool {
    let hides = matches!(c,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}');
    !c.is_control() && !hides
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::{
            dead_letter::DeadLetter,
            outcome::OutcomeClass,
            testing::{T0, pipe, tenant},
        },
        log::Position,
    };

    fn notice(name: &str, detail: &str) -> Notice {
        let item = DeadLetter {
            tenant: tenant(),
            pipeline: pipe(),
            event: Position(7),
            step: 0,
            round: 1,
            version: 1,
            stopped: false,
            failed_at: T0,
            tries: (8, 2),
            class: OutcomeClass::TlsError,
            status: None,
            detail: detail.into(),
        };
        let what = What::Exhausted { item: Box::new(item), step: "Send".into() };
        Notice::of_pipeline(T0, &pipe(), name.into(), what)
    }

    fn mail(name: &str, notices: &[Notice], beyond: u64) -> String {
        let digest = notices.len() > 1;
        let due = Due { notices: notices.iter().collect(), beyond, digest, through: Position(9) };
        let to = ["a@example.com".to_owned(), "b@example.com".to_owned()];
        let head = Head {
            from: "hooks@example.org",
            reply_to: Some("help@example.org"),
            to: &to,
            tenant: &tenant(),
            name,
            now: T0,
            id: "notice-9",
        };
        let event = |_: &Notice| {
            let (id, event_type) = ("evt_1".into(), "conversion.created".into());
            Some(Accepted {
                id,
                event_type,
                resource: "conversion:c".into(),
                routes: Vec::new(),
                moment: None,
            })
        };
        String::from_utf8(compose(&head, &due, &event).unwrap()).unwrap()
    }

    /// SOC-44: what, where, how often, why, and what to do.
    #[test]
    fn a_mail_says_what_failed_and_how_to_send_it_again() {
        let mail = mail("Acme", &[notice("Conversions", "the certificate has expired")], 0);
        for part in [
            "From: hooks@example.org\r\n",
            "Reply-To: help@example.org\r\n",
            "To: a@example.com, b@example.com\r\n",
            "Message-ID: <notice-9@example.org>\r\n",
            "Auto-Submitted: auto-generated\r\n",
            "Content-Type: text/plain; charset=utf-8\r\n",
            "Subject: Webhook delivery failed: conversion.created to Conversions\r\n",
            "Acme (tenant_a)",
            "Conversions (pipe_a)",
            "evt_1 (conversion.created)",
            "exec_7_a",
            "8, and 2 at the failover address",
            "TLS error (the certificate has expired)",
            "POST /api/admin/webhooks/logs/dlq/dlq_7_0_1_a/retry",
            "PUT /api/tenants/tenant_a",
        ] {
            assert!(mail.contains(part), "{part} is not in\n{mail}");
        }
    }

    /// T-42: one for many names each and counts the rest.
    #[test]
    fn a_digest_lists_and_counts() {
        let notices: Vec<_> = (0..3).map(|n| notice(&format!("Hook {n}"), "")).collect();
        let mail = mail("Acme", &notices, 39);
        assert!(mail.contains("Subject: 42 webhook deliveries failed\r\n"), "{mail}");
        assert!(mail.contains("Hook 0") && mail.contains("Hook 2") && mail.contains("and 39 more"), "{mail}");
    }

    /// RFC 2047: a name is shown as it is, also where it looks like an encoded word, which would decode to anything.
    #[test]
    fn a_name_is_never_taken_for_an_encoded_word() {
        let name = format!("=?utf-8?q?a=0D=0ABcc:_x=1B?= {}", "ü".repeat(60));
        let mail = mail("Acme", &[notice(&name, "")], 0);
        let header = mail.split_once("Subject: ").unwrap().1.split_once("\r\nTo").map(|(subject, _)| subject);
        let header = header.map_or(&*mail, |subject| subject);
        let (mut decoded, mut words) = (Vec::new(), 0);
        for word in header.split("\r\n ") {
            let word = word.lines().next().unwrap();
            let inside =
                word.strip_prefix("=?utf-8?b?").and_then(|rest| rest.strip_suffix("?=")).expect(word);
            assert!(word.len() <= 75, "{word}");
            decoded.extend(STANDARD.decode(inside).unwrap());
            words += 1;
        }
        assert!(words > 1);
        let subject = format!("Webhook delivery failed: conversion.created to {name}");
        assert_eq!(String::from_utf8(decoded).unwrap(), subject);
    }

    /// Whatever a name or an error holds, it makes no header, no line and no escape sequence, and has an end.
    #[test]
    fn foreign_texts_stay_texts() {
        let evil = "x\r\nBcc: evil@example.com\r\n\r\n.\r\n\u{1b}[2J\u{202e}\u{0}";
        let mail = mail(evil, &[notice(evil, &format!("{evil}{}", "y".repeat(100_000)))], 0);
        let (headers, body) = mail.split_once("\r\n\r\n").unwrap();
        assert!(!headers.lines().any(|line| line.starts_with("Bcc")), "{headers}");
        let names: Vec<_> =
            headers.lines().filter(|l| !l.starts_with(' ')).map(|l| l.split(':').next().unwrap()).collect();
        let mut known = names.clone();
        known.sort_unstable();
        known.dedup();
        assert_eq!(known.len(), names.len(), "{headers}");
        assert!(!body.lines().any(|line| line.starts_with("Bcc") || line == "."), "{body}");
        assert!(!mail.contains('\u{1b}') && !mail.contains('\u{0}') && !mail.contains('\u{202e}'));
        assert!(mail.len() < 10_000, "{}", mail.len());
        assert!(mail.lines().all(|line| line.len() <= 998));
    }
}

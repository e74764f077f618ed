//! Mails to the contacts of tenants, as a real mail server gets them: SOC-44, T-42.

use crate::support::{
    Api, Receiver, Reply, TestServer, eventually,
    mail::{MailServer, PASSWORD, RunningMail, USER},
    make::{Pipeline, conversion, post},
    server::Start,
    within,
};
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    fs,
    net::{SocketAddr, TcpListener},
    time::Duration,
};

/// A server that mails through the one at `address`, whose certificate it trusts.
fn mailing(settings: &MailServer, address: SocketAddr) -> Start {
    TestServer::with()
        .option("--tls-roots")
        .option(settings.roots().to_str().expect("a path"))
        .variable("LEDGERHOOK_SMTP_HOST", "127.0.0.1")
        .variable("LEDGERHOOK_SMTP_PORT", &address.port().to_string())
        .variable("LEDGERHOOK_SMTP_FROM", "hooks@example.org")
        .variable("LEDGERHOOK_SMTP_REPLY_TO", "help@example.org")
        .variable("LEDGERHOOK_SMTP_USER", USER)
        .variable("LEDGERHOOK_SMTP_PASSWORD", PASSWORD)
}

fn contacts(api: &Api, addresses: &[&str]) {
    let answer = api.send("PATCH", "/api/tenants/tenant_default", Some(&json!({"contacts": addresses})));
    assert_eq!(answer.data(200)["contacts"], json!(addresses));
}

/// A pipeline whose receiver never takes anything.
fn failing(api: &Api) -> Receiver {
    let receiver = Receiver::start(|_| Reply::Status(500));
    Pipeline::to(&receiver).retry(2, 0).create(api);
    receiver
}

fn fail(api: &Api, numbers: impl Iterator<Item = usize>) {
    for n in numbers {
        post(api, &conversion(&format!("evt_{n}"), &format!("conv_{n}"), n));
    }
}

fn dead_letters(api: &Api) -> Vec<Value> {
    api.list("/api/admin/webhooks/logs/dlq", "items")
}

/// The ids of the dead letters that a text names.
fn named(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("dlq_")).map(str::to_owned).collect()
}

fn ids(dead_letters: &[Value]) -> BTreeSet<String> {
    dead_letters.iter().map(|item| item["id"].as_str().expect("an id").to_owned()).collect()
}

fn degraded(api: &Api) -> Vec<Value> {
    let ready = api.get("/readyz?verbose");
    assert_eq!(ready.status, 200, "a mail server that is away keeps no event out: {ready:?}");
    ready.json["degraded"].as_array().expect("a list").clone()
}

#[track_caller]
fn wait_for_mails(mail: &RunningMail, count: usize) {
    within(Duration::from_mins(1), "the mails are there", || (mail.mails().len() >= count).then_some(()));
}

/// SOC-44, T-42: one mail for each dead letter, over TLS and logged in, with all that is needed to act.
#[test]
fn each_dead_letter_is_mailed_to_the_contacts_once() {
    let settings = MailServer::new();
    let mail = settings.run();
    let mut server = mailing(&settings, mail.address).start();
    let api = server.api();
    let _receiver = failing(&api);
    fail(&api, 0..1);
    eventually("it is a dead letter", || (dead_letters(&api).len() == 1).then_some(()));
    contacts(&api, &["ops@example.com", "dev@example.com"]);
    fail(&api, 1..4);
    wait_for_mails(&mail, 3);

    let items = dead_letters(&api);
    let mails = mail.mails();
    let told: BTreeSet<String> = mails.iter().flat_map(|one| named(&one.text)).collect();
    let expected =
        ids(&items.into_iter().filter(|item| item["payload"]["id"] != "evt_0").collect::<Vec<_>>());
    assert_eq!(
        (mails.len(), told),
        (3, expected),
        "one each, and none of what was before there were contacts"
    );
    for one in &mails {
        assert_eq!((one.tls, one.user.as_deref()), (true, Some(USER)));
        assert_eq!(one.to, ["ops@example.com", "dev@example.com"]);
        assert_eq!(one.header("From"), "hooks@example.org");
        assert_eq!(one.header("Reply-To"), "help@example.org");
        assert_eq!(one.header("Auto-Submitted"), "auto-generated");
        assert_eq!(one.header("Subject"), "Webhook delivery failed: conversion.created to Conversions");
        for part in ["HTTP 500", "Attempts     2", "/retry", "conversion:conv_"] {
            assert!(one.text.contains(part), "{part} is not in\n{}", one.text);
        }
    }
    server.restart();
    let api = server.api();
    fail(&api, 4..5);
    wait_for_mails(&mail, 4);
    assert_eq!(mail.mails().len(), 4, "a start mails nothing again");
    assert!(!server.log().contains(PASSWORD));
    server.terminate();
    assert!(server.verb(&["log", "verify"]).status.success());
}

/// T-42: beyond so many an hour, one mail tells of all the others.
#[test]
fn many_dead_letters_are_told_by_a_digest() {
    const ALL: usize = 90;
    let settings = MailServer::new();
    let mail = settings.run();
    let server = mailing(&settings, mail.address)
        .variable("LEDGERHOOK_SMTP_PER_HOUR", "3")
        .variable("LEDGERHOOK_SMTP_DIGEST_SECONDS", "2")
        .start();
    let api = server.api();
    let _receiver = failing(&api);
    contacts(&api, &["ops@example.com"]);
    fail(&api, 0..ALL);
    let told = || {
        mail.mails()
            .iter()
            .map(|one| match one.header("Subject").split_once(" webhook deliveries failed") {
                Some((count, _)) => count.parse::<usize>().expect("a number"),
                None => 1,
            })
            .collect::<Vec<_>>()
    };
    within(Duration::from_mins(1), "all are told", || (told().iter().sum::<usize>() >= ALL).then_some(()));
    let told = told();
    assert_eq!(told.iter().sum::<usize>(), ALL, "each is counted once: {told:?}");
    assert_eq!(told.iter().filter(|count| **count == 1).count(), 3, "{told:?}");
    assert!(told.len() < ALL / 4, "{told:?}");
}

/// SOC-44, I35: a mail server that is away loses no mail, holds no delivery up, and is named while it is away.
#[test]
fn mails_wait_for_a_server_that_is_away() {
    let settings = MailServer::new();
    let away = settings.run();
    let address = away.address;
    drop(away);
    let mut server = mailing(&settings, address).start();
    let api = server.api();
    let receiver = failing(&api);
    contacts(&api, &["ops@example.com"]);
    fail(&api, 0..2);
    let problem = eventually("the mail server is named", || degraded(&api).into_iter().next());
    assert_eq!(problem["part"], "mail");
    assert!(problem["problem"].as_str().expect("a text").contains("127.0.0.1"), "{problem}");
    receiver.now(|_| Reply::Status(200));
    post(&api, &conversion("evt_9", "conv_9", 9));
    eventually("deliveries go on", || (receiver.succeeded() == 1).then_some(()));
    server.restart();
    let mail = settings.run_on(address.port());
    wait_for_mails(&mail, 2);
    let told: BTreeSet<String> = mail.mails().iter().flat_map(|one| named(&one.text)).collect();
    assert_eq!((mail.mails().len(), told), (2, ids(&dead_letters(&server.api()))));
    eventually("nothing is degraded", || degraded(&server.api()).is_empty().then_some(()));
}

/// SOC-44, CRS.1: a kill between the mail and its record mails that one again, and no other.
#[cfg(feature = "chaos")]
#[test]
fn a_kill_mails_at_most_the_one_in_flight_again() {
    let settings = MailServer::new();
    let mail = settings.run();
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let mut fragile = mailing(&settings, mail.address)
        .on(&data)
        .variable("LEDGERHOOK_FAILPOINTS", "notices.mailed=exit(9)")
        .start();
    let api = fragile.api();
    let receiver = Receiver::start(|_| Reply::Status(500));
    let id = Pipeline::to(&receiver).retry(1, 0).with("status", "paused").create(&api);
    contacts(&api, &["ops@example.com"]);
    fail(&api, 0..3);
    api.put(&format!("/api/admin/webhooks/pipelines/{id}"), &json!({"status": "active"})).data(200);
    assert_eq!(fragile.wait_for_exit().code(), Some(9));
    assert_eq!(mail.mails().len(), 1);
    fs::remove_file(data.join("address")).expect("what it left behind");
    let server = mailing(&settings, mail.address).on(&data).start();
    let api = server.api();
    eventually("all are dead letters", || (dead_letters(&api).len() == 3).then_some(()));
    wait_for_mails(&mail, 4);
    let mails = mail.mails();
    let told: BTreeSet<String> = mails.iter().flat_map(|one| named(&one.text)).collect();
    assert_eq!((mails.len(), told), (4, ids(&dead_letters(&api))));
    let (first, second) = (mails[0].header("Message-ID"), mails[1].header("Message-ID"));
    assert_eq!(first, second, "a mailbox can tell that it is the same");
}

/// SEC, T-42: a server that cannot prove who it is gets nothing, and one that takes no TLS neither.
#[test]
fn a_server_that_proves_nothing_gets_nothing() {
    let (settings, other) = (MailServer::new(), MailServer::new());
    let mail = settings.run();
    let naked = MailServer::new().without(&["SMTP_CERT", "SMTP_KEY"]).run();
    for (address, problem) in [(mail.address, "certificate"), (naked.address, "STARTTLS")] {
        let server = mailing(&other, address).start();
        let api = server.api();
        let _receiver = failing(&api);
        contacts(&api, &["ops@example.com"]);
        fail(&api, 0..1);
        let told = eventually("it is named", || degraded(&api).into_iter().next());
        assert!(told["problem"].as_str().expect("a text").contains(problem), "{told}");
    }
    assert!(mail.mails().is_empty() && naked.mails().is_empty());
}

/// SEC.6: a wrong password is told, and not shown.
#[test]
fn a_wrong_password_is_told_without_it() {
    let settings = MailServer::new().with("SMTP_PASSWORD", "another password");
    let mail = settings.run();
    let server = mailing(&settings, mail.address).start();
    let api = server.api();
    let _receiver = failing(&api);
    contacts(&api, &["ops@example.com"]);
    fail(&api, 0..1);
    let told = eventually("it is named", || degraded(&api).into_iter().next());
    let problem = told["problem"].as_str().expect("a text");
    assert!(problem.contains("does not let `hooks` log in (535)"), "{problem}");
    let shown = [server.log(), problem.to_owned(), format!("{:?}", api.list("/api/log", "items"))].concat();
    assert!(!shown.contains(PASSWORD), "{shown}");
    assert!(mail.mails().is_empty());
}

/// URL.11: the mail server's address is judged like a receiver's; a forbidden one is not even dialled.
#[test]
fn a_forbidden_address_is_not_dialled() {
    let canary = TcpListener::bind("127.0.0.1:0").expect("a port");
    canary.set_nonblocking(true).expect("a listener");
    let settings = MailServer::new();
    let address = canary.local_addr().expect("an address");
    // Receivers may be dialled at another address of this machine, the mail server's at none.
    let receiver = Receiver::start(|_| Reply::Status(500));
    let server = Start::default()
        .option("--allow-http")
        .option("--egress-allow")
        .option(&format!("127.0.0.1:{}", receiver.address.port()))
        .variable("LEDGERHOOK_SMTP_HOST", "127.0.0.1")
        .variable("LEDGERHOOK_SMTP_PORT", &address.port().to_string())
        .variable("LEDGERHOOK_SMTP_FROM", "hooks@example.org")
        .variable("LEDGERHOOK_TLS_ROOTS", settings.roots().to_str().expect("a path"))
        .start();
    let api = server.api();
    Pipeline::to(&receiver).retry(1, 0).create(&api);
    contacts(&api, &["ops@example.com"]);
    fail(&api, 0..1);
    let told = eventually("it is named", || degraded(&api).into_iter().next());
    assert!(told["problem"].as_str().expect("a text").contains("blocked by egress policy"), "{told}");
    let refused = canary.accept().expect_err("nobody came");
    assert_eq!(refused.kind(), std::io::ErrorKind::WouldBlock);
}

/// T-42: a contact that is refused keeps no other from its mail; without contacts there is none.
#[test]
fn a_contact_that_is_refused_keeps_no_other_from_its_mail() {
    let settings = MailServer::new().with("SMTP_REFUSE", "gone@example.com");
    let mail = settings.run();
    let server = mailing(&settings, mail.address).start();
    let api = server.api();
    let _receiver = failing(&api);
    contacts(&api, &["gone@example.com", "ops@example.com"]);
    fail(&api, 0..1);
    wait_for_mails(&mail, 1);
    assert_eq!(mail.mails()[0].to, ["ops@example.com"]);
    contacts(&api, &[]);
    fail(&api, 1..2);
    eventually("it is a dead letter", || (dead_letters(&api).len() == 2).then_some(()));
    contacts(&api, &["ops@example.com"]);
    fail(&api, 2..3);
    wait_for_mails(&mail, 2);
    assert!(mail.mails()[1].text.contains("evt_2"), "nothing of evt_1, which had no contacts");
    assert!(degraded(&api).is_empty());
}

/// T-42: in development a folder takes the mails; a name that was made to be misread stays a name.
#[test]
fn a_folder_takes_mails_in_the_place_of_a_server() {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path().join("mails");
    let server = TestServer::with().option("--mail-dir").option(dir.to_str().expect("a path")).start();
    let api = server.api();
    let receiver =
        Receiver::start(|_| Reply::With(500, vec![("X-Evil", "1\r\nBcc: evil@example.com".into())]));
    Pipeline::to(&receiver).retry(1, 0).with("name", "Zoë: Bcc, <evil@example.com>").create(&api);
    contacts(&api, &["ops@example.com"]);
    fail(&api, 0..1);
    let text = eventually("a file", || {
        let files = fs::read_dir(&dir).ok()?.flatten();
        let mail = files.map(|file| file.path()).find(|path| path.extension().is_some_and(|e| e == "eml"))?;
        fs::read_to_string(mail).ok()
    });
    assert!(text.starts_with("From: notices@ledgerhook.invalid\r\n"), "{text}");
    assert!(!text.lines().any(|line| line.starts_with("Bcc")), "{text}");
    let item = &dead_letters(&api)[0];
    assert!(text.contains(item["id"].as_str().expect("an id")), "{text}");
}
